"""Where frames come from: videos, streams, cameras, folders of images, animations, arrays.

In: a path or URL and a :class:`Selection`. Out: a :class:`Source`, which yields ``Frame`` records
in order of presentation as they are asked for, (H, W, 3) uint8 RGB as players show them, all of one
size. Each has its index in the source, counted over all frames, skipped ones too, and its time in
seconds, counted from the source's first frame. ``Source.info`` says what is known beforehand.

A source that breaks off raises DamagedSourceError after its good frames.
"""

from vos.source.address import can_read_again, describe_source, is_url
from vos.source.arrays import frames_from_arrays
from vos.source.backwards import open_backwards
from vos.source.images import image_files
from vos.source.one_size import of_one_size
from vos.source.open import frame_at, open_selection, open_source
from vos.source.selection import Decoder, Selection
from vos.source.source import Source

__all__ = [
    "Decoder",
    "Selection",
    "Source",
    "can_read_again",
    "describe_source",
    "frame_at",
    "frames_from_arrays",
    "image_files",
    "is_url",
    "of_one_size",
    "open_backwards",
    "open_selection",
    "open_source",
]
