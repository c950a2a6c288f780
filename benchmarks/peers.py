"""A frame of vos beside a frame of its peers, in turns: speed only.

    python -m venv peers && peers/bin/pip install -e . rf-cutie transformers
    peers/bin/python benchmarks/peers.py
    peers/bin/python benchmarks/peers.py --peer cutie-small --frames 20

Each segments one object in the same synthetic clip of 854 x 480 px, a frame of each in turn, from
RGB arrays to masks of the frame's size. The peers' weights are random, for the time does not
hang on them, and nothing is downloaded: what their masks are worth stands in their papers. vos runs
its default with the embedded weights.

Peers get slower until their memory of frames is full. Before the clock runs each has filled its
own: Cutie (arXiv 2310.12982) that of 5 frames, of which it then keeps every 5th; SAM 2.1 tiny
(arXiv 2408.00714), by transformers, that of 7. Cutie runs as its authors evaluate it on DAVIS.

The row of each, in benchmarks/peers.csv, has the median and quartiles of the processor's time and
the median of wall time, and the median and quartiles of its time over that of vos in the same turn.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from rows import append_row, environment
from torch.nn import functional as F

import vos
from vos.synthetic import ClipConfig, make_clip

RESULTS = Path(__file__).with_suffix(".csv")
FRAME_HW = (480, 854)
OBJECT_ID = 1
NUM_WARM = 7
SAM2_INPUT_PX = 1024

Clip = tuple[list[NDArray[np.uint8]], NDArray[np.uint8]]
"""Frames, and the object's mask in the first."""


def vos_masks(clip: Clip) -> Iterator[NDArray[np.bool_]]:
    """The default method with the embedded model, in float32."""
    frames, labels = clip
    sam = vos.load_sam("nano", device="cpu", dtype="float32")
    with closing(vos.segment_video(vos.frames_from_arrays(frames), labels, sam)) as pairs:
        for _, masks in pairs:
            yield masks.labels == OBJECT_ID


def cutie_masks(clip: Clip, size: str) -> Iterator[NDArray[np.bool_]]:
    """Cutie ``small`` or ``base``, built without the ResNets that its constructor downloads."""
    from cutie.inference.inference_core import InferenceCore
    from cutie.inference.utils.args_utils import get_dataset_cfg
    from cutie.model.cutie import CUTIE
    from cutie.model.utils import resnet
    from omegaconf import OmegaConf

    resnet.model_zoo.load_url = lambda *args, **kwargs: {}
    resnet.load_weights_add_extra_dim = lambda *args, **kwargs: None
    folder = resources.files("cutie") / "config"
    settings = OmegaConf.load(str(folder / "eval_config.yaml"))
    settings.model = OmegaConf.merge(
        *(OmegaConf.load(str(folder / "model" / f"{name}.yaml")) for name in ("base", size))
    )
    get_dataset_cfg(settings)
    frames, labels = clip
    tracker = InferenceCore(CUTIE(settings).eval(), settings)
    mask, mem_every = torch.from_numpy(labels), tracker.mem_every
    for number, rgb in enumerate(frames):
        # Every frame of the first ones is remembered, so that the memory is full when time counts.
        tracker.mem_every = 1 if number < NUM_WARM else mem_every
        picture = torch.from_numpy(rgb).permute(2, 0, 1).float() / 255
        with torch.inference_mode():
            if number == 0:
                probabilities = tracker.step(picture, mask, objects=[OBJECT_ID])
            else:
                probabilities = tracker.step(picture)
        yield (probabilities.argmax(dim=0) == OBJECT_ID).numpy()


def sam2_masks(clip: Clip) -> Iterator[NDArray[np.bool_]]:
    """SAM 2.1 tiny, which is what transformers builds where nothing else is asked for."""
    from transformers import Sam2VideoConfig, Sam2VideoModel
    from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

    frames, labels = clip
    model = Sam2VideoModel(Sam2VideoConfig()).eval()
    session = Sam2VideoInferenceSession(
        video_height=FRAME_HW[0], video_width=FRAME_HW[1], dtype=torch.float32
    )
    object_index = session.obj_id_to_idx(OBJECT_ID)
    side_hw = (SAM2_INPUT_PX, SAM2_INPUT_PX)
    mask = torch.from_numpy(labels == OBJECT_ID).float()[None, None]
    session.add_mask_inputs(object_index, 0, F.interpolate(mask, side_hw))
    session.obj_with_new_inputs = [OBJECT_ID]
    mean, std = (
        torch.tensor(values)[:, None, None]
        for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    for number, rgb in enumerate(frames):
        picture = torch.from_numpy(rgb).permute(2, 0, 1).float()[None] / 255
        picture = F.interpolate(picture, side_hw, mode="bilinear", antialias=True)[0]
        with torch.inference_mode():
            output = model(session, frame_idx=number, frame=(picture - mean) / std)
            logits = F.interpolate(output.pred_masks, FRAME_HW, mode="bilinear")
        yield (logits[0, 0] > 0).numpy()


PEERS: dict[str, tuple[str, Callable[[Clip], Iterator[NDArray[np.bool_]]]]] = {
    "vos": ("torch", vos_masks),
    "cutie-small": ("rf-cutie", lambda clip: cutie_masks(clip, "small")),
    "cutie-base": ("rf-cutie", lambda clip: cutie_masks(clip, "base")),
    "sam2.1-tiny": ("transformers", sam2_masks),
}


@click.command()
@click.option("--peer", "peers", multiple=True, type=click.Choice([p for p in PEERS if p != "vos"]))
@click.option("--frames", "num_frames", default=8, help="Frames that are timed.")
@click.option("--threads", default=1, help="Threads of torch.")
@click.option("--processor", default="", help="Its name, for the rows.")
@click.option("--results", default=RESULTS, type=click.Path(path_type=Path), help="The CSV.")
def main(
    peers: tuple[str, ...], num_frames: int, threads: int, processor: str, results: Path
) -> None:
    """Append one row for vos and one for each peer."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    vos.keep_freed_memory()
    settings = ClipConfig(num_objects=1, num_frames=NUM_WARM + num_frames, frame_hw=FRAME_HW)
    frames, labels = zip(*make_clip(settings), strict=True)
    clip = [frame.rgb for frame in frames], labels[0]
    names = ["vos", *(peers or [name for name in PEERS if name != "vos"])]
    turns = time_in_turns({name: PEERS[name][1](clip) for name in names}, len(frames))
    vos_cpu_ms = [cpu_ms for cpu_ms, _ in turns["vos"]]
    for name, spent in turns.items():
        cpu_ms, wall_ms = map(list, zip(*spent, strict=True))
        over_vos = [ms / ours for ms, ours in zip(cpu_ms, vos_cpu_ms, strict=True)]
        row: dict[str, Any] = {
            **environment(),
            "processor": processor,
            "cores": os.cpu_count() or 0,
            "threads": threads,
            "peer": name,
            "package": PEERS[name][0],
            "package_version": metadata.version(PEERS[name][0]),
            "frames": num_frames,
            **quartiles("cpu_ms", cpu_ms, digits=1),
            "wall_ms": round(statistics.median(wall_ms), 1),
            **quartiles("cpu_over_vos", over_vos, digits=2),
        }
        append_row(results, row)


def time_in_turns(
    masks: dict[str, Iterator[NDArray[np.bool_]]], num_frames: int
) -> dict[str, list[tuple[float, float]]]:
    """Milliseconds of the processor and of the wall that each took for each frame."""
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in masks}
    for number in range(num_frames):
        for name, of_peer in masks.items():
            started = time.process_time(), time.perf_counter()
            mask = next(of_peer)
            ended = time.process_time(), time.perf_counter()
            if mask.shape != FRAME_HW:
                raise RuntimeError(f"{name} gave a mask of {mask.shape}, not {FRAME_HW}")
            if number >= NUM_WARM:
                spent[name].append(((ended[0] - started[0]) * 1e3, (ended[1] - started[1]) * 1e3))
    return spent


def quartiles(name: str, values: list[float], digits: int) -> dict[str, float]:
    """Median and quartiles, as columns."""
    least, median, most = np.percentile(values, (25, 50, 75)).tolist()
    return {
        name: round(median, digits),
        f"{name}_q1": round(least, digits),
        f"{name}_q3": round(most, digits),
    }


if __name__ == "__main__":
    main()
