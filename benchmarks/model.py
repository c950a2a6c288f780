"""Time of the model's own parts: one encoder call, one decoder call, one scale fit.

    python benchmarks/model.py                     # nano, on the CPU
    python benchmarks/model.py --model vit_b --random --dtype bfloat16 --device cuda

Median and spread of several runs after a warm-up, for a 854 x 480 frame and one object, with the
peak memory of the process. Appended to benchmarks/model.csv with versions. ``--random`` needs no
weights. Speed only: what accuracy a model and dtype reach stands in benchmarks/results.csv.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import torch
from rows import append_row, environment, peak_mib

import vos
from vos.config import FitConfig
from vos.sam.model import POSITIVE, Prompts
from vos.sam.networks.architectures import build_module
from vos.track.published.scale_fit import fit_scale_weights

RESULTS = Path(__file__).with_suffix(".csv")
FRAME_HW = (480, 854)


@click.command()
@click.option("--model", default="nano")
@click.option("--random", "is_random", is_flag=True, help="Random weights.")
@click.option("--device", default="cpu")
@click.option("--dtype", default="float32")
@click.option("--batch-size", default=1)
@click.option("--runs", default=15)
def main(model: str, is_random: bool, device: str, dtype: str, batch_size: int, runs: int) -> None:
    """Print and append one row."""
    vos.keep_freed_memory()
    if is_random:
        module = build_module(model).to_empty(device="cpu")
        for tensor in [*module.parameters(), *module.buffers()]:
            if tensor.is_floating_point():
                torch.nn.init.uniform_(tensor, 0.01, 0.02)
        sam = vos.SamModel(module, device, dtype, name=model)
    else:
        sam = vos.load_sam(model, device=device, dtype=dtype)
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (*FRAME_HW, 3), dtype=np.uint8) for _ in range(batch_size)]
    letterbox = sam.letterbox(FRAME_HW)
    prompts = Prompts(
        np.array([[[400, 200], [430, 240]]]),
        np.full((1, 2), POSITIVE),
        np.array([[350, 150, 520, 330]]),
    )
    features = sam.encode(pictures)[0]
    logits = torch.randn(1, 3, *FRAME_HW, generator=torch.Generator().manual_seed(0)).to(sam.device)
    mask = logits[:, 0] > 0

    def timed(call: Callable[[], object]) -> list[float]:
        call()
        milliseconds = []
        for _ in range(runs):
            started = time.perf_counter()
            call()
            if sam.device.type == "cuda":
                torch.cuda.synchronize()
            milliseconds.append((time.perf_counter() - started) * 1e3)
        return milliseconds

    encode_ms = [one / batch_size for one in timed(lambda: sam.encode(pictures))]
    decode_ms = timed(lambda: sam.decode(features, prompts, letterbox))
    fit_ms = timed(lambda: fit_scale_weights(logits, mask, FitConfig()))
    row = {
        **environment(),
        "model": model,
        "weights": "random" if is_random else (sam.weights_sha256 or "")[:12],
        "device": str(sam.device),
        "dtype": dtype,
        "batch_size": batch_size,
        **spread("encode", encode_ms),
        **spread("decode", decode_ms),
        **spread("fit", fit_ms),
        "peak_mib": peak_mib(),
        "threads": torch.get_num_threads(),
    }
    append_row(RESULTS, row)


def spread(name: str, milliseconds: list[float]) -> dict[str, float]:
    """Median, least and greatest."""
    return {
        f"{name}_ms": round(statistics.median(milliseconds), 1),
        f"{name}_min_ms": round(min(milliseconds), 1),
        f"{name}_max_ms": round(max(milliseconds), 1),
    }


if __name__ == "__main__":
    main()
