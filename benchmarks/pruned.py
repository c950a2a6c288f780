"""What smaller versions of the embedded model would gain: the time of a default frame, in turns.

    python benchmarks/pruned.py --threads 1

Every version runs on the pictures and prompts of `nano` while the masks are those of `nano`, whose
own calls do not count: so a version needs no training, and the rest of the frame is the same. From
frames of 854 x 480 px in memory to label maps. `gain` is the median of nano's time divided by the
version's, a frame of each in turn, with its quartiles. Rows are appended to benchmarks/pruned.csv.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import click
import numpy as np
import torch
from rows import append_row, environment, processor

import vos
from vos.sam.networks import assemble, nano
from vos.sam.networks.batch_norm import fuse_batch_norms
from vos.synthetic import ClipConfig, make_clip

RESULTS = Path(__file__).with_suffix(".csv")
FRAME_HW = (480, 854)
NUM_WARM = 2
VERSIONS: dict[str, dict[str, Any]] = {
    "decoder of one layer": {"num_layers": 1},
    "128 channels": {"num_channels": 128},
    "three quarters of the trunk": {"width": 0.75},
    "all of these": {"num_layers": 1, "num_channels": 128, "width": 0.75},
}


def build(*, num_layers: int = 2, num_channels: int = 256, width: float = 1.0) -> vos.SamModel:
    """Build a version with random weights.

    Args:
        num_layers: Of the decoder's transformer.
        num_channels: Of the features and of the decoder.
        width: Share of the trunk's channels, rounded to eights.
    """

    def scaled(channels: int) -> int:
        return max(8, round(channels * width / 8) * 8)

    stages = tuple((*head, scaled(i), scaled(o), n) for *head, i, o, n in nano._STAGES)
    with (
        mock.patch.object(nano, "_STAGES", stages),
        mock.patch.object(nano, "CHANNELS", num_channels),
        mock.patch.object(assemble, "CHANNELS", num_channels),
    ):
        module = nano.build_nano()
    transformer: Any = module.get_submodule("mask_decoder.transformer")
    transformer.layers = transformer.layers[:num_layers]
    fuse_batch_norms(module)
    return vos.SamModel(module)


class Version:
    """The default on a clip, with a version's model calls in place of nano's."""

    def __init__(self, clip: list[Any], version: vos.SamModel | None) -> None:
        self.model_ms = self.uncounted_ms = 0.0
        sam = vos.load_sam("nano", device="cpu", dtype="float32")
        calls: dict[str, Any] = {name: getattr(sam, name) for name in ("encode", "decode")}
        latest: list[torch.Tensor] = []

        def encode(pictures: Any) -> torch.Tensor:
            features = self.counted(version is None, calls["encode"], pictures)
            if version is not None:
                latest[:] = self.counted(True, version.encode, pictures)
            return features

        def decode(features: Any, *given: Any, classifiers: Any, **options: Any) -> Any:
            is_own = version is None
            call = calls["decode"]
            found = self.counted(is_own, call, features, *given, classifiers=classifiers, **options)
            if version is not None:
                fewer = classifiers[..., : version.num_pixel_channels]
                self.counted(True, version.decode, latest[-1], *given, classifiers=fewer, **options)
            return found

        sam.encode, sam.decode = encode, decode  # type: ignore[method-assign]
        frames = (frame for frame, _ in clip)
        self.masks = vos.segment_video(frames, clip[0][1], sam)

    def counted(self, counts: bool, call: Any, *given: Any, **options: Any) -> Any:
        started = time.process_time()
        result = call(*given, **options)
        spent_ms = (time.process_time() - started) * 1e3
        if counts:
            self.model_ms += spent_ms
        else:
            self.uncounted_ms += spent_ms
        return result

    def frames_ms(self) -> Iterator[tuple[float, float]]:
        """Processor time of each frame, and of its model calls."""
        while True:
            self.model_ms = self.uncounted_ms = 0.0
            started = time.process_time()
            if next(self.masks, None) is None:
                return
            yield (time.process_time() - started) * 1e3 - self.uncounted_ms, self.model_ms


@click.command()
@click.option("--threads", default=1)
@click.option("--objects", "num_objects", default=1)
@click.option("--frames", "num_frames", default=14)
@click.option("--results", default=RESULTS, type=click.Path(path_type=Path), help="The CSV.")
def main(threads: int, num_objects: int, num_frames: int, results: Path) -> None:
    """Append one row for nano and one for each version."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    vos.keep_freed_memory()
    config = ClipConfig(num_objects=num_objects, num_frames=num_frames, frame_hw=FRAME_HW)
    clip = list(make_clip(config))
    versions = {"nano": Version(clip, None)}
    versions |= {name: Version(clip, build(**sizes)) for name, sizes in VERSIONS.items()}
    # (frames, versions, (frame, model calls))
    times = np.array(list(zip(*(each.frames_ms() for each in versions.values()), strict=True)))
    times = times[NUM_WARM:]
    for number, name in enumerate(versions):
        gains = times[:, 0, 0] / times[:, number, 0]
        low, gain, high = np.percentile(gains, [25, 50, 75]).round(2).tolist()
        frame_ms, model_ms = np.median(times[:, number], axis=0).round(1).tolist()
        row = {
            **environment(),
            "cpu": processor(),
            "threads": threads,
            "objects": num_objects,
            "version": name,
            "frame_ms": frame_ms,
            "model_calls_ms": model_ms,
            "gain": gain,
            "gain_quartiles": f"{low}-{high}",
        }
        append_row(results, row)


if __name__ == "__main__":
    main()
