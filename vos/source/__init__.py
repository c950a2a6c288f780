"""Where frames come from: videos, folders of images, arrays."""

from vos.source.arrays import frames_from_arrays

__all__ = ["frames_from_arrays"]
