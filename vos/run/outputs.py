"""Where the results of one video go, and which sinks write them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from itertools import chain
from pathlib import Path

from vos.config import RunConfig
from vos.errors import InputError, OutputError, VosError
from vos.files import refusals
from vos.masks import read_label_png
from vos.records import Frame, Labels, SourceInfo
from vos.run.names import name_fault
from vos.run.only_writer import only_writer
from vos.sam.model import SamModel
from vos.sink import write_label_pngs, write_overlay, write_summary
from vos.sink.passing import Pair, closing_upstream
from vos.sink.summary import kept_names


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """The files of one result: ``folder/name/*.png``, ``folder/name.mp4``, ``folder/name.json``.

    Attributes:
        folder: Folder of all results.
        name: Name of this one, a plain file name.
        overlay_alpha: Opacity of the overlay's colours in [0, 1]; None writes no overlay.
        overwrite: Whether earlier results of this name may be replaced.
    """

    folder: Path
    name: str
    overlay_alpha: float | None = 0.5
    overwrite: bool = False

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
        return self.unfinished_folder / "state"

    @property
    def unfinished_summary(self) -> Path:
        """The summary while it grows."""
        return self.unfinished_folder / "summary.json"

    @property
    def pieces_folder(self) -> Path:
        """The overlay's pieces while it grows."""
        return self.unfinished_folder / "overlay"

    @property
    def lock_path(self) -> Path:
        """A file that is there while a run writes."""
        return self.folder / f".{self.name}.lock"

    @property
    def is_of_earlier_run(self) -> bool:
        """Whether what is there was written by vos, to its end or not."""
        return self.summary_path.exists() or self.unfinished_folder.exists()

    @property
    def written(self) -> tuple[Path, ...]:
        """Where the results are, for people."""
        overlay = () if self.overlay_alpha is None else (self.overlay_path,)
        return (self.masks_folder, self.summary_path, *overlay)

    def check_free(self) -> None:
        """Make sure that nothing is replaced that the user did not give away.

        Raises:
            OutputError: something of this name is there, or the folder is a file.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise OutputError(f"the output folder {self.folder} is a file")
        if self.overwrite:
            return
        if self.unfinished_folder.exists():
            raise OutputError(
                f"{self.masks_folder} is of a run that did not end; go on with it with --resume, "
                "or pass --overwrite to start again"
            )
        for path in (self.masks_folder, self.overlay_path, self.summary_path):
            is_taken = any(path.iterdir()) if path.is_dir() else path.exists()
            if is_taken:
                raise OutputError(
                    f"{path} is there already; choose another output folder or name, "
                    "or pass --overwrite to replace it"
                )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Kept:
    """What a run takes over from an earlier one that broke off.

    Attributes:
        num_frames: Frames whose label maps and summary are done.
        num_in_pieces: Those of them that stand in closed pieces of the overlay.
        again: The frames between these two, read once more.
    """

    num_frames: int = 0
    num_in_pieces: int = 0
    again: Iterable[Frame] = ()


def write_results(
    pairs: Iterable[Pair],
    outputs: Outputs,
    info: SourceInfo,
    header: dict[str, object],
) -> Generator[Pair, None, None]:
    """Write everything that was asked for while the frames pass by.

    Nothing is touched before the first frame is there, so that a bad reference or model leaves no
    trace. The state of the run is not saved: if it breaks off, what is done is complete, and
    cannot be gone on with.

    Args:
        pairs: Frames and their masks.
        outputs: Where the files go.
        info: What is known of the source; the overlay takes its frame rate.
        header: What the summary says of the run.

    Yields:
        The same pairs.

    Raises:
        OutputError: results are in the way, another run is writing there, or the disk refuses.
    """
    return write_resumably(
        pairs, outputs, info, header, kept=Kept(), at_end=lambda _: remove_unfinished(outputs)
    )


def write_resumably(
    pairs: Iterable[Pair],
    outputs: Outputs,
    info: SourceInfo,
    header: dict[str, object],
    *,
    kept: Kept,
    at_end: Callable[[bool], None],
) -> Generator[Pair, None, None]:
    """Write results as :func:`write_results`, so that another run can go on with them.

    Args:
        pairs: Frames and their masks.
        outputs: Where the files go.
        info: What is known of the source.
        header: What the summary says of the run.
        kept: What there is of an earlier run.
        at_end: Called when nothing more is written, while no other run may write there: with
            True if the last frame is done, with False if the run breaks off. What is in
            ``outputs.unfinished_folder`` is its to keep or to remove.

    Yields:
        The same pairs.

    Raises:
        OutputError: results are in the way, another run is writing there, the disk refuses, or what
            is to be kept is gone.
    """
    with closing_upstream(pairs) as iterator:
        if not kept.num_frames:
            outputs.check_free()
            first = next(iterator, None)
            if first is None:
                return
            iterator = chain([first], iterator)
        with only_writer(outputs.lock_path, outputs.masks_folder):
            if not kept.num_frames:
                outputs.check_free()  # another run may have come first
                if outputs.overwrite:
                    _remove_earlier(outputs)
            else:
                _check_kept(outputs, kept.num_frames)
            try:
                yield from _through_sinks(iterator, outputs, info, header, kept)
            except BaseException:
                with suppress(VosError):
                    at_end(False)
                raise
            at_end(True)


def _through_sinks(
    pairs: Iterator[Pair],
    outputs: Outputs,
    info: SourceInfo,
    header: dict[str, object],
    kept: Kept,
) -> Iterator[Pair]:
    """Chain the sinks that were asked for."""
    again = _with_labels(kept.again, outputs)
    pairs = write_label_pngs(pairs, outputs.masks_folder)
    if outputs.overlay_alpha is not None:
        pairs = write_overlay(
            pairs,
            outputs.overlay_path,
            pieces=outputs.pieces_folder,
            frame_rate_hz=info.frame_rate_hz,
            alpha=outputs.overlay_alpha,
            num_kept=kept.num_in_pieces,
            again=again,
        )
    else:
        for _ in again:
            pass  # the source moves on
    yield from write_summary(
        pairs,
        outputs.summary_path,
        header,
        unfinished=outputs.unfinished_summary,
        num_kept=kept.num_frames,
    )


def remove_unfinished(outputs: Outputs) -> None:
    """Remove what a run needs to go on.

    It goes in one step, so that a run that is killed meanwhile is not taken for an unfinished one.

    Raises:
        OutputError: the disk refuses.
    """
    left = outputs.unfinished_folder
    if not left.exists():
        return
    removed = left.with_name(f".{outputs.name}.finished")
    with refusals(f"remove {left}"):
        shutil.rmtree(removed, ignore_errors=True)
        left.replace(removed)
        shutil.rmtree(removed)


def _check_kept(outputs: Outputs, num_frames: int) -> None:
    """Make sure that all label maps of the earlier run are there."""
    for name in kept_names(outputs.unfinished_summary, num_frames):
        path = outputs.masks_folder / f"{name}.png"
        if not path.is_file():
            raise OutputError(
                f"{path}, which was done before, is gone; pass --overwrite to start again"
            )


def _with_labels(frames: Iterable[Frame], outputs: Outputs) -> Iterator[tuple[Frame, Labels]]:
    for frame in frames:
        yield frame, read_label_png(outputs.masks_folder / f"{frame.name}.png")


def describe_run(source: str, sam: SamModel, config: RunConfig) -> dict[str, object]:
    """Say what a run was made with, for its summary: settings, versions, the model's hash."""
    packages = ("vos-persam", "torch", "segment-anything", "av", "numpy")
    return {
        "source": source,
        "model": sam.name,
        "weights_sha256": sam.weights_sha256,
        "device": str(sam.device),
        "dtype": sam.dtype,
        "compiled": sam.compiled,
        "skip_padding": sam.skip_padding,
        "settings": config.to_json_values(),
        "versions": {name: _version(name) for name in packages},
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _remove_earlier(outputs: Outputs) -> None:
    """Remove an earlier result, so that none of its frames outlives it; other files stay."""
    with refusals("replace the earlier results"):
        for path in outputs.masks_folder.glob("*.png"):
            path.unlink()
        for path in (outputs.overlay_path, outputs.summary_path):
            path.unlink(missing_ok=True)
        if outputs.unfinished_folder.exists():
            shutil.rmtree(outputs.unfinished_folder)
