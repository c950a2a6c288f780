"""Where frames come from: videos, streams, cameras, folders of images, arrays."""

from vos.source.arrays import frames_from_arrays
from vos.source.backwards import open_backwards
from vos.source.open import Decoder, open_source
from vos.source.source import Source

__all__ = ["Decoder", "Source", "frames_from_arrays", "open_backwards", "open_source"]
