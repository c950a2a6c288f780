"""The experiments of benchmarks/: what they are put on gives the published masks."""

import sys
from pathlib import Path

import numpy as np
import pytest

import vos
from vos.synthetic import ClipConfig, make_clip

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import ideas
from published import Published, follow

CLIP = ClipConfig(num_frames=5, frame_hw=(96, 160), num_objects=2, seed=1)
GOOD_IOU = 0.6


@pytest.fixture(scope="module")
def nano():
    return vos.load_sam("nano", device="cpu", dtype="float32")


def frames_and_labels():
    frames, labels = zip(*make_clip(CLIP), strict=True)
    return frames, labels


def labels_of(pairs):
    return [masks.labels for _, masks in pairs]


def test_without_an_idea_the_masks_are_the_published_ones(nano):
    frames, labels = frames_and_labels()
    ours = labels_of(follow(frames, labels[0], nano, Published))
    published = vos.RunConfig.published()
    theirs = labels_of(vos.segment_video(frames, labels[0], nano, published))
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
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
def test_an_idea_follows_what_is_easy_to_follow(idea, nano):
    frames, labels = frames_and_labels()
    for ours, theirs in zip(labels_of(follow(frames, labels[0], nano, idea)), labels, strict=True):
        for object_id in (1, 2):
            own, true = ours == object_id, theirs == object_id
            assert (own & true).sum() > GOOD_IOU * (own | true).sum()
