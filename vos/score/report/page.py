"""An evaluation as one self-contained HTML page."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from vos.score.report.export import write_text
from vos.score.report.pictures import css_colour, draw_frame
from vos.score.scores import Evaluation, SequenceScore
from vos.sets.layout import YEAR_OF_ONE_OBJECT

_NUM_WORST: Final = 5


def write_report(evaluation: Evaluation, path: Path) -> None:
    """Write a page with the figures, J and F over time, and the worst frames of each sequence.

    Args:
        evaluation: What to show. Its label maps, and images where there are some, are read again.
        path: File to write or replace; its folder is made.

    Raises:
        MaskError: a label map can no longer be read.
        OutputError: the file cannot be written.
    """
    environment = Environment(
        loader=PackageLoader("vos.score.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"fixed": "{:z.3f}".format, "colour": css_colour}
    environment.globals |= {"zip": zip}
    images_dir = evaluation.settings.images_dir
    page = environment.get_template("page.html").render(
        title=f"DAVIS J&F of {evaluation.settings.results_dir.name}",
        evaluation=evaluation,
        settings=_settings(evaluation),
        sections=[
            (sequence, _times(sequence.frame_names), worst_frames(sequence))
            for sequence in evaluation.sequences
        ],
        has_images=images_dir is not None,
        draw=partial(draw_frame, images_dir),
    )
    write_text(path, page)


def worst_frames(sequence: SequenceScore) -> list[int]:
    """Find the frames of least J&F, averaged over objects; no frame that is perfect.

    Returns:
        At most five indices into ``sequence.pairs``, the worst first.
    """
    quality = np.mean([scored.j + scored.f for scored in sequence.objects], axis=0) / 2
    order = np.argsort(quality, kind="stable")[:_NUM_WORST]
    return [int(index) for index in order if quality[index] < 1]


def _settings(evaluation: Evaluation) -> dict[str, object]:
    """Name and show what was scored, and how."""
    settings = evaluation.settings
    is_joined = settings.year == YEAR_OF_ONE_OBJECT
    return {
        "Annotations": settings.annotations_dir,
        "Results": settings.results_dir,
        "Images": settings.images_dir or "none found",
        "Year": settings.year or "not given",
        "Split": settings.split or "not given",
        "Objects": "joined into one" if is_joined else "scored one by one",
        "Missing results": "left out" if settings.skip_missing else "not tolerated",
        "Scored": (
            f"{evaluation.num_frames} frames, {evaluation.num_objects} objects, "
            f"{len(evaluation.sequences)} sequences in {evaluation.seconds:.1f} s"
        ),
        "Written": f"{datetime.datetime.now().astimezone():%Y-%m-%d %H:%M %Z}",
    }


def _times(frame_names: Sequence[str]) -> list[float]:
    """Give frames their times in [0, 1]: by their numbers, so that sparse annotation shows gaps.

    Where names are no rising numbers, frames lie evenly.
    """
    times = np.arange(len(frame_names), dtype=np.float64)
    if all(name.isdecimal() for name in frame_names):
        numbers = np.array([float(name) for name in frame_names])
        times = numbers if np.all(np.diff(numbers) > 0) else times
    scaled: list[float] = ((times - times[0]) / max(times[-1] - times[0], 1)).tolist()
    return scaled
