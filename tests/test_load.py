"""From a name to a running model."""

import numpy as np
import pytest
import torch

import vos
from vos.errors import CheckpointError, UnknownModelError
from vos.sam import load
from vos.sam.networks.architectures import build_module
from vos.sam.weights.checkpoints import load_weights
from vos.sam.weights.registry import MODELS


@pytest.fixture(scope="module")
def nano() -> vos.SamModel:
    return vos.load_sam("nano", device="cpu")


def test_nano_is_embedded_and_says_what_it_is(nano):
    assert nano.name == "nano"
    assert nano.image_size == MODELS["nano"].image_size == 512
    assert nano.weights_sha256 == MODELS["nano"].sha256
    assert nano.dtype == "float32"


def test_a_processor_without_bfloat16_is_warned_of(monkeypatch, caplog):
    monkeypatch.setattr(load, "bfloat16_units", tuple)
    with caplog.at_level("WARNING", logger="vos"):
        vos.load_sam("nano", device="cpu")
        assert not caplog.records
        vos.load_sam("nano", device="cpu", dtype="bfloat16")
    assert "no instructions for bfloat16" in caplog.text


def test_nano_separates_an_object_from_its_ground(nano):
    rng = np.random.default_rng(0)
    rgb = rng.integers(60, 90, (180, 320, 3), dtype=np.uint8)
    rgb[60:130, 100:190] = (220, 50, 40)
    reference = np.zeros((180, 320), np.uint8)
    reference[60:130, 100:190] = 1
    moved = np.roll(rgb, (10, 30), axis=(0, 1))
    frames = vos.frames_from_arrays([rgb, moved])
    *_, (_, masks) = vos.segment_video(frames, reference, nano)
    truth = np.roll(reference, (10, 30), axis=(0, 1)) > 0
    found = masks.labels == 1
    assert (truth & found).sum() / (truth | found).sum() > 0.9
    assert masks.scores[0] > 0.7


def test_a_checkpoint_of_ones_own(nano, tmp_path):
    module = build_module("nano")
    path = tmp_path / "own.pth"
    torch.save(module.state_dict(), path)
    own = vos.load_sam("nano", checkpoint=path, device="cpu")
    assert own.weights_sha256 != nano.weights_sha256


def test_a_checkpoint_of_another_architecture(tmp_path):
    path = tmp_path / "nano.pth"
    torch.save(build_module("nano").state_dict(), path)
    with pytest.raises(CheckpointError, match="nano"):
        vos.load_sam("mobile_sam", checkpoint=path)


def test_unknown_model():
    with pytest.raises(UnknownModelError, match="legal are nano"):
        vos.load_sam("sam3")


def norm_statistics(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Legal values for the entries that may not be any random number."""
    return {
        key: torch.ones(t.shape, dtype=t.dtype)
        for key, t in module.state_dict().items()
        if key.endswith("running_var") or not t.is_floating_point()
    }


def test_a_large_model_runs_real_frames(shared):
    """Random weights find nothing sensible; the shapes must run all the same."""
    torch.manual_seed(0)
    module = build_module("mobile_sam")
    weights = {key: torch.randn(t.shape) * 0.02 for key, t in module.state_dict().items()}
    load_weights(module, {**weights, **norm_statistics(module)}, origin="random weights")
    sam = vos.SamModel(module)
    root = shared / "davis"
    with vos.open_source(root / "JPEGImages/480p/dog", end=2) as frames:
        reference = vos.read_mask(root / "Annotations/480p/dog/00000.png")
        config = vos.RunConfig(method=vos.PersamF(fit=vos.FitConfig(num_steps=2)))
        results = list(vos.segment_video(frames, reference, sam, config))
    assert [frame.name for frame, _ in results] == ["00000", "00001"]
    assert all(masks.labels.shape == reference.shape for _, masks in results)
