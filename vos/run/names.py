"""Names that results may have, on every system."""

from __future__ import annotations

import os
from pathlib import PurePosixPath, PureWindowsPath
from typing import Final

# Systems allow 255; files in the making have a longer name than the finished ones.
_MAX_BYTES: Final = 200
_WINDOWS_CHARACTERS: Final = frozenset('<>:"|?*')
_WINDOWS_DEVICES: Final = frozenset(
    ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"]
    + [f"{port}{number}" for port in ("COM", "LPT") for number in "0123456789\u00b9\u00b2\u00b3"]
)


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
    if name in ("", ".", "..") or PurePosixPath(name).name != name:
        return "it must be a plain file name"
    if PureWindowsPath(name).name != name and (on_windows or "\\" in name):
        return "it must be a plain file name"
    if any(ord(character) < 32 for character in name):
        return "it holds control characters"
    if len(os.fsencode(name)) > _MAX_BYTES:
        return f"it is longer than {_MAX_BYTES} bytes"
    if not on_windows:
        return None
    if _WINDOWS_CHARACTERS & set(name) or name[-1] in " .":
        return 'Windows forbids <>:"|?* and a space or dot at the end'
    if name.split(".")[0].rstrip(" ").upper() in _WINDOWS_DEVICES:
        return "on Windows it is a device"
    return None
