"""``vos davis``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from vos.cli.options import inference_options, max_pixels_option, print_progress, run_config
from vos.config import Method, PriorPolicy
from vos.errors import ScoreError, VosError
from vos.sam.fast.allocator import keep_freed_memory


@click.command("davis", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("root", type=click.Path(path_type=Path))
@click.option(
    "--year",
    type=click.Choice(["2016", "2017"]),
    default="2017",
    show_default=True,
    help="Rules and image set; 2016 joins all objects of a sequence into one.",
)
@click.option("--split", help="Image set, such as val.  [default: all that is annotated]")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("results"),
    metavar="FOLDER",
    show_default=True,
    help="Folder of the results.",
)
@click.option("--overlay", is_flag=True, help="Write overlay videos too.")
@click.option("--overwrite", is_flag=True, help="Run again what is finished already.")
@max_pixels_option
@inference_options
def davis_command(
    root: Path,
    year: str,
    split: str | None,
    out: Path,
    overlay: bool,
    overwrite: bool,
    max_pixels: int,
    model: str,
    checkpoint: Path | None,
    device: str,
    dtype: str,
    skip_padding: bool,
    compiled: bool,
    batch_size: int | None,
    method: Method,
    prior: PriorPolicy | None,
    fit_steps: int,
    published: bool,
    quiet: bool,
) -> None:
    """Segment every sequence of a DAVIS root and score the results.

    ROOT holds JPEGImages, Annotations and ImageSets. Finished sequences of an earlier, broken-off
    run are kept. A sequence that fails is reported at the end; the others go on.
    """
    from vos.run.outputs import Outputs, describe_run
    from vos.sam.load import load_sam
    from vos.score import evaluate
    from vos.score.report.export import table
    from vos.sets.davis import find_davis_sequences, is_finished, segment_sequence

    config = run_config(method, prior, fit_steps, published, batch_size)
    sequences = find_davis_sequences(root, year=int(year), split=split)
    keep_freed_memory()
    sam = load_sam(model, checkpoint, device, dtype, compiled=compiled, skip_padding=skip_padding)
    failures: dict[str, VosError] = {}
    for number, sequence in enumerate(sequences, start=1):
        click.echo(f"[{number}/{len(sequences)}] {sequence.name}: {sequence.num_frames} frames")
        outputs = Outputs(
            folder=out,
            name=sequence.name,
            overlay_alpha=0.5 if overlay else None,
            overwrite=overwrite,
        )
        try:
            header = describe_run(str(sequence.images_dir), sam, config)
            if not overwrite and is_finished(sequence, outputs, header):
                click.echo(f"done before: {outputs.masks_folder}")
                continue
            if outputs.is_of_earlier_run:
                outputs = replace(outputs, overwrite=True)
            pairs = segment_sequence(sequence, outputs, sam, config, max_pixels=max_pixels)
            print_progress(pairs, sequence.num_frames, outputs.written, quiet=quiet)
        except VosError as error:
            failures[sequence.name] = error
            click.echo(f"failed: {error}", err=True)
    done = [sequence.name for sequence in sequences if sequence.name not in failures]
    if done:
        click.echo(table(evaluate(root, out, year=int(year), sequences=done)))
    if failures:
        lines = [f"{name}: {error}" for name, error in failures.items()]
        raise ScoreError(
            f"{len(failures)} of {len(sequences)} sequences failed:\n  " + "\n  ".join(lines)
        )
