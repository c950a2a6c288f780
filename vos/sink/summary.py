"""A JSON summary: when, where and how surely each object was seen."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain, islice
from pathlib import Path
from typing import Final, TextIO

from vos.errors import InputError, OutputError
from vos.files import make_folder, refusals, whole_file
from vos.records import Frame, FrameMasks
from vos.sink.passing import Pair, closing_upstream

_OWN_KEYS: Final = ("objects", "frames", "num_frames")
_ENTRY: Final = b'{"index": '
_NUM_DIGITS: Final = 6  # of seconds and scores; finer than either is known


def write_summary(
    pairs: Iterable[Pair],
    path: Path,
    header: dict[str, object],
    *,
    unfinished: Path,
    num_kept: int = 0,
) -> Iterator[Pair]:
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
        unfinished: Where the document grows, with every line on the disk before its frame is
            handed on. It stays there.
        num_kept: Frames of an earlier run that stand in ``unfinished``; what follows them goes.

    Yields:
        The same pairs.

    Raises:
        InputError: the header holds what JSON cannot, or keys of the document itself.
        OutputError: the disk refuses, or ``unfinished`` does not hold the frames to be kept.
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
        if first is None and not num_kept:
            return
        num_frames = num_kept
        # Three lines surround the header's.
        document = _Document(path, unfinished, num_kept and len(lines) + 3 + num_kept)
        try:
            if not num_kept and first is not None:
                document.write("{\n" + "".join(lines))
                document.write(f'"objects": {json.dumps(first[1].object_ids)},\n"frames": [')
            for frame, masks in chain([] if first is None else [first], upstream):
                document.write((",\n" if num_frames else "\n") + json.dumps(_entry(frame, masks)))
                num_frames += 1
                yield frame, masks
        finally:
            document.finish(f'\n],\n"num_frames": {num_frames}\n}}\n')


def kept_names(unfinished: Path, num_frames: int) -> Iterator[str]:
    """Read the names of the first frames in an unfinished document.

    Raises:
        OutputError: it holds fewer frames.
    """
    num_found = 0
    try:
        with unfinished.open("rb") as file:
            for line in file:
                if num_found < num_frames and line.startswith(_ENTRY):
                    num_found += 1
                    yield str(json.loads(line.rstrip(b",\n"))["name"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise OutputError(f"cannot read {unfinished}: {error}") from error
    if num_found < num_frames:
        raise OutputError(f"{unfinished} holds {num_found} of the {num_frames} frames done before")


class _Document:
    """A text file of which a finished copy appears under its name; once writing fails, none does.

    Args:
        path: The finished copy.
        unfinished: Where it grows and stays.
        num_kept_lines: Lines to go on after, if that is more than 0.
    """

    def __init__(self, path: Path, unfinished: Path, num_kept_lines: int) -> None:
        self._path = path
        self._unfinished = unfinished
        make_folder(unfinished.parent)
        with refusals(f"write {path}"):
            if num_kept_lines:
                _cut(unfinished, num_kept_lines)
            self._file: TextIO | None = unfinished.open(
                "a" if num_kept_lines else "w", encoding="utf-8", newline="\n"
            )

    def write(self, text: str) -> None:
        if self._file is None:
            return
        with self._or_no_file(), refusals(f"write {self._path}"):
            self._file.write(text)
            self._file.flush()

    def finish(self, text: str) -> None:
        if self._file is None:
            return
        with self._or_no_file():
            with refusals(f"write {self._path}"):
                self._file.close()
            make_folder(self._path.parent)
            with whole_file(self._path) as finished:
                shutil.copyfile(self._unfinished, finished)
                with finished.open("a", encoding="utf-8", newline="\n") as file:
                    file.write(text)

    @contextmanager
    def _or_no_file(self) -> Iterator[None]:
        try:
            yield
        except OutputError:
            if self._file is not None:
                with suppress(OSError):
                    self._file.close()
            self._file = None
            raise


def _cut(unfinished: Path, num_lines: int) -> None:
    """Keep the first lines of a document, the last of them without its comma and end."""
    length, last = 0, b""
    with unfinished.open("r+b") as file:
        for last in islice(file, num_lines):
            length += len(last)
        file.truncate(length - len(last) + len(last.rstrip(b",\n")))


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
