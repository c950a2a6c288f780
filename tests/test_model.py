"""The two calls of SamModel, and what it refuses."""

import numpy as np
import pytest
import torch
from colour_sam import ColourSam
from golden_model import small_sam

from vos.errors import DeviceError, InputError
from vos.sam.model import POSITIVE, Prompts, SamModel

SIZES = {
    "image_size": 128,
    "prompt_embed_dim": 32,
    "encoder_embed_dim": 32,
    "encoder_depth": 1,
    "encoder_num_heads": 2,
    "encoder_global_attn_indexes": [0],
    "window_size": 4,
    "transformer_mlp_dim": 64,
    "iou_head_hidden_dim": 32,
}


@pytest.fixture(scope="module")
def sam() -> SamModel:
    torch.manual_seed(0)
    return SamModel(small_sam(SIZES))


def picture(seed: int, hw: tuple[int, int] = (90, 160)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*hw, 3), dtype=np.uint8)


def prompts(num_objects: int, *, box: bool = True) -> Prompts:
    points = np.array([[[20 + 9 * k, 30 + 7 * k]] for k in range(num_objects)])
    boxes = np.concatenate([points - 8, points + 12], axis=2)[:, 0] if box else None
    return Prompts(points, np.full((num_objects, 1), POSITIVE), boxes)


def test_features_do_not_depend_on_the_batch(sam):
    pictures = [picture(seed) for seed in range(3)]
    together = sam.encode(pictures)
    assert together.shape == (3, 32, 8, 8)
    assert together.dtype == torch.float32
    for one, features in zip(pictures, together, strict=True):
        torch.testing.assert_close(sam.encode([one])[0], features, atol=1e-5, rtol=1e-5)


def test_encoding_is_segment_anythings_own_preprocessing(sam):
    """Normalise, pad right and bottom, encode, as Sam.preprocess does to a resized picture."""
    one = picture(0, (72, 128))
    as_tensor = torch.from_numpy(one).permute(2, 0, 1)[None].float()
    with torch.inference_mode():
        expected = sam._sam.image_encoder(sam._sam.preprocess(as_tensor))
    torch.testing.assert_close(sam.encode([one]), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("box", [True, False])
def test_objects_do_not_influence_each_other(sam, box):
    features = sam.encode([picture(1)])[0]
    letterbox = sam.letterbox((90, 160))
    together = sam.decode(features, prompts(3, box=box), letterbox)
    assert together.low_res_logits.shape == (3, 3, 32, 32)
    assert together.predicted_ious.shape == (3, 3)
    for k in range(3):
        asked = prompts(3, box=box)
        boxes = None if asked.boxes_xyxy is None else asked.boxes_xyxy[k : k + 1]
        alone = sam.decode(
            features,
            Prompts(asked.points_xy[k : k + 1], asked.point_labels[k : k + 1], boxes),
            letterbox,
        )
        torch.testing.assert_close(
            alone.low_res_logits[0], together.low_res_logits[k], atol=1e-4, rtol=1e-4
        )


def test_bfloat16_stays_close_and_gives_float32():
    torch.manual_seed(0)
    module = small_sam(SIZES)
    exact, rough = SamModel(module), SamModel(module, dtype="bfloat16")
    features = rough.encode([picture(2)])
    assert features.dtype == torch.float32
    similarity = torch.cosine_similarity(features, exact.encode([picture(2)]), dim=1)
    assert similarity.min() > 0.98


def test_a_module_without_sams_attributes_is_refused():
    with pytest.raises(InputError, match="lacks image_encoder"):
        SamModel(torch.nn.Linear(1, 1))


def test_unknown_dtype():
    with pytest.raises(InputError, match="float32, bfloat16, float16"):
        SamModel(ColourSam(), dtype="float64")


@pytest.mark.parametrize("device", ["gpu", "meta"])
def test_unknown_devices(device):
    with pytest.raises(DeviceError, match="choose auto"):
        SamModel(ColourSam(), device=device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_asked_for_and_absent():
    with pytest.raises(DeviceError, match="sees 0 CUDA devices"):
        SamModel(ColourSam(), device="cuda")


@pytest.mark.parametrize(
    ("points", "labels", "boxes", "logits"),
    [
        ((2, 1, 2), (1, 1), None, None),
        ((1, 1, 3), (1, 1), None, None),
        ((1, 1, 2), (1, 1), (2, 4), None),
        ((1, 1, 2), (1, 1), None, (2, 4, 4)),
    ],
)
def test_prompts_check_their_shapes(points, labels, boxes, logits):
    with pytest.raises(InputError, match="must be"):
        Prompts(
            np.zeros(points, dtype=np.int64),
            np.zeros(labels, dtype=np.int64),
            None if boxes is None else np.zeros(boxes, dtype=np.int64),
            None if logits is None else torch.zeros(logits),
        )
