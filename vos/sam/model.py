"""A SAM behind two calls: pictures to features, prompts to mask logits.

Nothing is set first and used later: each call gets all it needs and leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from vos.errors import InputError
from vos.sam.devices import available_device
from vos.sam.fast.compiled import compile_encoder
from vos.sam.fast.decoder import (
    Mixing,
    ModelPrompts,
    cell_positions,
    decode_masks,
    is_plain,
    mix,
    num_pixel_channels,
)
from vos.sam.fast.nano import FusedNano, can_run_fused
from vos.sam.fast.padding import PaddingSkipper
from vos.sam.fast.vit import encode_with_vit, is_plain_vit
from vos.sam.geometry import Letterbox, needed_cells, resize_for_model
from vos.sam.guidance import Guidance, guided
from vos.sam.matching import Matcher

_DTYPES: Final = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}

# On a CPU, where each object takes some 5 MB while its group is decoded.
_OBJECTS_PER_CALL: Final = 16

POSITIVE: Final = 1
"""SAM's label of a point on the object."""

NEGATIVE: Final = 0
"""SAM's label of a point beside the object."""


@dataclass(frozen=True, slots=True, eq=False)
class Prompts:
    """Prompts of the decoder, one row per object, in frame pixels.

    Attributes:
        points_xy: (K, P, 2) point coordinates.
        point_labels: (K, P) 1 on the object, 0 beside it.
        boxes_xyxy: (K, 4), or None for no box at all.
        low_res_logits: (K, h', w') logits of an earlier call, or None.
    """

    points_xy: NDArray[np.int64]
    point_labels: NDArray[np.int64]
    boxes_xyxy: NDArray[np.int64] | None = None
    low_res_logits: torch.Tensor | None = None

    def __post_init__(self) -> None:
        """Check that the rows agree.

        Raises:
            InputError: the object axes or the coordinate axes have other lengths.
        """
        num_objects, num_points = self.point_labels.shape
        if self.points_xy.shape != (num_objects, num_points, 2):
            raise InputError(
                f"points_xy must be {(num_objects, num_points, 2)}, got {self.points_xy.shape}"
            )
        if self.boxes_xyxy is not None and self.boxes_xyxy.shape != (num_objects, 4):
            raise InputError(f"boxes_xyxy must be {(num_objects, 4)}, got {self.boxes_xyxy.shape}")
        logits = self.low_res_logits
        if logits is not None and (logits.ndim != 3 or logits.shape[0] != num_objects):
            raise InputError(f"low_res_logits must be ({num_objects}, h', w'), got {logits.shape}")


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """Masks of the decoder, one row per object.

    Attributes:
        low_res_logits: (K, M, h', w') float32 over the padded input; M is 3 for part, subpart and
            whole, or 1. (K, 1, h', w') where they were mixed.
        predicted_ious: (K, M) float32, SAM's own estimate of each mask's quality, before mixing.
        classifier_logits: (K, V, h', w') float32, logits of the given classifiers, or None.
    """

    low_res_logits: torch.Tensor
    predicted_ious: torch.Tensor
    classifier_logits: torch.Tensor | None = None


class SamModel:
    """Any module with the attributes of segment_anything's ``Sam``, on one device.

    Args:
        module: Needs ``image_encoder`` (with ``img_size``), ``prompt_encoder``, ``mask_decoder``,
            ``pixel_mean`` and ``pixel_std``. It is moved to the device and put into eval mode. Its
            weights must not change afterwards.
        device: ``cpu``, ``cuda``, ``cuda:1``, ``mps``, ...
        dtype: Arithmetic of the image encoder: ``float32``, ``bfloat16`` or ``float16``. The
            decoder is small and always runs in float32.
        compiled: Whether the image encoder goes through ``torch.compile``, which takes a minute at
            the first frame and pays on a GPU with long videos.
        skip_padding: Whether the image encoder leaves out most of the padding that makes a frame
            square: faster where it is most of a frame's time, and masks change a little
            (:mod:`vos.sam.fast.padding`).
        name: What to call the model in results.
        weights_sha256: Hash of its weights file, for results, where it is known.
        matcher: A further model whose features cells are compared by, beside SAM's own; or None.

    Raises:
        DeviceError: the device is absent.
        InputError: the module lacks an attribute, the dtype is unknown, or padding is to be left
            out for an encoder that takes nothing but whole squares.
    """

    package: str = "segment-anything"

    def __init__(
        self,
        module: torch.nn.Module,
        device: str | torch.device = "cpu",
        dtype: str = "float32",
        *,
        compiled: bool = False,
        skip_padding: bool = False,
        name: str = "custom",
        weights_sha256: str | None = None,
        matcher: Matcher | None = None,
    ) -> None:
        needed = ("image_encoder", "prompt_encoder", "mask_decoder", "pixel_mean", "pixel_std")
        absent = [attribute for attribute in needed if not hasattr(module, attribute)]
        if absent:
            raise InputError(f"the module is not a SAM, it lacks {', '.join(absent)}")
        if dtype not in _DTYPES:
            raise InputError(f"dtype must be one of {', '.join(_DTYPES)}, got {dtype}")
        if skip_padding and getattr(module.image_encoder, "takes_only_squares", False):
            raise InputError(f"{name} cannot skip padding: its image encoder takes whole squares")
        self.device = available_device(device)
        self.dtype = dtype
        self.compiled = compiled
        self.skip_padding = skip_padding
        self.name = name
        self.weights_sha256 = weights_sha256
        self.matcher = matcher
        sam: Any = module.to(self.device).eval().requires_grad_(False)
        self._sam = sam
        self._encode_images: Callable[[torch.Tensor], torch.Tensor] = sam.image_encoder
        if is_plain_vit(sam.image_encoder):
            self._encode_images = partial(encode_with_vit, sam.image_encoder)
        is_fused = can_run_fused(sam.image_encoder, self.device, _DTYPES[dtype])
        if is_fused and not compiled:
            self._encode_images = FusedNano(sam.image_encoder, _DTYPES[dtype])
        if compiled:
            self._encode_images = compile_encoder(self._encode_images)
        self._padding = PaddingSkipper(self._encode_images) if skip_padding else None
        self.image_size = int(sam.image_encoder.img_size)
        # The encoder of another SAM may give the decoder more than the image embedding.
        self._num_channels: int | None = getattr(sam.image_encoder, "num_channels", None)
        # Of another decoder than segment_anything's nothing is known but its masks, unless it says.
        is_known = is_plain(sam)
        self._positions = cell_positions(sam.prompt_encoder) if is_known else None
        self.num_pixel_channels: int = (
            num_pixel_channels(sam.mask_decoder)
            if is_known
            else getattr(sam.mask_decoder, "num_pixel_channels", 3)
        )

    def letterbox(self, frame_hw: tuple[int, int]) -> Letterbox:
        """Say how frames of this size lie in the model's input."""
        return Letterbox(frame_hw, self.image_size)

    @torch.inference_mode()
    def encode(self, pictures: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
        """Turn pictures into features.

        Args:
            pictures: B arrays (H, W, 3) uint8 RGB, each of its own size.

        Returns:
            (B, C, h, w) float32 on the model's device, each over its padded square input.
        """
        side = self.image_size
        mean, std = self._sam.pixel_mean.flatten(), self._sam.pixel_std.flatten()
        batch = torch.zeros(len(pictures), side, side, 3, device=self.device)
        used_hw = (0, 0)
        for padded, picture in zip(batch, pictures, strict=True):
            letterbox = self.letterbox((picture.shape[0], picture.shape[1]))
            height, width = letterbox.resized_hw
            resized = torch.from_numpy(np.array(resize_for_model(picture, letterbox)))
            # uint8 is a quarter of the traffic to a GPU, so normalisation happens over there; from
            # pinned memory the copy runs beside what the GPU still computes.
            if self.device.type == "cuda":
                resized = resized.pin_memory()
            on_device = resized.to(self.device, non_blocking=True)
            # Of whole rows, for a loop over three colours is slow.
            rows = on_device.float().flatten(1)
            rows = rows.sub_(mean.repeat(width)).div_(std.repeat(width))
            padded[:height, :width] = rows.view(height, width, 3)
            used_hw = max(used_hw[0], height), max(used_hw[1], width)
        with torch.autocast(
            self.device.type, dtype=_DTYPES[self.dtype], enabled=self.dtype != "float32"
        ):
            images = batch.permute(0, 3, 1, 2)
            if self._padding is None:
                features = self._encode_images(images)
            else:
                features = self._padding.encode(images, used_hw)
        # As the decoder reads them: else each of its calls begins with a copy.
        return features.float().contiguous(memory_format=torch.channels_last)

    def image_embedding(self, features: torch.Tensor) -> torch.Tensor:
        """Give what of (C', h, w) features is SAM's image embedding, (C, h, w)."""
        return features if self._num_channels is None else features[: self._num_channels]

    @torch.inference_mode()
    def matching_features(self, features: torch.Tensor, picture: NDArray[np.uint8]) -> torch.Tensor:
        """Give what the cells of a picture are compared by.

        Args:
            features: (C', h, w) of the picture, by :meth:`encode`.
            picture: (H, W, 3) uint8 RGB, which a further model encodes.

        Returns:
            (D, h, w) float32, of any length; of unit length where there is a further model.
        """
        embedding = self.image_embedding(features)
        if self.matcher is None:
            return embedding
        letterbox = self.letterbox((picture.shape[0], picture.shape[1]))
        return self.matcher.match(embedding, picture, letterbox)

    def balanced(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Give each model its weight again in (K, D) means of :meth:`matching_features`."""
        return embeddings if self.matcher is None else self.matcher.balance(embeddings)

    @torch.inference_mode()
    def decode(
        self,
        features: torch.Tensor,
        prompts: Prompts,
        letterbox: Letterbox,
        *,
        num_masks: Literal[1, 3] = 3,
        guidance: Guidance | None = None,
        classifiers: torch.Tensor | None = None,
        mixing: Mixing = None,
        only_picture: bool = False,
    ) -> Decoded:
        """Turn one frame's features and K objects' prompts into masks, in one batch.

        SAM's masks are what small linear classifiers, one per mask token, say of each pixel's
        embedding (arXiv 2304.02643, appendix A). Classifiers of one's own may be added to them.

        Args:
            features: (C, h, w) of the frame.
            prompts: What to look for, in frame pixels.
            letterbox: Where the frame lies in the model's input.
            num_masks: 3 for part, subpart and whole; 1 for SAM's single answer to clear prompts.
            guidance: PerSAM's guidance of this call; rows as in ``prompts``.
            classifiers: (K, V, ``num_pixel_channels``) further classifiers, or None.
            mixing: How an object's masks are made one: (K, M) weights of a sum, ``best`` for that
                of highest predicted IoU, or None, which leaves them as they are.
            only_picture: Whether logits are needed on the picture alone, as no call follows.

        Returns:
            The masks of each object and their predicted IoUs.
        """
        in_model = self._to_model(prompts, letterbox)
        if self._positions is None or guidance is not None:
            return self._decode_by_modules(
                features, in_model, num_masks, guidance, classifiers, mixing
            )
        num_objects, is_cpu = len(in_model.point_labels), self.device.type == "cpu"
        needed_hw = None
        if only_picture:
            needed_hw = needed_cells(letterbox, (features.shape[1], features.shape[2]))
        step = _OBJECTS_PER_CALL if is_cpu else max(num_objects, 1)
        calls = [
            decode_masks(
                self._sam,
                features,
                self._positions,
                in_model.of(rows),
                num_masks=num_masks,
                objects_per_pass=1 if is_cpu else num_objects,
                classifiers=None if classifiers is None else classifiers[rows],
                mixing=mixing[rows] if isinstance(mixing, torch.Tensor) else mixing,
                needed_hw=needed_hw,
            )
            for rows in (slice(n, n + step) for n in range(0, num_objects, step))
        ]
        logits, predicted_ious = map(torch.cat, zip(*calls, strict=True))
        if classifiers is None:
            return Decoded(logits, predicted_ious)
        num_own_masks = logits.shape[1] - classifiers.shape[1]
        return Decoded(logits[:, :num_own_masks], predicted_ious, logits[:, num_own_masks:])

    def _to_model(self, prompts: Prompts, letterbox: Letterbox) -> ModelPrompts:
        """Give prompts in model pixels, on the device."""
        points = torch.from_numpy(prompts.points_xy).double()
        boxes = None
        if prompts.boxes_xyxy is not None:
            boxes = letterbox.boxes_to_model(torch.from_numpy(prompts.boxes_xyxy).double())
            boxes = boxes.float().to(self.device)
        return ModelPrompts(
            letterbox.points_to_model(points).float().to(self.device),
            torch.from_numpy(prompts.point_labels).to(self.device),
            boxes,
            prompts.low_res_logits,
        )

    def _decode_by_modules(
        self,
        features: torch.Tensor,
        prompts: ModelPrompts,
        num_masks: int,
        guidance: Guidance | None,
        classifiers: torch.Tensor | None,
        mixing: Mixing,
    ) -> Decoded:
        """Decode with the module's own prompt encoder and mask decoder, whatever they are."""
        logits = prompts.low_res_logits
        sparse, dense = self._sam.prompt_encoder(
            points=(prompts.points_xy, prompts.point_labels),
            boxes=prompts.boxes_xyxy,
            masks=None if logits is None else logits[:, None],
        )
        decoder = self._sam.mask_decoder
        guidance_argument = {}
        hooks: AbstractContextManager[None] = nullcontext()
        if guidance is not None and getattr(decoder, "takes_guidance", False):
            guidance_argument["guidance"] = guidance
        elif guidance is not None:
            hooks = guided(decoder.transformer, guidance)
        with hooks:
            low_res_logits, predicted_ious, *pixels = decoder(
                image_embeddings=features[None],
                image_pe=self._sam.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=num_masks == 3,
                **guidance_argument,
            )
        low_res_logits, predicted_ious = low_res_logits.float(), predicted_ious.float()
        further = None
        if classifiers is not None:
            channels = pixels[0].float() if pixels else low_res_logits
            further = torch.einsum("kvd,kdhw->kvhw", classifiers, channels)
        return Decoded(mix(low_res_logits, predicted_ious, mixing), predicted_ious, further)
