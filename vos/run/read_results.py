"""Finished results, read back: what was seen in which frame, and lazily the label maps.

In flows a folder that ``vos-run``, ``vos davis`` or ``vos images`` wrote, finished or broken off;
out flow its frames, and on request the source's pictures beside their label maps.
"""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, overload

import numpy as np
from numpy.typing import NDArray

from vos.errors import InputError, OutputError, SourceError
from vos.masks import read_label_png
from vos.masks.edges import alpha_of, read_edges
from vos.masks.image_files import MAX_PIXELS
from vos.records import Frame, FrameMasks, Labels, SoftEdges
from vos.run.job import Job
from vos.run.outputs import Outputs
from vos.source import Selection, Source, can_read_again, is_url, open_selection, open_source

_ENTRY: Final = '{"index": '
_HEADER_BYTES: Final = 1 << 16
_PICTURES_SUMMARY: Final = "summary"
_FAULTS: Final = (
    *(KeyError, TypeError, ValueError, AttributeError, RecursionError, OverflowError),
    ZeroDivisionError,
)


@dataclass(frozen=True, slots=True, eq=False)
class ResultFrame:
    """What the results say of one frame.

    Attributes:
        index: ``Frame.index``.
        pts_seconds: ``Frame.pts_seconds``.
        name: Stem of the label map's file.
        label_path: The label map.
        scores: (K,) float32 in [0, 1].
        present: (K,) bool.
        areas_px: (K,) int64.
        boxes_xyxy: (K, 4) int64 frame pixels, both corners inside; zeros where it is absent.
        edges_path: The soft edges; None where the run kept none.
    """

    index: int
    pts_seconds: float
    name: str
    label_path: Path
    scores: NDArray[np.float32]
    present: NDArray[np.bool_]
    areas_px: NDArray[np.int64]
    boxes_xyxy: NDArray[np.int64]
    edges_path: Path | None = None


class ResultFrames(Sequence[ResultFrame]):
    """The frames of results in order, made on access from some tens of bytes per object."""

    def __init__(self, folder: Path, object_ids: tuple[int, ...]) -> None:
        """Begin without frames.

        Args:
            folder: What the label maps' paths are relative to.
            object_ids: The (K,) ids.
        """
        self._folder = folder
        self._columns = {object_id: column for column, object_id in enumerate(object_ids)}
        self._indices, self._pts_seconds = array("q"), array("d")
        self._label_maps: list[str] = []
        self._edges: list[str | None] = []
        self._scores, self._present = array("f"), array("B")
        self._areas_px, self._boxes_xyxy = array("q"), array("q")
        self._rows: Sequence[int] = ()

    def add(self, entry: Mapping[str, Any], label_map: str) -> None:
        """Append a frame.

        Args:
            entry: Its entry in the summary.
            label_map: Its label map, relative to the folder.

        Raises:
            KeyError: the entry is none of ours; or TypeError, or ValueError.
        """
        by_id = {int(each["id"]): each for each in entry["objects"]}
        if not by_id.keys() <= self._columns.keys():
            raise ValueError("a frame has objects that the summary does not list")
        self._indices.append(int(entry["index"]))
        self._pts_seconds.append(float(entry["pts_seconds"]))
        self._label_maps.append(label_map)
        self._edges.append(None if (edges := entry.get("soft_edges")) is None else str(edges))
        for object_id in self._columns:
            each = by_id.get(object_id)
            box_xyxy = None if each is None else each["box_xyxy"]
            self._scores.append(0.0 if each is None else float(each["score"]))
            self._present.append(each is not None and bool(each["present"]))
            self._areas_px.append(0 if each is None else int(each["area_px"]))
            self._boxes_xyxy.extend([0, 0, 0, 0] if box_xyxy is None else map(int, box_xyxy))
        if len(self._boxes_xyxy) != 4 * len(self._scores):
            raise ValueError("a box has four numbers")

    def sort(self) -> None:
        """Put the frames in order of their index; call it once, after the last one."""
        rows = range(len(self._indices))
        is_sorted = all(self._indices[row - 1] < self._indices[row] for row in rows[1:])
        self._rows = rows if is_sorted else array("q", sorted(rows, key=self._indices.__getitem__))

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, number: int) -> ResultFrame: ...
    @overload
    def __getitem__(self, number: slice) -> tuple[ResultFrame, ...]: ...
    def __getitem__(self, number: int | slice) -> ResultFrame | tuple[ResultFrame, ...]:
        if isinstance(number, slice):
            return tuple(self[each] for each in range(*number.indices(len(self))))
        row = self._rows[number]
        label_path, edges = self._folder / self._label_maps[row], self._edges[row]
        part = slice(row * len(self._columns), (row + 1) * len(self._columns))
        return ResultFrame(
            index=self._indices[row],
            pts_seconds=self._pts_seconds[row],
            name=label_path.stem,
            label_path=label_path,
            edges_path=None if edges is None else self._folder / edges,
            scores=np.array(self._scores[part], np.float32),
            present=np.array(self._present[part], bool),
            areas_px=np.array(self._areas_px[part], np.int64),
            boxes_xyxy=np.array(self._boxes_xyxy[4 * part.start : 4 * part.stop], np.int64).reshape(
                -1, 4
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Results:
    """The results of one video, or of a set of pictures; label maps are read on access.

    Attributes:
        folder: Folder of the results.
        name: Name of the results; of pictures the folder's.
        source: The video: its path as given, or its URL; for pictures their folder.
        job: The job; None for pictures, and if this version of vos cannot read it.
        selection: Which frames of the source were used; None for pictures.
        object_ids: The (K,) ids of the objects, in the order of all rows.
        names: Names of the objects, by id.
        frame_hw: Height and width of the frames; None for pictures, whose sizes differ.
        frame_rate_hz: Average frame rate of what was used, or None.
        frames: The frames in order of their index; of a run that broke off those that are done.
        summary_path: The summary that they were read from.
        is_complete: Whether the run was finished.
        pictures: Paths of the pictures, one for each frame; empty for a video.
        sample_aspect_ratio: Width of a pixel by its height, where the frame is shown.
    """

    folder: Path
    name: str
    source: str
    job: Job | None
    selection: Selection | None
    object_ids: tuple[int, ...]
    names: Mapping[int, str]
    frame_hw: tuple[int, int] | None
    frame_rate_hz: float | None
    frames: Sequence[ResultFrame]
    summary_path: Path
    is_complete: bool
    pictures: Sequence[str] = ()
    sample_aspect_ratio: Fraction = Fraction(1)

    def labels(self, number: int) -> Labels:
        """Read a label map.

        Args:
            number: Position in ``frames``, which is not the frame's index in the source.

        Returns:
            (H, W) uint8: 0 is background, else the object's id.

        Raises:
            IndexError: there is no such frame.
            OutputError: the label map is gone, damaged, or of another size than the frames.
        """
        path = self.frames[number].label_path
        if not path.exists():
            raise OutputError(
                f"the label map {path} is gone, though the results in {self.folder} list it; run "
                "again with --overwrite"
            )
        labels = read_label_png(path, max_pixels=self._max_pixels)
        if self.frame_hw is not None and labels.shape != self.frame_hw:
            height, width = self.frame_hw
            raise OutputError(
                f"the label map {path} is {labels.shape[1]} x {labels.shape[0]}, the results' "
                f"frames are {width} x {height}"
            )
        return labels

    @property
    def has_soft_edges(self) -> bool:
        """Whether the run kept soft edges of every frame, as ``vos-run --soft`` does."""
        return all(frame.edges_path is not None for frame in self.frames)

    def edges(self, number: int) -> SoftEdges | None:
        """Read the soft edges of a frame, in agreement with its label map.

        Args:
            number: As of :meth:`labels`.

        Returns:
            The edges; None where the run kept none.

        Raises:
            OutputError: as :meth:`labels`; or the edges are gone, damaged, or of another size.
        """
        path = self.frames[number].edges_path
        return None if path is None else read_edges(path, self.labels(number))

    def alpha(self, number: int) -> NDArray[np.uint8]:
        """Read the opacity of each object.

        Args:
            number: As of :meth:`labels`.

        Returns:
            (K, H, W) uint8: 128 or more exactly where the label map has the object, 255 and 0 a few
            pixels from its outline. All objects at a pixel make at most 255 together.

        Raises:
            OutputError: as :meth:`edges`; or the run kept no soft edges.
        """
        labels, edges = self.labels(number), self.edges(number)
        if edges is None:
            raise OutputError(
                f"the results {self.name} in {self.folder} have no soft edges: vos-run --soft "
                "keeps them"
            )
        return np.stack([alpha_of(edges, labels, object_id) for object_id in self.object_ids])

    def masks(self, number: int) -> FrameMasks:
        """Give the masks of a frame as the run gave them, without soft edges; as :meth:`labels`."""
        frame = self.frames[number]
        return FrameMasks(
            labels=self.labels(number),
            object_ids=self.object_ids,
            scores=frame.scores,
            present=frame.present,
            boxes_xyxy=frame.boxes_xyxy,
            areas_px=frame.areas_px,
        )

    @contextmanager
    def open_frames(
        self, source: str | os.PathLike[str] | None = None
    ) -> Iterator[Iterator[tuple[Frame, ResultFrame, Labels]]]:
        """Open the source again, in step with the results.

        Args:
            source: Where the source is now, if it was moved.

        Yields:
            An iterator of the source's frame, what the results say of it, and its label map; for
            each frame of the results, in their order.

        Raises:
            SourceError: the source is gone, cannot be read, ends before the results do, or has
                frames of another size.
            OutputError: as :meth:`labels`.
        """
        if self.pictures:
            yield self._open_pictures(None if source is None else Path(source))
            return
        with self.open_source(source) as opened:
            address = os.fspath(source or self.source)
            with closing(self._in_step(opened, address)) as triples:
                yield triples

    def open_source(self, source: str | os.PathLike[str] | None = None) -> Source:
        """Open the source of a video again, at the first frame of the results.

        Args:
            source: Where the source is now. Without it nothing is opened that can be read only
                once, such as a URL, which anybody could have written into the results.

        Raises:
            SourceError: as :meth:`open_frames`.
        """
        address = os.fspath(source or self.source)
        of = f"the results in {self.folder} are of {address}"
        is_once = is_url(address) or (os.path.exists(address) and not can_read_again(address))
        if source is None and is_once:
            raise SourceError(f"{of}, which can be read only once: say where its frames are now")
        first_index = self.frames[0].index if self.frames else None
        try:
            opened = open_selection(address, self.selection or Selection(), first_index=first_index)
        except SourceError as error:
            error.args = (f"{error}; {of}: say where it is now",)
            raise
        if opened.info.frame_hw != self.frame_hw:
            with opened:
                raise SourceError(
                    f"{address} is not what the results in {self.folder} are of: its frames are "
                    f"{opened.info.frame_hw[1]} x {opened.info.frame_hw[0]}, theirs "
                    f"{(self.frame_hw or (0, 0))[1]} x {(self.frame_hw or (0, 0))[0]}"
                )
        return opened

    @property
    def _max_pixels(self) -> int:
        return MAX_PIXELS if self.selection is None else self.selection.max_pixels

    def _in_step(
        self, frames: Iterator[Frame], address: str
    ) -> Generator[tuple[Frame, ResultFrame, Labels], None, None]:
        for number, result in enumerate(self.frames):
            frame = next((each for each in frames if each.index >= result.index), None)
            if frame is None or frame.index != result.index:
                raise SourceError(
                    f"{address} has no frame {result.index}, of which there are results in "
                    f"{self.folder}: it is another source, or was cut"
                )
            yield frame, result, self.labels(number)

    def _open_pictures(self, folder: Path | None) -> Iterator[tuple[Frame, ResultFrame, Labels]]:
        for number, (result, picture) in enumerate(zip(self.frames, self.pictures, strict=True)):
            path = Path(picture) if folder is None else folder / Path(picture).name
            with open_source(path) as opened:
                rgb = next(opened).rgb
            labels = self.labels(number)
            if labels.shape != rgb.shape[:2]:
                raise SourceError(
                    f"{path} is {rgb.shape[1]} x {rgb.shape[0]}, its label map "
                    f"{labels.shape[1]} x {labels.shape[0]}"
                )
            yield Frame(result.index, result.pts_seconds, result.name, rgb), result, labels


def read_results(folder: str | os.PathLike[str], name: str | None = None) -> Results:
    """Read the results of one video, or of a set of pictures.

    The summary is read line by line; what stays in memory is a row of numbers for each frame.

    Args:
        folder: Folder of the results, as ``--out``; or their summary, or their folder of label
            maps, which name them.
        name: Which results, if there are several in the folder, as of ``vos davis``.

    Raises:
        OutputError: there are no results here, there are several and no name was given, or their
            summary is damaged.
    """
    folder, name = _locate(Path(folder), name)
    outputs = Outputs(folder=folder, name=name)
    unfinished = outputs.unfinished_summary
    path = unfinished if unfinished.is_file() else outputs.summary_path
    try:
        with path.open(encoding="utf-8") as file:
            results = _read(file, path, folder, name, is_complete=path is not unfinished)
    except OSError as error:
        raise OutputError(f"cannot read {path}: {error.strerror or error}") from error
    except _FAULTS as error:
        raise OutputError(
            f"{path} is damaged, or not a summary of vos: {error}; run again with --overwrite"
        ) from error
    return results


def result_names(folder: str | os.PathLike[str]) -> list[str]:
    """Name the results in a folder: those that have a summary, finished or not."""
    folder = Path(folder)
    finished = {path.stem for path in folder.glob("*.json") if _is_summary(path)}
    broken_off = {path.parent.name[1:] for path in folder.glob(".*.unfinished/summary.json")}
    return sorted(finished | {Path(each).stem for each in broken_off})


def _is_summary(path: Path) -> bool:
    """Tell summaries from other JSON files by how they begin."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(_HEADER_BYTES)
    return all(key in head for key in (b'"source"', b'"versions"'))


def _locate(path: Path, name: str | None) -> tuple[Path, str]:
    """Give the folder of results and their name.

    Raises:
        OutputError: see :func:`read_results`.
    """
    if name is None and path.is_file() and path.suffix == ".json":
        return path.parent, path.stem
    if not path.is_dir():
        raise OutputError(f"there are no results at {path}: it is not a folder")
    names = result_names(path)
    if name is not None:
        if name not in names:
            raise OutputError(
                f"there are no results {name} in {path}; there is {', '.join(names) or 'nothing'}"
            )
        return path, name
    if len(names) == 1:
        return path, names[0]
    if names:
        raise OutputError(f"there are several results in {path}: {', '.join(names)}; say which one")
    if path.name in result_names(path.parent):
        return path.parent, path.name
    raise OutputError(f"there are no results in {path}: it holds no summary of vos")


def _read(
    lines: Iterator[str], path: Path, folder: Path, name: str, *, is_complete: bool
) -> Results:
    """Read a summary without holding its text.

    Each frame stands on a line of its own; what remains is a small document. A summary that was
    laid out anew by another program has its frames in there.
    """
    frames: ResultFrames | None = None
    pictures: list[str] = []
    rest: list[str] = []
    document: dict[str, Any] = {}
    for line in lines:
        if not line.startswith(_ENTRY):
            rest.append(line)
            continue
        if frames is None:
            document = json.loads(f"{''.join(rest)}]}}")
            frames = ResultFrames(folder, tuple(map(int, document["objects"])))
        text = line.rstrip().rstrip(",")
        if not is_complete and not text.endswith("}"):
            break  # the last line of a run that was killed
        _add(frames, pictures, json.loads(text), name)
    if frames is None:
        document = json.loads("".join(rest) + ("" if is_complete else "]}"))
        frames = ResultFrames(folder, tuple(map(int, document["objects"])))
        for entry in document["frames"]:
            _add(frames, pictures, entry, name)
    elif is_complete:
        document = json.loads("".join(rest))
    frames.sort()
    return _results(document, path, folder, name, frames, pictures, is_complete=is_complete)


def _add(frames: ResultFrames, pictures: list[str], entry: dict[str, Any], name: str) -> None:
    frames.add(entry, str(entry.get("label_map") or f"{name}/{entry['name']}.png"))
    if "picture" in entry:
        pictures.append(str(entry["picture"]))


def _results(
    document: dict[str, Any],
    path: Path,
    folder: Path,
    name: str,
    frames: ResultFrames,
    pictures: list[str],
    *,
    is_complete: bool,
) -> Results:
    is_pictures = "job" not in document
    job = None if is_pictures else _read_job(document["job"], folder, name)
    object_ids = tuple(map(int, document["objects"]))
    renamed = {} if is_pictures else document["job"].get("names") or {}
    hw = None if is_pictures else (int(document["height_px"]), int(document["width_px"]))
    rate_hz = document.get("frame_rate_hz")
    return Results(
        folder=folder,
        name=folder.resolve().name if is_pictures and name == _PICTURES_SUMMARY else name,
        source=str(document["source"]),
        job=job,
        selection=None if is_pictures else Selection(**document["selection"]),
        object_ids=object_ids,
        names={each: str(renamed.get(str(each), f"object {each}")) for each in object_ids},
        frame_hw=hw,
        frame_rate_hz=None if rate_hz is None else float(rate_hz),
        sample_aspect_ratio=Fraction(str(document.get("sample_aspect_ratio", 1))),
        frames=frames,
        summary_path=path,
        is_complete=is_complete and not document.get("damaged"),
        pictures=tuple(pictures),
    )


def _read_job(document: dict[str, Any], folder: Path, name: str) -> Job | None:
    """Read a job, and put back where its results are; None for one of another version of vos."""
    try:
        job = Job.from_json(json.dumps(document))
    except InputError:
        return None
    return replace(job, outputs=replace(job.outputs, folder=folder, name=name))
