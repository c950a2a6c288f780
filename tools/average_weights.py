"""Average checkpoints of one architecture, tensor by tensor.

    python tools/average_weights.py mixed.safetensors \\
        --weights start.safetensors 0.25 --weights trained.safetensors 0.75

Weights fine-tuned from the same start mostly lie in one basin, where the mean of start and end
keeps what the end learned and forgets less of the start (Wortsman et al., arXiv 2109.01903).
Numbers in the metadata are averaged too. The result is fp16.
"""

from __future__ import annotations

from pathlib import Path

import click
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--weights",
    "parts",
    type=(click.Path(path_type=Path, exists=True), click.FloatRange(0, 1)),
    multiple=True,
    required=True,
    help="A safetensors file and its share; the shares add up to 1.",
)
def main(out: Path, parts: tuple[tuple[Path, float], ...]) -> None:
    """Write the average to OUT."""
    if abs(sum(share for _, share in parts) - 1) > 1e-6:
        raise click.BadParameter("the shares must add up to 1", param_hint="--weights")
    loaded = [(load_file(path), share) for path, share in parts]
    first = loaded[0][0]
    for tensors, _ in loaded:
        if {key: value.shape for key, value in tensors.items()} != {
            key: value.shape for key, value in first.items()
        }:
            raise click.ClickException("the files hold other tensors than the first")
    mean = {
        key: sum(
            (tensors[key].float() * share for tensors, share in loaded), torch.zeros(())
        ).half()
        for key in first
    }
    out.write_bytes(save(mean, metadata=average_metadata(parts)))


def average_metadata(parts: tuple[tuple[Path, float], ...]) -> dict[str, str]:
    """Average what is a number in every file; keep the rest of the first."""
    all_metadata = []
    for path, share in parts:
        with safe_open(path, "pt") as file:
            all_metadata.append((file.metadata() or {}, share))
    averaged = dict(all_metadata[0][0])
    for key in averaged:
        try:
            averaged[key] = str(
                sum(float(metadata[key]) * share for metadata, share in all_metadata)
            )
        except (KeyError, ValueError):
            continue
    return averaged


if __name__ == "__main__":
    main()
