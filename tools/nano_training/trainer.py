"""The training loop: schedule, averaged weights, checkpoints that survive being killed, log."""

from __future__ import annotations

import csv
import logging
import os
import re
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import AdamW

from nano_training.clips import ClipBatch
from nano_training.depthwise import ExactDepthwiseGradients
from nano_training.objective import SimilarityHead, compute_losses
from nano_training.plots import draw_log
from nano_training.tracking_objective import compute_clip_losses
from nano_training.views import Batch, BatchStream, Recipe, prepare_loader
from vos.errors import CheckpointError
from vos.sam.networks.nano import build_nano

LOG = logging.getLogger("nano_training")

CHECKPOINT_NAME = "last.pt"
LOG_NAME = "log.csv"
LOG_EVERY_STEPS = 25
PREFETCHED = 4
"""Batches that each loader process draws ahead."""
WARM_UP_STEPS = 100
COOL_DOWN_SHARE = 0.25
"""Last part of a run, in which the rates fall; before it they stay, so that a run can go on."""
WEIGHT_DECAY = 0.02
MAX_GRADIENT_NORM = 1.0
AVERAGE_DECAY = 0.996
FINAL_RATE_SHARE = 0.02


@dataclass(frozen=True)
class Stage:
    """What is trained, and how fast.

    Attributes:
        learning_rates: Peak rate of each trained part, by the beginning of its names.
        frozen: Regular expression of names that stay as they are, whatever ``learning_rates`` says.
    """

    learning_rates: dict[str, float]
    frozen: str = "(?!)"


_RATES = {
    "image_encoder.neck": 6e-4,
    "image_encoder.trunk": 2e-4,
    "prompt_encoder": 1e-4,
    "mask_decoder": 2e-4,
}
# The first stages see the largest maps, so they cost most, and change least.
_FIRST_STAGES = r"image_encoder\.trunk\.(stem|stages\.[012])\."
# A depthwise kernel's gradient takes a third of a step on a CPU; so does that of the norm's gain,
# which is folded into it. Both hold few of the trunk's weights.
_KERNELS = r"image_encoder\.trunk\..*\.(depthwise_conv|depthwise_norm)\.weight"

STAGES = {
    # A new neck between parts that others trained learns within minutes while they stay.
    "neck": Stage({"image_encoder.neck": 1.5e-3}),
    "most": Stage(_RATES, f"{_FIRST_STAGES}|{_KERNELS}"),
    "all": Stage(_RATES, _FIRST_STAGES),
    "whole": Stage(_RATES),
}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How long to train and where to keep it.

    Attributes:
        out: Folder of checkpoint, log and weights.
        init: Weights to start from.
        device: Device to train on.
        stage: What is trained.
        num_steps: Steps in all, or None to go by ``minutes``.
        minutes: Minutes in all, counted over resumed runs too.
        save_every_minutes: Minutes between checkpoints; each also leaves the averaged weights.
        rate_factor: Of all learning rates, for larger batches.
        num_threads: Threads that share a batch, on the CPU.
        num_workers: Loader processes; the batches are the same for any number.
    """

    out: Path
    init: Path
    device: torch.device
    stage: Stage = STAGES["most"]
    num_steps: int | None = None
    minutes: float = 60.0
    save_every_minutes: float = 8.0
    rate_factor: float = 1.0
    num_threads: int = 1
    num_workers: int = 1


@dataclass
class State:
    """All that changes while training; a checkpoint holds exactly this."""

    sam: nn.Module
    head: SimilarityHead
    average: dict[str, Tensor]
    optimizer: AdamW
    step: int = 0
    num_pairs: int = 0
    seconds: float = 0.0

    @classmethod
    def start(cls, init: Path, device: torch.device, stage: Stage = STAGES["most"]) -> State:
        """Begin from packed weights.

        Raises:
            CheckpointError: The file is no safetensors file or of another model.
        """
        sam = build_nano().to(device=device, memory_format=torch.channels_last)
        weights, metadata = load_weights(init)
        try:
            sam.load_state_dict(weights)
        except RuntimeError as error:
            raise CheckpointError(f"{init} does not fit the embedded model: {error}") from error
        head = SimilarityHead(
            float(metadata.get("similarity_scale", 10)), float(metadata.get("similarity_bias", 0.5))
        ).to(device)
        for name, parameter in sam.named_parameters():
            is_trained = name.startswith(tuple(stage.learning_rates))
            parameter.requires_grad_(is_trained and not re.match(stage.frozen, name))
        groups = _parameter_groups(sam, head, stage)
        optimizer = AdamW(groups, weight_decay=WEIGHT_DECAY, fused=True)
        average = {name: value.detach().clone() for name, value in _trained(sam).items()}
        return cls(sam, head, average, optimizer)

    def save(self, path: Path) -> None:
        """Write a checkpoint; a crash leaves the previous one whole."""
        content = {
            "sam": self.sam.state_dict(),
            "head": self.head.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "num_pairs": self.num_pairs,
            "seconds": self.seconds,
        }
        _write_whole(path, lambda partial: torch.save(content, partial))

    def load(self, path: Path) -> None:
        """Take up a checkpoint."""
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        self.sam.load_state_dict(content["sam"])
        self.head.load_state_dict(content["head"])
        self.optimizer.load_state_dict(content["optimizer"])
        for name, value in content["average"].items():
            self.average[name].copy_(value)
        self.step, self.num_pairs = content["step"], content["num_pairs"]
        self.seconds = content["seconds"]

    def averaged_weights(self) -> dict[str, Tensor]:
        """Give the whole state dict with averaged weights."""
        return {**self.sam.state_dict(), **self.average}


def train(plan: Plan, recipe: Recipe) -> State:
    """Train until the plan's end, from ``plan.out``'s checkpoint where there is one."""
    plan.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    state = State.start(plan.init, plan.device, plan.stage)
    checkpoint = plan.out / CHECKPOINT_NAME
    if checkpoint.exists():
        state.load(checkpoint)
        LOG.info("resumed at step %d, %.1f minutes", state.step, state.seconds / 60)
    log = StepLog(plan.out / LOG_NAME, state.step)
    is_gpu = plan.device.type == "cuda"
    team = Team(plan.num_threads) if plan.num_threads > 1 and not is_gpu else None
    loader = torch.utils.data.DataLoader(
        BatchStream(recipe, state.step),
        batch_size=None,
        num_workers=plan.num_workers,
        worker_init_fn=prepare_loader,
        prefetch_factor=PREFETCHED if plan.num_workers else None,
        pin_memory=is_gpu,
    )
    last_save_seconds = state.seconds
    batches = iter(loader)
    with _told_to_stop() as stop:
        try:
            while (progress := _progress(plan, state)) < 1 and not stop.is_set():
                began = time.monotonic()
                batch = next(batches)
                waited = time.monotonic() - began
                losses = train_step(state, batch, progress, plan.device, plan.rate_factor, team)
                log.add(losses, waited)
                if state.step % LOG_EVERY_STEPS == 0:
                    log.write(state)
                state.seconds += time.monotonic() - began
                if state.seconds - last_save_seconds >= 60 * plan.save_every_minutes:
                    _save(plan, state, log)
                    last_save_seconds = state.seconds
        finally:
            # An error's traceback would keep the loaders, and the process would wait for them.
            del batches
    _save(plan, state, log)
    return state


@contextmanager
def _told_to_stop() -> Iterator[threading.Event]:
    """Let a run that is told to end (SIGTERM) finish its step and write a checkpoint."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before)


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read safetensors as float32, with their metadata."""
    try:
        with safe_open(path, framework="pt") as file:
            weights = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
            return weights, file.metadata() or {}
    except SafetensorError as error:
        raise CheckpointError(f"{path} is no safetensors file: {error}") from error


def save_weights(
    path: Path, weights: dict[str, Tensor], head: SimilarityHead, dtype: torch.dtype
) -> None:
    """Write safetensors whose metadata hold the similarity head."""
    tensors = {name: value.to("cpu", dtype).contiguous() for name, value in weights.items()}
    metadata = {
        "format": "pt",
        "similarity_scale": repr(head.scale.item()),
        "similarity_bias": repr(head.bias.item()),
    }
    content = save(tensors, metadata)
    _write_whole(path, lambda partial: partial.write_bytes(content))


def train_step(
    state: State,
    batch: Batch | ClipBatch,
    progress: float,
    device: torch.device,
    rate_factor: float = 1.0,
    team: Team | None = None,
) -> dict[str, Tensor]:
    """Train on one batch, at a share of the schedule, and give its losses.

    On a GPU nothing here waits for it: what depends on its results stays there.
    """
    _set_rates(state, progress, rate_factor)
    batch = batch.to(device)
    trained = [p for group in state.optimizer.param_groups for p in group["params"]]
    pieces = [batch] if team is None else batch.split(team.num_threads)
    weights = [piece.num_views / batch.num_views for piece in pieces]
    each = _map(team, lambda piece: _differentiate(state, piece, trained), pieces)
    losses = _weighted_sums([own for own, _ in each], weights)
    for parameter, *gradients in zip(trained, *(own for _, own in each), strict=True):
        known = [(g, w) for g, w in zip(gradients, weights, strict=True) if g is not None]
        parameter.grad = (
            sum((g * w for g, w in known[1:]), known[0][0] * known[0][1]) if known else None
        )
    norm = nn.utils.clip_grad_norm_(trained, MAX_GRADIENT_NORM)
    # The fused optimiser leaves a step out where this says so.
    state.optimizer.found_inf = (~torch.isfinite(norm)).float()  # type: ignore[attr-defined]
    state.optimizer.step()
    state.step += 1
    state.num_pairs += batch.num_views // 2
    decay = min(AVERAGE_DECAY, (1 + state.step) / (10 + state.step))
    with torch.no_grad():
        current = _trained(state.sam)
        names = list(state.average)
        torch._foreach_lerp_(
            [state.average[name] for name in names], [current[name] for name in names], 1 - decay
        )
    return losses


def _differentiate(
    state: State, batch: Batch | ClipBatch, trained: list[nn.Parameter]
) -> tuple[dict[str, Tensor], tuple[Tensor | None, ...]]:
    """Give a batch's losses, and the gradient of each trained tensor where it has one."""
    with ExactDepthwiseGradients():
        if isinstance(batch, ClipBatch):
            losses = compute_clip_losses(state.sam, state.head, batch)
        else:
            losses = compute_losses(state.sam, state.head, batch)
    gradients = torch.autograd.grad(losses["total"], trained, allow_unused=True)
    return {name: value.detach() for name, value in losses.items()}, gradients


def _map(team: Team | None, function: Callable[[Any], Any], pieces: list[Any]) -> list[Any]:
    return [function(piece) for piece in pieces] if team is None else team.map(function, pieces)


def _weighted_sums(losses: list[dict[str, Tensor]], weights: list[float]) -> dict[str, Tensor]:
    return {
        name: torch.stack([own[name] * w for own, w in zip(losses, weights, strict=True)]).sum()
        for name in losses[0]
    }


class Team:
    """Threads that differentiate a part of a batch each.

    Two threads that share every product wait for each other hundreds of times a step, above all
    where others want the cores too; these meet once.
    """

    def __init__(self, num_threads: int) -> None:
        self.num_threads = num_threads
        # What a thread may start itself is a setting of the thread.
        self._pool = ThreadPoolExecutor(
            num_threads, initializer=torch.set_num_threads, initargs=(1,)
        )

    def map(self, function: Callable[[Any], Any], pieces: list[Any]) -> list[Any]:
        """Apply a function to each piece."""
        return list(self._pool.map(function, pieces))


def _parameter_groups(sam: nn.Module, head: SimilarityHead, stage: Stage) -> list[dict[str, Any]]:
    groups: dict[tuple[float, bool], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in sam.named_parameters():
        if parameter.requires_grad:
            rates = stage.learning_rates.items()
            rate = next(rate for part, rate in rates if name.startswith(part))
            groups[rate, parameter.ndim > 1].append(parameter)
    groups[1e-3, False] += head.parameters()
    return [
        # Norms and biases do not decay.
        {"params": params, "peak_rate": rate, **({} if decays else {"weight_decay": 0.0})}
        for (rate, decays), params in groups.items()
    ]


def _set_rates(state: State, progress: float, rate_factor: float) -> None:
    warm_up = min(1.0, (state.step + 1) / WARM_UP_STEPS)
    falling = min(1.0, (1 - progress) / COOL_DOWN_SHARE)
    share = warm_up * max(FINAL_RATE_SHARE, falling)
    for group in state.optimizer.param_groups:
        group["lr"] = rate_factor * share * group["peak_rate"]


def _progress(plan: Plan, state: State) -> float:
    if plan.num_steps is not None:
        return state.step / plan.num_steps
    return state.seconds / (60 * plan.minutes)


def _trained(sam: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach() for name, p in sam.named_parameters() if p.requires_grad}


def _save(plan: Plan, state: State, log: StepLog) -> None:
    log.write(state)
    weights = plan.out / f"step_{state.step:06d}.safetensors"
    save_weights(weights, state.averaged_weights(), state.head, torch.float16)
    state.save(plan.out / CHECKPOINT_NAME)
    if log.path.exists():
        draw_log(log.path, plan.out / "log.png")
    LOG.info("%s after %.1f minutes, %d pairs", weights, state.seconds / 60, state.num_pairs)


def _write_whole(path: Path, write: Callable[[Path], object]) -> None:
    partial = path.with_name(path.name + ".partial")
    write(partial)
    os.replace(partial, path)


class StepLog:
    """Means over the last steps, a CSV row each; rows after a resumed step are dropped."""

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        self._values: dict[str, list[Tensor]] = defaultdict(list)
        self._began, self._waited = time.monotonic(), 0.0
        self._pairs_before: int | None = None
        if path.exists():
            with path.open(newline="") as file:
                header, *rows = list(csv.reader(file)) or [[]]
            kept = [row for row in rows if int(row[0]) <= step]
            with path.open("w", newline="") as file:
                csv.writer(file).writerows([header, *kept])

    def add(self, losses: dict[str, Tensor], waited_seconds: float) -> None:
        for name, value in losses.items():
            self._values[name].append(value)
        self._waited += waited_seconds

    def write(self, state: State) -> None:
        if not self._values:
            return
        means = {name: float(torch.stack(own).mean()) for name, own in self._values.items()}
        seconds = max(time.monotonic() - self._began, 1e-9)
        num_pairs = state.num_pairs - (self._pairs_before or 0)
        row: dict[str, float] = {
            "step": state.step,
            "minutes": round(state.seconds / 60, 2),
            "pairs": state.num_pairs,
            "pairs_per_second": round(num_pairs / seconds, 3),
            "waiting_share": round(self._waited / seconds, 3),
            **{name: round(mean, 5) for name, mean in means.items()},
        }
        if self._pairs_before is None:
            del row["pairs_per_second"]
        self._append(row)
        LOG.info("%s", "  ".join(f"{name} {value:g}" for name, value in row.items()))
        self._values.clear()
        self._began, self._waited = time.monotonic(), 0.0
        self._pairs_before = state.num_pairs

    def _append(self, row: dict[str, float]) -> None:
        """Add a row; a batch of another kind may bring columns that were not there before."""
        rows: list[dict[str, Any]] = []
        if self.path.exists():
            with self.path.open(newline="") as file:
                rows = list(csv.DictReader(file))
        names = dict.fromkeys(name for each in (*rows, row) for name in each)
        with self.path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(names), restval="")
            writer.writeheader()
            writer.writerows([*rows, row])
