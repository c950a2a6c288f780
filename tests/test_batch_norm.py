"""Batch norms that are frozen, and folded into convolutions after loading."""

import pytest
import torch
from torch import nn

import vos
from vos.sam.networks.architectures import build_module
from vos.sam.networks.batch_norm import FrozenBatchNorm, fuse_batch_norms


def with_statistics(module: nn.Module) -> nn.Module:
    """Give all batch norms something to do."""
    generator = torch.Generator().manual_seed(0)
    for norm in module.modules():
        if isinstance(norm, FrozenBatchNorm):
            with torch.no_grad():
                for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
                    tensor.uniform_(0.5, 1.5, generator=generator)
    return module


def test_equals_torchs_batch_norm_in_evaluation():
    ours, reference = with_statistics(FrozenBatchNorm(6, eps=1e-3)), nn.BatchNorm2d(6, eps=1e-3)
    reference.load_state_dict(ours.state_dict(), strict=False)
    x = torch.randn(2, 6, 8, 8)
    torch.testing.assert_close(ours(x), reference.eval()(x))
    torch.testing.assert_close(ours.train()(x), reference(x))


@pytest.mark.parametrize("name", ["nano", "mobile_sam"])
@torch.no_grad()
def test_fusing_keeps_the_features_and_leaves_no_norm(name):
    encoder = with_statistics(build_module(name).image_encoder)
    images = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    before = encoder(images)
    fuse_batch_norms(encoder)
    assert not any(isinstance(module, FrozenBatchNorm) for module in encoder.modules())
    assert not any(key.endswith("running_var") for key in encoder.state_dict())
    torch.testing.assert_close(encoder(images), before, rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_a_model_that_is_not_fused_gives_the_same():
    from vos.sam.weights.checkpoints import load_weights, read_state_dict
    from vos.sam.weights.download import fetch
    from vos.sam.weights.registry import MODELS

    module = build_module("nano")
    load_weights(module, read_state_dict(fetch(MODELS["nano"])), origin="nano")
    picture = torch.randint(0, 256, (90, 160, 3), dtype=torch.uint8).numpy()
    fused = vos.load_sam("nano", device="cpu").encode([picture])
    torch.testing.assert_close(vos.SamModel(module).encode([picture]), fused, rtol=0, atol=1e-4)
