"""Names that results may have, on every system."""

from __future__ import annotations

import os
from typing import Final

from pathvalidate import ErrorReason, ValidationError, validate_filename

# Systems allow 255; files in the making have a longer name than the finished ones.
_MAX_BYTES: Final = 200
_NOT_PLAIN: Final = frozenset("/\\\t\n\r\v\f")
_FURTHER_DEVICES: Final = ("CONIN$", "CONOUT$")


def name_fault(name: str, *, on_windows: bool = os.name == "nt") -> str | None:
    """Say why a name cannot be that of a result.

    It must be the name of one file in a folder: it may lead neither out of the folder nor to a
    device.

    Args:
        name: The name, without ending.
        on_windows: Whether Windows' own rules count too.

    Returns:
        What is wrong, or None.
    """
    if name in ("", ".", "..") or _NOT_PLAIN & {*name}:
        return "it must be a plain file name"
    # Bytes that are no text count as one letter each. Windows looks at what comes before the dot.
    text = name.encode(errors="replace").decode()
    try:
        for part in (text, text.split(".")[0].rstrip(" ")) if on_windows else (text,):
            validate_filename(
                part or text,
                platform="Windows" if on_windows else "Linux",
                max_len=_MAX_BYTES,
                additional_reserved_names=_FURTHER_DEVICES if on_windows else (),
            )
    except ValidationError as error:
        if error.reason is ErrorReason.INVALID_LENGTH:
            return f"it is longer than {_MAX_BYTES} bytes"
        return error.reason.description
    return None
