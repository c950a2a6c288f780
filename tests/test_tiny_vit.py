"""MobileSAM's image encoder."""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from vos.sam.networks.architectures import build_module
from vos.sam.networks.tiny_vit import TinyViT


@pytest.fixture(scope="module")
def published_keys(shared: Path) -> dict[str, tuple[list[int], str]]:
    return json.loads((shared / "golden" / "mobile_sam_keys.json").read_text())


@pytest.fixture(scope="module")
def seeded() -> TinyViT:
    torch.manual_seed(0)
    encoder = TinyViT().eval()
    for name, tensor in encoder.state_dict().items():
        if name.endswith("attention_biases"):
            tensor.normal_()
    return encoder


def golden_weight(name: str, shape: list[int], seed: int) -> torch.Tensor:
    """The weight of this name in the model whose output is the golden one."""
    if name.endswith("attention_biases"):
        # The published encoder looks its biases up when it enters evaluation mode, here before
        # the weights were loaded: the golden output was made with the initial ones, all zero.
        return torch.zeros(shape)
    random = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    if name.endswith("running_var"):
        return 1 + 0.1 * random.abs()
    if name.endswith("running_mean"):
        return 0.05 * random
    if len(shape) == 1 and name.endswith("weight"):
        return 1 + 0.05 * random
    if len(shape) <= 1:
        return 0.02 * random
    return 0.7 * random * math.sqrt(2 / max(1, random[0].numel()))


def test_names_shapes_and_dtypes_are_those_of_the_published_weights(
    published_keys: dict[str, tuple[list[int], str]],
) -> None:
    ours = {
        name: [list(tensor.shape), str(tensor.dtype).removeprefix("torch.")]
        for name, tensor in build_module("mobile_sam").state_dict().items()
    }
    assert ours == published_keys


def test_golden_features(shared: Path, published_keys: dict[str, tuple[list[int], str]]) -> None:
    prefix = "image_encoder."
    weights = {
        name.removeprefix(prefix): golden_weight(name, published_keys[name][0], seed)
        for seed, name in enumerate(sorted(published_keys))
        if name.startswith(prefix) and published_keys[name][1] == "float32"
    }
    encoder = TinyViT().eval()
    encoder.load_state_dict(weights, strict=False)
    channel = torch.arange(3.0)[:, None, None]
    y, x = torch.arange(1024.0)[:, None], torch.arange(1024.0)
    image = torch.sin(x / 37 + channel) + torch.cos(y / (23 + 5 * channel))
    with torch.inference_mode():
        features = encoder(image[None])
    assert features.shape == (1, 256, 64, 64)
    with np.load(shared / "golden" / "tiny_vit.npz") as golden:
        expected = torch.from_numpy(golden["features_every_4"])
    torch.testing.assert_close(features[0, :, ::4, ::4], expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("stage", [1, 2, 3])
@torch.inference_mode()
def test_attention_adds_the_bias_of_each_distance_even_if_loaded_late(stage: int) -> None:
    torch.manual_seed(stage)
    block = TinyViT().eval().layers[stage].blocks[0]
    attention, side = block.attn, block.window
    tokens = torch.randn(2, side * side, attention.norm.weight.numel())
    before = attention(tokens)
    table = torch.randn(attention.attention_biases.shape)
    attention.load_state_dict({"attention_biases": table}, strict=False)

    cells = list(itertools.product(range(side), repeat=2))
    entries = [[abs(y - v) * side + abs(x - u) for v, u in cells] for y, x in cells]
    qkv = attention.qkv(attention.norm(tokens)).unflatten(-1, (len(table), 3, 32))
    query, key, value = qkv.permute(3, 0, 2, 1, 4)
    logits = query @ key.transpose(-1, -2) / math.sqrt(32) + table[:, torch.tensor(entries)]
    expected = attention.proj((logits.softmax(-1) @ value).transpose(1, 2).flatten(2))

    torch.testing.assert_close(attention(tokens), expected, rtol=0, atol=1e-5)
    assert not torch.allclose(before, expected, atol=1e-2)


@torch.inference_mode()
def test_an_image_gives_the_same_features_in_any_batch(seeded: TinyViT) -> None:
    images = torch.randn(3, 3, 96, 160)
    together = seeded(images)
    apart = torch.cat([seeded(image[None]) for image in images])
    torch.testing.assert_close(together, apart, rtol=0, atol=1e-5)
    assert not torch.allclose(together[0], together[1], atol=0.1)


@torch.inference_mode()
@pytest.mark.parametrize("hw", [(16, 16), (112, 112), (96, 160)])
def test_any_multiple_of_16_pixels_gives_a_cell_per_16(
    seeded: TinyViT, hw: tuple[int, int]
) -> None:
    features = seeded(torch.randn(1, 3, *hw))
    assert features.shape == (1, 256, hw[0] // 16, hw[1] // 16)
    assert features.isfinite().all()


@torch.inference_mode()
def test_training_mode_changes_nothing(seeded: TinyViT) -> None:
    image = torch.randn(1, 3, 64, 64)
    before = seeded(image)
    try:
        assert torch.equal(seeded.train()(image), before)
    finally:
        seeded.eval()


@torch.inference_mode()
def test_runs_in_bfloat16(seeded: TinyViT) -> None:
    image = torch.randn(1, 3, 32, 32)
    exact = seeded(image)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = seeded(image).float()
    assert torch.nn.functional.cosine_similarity(exact, rough).min() > 0.99
