"""What each lever gives the image encoder on a GPU, as milliseconds per image.

    python benchmarks/gpu_ladder.py                         # all models, steps and batches, on CUDA
    python benchmarks/gpu_ladder.py --model vit_h --batch 1 --batch 8
    python benchmarks/gpu_ladder.py --device cpu --tiny --runs 2    # the code path, without a GPU

The ladder, each step on top of the one before: fp32 (segment_anything's own forward, TF32 off),
bf16, sdpa (vos' fused attention), compile. TinyViT is vos' own module and has no step without a
fused attention. Random weights: speed only; what a dtype costs in accuracy stands in
benchmarks/results.csv and docs/performance.md. The card's own bf16 matrix rate is measured in the
same process, and ``of_matrix_rate`` says which share of it an image's multiplications reach. Rows
are appended to benchmarks/gpu_ladder.csv. Where a batch does not fit into memory, the row says so.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch
from rows import Row, append_row, environment
from torch.utils.flop_counter import FlopCounterMode

from vos.errors import is_out_of_memory
from vos.sam.fast.vit import encode_with_vit
from vos.sam.networks.architectures import build_module
from vos.sam.networks.batch_norm import fuse_batch_norms
from vos.sam.networks.segment_anything_modules import ImageEncoderViT

RESULTS = Path(__file__).with_suffix(".csv")
STEPS = ("fp32", "bf16", "sdpa", "compile")
MATRIX_SIDE = 8192
TINY = {"depth": 2, "embed_dim": 32, "num_heads": 2, "global_attn_indexes": (1,)}


@click.command()
@click.option("--model", "models", multiple=True, default=("mobile_sam", "vit_b", "vit_l", "vit_h"))
@click.option("--step", "steps", multiple=True, type=click.Choice(STEPS), default=STEPS)
@click.option("--batch", "batches", multiple=True, type=int, default=(1, 8, 32))
@click.option("--device", default="cuda")
@click.option("--runs", default=20)
@click.option("--tiny", is_flag=True, help="A tiny ViT on 128 px instead, to try the code path.")
@click.option("--results", default=RESULTS, type=click.Path(path_type=Path), help="The CSV.")
def main(
    models: tuple[str, ...],
    steps: tuple[str, ...],
    batches: tuple[int, ...],
    device: str,
    runs: int,
    tiny: bool,
    results: Path,
) -> None:
    """Append one row per model, step and batch."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    card = torch.cuda.get_device_name() if device.startswith("cuda") else "cpu"
    teraflops = matrix_rate(device, 256 if tiny else MATRIX_SIDE, runs)
    for model in ("tiny",) if tiny else models:
        encoder, side = build(model)
        encoder = encoder.to(device)
        gigaflop = count_gigaflop(encoder, side, device)
        for step in steps:
            if step == "sdpa" and not isinstance(encoder, ImageEncoderViT):
                continue
            call = prepare(encoder, step, device)
            for batch in batches:
                images = torch.rand(batch, 3, side, side, device=device)
                row: Row = {
                    **environment(),
                    "card": card,
                    "matrix_tflops": round(teraflops, 3),
                    "model": model,
                    "step": step,
                    "batch": batch,
                    **time_call(call, images, runs, gigaflop, teraflops),
                }
                append_row(results, row)


def build(model: str) -> tuple[Any, int]:
    """An image encoder with random weights, and the side of its input."""
    if model == "tiny":
        encoder = ImageEncoderViT(img_size=128, window_size=4, use_rel_pos=True, **TINY)
    else:
        encoder = build_module(model).image_encoder
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in encoder.state_dict().items():
            if not tensor.is_floating_point():
                continue
            gain = (1 / max(1, tensor[0].numel())) ** 0.5 if tensor.ndim > 1 else 0.02
            own = gain * torch.randn(tensor.shape, generator=generator)
            is_scale = tensor.ndim < 2 and name.endswith(("weight", "running_var"))
            tensor.copy_(own.abs() + 1 if is_scale else own)
    fuse_batch_norms(encoder)
    return encoder.eval().requires_grad_(False), int(encoder.img_size)


def prepare(encoder: Any, step: str, device: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """The encoder as it runs on one step of the ladder."""
    call: Callable[[torch.Tensor], torch.Tensor] = encoder
    if step in ("sdpa", "compile") and isinstance(encoder, ImageEncoderViT):
        call = partial(encode_with_vit, copy.copy(encoder))
    if step == "compile":
        call = torch.compile(call)
    dtype = torch.float32 if step == "fp32" else torch.bfloat16
    kind = device.split(":")[0]

    def run(images: torch.Tensor) -> torch.Tensor:
        with (
            torch.inference_mode(),
            torch.autocast(kind, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16),
        ):
            return call(images)

    return run


def time_call(
    call: Callable[[torch.Tensor], torch.Tensor],
    images: torch.Tensor,
    runs: int,
    gigaflop: float,
    teraflops: float,
) -> Row:
    """Milliseconds per image, seconds of the first call, share of the matrix rate, peak memory."""
    figures: Row = dict.fromkeys(
        ("ms_per_image", "min_ms", "max_ms", "first_call_s", "of_matrix_rate", "peak_mib"), ""
    )
    figures["note"] = ""
    is_cuda = images.device.type == "cuda"
    if is_cuda:
        torch.cuda.reset_peak_memory_stats()
    try:
        first_ms = timed(partial(call, images), is_cuda)
        for _ in range(2):
            call(images)
        own = [timed(partial(call, images), is_cuda) / len(images) for _ in range(runs)]
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        figures["note"] = "does not fit into memory"
        return figures
    median_ms = statistics.median(own)
    return figures | {
        "ms_per_image": round(median_ms, 3),
        "min_ms": round(min(own), 3),
        "max_ms": round(max(own), 3),
        "first_call_s": round(first_ms / 1e3, 2),
        "of_matrix_rate": round(gigaflop / median_ms / teraflops, 4),
        "peak_mib": round(torch.cuda.max_memory_allocated() / 2**20) if is_cuda else "",
    }


def timed(call: Callable[[], object], is_cuda: bool) -> float:
    """Milliseconds of one call, with all that it started."""
    if is_cuda:
        torch.cuda.synchronize()
    started = time.perf_counter()
    call()
    if is_cuda:
        torch.cuda.synchronize()
    return (time.perf_counter() - started) * 1e3


def matrix_rate(device: str, side: int, runs: int) -> float:
    """Tera floating-point operations per second of a large bf16 matrix product."""
    left, right = (torch.randn(side, side, device=device).bfloat16() for _ in range(2))
    is_cuda = left.device.type == "cuda"
    for _ in range(2):
        left @ right
    own = [timed(lambda: left @ right, is_cuda) for _ in range(runs)]
    return 2 * side**3 / statistics.median(own) / 1e9


@torch.no_grad()
def count_gigaflop(encoder: Any, side: int, device: str) -> float:
    """Floating-point operations of one image's matrix products and convolutions, in 1e9."""
    with FlopCounterMode(display=False) as counter:
        encoder(torch.zeros(1, 3, side, side, device=device))
    return counter.get_total_flops() / 1e9


if __name__ == "__main__":
    main()
