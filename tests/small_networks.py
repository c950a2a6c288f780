"""Cutie and SAM 2.1 of tiny sizes with seeded random weights, and their packages' own loops."""

import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import vos
from vos.track.groups import Network

HEIGHT, WIDTH = 80, 112
IDS = (1, 2, 3)
SIDE_PX = 128  # of SAM 2.1's input


def draw(t: int) -> tuple[np.ndarray, np.ndarray]:
    """Three squares move; the third leaves the picture from frame 6 to 9 and returns."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    rgb = np.stack([x + 3 * t, 2 * y, x + y], axis=-1).astype(np.uint8)
    labels = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    corners = {1: (4 + t, 6), 2: (40, 44 - t), 3: (70 + t, 50)}
    for object_id, (left, top) in corners.items():
        if object_id == 3 and 6 <= t < 10:
            continue
        part = slice(top, top + 26), slice(left, left + 26)
        rgb[part] = np.roll((250, 90, 10), object_id)
        labels[part] = object_id
    return rgb, labels


def clip(num_frames: int) -> tuple[list[vos.Frame], np.ndarray]:
    """The frames, and the mask of the first."""
    drawn = [draw(t) for t in range(num_frames)]
    return list(vos.frames_from_arrays((rgb for rgb, _ in drawn), fps=25)), drawn[0][1]


def small_cutie() -> Network:
    pytest.importorskip("cutie", reason="the extra cutie (rf-cutie) is not installed")
    from vos.track.cutie.network import CutieNetwork, build_cutie

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build_cutie(
            {
                "pixel_encoder": {"type": "resnet18", "ms_dims": [256, 128, 64]},
                "pixel_dim": 32,
                "key_dim": 16,
                "value_dim": 32,
                "sensory_dim": 32,
                "embed_dim": 32,
                "object_transformer": {
                    "ff_dim": 32,
                    "num_heads": 2,
                    "num_blocks": 1,
                    "num_queries": 4,
                },
                "mask_decoder": {"up_dims": [32, 16, 16]},
            }
        )
    return CutieNetwork(network, torch.device("cpu"), "0" * 64)


def small_sam2() -> Network:
    transformers = pytest.importorskip(
        "transformers", reason="the extra models (transformers) is not installed"
    )
    from vos.track.sam2.network import Sam2Network

    cells = SIDE_PX // 16
    backbone = transformers.Sam2HieraDetConfig(
        hidden_size=8,
        embed_dim_per_stage=[8, 16, 32, 64],
        num_attention_heads_per_stage=[1, 1, 2, 2],
        blocks_per_stage=[1, 2, 2, 1],
        global_attention_blocks=[4],
        image_size=[SIDE_PX, SIDE_PX],
        window_size_per_stage=[8, 4, 4, 2],
    )
    vision = transformers.Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=[64, 32, 16, 8],
        backbone_feature_sizes=[[4 * cells] * 2, [2 * cells] * 2, [cells] * 2],
        fpn_hidden_size=128,
    )
    config = transformers.Sam2VideoConfig(
        vision_config=vision,
        image_size=SIDE_PX,
        prompt_encoder_config={
            "hidden_size": 128,
            "image_size": SIDE_PX,
            "mask_input_channels": 4,
        },
        mask_decoder_config={
            "hidden_size": 128,
            "mlp_dim": 32,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": 16,
        },
        memory_attention_hidden_size=128,
        memory_attention_num_layers=1,
        memory_attention_feed_forward_hidden_size=32,
        memory_attention_rope_feat_sizes=[cells] * 2,
        memory_encoder_hidden_size=128,
        memory_encoder_output_channels=64,
        mask_downsampler_embed_dim=128,
        memory_fuser_embed_dim=128,
        memory_fuser_intermediate_dim=32,
        memory_fuser_num_layers=1,
    )
    network = transformers.Sam2VideoModel(config).eval().requires_grad_(False)
    for number, weight in enumerate(network.parameters()):
        if weight.ndim > 1:
            noise = torch.randn(weight.shape, generator=torch.Generator().manual_seed(number))
            weight.copy_(noise * 1.5 / weight[0].numel() ** 0.5)
    # So that the network takes objects to be there, which random weights else never do.
    network.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(3)
    return Sam2Network(network, torch.device("cpu"), "sam2.1-tiny", "0" * 64)


def loop_of_cutie(
    network: Network, frames: Sequence[vos.Frame], mask: np.ndarray, ids: Sequence[int]
) -> Iterator[np.ndarray]:
    """Label maps of all frames but the first, as the package's own example does it."""
    from cutie.inference.inference_core import InferenceCore

    module = network._network
    settings = module.cfg.copy()
    settings.max_internal_size, settings.mem_every = 480, 5
    core = InferenceCore(module, settings)
    for frame in frames:
        image = torch.from_numpy(frame.rgb.copy()).permute(2, 0, 1).contiguous().float() / 255
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            if frame is frames[0]:
                core.step(image, torch.from_numpy(mask).long(), objects=[*ids])
            else:
                yield core.output_prob_to_mask(core.step(image)).numpy()


def loop_of_sam2(
    network: Network, frames: Sequence[vos.Frame], mask: np.ndarray, ids: Sequence[int]
) -> Iterator[np.ndarray]:
    """The same; the session keeps everything, and counts its frames itself."""
    from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    square = (SIDE_PX, SIDE_PX)
    session = Sam2VideoInferenceSession(video_height=HEIGHT, video_width=WIDTH, dtype=torch.float32)
    for object_id in ids:
        one = torch.from_numpy(mask == object_id)[None, None].float()
        one = F.interpolate(one, square, mode="bilinear", align_corners=False, antialias=True)
        session.add_mask_inputs(session.obj_id_to_idx(object_id), 0, (one >= 0.5).float())
    session.obj_with_new_inputs = [*ids]
    for frame in frames:
        picture = torch.from_numpy(frame.rgb.copy()).permute(2, 0, 1)[None].float()
        picture = F.interpolate(picture, square, mode="bilinear", antialias=True)
        pixels = (picture[0].round().clamp(0, 255) / 255 - mean) / std
        with torch.inference_mode():
            masks = network._network(session, frame=pixels).pred_masks
            masks = F.interpolate(masks, square, mode="bilinear", align_corners=False)
            masks = F.interpolate(masks, (HEIGHT, WIDTH), mode="bilinear", align_corners=False)
        best, row = masks[:, 0].max(dim=0)
        if frame is not frames[0]:
            yield np.where(best > 0, np.array(ids)[row], 0)


NETWORKS = {
    "cutie": (small_cutie, loop_of_cutie, vos.Cutie()),
    "sam2.1": (small_sam2, loop_of_sam2, vos.Sam2()),
}
