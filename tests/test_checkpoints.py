"""Reading weights files, and loading them into the registered architectures."""

import importlib
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from vos.errors import CheckpointError, UnknownModelError
from vos.sam.networks import segment_anything_modules
from vos.sam.networks.architectures import build_module
from vos.sam.weights.checkpoints import guess_architecture, load_weights, read_state_dict
from vos.sam.weights.registry import MODELS

WEIGHTS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.steps": torch.tensor(3)}


def save_as_torch(content: object, path: Path) -> None:
    torch.save(content, path)


def save_as_old_torch(content: object, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


class Runs:
    """Leaves a file behind where a pickle of it is loaded."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> object:
        return os.mkdir, (str(self.trace),)


def small_module() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))


@pytest.mark.parametrize(
    ("save", "name"),
    [
        (save_as_torch, "weights.pth"),
        (save_as_old_torch, "weights.pt"),
        (save_file, "weights.safetensors"),
        (save_file, "weights.bin"),
    ],
)
def test_reads_every_format_by_content_where_the_name_does_not_tell(
    tmp_path: Path, save: Callable[[object, Path], None], name: str
) -> None:
    save(WEIGHTS, tmp_path / name)
    weights = read_state_dict(str(tmp_path / name))
    assert weights.keys() == WEIGHTS.keys()
    assert all(torch.equal(weights[name], WEIGHTS[name]) for name in WEIGHTS)


def test_weights_outlive_their_file(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(WEIGHTS, path)
    weights = read_state_dict(path)
    with path.open("r+b") as file:
        file.write(b"\0" * path.stat().st_size)
    assert all(torch.equal(weights[name], WEIGHTS[name]) for name in WEIGHTS)


@pytest.mark.parametrize("wrapper", ["model", "state_dict"])
def test_unwraps_what_training_scripts_save(tmp_path: Path, wrapper: str) -> None:
    torch.save({"epoch": 3, wrapper: WEIGHTS}, tmp_path / "weights.pth")
    assert read_state_dict(tmp_path / "weights.pth").keys() == WEIGHTS.keys()


@pytest.mark.parametrize("save", [save_as_torch, save_as_old_torch])
def test_nothing_in_a_file_is_run(tmp_path: Path, save: Callable[[object, Path], None]) -> None:
    save({"a": Runs(tmp_path / "trace")}, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match="could run code"):
        read_state_dict(tmp_path / "weights.pth")
    assert not (tmp_path / "trace").exists()
    with (tmp_path / "plain.pth").open("wb") as file:
        pickle.dump(Runs(tmp_path / "trace"), file)
    with pytest.raises(CheckpointError, match="could run code"):
        read_state_dict(tmp_path / "plain.pth")
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    "content",
    [
        torch.zeros(3),
        {},
        [WEIGHTS],
        {"a": 1.0},
        {1: torch.zeros(3)},
        {"model": 3, "a": torch.zeros(3)},
        {"a": torch.zeros(3, 3).to_sparse()},
        {"a": torch.zeros(3, device="meta")},
    ],
    ids=["tensor", "empty", "list", "number", "key", "wrapper", "sparse", "meta"],
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match="no state dict"):
        read_state_dict(tmp_path / "weights.pth")


@pytest.mark.parametrize("save", [save_as_torch, save_as_old_torch, save_file])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.9])
def test_a_truncated_file_is_refused(
    tmp_path: Path, save: Callable[[object, Path], None], share: float
) -> None:
    path = tmp_path / "weights.pth"
    save({"a": torch.zeros(1000)}, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(CheckpointError, match="damaged or not a weights file"):
        read_state_dict(path)


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_text_is_no_checkpoint(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\n" * 9)
    with pytest.raises(CheckpointError, match="not a weights file") as caught:
        read_state_dict(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_folder_or_no_file_at_all(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"Is a directory|Permission denied"):
        read_state_dict(tmp_path)
    with pytest.raises(CheckpointError, match="No such file"):
        read_state_dict(tmp_path / "gone.pth")


def test_loads_every_weight_in_the_dtype_of_the_module() -> None:
    module, weights = small_module(), small_module().half().state_dict()
    weights["1.running_mean"] = torch.full((4,), 0.5, dtype=torch.float16)
    load_weights(module, weights, origin="w")
    loaded = module.state_dict()
    assert all(torch.equal(loaded[name], weights[name].to(loaded[name].dtype)) for name in loaded)
    assert loaded["0.weight"].dtype == torch.float32
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_counters_of_batch_norm_may_be_absent_other_weights_not() -> None:
    module, weights = small_module(), small_module().state_dict()
    del weights["1.num_batches_tracked"]
    load_weights(module, weights, origin="w")
    assert torch.equal(module[0].weight, weights["0.weight"])
    del weights["1.running_var"]
    with pytest.raises(CheckpointError, match=r"w does not fit .* missing: 1 \(1.running_var\)$"):
        load_weights(module, weights, origin="w")


def test_says_in_one_line_all_that_differs_and_changes_nothing() -> None:
    module, weights = small_module(), small_module().state_dict()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    del weights["0.bias"]
    weights |= {"x": torch.zeros(1), "y": torch.zeros(1), "0.weight": torch.zeros(4, 3)}
    weights["1.weight"] = weights["1.weight"].int()
    with pytest.raises(CheckpointError) as caught:
        load_weights(module, weights, origin="weights.pth")
    assert str(caught.value) == (
        "weights.pth does not fit the model; weights missing: 1 (0.bias); unknown: 2 (x, ...); "
        "of another shape or kind: 2 (0.weight, ...)"
    )
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("position", [0, 5, 11])
def test_weights_that_are_not_finite_are_refused(value: float, position: int) -> None:
    weights = small_module().state_dict()
    weights["0.weight"].view(-1)[position] = value
    with pytest.raises(CheckpointError, match=r"1 of 7 weights .* the first is 0.weight"):
        load_weights(small_module(), weights, origin="w")


def test_weights_too_large_for_the_dtype_of_the_module_are_refused() -> None:
    weights = small_module().double().state_dict()
    weights["0.bias"][1] = 1e300
    with pytest.raises(CheckpointError, match="not finite"):
        load_weights(small_module(), weights, origin="w")


@pytest.mark.parametrize("name", [name for name, spec in MODELS.items() if spec.extra is None])
def test_each_architecture_is_recognised(name: str) -> None:
    module = build_module(name)
    assert guess_architecture(module.state_dict()) == name
    assert module.image_encoder.img_size == MODELS[name].image_size
    assert not module.training


def test_weights_of_nothing_registered_are_not_recognised() -> None:
    assert guess_architecture(WEIGHTS) is None
    assert guess_architecture({"image_encoder.pos_embed": torch.zeros(1, 4, 4, 768)}) is None


@pytest.mark.parametrize(("held", "wanted"), [("vit_b", "vit_h"), ("nano", "mobile_sam")])
def test_weights_of_another_architecture_are_named(held: str, wanted: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        load_weights(build_module(wanted), build_module(held).state_dict(), origin="w.pth")
    assert str(caught.value) == f"w.pth holds {held} weights, the model is {wanted}"


def test_a_large_model_is_all_there_after_loading() -> None:
    module = build_module("vit_b")
    weights = {name: torch.full(tensor.shape, 0.5) for name, tensor in module.state_dict().items()}
    load_weights(module, weights, origin="w")
    assert all(bool((tensor == 0.5).all()) for tensor in module.parameters())
    assert module.pixel_mean.flatten().tolist() == pytest.approx([123.675, 116.28, 103.53])
    assert module.pixel_std.flatten().tolist() == pytest.approx([58.395, 57.12, 57.375])


@pytest.mark.parametrize("name", ["vit_b", "vit_l", "vit_h"])
def test_large_models_are_built_as_segment_anything_builds_them(name: str) -> None:
    package = segment_anything_modules.Sam.__module__.removesuffix(".modeling.sam")
    published = importlib.import_module(f"{package}.build_sam").sam_model_registry[name]
    with torch.device("meta"):
        expected = published()
    module = build_module(name)
    # Its own norm over channels is the same in one step instead of six.
    assert repr(module).replace("ChannelNorm", "LayerNorm2d") == repr(expected)
    shapes = {name: tensor.shape for name, tensor in module.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in expected.state_dict().items()}
    ours, theirs = module.image_encoder.blocks, expected.image_encoder.blocks
    assert [block.window_size for block in ours] == [block.window_size for block in theirs]
    assert [block.attn.num_heads for block in ours] == [block.attn.num_heads for block in theirs]
    prompts = module.prompt_encoder
    assert prompts.input_image_size == expected.prompt_encoder.input_image_size
    assert prompts.image_embedding_size == expected.prompt_encoder.image_embedding_size


def test_the_embedded_weights_load(tmp_path: Path) -> None:
    from vos.sam.weights.download import fetch

    module = build_module("nano")
    weights = read_state_dict(fetch(MODELS["nano"]))
    load_weights(module, weights, origin="nano")
    name = "image_encoder.neck.output.project.weight"
    assert torch.equal(module.state_dict()[name], weights[name].float())


def test_an_architecture_must_be_registered() -> None:
    with pytest.raises(UnknownModelError):
        build_module("vit_x")
