"""``vos eval``, also ``vos-eval``."""

from __future__ import annotations

from pathlib import Path

import click

_FILE = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command("eval", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("gt_dir", type=_FOLDER)
@click.argument("results_dir", type=_FOLDER)
@click.option(
    "--year",
    type=click.Choice(["2016", "2017"]),
    help="2016 scores all objects as one; also says whose split is meant (2017 if not given).",
)
@click.option("--split", metavar="NAME", help="Score the sequences of this split, such as val.")
@click.option(
    "--skip-missing", is_flag=True, help="Leave out what is missing or broken, score the rest."
)
@click.option(
    "--csv",
    "csv_dir",
    type=_FOLDER,
    metavar="DIR",
    help="Write DAVIS' two CSV files into this folder.",
)
@click.option("--json", "json_path", type=_FILE, metavar="FILE", help="Write all figures.")
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
    help="Processes to work in; one per core if not given.",
)
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

    GT_DIR holds <sequence>/00000.png and so on, such as DAVIS/Annotations/480p; or it is a DAVIS
    root, which holds Annotations and ImageSets. RESULTS_DIR holds masks with the same names.
    """
    from vos.score import evaluate
    from vos.score.report.export import table, write_csv, write_json
    from vos.score.report.write import write_report

    evaluation = evaluate(
        gt_dir,
        results_dir,
        year=None if year is None else int(year),
        split=split,
        skip_missing=skip_missing,
        num_workers=num_workers,
    )
    click.echo(table(evaluation))
    for remark in evaluation.remarks():
        click.echo(f"note: {remark}", err=True)
    if csv_dir is not None:
        write_csv(evaluation, csv_dir)
    if json_path is not None:
        write_json(evaluation, json_path)
    if report_path is not None:
        write_report(evaluation, report_path)
