"""Masks of what a user points out: look closely, ask SAM in several ways, keep what is stable.

An object that is small in the frame is lost in SAM's input, and a click may mean a part, a thing
or a group. So a box is looked at through crops around it, and the mask of each crop is refined by a
further call with its own logits (arXiv 2305.03048, 3.2). A click is looked at through crops of
several sizes. Of all their masks the one is taken that holds the click, that SAM expects to be
good, that hardly changes with the threshold (arXiv 2304.02643, 5), and that ends within its crop.
Then the crop around that mask is looked at like a box; where it shows another object, or none, the
mask stays.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from vos.errors import InputError, MaskError
from vos.hint import Box, Click, Hint
from vos.records import MAX_OBJECT_ID, Frame, Labels
from vos.sam.model import SamModel
from vos.track.candidates import Candidate, Float, Wanted, best_mask
from vos.track.hint_parts import Part, join
from vos.track.masks import Claim, settle
from vos.track.memory.crops import Crop, Window, encode_crops, window_around

_CONTEXTS: Final = (1.8, 2.6)  # sides of the crops around a box, over its longer side
_SHARES: Final = (1.0, 0.5, 0.25)  # sides of the crops around clicks, over the frame's longer side
_SAME_OBJECT: Final = 0.5  # IoU below which a closer crop has shown something else
_MAX_CROPS: Final = 16  # kept for further hints, of some 4 MB each
_MAX_HINTS: Final = 8  # whose parts are kept, for when others are added to them
_DOUBTFUL: Final = 0.5  # the expected IoU below which a warning is given

_ADVICE: Final = "add clicks, draw a closer box, or give a mask"

_logger = logging.getLogger("vos")


class HintSession:
    """One frame and its encoded crops, so that a further hint costs less than the first.

    What a hint gives depends on the frame and on the hint alone, not on those before it.

    Args:
        frame: The frame, or its (H, W, 3) uint8 RGB picture.
        sam: The model.

    Raises:
        InputError: the picture is none.
    """

    def __init__(self, frame: Frame | NDArray[np.uint8], sam: SamModel) -> None:
        self.frame = frame if isinstance(frame, Frame) else Frame(0, 0.0, "00000", frame)
        self.sam = sam
        self._crops: dict[Window, Crop] = {}
        self._parts: dict[Hint, list[Part]] = {}

    @torch.inference_mode()
    def segment(self, hint: Hint) -> list[Part]:
        """Segment one object.

        Args:
            hint: Its boxes and clicks.

        Returns:
            A part for each box, and one for the clicks in no box if any of them is positive.

        Raises:
            InputError: the hint reaches out of the frame.
            MaskError: SAM finds nothing there.
        """
        hint.check_within(self.frame.frame_hw)
        parts = self._parts.pop(hint, None) or self._segment(hint)
        self._parts[hint] = parts
        for oldest in list(self._parts)[:-_MAX_HINTS]:
            del self._parts[oldest]
        return parts

    def _segment(self, hint: Hint) -> list[Part]:
        inside = [tuple(c for c in hint.clicks if c.is_in(box)) for box in hint.boxes_xyxy]
        parts = [self._from_box(*pair) for pair in zip(hint.boxes_xyxy, inside, strict=True)]
        others = tuple(
            click for click in hint.clicks if not any(click in of_box for of_box in inside)
        )
        if any(click.is_positive for click in others):
            parts.append(self._from_clicks(others))
        return parts

    def reference(self, hints: Mapping[int, Hint]) -> tuple[Labels, dict[int, float]]:
        """Segment several objects, which compete for pixels.

        Args:
            hints: What is pointed out of each object, by its id.

        Returns:
            (H, W) uint8 label map, and for each object the IoU to expect of it, in [0, 1]. Where
            that is below one half, a warning is logged.

        Raises:
            InputError: no hint, an id out of range, or a hint that reaches out of the frame.
            MaskError: SAM finds nothing at a hint, or nothing but what is another object's.
        """
        if not hints:
            raise InputError("at least one box or click is needed")
        claims: list[Claim] = []
        scores: dict[int, float] = {}
        for object_id, hint in sorted(hints.items()):
            if not 1 <= object_id <= MAX_OBJECT_ID:
                raise InputError(f"object ids must be within 1..{MAX_OBJECT_ID}, got {object_id}")
            try:
                parts = self.segment(hint)
            except MaskError as error:
                raise MaskError(
                    f"frame {self.frame.index}, object {object_id}: {error}; {_ADVICE}"
                ) from error
            claims += [Claim(object_id, part.slices, part.logits) for part in parts]
            scores[object_id] = float(
                np.average(
                    [part.evidence.expected_iou for part in parts],
                    weights=[part.area_px for part in parts],
                )
            )
        labels = settle(claims, self.frame.frame_hw, self.sam.device).labels
        areas_px = np.bincount(labels.ravel(), minlength=MAX_OBJECT_ID + 1)
        lost = [object_id for object_id in scores if not areas_px[object_id]]
        if lost:
            raise MaskError(
                f"frame {self.frame.index}: the masks at the hints of {lost} are those of other "
                f"objects; {_ADVICE}"
            )
        for object_id, score in scores.items():
            if score < _DOUBTFUL:
                _logger.warning(
                    "frame %d, object %d: its mask is likely wrong, expected IoU %.2f; %s",
                    self.frame.index,
                    object_id,
                    score,
                    _ADVICE,
                )
        return labels, scores

    @torch.inference_mode()
    def outline(self, hint: Hint) -> NDArray[np.float32]:
        """Segment one object by one call in the whole frame, less exact than :meth:`segment`.

        Args:
            hint: Its clicks, and of its boxes the last one.

        Returns:
            (h, w) logits in the decoder's pixels, which cover the frame.

        Raises:
            InputError: the hint reaches out of the frame.
            MaskError: SAM finds nothing there.
        """
        hint.check_within(self.frame.frame_hw)
        height, width = self.frame.frame_hw
        (crop,) = self._crops_of([(0, 0, width, height)])
        box = None if not hint.boxes_xyxy else np.array(hint.boxes_xyxy[-1], dtype=np.float64)
        wanted = Wanted(self.frame.frame_hw, hint.clicks, box)
        return best_mask(self.sam, crop, wanted, [hint.clicks], box).pixels

    def _from_box(self, box: Box, clicks: tuple[Click, ...]) -> Part:
        box_xyxy = np.array(box, dtype=np.float64)
        wanted = Wanted(self.frame.frame_hw, clicks, box_xyxy)
        positive = tuple(click for click in clicks if click.is_positive)
        masks, others = [], []
        for crop in self._crops_around(box_xyxy, [(context, 0.0) for context in _CONTEXTS]):
            first = best_mask(self.sam, crop, wanted, [positive], box_xyxy)
            again = (first.inmost_click, *positive)
            mask = best_mask(self.sam, crop, wanted, [again], box_xyxy, first.low_res)
            if clicks:
                again = (first.inmost_click, *clicks)
                mask = self._corrected(mask, wanted, again, box_xyxy)
            masks.append(mask)
            others.append(first)
        return join(masks, others, wanted)

    def _from_clicks(self, clicks: tuple[Click, ...]) -> Part:
        wanted = Wanted(self.frame.frame_hw, clicks)
        positive = tuple(click for click in clicks if click.is_positive)
        positive_xy = np.array([(click.x, click.y) for click in positive], dtype=np.float64)
        clicked_xyxy = np.concatenate([positive_xy.min(axis=0), positive_xy.max(axis=0)])
        # A model may understand one click better than several.
        click_sets = list(dict.fromkeys([positive, positive[:1]]))
        context = _CONTEXTS[0]
        guesses = []
        for crop in self._crops_around(clicked_xyxy, [(context, share) for share in _SHARES]):
            with suppress(MaskError):
                guesses.append(best_mask(self.sam, crop, wanted, click_sets))
        if not guesses:
            raise MaskError("SAM finds no object there")
        guess = max(guesses, key=lambda each: each.merit(wanted))
        mask = self._closer(guess, wanted, clicked_xyxy, click_sets) or guess
        if len(clicks) > 1:
            mask = self._corrected(mask, wanted, clicks, None)
        others = [each for each in guesses if each is not mask]
        return join([mask], others or [mask], wanted)

    def _closer(
        self,
        guess: Candidate,
        wanted: Wanted,
        clicked_xyxy: Float,
        click_sets: Sequence[tuple[Click, ...]],
    ) -> Candidate | None:
        """Ask again in a crop around a mask; None where that shows something else, or nothing."""
        box_xyxy = _union(guess.box_xyxy, clicked_xyxy)
        (crop,) = self._crops_around(box_xyxy, [(_CONTEXTS[0], 0.0)])
        try:
            first = best_mask(self.sam, crop, wanted, click_sets, box_xyxy)
            box_xyxy = _union(first.box_xyxy, clicked_xyxy)
            mask = best_mask(self.sam, crop, wanted, click_sets, box_xyxy, first.low_res)
        except MaskError:
            return None
        return mask if mask.iou_with(guess) >= _SAME_OBJECT else None

    def _corrected(
        self, mask: Candidate, wanted: Wanted, clicks: tuple[Click, ...], box_xyxy: Float | None
    ) -> Candidate:
        """Ask again with all clicks, and take the answer if it heeds them and changes little."""
        wanted = replace(wanted, before=mask)
        return best_mask(self.sam, mask.crop, wanted, [clicks], box_xyxy, mask.low_res)

    def _crops_around(self, box_xyxy: Float, sizes: Sequence[tuple[float, float]]) -> list[Crop]:
        """Give crops of several contexts and least shares, encoding those that are new."""
        frame_hw = self.frame.frame_hw
        windows = dict.fromkeys(window_around(box_xyxy, frame_hw, *size) for size in sizes)
        return self._crops_of([*windows])

    def _crops_of(self, windows: list[Window]) -> list[Crop]:
        new = [window for window in windows if window not in self._crops]
        self._crops |= {crop.window_xyxy: crop for crop in encode_crops(self.frame, new, self.sam)}
        crops = [self._crops[window] for window in windows]
        for oldest in list(self._crops)[:-_MAX_CROPS]:
            del self._crops[oldest]
        return crops


def mask_from_hints(
    frame: Frame | NDArray[np.uint8], clicks: Sequence[Click], boxes: Sequence[Box], sam: SamModel
) -> tuple[NDArray[np.bool_], float]:
    """Segment one object that was clicked on or boxed.

    Args:
        frame: The frame, or its (H, W, 3) uint8 RGB picture.
        clicks: Where the object is, and where not, frame pixels.
        boxes: ``(x0, y0, x1, y1)`` around the object, or around parts of it, frame pixels.
        sam: The model.

    Returns:
        (H, W) bool, and the IoU to expect, in [0, 1]. Where that is below one half, a warning is
        logged.

    Raises:
        InputError: neither a box nor a positive click, or one that lies outside of the frame.
        MaskError: SAM finds nothing there.
    """
    hint = Hint(tuple(clicks), tuple(boxes))
    labels, scores = HintSession(frame, sam).reference({1: hint})
    return labels > 0, scores[1]


def reference_from_hints(
    frame: Frame | NDArray[np.uint8], hints: Mapping[int, Hint], sam: SamModel
) -> tuple[Labels, dict[int, float]]:
    """Segment several objects of one frame: :meth:`HintSession.reference` for hints all at once."""
    return HintSession(frame, sam).reference(hints)


def _union(one_xyxy: Float, other_xyxy: Float) -> Float:
    """Give the (4,) box around two."""
    corners = np.minimum(one_xyxy, other_xyxy)[:2], np.maximum(one_xyxy, other_xyxy)[2:]
    return np.concatenate(corners)
