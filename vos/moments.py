"""Frames by number or by time, as people write them."""

from __future__ import annotations

import re
from typing import Final

# Python refuses to read numbers of thousands of digits.
_SECONDS: Final = re.compile(r"(?:(?:(?P<h>\d{1,9}):)?(?P<m>\d{1,9}):)?(?P<s>\d+(?:\.\d+)?)s?")
_MAX_DIGITS: Final = 18


def parse_moment(text: str) -> int | float | None:
    """Read ``250`` as a frame's index, and ``2.5s``, ``2.5``, ``1:30`` or ``1:02:03.5`` as a time.

    Returns:
        An index as int, a time in seconds as float, or None where the text is neither.
    """
    if text.isdecimal() and len(text) <= _MAX_DIGITS:
        return int(text)
    match = _SECONDS.fullmatch(text)
    if match is None:
        return None
    return int(match["h"] or 0) * 3600 + int(match["m"] or 0) * 60 + float(match["s"])


def write_moment(moment: int | float) -> int | str:
    """Give what :func:`parse_moment` reads, so that a whole number of seconds stays a time."""
    return f"{moment!r}s" if isinstance(moment, float) else moment
