"""Weights of Cutie and SAM 2.1: Meta's names, what is loaded, and files that are not right."""

import hashlib
import itertools
import re
import socket
import sys
from dataclasses import replace

import pytest
import torch
from small_networks import small_cutie

import vos
from vos.errors import CheckpointError, DownloadError, MissingPackageError
from vos.track import method, registry
from vos.track.registry import NETWORKS

# Names in sam2.1_hiera_tiny.pt, as Meta's own model has them; {a,b} stands for each of a and b.
# Where no ending is given, a weight and a bias.
ATTENTION = "{q_proj,k_proj,v_proj,out_proj}"
META_NAMES = f"""
maskmem_tpos_enc! no_mem_embed! no_mem_pos_enc! no_obj_ptr! no_obj_embed_spatial!
image_encoder.trunk.{{pos_embed,pos_embed_window}}!
image_encoder.trunk.patch_embed.proj
image_encoder.trunk.blocks.{{0,1,2,3,4,5,6,7,8,9,10,11}}.{{norm1,norm2,attn.qkv,attn.proj}}
image_encoder.trunk.blocks.{{0,1,2,3,4,5,6,7,8,9,10,11}}.mlp.layers.{{0,1}}
image_encoder.trunk.blocks.{{1,3,10}}.proj
image_encoder.neck.convs.{{0,1,2,3}}.conv
mask_downsample
memory_attention.layers.{{0,1,2,3}}.{{self_attn,cross_attn_image}}.{ATTENTION}
memory_attention.layers.{{0,1,2,3}}.{{linear1,linear2,norm1,norm2,norm3}}
memory_attention.norm
memory_encoder.mask_downsampler.encoder.{{0,1,3,4,6,7,9,10,12}}
memory_encoder.{{pix_feat_proj,out_proj}}
memory_encoder.fuser.layers.{{0,1}}.gamma!
memory_encoder.fuser.layers.{{0,1}}.{{dwconv,norm,pwconv1,pwconv2}}
obj_ptr_proj.layers.{{0,1,2}} obj_ptr_tpos_proj
sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix!
sam_prompt_encoder.point_embeddings.{{0,1,2,3}}.weight!
sam_prompt_encoder.{{not_a_point_embed,no_mask_embed}}.weight!
sam_prompt_encoder.mask_downscaling.{{0,1,3,4,6}}
sam_mask_decoder.{{iou_token,mask_tokens,obj_score_token}}.weight!
sam_mask_decoder.{{conv_s0,conv_s1}}
sam_mask_decoder.transformer.layers.{{0,1}}.self_attn.{ATTENTION}
sam_mask_decoder.transformer.layers.{{0,1}}.cross_attn_token_to_image.{ATTENTION}
sam_mask_decoder.transformer.layers.{{0,1}}.cross_attn_image_to_token.{ATTENTION}
sam_mask_decoder.transformer.layers.{{0,1}}.{{norm1,norm2,norm3,norm4,mlp.layers.0,mlp.layers.1}}
sam_mask_decoder.transformer.final_attn_token_to_image.{ATTENTION}
sam_mask_decoder.transformer.norm_final_attn
sam_mask_decoder.output_upscaling.{{0,1,3}}
sam_mask_decoder.{{iou_prediction_head,pred_obj_score_head}}.layers.{{0,1,2}}
sam_mask_decoder.output_hypernetworks_mlps.{{0,1,2,3}}.layers.{{0,1,2}}
"""
SMALL_BACKBONE = {
    "hidden_size": 8,
    "embed_dim_per_stage": [8, 16, 32, 64],
    "num_attention_heads_per_stage": [1, 1, 2, 2],
}


def meta_names() -> list[str]:
    names = []
    for pattern in META_NAMES.split():
        parts = re.split(r"\{(.*?)\}", pattern.removesuffix("!"))
        choices = [[part] if i % 2 == 0 else part.split(",") for i, part in enumerate(parts)]
        ends = ("",) if pattern.endswith("!") else (".weight", ".bias")
        names += ["".join(each) for each in itertools.product(*choices, ends)]
    return names


@pytest.fixture
def small_sam2(monkeypatch):
    """Gives networks of the layers of size tiny with fewer channels."""
    pytest.importorskip("transformers", reason="the extra models (transformers) is not installed")
    from vos.track.sam2 import network

    monkeypatch.setitem(network._BACKBONES, "tiny", SMALL_BACKBONE)
    return lambda: network.build_sam2("tiny")


def as_meta(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Give weights Meta's names, by where the mapping puts numbers under each of these."""
    from vos.track.sam2.checkpoint import from_meta

    names = meta_names()
    numbered = from_meta({name: torch.tensor([[i]]) for i, name in enumerate(names)})
    renamed = {}
    for name, numbers in numbered.items():
        rows = weights[name].split(1) if len(numbers) > 1 else [weights[name]]
        for number, row in zip(numbers.flatten().tolist(), rows, strict=True):
            renamed[names[number]] = row.clone()
    return renamed


def test_every_weight_of_meta_has_its_place(small_sam2):
    from vos.track.sam2.checkpoint import from_meta

    names = meta_names()
    assert len(names) == len({*names}) == 471
    renamed = from_meta({name: torch.tensor([[i]]) for i, name in enumerate(names)})
    assert {*renamed} == {*small_sam2().state_dict()}
    numbers = torch.cat([each.flatten() for each in renamed.values()]).tolist()
    assert {*numbers} == {*range(471)}
    assert len(numbers) == 472  # the positions' matrix is there twice
    for ours, metas in (
        ("prompt_encoder.mask_embed.layer_norm2.bias", "mask_downscaling.4.bias"),
        ("mask_decoder.upscale_conv2.weight", "output_upscaling.3.weight"),
        ("memory_encoder.mask_downsampler.layers.2.conv.weight", "encoder.6.weight"),
        ("mask_decoder.pred_obj_score_head.layers.0.bias", "pred_obj_score_head.layers.1.bias"),
        ("object_pointer_proj.proj_out.bias", "obj_ptr_proj.layers.2.bias"),
        ("vision_encoder.backbone.blocks.7.mlp.proj_out.bias", "blocks.7.mlp.layers.1.bias"),
        ("mask_decoder.transformer.layer_norm_final_attn.bias", "norm_final_attn.bias"),
    ):
        assert names[int(renamed[ours])].endswith(metas)


def test_files_of_meta_and_of_transformers_are_the_same_network(small_sam2, tmp_path):
    torch.manual_seed(0)
    weights = {name: torch.randn(each.shape) for name, each in small_sam2().state_dict().items()}
    positions = "prompt_encoder.shared_embedding.positional_embedding"
    weights["shared_image_embedding.positional_embedding"] = weights[positions]
    metas = as_meta(weights)
    assert {*metas} == {*meta_names()}
    torch.save({"model": metas}, tmp_path / "meta.pt")
    torch.save(weights, tmp_path / "own.pt")
    for name in ("meta.pt", "own.pt"):
        network = vos.load_network(vos.Sam2(), tmp_path / name, "cpu")
        loaded = network._network.state_dict()
        assert all(torch.equal(loaded[key], each) for key, each in weights.items())
        assert network.name == "sam2.1-tiny"
        digest = hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        assert network.weights_sha256 == digest


def test_the_last_network_stays_loaded_until_its_file_changes(small_sam2, tmp_path):
    path = tmp_path / "own.pt"
    torch.save(small_sam2().state_dict(), path)
    first = vos.load_network(vos.Sam2(num_references=2), path, "cpu")
    assert vos.load_network(vos.Sam2(), path, "cpu") is first
    torch.save(small_sam2().state_dict() | {"no_object_pointer": torch.ones(1, 256)}, path)
    assert vos.load_network(vos.Sam2(), path, "cpu") is not first


def test_cutie_is_built_without_a_download_and_has_its_size():
    pytest.importorskip("cutie", reason="the extra cutie (rf-cutie) is not installed")
    from cutie.model.utils import resnet

    from vos.track.cutie.network import build_cutie

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resnet.model_zoo, "load_url", None)
        network = build_cutie()
    assert 34e6 < sum(each.numel() for each in network.parameters()) < 36e6


def test_the_published_file_of_cutie_is_known_by_its_md5(tmp_path, monkeypatch):
    small = small_cutie()
    from vos.track.cutie import load

    monkeypatch.setenv("VOS_CACHE", str(tmp_path))
    monkeypatch.setattr(load, "build_cutie", lambda: small_cutie()._network)
    weights = {name: each + 1 for name, each in small._network.state_dict().items()}
    path = tmp_path / "cutie-base-mega.pth"
    torch.save(weights | {"aux_computer.sensory_aux.weight": torch.ones(3)}, path)
    with pytest.raises(CheckpointError, match="is not what Cutie's authors publish: its MD5 is"):
        vos.load_network(vos.Cutie(), device="cpu")
    monkeypatch.setattr(load, "CUTIE_MD5", hashlib.md5(path.read_bytes()).hexdigest())
    loaded = vos.load_network(vos.Cutie(), device="cpu")
    state = loaded._network.state_dict()
    assert all(torch.equal(state[name], each) for name, each in weights.items())
    assert loaded.weights_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    method._loaded.cache_clear()


def test_weights_of_another_network_are_refused(small_sam2, tmp_path):
    path = tmp_path / "other.pt"
    torch.save({"conv.weight": torch.ones(3)}, path)
    with pytest.raises(CheckpointError, match="does not fit the model"):
        vos.load_network(vos.Sam2(), path, "cpu")
    with pytest.raises(CheckpointError, match="cannot read weights from"):
        vos.load_network(vos.Sam2(), tmp_path / "nothing.pt", "cpu")


def test_unreachable_weights_say_what_to_put_where(small_sam2, tmp_path, monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/file.pt"
        spec = replace(NETWORKS["sam2.1-tiny"], url=url)
        monkeypatch.setattr("vos.track.sam2.load.NETWORKS", {"sam2.1-tiny": spec})
        monkeypatch.setenv("VOS_CACHE", str(tmp_path))
        with pytest.raises(DownloadError) as caught:
            vos.load_network(vos.Sam2(), device="cpu")
    for part in (url, str(tmp_path / "sam2.1_hiera_tiny.pt"), spec.sha256, "--checkpoint FILE"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "package", "extra"),
    [(vos.Cutie(), "omegaconf", "cutie"), (vos.Sam2(), "transformers", "models")],
)
def test_a_missing_package_is_named(settings, package, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackageError, match=rf"pip install 'vos-persam\[{extra}\]'"):
        vos.load_network(settings, device="cpu")


def test_the_registry_says_what_files_are():
    assert list(NETWORKS) == ["cutie", *(f"sam2.1-{size}" for size in vos.config.SAM2_SIZES)]
    for name, spec in NETWORKS.items():
        assert spec.name == name
        assert spec.url.endswith(f"/{spec.file_name}")
        assert (spec.sha256 is None) == (spec.num_bytes is None) == (name == "cutie")
        assert spec.accuracy
        assert spec.extra
    assert re.fullmatch("[0-9a-f]{32}", registry.CUTIE_MD5)
