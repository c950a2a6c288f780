"""The embedded model's encoder with fused convolutions, against its own module."""

import numpy as np
import pytest
import torch

from vos.sam.devices import bfloat16_units
from vos.sam.fast import nano
from vos.sam.fast.nano import FusedNano, can_run_fused
from vos.sam.model import SamModel
from vos.sam.networks.architectures import build_module
from vos.sam.networks.batch_norm import fuse_batch_norms

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def encoder() -> torch.nn.Module:
    torch.manual_seed(0)
    module = build_module("nano")
    fuse_batch_norms(module)
    encoder = module.image_encoder
    if not can_run_fused(encoder, CPU, torch.float32):
        pytest.skip("this processor or this build of torch has no fused convolutions")
    with torch.no_grad():  # biases start as zeros
        for name, parameter in encoder.named_parameters():
            if name.endswith("bias"):
                parameter.add_(0.1 * torch.randn_like(parameter))
    return encoder.requires_grad_(False)


@torch.inference_mode()
@pytest.mark.parametrize("shape", [(1, 512, 512), (2, 288, 512)])
def test_features_equal_the_modules(encoder, shape):
    batch, height, width = shape
    images = torch.randn(batch, height, width, 3, generator=torch.Generator().manual_seed(1))
    images = images.permute(0, 3, 1, 2)
    features = FusedNano(encoder, torch.float32)(images)
    torch.testing.assert_close(features, encoder(images), rtol=1e-4, atol=1e-4)


@torch.inference_mode()
@pytest.mark.skipif(not bfloat16_units(), reason="the processor has no bfloat16")
def test_features_in_bfloat16_are_as_near_as_the_modules(encoder):
    images = torch.randn(1, 128, 128, 3, generator=torch.Generator().manual_seed(1))
    images = images.permute(0, 3, 1, 2)
    exact = encoder(images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = encoder(images).float()
    features = FusedNano(encoder, torch.bfloat16)(images).float()
    assert (features - exact).norm() < 1.2 * (rounded - exact).norm()


def test_only_the_encoder_itself_is_replaced(encoder):
    assert not can_run_fused(build_module("nano").image_encoder, CPU, torch.float32)  # norms
    assert not can_run_fused(encoder, torch.device("cuda"), torch.float32)
    assert not can_run_fused(encoder, CPU, torch.float16)
    assert not can_run_fused(torch.nn.Identity(), CPU, torch.float32)


@pytest.mark.parametrize("change", ["gone", "other arguments", "another result"])
def test_private_operators_that_changed_are_left_alone(encoder, change, monkeypatch):
    def answer(self, x, plus=None):
        if change == "another result":
            return x
        raise {"gone": AttributeError, "other arguments": RuntimeError}[change](change)

    nano._operators_are_known.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(nano._Convolution, "__call__", answer)
        assert not can_run_fused(encoder, CPU, torch.float32)
    nano._operators_are_known.cache_clear()
    assert can_run_fused(encoder, CPU, torch.float32)


def test_a_model_encodes_so(encoder):
    module = build_module("nano")
    picture = np.random.default_rng(0).integers(0, 256, (90, 160, 3), dtype=np.uint8)
    plain = SamModel(module).encode([picture])
    fuse_batch_norms(module)
    torch.testing.assert_close(SamModel(module).encode([picture]), plain, rtol=1e-4, atol=1e-4)
