"""Networks of transformers: as published, equal to the package's own loop, and followed by all."""

import contextlib
import functools
import hashlib
import http.server
import importlib.util
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

import vos
from vos.errors import CheckpointError, DownloadError, InputError
from vos.sam import load
from vos.sam.guidance import Guidance
from vos.sam.model import Prompts
from vos.sam.networks import dinov2, sam_hq
from vos.sam.networks import segment_anything_modules as modules
from vos.sam.weights import registry
from vos.sam.weights.checkpoints import read_state_dict
from vos.sam.weights.hub_names import with_original_names

transformers = pytest.importorskip(
    "transformers", reason="needs the extra models: pip install 'vos-persam[models]'"
)

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
SIDE_PX = 128


def tiny_dinov2_config():
    return transformers.Dinov2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=56
    )


def tiny_sam_hq_config():
    return transformers.SamHQConfig(
        vision_config={
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": SIDE_PX,
            "patch_size": 16,
            "mlp_dim": 64,
            "window_size": 2,
            "global_attn_indexes": [1],
            "output_channels": 32,
            "num_pos_feats": 16,
        },
        prompt_encoder_config={"hidden_size": 32, "image_size": SIDE_PX, "patch_size": 16},
        mask_decoder_config={
            "hidden_size": 32,
            "num_attention_heads": 2,
            "mlp_dim": 64,
            "iou_head_hidden_dim": 32,
            "vit_dim": 32,
        },
    )


def small_encoder() -> dict[str, object]:
    """The same image encoder, in the words of segment_anything."""
    return {
        "img_size": SIDE_PX,
        "embed_dim": 32,
        "depth": 2,
        "num_heads": 2,
        "mlp_ratio": 2,
        "out_chans": 32,
        "norm_layer": functools.partial(torch.nn.LayerNorm, eps=1e-6),
        "use_rel_pos": True,
        "window_size": 2,
        "global_attn_indexes": (1,),
    }


def with_random_weights(model: torch.nn.Module) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


@pytest.fixture(scope="module")
def dino() -> torch.nn.Module:
    return with_random_weights(transformers.Dinov2Model(tiny_dinov2_config()))


@pytest.fixture(scope="module")
def hq() -> torch.nn.Module:
    return with_random_weights(transformers.SamHQModel(tiny_sam_hq_config()))


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """Let the registered names stand for networks that take no time."""
    monkeypatch.setattr(dinov2, "dinov2_config", lambda name: tiny_dinov2_config())
    monkeypatch.setattr(sam_hq, "sam_hq_config", lambda name: tiny_sam_hq_config())


@pytest.fixture
def files(dino, hq, tmp_path) -> dict[str, Path]:
    """The weights as the hub has them, with the names that its files have."""
    for name, model in (("dino", dino), ("hq", hq)):
        model.save_pretrained(tmp_path / name)
    return {name: tmp_path / name / "model.safetensors" for name in ("dino", "hq")}


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


# As published.


@pytest.mark.parametrize("name", list(registry.FEATURES))
def test_the_published_files_are_as_large_as_these_networks(name, monkeypatch):
    monkeypatch.undo()
    with torch.device("meta"):
        model = transformers.Dinov2Model(dinov2.dinov2_config(name))
    num_bytes = 4 * sum(each.numel() for each in model.state_dict().values())
    # What is left is the header.
    assert 0 < registry.FEATURES[name].num_bytes - num_bytes < 200 * len(model.state_dict())


@pytest.mark.parametrize(("size", "megabytes"), [("b", 379), ("l", 1255), ("h", 2571)])
def test_hq_networks_are_as_large_as_the_hub_says(size, megabytes, monkeypatch):
    monkeypatch.undo()
    with torch.device("meta"):
        model = transformers.SamHQModel(sam_hq.sam_hq_config(f"sam_hq_vit_{size}"))
    num_bytes = 4 * sum(each.numel() for each in model.parameters())
    assert round(num_bytes / 1e6) == megabytes


# DINOv2.


@pytest.mark.parametrize("hw", [(56, 56), (42, 70), (60, 83), (9, 300)])
def test_features_are_those_of_the_packages_own_forward(hw, files, dino):
    choice = vos.Features(name="dinov2-small", checkpoint=files["dino"])
    matcher = load.load_matcher(choice, torch.device("cpu"), "float32")
    rgb = picture(*hw)
    patches = matcher.encode(rgb, 64)
    patches_hw = tuple(max(1, int(side / 14 + 0.5)) for side in hw)
    height, width = (14 * number for number in patches_hw)
    resized = Image.fromarray(rgb).resize((width, height), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.array(resized)).permute(2, 0, 1)
    with torch.inference_mode():
        expected = dino(((pixels / 255 - MEAN) / STD)[None]).last_hidden_state[0, 1:]
    assert patches.shape == (16, *patches_hw)
    assert torch.equal(patches.flatten(1).T, expected)
    assert matcher.weights_sha256 == hashlib.sha256(files["dino"].read_bytes()).hexdigest()


def test_a_large_picture_has_no_more_patches_than_sam_has_cells(files):
    choice = vos.Features(name="dinov2-small", checkpoint=files["dino"])
    matcher = load.load_matcher(choice, torch.device("cpu"), "float32")
    assert matcher.encode(picture(120, 200), 8).shape == (16, 5, 8)


# HQ-SAM.


@pytest.fixture
def sam(files) -> vos.SamModel:
    return vos.load_sam("sam_hq_vit_b", files["hq"], "cpu", "float32")


def prompts(num_objects: int, low_res: torch.Tensor | None, *, has_boxes: bool = True) -> Prompts:
    points = np.array([[[10, 20]], [[60, 50]], [[100, 80]]])[:num_objects]
    boxes = np.array([[1, 1, 40, 60], [5, 5, 90, 90], [60, 40, 120, 94]])[:num_objects]
    labels = np.ones((num_objects, 1), np.int64)
    return Prompts(points, labels, boxes if has_boxes else None, low_res)


def normalised(rgb: np.ndarray) -> torch.Tensor:
    """The (1, 3, S, S) input of a SAM, of a picture as wide as it."""
    pixels = torch.from_numpy(rgb).permute(2, 0, 1).float()
    mean = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1)
    std = torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1)
    return F.pad((pixels - mean) / std, (0, 0, 0, SIDE_PX - rgb.shape[0]))[None]


def embeddings_of(hq: torch.nn.Module, rgb: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    embedding, early = hq.get_image_embeddings(normalised(rgb))
    return embedding, early[0]


def test_the_authors_names_are_known(files, tmp_path, sam):
    """Those of segment_anything, and in the decoder those of segment_anything_hq."""
    original = with_original_names(read_state_dict(files["hq"]))
    assert {
        "image_encoder.patch_embed.proj.weight",
        "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
        "mask_decoder.hf_token.weight",
        *(f"mask_decoder.hf_mlp.layers.{number}.weight" for number in range(3)),
        *(
            f"mask_decoder.{part}.{number}.weight"
            for part in ("compress_vit_feat", "embedding_encoder", "embedding_maskfeature")
            for number in (0, 1, 3)
        ),
    } <= original.keys()
    torch.save(original, tmp_path / "authors.pth")
    again = vos.load_sam("sam_hq_vit_b", tmp_path / "authors.pth", "cpu")
    weights = sam._sam.state_dict()
    for name, tensor in again._sam.state_dict().items():
        assert torch.equal(tensor, weights[name]), name
    torch.save(original | {"stray": torch.ones(1)}, tmp_path / "stray.pth")
    with pytest.raises(CheckpointError, match=r"unknown: 1 \(stray\)"):
        vos.load_sam("sam_hq_vit_b", tmp_path / "stray.pth", "cpu")


@pytest.mark.parametrize("num_masks", [1, 3])
@pytest.mark.parametrize("has_mask", [False, True])
@pytest.mark.parametrize("has_boxes", [False, True])
def test_masks_are_those_of_the_packages_own_forward(num_masks, has_mask, has_boxes, sam, hq):
    rgb = picture(96, SIDE_PX)
    low_res = torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(1))
    given = prompts(3, low_res if has_mask else None, has_boxes=has_boxes)
    features = sam.encode([rgb])[0]
    decoded = sam.decode(features, given, sam.letterbox((96, SIDE_PX)), num_masks=num_masks)
    with torch.inference_mode(), sam_hq.repaired(hq.mask_decoder):
        embedding, early = embeddings_of(hq, rgb)
        expected = hq(
            image_embeddings=embedding.repeat(3, 1, 1, 1),
            intermediate_embeddings=[early.repeat(3, 1, 1, 1)],
            input_points=torch.from_numpy(given.points_xy).float()[:, None],
            input_labels=torch.from_numpy(given.point_labels)[:, None],
            input_boxes=torch.from_numpy(given.boxes_xyxy).float()[:, None] if has_boxes else None,
            input_masks=low_res[:, None] if has_mask else None,
            multimask_output=num_masks == 3,
        )
    assert torch.equal(sam.image_embedding(features), embedding[0])
    # The package sorts an object's masks by predicted IoU; here they are as SAM's tokens are.
    ious, order = decoded.predicted_ious.sort(dim=1, descending=True)
    assert torch.equal(ious, expected.iou_scores[:, 0])
    masks = decoded.low_res_logits[torch.arange(3)[:, None], order]
    assert torch.equal(masks, expected.pred_masks[:, 0])


def test_masks_are_those_of_the_authors_package(tmp_path):
    """Whose decoder, unlike that of transformers 5.24, goes on from what its transformer gives."""
    found = importlib.util.find_spec("segment_anything_hq")
    if found is None:
        pytest.skip("needs the authors' package: pip install --no-deps segment-anything-hq")
    # Its own __init__ imports torchvision, and that of its networks timm.
    package = ModuleType("authors")
    package.__path__ = [f"{found.submodule_search_locations[0]}/modeling"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "authors", package)
        encoder, prompt, decoder, transformer = (
            importlib.import_module(f"authors.{name}")
            for name in ("image_encoder", "prompt_encoder", "mask_decoder_hq", "transformer")
        )
    model = torch.nn.ModuleDict(
        {
            "image_encoder": encoder.ImageEncoderViT(**small_encoder()),
            "prompt_encoder": prompt.PromptEncoder(32, (8, 8), (SIDE_PX, SIDE_PX), 16),
            "mask_decoder": decoder.MaskDecoderHQ(
                transformer_dim=32,
                transformer=transformer.TwoWayTransformer(
                    depth=2, embedding_dim=32, num_heads=2, mlp_dim=64
                ),
                iou_head_hidden_dim=32,
                vit_dim=32,
            ),
        }
    )
    torch.save(with_random_weights(model).state_dict(), tmp_path / "authors.pth")
    sam = vos.load_sam("sam_hq_vit_b", tmp_path / "authors.pth", "cpu")
    rgb, given = picture(96, SIDE_PX), prompts(3, None)
    decoded = sam.decode(sam.encode([rgb])[0], given, sam.letterbox((96, SIDE_PX)), mixing="best")
    with torch.inference_mode():
        embedding, early = model["image_encoder"](normalised(rgb))
        sparse, dense = model["prompt_encoder"](
            points=(
                torch.from_numpy(given.points_xy).float(),
                torch.from_numpy(given.point_labels),
            ),
            boxes=torch.from_numpy(given.boxes_xyxy).float(),
            masks=None,
        )
        masks, ious = model["mask_decoder"](
            image_embeddings=embedding,
            image_pe=model["prompt_encoder"].get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,  # it gives the one of highest predicted IoU
            hq_token_only=False,
            interm_embeddings=early,
        )
    torch.testing.assert_close(decoded.low_res_logits, masks, rtol=1e-3, atol=1e-3)
    best = decoded.predicted_ious.amax(dim=1, keepdim=True)
    torch.testing.assert_close(best, ious, rtol=1e-3, atol=1e-3)


def test_masks_keep_their_order_whatever_iou_is_predicted(sam, hq):
    """The published method weighs part, subpart and whole, which must be the same in each frame."""
    rgb = picture(96, SIDE_PX)
    features, letterbox = sam.encode([rgb])[0], sam.letterbox((96, SIDE_PX))
    before = sam.decode(features, prompts(2, None), letterbox)
    head = sam._sam.mask_decoder.mask_decoder.iou_prediction_head.proj_out
    head.bias.data = torch.tensor([0.0, 90.0, -90.0, 30.0])
    after = sam.decode(features, prompts(2, None), letterbox)
    assert torch.equal(before.low_res_logits, after.low_res_logits)
    assert (after.predicted_ious.argsort(dim=1) == torch.tensor([1, 2, 0])).all()


def test_all_masks_are_linear_in_the_embeddings_of_pixels(sam):
    rgb = picture(96, SIDE_PX)
    features, letterbox = sam.encode([rgb])[0], sam.letterbox((96, SIDE_PX))
    identity = torch.eye(sam.num_pixel_channels)[None]
    decoded = sam.decode(features, prompts(1, None), letterbox, classifiers=identity)
    channels = decoded.classifier_logits[0].flatten(1).T.double()
    masks = decoded.low_res_logits[0].flatten(1).T.double()
    weights = torch.linalg.lstsq(channels, masks).solution
    torch.testing.assert_close(channels @ weights, masks, rtol=1e-3, atol=1e-3)


def test_guidance_goes_through_the_packages_own_arguments(sam, hq):
    rgb = picture(96, SIDE_PX)
    features, letterbox = sam.encode([rgb])[0], sam.letterbox((96, SIDE_PX))
    generator = torch.Generator().manual_seed(2)
    guidance = Guidance(
        torch.rand(2, 8, 8, generator=generator), torch.randn(2, 32, generator=generator)
    )
    given = prompts(2, None)
    decoded = sam.decode(features, given, letterbox, num_masks=1, guidance=guidance)
    with torch.inference_mode(), sam_hq.repaired(hq.mask_decoder):
        embedding, early = embeddings_of(hq, rgb)
        expected = hq(
            image_embeddings=embedding.repeat(2, 1, 1, 1),
            intermediate_embeddings=[early.repeat(2, 1, 1, 1)],
            input_points=torch.from_numpy(given.points_xy).float()[:, None],
            input_labels=torch.from_numpy(given.point_labels)[:, None],
            input_boxes=torch.from_numpy(given.boxes_xyxy).float()[:, None],
            multimask_output=False,
            attention_similarity=guidance.attention.flatten(1)[:, None, None],
            target_embedding=guidance.embeddings[:, None, None],
        )
    assert torch.equal(decoded.low_res_logits, expected.pred_masks[:, 0])


def test_padding_cannot_be_skipped(files):
    with pytest.raises(InputError, match="whole squares"):
        vos.load_sam("sam_hq_vit_b", files["hq"], "cpu", skip_padding=True)


@pytest.mark.parametrize("method", ["memory", "persam-f", "persam"])
def test_methods_follow_with_both(method, files):
    """Random weights find nothing sensible; all must run, twice alike, and name what it used."""
    kind = {each.name: each for each in (vos.Memory, vos.PersamF, vos.Persam)}[method]
    options = {"fit": vos.FitConfig(num_steps=2)} if method == "persam-f" else {}
    if method == "memory":
        options = {"num_views": 1, "lose_likeness": 0.0}
    config = vos.RunConfig(method=kind(**options))
    features = vos.Features(name="dinov2-small", checkpoint=files["dino"])
    sam = vos.load_sam("sam_hq_vit_b", files["hq"], "cpu", features=features)
    assert sam.matcher.name == "dinov2-small"
    rgb = picture(48, 64)
    rgb[10:30, 10:40] = (220, 40, 40)
    labels = np.zeros((48, 64), np.uint8)
    labels[10:30, 10:40] = 1
    runs = [
        [
            masks.labels
            for _, masks in vos.segment_video(
                vos.frames_from_arrays([rgb] * 3), labels, sam, config
            )
        ]
        for _ in range(2)
    ]
    for one, other in zip(*runs, strict=True):
        np.testing.assert_array_equal(one, other)


# SAM itself, by the names of the hub.


def small_sam() -> torch.nn.Module:
    """segment_anything's own classes, as small as the network of transformers below."""
    return modules.Sam(
        image_encoder=modules.ImageEncoderViT(**small_encoder()),
        prompt_encoder=modules.PromptEncoder(32, (8, 8), (SIDE_PX, SIDE_PX), 16),
        mask_decoder=modules.MaskDecoder(
            transformer_dim=32,
            transformer=modules.TwoWayTransformer(
                depth=2, embedding_dim=32, num_heads=2, mlp_dim=64
            ),
            iou_head_hidden_dim=32,
        ),
    )


def test_a_sam_from_the_hub_gives_the_packages_masks_with_vos_own_networks(tmp_path, monkeypatch):
    hq_config = tiny_sam_hq_config()
    decoder = hq_config.mask_decoder_config.to_dict()
    decoder.pop("vit_dim")
    model = with_random_weights(
        transformers.SamModel(
            transformers.SamConfig(
                vision_config=hq_config.vision_config.to_dict(),
                prompt_encoder_config=hq_config.prompt_encoder_config.to_dict(),
                mask_decoder_config=decoder,
            )
        )
    )
    model.save_pretrained(tmp_path)
    monkeypatch.setattr(load, "build_module", lambda name: small_sam())
    sam = vos.load_sam("vit_b", tmp_path / "model.safetensors", "cpu")
    rgb, given = picture(96, SIDE_PX), prompts(3, None)
    features = sam.encode([rgb])[0]
    decoded = sam.decode(features, given, sam.letterbox((96, SIDE_PX)))
    with torch.inference_mode():
        expected = model(
            normalised(rgb),
            input_points=torch.from_numpy(given.points_xy).float()[None],
            input_labels=torch.from_numpy(given.point_labels)[None],
            input_boxes=torch.from_numpy(given.boxes_xyxy).float()[None],
        )
    torch.testing.assert_close(decoded.low_res_logits, expected.pred_masks[0], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(decoded.predicted_ious, expected.iou_scores[0], rtol=1e-3, atol=1e-3)


# Files.


def test_weights_of_something_else_are_refused(files, tmp_path, capfd):
    choice = vos.Features(name="dinov2-small", checkpoint=files["hq"])
    with pytest.raises(CheckpointError, match="does not fit Dinov2Model; weights missing"):
        vos.load_sam(features=choice)
    with pytest.raises(CheckpointError, match="does not fit SamHQModel"):
        vos.load_sam("sam_hq_vit_b", files["dino"])
    weights = read_state_dict(files["dino"])
    reshaped = tmp_path / "reshaped.pt"
    torch.save(weights | {"layernorm.weight": torch.ones(3)}, reshaped)
    with pytest.raises(CheckpointError, match="other shapes"):
        vos.load_sam(features=replace(choice, checkpoint=reshaped))
    broken = tmp_path / "broken.pt"
    torch.save(weights | {"layernorm.weight": torch.full((16,), torch.nan)}, broken)
    with pytest.raises(CheckpointError, match=r"layernorm.weight holds numbers .* not finite"):
        vos.load_sam(features=replace(choice, checkpoint=broken))
    assert capfd.readouterr() == ("", "")  # the package would report on its own


@pytest.fixture
def hub(files, monkeypatch, tmp_path):
    """Serve the files under the addresses of the registry, and fetch from there."""
    monkeypatch.setenv("VOS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    content = {"hq-sam": files["hq"], "dinov2-small": files["dino"]}
    # The authors' file is one of torch.save, and has segment_anything's names.
    files["hq"] = tmp_path / "authors.pth"
    torch.save(with_original_names(read_state_dict(content["hq-sam"])), files["hq"])
    content["hq-sam"] = files["hq"]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with contextlib.suppress(ConnectionError):
                _, _, repository, *_ = self.path.split("/")
                if repository not in content:
                    self.send_error(503)
                    return
                data = content[repository].read_bytes()
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        address = f"http://127.0.0.1:{server.server_port}"
        for table in ("MODELS", "FEATURES"):
            specs = {
                name: replace(spec, url=spec.url and spec.url.replace(registry._HUB, address))
                for name, spec in getattr(registry, table).items()
            }
            for name, repository in (("sam_hq_vit_b", "hq-sam"), ("dinov2-small",) * 2):
                if name in specs:
                    data = content[repository].read_bytes()
                    sha256 = hashlib.sha256(data).hexdigest()
                    specs[name] = replace(specs[name], sha256=sha256, num_bytes=len(data))
            monkeypatch.setattr(registry, table, specs)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield content
        server.shutdown()
        thread.join()


def test_files_are_fetched_once(hub, tmp_path):
    sam = vos.load_sam("sam_hq_vit_b", features=vos.Features(name="dinov2-small"))
    assert sam.weights_sha256 == hashlib.sha256(hub["hq-sam"].read_bytes()).hexdigest()
    names = {path.name for path in (tmp_path / "cache").iterdir()}
    assert {"sam_hq_vit_b.pth", "dinov2-small.safetensors"} <= names
    hub.clear()  # it does not answer any more, and need not
    again = vos.load_sam("sam_hq_vit_b", features=vos.Features(name="dinov2-small"))
    assert again.matcher.weights_sha256 == sam.matcher.weights_sha256


def test_a_hub_that_does_not_answer_is_told_with_what_to_put_where(hub, tmp_path):
    hub.clear()
    with pytest.raises(DownloadError, match="503") as caught:
        vos.load_sam("sam_hq_vit_l")
    for part in (tmp_path / "cache/sam_hq_vit_l.pth", "--checkpoint FILE"):
        assert str(part) in str(caught.value)
    with pytest.raises(DownloadError, match="503") as caught:
        vos.load_sam(features=vos.Features(name="dinov2-large"))
    spec = registry.FEATURES["dinov2-large"]
    for part in (
        spec.sha256,
        spec.url,
        tmp_path / "cache/dinov2-large.safetensors",
        "--features-checkpoint FILE (Features(checkpoint=...) in Python)",
    ):
        assert str(part) in str(caught.value)
