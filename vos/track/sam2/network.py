"""SAM 2.1 behind three calls: frames to features, references to a group, features to masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch.nn import functional as F

from vos.config import Sam2, Sam2Size
from vos.errors import MissingPackageError
from vos.records import Frame, Labels
from vos.track.groups import Found
from vos.track.sam2.memory import Sam2Group, Sam2Object

_MEAN: Final = (0.485, 0.456, 0.406)
_STD: Final = (0.229, 0.224, 0.225)

# What differs from the smallest size, of Meta's own configurations.
_BACKBONES: Final[dict[Sam2Size, dict[str, Any]]] = {
    "tiny": {},
    "small": {"blocks_per_stage": [1, 2, 11, 2], "global_attention_blocks": [7, 10, 13]},
    "base-plus": {
        "hidden_size": 112,
        "embed_dim_per_stage": [112, 224, 448, 896],
        "num_attention_heads_per_stage": [2, 4, 8, 16],
        "blocks_per_stage": [2, 3, 16, 3],
        "global_attention_blocks": [12, 16, 20],
        "window_positional_embedding_background_size": [14, 14],
    },
    "large": {
        "hidden_size": 144,
        "embed_dim_per_stage": [144, 288, 576, 1152],
        "num_attention_heads_per_stage": [2, 4, 8, 16],
        "blocks_per_stage": [2, 6, 36, 4],
        "global_attention_blocks": [23, 33, 43],
        "window_size_per_stage": [8, 4, 16, 8],
    },
}


def build_sam2(size: Sam2Size) -> Any:
    """Build a network of transformers, a ``Sam2VideoModel`` with random weights.

    Raises:
        MissingPackageError: transformers is not installed.
    """
    try:
        from transformers import (
            Sam2HieraDetConfig,
            Sam2VideoConfig,
            Sam2VideoModel,
            Sam2VisionConfig,
        )
    except ImportError as error:
        raise MissingPackageError(
            f"the method sam2.1-{size} needs the package transformers: "
            "pip install 'vos-persam[models]'"
        ) from error
    backbone = Sam2HieraDetConfig(**_BACKBONES[size])
    channels = list(reversed(backbone.embed_dim_per_stage))
    vision = Sam2VisionConfig(backbone_config=backbone, backbone_channel_list=channels)
    return Sam2VideoModel(Sam2VideoConfig(vision_config=vision)).eval().requires_grad_(False)


@dataclass(frozen=True, slots=True, eq=False)
class Sam2Features:
    """What SAM 2.1 sees of one frame.

    Attributes:
        pixels: (3, S, S) float32, the frame made square and normalised.
        features: As the package keeps them.
        frame_hw: Size of the frame.
    """

    pixels: torch.Tensor
    features: dict[str, Any]
    frame_hw: tuple[int, int]


class Sam2Network:
    """SAM 2.1 on one device.

    Args:
        network: A ``Sam2VideoModel`` of transformers with its weights.
        device: Where it computes.
        name: ``sam2.1-`` and its size.
        weights_sha256: Hash of its weights file, where it is known.
    """

    dtype: str = "float32"
    package: str = "transformers"

    def __init__(
        self,
        network: Any,
        device: torch.device,
        name: str = "sam2.1-tiny",
        weights_sha256: str | None = None,
    ) -> None:
        self.device, self.name, self.weights_sha256 = device, name, weights_sha256
        self._network = network.to(device)
        self._side_px: int = network.config.image_size
        self._mean = torch.tensor(_MEAN, device=device)[:, None, None]
        self._std = torch.tensor(_STD, device=device)[:, None, None]

    @torch.inference_mode()
    def encode(self, frame: Frame, config: Sam2) -> Sam2Features:
        """Give the features of a frame, which is made square as the package does it."""
        rgb = np.ascontiguousarray(frame.rgb.transpose(2, 0, 1))
        picture = torch.from_numpy(rgb).to(self.device).float()[None]
        square = F.interpolate(
            picture, (self._side_px, self._side_px), mode="bilinear", antialias=True
        )
        pixels = (square[0].round().clamp(0, 255) / 255 - self._mean) / self._std
        outputs = self._network.get_image_features(pixels[None], return_dict=True)
        features = {
            "vision_feats": outputs.fpn_hidden_states,
            "vision_pos_embeds": outputs.fpn_position_encoding,
        }
        return Sam2Features(pixels, features, frame.frame_hw)

    @torch.inference_mode()
    def begin(
        self,
        shown: Sequence[tuple[Sam2Features, Labels]],
        object_ids: tuple[int, ...],
        num_frames_lost: int,
        config: Sam2,
    ) -> Sam2Group:
        """Give a group after its references, as :class:`vos.track.groups.Network` says.

        Each reference is remembered by itself, as the package does it with the first one.
        """
        outputs = [self._prompted(*each, object_ids) for each in shown]
        objects = tuple(
            Sam2Object(
                references=tuple(each["maskmem_features"] for each in of_object),
                pointer=of_object[-1]["object_pointer"],
                recent=(),
                recent_pointers=(),
            )
            for of_object in zip(*outputs, strict=True)
        )
        positions = outputs[-1][0]["maskmem_pos_enc"]
        return Sam2Group(object_ids, objects, positions, num_frames_lost)

    @torch.inference_mode()
    def follow(
        self, features: Sam2Features, group: Sam2Group, config: Sam2
    ) -> tuple[Sam2Group, Iterator[Found]]:
        """Give a group after a frame, and its objects there.

        An object's score is its probability of being in sight, by its mean probability over the
        pixels of its mask.
        """
        settings = self._network.config
        now = settings.max_object_pointers_in_encoder
        session = self._session(features, now)
        for row, (object_id, each) in enumerate(zip(group.object_ids, group.objects, strict=True)):
            session.obj_id_to_idx(object_id)
            session.output_dict_per_obj[row] = _outputs_of(each, group, now)
        outputs = self._network(session, frame=features.pixels, frame_idx=now)
        objects = tuple(
            _remember(
                each,
                session.output_dict_per_obj[row]["non_cond_frame_outputs"][now],
                num_recent=settings.num_maskmem - 1,
                num_pointers=settings.max_object_pointers_in_encoder - 1,
            )
            for row, each in enumerate(group.objects)
        )
        after = Sam2Group(
            group.object_ids, objects, group.positions, group.num_frames_since_start + 1
        )
        found = self._found(group.object_ids, outputs, features.frame_hw)
        return after, found

    def _prompted(
        self, features: Sam2Features, labels: Labels, object_ids: tuple[int, ...]
    ) -> list[dict[str, torch.Tensor]]:
        """Give what the package remembers of the objects where masks show them."""
        session = self._session(features, 0)
        for object_id in object_ids:
            mask = torch.from_numpy(labels == object_id).to(self.device).float()[None, None]
            square = (self._side_px, self._side_px)
            if mask.shape[-2:] != square:
                resized = F.interpolate(mask, square, mode="bilinear", antialias=True)
                mask = (resized >= 0.5).float()
            session.add_mask_inputs(session.obj_id_to_idx(object_id), 0, mask)
        session.obj_with_new_inputs = [*object_ids]
        self._network(session, frame=features.pixels, frame_idx=0)
        return [
            session.output_dict_per_obj[row]["cond_frame_outputs"][0]
            for row in range(len(object_ids))
        ]

    def _session(self, features: Sam2Features, index: int) -> Any:
        from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

        session = Sam2VideoInferenceSession(
            video_height=features.frame_hw[0],
            video_width=features.frame_hw[1],
            inference_device=self.device,
            inference_state_device=self.device,
            video_storage_device=self.device,
            dtype=torch.float32,
        )
        session.cache.cache_vision_features(index, features.features)
        return session

    @torch.inference_mode()
    def _found(
        self, object_ids: tuple[int, ...], outputs: Any, frame_hw: tuple[int, int]
    ) -> Iterator[Found]:
        square = (self._side_px, self._side_px)
        in_sight = outputs.object_score_logits.flatten().sigmoid()
        for row, object_id in enumerate(object_ids):
            low_res = outputs.pred_masks[row : row + 1]
            logits = F.interpolate(low_res, square, mode="bilinear", align_corners=False)
            logits = F.interpolate(logits, frame_hw, mode="bilinear", align_corners=False)[0, 0]
            claimed = logits[logits > 0]
            score = float(in_sight[row] * claimed.sigmoid().mean()) if len(claimed) else 0.0
            yield Found(object_id, logits, min(score, 1.0))


def _outputs_of(each: Sam2Object, group: Sam2Group, now: int) -> dict[str, Any]:
    """Give an object's memory as the package keeps it, in a frame of this number.

    References other than the one that the object started from have numbers to come: of when they
    are, nothing is known that the network compares.
    """
    start = now - 1 - group.num_frames_since_start
    numbers = [*range(now + 1, now + len(each.references)), start]
    conditioning = {
        number: {"maskmem_features": memory, "maskmem_pos_enc": group.positions}
        for number, memory in zip(numbers, each.references, strict=True)
    }
    conditioning[start]["object_pointer"] = each.pointer
    recent: dict[int, dict[str, torch.Tensor]] = {}
    for number, pointer in enumerate(reversed(each.recent_pointers), start=1):
        recent[now - number] = {"object_pointer": pointer}
    for number, memory in enumerate(reversed(each.recent), start=1):
        recent[now - number] |= {"maskmem_features": memory, "maskmem_pos_enc": group.positions}
    return {"cond_frame_outputs": conditioning, "non_cond_frame_outputs": recent}


def _remember(
    each: Sam2Object, output: dict[str, Any], *, num_recent: int, num_pointers: int
) -> Sam2Object:
    """Add what the package remembers of a frame, and forget what it compares with no more."""
    return Sam2Object(
        references=each.references,
        pointer=each.pointer,
        recent=(*each.recent, output["maskmem_features"])[-num_recent:],
        recent_pointers=(*each.recent_pointers, output["object_pointer"])[-num_pointers:],
    )
