"""A JSON summary: when, where and how surely each object was seen."""

from __future__ import annotations

import json
import shutil
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final, TextIO

import numpy as np
from numpy.typing import NDArray

from vos.errors import DamagedSourceError, InputError, OutputError
from vos.files import make_folder, refusals, whole_file
from vos.records import Frame, FrameMasks, Labels, SoftEdges
from vos.sink.passing import Pair, closing_upstream, rounded_scores
from vos.sink.tallies import ObjectTallies

_BOX_CONVENTION: Final = (
    "x0, y0, x1, y1 in pixels of the frame, from 0 at the left and top; x1 and y1 are the last "
    "column and row inside the box (inclusive)"
)
SUMMARY_KEYS: Final = (
    *("box_convention", "objects", "frames", "num_frames", "tallies", "damaged"),
    "elapsed_seconds",
)
_FILES: Final = "files"
_FILES_OF_FRAME: Final = ("label_map", "soft_edges", "overlay", "training")
_ENTRY: Final = b'{"index": '
_NUM_DIGITS: Final = 6  # of seconds; finer than they are known


def write_summary(
    pairs: Iterable[Pair],
    path: Path,
    header: Mapping[str, object],
    *,
    unfinished: Path,
    num_kept: int = 0,
    describe: Callable[[Frame, FrameMasks], Mapping[str, object]] = lambda *_: {},
    tallies: ObjectTallies | None = None,
    elapsed_seconds: Callable[[], float] | None = None,
) -> Iterator[Pair]:
    """Write one JSON document while frames pass by, a line for each.

    The document holds the header's keys, what its boxes mean, ``objects`` (ids), ``frames``,
    ``num_frames``, ``tallies`` (see :meth:`vos.sink.tallies.ObjectTallies.rows`), ``damaged`` (the
    frames at which the source broke off: ``index``, ``pts_seconds`` and ``message``) and
    ``elapsed_seconds``. A frame has ``index``, ``name``, ``pts_seconds``, what ``describe`` says,
    and ``objects``, each of them with ``id``, ``score``, ``present``, ``area_px`` and ``box_xyxy``
    (null while the object is absent). The file takes its name when it is complete; that is also
    when the upstream breaks off or the consumer stops. No frame, no file.

    Args:
        pairs: Frames and their masks.
        path: The JSON file, replaced if it exists.
        header: What else to say; JSON values. ``files`` says which files there are, but for those
            of single frames; paths relative to the summary's folder.
        unfinished: Where the document grows, with every line on the disk before its frame is
            handed on. It stays there.
        num_kept: Frames of an earlier run that stand in ``unfinished``; what follows them goes.
        describe: Says more of a frame; JSON values. ``label_map``, ``soft_edges``, ``overlay`` and
            ``training`` are its files.
        tallies: What to count the frames with; it knows of those that are kept.
        elapsed_seconds: How long the run has taken until now; null in the document without it.

    Yields:
        The same pairs.

    Raises:
        InputError: the header holds what JSON cannot, or keys of the document itself.
        OutputError: the disk refuses, or ``unfinished`` does not hold the frames to be kept.
    """
    lines = _header_lines(header)
    tallies = tallies or ObjectTallies()
    damaged: list[dict[str, object]] = []

    with closing_upstream(pairs) as upstream:
        first = next(upstream, None)
        if first is None and not num_kept:
            return
        num_frames = num_kept
        # Three lines surround the header's.
        document = _Document(path, unfinished, num_kept and len(lines) + 3 + num_kept)
        try:
            if not num_kept and first is not None:
                document.write(_head(lines, first[1].object_ids))
            for frame, masks in chain([] if first is None else [first], upstream):
                entry = _entry(frame, masks, describe(frame, masks))
                document.write((",\n" if num_frames else "\n") + json.dumps(entry))
                tallies.add(frame.index, entry["objects"])
                num_frames += 1
                yield frame, masks
        except DamagedSourceError as error:
            damaged.append(
                {
                    "index": error.frame_index,
                    "pts_seconds": error.pts_seconds,
                    "message": str(error),
                }
            )
            raise
        finally:
            seconds = None if elapsed_seconds is None else elapsed_seconds()
            document.finish(_tail(num_frames, tallies, damaged, seconds))


def write_entries(
    path: Path,
    header: Mapping[str, object],
    entries: Iterable[Mapping[str, Any]],
    *,
    object_ids: tuple[int, ...],
    min_score: float,
    elapsed_seconds: float,
) -> list[dict[str, object]]:
    """Write the document of frames that are described already.

    Args:
        path: The JSON file, replaced if it exists.
        header: As in :func:`write_summary`.
        entries: What ``frames`` holds, each with all objects.
        object_ids: The objects.
        min_score: As in :class:`vos.sink.tallies.ObjectTallies`.
        elapsed_seconds: How long all of it took.

    Returns:
        The rows of ``tallies``.

    Raises:
        InputError: the header holds what JSON cannot, or keys of the document itself.
        OutputError: the disk refuses.
    """
    tallies, num_frames = ObjectTallies(min_score), 0
    with (
        whole_file(path) as unfinished,
        unfinished.open("w", encoding="utf-8", newline="\n") as file,
    ):
        file.write(_head(_header_lines(header), object_ids))
        for entry in entries:
            file.write((",\n" if num_frames else "\n") + json.dumps(entry))
            tallies.add(entry["index"], entry["objects"])
            num_frames += 1
        file.write(_tail(num_frames, tallies, [], elapsed_seconds))
    return tallies.rows()


def _header_lines(header: Mapping[str, object]) -> list[str]:
    taken = [key for key in SUMMARY_KEYS if key in header]
    if taken:
        raise InputError(f"a summary's header cannot hold {', '.join(taken)}")
    try:
        return [
            f"{json.dumps(key)}: {json.dumps(value, allow_nan=False)},\n"
            for key, value in {**header, "box_convention": _BOX_CONVENTION}.items()
        ]
    except (TypeError, ValueError) as error:
        raise InputError(f"a summary's header must be JSON: {error}") from error


def _head(lines: list[str], object_ids: tuple[int, ...]) -> str:
    return "{\n" + "".join(lines) + f'"objects": {json.dumps(object_ids)},\n"frames": ['


def _tail(
    num_frames: int,
    tallies: ObjectTallies,
    damaged: list[dict[str, object]],
    elapsed_seconds: float | None,
) -> str:
    tail = {
        "num_frames": num_frames,
        "tallies": tallies.rows(),
        "damaged": damaged,
        "elapsed_seconds": None if elapsed_seconds is None else round(elapsed_seconds, 3),
    }
    rows = ",\n".join(f"{json.dumps(key)}: {json.dumps(tail[key])}" for key in tail)
    return f"\n],\n{rows}\n}}\n"


def read_kept(unfinished: Path, num_frames: int) -> Iterator[dict[str, Any]]:
    """Read the entries of the first frames in an unfinished document.

    Raises:
        OutputError: it cannot be read, or holds fewer frames.
    """
    num_found = 0
    try:
        with unfinished.open("rb") as file:
            for line in file:
                if num_found < num_frames and line.startswith(_ENTRY):
                    num_found += 1
                    yield json.loads(line.rstrip(b",\n"))
    except (OSError, ValueError, RecursionError) as error:
        raise OutputError(f"cannot read {unfinished}: {error}") from error
    if num_found < num_frames:
        raise OutputError(f"{unfinished} holds {num_found} of the {num_frames} frames done before")


class Entries:
    """The entries of a finished document, looked up by frame; memory holds 16 bytes for each.

    A context manager.

    Attributes:
        indices: (N,) int64, ``Frame.index`` of all of them, ascending.
    """

    def __init__(self, path: Path) -> None:
        """Find all entries.

        Raises:
            OutputError: the document cannot be read.
        """
        indices, offsets = array("q"), array("q")
        with refusals(f"read {path}", ValueError):
            self._file = path.open("rb")
            offset = 0
            for line in self._file:
                if line.startswith(_ENTRY):
                    indices.append(int(line[len(_ENTRY) :].partition(b",")[0]))
                    offsets.append(offset)
                offset += len(line)
        self._path = path
        order = np.argsort(indices, kind="stable")
        self._offsets = np.array(offsets)[order]
        self.indices: NDArray[np.int64] = np.array(indices)[order]

    def __enter__(self) -> Entries:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Give all entries, by ascending frames."""
        return (self._read(int(offset)) for offset in self._offsets)

    def of(self, index: int) -> dict[str, Any] | None:
        """Give the entry of a frame by its ``Frame.index``; None where there is none."""
        number = int(np.searchsorted(self.indices, index))
        if number == len(self.indices) or self.indices[number] != index:
            return None
        return self._read(int(self._offsets[number]))

    def _read(self, offset: int) -> dict[str, Any]:
        with refusals(f"read {self._path}", ValueError):
            self._file.seek(offset)
            entry: dict[str, Any] = json.loads(self._file.readline().rstrip(b",\n"))
        return entry


def read_header(path: Path) -> dict[str, Any]:
    """Read a finished document but for its frames.

    Raises:
        OutputError: it cannot be read.
    """
    with refusals(f"read {path}", ValueError, RecursionError), path.open(encoding="utf-8") as file:
        text = "".join(line for line in file if not line.startswith(_ENTRY.decode()))
        document: dict[str, Any] = json.loads(text)
    if not isinstance(document, dict):
        raise OutputError(f"cannot read {path}: it is not a summary of vos")
    return document


def listed_files(path: Path) -> Iterator[str]:
    """Read from a finished document which files it says were written.

    Yields:
        Paths relative to the document's folder; none if this is no document of ours.

    Raises:
        OutputError: the disk refuses.
    """
    if not path.is_file():
        return
    with refusals(f"read {path}"):
        content = path.read_bytes()
    with suppress(ValueError, RecursionError):  # anything may stand in a file of this name
        document = json.loads(content)
        if isinstance(document, dict):
            frames = document.get("frames")
            yield from _texts([document.get(_FILES)])
            for entry in frames if isinstance(frames, list) else []:
                if isinstance(entry, dict):
                    yield from _texts(entry.get(key) for key in _FILES_OF_FRAME)


def _texts(values: Iterable[object]) -> Iterator[str]:
    """Give all texts among values, lists of values, and the values of objects."""
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, list | dict):
            yield from _texts(value.values() if isinstance(value, dict) else value)


def masks_of(
    entry: Mapping[str, Any], labels: Labels, edges: SoftEdges | None = None
) -> FrameMasks:
    """Put the masks of a frame together again from its entry, label map and soft edges.

    Raises:
        KeyError: the entry is none of ours; or TypeError, or ValueError.
    """
    objects = entry["objects"]
    boxes = [each["box_xyxy"] or [0, 0, 0, 0] for each in objects]
    return FrameMasks(
        labels=labels,
        object_ids=tuple(int(each["id"]) for each in objects),
        scores=np.array([float(each["score"]) for each in objects], np.float32),
        present=np.array([bool(each["present"]) for each in objects]),
        boxes_xyxy=np.array(boxes, np.int64).reshape(-1, 4),
        areas_px=np.array([int(each["area_px"]) for each in objects], np.int64),
        edges=edges,
    )


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


def entry_of_absent(object_id: int) -> dict[str, Any]:
    """Give what the entry of a frame says of an object that is not in it."""
    return {"id": object_id, "score": 0.0, "present": False, "area_px": 0, "box_xyxy": None}


def _entry(frame: Frame, masks: FrameMasks, described: Mapping[str, object]) -> dict[str, Any]:
    rows = zip(
        masks.object_ids,
        rounded_scores(masks).values(),
        masks.present.tolist(),
        masks.areas_px.tolist(),
        masks.boxes_xyxy.tolist(),
        strict=True,
    )
    return {
        "index": frame.index,
        "name": frame.name,
        "pts_seconds": round(frame.pts_seconds, _NUM_DIGITS),
        **described,
        "objects": [
            {
                "id": object_id,
                "score": score,
                "present": is_present,
                "area_px": area_px,
                "box_xyxy": box_xyxy if is_present else None,
            }
            for object_id, score, is_present, area_px, box_xyxy in rows
        ],
    }
