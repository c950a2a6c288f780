"""Label maps' files for scoring: told whole or not without decoding, and read fast."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from vos.errors import MaskError
from vos.masks import read_label_png
from vos.masks.image_files import MAX_PIXELS, size_fault
from vos.records import Labels

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_HEADER: Final = struct.Struct(">IIBBBBB")
_INDEX_COLOUR_TYPES: Final = (0, 3)  # grey and palette, without alpha


def check_label_png(path: Path) -> tuple[int, int]:
    """Check a label map's file by its checksums, which takes a hundredth of decoding it.

    Args:
        path: The file.

    Returns:
        Height and width in pixels.

    Raises:
        MaskError: the file cannot be read, is no PNG, is damaged or cut short, or holds colours
            instead of indices.
    """
    (width, height, bit_depth, colour_type, *_), _ = _parse(path)
    if bit_depth > 8 or colour_type not in _INDEX_COLOUR_TYPES:
        read_label_png(path)  # says what is wrong with it
    return height, width


def read_labels(path: Path) -> Labels:
    """Read a label map, as :func:`vos.masks.read_label_png` does but faster for most files.

    Label maps are mostly stored without prediction from neighbouring pixels, as the PNG
    specification advises for palettes. Inflating such a file is all there is to reading it.

    Args:
        path: The file.

    Returns:
        (H, W) uint8, not writeable.

    Raises:
        MaskError: the file cannot be read, is damaged, or holds colours instead of indices.
    """
    (width, height, bit_depth, colour_type, *_, interlace), packed = _parse(path)
    fault = size_fault(width, height, MAX_PIXELS)
    if fault is not None:
        raise MaskError(fault)
    if bit_depth == 8 and colour_type in _INDEX_COLOUR_TYPES and not interlace:
        # One byte before each row names the row's prediction filter; 0 is none.
        num_bytes = height * (width + 1)
        unpacker = zlib.decompressobj()
        try:
            content = unpacker.decompress(packed, num_bytes + 1)
        except zlib.error as error:
            raise MaskError(f"damaged, {error}") from error
        if not unpacker.eof and len(content) <= num_bytes:
            raise MaskError("damaged, its picture is cut short")
        if len(content) == num_bytes:
            rows = np.frombuffer(content, np.uint8).reshape(height, width + 1)
            if not rows[:, 0].any():
                return rows[:, 1:]
    return read_label_png(path)


def _parse(path: Path) -> tuple[tuple[int, ...], bytes]:
    """Give a PNG's header fields and its packed picture, checksums checked."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise MaskError(f"cannot be read ({error.strerror})") from error
    if not content.startswith(_SIGNATURE):
        raise MaskError("no PNG file" if content else "an empty file")
    chunks = list(_chunks(content))
    kind, header = chunks[0]
    if kind != b"IHDR" or len(header) != _HEADER.size:
        raise MaskError("damaged, it does not begin with a header")
    packed = b"".join(body for kind, body in chunks if kind == b"IDAT")
    if not packed:
        raise MaskError("damaged, it has no picture")
    return _HEADER.unpack(header), packed


def _chunks(content: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Give type and content of all chunks (PNG specification, section 5)."""
    view = memoryview(content)
    kind, at = b"", len(_SIGNATURE)
    while kind != b"IEND":
        start, end = at + 8, 0
        if start <= len(view):
            length, kind = struct.unpack_from(">I4s", view, at)
            end = start + length
        if not start <= end <= len(view) - 4:
            raise MaskError("cut short")
        (checksum,) = struct.unpack_from(">I", view, end)
        if zlib.crc32(view[at + 4 : end]) != checksum:
            raise MaskError("damaged, a checksum fails")
        yield kind, view[start:end]
        at = end + 4
