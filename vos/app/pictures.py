"""Frames as pictures for the page; the last ones are kept."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from typing import Final

import cv2

from vos.records import Frame
from vos.source.random_access import FrameReader

_JPEG_QUALITY: Final = 90
_MAX_PICTURES: Final = 24
_NUM_TRACKED: Final = 3


class Pictures:
    """The frames of a source, encoded; methods may be called from any thread.

    Args:
        reader: Gives the frames.
    """

    def __init__(self, reader: FrameReader) -> None:
        self._reader = reader
        self._lock = threading.Lock()
        self._encoded: OrderedDict[tuple[int, str], bytes] = OrderedDict()
        self._tracked: deque[Frame] = deque(maxlen=_NUM_TRACKED)

    def note(self, frame: Frame) -> None:
        """Remember a frame that was tracked just now: the page is likely to show it."""
        with self._lock:
            self._tracked.append(frame)

    def frame(self, index: int) -> Frame:
        """Give a frame.

        Raises:
            SourceError: there is no such frame, or it is damaged.
        """
        with self._lock:
            frame = next((each for each in self._tracked if each.index == index), None)
        return frame or self._reader.read(index)

    def encode(self, index: int, kind: str) -> bytes:
        """Give a frame as a picture, ``jpg`` or, without any loss, ``png``.

        Raises:
            SourceError: as :meth:`frame`.
        """
        key = index, kind
        with self._lock:
            if key in self._encoded:
                self._encoded.move_to_end(key)
                return self._encoded[key]
        options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if kind == "jpg" else []
        bgr = cv2.cvtColor(self.frame(index).rgb, cv2.COLOR_RGB2BGR)
        picture = cv2.imencode(f".{kind}", bgr, options)[1].tobytes()
        with self._lock:
            self._encoded[key] = picture
            while len(self._encoded) > _MAX_PICTURES:
                self._encoded.popitem(last=False)
        return picture
