"""The published code's outputs on small seeded models, reproduced."""

from pathlib import Path

import numpy as np
import pytest
import torch
from golden_model import golden_sam

import vos
from vos.config import FitConfig
from vos.records import Frame
from vos.sam.model import Decoded, Prompts, SamModel
from vos.track.published.encode import encode
from vos.track.published.personalize import personalize

CASES = ("one_object", "two_objects", "portrait")


class RecordingSam(SamModel):
    """Keeps what the decoder was asked."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__(module)
        self.asked: list[Prompts] = []
        self.answered: list[Decoded] = []

    def decode(self, features, prompts, letterbox, **settings) -> Decoded:
        self.asked.append(prompts)
        self.answered.append(super().decode(features, prompts, letterbox, **settings))
        return self.answered[-1]


@pytest.fixture(params=CASES)
def case(request, shared: Path):
    module, settings = golden_sam(shared / "golden", request.param)
    golden = np.load(shared / "golden" / f"{request.param}.npz")
    fit = FitConfig(num_steps=settings["epochs"], learning_rate=settings["lr"])
    return RecordingSam(module), vos.RunConfig(method=vos.PersamF(fit=fit, absence=None)), golden


def test_scale_weights(case):
    sam, config, golden = case
    frame = Frame(0, 0.0, "00000", golden["frames"][0])
    encoded = next(encode([frame], sam, 1))
    ids = tuple(np.unique(golden["reference"])[1:].tolist())
    targets = personalize([(encoded, golden["reference"])], ids, sam, config.method)
    np.testing.assert_allclose(targets.scale_weights, golden["scale_weights"], atol=2e-3)


def test_prompts_and_label_maps(case):
    sam, config, golden = case
    frames = vos.frames_from_arrays(golden["frames"])
    labels = [m.labels for _, m in vos.segment_video(frames, golden["reference"], sam, config)]

    # Three calls personalise (the fit and two refinements), then three follow per frame.
    assert np.abs(sam.asked[0].points_xy - golden["fit_points"]).max() <= 1
    assert np.abs(sam.asked[0].boxes_xyxy - golden["fit_boxes"]).max() <= 1
    for call in range(3):
        asked, answered = sam.asked[3 + call], sam.answered[3 + call]
        assert np.abs(asked.points_xy - golden["step_points"][0, :, call]).max() <= 1
        assert np.abs(asked.boxes_xyxy - golden["step_boxes"][0, :, call]).max() <= 1
        np.testing.assert_allclose(
            answered.predicted_ious, golden["step_scores"][0, :, call], atol=1e-4
        )

    for object_id in np.unique(golden["reference"])[1:]:
        ious = [
            iou(ours == object_id, theirs == object_id)
            for ours, theirs in zip(labels, golden["labels"], strict=True)
        ]
        assert np.mean(ious) >= 0.99


def iou(ours: np.ndarray, theirs: np.ndarray) -> float:
    union = (ours | theirs).sum()
    return (ours & theirs).sum() / union if union else 1.0
