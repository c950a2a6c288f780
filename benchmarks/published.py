"""The published prior one step at a time, so that an experiment can replace one of them.

What follows is put together from vos' own pieces and gives the masks of ``RunConfig.published()``
(tests/test_ideas.py). A subclass is an idea (ideas.py); an object of it follows one video.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import closing

import numpy as np
import torch
from numpy.typing import NDArray

from vos.config import PersamF, RunConfig
from vos.masks import match_frame, object_ids, read_mask
from vos.masks.boxes import box_centres_xy, grow_box_xyxy
from vos.records import Frame, FrameMasks, Labels
from vos.run.outputs import Outputs, describe_run
from vos.run.results import write_results
from vos.sam.geometry import Letterbox
from vos.sam.model import SamModel
from vos.segment.read_ahead import read_ahead
from vos.sets.davis import DavisSequence
from vos.sink.passing import Pair
from vos.source import open_source
from vos.track.masks import correct, measure, merge, nothing_found
from vos.track.published.encode import Encoded, encode
from vos.track.published.locate import Peaks, frame_similarities, peaks_of
from vos.track.published.personalize import personalize
from vos.track.published.prior import hand_on
from vos.track.published.refine import Candidates
from vos.track.published.segment import find, scores

METHOD = PersamF(absence=None)
CONFIG = RunConfig(method=METHOD)
"""As ``RunConfig.published()``."""


class Published:
    """The prior ``box`` as published, one frame at a time."""

    def __init__(self, first: Encoded, reference: Labels, sam: SamModel) -> None:
        self.sam = sam
        ids = object_ids(reference)
        self.targets = personalize([(first, reference)], ids, sam, METHOD)
        self.masks = correct(nothing_found(first.frame.frame_hw, ids), reference)
        self.priors = hand_on(self.masks, "box")

    @torch.inference_mode()
    def step(self, encoded: Encoded) -> FrameMasks:
        """Find every object in the next frame."""
        peaks = peaks_of(self.similarities(encoded))
        found = self.find(encoded, peaks)
        ids = self.targets.object_ids
        labels = merge(found.logits, np.ones(len(ids), dtype=np.bool_), ids)
        trust = scores(peaks.similarities, found.predicted_ious, self.targets.peak_similarities)
        masks = measure(labels, ids, trust)
        self.learn(encoded, peaks, found, masks)
        self.priors = hand_on(masks, "box")
        return masks

    def similarities(self, encoded: Encoded) -> torch.Tensor:
        """Give the (K, H, W) maps of which the maximum is each object's location prior."""
        return frame_similarities(
            self.targets.embeddings, encoded.matching, self.letterbox_of(encoded)
        )

    def find(self, encoded: Encoded, peaks: Peaks) -> Candidates:
        """Give each object's mask, those with a box together."""
        num_objects = len(self.targets.object_ids)
        logits = torch.full(
            (num_objects, *encoded.frame.frame_hw), -torch.inf, device=self.sam.device
        )
        predicted_ious = np.zeros(num_objects, dtype=np.float32)
        for has_box in (True, False):
            rows = np.flatnonzero(self.priors.has_box == has_box)
            if not len(rows):
                continue
            points_xy, boxes_xyxy = peaks.points_xy[rows, None], None
            if has_box:
                boxes_xyxy = self.boxes(encoded.frame.frame_hw)[rows]
                points_xy = np.concatenate([points_xy, box_centres_xy(boxes_xyxy)[:, None]], axis=1)
            found = self.decode(encoded, rows, points_xy, boxes_xyxy)
            logits[torch.from_numpy(rows).to(logits.device)] = found.logits
            predicted_ious[rows] = found.predicted_ious
        return Candidates(logits, predicted_ious)

    def boxes(self, frame_hw: tuple[int, int]) -> NDArray[np.int64]:
        """Give the (K, 4) box prompts."""
        margin_px = METHOD.box_margin_px
        return grow_box_xyxy(self.priors.boxes_xyxy, margin_px, frame_hw, beyond_px=1)

    def decode(
        self,
        encoded: Encoded,
        rows: NDArray[np.int64],
        points_xy: NDArray[np.int64],
        boxes_xyxy: NDArray[np.int64] | None,
    ) -> Candidates:
        """Run the cascade for some of the objects; the maps are for training-free PerSAM only."""
        no_maps = torch.empty(0)
        return find(encoded, self.targets, rows, no_maps, points_xy, boxes_xyxy, self.sam)

    def learn(self, encoded: Encoded, peaks: Peaks, found: Candidates, masks: FrameMasks) -> None:
        """Keep what the next frame needs; ``priors`` are still those of the last one."""

    def letterbox_of(self, encoded: Encoded) -> Letterbox:
        return self.sam.letterbox(encoded.frame.frame_hw)


Idea = type[Published]


def follow(
    frames: Iterable[Frame], reference: Labels, sam: SamModel, idea: Idea
) -> Generator[Pair, None, None]:
    """Segment a video as vos.segment_video does, by an idea."""
    with (
        closing(read_ahead(frames, CONFIG.num_read_ahead)) as decoded,
        closing(encode(decoded, sam, METHOD.batch_size)) as stream,
    ):
        first = next(stream)
        follower = idea(first, reference, sam)
        yield first.frame, follower.masks
        for encoded in stream:
            yield encoded.frame, follower.step(encoded)


def segment_sequence(sequence: DavisSequence, outputs: Outputs, sam: SamModel, idea: Idea) -> int:
    """Segment a sequence by an idea, write its results, and give its number of frames."""
    header = describe_run(str(sequence.images_dir), sam, CONFIG)
    reference = read_mask(sequence.reference)
    if sequence.join_objects:
        reference = (reference > 0).astype(np.uint8)
    with open_source(sequence.images_dir, start=sequence.first_index) as source:
        reference = match_frame(reference, source.info.frame_hw)
        with (
            closing(follow(source, reference, sam, idea)) as pairs,
            closing(write_results(pairs, outputs, source.info, header)) as results,
        ):
            return sum(1 for _ in results)
