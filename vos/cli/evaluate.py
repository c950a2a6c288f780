"""``vos eval``, also ``vos-eval``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click

from vos.cli.command import version_option
from vos.cli.tables import print_jf
from vos.errors import OutputError

_FILE = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command("eval", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("gt_dir", type=_FOLDER)
@click.argument("results_dir", type=_FOLDER)
@click.option(
    "--year",
    type=click.Choice(["2016", "2017"]),
    help="2016 scores all objects of a sequence as one. Also the year of --split.  [default: 2017]",
)
@click.option("--split", metavar="NAME", help="Score the sequences of this split, such as val.")
@click.option(
    "--skip-missing", is_flag=True, help="Leave out what is missing or broken, and score the rest."
)
@click.option(
    "--csv",
    "csv_dir",
    type=_FOLDER,
    metavar="DIR",
    help="Write the two CSV files of the DAVIS benchmark into this folder.",
)
@click.option("--json", "json_path", type=_FILE, metavar="FILE", help="Write all figures as JSON.")
@click.option(
    "--report",
    "report_path",
    type=_FILE,
    metavar="FILE",
    help="Write an HTML page with plots and the worst frames.",
)
@click.option(
    "--workers",
    "num_workers",
    type=click.IntRange(min=1),
    metavar="N",
    help="Threads to score with.  [default: one per core]",
)
@version_option
def eval_command(
    gt_dir: Path,
    results_dir: Path,
    year: str | None,
    split: str | None,
    skip_missing: bool,
    csv_dir: Path | None,
    json_path: Path | None,
    report_path: Path | None,
    num_workers: int | None,
) -> None:
    """Score masks against annotations by the DAVIS 2017 protocol: J&F.

    GT_DIR holds the annotations as <sequence>/00000.png and so on, such as DAVIS/Annotations/480p.
    DAVIS/Annotations and DAVIS itself are right too. RESULTS_DIR holds masks with the same names.
    Without --split, some sequences may be missing from it.
    """
    from vos.score import evaluate
    from vos.score.report.export import csv_paths, write_csv, write_json
    from vos.score.report.page import write_report
    from vos.sets.layout import files_to_score, find_annotations

    year_number = None if year is None else int(year)
    outputs = [path for path in (json_path, report_path) if path is not None]
    if csv_dir is not None:
        outputs += csv_paths(csv_dir, split)
    annotations = find_annotations(gt_dir, year_number, split, None)
    _check_outputs(outputs, list(files_to_score(annotations, results_dir)))
    evaluation = evaluate(
        gt_dir,
        results_dir,
        year=year_number,
        split=split,
        skip_missing=skip_missing,
        num_workers=num_workers,
    )
    print_jf(evaluation)
    if csv_dir is not None:
        write_csv(evaluation, csv_dir)
    if json_path is not None:
        write_json(evaluation, json_path)
    if report_path is not None:
        write_report(evaluation, report_path)


def _check_outputs(outputs: Sequence[Path], inputs: Sequence[Path]) -> None:
    """Refuse outputs that would replace an input, by whatever name, or one another."""
    if len({os.path.realpath(path) for path in outputs}) < len(outputs):
        raise OutputError(
            f"two outputs have the same path; give each its own: {', '.join(map(str, outputs))}"
        )
    for output in outputs:
        if not output.exists():
            continue
        for path in inputs:
            # Links, hard ones too, are the file that they lead to.
            if path.exists() and path.samefile(output):
                raise OutputError(f"{output} would replace an input, {path}; choose another file")
