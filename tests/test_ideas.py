"""The experiments of benchmarks/: what they are put on gives the published masks."""

import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from colour_sam import PALETTE, ColourSam

import vos
from vos.sam.model import SamModel
from vos.synthetic import ClipConfig, make_clip
from vos.track.published.encode import encode

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import ideas
from published import Published, follow

HEIGHT, WIDTH, SIDE, NUM_FRAMES = 64, 112, 24, 5
GOOD_IOU = 0.6


def test_without_an_idea_the_masks_are_the_published_ones(nano):
    config = ClipConfig(num_frames=3, frame_hw=(96, 160), num_objects=2, seed=1)
    frames, labels = zip(*make_clip(config), strict=True)
    ours = follow(frames, labels[0], nano, Published)
    theirs = vos.segment_video(frames, labels[0], nano, vos.RunConfig.published())
    for (_, our_masks), (_, their_masks) in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(our_masks.labels, their_masks.labels)


IDEAS = pytest.mark.parametrize(
    "idea",
    [
        ideas.Logits,
        ideas.Motion,
        ideas.EmbeddingMax,
        ideas.EmbeddingMean,
        ideas.Contrast,
        ideas.Hypotheses,
    ],
)


def draw(t: int) -> tuple[np.ndarray, np.ndarray]:
    """Two squares that move towards each other, one above the other, with noise of a camera."""
    rgb = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    for object_id, (x, y) in {1: (8 + 3 * t, 4), 2: (80 - 3 * t, 36)}.items():
        part = slice(y, y + SIDE), slice(x, x + SIDE)
        rgb[part], labels[part] = PALETTE[object_id], object_id
    return rgb + np.random.default_rng(t).integers(0, 15, rgb.shape, dtype=np.uint8), labels


class Recording(SamModel):
    """Keeps the prompts that it was given."""

    def __init__(self) -> None:
        super().__init__(ColourSam())
        self.prompts: list = []

    def decode(self, features, prompts, letterbox, **settings):
        given = (prompts.points_xy, prompts.boxes_xyxy, prompts.low_res_logits)
        each_as_bytes = [None if each is None else np.asarray(each).tobytes() for each in given]
        self.prompts.append(each_as_bytes)
        return super().decode(features, prompts, letterbox, **settings)


@cache
def followed(idea) -> tuple[list[np.ndarray], object]:
    """Label maps, and as bytes the similarities of the last frame and the prompts of its step."""
    sam = Recording()
    frames = vos.frames_from_arrays(draw(t)[0] for t in range(NUM_FRAMES))
    first, *later = encode(frames, sam, 1)
    follower = idea(first, draw(0)[1], sam)
    labels = [follower.masks.labels]
    for encoded in later:
        sam.prompts.clear()
        labels.append(follower.step(encoded).labels)
    return labels, (follower.similarities(later[-1]).numpy().tobytes(), sam.prompts)


@IDEAS
def test_an_idea_follows_what_is_easy_to_follow(idea):
    for t, ours in enumerate(followed(idea)[0]):
        for object_id in (1, 2):
            found, true = ours == object_id, draw(t)[1] == object_id
            assert (found & true).sum() > GOOD_IOU * (found | true).sum()


def test_the_same_prior_does_the_same():
    assert followed.__wrapped__(Published)[1] == followed(Published)[1]


@IDEAS
def test_an_idea_is_at_work(idea):
    """Its similarities, or what it asks the decoder, are not those of the published prior."""
    assert followed(idea)[1] != followed(Published)[1]
