"""The experiments of benchmarks/: what they are put on gives the published masks."""

import sys
from pathlib import Path

import numpy as np
import pytest

import vos
from vos.sam.model import SamModel
from vos.synthetic import ClipConfig, make_clip
from vos.track.published.encode import encode

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


@IDEAS
def test_an_idea_follows_what_is_easy_to_follow(idea, nano):
    frames, labels = frames_and_labels()
    for ours, theirs in zip(labels_of(follow(frames, labels[0], nano, idea)), labels, strict=True):
        for object_id in (1, 2):
            own, true = ours == object_id, theirs == object_id
            assert (own & true).sum() > GOOD_IOU * (own | true).sum()


@pytest.fixture(scope="module")
def published_step():
    frames, labels = frames_and_labels()
    return last_step(Published, frames, labels[0])


def test_the_same_prior_does_the_same(published_step):
    frames, labels = frames_and_labels()
    assert last_step(Published, frames, labels[0]) == published_step


@IDEAS
def test_an_idea_is_at_work(idea, published_step):
    """Its similarities, or what it asks the decoder, are not those of the published prior."""
    frames, labels = frames_and_labels()
    assert last_step(idea, frames, labels[0]) != published_step


def last_step(idea, frames, reference):
    """What an idea looks at and asks in its last step, as bytes."""
    sam = Recording.nano()
    follower = None
    for encoded in encode(frames, sam, 1):
        if follower is None:
            follower = idea(encoded, reference, sam)
            continue
        sam.asked.clear()
        follower.step(encoded)
    return follower.similarities(encoded).numpy().tobytes(), sam.asked


class Recording(SamModel):
    """Keeps the prompts that it was given."""

    asked: list

    @classmethod
    def nano(cls):
        sam = cls(vos.load_sam("nano", device="cpu", dtype="float32")._sam)
        sam.asked = []
        return sam

    def decode(self, features, prompts, letterbox, **settings):
        given = (prompts.points_xy, prompts.boxes_xyxy, prompts.low_res_logits)
        self.asked.append([None if each is None else np.asarray(each).tobytes() for each in given])
        return super().decode(features, prompts, letterbox, **settings)
