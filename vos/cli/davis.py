"""``vos davis``."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import click

from vos.cli.batch_progress import run_set
from vos.cli.command import Command, InputOption, OutputOption
from vos.cli.engine_options import engine_options, for_workers, make_engine
from vos.cli.export import export_option, run_exports, soft_option
from vos.cli.method_options import method_config, method_options
from vos.cli.model_options import max_pixels_option, model_choice, model_options
from vos.cli.process import prepare_process
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
    help="Rules and image sets of this year. 2016 joins all objects of a sequence into one.",
)
@click.option(
    "--split",
    cls=InputOption,
    help="Image set, such as val.  [default: all sequences with annotations]",
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
@click.option("--overlay", cls=OutputOption, is_flag=True, help="Also write overlay videos.")
@soft_option
@export_option
@click.option(
    "--overwrite",
    cls=OutputOption,
    is_flag=True,
    help="Do finished sequences again, and replace results that have other settings.",
)
@engine_options
@method_options
@model_options
def davis_command(ctx: click.Context) -> None:
    """Segment every sequence of a DAVIS root and score the results.

    ROOT holds JPEGImages, Annotations and ImageSets. vos keeps finished sequences of an earlier
    run, and goes on with one that broke off, if the settings are the same. A sequence that fails
    does not stop the others; its error is printed at the end.
    """
    options = ctx.params
    config = replace(method_config(ctx), soft=options["soft"])
    prepare_process(options["num_threads"])

    from vos.batch.pending import Pending
    from vos.batch.sets import Sequence, sequence_worker
    from vos.batch.worker import WorkerSettings
    from vos.run.job import JobOutputs
    from vos.sam.weights.registry import find_model
    from vos.score import evaluate
    from vos.sets.davis import check_set_kept, davis_job, find_davis_sequences

    root, out = (for_workers(options[name], ctx) for name in ("root", "out"))
    year = int(options["year"])
    sequences = find_davis_sequences(root, year=year, split=options["split"])
    model = model_choice(ctx)
    outputs = JobOutputs(folder=out, overlay_alpha=0.5 if options["overlay"] else None)
    check_set_kept(sequences, outputs)
    tasks = [
        Sequence(
            name=sequence.name,
            job=davis_job(sequence, outputs, model, config, max_pixels=options["max_pixels"]),
        )
        for sequence in sequences
    ]
    find_model(options["model"])
    engine, num_threads = make_engine(ctx)
    worker = WorkerSettings(num_threads=num_threads, prepare=prepare_process)
    failures = run_set(
        engine,
        Pending(tasks, max_tries=options["max_tries"]),
        partial(sequence_worker, worker, overwrite=options["overwrite"]),
        num_tasks=len(tasks),
        quiet=options["quiet"],
        when_stopped="run the same command again to go on",
    )
    done = [sequence.name for sequence in sequences if sequence.name not in failures]
    for name in done:
        try:
            run_exports(ctx, out, name)
        except VosError as error:
            failures[name] = str(error)
    if done:
        print_jf(evaluate(root, out, year=year, sequences=done))
    if failures:
        lines = [f"{name}: {error}" for name, error in failures.items()]
        raise ScoreError(
            f"{len(failures)} of {len(sequences)} sequences failed:\n  " + "\n  ".join(lines)
        )
