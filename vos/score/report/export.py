"""An evaluation as data: DAVIS' two CSV files, and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

from vos.errors import OutputError
from vos.score.scores import Evaluation


def write_json(evaluation: Evaluation, path: Path) -> None:
    """Write all figures in full precision.

    The keys are ``global`` and ``objects``, the latter by ``<sequence>_<id>``; and ``left_out``
    where something was.

    Args:
        evaluation: What to write.
        path: File to write or replace; its folder is made.

    Raises:
        OutputError: the file cannot be written.
    """
    content: dict[str, object] = {
        "global": evaluation.statistics.measures(),
        "objects": {
            name: scored.statistics.measures() for name, scored in evaluation.objects().items()
        },
    }
    if evaluation.left_out:
        content["left_out"] = [
            {"sequence": problem.sequence, "frame": problem.frame, "reason": problem.reason}
            for problem in evaluation.left_out
        ]
    write_text(path, json.dumps(content, indent=2) + "\n")


def csv_paths(folder: Path, split: str | None) -> tuple[Path, Path]:
    """Name DAVIS' two files: global figures, and those of each object."""
    name = split or "all"
    return folder / f"global_results-{name}.csv", folder / f"per-sequence_results-{name}.csv"


def write_csv(evaluation: Evaluation, folder: Path) -> None:
    """Write DAVIS' two files, figures to three decimals.

    Args:
        evaluation: What to write.
        folder: Receives the files of :func:`csv_paths`. It is made.

    Raises:
        OutputError: a file cannot be written.
    """
    measures = evaluation.statistics.measures()
    rows_of_objects = [
        (name, f"{scored.statistics.j_mean:.3f}", f"{scored.statistics.f_mean:.3f}")
        for name, scored in evaluation.objects().items()
    ]
    tables: list[list[Sequence[str]]] = [
        [list(measures), [f"{figure:.3f}" for figure in measures.values()]],
        [["Sequence", "J-Mean", "F-Mean"], *rows_of_objects],
    ]
    for path, rows in zip(csv_paths(folder, evaluation.settings.split), tables, strict=True):
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerows(rows)
        write_text(path, buffer.getvalue())


def write_text(path: Path, text: str) -> None:
    """Write a text file, making its folder.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Names of files need not be Unicode.
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error
