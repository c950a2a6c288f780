"""Train the embedded model, on images with label maps or on generated shapes alone.

    pip install -e .
    python tools/train_nano.py --minutes 2
    python tools/train_nano.py --data shard_0.tar --data folder --minutes 70 --out runs/a
    python tools/train_nano.py --out runs/a --pack vos/sam/weights/nano.safetensors

From weights that have seen no video (``tools/start_nano.py``) first the neck, then the rest:

    python tools/train_nano.py --data ... --init start.safetensors --stage neck --view-size 256 \\
        --clips 0 --minutes 30 --out runs/neck
    python tools/train_nano.py --data ... --init runs/neck/step_000600.safetensors --minutes 720 \\
        --view-size 256 --view-size 384 --view-size 512 --out runs/b

On a GPU, with as many loader processes as it has cores:

    python tools/train_nano.py --data ... --init runs/neck/step_000600.safetensors --stage all \\
        --batch 64 --rate-factor 2.5 --workers 15 --minutes 6 --save-every 1 --out runs/c

On an H100 a step of 64 pairs of 256 pixels takes .1 s, of clips .16 s, of clips with hints .36 s.
That is the time to launch its many small kernels, so a second run beside it costs little: two of
them, with 7 loader processes each, saw 160 pairs a second each.

Data are tar files or folders of ``<group>/<name>.jpg`` with a label map ``<group>/<name>.png``
beside it, never sequences that the model is judged on. Six videos are left out, to choose by
(``benchmarks/held_out.py``). A run that was killed goes on from its last checkpoint when the same
command is given again; told to end (SIGTERM) it writes one first. The rates stay until the last
quarter of the time, so that a run can be made longer.

On an H200 a run of --stage whole with --batch 128 saw 300 pairs a second, and its loaders waited
for it. The first 50 steps take one and a half minutes all the same, while the GPU waits.

cuDNN's search for the fastest algorithms stays off on purpose. It gains 6 % of a step on an H100,
but each of the dozen shapes of batches is searched anew: in a run of 6.6 minutes, beside another
one, the first 50 steps took 4.7 of them and the other 398 took 1.9.

A run can end with a CUDA error (a misaligned address, in two of four runs, cause unknown). So save
often, and give the same command again in a loop.
"""

from __future__ import annotations

import logging
from pathlib import Path

import click
import torch
from nano_training.pairs import hold_out, read_pairs
from nano_training.trainer import CHECKPOINT_NAME, STAGES, Plan, State, save_weights, train
from nano_training.views import Recipe

import vos
from vos.errors import VosError

ROOT = Path(__file__).resolve().parents[1]
PACKAGED_WEIGHTS = ROOT / "vos" / "sam" / "weights" / "nano.safetensors"


@click.command()
@click.option("--data", type=Path, multiple=True, help="Tar or folder of pairs; repeatable.")
@click.option(
    "--out",
    type=Path,
    default=Path("runs/nano"),
    show_default=True,
    help="Folder of the run; resumed if it has begun.",
)
@click.option("--init", type=Path, default=PACKAGED_WEIGHTS, help="Weights to start from.")
@click.option(
    "--stage",
    type=click.Choice(list(STAGES)),
    default="most",
    show_default=True,
    help="What is trained: a new neck alone; the whole model; all but the trunk's first stages; "
    "and most: without its depthwise kernels too, which is a third faster on a CPU.",
)
@click.option(
    "--hold-out",
    "num_held_out",
    type=click.IntRange(min=0),
    default=6,
    show_default=True,
    help="Videos that are never drawn, by a hash of their names: checkpoints are chosen on them.",
)
@click.option("--minutes", type=click.FloatRange(min=0), default=60.0, show_default=True)
@click.option("--steps", type=click.IntRange(min=0), help="Train so many steps, not --minutes.")
@click.option("--save-every", type=float, default=8.0, show_default=True, help="Minutes.")
@click.option("--batch", type=click.IntRange(min=1), default=8, show_default=True, help="Pairs.")
@click.option(
    "--view-size",
    "view_sizes",
    type=int,
    multiple=True,
    default=(256, 384, 512),
    show_default=True,
    help="Side of the views in pixels, a multiple of 32; of several, each batch takes one. "
    "--batch counts for the first.",
)
@click.option(
    "--clips",
    "clip_share",
    type=click.FloatRange(0, 1),
    default=0.7,
    show_default=True,
    help="Share of batches for the prior memory; the others are for the published loop.",
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="On the CPU; each takes a part of the batch.",
)
@click.option("--workers", type=click.IntRange(min=0), default=1, show_default=True)
@click.option(
    "--rate-factor",
    type=float,
    default=1.0,
    show_default=True,
    help="Of all learning rates; about the root of how many times 8 pairs a batch has.",
)
@click.option("--pack", type=Path, help="Only write OUT's averaged weights, as fp16, to this file.")
def main(
    data: tuple[Path, ...],
    out: Path,
    init: Path,
    stage: str,
    num_held_out: int,
    minutes: float,
    steps: int | None,
    save_every: float,
    batch: int,
    view_sizes: tuple[int, ...],
    clip_share: float,
    seed: int,
    threads: int,
    workers: int,
    rate_factor: float,
    pack: Path | None,
) -> None:
    """Train the embedded model on DATA, or on generated shapes where none is given."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    # A step's maps are as large as the last step's; finding their pages anew takes a tenth of it.
    vos.keep_freed_memory()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if any(size <= 0 or size % 32 for size in view_sizes):
        raise click.BadParameter("must be multiples of 32", param_hint="--view-size")
    try:
        if pack is not None:
            state = State.start(init, torch.device("cpu"), STAGES[stage])
            state.load(out / CHECKPOINT_NAME)
            save_weights(pack, state.averaged_weights(), state.head, torch.float16)
            return
        recipe = Recipe(
            pairs=hold_out(read_pairs(data), num_held_out)[0] if data else None,
            seed=seed,
            num_pairs=batch,
            view_sizes_px=view_sizes,
            clip_share=clip_share,
        )
        plan = Plan(
            out=out,
            init=init,
            device=device,
            stage=STAGES[stage],
            num_steps=steps,
            minutes=minutes,
            save_every_minutes=save_every,
            rate_factor=rate_factor,
            num_threads=threads,
            num_workers=workers,
        )
        train(plan, recipe)
    except (VosError, OSError) as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
