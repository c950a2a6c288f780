"""Where the results of one video go, and which sinks write them."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import asdict, dataclass
from importlib import metadata
from itertools import chain
from pathlib import Path

from vos.config import RunConfig
from vos.errors import InputError, OutputError
from vos.records import Frame, FrameMasks, SourceInfo
from vos.sam.model import SamModel
from vos.sink import write_label_pngs, write_overlay, write_summary

Pair = tuple[Frame, FrameMasks]


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
        if self.name in ("", ".", "..") or self.name != Path(self.name.replace("\\", "/")).name:
            raise InputError(f"a result's name must be a plain file name, got {self.name!r}")
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
    def is_of_earlier_run(self) -> bool:
        """Whether what is there was written by vos, to its end or not."""
        unfinished = self.summary_path.with_name(f".{self.summary_path.name}.part")
        return self.summary_path.exists() or unfinished.exists()

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
        for path in (self.masks_folder, self.overlay_path, self.summary_path):
            is_taken = any(path.iterdir()) if path.is_dir() else path.exists()
            if is_taken:
                raise OutputError(
                    f"{path} is there already; choose another output folder or name, "
                    "or pass --overwrite to replace it"
                )


def write_results(
    pairs: Iterable[Pair], outputs: Outputs, info: SourceInfo, header: dict[str, object]
) -> Generator[Pair, None, None]:
    """Write everything that was asked for while the frames pass by.

    Nothing is touched before the first frame is there, so that a bad reference or model leaves no
    trace.

    Args:
        pairs: Frames and their masks.
        outputs: Where the files go.
        info: What is known of the source; the overlay takes its frame rate.
        header: What the summary says of the run.

    Yields:
        The same pairs.

    Raises:
        OutputError: results are in the way, or the disk refuses.
    """
    outputs.check_free()
    iterator = iter(pairs)
    first = next(iterator, None)
    if first is None:
        return
    if outputs.overwrite:
        _remove_earlier(outputs)
    pairs = write_label_pngs(chain([first], iterator), outputs.masks_folder)
    if outputs.overlay_alpha is not None:
        pairs = write_overlay(
            pairs,
            outputs.overlay_path,
            frame_rate_hz=info.frame_rate_hz,
            alpha=outputs.overlay_alpha,
        )
    yield from write_summary(pairs, outputs.summary_path, header)


def describe_run(source: str, sam: SamModel, config: RunConfig) -> dict[str, object]:
    """Say what a run was made with, for its summary: settings, versions, the model's hash."""
    packages = ("vos-persam", "torch", "segment-anything", "av", "numpy")
    return {
        "source": source,
        "model": sam.name,
        "weights_sha256": sam.weights_sha256,
        "device": str(sam.device),
        "dtype": sam.dtype,
        "settings": asdict(config),
        "versions": {name: _version(name) for name in packages},
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _remove_earlier(outputs: Outputs) -> None:
    """Remove an earlier result, so that none of its frames outlives it; other files stay."""
    try:
        for path in outputs.masks_folder.glob("*.png"):
            path.unlink()
        for path in (outputs.overlay_path, outputs.summary_path):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"cannot replace the earlier results: {error}") from error
