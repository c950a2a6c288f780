"""Frames of a video file, stream or camera, decoded by FFmpeg through PyAV."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from fractions import Fraction
from functools import partial
from typing import Final

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from vos.errors import DamagedSourceError, SourceError
from vos.source.seek import find_seek_point
from vos.source.selection import Picture, Selection

_log = logging.getLogger("vos")
