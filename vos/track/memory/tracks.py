"""What is remembered of an object from frame to frame, and how it is learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from vos.config import MemoryConfig
from vos.records import Frame, Labels
from vos.sam.geometry import average_in_cells, low_res_to_frame
from vos.sam.model import SamModel
from vos.track.memory.colours import Colours, learn_colours
from vos.track.memory.correspond import Memory, correspond, principal_axes, remember
from vos.track.memory.evidence import decode, evidence_maps, low_res_rgb, prompt
from vos.track.memory.fine import Fine, fit_fine, is_thin
from vos.track.memory.head import Head, fit_head
from vos.track.memory.look import Look, Window, look, window_around
from vos.track.memory.motion import Motion, box_of, expected_box, start
from vos.track.memory.parts import is_one_piece

_WHOLLY_INSIDE: Final = 0.99
_SECOND_LOOK: Final = 0.06  # of the window's side


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """One object. Every field is of bounded size, whatever the length of the video.

    Attributes:
        axes: (C, D) basis of its remembered cells.
        references: A memory of each reference that shows it, the oldest first.
        recent: Memories of the last frames in which it was seen, the newest last.
        head: Its pixel classifier.
        fine: Its classifier of frame pixels; None where decoder pixels hold its shape.
        colours: Its colours.
        own_similarity: Similarity of its cells between two looks at its reference.
        is_one_piece: Whether a reference shows it as one connected part.
        motion: Where it is, and where it is going.
    """

    axes: torch.Tensor
    references: tuple[Memory, ...]
    recent: tuple[Memory, ...]
    head: Head
    fine: Fine | None
    colours: Colours
    own_similarity: float
    is_one_piece: bool
    motion: Motion


@dataclass(frozen=True, slots=True, eq=False)
class _Lesson:
    """What one look at a reference teaches.

    Attributes:
        look: The look.
        mask: (H, W) bool of the frame.
        channels: (D, h', w') pixel embeddings.
        evidence: (E, h', w') further maps.
        own_logits: (h', w') of SAM's own mask.
        similarity: Mean over the object's cells of their similarity to the other look's.
    """

    look: Look
    mask: NDArray[np.bool_]
    channels: torch.Tensor
    evidence: torch.Tensor
    own_logits: torch.Tensor
    similarity: float


def learn(
    references: Sequence[tuple[Frame, Labels]],
    object_id: int,
    sam: SamModel,
    config: MemoryConfig,
) -> Track | None:
    """Learn an object from the references that show it.

    Each reference is looked at twice, through windows that differ by a few pixels: what the
    correspondence says of one look from the memory of the other is as good as it will be in a
    frame to come, while from its own memory it would be perfect, and the head would trust nothing
    else.

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
    looks = [_two_looks(frame, mask, sam, config) for frame, mask in shown]
    axes = principal_axes(looks[0][0].cells)
    masks = [mask for _, mask in shown]
    colours = _learn_colours([first for first, _ in looks], masks)
    seen_colours = colours if config.colours else None
    memories, lessons, swapped = [], [], []
    for (first, second), mask in zip(looks, masks, strict=True):
        own = remember(first, shares(first, mask, first.cells_hw), axes)
        other = remember(second, shares(second, mask, second.cells_hw), axes)
        memories.append(own)
        lessons.append(_lesson(first, mask, other, axes, seen_colours, sam))
        wants_fine = config.thin_parts and config.pixel_head and mask[second.slices].any()
        if wants_fine and is_thin(first, mask):
            swapped.append(_lesson(second, mask, own, axes, seen_colours, sam))
    head = _learn_head(lessons)
    fine = None
    if swapped:
        taught = [(each.look, each.mask, _logits(each, head)) for each in (*lessons, *swapped)]
        fine = fit_fine(taught, seen_colours)
    return Track(
        axes=axes,
        references=tuple(memories),
        recent=(),
        head=head,
        fine=fine,
        colours=colours,
        own_similarity=float(np.mean([each.similarity for each in lessons])),
        is_one_piece=any(map(is_one_piece, masks)),
        motion=start(masks[-1]),
    )


def expected_window(track: Track, frame_hw: tuple[int, int], config: MemoryConfig) -> Window:
    """Give the window to look for an object through: larger, the longer it has been lost."""
    if config.context is None:
        return (0, 0, frame_hw[1], frame_hw[0])
    return window_around(
        expected_box(track.motion),
        frame_hw,
        config.context * track.motion.growth,
        config.min_window_share,
    )


def shares(look: Look, mask: NDArray[np.bool_], cells_hw: tuple[int, int]) -> torch.Tensor:
    """Give an (H, W) mask's share of each of (h, w) cells of a look."""
    return window_shares(look, mask[look.slices], cells_hw)


def window_shares(look: Look, mask: NDArray[np.bool_], cells_hw: tuple[int, int]) -> torch.Tensor:
    """Give a look's own (H, W) mask's share of each of its (h, w) cells."""
    own = torch.from_numpy(np.ascontiguousarray(mask)).to(look.features.device)
    return average_in_cells(own[None].float(), look.letterbox, cells_hw)[0]


def _two_looks(
    frame: Frame, mask: NDArray[np.bool_], sam: SamModel, config: MemoryConfig
) -> tuple[Look, Look]:
    """Look at an object, and once more through a window of slightly other size and place."""
    height, width = mask.shape
    context = config.context
    window = (0, 0, width, height)
    if context is not None:
        window = window_around(box_of(mask), (height, width), context, config.min_window_share)
    x0, y0, x1, y1 = window
    step = round((x1 - x0) * _SECOND_LOOK) + 3
    # Outwards by different amounts; where the frame ends there, a little inwards.
    outwards = [
        low - step if low >= step else low + min(step // 4 + 1, (high - low) // 4)
        for low, high in ((x0, x1), (y0, y1))
    ]
    inwards = [
        high + step // 2 if high + step // 2 <= size else high - min(step // 4, (high - low) // 4)
        for low, high, size in ((x0, x1, width), (y0, y1, height))
    ]
    first, second = look(frame, [window, (outwards[0], outwards[1], inwards[0], inwards[1])], sam)
    return first, second


def _learn_colours(looks: Sequence[Look], masks: Sequence[NDArray[np.bool_]]) -> Colours:
    colours, owned = [], []
    for each, mask in zip(looks, masks, strict=True):
        inside = _whole_pixels(each)
        colours.append(low_res_rgb(each)[:, inside])
        owned.append(shares(each, mask, each.pixels_hw)[inside])
    return learn_colours(torch.cat(colours, dim=1), torch.cat(owned))


def _lesson(
    look: Look,
    mask: NDArray[np.bool_],
    memory: Memory,
    axes: torch.Tensor,
    colours: Colours | None,
    sam: SamModel,
) -> _Lesson:
    """Let a look be segmented from the memory of another, and keep what that gave."""
    own = shares(look, mask, look.cells_hw)
    found = correspond(look.cells @ axes, look.places_xy, [memory], [], radius_px=1.0)
    # An object so small that no cell is mostly its own is shown to the decoder as it is.
    prompted = prompt(look, look.as_map(found.probabilities)) or prompt(look, own / own.max())
    if prompted is None:
        raise RuntimeError("a mask with pixels has no prompt")
    identity = torch.eye(sam.num_pixel_channels, device=sam.device)[None]
    own_logits, channels = decode(look, [prompted], identity, sam)
    similarities = look.as_map(found.own_similarities)
    is_own = own >= min(0.5, float(own.max()))
    return _Lesson(
        look=look,
        mask=mask,
        channels=channels[0],
        evidence=evidence_maps(prompted, colours, low_res_rgb(look)),
        own_logits=own_logits[0],
        similarity=float(similarities[is_own].mean()),
    )


def _learn_head(lessons: Sequence[_Lesson]) -> Head:
    insides = [_whole_pixels(each.look) for each in lessons]
    pairs = list(zip(lessons, insides, strict=True))
    wanted = [shares(each.look, each.mask, each.look.pixels_hw)[inside] for each, inside in pairs]
    return fit_head(
        torch.cat([each.channels[:, inside] for each, inside in pairs], dim=1),
        torch.cat([each.evidence[:, inside] for each, inside in pairs], dim=1),
        torch.cat(wanted),
    )


def _logits(lesson: _Lesson, head: Head) -> torch.Tensor:
    """Give what a head makes of a lesson's window, (H, W) logits."""
    by_channels = torch.einsum("d,dhw->hw", head.channels, lesson.channels)
    low_res = head.logits(by_channels, lesson.evidence, lesson.own_logits)
    return low_res_to_frame(low_res[None], lesson.look.letterbox)[0]


def _whole_pixels(look: Look) -> torch.Tensor:
    """Say which of the (h', w') low-resolution pixels lie wholly on the picture."""
    everywhere = torch.ones(1, *look.letterbox.frame_hw, device=look.features.device)
    return average_in_cells(everywhere, look.letterbox, look.pixels_hw)[0] > _WHOLLY_INSIDE
