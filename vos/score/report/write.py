"""An evaluation as one self-contained HTML page."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Final

import numpy as np

from vos.score.report.export import write_text
from vos.score.report.page import SCRIPT, STYLE
from vos.score.report.pictures import Pictures, colour_of, pictures_of
from vos.score.report.plots import plot_scores
from vos.score.scores import MEASURES, Evaluation, ObjectScore, SequenceScore, Statistics
from vos.sets.layout import YEAR_OF_ONE_OBJECT

_NUM_WORST: Final = 5
_PROTOCOL: Final = (
    "DAVIS 2017, semi-supervised: the first and the last annotated frame do not count; global "
    "figures are means over objects; boundaries match within ceil(0.008 &times; diagonal) "
    "pixels; Recall is the share of frames above 0.5; Decay is the mean of the first quarter of "
    "frames less that of the last."
)


def write_report(evaluation: Evaluation, path: Path) -> None:
    """Write a page with the figures, J and F over time, and the worst frames of each sequence.

    Everything is inside the file: it needs no network, and its script only sorts the table.

    Args:
        evaluation: What to show. Its label maps, and images where there are some, are read again.
        path: File to write or replace; its folder is made.

    Raises:
        MaskError: a label map can no longer be read.
        OutputError: the file cannot be written.
    """
    write_text(path, "\n".join(_page(evaluation)))


def worst_frames(sequence: SequenceScore) -> list[int]:
    """Find the frames of least J&F, averaged over objects; no frame that is perfect.

    Returns:
        At most five positions in ``sequence.frame_names``, the worst first.
    """
    quality = np.mean([scored.j + scored.f for scored in sequence.objects], axis=0) / 2
    order = np.argsort(quality, kind="stable")[:_NUM_WORST]
    return [int(position) for position in order if quality[position] < 1]


def _page(evaluation: Evaluation) -> Iterator[str]:
    title = f"DAVIS J&F of {evaluation.settings.results_dir.name}"
    yield '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>"
    yield f"<h1>{escape(title)}</h1>"
    yield from _summary(evaluation)
    yield from _table(evaluation)
    for number, sequence in enumerate(evaluation.sequences):
        yield from _section(evaluation, sequence, number)
    yield f"</main><script>{SCRIPT}</script></body></html>\n"


def _summary(evaluation: Evaluation) -> Iterator[str]:
    yield '<dl class="tiles">'
    for name, figure in evaluation.statistics.measures().items():
        yield f"<div><dt>{escape(name)}</dt><dd>{figure:z.3f}</dd></div>"
    yield "</dl>"
    if remarks := evaluation.remarks():
        yield '<ul class="remarks">'
        yield from (f"<li>{escape(remark)}</li>" for remark in remarks)
        yield "</ul>"
    settings = evaluation.settings
    now = datetime.datetime.now().astimezone()
    rows = {
        "Annotations": settings.annotations_dir,
        "Results": settings.results_dir,
        "Images": settings.images_dir or "none found",
        "Year": settings.year or "not given",
        "Split": settings.split or "not given",
        "Objects": "joined into one"
        if settings.year == YEAR_OF_ONE_OBJECT
        else "scored one by one",
        "Missing results": "left out" if settings.skip_missing else "not tolerated",
        "Scored": (
            f"{evaluation.num_frames} frames, {evaluation.num_objects} objects, "
            f"{len(evaluation.sequences)} sequences in {evaluation.seconds:.1f} s, "
            f"at most {settings.num_workers} processes"
        ),
        "Written": now.strftime("%Y-%m-%d %H:%M %Z"),
    }
    yield "<details><summary>Settings and protocol</summary><dl class='settings'>"
    yield from (f"<dt>{name}</dt><dd>{escape(str(text))}</dd>" for name, text in rows.items())
    yield f"</dl><p>{_PROTOCOL}</p></details>"


def _table(evaluation: Evaluation) -> Iterator[str]:
    heads = "".join(f'<th><button type="button">{escape(name)}</button></th>' for name in MEASURES)
    yield '<div class="scroll"><table><thead><tr>'
    yield f'<th class="name"><button type="button">Sequence</button></th>{heads}'
    yield "<th><button type='button'>Frames</button></th></tr></thead>"
    yield f"<tfoot>{_row('All objects', evaluation.statistics, evaluation.num_frames)}</tfoot>"
    for number, sequence in enumerate(evaluation.sequences):
        num_frames = len(sequence.frame_names)
        link = f'<a href="#s{number}">{escape(sequence.name)}</a>'
        yield f"<tbody>{_row(link, sequence.statistics, num_frames)}"
        if len(sequence.objects) > 1:
            for scored in sequence.objects:
                name = f"{_swatch(scored)}object {scored.object_id}"
                yield _row(name, scored.statistics, num_frames, kind="object")
        yield "</tbody>"
    yield "</table></div>"


def _row(name: str, statistics: Statistics, num_frames: int, kind: str = "whole") -> str:
    cells = "".join(f"<td>{figure:z.3f}</td>" for figure in statistics.measures().values())
    return f'<tr class="{kind}"><th class="name">{name}</th>{cells}<td>{num_frames}</td></tr>'


def _section(evaluation: Evaluation, sequence: SequenceScore, number: int) -> Iterator[str]:
    worst = worst_frames(sequence)
    yield f'<section id="s{number}"><h2>{escape(sequence.name)}</h2>'
    yield '<div class="plots">'
    for scored in sequence.objects:
        yield f"<figure><figcaption>{_swatch(scored)}object {scored.object_id}"
        yield f'<span class="j">J {scored.statistics.j_mean:.3f}</span>'
        yield f'<span class="f">F {scored.statistics.f_mean:.3f}</span></figcaption>'
        yield plot_scores(sequence.frame_names, scored.j, scored.f, worst) + "</figure>"
    yield "</div>"
    if not worst:
        yield "<p>Every frame is perfect.</p></section>"
        return
    yield "<h3>Worst frames (dotted in the plots; white: the annotation's outline)</h3>"
    has_images = evaluation.settings.images_dir is not None
    yield f'<div class="frames{"" if has_images else " masks"}"><span>frame</span>'
    panels = (*(["image"] if has_images else []), "annotation", "prediction")
    yield from (f"<span>{panel}</span>" for panel in panels)
    for rank, position in enumerate(worst):
        pictures = pictures_of(evaluation.settings, sequence, sequence.frame_names[position])
        yield from _frame(sequence, position, pictures, f"s{number}f{rank}", has_images)
    yield "</div></section>"


def _frame(
    sequence: SequenceScore, position: int, pictures: Pictures, name: str, has_images: bool
) -> Iterator[str]:
    yield f"<div><b>{escape(sequence.frame_names[position])}</b>"
    for scored in sequence.objects:
        j, f = scored.j[position], scored.f[position]
        yield f"<span>{_swatch(scored)}J {j:.3f}, F {f:.3f}</span>"
    yield "</div>"
    box = f'viewBox="0 0 {pictures.width_px} {pictures.height_px}"'
    size = f'width="{pictures.width_px}" height="{pictures.height_px}"'
    below = ""
    if pictures.image is not None:
        # The image is in the file once; the other two panels show it by reference.
        yield f'<svg {box} role="img" aria-label="image"><image id="{name}" {size} '
        yield f'href="{pictures.image}"/></svg>'
        below = f'<use href="#{name}"/>'
    elif has_images:
        yield f'<svg {box}><text x="50%" y="50%">no image</text></svg>'
    for label, overlay in (
        ("annotation", pictures.annotation),
        ("prediction", pictures.prediction),
    ):
        yield f'<svg {box} role="img" aria-label="{label}">{below}<image {size} '
        yield f'href="{overlay}"/></svg>'


def _swatch(scored: ObjectScore) -> str:
    return f'<i style="background:{colour_of(scored.object_id)}"></i>'
