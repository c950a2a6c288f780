"""``vos batch``."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path

import click

from vos.cli.batch_progress import BatchProgress
from vos.cli.command import Command, InputOption, OutputOption
from vos.cli.engine_options import Shard, engine_options, make_engine
from vos.cli.interrupt import stopping_on_interrupt, stopping_on_terminate
from vos.cli.method_options import method_config, method_options
from vos.cli.model_options import max_pixels_option, model_choice, model_options
from vos.cli.process import prepare_process
from vos.cli.progress import speed
from vos.cli.tables import table
from vos.errors import VosError


class BatchError(VosError):
    """Some jobs of a batch failed."""


@click.command("batch", cls=Command, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("manifest")
@click.option(
    "--mask-rule",
    cls=InputOption,
    metavar="RULE",
    help="For a pattern of videos: the path of a video's mask, relative to the video. {stem} "
    "stands for the video's name without its ending, {name} for the name with it, {parent} for the "
    "name of its folder.",
)
@click.option(
    "--name-rule",
    cls=InputOption,
    metavar="RULE",
    help="For a pattern of videos: the name of a video's results, with the same words in braces.  "
    "[default: {stem}]",
)
@click.option(
    "--shard",
    cls=InputOption,
    type=Shard(),
    default="0/1",
    help="Do only every Nth job, from the Ith on, counted from 0. For batch systems that start N "
    "machines.",
)
@click.option(
    "--only-failed", cls=InputOption, is_flag=True, help="Do only jobs that failed before."
)
@click.option("--check", cls=InputOption, is_flag=True, help="Check the manifest, and stop.")
@max_pixels_option
@click.option(
    "--out",
    cls=OutputOption,
    default="results",
    metavar="FOLDER|URL",
    show_default=True,
    help="Folder of the results, or a store such as s3://bucket/results.",
)
@click.option("--overlay", cls=OutputOption, is_flag=True, help="Write overlay videos too.")
@click.option(
    "--min-score",
    cls=OutputOption,
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="A mask with a lower score is doubtful.",
)
@click.option(
    "--pack",
    cls=OutputOption,
    type=click.Choice(["tar"]),
    help="Write the label maps of each job into one tar file, as webdataset reads it.",
)
@click.option(
    "--overwrite",
    cls=OutputOption,
    is_flag=True,
    help="Do finished jobs again, and replace their results.",
)
@click.option(
    "--save-every",
    cls=OutputOption,
    type=click.FloatRange(0),
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="Time between two saved states: a crash loses at most this much work.",
)
@click.option(
    "--scratch",
    cls=OutputOption,
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Folder on this machine for downloads and unfinished results.  [default: batch in the "
    "cache folder of vos]",
)
@click.option(
    "--cache-gb",
    cls=OutputOption,
    type=click.FloatRange(0, min_open=True),
    default=10,
    show_default=True,
    metavar="GB",
    help="Disk space for downloaded videos; vos removes the least recently used first.",
)
@engine_options
@method_options
@model_options
def batch_command(ctx: click.Context) -> None:
    """Segment many videos.

    \b
      vos batch jobs.jsonl --out results --workers 4
      vos batch 'videos/*.mp4' --mask-rule '{stem}.png' --out results
      vos batch jobs.csv --out s3://bucket/results --shard 3/100

    MANIFEST is a file of JSON lines or CSV with one job per line, or a pattern of videos. A job
    names a video and a mask. It may have a name, a start and all other fields of a vos.Job; the
    options hold for what it leaves out. vos checks the whole manifest before it starts.

    The same command, run again, skips finished jobs, repeats those whose input or settings changed,
    and goes on with those that broke off. A job that fails does not stop the others. batch.json in
    the folder of the results says what became of each job. After Ctrl-C or SIGTERM, vos finishes
    the current frames; a second Ctrl-C stops at once.
    """  # noqa: D301
    options = ctx.params
    config = method_config(ctx)
    shard = options["shard"]
    started = time.monotonic()

    from vos.batch.do_job import BatchSettings, JobWorker
    from vos.batch.manifest import open_manifest
    from vos.batch.pending import Pending
    from vos.batch.report import report_name, write_report
    from vos.batch.stores import open_store
    from vos.batch.worker import WorkerSettings
    from vos.run.job import Job, JobOutputs
    from vos.run.references import Reference
    from vos.sam.weights.download import cache_folder
    from vos.source import Selection
    from vos.source.address import is_url

    model = model_choice(ctx)
    defaults = Job(
        source="",
        references=(Reference(mask=Path()),),
        selection=Selection(max_pixels=options["max_pixels"]),
        outputs=JobOutputs(
            overlay_alpha=0.5 if options["overlay"] else None, min_score=options["min_score"]
        ),
        model=model.below(Path.cwd()),
        config=config,
    )
    manifest = open_manifest(
        options["manifest"],
        defaults,
        mask_rule=options["mask_rule"],
        name_rule=options["name_rule"],
    )
    num_jobs = len(range(shard[0], manifest.check(), shard[1]))
    if options["check"]:
        click.echo(f"the manifest is right: {num_jobs} jobs")
        return
    engine, num_threads = make_engine(ctx)
    # Workers of a cluster have working folders of their own.
    out = options["out"] if is_url(options["out"]) else os.path.abspath(options["out"])
    store = open_store(out)
    settings = BatchSettings(
        out=out,
        scratch=(options["scratch"] or cache_folder() / "batch").absolute(),
        cache_bytes=int(options["cache_gb"] * 1e9),
        overwrite=options["overwrite"],
        only_failed=options["only_failed"],
        pack=options["pack"],
        save_every_seconds=options["save_every"],
        worker=WorkerSettings(num_threads=num_threads, prepare=prepare_process),
    )
    pending = Pending(manifest.tasks(shard), max_tries=options["max_tries"])
    header = {"manifest": options["manifest"], "shard": list(shard), "num_jobs": num_jobs}
    with (
        write_report(store, report_name(shard), header, settings.scratch) as report,
        stopping_on_interrupt() as stop,
        stopping_on_terminate(stop),
        BatchProgress(num_jobs, quiet=options["quiet"]) as progress,
    ):
        for outcome in engine(
            pending,
            partial(JobWorker, settings),
            on_frames=progress.add_frames,
            should_stop=stop.is_set,
        ):
            report.add(outcome)
            progress.add(outcome)
    click.echo(table(report.rows()))
    seconds = time.monotonic() - started
    click.echo(f"{speed(report.num_frames, 0, seconds)}: {options['out']}")
    if stop.is_set():
        raise click.Abort("run the same command again to go on")
    if num_failed := report.counts["failed"]:
        raise BatchError(f"{num_failed} of {num_jobs} jobs failed; see {report_name(shard)}")
