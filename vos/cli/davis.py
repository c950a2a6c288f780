"""``vos davis``."""

from __future__ import annotations

from pathlib import Path

import click

from vos.cli.command import Command, InputOption, OutputOption
from vos.cli.export import export_option, run_exports
from vos.cli.interrupt import stopping_on_interrupt
from vos.cli.method_options import method_config, method_options
from vos.cli.model_options import max_pixels_option, model_choice, model_options
from vos.cli.process import prepare_process
from vos.cli.progress import Progress, speed
from vos.cli.tables import print_jf
from vos.errors import ScoreError, VosError


@click.command("davis", cls=Command, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("root", type=click.Path(path_type=Path))
@click.option(
    "--year",
    cls=InputOption,
    type=click.Choice(["2016", "2017"]),
    default="2017",
    show_default=True,
    help="Rules and image set; 2016 joins all objects of a sequence into one.",
)
@click.option(
    "--split", cls=InputOption, help="Image set, such as val.  [default: all that is annotated]"
)
@max_pixels_option
@click.option(
    "--out",
    cls=OutputOption,
    type=click.Path(path_type=Path),
    default=Path("results"),
    metavar="FOLDER",
    show_default=True,
    help="Folder of the results.",
)
@click.option("--overlay", cls=OutputOption, is_flag=True, help="Write overlay videos too.")
@export_option
@click.option(
    "--overwrite",
    cls=OutputOption,
    is_flag=True,
    help="Run again what is finished already, and replace results of other settings.",
)
@method_options
@model_options
def davis_command(ctx: click.Context) -> None:
    """Segment every sequence of a DAVIS root and score the results.

    ROOT holds JPEGImages, Annotations and ImageSets. Finished sequences of an earlier run are kept
    and one that broke off goes on, if they were run with the same settings. A sequence that fails
    is reported at the end; the others go on.
    """
    options = ctx.params
    config = method_config(ctx)
    prepare_process(options["num_threads"])

    from vos.run.job import JobOutputs
    from vos.run.run_job import load_model, run_job
    from vos.score import evaluate
    from vos.sets.davis import check_set_kept, davis_job, find_davis_sequences

    root, out, year = options["root"], options["out"], int(options["year"])
    sequences = find_davis_sequences(root, year=year, split=options["split"])
    model = model_choice(ctx)
    outputs = JobOutputs(folder=out, overlay_alpha=0.5 if options["overlay"] else None)
    check_set_kept(sequences, outputs)
    sam = load_model(model)
    failures: dict[str, VosError] = {}
    for number, sequence in enumerate(sequences, start=1):
        click.echo(f"[{number}/{len(sequences)}] {sequence.name}: {sequence.num_frames} frames")
        job = davis_job(sequence, outputs, model, config, max_pixels=options["max_pixels"])
        try:
            with stopping_on_interrupt() as stop, Progress(quiet=options["quiet"]) as progress:
                result = run_job(
                    job,
                    sam,
                    progress.show_job,
                    resume=not options["overwrite"],
                    overwrite=options["overwrite"],
                    should_stop=stop.is_set,
                )
            written = ", ".join(map(str, result.outputs.written))
            if result.was_complete:
                click.echo(f"done before: {written}")
            else:
                click.echo(
                    f"{speed(result.num_done, result.num_before, result.seconds)}: {written}"
                )
            if not result.is_complete:
                raise click.Abort("the same command goes on")
            run_exports(ctx, out, sequence.name)
        except VosError as error:
            failures[sequence.name] = error
            click.echo(f"failed: {error}", err=True)
    done = [sequence.name for sequence in sequences if sequence.name not in failures]
    if done:
        print_jf(evaluate(root, out, year=year, sequences=done))
    if failures:
        lines = [f"{name}: {error}" for name, error in failures.items()]
        raise ScoreError(
            f"{len(failures)} of {len(sequences)} sequences failed:\n  " + "\n  ".join(lines)
        )
