"""What a run may replace: what vos says that it wrote, and never what the run reads."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from vos.errors import OutputError
from vos.files import make_folder, part_path, refusals
from vos.records import Frame, FrameMasks
from vos.sink.passing import Pair, closing_upstream
from vos.sink.summary import listed_files


def check_inputs_kept(
    inputs: Iterable[str | os.PathLike[str]], outputs: Iterable[str | os.PathLike[str]]
) -> None:
    """Make sure that nothing a run reads is written, replaced or removed by it.

    Files are told apart by what the system says of them, so that links and other spellings of a
    name do not hide one.

    Args:
        inputs: Files and folders that the run reads; of a folder, all files in it. What is no file
            here, such as a URL, is passed over.
        outputs: Files and folders that the run may write; of a folder, all that is below it. They
            need not exist.

    Raises:
        OutputError: an input is among the outputs.
    """
    known: dict[tuple[int, int] | None, Path] = {}
    for path in map(Path, inputs):
        if _identity(path) is not None:
            known |= {_identity(each): each for each in (path, *_below(path, num_folders=1))}
    known.pop(None, None)
    for output in map(Path, outputs):
        for path in (output, part_path(output), *_below(output)):
            read = known.get(_identity(path))
            if read is not None:
                raise OutputError(
                    f"{read} is read by this run and would be replaced by its results "
                    f"({output}); choose another folder or name for the results"
                )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def _below(folder: Path, num_folders: int | None = None) -> Iterator[Path]:
    """Give what is in a folder and in those below it, in all of them or in the first ones."""
    for parent, folders, files in islice(os.walk(folder), num_folders):
        for name in (*folders, *files):
            yield Path(parent, name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """Which files vos wrote, as the summary of a run says, or the journal of an unfinished one.

    Attributes:
        folder: What the paths in both are relative to.
        summary: The summary of a finished run.
        journal: The list of files that a run makes as it goes on.
        result_files: Files that may be results.
        result_folders: Folders whose files may be results. What a summary says of other files is
            passed over: it may be forged.
    """

    folder: Path
    summary: Path
    journal: Path
    result_files: tuple[Path, ...]
    result_folders: tuple[Path, ...]

    def files(self) -> Iterator[Path]:
        """Read which files earlier runs say they wrote.

        Raises:
            OutputError: the summary or the journal cannot be read.
        """
        for text in chain(_lines(self.journal), listed_files(self.summary)):
            path = self.folder / text
            if path in self.result_files or path.parent in self.result_folders:
                yield path

    def check_free(self, paths: Iterable[Path]) -> None:
        """Make sure that no file is replaced that vos does not say it wrote.

        Raises:
            OutputError: there is one.
        """
        foreign = [path for path in paths if os.path.lexists(path)]
        if foreign:
            written = self.files()
            while foreign and (path := next(written, None)) is not None:
                foreign = [each for each in foreign if each != path]
        for path in foreign:
            raise _in_the_way(path)

    def remove_written(self) -> None:
        """Remove what earlier runs wrote, so that none of it outlives them; other files stay.

        Raises:
            OutputError: the disk refuses.
        """
        with refusals("replace the earlier results", ValueError):
            for path in self.files():
                if path != self.summary:  # it is still being read
                    path.unlink(missing_ok=True)
                part_path(path).unlink(missing_ok=True)
            if self.summary.exists():
                self.check_free([self.summary])
                self.summary.unlink()

    def begin(self, paths: Iterable[Path]) -> None:
        """Begin a journal with the files that a run makes in any case.

        Raises:
            OutputError: the disk refuses.
        """
        make_folder(self.journal.parent)
        with refusals(f"write {self.journal}"):
            self.journal.write_text("".join(map(self._line, paths)), encoding="ascii")

    def go_on(self, num_files: int) -> None:
        """Keep the first files of a journal, and remove all that follow, with their lines.

        Raises:
            OutputError: the disk refuses, or the journal holds fewer files.
        """
        with refusals(f"go on with {self.journal}", ValueError), self.journal.open("r+b") as file:
            for _ in range(num_files):
                if not file.readline().endswith(b"\n"):
                    raise OutputError(f"{self.journal} lacks files that were done before")
            length = file.tell()
            for line in file:
                with suppress(ValueError, RecursionError):  # the last one may be cut short
                    path = self.folder / str(json.loads(line))
                    if path.parent in self.result_folders:
                        path.unlink(missing_ok=True)
            file.truncate(length)

    def note(
        self,
        pairs: Iterable[Pair],
        files_of: Callable[[Frame, FrameMasks], Iterable[tuple[Path, Callable[[], bytes]]]],
    ) -> Iterator[Pair]:
        """Enter files of frames in the journal before they are written, while frames pass by.

        Args:
            pairs: Frames and their masks.
            files_of: Says where the files of a frame go, and makes their content.

        Yields:
            The same pairs.

        Raises:
            OutputError: the disk refuses, or a file of others is in the way.
        """
        with refusals(f"write {self.journal}"):
            file = self.journal.open("a", encoding="ascii")
        with closing_upstream(pairs) as upstream, file:
            for frame, masks in upstream:
                for path, make_content in files_of(frame, masks):
                    with refusals(f"write {path}"):
                        if os.path.lexists(path) and not _is_same(path, make_content):
                            raise _in_the_way(path)
                        file.write(self._line(path))
                        file.flush()
                yield frame, masks

    def _line(self, path: Path) -> str:
        return json.dumps(path.relative_to(self.folder).as_posix()) + "\n"


def _lines(journal: Path) -> Iterator[str]:
    if not journal.exists():
        return
    with refusals(f"read {journal}"), journal.open("rb") as file:
        for line in file:
            with suppress(ValueError, RecursionError):  # the last one may be cut short
                yield str(json.loads(line))


def _is_same(path: Path, make_content: Callable[[], bytes]) -> bool:
    """Tell whether a file is what is to be written; a loss of power may have left an empty one."""
    return path.stat().st_size == 0 or path.read_bytes() == make_content()


def _in_the_way(path: Path) -> OutputError:
    return OutputError(
        f"{path} is there, and no summary says that vos wrote it; move it elsewhere, or choose "
        "another folder or name for the results"
    )
