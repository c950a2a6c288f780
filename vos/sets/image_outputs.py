"""Where the results of a set of images go, and what may be replaced there."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, get_args

from vos.errors import OutputError
from vos.files import refusals
from vos.run.replacing import Ledger, check_inputs_kept
from vos.sink.pictures import TrainingLayout, training_files

_SUMMARY: Final = "summary.json"
_LOCK: Final = ".lock"
_OVERLAYS: Final = "overlays"
_UNFINISHED: Final = ".unfinished"
_JOURNAL: Final = "files"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageOutputs:
    """The files of one set: ``folder/*.png``, ``folder/overlays/*.jpg``, ``folder/summary.json``.

    Attributes:
        folder: Folder of the label maps, and of all the rest.
        overlay_alpha: Opacity of the overlays' colours in [0, 1]; None writes none.
        training: Layout of a training set in a folder of its name, or None for none.
        overwrite: Whether an earlier set in this folder may be replaced.
    """

    folder: Path
    overlay_alpha: float | None = 0.5
    training: TrainingLayout | None = None
    overwrite: bool = False

    @property
    def summary_path(self) -> Path:
        """The summary of the run."""
        return self.folder / _SUMMARY

    @property
    def overlays_folder(self) -> Path:
        """Folder of the overlays."""
        return self.folder / _OVERLAYS

    @property
    def training_folder(self) -> Path:
        """Folder of the training set."""
        return self.folder / (self.training or "")

    @property
    def unfinished_folder(self) -> Path:
        """The summary and the list of files while they grow; it is removed in the end."""
        return self.folder / _UNFINISHED

    @property
    def unfinished_summary(self) -> Path:
        """The summary while it grows."""
        return self.unfinished_folder / _SUMMARY

    @property
    def journal_path(self) -> Path:
        """The list of files while it grows."""
        return self.unfinished_folder / _JOURNAL

    @property
    def lock_path(self) -> Path:
        """A file that is there while a run writes."""
        return self.folder / _LOCK

    @property
    def written(self) -> tuple[Path, ...]:
        """Where the results are, for people."""
        overlays = () if self.overlay_alpha is None else (self.overlays_folder,)
        training = () if self.training is None else (self.training_folder,)
        return (self.folder, self.summary_path, *overlays, *training)

    @property
    def ledger(self) -> Ledger:
        """Which files earlier runs wrote."""
        training = [
            path.parent
            for layout in get_args(TrainingLayout)
            for path in training_files(self.folder / layout, layout, "x")
        ]
        return Ledger(
            folder=self.folder,
            summary=self.summary_path,
            journal=self.journal_path,
            result_files=(self.summary_path,),
            result_folders=(self.folder, self.overlays_folder, *training),
        )

    def label_path(self, name: str) -> Path:
        """The label map of a picture, by its stem."""
        return self.folder / f"{name}.png"

    def paths_of(self, name: str) -> tuple[Path, ...]:
        """All files of a picture, by its stem."""
        overlay = [] if self.overlay_alpha is None else [self.overlays_folder / f"{name}.jpg"]
        return (self.label_path(name), *overlay, *self.training_paths(name))

    def training_paths(self, name: str) -> tuple[Path, ...]:
        """The files of a picture in the training set, if there is to be one, by its stem."""
        if self.training is None:
            return ()
        return training_files(self.training_folder, self.training, name)

    def check_free(self, pictures: Iterable[Path], inputs: Iterable[Path] = ()) -> None:
        """Make sure that nothing is replaced that the user did not give away.

        Args:
            pictures: The pictures whose results are to be written.
            inputs: What else is read: files, and folders of files.

        Raises:
            OutputError: something exists already, the folder is a file, or a result would take
                the place of what is read.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise OutputError(f"the output folder {self.folder} is a file")
        pictures = list(pictures)
        results = [path for picture in pictures for path in self.paths_of(picture.stem)]
        results.append(self.summary_path)
        hidden = (self.unfinished_folder, self.lock_path)
        earlier = self.ledger.files() if self.overwrite else ()
        check_inputs_kept((*pictures, *inputs), (*results, *hidden, *earlier))
        if self.overwrite:
            self.ledger.check_free(results)
            return
        for path in (*results, self.unfinished_folder):
            if os.path.lexists(path):
                raise OutputError(
                    f"{path} exists already; choose another output folder, or pass --overwrite "
                    "to replace it"
                )

    def remove_unfinished(self) -> None:
        """Remove what a run that breaks off would leave; other files stay.

        Raises:
            OutputError: the disk refuses.
        """
        with refusals(f"remove {self.unfinished_folder}"):
            for path in (self.unfinished_summary, self.journal_path):
                path.unlink(missing_ok=True)
            with suppress(OSError):
                self.unfinished_folder.rmdir()
