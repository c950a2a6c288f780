"""A JSON summary: when, where and how surely each object was seen."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Final, TextIO

from vos.errors import InputError, OutputError
from vos.records import Frame, FrameMasks
from vos.sink.passing import Pair, closing_upstream, discard, unfinished_name

_OWN_KEYS: Final = ("objects", "frames", "num_frames")
_NUM_DIGITS: Final = 6  # of seconds and scores; finer than either is known


def write_summary(pairs: Iterable[Pair], path: Path, header: dict[str, object]) -> Iterator[Pair]:
    """Write one JSON document while frames pass by, a line for each.

    The document holds the header's keys, ``objects`` (ids), ``frames`` and ``num_frames``. A frame
    has ``index``, ``name``, ``pts_seconds`` and ``objects``, each of them with ``id``, ``score``,
    ``present``, ``area_px`` and ``box_xyxy`` (null while the object is absent). The file takes its
    name when it is complete; that is also when the upstream breaks off or the consumer stops. No
    frame, no file.

    Args:
        pairs: Frames and their masks.
        path: The JSON file, replaced if it exists.
        header: What else to say; JSON values.

    Yields:
        The same pairs.

    Raises:
        InputError: the header holds what JSON cannot, or keys of the document itself.
        OutputError: the disk refuses.
    """
    taken = [key for key in _OWN_KEYS if key in header]
    if taken:
        raise InputError(f"a summary's header cannot hold {', '.join(taken)}")
    try:
        lines = [
            f"{json.dumps(key)}: {json.dumps(value, allow_nan=False)},\n"
            for key, value in header.items()
        ]
    except (TypeError, ValueError) as error:
        raise InputError(f"a summary's header must be JSON: {error}") from error

    with closing_upstream(pairs) as upstream:
        first = next(upstream, None)
        if first is None:
            return
        document = _Document(path)
        num_frames = 0
        try:
            document.write("{\n" + "".join(lines))
            document.write(f'"objects": {json.dumps(first[1].object_ids)},\n"frames": [')
            for frame, masks in chain([first], upstream):
                document.write((",\n" if num_frames else "\n") + json.dumps(_entry(frame, masks)))
                num_frames += 1
                yield frame, masks
        finally:
            document.finish(f'\n],\n"num_frames": {num_frames}\n}}\n')


class _Document:
    """A text file that takes its name when it is finished; once writing fails, there is none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._unfinished = unfinished_name(path)
        try:
            self._file: TextIO | None = self._unfinished.open("w", encoding="utf-8", newline="\n")
        except OSError as error:
            raise self._refusal(error) from error

    def write(self, text: str) -> None:
        if self._file is None:
            return
        try:
            self._file.write(text)
        except OSError as error:
            self._give_up()
            raise self._refusal(error) from error

    def finish(self, text: str) -> None:
        self.write(text)
        if self._file is None:
            return
        try:
            self._file.close()
            self._unfinished.replace(self._path)
        except OSError as error:
            self._give_up()
            raise self._refusal(error) from error

    def _give_up(self) -> None:
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
        self._file = None
        discard(self._unfinished)

    def _refusal(self, error: OSError) -> OutputError:
        return OutputError(f"cannot write {self._path}: {error.strerror or error}")


def _entry(frame: Frame, masks: FrameMasks) -> dict[str, object]:
    rows = zip(
        masks.object_ids,
        masks.scores.tolist(),
        masks.present.tolist(),
        masks.areas_px.tolist(),
        masks.boxes_xyxy.tolist(),
        strict=True,
    )
    return {
        "index": frame.index,
        "name": frame.name,
        "pts_seconds": round(frame.pts_seconds, _NUM_DIGITS),
        "objects": [
            {
                "id": object_id,
                "score": round(score, _NUM_DIGITS),
                "present": is_present,
                "area_px": area_px,
                "box_xyxy": box_xyxy if is_present else None,
            }
            for object_id, score, is_present, area_px, box_xyxy in rows
        ],
    }
