"""The published code's outputs on images, reproduced: training-free PerSAM, and PerSAM-F."""

from pathlib import Path

import numpy as np
import pytest
import torch
from golden_model import golden_sam

import vos
from vos.config import RunConfig
from vos.sam.model import SamModel
from vos.track.published.encode import encode
from vos.track.published.personalize import personalize


class RecordingSam(SamModel):
    """Keeps what the decoder was asked and all that it would have answered."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__(module)
        self.calls = []

    def decode(self, features, prompts, letterbox, **settings):
        everything = settings | {"mixing": None, "only_picture": False}
        self.calls.append((prompts, super().decode(features, prompts, letterbox, **everything)))
        return super().decode(features, prompts, letterbox, **settings)


@pytest.mark.parametrize(
    ("case", "method"), [("persam_free", "persam"), ("persam_f_images", "persam_f")]
)
def test_images_agree_with_the_published_code(shared: Path, case, method):
    module, settings = golden_sam(shared / "golden", case)
    golden = np.load(shared / "golden" / f"{case}.npz")
    assert settings["method"] == method
    sam, config = RecordingSam(module), RunConfig.for_images(method)
    frames = list(vos.frames_from_arrays(golden["images"]))
    references = [(frames[0], golden["reference"])]
    results = list(vos.segment_images(frames, references, sam, config))

    calls = sam.calls[3:]  # three personalise, then three follow for each image
    assert len(calls) == 3 * len(frames)
    for n, (_, masks) in enumerate(results):
        (first, answer), _, (last, last_answer) = calls[3 * n : 3 * n + 3]
        np.testing.assert_array_equal(first.points_xy[0], golden["points"][n])
        assert first.boxes_xyxy is None
        np.testing.assert_allclose(answer.low_res_logits[0], golden["first_low_res"][n], atol=1e-4)
        np.testing.assert_allclose(answer.predicted_ious[0], golden["first_scores"][n], atol=1e-5)
        assert np.abs(last.boxes_xyxy[0] - golden["last_boxes"][n]).max() <= 1
        np.testing.assert_allclose(
            last_answer.predicted_ious[0], golden["last_scores"][n], atol=1e-5
        )
        ours, theirs = masks.labels == 1, golden["masks"][n]
        assert (ours & theirs).sum() / (ours | theirs).sum() >= 0.98


def test_scale_weights_of_the_image_schedule(shared: Path):
    module, settings = golden_sam(shared / "golden", "persam_f_images")
    golden = np.load(shared / "golden" / "persam_f_images.npz")
    sam, config = SamModel(module), RunConfig.for_images()
    fit = config.method.fit
    assert (settings["steps"], settings["lr"]) == (fit.num_steps, fit.learning_rate)
    encoded = next(encode(vos.frames_from_arrays(golden["images"]), sam, 1))
    targets = personalize([(encoded, golden["reference"])], (1,), sam, config.method)
    np.testing.assert_allclose(targets.scale_weights[0], golden["scale_weights"], atol=2e-3)
