"""Where the results of one video go, and what may be replaced there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vos.config import RunConfig
from vos.errors import InputError, OutputError
from vos.files import part_path, refusals
from vos.masks import encode_label_png, read_label_png
from vos.masks.edges import encode_edges, read_edges
from vos.records import Frame, FrameMasks, SoftEdges
from vos.run.names import name_fault
from vos.run.replacing import Ledger, check_inputs_kept
from vos.sam.weights.registry import MODELS
from vos.sink.overlay import OverlayStyle
from vos.sink.pieces import PIECES
from vos.sink.summary import masks_of
from vos.sink.tallies import DEFAULT_MIN_SCORE
from vos.sink.video import check_frame_size

if TYPE_CHECKING:  # what reads results needs no torch
    from vos.track.method import Model

_STATE: Final = "state"
_SUMMARY: Final = "summary.json"
_PIECES: Final = "overlay"
_JOURNAL: Final = "files"
_SPOOL: Final = "backwards"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """The files of one result: ``folder/name/*.png``, ``folder/name.mp4``, ``folder/name.json``.

    Attributes:
        folder: Folder of all results.
        name: Name of this one, a plain file name.
        overlay_alpha: Opacity of the overlay's colours in [0, 1]; None writes no overlay.
        overwrite: Whether earlier results of this name may be replaced.
        min_score: Below this score a mask is doubtful: its contour is dashed, and the tallies of
            the summary count it.
        colours: (red, green, blue) of objects in the overlay, by id; the others have those of
            ``vos.masks.OBJECT_COLOURS``.
        names: What to call objects in the overlay, by id.
        soft: Whether soft edges are kept beside the label maps, in ``folder/name.edges/*.npz``.
    """

    folder: Path
    name: str
    overlay_alpha: float | None = 0.5
    overwrite: bool = False
    min_score: float = DEFAULT_MIN_SCORE
    colours: Mapping[int, tuple[int, int, int]] = field(default_factory=dict)
    names: Mapping[int, str] = field(default_factory=dict)
    soft: bool = False

    def __post_init__(self) -> None:
        """Check the name and the opacity.

        Raises:
            InputError: the name would leave the folder, or the opacity is out of range.
        """
        fault = name_fault(self.name)
        if fault is not None:
            raise InputError(f"a result cannot be named {self.name!r}: {fault}; choose a --name")
        if self.overlay_alpha is not None and not 0 <= self.overlay_alpha <= 1:
            raise InputError(f"the overlay's alpha must be within [0, 1], got {self.overlay_alpha}")

    @property
    def masks_folder(self) -> Path:
        """Folder of the label maps."""
        return self.folder / self.name

    @property
    def edges_folder(self) -> Path:
        """Folder of the soft edges."""
        return self.folder / f"{self.name}.edges"

    @property
    def overlay_path(self) -> Path:
        """The overlay video."""
        return self.folder / f"{self.name}.mp4"

    @property
    def summary_path(self) -> Path:
        """The summary of the run."""
        return self.folder / f"{self.name}.json"

    @property
    def unfinished_folder(self) -> Path:
        """What a run that breaks off needs to go on; it is removed in the end."""
        return self.folder / f".{self.name}.unfinished"

    @property
    def state_path(self) -> Path:
        """The saved state of the run, if it can go on."""
        return self.unfinished_folder / _STATE

    @property
    def unfinished_summary(self) -> Path:
        """The summary while it grows."""
        return self.unfinished_folder / _SUMMARY

    @property
    def pieces_folder(self) -> Path:
        """The overlay's pieces while it grows."""
        return self.unfinished_folder / _PIECES

    @property
    def journal_path(self) -> Path:
        """The list of the run's files while it grows."""
        return self.unfinished_folder / _JOURNAL

    @property
    def spool(self) -> Outputs:
        """What the pass backwards leaves for the one forwards."""
        return replace(_spool_in(self.unfinished_folder), soft=self.soft)

    @property
    def update(self) -> Outputs:
        """Where an update makes what then takes its place here."""
        return Outputs(
            folder=self.folder / f".{self.name}.update",
            name="masks",
            overlay_alpha=None,
            overwrite=True,
            min_score=self.min_score,
            soft=self.soft,
        )

    @property
    def style(self) -> OverlayStyle:
        """How masks are painted; only where there is an overlay."""
        return OverlayStyle(
            alpha=self.overlay_alpha or 0,
            min_score=self.min_score,
            colours=self.colours,
            names=self.names,
        )

    @property
    def removed_folder(self) -> Path:
        """What ``unfinished_folder`` is called for the moment until it is removed."""
        return self.folder / f".{self.name}.finished"

    @property
    def lock_path(self) -> Path:
        """A file that is there while a run writes."""
        return self.folder / f".{self.name}.lock"

    @property
    def is_of_earlier_run(self) -> bool:
        """Whether what is there was written by vos, to its end or not."""
        return self.summary_path.exists() or self.unfinished_folder.exists()

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of the result, but for those of single frames."""
        overlay = () if self.overlay_alpha is None else (self.overlay_path,)
        return (self.summary_path, *overlay)

    @property
    def written(self) -> tuple[Path, ...]:
        """Where the results are, for people."""
        edges = (self.edges_folder,) if self.soft else ()
        return (self.masks_folder, *edges, *self.files)

    @property
    def ledger(self) -> Ledger:
        """Which files earlier runs wrote."""
        return Ledger(
            folder=self.folder,
            summary=self.summary_path,
            journal=self.journal_path,
            result_files=(self.summary_path, self.overlay_path),
            result_folders=(self.masks_folder, self.edges_folder),
        )

    def check_inputs_kept(self, inputs: Iterable[str | os.PathLike[str]]) -> None:
        """Make sure that nothing a run reads is replaced or removed by its results.

        Args:
            inputs: As in :func:`vos.run.replacing.check_inputs_kept`.

        Raises:
            OutputError: an input is among the results.
        """
        hidden = (self.unfinished_folder, self.removed_folder, self.lock_path, self.update.folder)
        earlier = [path for path in self.ledger.files() if path == self.overlay_path]
        check_inputs_kept(inputs, (*self.written, *hidden, *earlier))

    def check_frame_size(self, frame_hw: tuple[int, int]) -> None:
        """Make sure that frames are not too large for the overlay, if there is to be one.

        Raises:
            OutputError: they are.
        """
        if self.overlay_alpha is not None:
            check_frame_size(frame_hw)

    def check_free(self) -> None:
        """Make sure that nothing is replaced that the user did not give away.

        Raises:
            OutputError: something of this name is there that is of no earlier run, or may not be
                replaced; or the folder is a file.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise OutputError(f"the output folder {self.folder} is a file")
        with refusals(f"read {self.folder}"):
            left = self.unfinished_folder
            is_left = left.exists()
            is_ours = self.journal_path.exists() or self.spool.folder.exists()
            if is_left and not is_ours and any(left.iterdir()):
                raise OutputError(f"{left} is not an unfinished run of vos; move it elsewhere")
            if self.overwrite:
                is_file = self.masks_folder.exists() and not self.masks_folder.is_dir()
                self.ledger.check_free((*self.files, *([self.masks_folder] if is_file else [])))
                return
            if is_left:
                raise OutputError(
                    f"{self.masks_folder} holds an unfinished run; pass --resume to go on with it, "
                    "or --overwrite to start again"
                )
            for path in self.written:
                is_taken = any(path.iterdir()) if path.is_dir() else os.path.lexists(path)
                if is_taken:
                    raise OutputError(
                        f"{path} exists already; choose another output folder or name, "
                        "or pass --overwrite to replace it"
                    )

    def label_path(self, frame: Frame) -> Path:
        """The label map of a frame."""
        return self.masks_folder / f"{frame.name}.png"

    def edges_path(self, frame: Frame) -> Path:
        """The soft edges of a frame."""
        return self.edges_folder / f"{frame.name}.npz"

    def frame_files(
        self, frame: Frame, masks: FrameMasks
    ) -> Iterator[tuple[Path, Callable[[], bytes]]]:
        """Give the files of a frame, and what makes their content."""
        yield self.label_path(frame), lambda: encode_label_png(masks.labels)
        if self.soft:
            edges = masks.edges or SoftEdges.nothing()
            yield self.edges_path(frame), lambda: encode_edges(edges)

    def read_masks(self, entry: Mapping[str, Any]) -> FrameMasks:
        """Read the masks of a frame, with their soft edges if those are kept.

        Args:
            entry: The frame's entry in the summary.

        Raises:
            OutputError: a file is gone or damaged, or the entry is none of ours.
        """
        with refusals(f"read {self.summary_path}", LookupError, TypeError, ValueError):
            labels = read_label_png(self.folder / entry["label_map"])
            edges = None
            if self.soft:
                edges = read_edges(self.folder / entry["soft_edges"], labels)
            return masks_of(entry, labels, edges)

    def remove_earlier(self) -> None:
        """Remove an earlier result, so that none of its frames outlives it; other files stay.

        Raises:
            OutputError: the disk refuses.
        """
        self.ledger.remove_written()
        with refusals("replace the earlier results"):
            _clear(self.unfinished_folder)
            with suppress(OSError):  # files of others stay
                self.edges_folder.rmdir()

    def begin_spool(self) -> None:
        """Begin an unfinished run with its pass backwards; earlier results stay for now.

        Raises:
            OutputError: the disk refuses.
        """
        with refusals(f"write {self.unfinished_folder}"):
            self.state_path.unlink(missing_ok=True)
            _clear_spool(self.unfinished_folder)
            if not self.journal_path.exists():
                self.ledger.begin(self.files)

    def remove_unfinished(self) -> None:
        """Remove what a run needs to go on.

        It goes in one step, so that a run that is killed meanwhile is not taken for an unfinished
        one.

        Raises:
            OutputError: the disk refuses.
        """
        left, removed = self.unfinished_folder, self.removed_folder
        with refusals(f"remove {left}"):
            for _ in range(2):  # what is there was left by a run that was killed just then
                _clear_spool(removed)
                _clear(removed)
                if left.exists() and not removed.exists():
                    left.replace(removed)


def _clear(folder: Path) -> None:
    """Remove what a run keeps to go on; other files stay, and the folder with them."""
    files = [folder / name for name in (_STATE, _SUMMARY, _JOURNAL)]
    for path in (*files, *(folder / _PIECES).glob(PIECES)):
        path.unlink(missing_ok=True)
        part_path(path).unlink(missing_ok=True)
    for path in (folder / _PIECES).glob(part_path(Path(PIECES)).name):
        path.unlink()
    for path in (folder / _PIECES, folder):
        with suppress(OSError):
            path.rmdir()


def _spool_in(folder: Path) -> Outputs:
    return Outputs(folder=folder / _SPOOL, name="masks", overlay_alpha=None, overwrite=True)


def _clear_spool(folder: Path) -> None:
    spool = _spool_in(folder)
    spool.ledger.remove_written()
    for left in (spool.unfinished_folder, spool.removed_folder):
        _clear(left)
    spool.lock_path.unlink(missing_ok=True)  # of a run that was killed
    for path in (spool.masks_folder, spool.edges_folder, spool.folder):
        with suppress(OSError):
            path.rmdir()


def describe_run(source: str, sam: Model, config: RunConfig) -> dict[str, object]:
    """Say what a run was made with, for its summary: settings, versions, the model's hash."""
    packages = ["vos-persam", "torch", sam.package, "av", "numpy"]
    spec, matcher = MODELS.get(sam.name), getattr(sam, "matcher", None)
    if matcher is not None or (spec is not None and spec.extra):
        packages.append("transformers")
    return {
        "source": source,
        "model": sam.name,
        "weights_sha256": sam.weights_sha256,
        "device": str(sam.device),
        "dtype": sam.dtype,
        "compiled": getattr(sam, "compiled", False),
        "skip_padding": getattr(sam, "skip_padding", False),
        "features": matcher
        and {
            "name": matcher.name,
            "weight": matcher.weight,
            "weights_sha256": matcher.weights_sha256,
        },
        "settings": config.to_json_values(),
        "versions": {name: _version(name) for name in packages},
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
