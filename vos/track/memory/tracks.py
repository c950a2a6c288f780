"""What is remembered of an object from frame to frame, and how it is learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from vos.config import Memory
from vos.records import Frame, Labels
from vos.sam.geometry import average_in_cells, low_res_to_frame
from vos.sam.model import SamModel
from vos.track.memory.colours import Colours, learn_colours
from vos.track.memory.correspond import RememberedCells, correspond, principal_axes, remember
from vos.track.memory.crops import Crop, Window, encode_crops, window_around
from vos.track.memory.fine import FineHead, fit_fine_head, is_thin
from vos.track.memory.head import Head, fit_head
from vos.track.memory.motion import Motion, box_of, expected_box, motion_at_rest
from vos.track.memory.parts import is_one_piece
from vos.track.memory.prompts import decode_crop, head_maps, low_res_rgb, make_prompts
from vos.track.memory.views import draw_views
from vos.track.memory.vote import combine

_WHOLLY_INSIDE: Final = 0.99
_CROP_SHIFT: Final = 0.06  # of the window's side
_MAX_PIXELS: Final = 40_000  # that the head is fitted to, of all crops


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """One object. Every field is of bounded size, whatever the length of the video.

    Attributes:
        axes: (C, D) basis of its remembered cells.
        references: A memory of each reference that shows it, the oldest first.
        recent: Memories of the last frames in which it was seen, the newest last.
        seen_well: Memory of the last frame in which it was very like its references, if any.
        rejected: While it is lost, memories of what looked like it and was there before.
        head: Its pixel classifier.
        fine_head: Its classifier of frame pixels; None where decoder pixels hold its shape.
        colours: Its colours.
        self_similarity: Similarity of its cells between two crops of its reference.
        is_one_piece: Whether all references show it as one connected part.
        motion: Where it is, and where it is going.
    """

    axes: torch.Tensor
    references: tuple[RememberedCells, ...]
    recent: tuple[RememberedCells, ...]
    seen_well: RememberedCells | None
    rejected: tuple[RememberedCells, ...]
    head: Head
    fine_head: FineHead | None
    colours: Colours
    self_similarity: float
    is_one_piece: bool
    motion: Motion


@dataclass(frozen=True, slots=True, eq=False)
class _Sample:
    """A crop of a reference, as the classifiers are fitted to it.

    Attributes:
        crop: The crop.
        mask: (H, W) bool of the frame.
        channels: (D, h', w') pixel embeddings.
        maps: (E, h', w') further maps.
        sam_logits: (h', w') of SAM's mask.
        similarity: Mean over the object's cells of their similarity to the other crop's.
    """

    crop: Crop
    mask: NDArray[np.bool_]
    channels: torch.Tensor
    maps: torch.Tensor
    sam_logits: torch.Tensor
    similarity: float


def learn(
    references: Sequence[tuple[Frame, Labels]],
    object_id: int,
    sam: SamModel,
    config: Memory,
) -> Track | None:
    """Learn an object from the references that show it.

    Each reference is cropped twice, by windows that differ by a few pixels: what the correspondence
    says of one crop from the memory of the other is as good as it will be in a frame to come, while
    from its own memory it would be perfect, and the head would trust nothing else. The head is also
    fitted to drawn views of each.

    Args:
        references: Frames and their (H, W) label maps, the oldest first.
        object_id: Which object.
        sam: The model.
        config: Settings.

    Returns:
        The object, last seen in the newest reference; None where no reference shows it.
    """
    shown = [(frame, labels == object_id) for frame, labels in references]
    shown = [(frame, mask) for frame, mask in shown if mask.any()]
    if not shown:
        return None
    pairs = [_crop_twice(frame, mask, sam, config) for frame, mask in shown]
    axes = principal_axes(pairs[0][0].cells)
    masks = [mask for _, mask in shown]
    colours = _learn_colours([first for first, _ in pairs], masks)
    used_colours = colours if config.colours else None
    memories, samples, swapped = [], [], []
    for (first, second), mask in zip(pairs, masks, strict=True):
        memory = remember(first, shares(first, mask, first.cells_hw), axes)
        other = remember(second, shares(second, mask, second.cells_hw), axes)
        memories.append(memory)
        samples.append(_sample(first, mask, other, axes, used_colours, sam))
        wants_fine = config.thin_parts and config.pixel_head and mask[second.slices].any()
        if wants_fine and is_thin(first, mask):
            swapped.append(_sample(second, mask, memory, axes, used_colours, sam))
    views = []
    if config.pixel_head and config.context is not None:
        for (frame, mask), memory in zip(shown, memories, strict=True):
            for view, drawn, window in draw_views(
                frame, mask, config.num_views, config.context, config.min_window_share
            ):
                (crop,) = encode_crops(view, [window], sam)
                views.append(_sample(crop, drawn, memory, axes, used_colours, sam))
    head = _learn_head([*samples, *views])
    fine_head = None
    if swapped:
        with_logits = [
            (each.crop, each.mask, _logits(each, head, config)) for each in (*samples, *swapped)
        ]
        fine_head = fit_fine_head(with_logits, used_colours)
    return Track(
        axes=axes,
        references=tuple(memories),
        recent=(),
        seen_well=None,
        rejected=(),
        head=head,
        fine_head=fine_head,
        colours=colours,
        self_similarity=float(np.mean([each.similarity for each in samples])),
        is_one_piece=all(map(is_one_piece, masks)),
        motion=motion_at_rest(masks[-1]),
    )


def expected_window(track: Track, frame_hw: tuple[int, int], config: Memory) -> Window:
    """Give the window to search for an object: larger, the longer it has been lost."""
    if config.context is None:
        return (0, 0, frame_hw[1], frame_hw[0])
    return window_around(
        expected_box(track.motion),
        frame_hw,
        config.context * track.motion.growth,
        config.min_window_share,
    )


def shares(crop: Crop, mask: NDArray[np.bool_], cells_hw: tuple[int, int]) -> torch.Tensor:
    """Give the share that a frame's (H, W) mask has of each of (h, w) cells of a crop."""
    return window_shares(crop, mask[crop.slices], cells_hw)


def window_shares(crop: Crop, mask: NDArray[np.bool_], cells_hw: tuple[int, int]) -> torch.Tensor:
    """Give the share that a crop's (H, W) mask has of each of its (h, w) cells."""
    on_device = torch.from_numpy(np.ascontiguousarray(mask)).to(crop.features.device)
    return average_in_cells(on_device[None].float(), crop.letterbox, cells_hw)[0]


def _crop_twice(
    frame: Frame, mask: NDArray[np.bool_], sam: SamModel, config: Memory
) -> tuple[Crop, Crop]:
    """Encode two windows around an object, of slightly different size and position."""
    height, width = mask.shape
    context = config.context
    window = (0, 0, width, height)
    if context is not None:
        window = window_around(box_of(mask), (height, width), context, config.min_window_share)
    x0, y0, x1, y1 = window
    step = round((x1 - x0) * _CROP_SHIFT) + 3
    # Outwards by different amounts; where the frame ends there, a little inwards.
    outwards = [
        low - step if low >= step else low + min(step // 4 + 1, (high - low) // 4)
        for low, high in ((x0, x1), (y0, y1))
    ]
    inwards = [
        high + step // 2 if high + step // 2 <= size else high - min(step // 4, (high - low) // 4)
        for low, high, size in ((x0, x1, width), (y0, y1, height))
    ]
    shifted = (outwards[0], outwards[1], inwards[0], inwards[1])
    first, second = encode_crops(frame, [window, shifted], sam)
    return first, second


def _learn_colours(crops: Sequence[Crop], masks: Sequence[NDArray[np.bool_]]) -> Colours:
    colours, object_shares = [], []
    for crop, mask in zip(crops, masks, strict=True):
        inside = _whole_pixels(crop)
        colours.append(low_res_rgb(crop)[:, inside])
        object_shares.append(shares(crop, mask, crop.pixels_hw)[inside])
    return learn_colours(torch.cat(colours, dim=1), torch.cat(object_shares))


def _sample(
    crop: Crop,
    mask: NDArray[np.bool_],
    memory: RememberedCells,
    axes: torch.Tensor,
    colours: Colours | None,
    sam: SamModel,
) -> _Sample:
    """Segment a crop from the memory of another, and keep what that gave."""
    in_cells = shares(crop, mask, crop.cells_hw)
    found = correspond(crop.cells @ axes, crop.positions_xy, [memory], [], radius_px=1.0)
    # Of an object so small that it fills half of no cell, the mask itself is the prompt.
    prompts = make_prompts(crop, crop.as_map(found.probabilities)) or make_prompts(
        crop, in_cells / in_cells.max()
    )
    if prompts is None:
        raise RuntimeError("a mask with pixels has no prompt")
    identity = torch.eye(sam.num_pixel_channels, device=sam.device)[None]
    sam_logits, channels = decode_crop(crop, [prompts], identity, sam)
    similarities = crop.as_map(found.object_similarities)
    is_object = in_cells >= min(0.5, float(in_cells.max()))
    return _Sample(
        crop=crop,
        mask=mask,
        channels=channels[0],
        maps=head_maps(prompts, colours, low_res_rgb(crop)),
        sam_logits=sam_logits[0],
        similarity=float(similarities[is_object].mean()),
    )


def _learn_head(samples: Sequence[_Sample]) -> Head:
    insides = [_whole_pixels(each.crop) for each in samples]
    every = -(-sum(int(inside.sum()) for inside in insides) // _MAX_PIXELS)
    channels, maps, wanted = [], [], []
    for each, inside in zip(samples, insides, strict=True):
        kept = inside.flatten().nonzero()[::every, 0]
        channels.append(each.channels.flatten(1)[:, kept])
        maps.append(each.maps.flatten(1)[:, kept])
        wanted.append(shares(each.crop, each.mask, each.crop.pixels_hw).flatten()[kept])
    return fit_head(torch.cat(channels, dim=1), torch.cat(maps, dim=1), torch.cat(wanted))


def _logits(sample: _Sample, head: Head, config: Memory) -> torch.Tensor:
    """Give the final (H, W) logits of a sample's crop, before the classifier of frame pixels."""
    by_channels = torch.einsum("d,dhw->hw", head.channels, sample.channels)
    by_head = head.logits(by_channels, sample.maps)
    combined = combine(by_head, sample.sam_logits, sample.maps[0] if config.vote else None)
    return low_res_to_frame(combined.logits[None], sample.crop.letterbox)[0]


def _whole_pixels(crop: Crop) -> torch.Tensor:
    """Say which of the (h', w') low-resolution pixels lie wholly on the picture."""
    everywhere = torch.ones(1, *crop.letterbox.frame_hw, device=crop.features.device)
    return average_in_cells(everywhere, crop.letterbox, crop.pixels_hw)[0] > _WHOLLY_INSIDE
