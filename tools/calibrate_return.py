"""Fit the weights of vos/track/memory/presence.py: when is what is like a lost object the object?

    python tools/calibrate_return.py ../shared/train/*.tar

The videos of the sources (group ``davis16``: every second frame of the training sequences of DAVIS
2016) are tracked from their first mask with the default settings. At some frames the object is
taken for lost, and searched for in the frame, in the frame with the object painted over, and in a
frame of the next video. A logistic regression tells right finds from the others; each video is
judged by weights that were fitted to the others.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, replace
from pathlib import Path
from unittest import mock

import click
import cv2
import numpy as np
from calibrate_score import Tracked, fit
from nano_training.pairs import read_pairs
from numpy.typing import NDArray

import vos
from vos.records import Frame
from vos.score.measures import region_j
from vos.track.memory import presence
from vos.track.memory.follow import Tracks, follow
from vos.track.memory.motion import when_lost
from vos.track.memory.tracks import learn

SEARCHED_FRAMES = (4, 12, 20, 26)
NUM_FRAMES_LOST = 10
RIGHT_IOU = 0.6
CONFIG = vos.Memory(relook=False, return_likeness=0.0)

Rgb = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Video = list[tuple[Rgb, Mask]]


@dataclass(frozen=True)
class Find:
    """What a search gave: its evidence, and whether it is the object."""

    evidence: tuple[float, ...]
    is_right: bool


@click.command()
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--videos", "num_videos", type=int, help="Only so many, for a trial.")
@click.option("--model", default="nano", show_default=True)
def main(sources: tuple[Path, ...], num_videos: int | None, model: str) -> None:
    """Fit, and say how good the fit is."""
    sam = vos.load_sam(model, dtype="float32")
    videos: list[Video] = []
    for _, frames in sorted(read_pairs(sources).videos.items())[:num_videos]:
        pictures = (frames[number].decode() for number in sorted(frames))
        videos.append([(rgb, labels > 0) for rgb, labels in pictures])
    searched = []
    for number, video in enumerate(videos):
        finds = search(video, videos[(number + 1) % len(videos)], sam)
        searched.append(as_tracked(finds))
        print(f"video {number}: {sum(each.is_right for each in finds)} of {len(finds)} are right")
    weights = fit(searched)
    print("weights:", ", ".join(f"{weight:.1f}" for weight in weights[:-1]), f"{weights[-1]:.1f}")
    if len(searched) > 1:
        others = [fit(searched[:n] + searched[n + 1 :]) for n in range(len(searched))]
        report(searched, others)


def search(video: Video, other: Video, sam: vos.SamModel) -> list[Find]:
    """Follow a video, and search for its object where it is and where it is not."""
    (first, mask), *later = video
    shown = [(as_frame(first, 0), mask.astype(np.uint8))]
    tracks = Tracks((1,), (learn(shown, 1, sam, CONFIG),))
    finds = []
    for index, (rgb, truth) in enumerate(later, start=1):
        (track,) = tracks.tracks
        if index in SEARCHED_FRAMES and track is not None:
            lost = track
            for _ in range(NUM_FRAMES_LOST):
                lost = replace(lost, motion=when_lost(lost.motion))
            elsewhere = cv2.resize(other[index % len(other)][0], (rgb.shape[1], rgb.shape[0]))
            nowhere = np.zeros_like(truth)
            for picture, own in (
                (rgb, truth),
                (painted_over(rgb, truth), nowhere),
                (elsewhere, nowhere),
            ):
                finds += find(as_frame(picture, index), own, Tracks((1,), (lost,)), sam)
        _, tracks = follow(as_frame(rgb, index), tracks, sam, CONFIG)
    return finds


def find(frame: Frame, truth: Mask, tracks: Tracks, sam: vos.SamModel) -> list[Find]:
    """Search a frame for a lost object; whatever is found is taken."""
    seen: list[presence.Resemblance] = []

    def listen(found: presence.Resemblance) -> float:
        seen.append(found)
        return 1.0

    with (
        mock.patch("vos.track.memory.follow.presence", listen),
        # What is where the object was last seen is taken up without this test.
        mock.patch("vos.track.memory.follow._overlaps", return_value=False),
    ):
        masks, _ = follow(frame, tracks, sam, CONFIG)
    own = masks.labels > 0
    return [Find(astuple(each), region_j(truth, own) > RIGHT_IOU) for each in seen if own.any()]


def painted_over(rgb: Rgb, mask: Mask) -> Rgb:
    """Fill the object and its rim with what is around it."""
    grown = cv2.dilate(mask.astype(np.uint8), np.ones((15, 15), np.uint8))
    return cv2.inpaint(rgb, grown, 5, cv2.INPAINT_TELEA)


def as_frame(rgb: Rgb, index: int) -> Frame:
    return Frame(index, index / 24, f"{index:05d}", np.ascontiguousarray(rgb))


def as_tracked(finds: list[Find]) -> Tracked:
    # In some videos nothing is found.
    evidence = np.array([each.evidence for each in finds]).reshape(-1, len(presence.WEIGHTS))
    return Tracked(evidence, np.array([float(each.is_right) for each in finds]))


def report(searched: list[Tracked], weights: list[NDArray[np.float64]]) -> None:
    """Print which finds are taken up, by weights that were fitted to the other videos."""
    logits = np.concatenate(
        [each.evidence @ own[:-1] + own[-1] for each, own in zip(searched, weights, strict=True)]
    )
    is_right = np.concatenate([each.ious for each in searched]) > 0
    needed = vos.Memory().return_presence
    is_taken = 1 / (1 + np.exp(-logits)) >= needed
    print(f"right finds taken up: {is_taken[is_right].mean():.3f} of {is_right.sum()}")
    print(f"others taken up: {is_taken[~is_right].mean():.3f} of {(~is_right).sum()}")


if __name__ == "__main__":
    main()
