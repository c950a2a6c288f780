"""A SAM behind two calls: pictures to features, prompts to mask logits.

Nothing is set first and used later: each call gets all it needs and leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from vos.config import SKIP_PADDING, SkipPadding
from vos.errors import InputError
from vos.sam.devices import available_device
from vos.sam.fast.compiled import compile_encoder
from vos.sam.fast.decoder import (
    Mixing,
    Positions,
    decode_masks,
    is_plain,
    mix,
    num_pixel_channels,
    share_cells,
)
from vos.sam.fast.padding import PaddingFeatures, Thinned, thin_padding
from vos.sam.fast.shared_maps import SharedMaps
from vos.sam.fast.vit import encode_with_vit, is_plain_vit
from vos.sam.geometry import Letterbox, needed_cells, resize_for_model
from vos.sam.guidance import Guidance, guided

_DTYPES: Final = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}

_OBJECTS_PER_CALL: Final = 16
_FEWEST_SHARING: Final = 16

POSITIVE: Final = 1
"""SAM's label of a point on the object."""

NEGATIVE: Final = 0
"""SAM's label of a point beside the object."""


@dataclass(frozen=True, slots=True, eq=False)
class Prompts:
    """What the decoder is asked, one row per object, in frame pixels.

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
    """What the decoder answered, one row per object.

    Attributes:
        low_res_logits: (K, M, h', w') float32 over the padded input; M is 3 for part, subpart and
            whole, or 1. (K, 1, h', w') where they were mixed.
        predicted_ious: (K, M) float32, SAM's own estimate of each mask's quality, before mixing.
        classifier_logits: (K, V, h', w') float32, what the given classifiers say, or None.
    """

    low_res_logits: torch.Tensor
    predicted_ious: torch.Tensor
    classifier_logits: torch.Tensor | None = None


class SamModel:
    """Any module with the attributes of segment_anything's ``Sam``, on one device.

    Args:
        module: Needs ``image_encoder`` (with ``img_size``), ``prompt_encoder``, ``mask_decoder``,
            ``pixel_mean`` and ``pixel_std``. It is moved to the device and put into eval mode.
        device: ``cpu``, ``cuda``, ``cuda:1``, ``mps``, ...
        dtype: Arithmetic of the image encoder: ``float32``, ``bfloat16`` or ``float16``. The
            decoder is small and always runs in float32.
        compiled: Whether the image encoder goes through ``torch.compile``, which takes a minute at
            the first frame and pays on a GPU with long videos.
        skip_padding: What leaves out most of the padding, see :mod:`vos.sam.fast.padding`: ``none``,
            the ``decoder``, or ``all``, which is the image encoder too; faster, and masks change
            hardly with the first and a little with the second.
        name: What to call the model in results.
        weights_sha256: Hash of its weights file, for results, where it is known.

    Raises:
        DeviceError: the device is absent.
        InputError: the module lacks an attribute, or the dtype or ``skip_padding`` is unknown.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        device: str | torch.device = "cpu",
        dtype: str = "float32",
        *,
        compiled: bool = False,
        skip_padding: SkipPadding = "none",
        name: str = "custom",
        weights_sha256: str | None = None,
    ) -> None:
        needed = ("image_encoder", "prompt_encoder", "mask_decoder", "pixel_mean", "pixel_std")
        absent = [attribute for attribute in needed if not hasattr(module, attribute)]
        if absent:
            raise InputError(f"the module is not a SAM, it lacks {', '.join(absent)}")
        if dtype not in _DTYPES:
            raise InputError(f"dtype must be one of {', '.join(_DTYPES)}, got {dtype}")
        if skip_padding not in SKIP_PADDING:
            legal = ", ".join(SKIP_PADDING)
            raise InputError(f"skip_padding must be one of {legal}, got {skip_padding!r}")
        self.device = available_device(device)
        self.dtype = dtype
        self.compiled = compiled
        self.skip_padding = skip_padding
        self.name = name
        self.weights_sha256 = weights_sha256
        sam: Any = module.to(self.device).eval().requires_grad_(False)
        self._sam = sam
        self._encode_images: Callable[[torch.Tensor], torch.Tensor] = sam.image_encoder
        if is_plain_vit(sam.image_encoder):
            self._encode_images = partial(encode_with_vit, sam.image_encoder)
        if compiled:
            self._encode_images = compile_encoder(self._encode_images)
        self._padding = PaddingFeatures(self._encode_images) if skip_padding == "all" else None
        self._is_plain = is_plain(sam)
        self._positions = Positions(sam.prompt_encoder)
        self.image_size = int(sam.image_encoder.img_size)
        # Of another decoder than segment_anything's nothing is known but its masks.
        self.num_pixel_channels = num_pixel_channels(sam.mask_decoder) if self._is_plain else 3

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
        for own, picture in zip(batch, pictures, strict=True):
            letterbox = self.letterbox((picture.shape[0], picture.shape[1]))
            height, width = letterbox.resized_hw
            resized = torch.from_numpy(np.array(resize_for_model(picture, letterbox)))
            # uint8 is a quarter of the traffic to a GPU, so normalisation happens over there; from
            # pinned memory the copy runs beside what the GPU still computes.
            if self.device.type == "cuda":
                resized = resized.pin_memory()
            on_device = resized.to(self.device, non_blocking=True)
            own[:height, :width] = (on_device.float() - mean) / std
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

    @torch.inference_mode()
    def share(
        self, features: torch.Tensor, letterbox: Letterbox, num_masks: int
    ) -> SharedMaps | None:
        """Do once what decoding many masks of one frame has in common.

        Args:
            features: (C, h, w) of the frame.
            letterbox: Where the frame lies in the model's input.
            num_masks: Objects times calls that :meth:`decode` is going to be asked for.

        Returns:
            What to hand to :meth:`decode`; None where it does not pay: for few masks, on a GPU, and
            for other decoders than segment_anything's.
        """
        if num_masks < _FEWEST_SHARING or self.device.type != "cpu" or not self._is_plain:
            return None
        thinned = self._cells_of(features, letterbox)[1]
        return share_cells(self._sam, features, self._positions.encode(), thinned)

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
        shared: SharedMaps | None = None,
    ) -> Decoded:
        """Turn one frame's features and K objects' prompts into masks, in one batch.

        SAM's masks are what small linear classifiers, one per mask token, say of each pixel's
        embedding (arXiv 2304.02643, appendix A). Classifiers of one's own may be asked beside them.

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
            shared: From :meth:`share` of the same features and letterbox, or None; results differ
                by it in the last bits only.

        Returns:
            The masks of each object and their predicted IoUs.

        Raises:
            InputError: ``shared`` is of another number of cells.
        """
        points = torch.from_numpy(prompts.points_xy).double()
        coordinates = letterbox.points_to_model(points).float().to(self.device)
        labels = torch.from_numpy(prompts.point_labels).to(self.device)
        boxes, low_res = None, prompts.low_res_logits
        if prompts.boxes_xyxy is not None:
            boxes = letterbox.boxes_to_model(torch.from_numpy(prompts.boxes_xyxy).double())
            boxes = boxes.float().to(self.device)
        if self._is_plain and guidance is None:
            needed_hw, thinned = self._cells_of(features, letterbox)
            # Each object holds some 5 MB while its group is decoded; a GPU gains by all at once.
            size = _OBJECTS_PER_CALL if self.device.type == "cpu" else len(labels)
            answers = [
                decode_masks(
                    self._sam,
                    features,
                    (coordinates[rows], labels[rows]),
                    None if boxes is None else boxes[rows],
                    None if low_res is None else low_res[rows],
                    num_masks,
                    self._positions.encode(),
                    None if classifiers is None else classifiers[rows],
                    mixing[rows] if isinstance(mixing, torch.Tensor) else mixing,
                    needed_hw if only_picture else None,
                    thinned,
                    shared,
                )
                for rows in (slice(n, n + size) for n in range(0, len(labels), size))
            ]
            logits, predicted_ious = map(torch.cat, zip(*answers, strict=True))
            num_further = 0 if classifiers is None else classifiers.shape[1]
            own, others = logits.tensor_split([logits.shape[1] - num_further], dim=1)
            return Decoded(own, predicted_ious, others if num_further else None)
        masks = None if low_res is None else low_res[:, None]
        sparse, dense = self._sam.prompt_encoder(
            points=(coordinates, labels), boxes=boxes, masks=masks
        )
        decoder = self._sam.mask_decoder
        with nullcontext() if guidance is None else guided(decoder.transformer, guidance):
            low_res_logits, predicted_ious = decoder(
                image_embeddings=features[None],
                image_pe=self._sam.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=num_masks == 3,
            )
        low_res_logits, predicted_ious = low_res_logits.float(), predicted_ious.float()
        further = None
        if classifiers is not None:
            further = torch.einsum("kvm,kmhw->kvhw", classifiers, low_res_logits)
        return Decoded(mix(low_res_logits, predicted_ious, mixing), predicted_ious, further)

    def _cells_of(
        self, features: torch.Tensor, letterbox: Letterbox
    ) -> tuple[tuple[int, int], Thinned | None]:
        """Say which rows and columns of cells the picture is in, and which cells stand for all."""
        cells_hw = features.shape[1], features.shape[2]
        needed_hw, is_exact = needed_cells(letterbox, cells_hw), self.skip_padding == "none"
        return needed_hw, None if is_exact else thin_padding(needed_hw, cells_hw, self.device)
