"""Tables for the terminal: scores with their notes, and any other rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from vos.score.iou import ImageEvaluation
    from vos.score.scores import Evaluation, Statistics


def table(rows: Sequence[Sequence[str]], align: str = "<>") -> str:
    """Lay out rows of text in columns.

    Args:
        rows: Rows of one length, heads first.
        align: ``<`` or ``>`` for each column; the last one also for all that follow.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides = align.ljust(len(widths), align[-1])
    lines = (
        "  ".join(
            f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=True)
        )
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def print_jf(evaluation: Evaluation) -> None:
    """Print the figures of the set, its sequences and, where several, their objects; then notes."""

    def row(name: str, statistics: Statistics, num_frames: int) -> list[str]:
        return [name, *(f"{it:z.3f}" for it in statistics.measures().values()), str(num_frames)]

    rows = [
        ["", *evaluation.statistics.measures(), "frames"],
        row("global", evaluation.statistics, evaluation.num_frames),
    ]
    for sequence in evaluation.sequences:
        num_frames = len(sequence.pairs)
        rows.append(row(sequence.name, sequence.statistics, num_frames))
        if len(sequence.objects) > 1:
            rows += [
                row(f"  {scored.object_id}", scored.statistics, num_frames)
                for scored in sequence.objects
            ]
    _print(rows, evaluation.remarks())


def print_iou(evaluation: ImageEvaluation) -> None:
    """Print IoU and boundary IoU of each class, and their means; then notes."""
    rows = [["class", "images", "IoU", "boundary IoU"]]
    for each in evaluation.classes:
        scores = f"{each.total.iou:.3f}", f"{each.total.boundary_iou:.3f}"
        rows.append([each.name, str(len(each.images)), *scores])
    num_images = sum(len(each.images) for each in evaluation.classes)
    means = f"{evaluation.mean_iou:.3f}", f"{evaluation.mean_boundary_iou:.3f}"
    _print([*rows, ["mean over classes", str(num_images), *means]], evaluation.remarks())


def _print(rows: Sequence[Sequence[str]], remarks: Sequence[str]) -> None:
    click.echo(table(rows))
    for remark in remarks:
        click.echo(f"note: {remark}", err=True)
