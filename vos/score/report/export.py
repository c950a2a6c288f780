"""An evaluation as text: a table for the terminal, DAVIS' two CSV files, JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

from vos.errors import OutputError
from vos.score.scores import MEASURES, Evaluation, Statistics


def table(evaluation: Evaluation) -> str:
    """Lay out the global figures, those of each sequence and, where several, of each object."""
    rows: list[tuple[str, ...]] = [("", *MEASURES, "frames")]

    def add(name: str, statistics: Statistics, num_frames: int) -> None:
        figures = (f"{figure:z.3f}" for figure in statistics.measures().values())
        rows.append((name, *figures, str(num_frames)))

    add("global", evaluation.statistics, evaluation.num_frames)
    for sequence in evaluation.sequences:
        num_frames = len(sequence.frame_names)
        add(sequence.name, sequence.statistics, num_frames)
        if len(sequence.objects) > 1:
            for scored in sequence.objects:
                add(f"  {scored.object_id}", scored.statistics, num_frames)
    first, *others = ([len(cell) for cell in column] for column in zip(*rows, strict=True))
    name_width, widths = max(first), [max(lengths) for lengths in others]
    lines = [
        "  ".join(
            [
                name.ljust(name_width),
                *(cell.rjust(w) for cell, w in zip(cells, widths, strict=True)),
            ]
        ).rstrip()
        for name, *cells in rows
    ]
    return "\n".join(lines)


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


def write_csv(evaluation: Evaluation, folder: Path) -> tuple[Path, Path]:
    """Write DAVIS' two files, figures to three decimals.

    Args:
        evaluation: What to write.
        folder: Receives ``global_results-<split>.csv`` and ``per-sequence_results-<split>.csv``
            (one row per object); ``all`` stands for the split where there is none. It is made.

    Returns:
        The two paths.

    Raises:
        OutputError: a file cannot be written.
    """
    split = evaluation.settings.split or "all"
    measures = evaluation.statistics.measures()
    rows_of_objects = [
        (name, f"{scored.statistics.j_mean:.3f}", f"{scored.statistics.f_mean:.3f}")
        for name, scored in evaluation.objects().items()
    ]
    contents: dict[Path, list[Sequence[str]]] = {
        folder / f"global_results-{split}.csv": [
            list(measures),
            [f"{figure:.3f}" for figure in measures.values()],
        ],
        folder / f"per-sequence_results-{split}.csv": [
            ["Sequence", "J-Mean", "F-Mean"],
            *rows_of_objects,
        ],
    }
    for path, rows in contents.items():
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerows(rows)
        write_text(path, buffer.getvalue())
    first, second = contents
    return first, second


def write_text(path: Path, text: str) -> None:
    """Write a text file, making its folder.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error
