"""Masks of what a user points out: look closely, ask SAM in several ways, keep what is stable.

An object that is small in the frame is lost in SAM's input, and a click may mean a part, a thing
or a group. So a box is looked at through crops around it, and the mask of each crop is refined by a
further call with its own logits (arXiv 2305.03048, 3.2). A click is looked at through smaller and
smaller crops, until a mask is clear. Of all their masks the one is taken that holds the click, that
SAM expects to be good, that hardly changes with the threshold (arXiv 2304.02643, 5), and that ends
within its crop. Then the crop around that mask is looked at like a box; where it shows another
object, or none, the mask stays. Each further click corrects that mask in its crop; only where the
mask is far off is the object searched for again. A mask that was found in another way, by tracking
or by hand, is corrected in the same way, but nothing of it changes that is not connected with the
click.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from vos.errors import InputError, MaskError
from vos.hint import Box, Click, Hint, check_clicks_within
from vos.masks import mask_box_xyxy
from vos.records import MAX_OBJECT_ID, Frame, Labels
from vos.sam.model import SamModel
from vos.track.candidates import Candidate, Float, Wanted, best_mask
from vos.track.correction import changed_at, mask_as_candidate
from vos.track.hint_parts import Part, join
from vos.track.masks import Claim, settle
from vos.track.memory.crops import Crop, Window, encode_crops, window_around

_CONTEXTS: Final = (1.8, 2.6)  # sides of the crops around a box, over its longer side
_SHARES: Final = (1.0, 0.5, 0.25)  # sides of the crops around clicks, over the frame's longer side
_CLEAR: Final = 0.5  # merit of a mask above which no further crop of clicks is looked at
_SAME_OBJECT: Final = 0.5  # IoU below which a closer crop has shown something else
_LARGEST_PATCH: Final = 0.5  # what one click may add or take away, over the mask's area
_MOST_ADDED: Final = 2.0  # the same, of a mask that was found in another way: it may be a mere part
_FAR_OFF: Final = 0.3  # how deep on the wrong side a click lies if another object is meant
_OTHER_OBJECT: Final = 1.0  # the same, where not even a correction is tried
_MAX_CROPS: Final = 16  # kept for further hints, of some 4 MB each
_MAX_HINTS: Final = 8  # whose masks are kept, for when clicks or objects are added to them
_DOUBTFUL: Final = 0.5  # the expected IoU below which a warning is given

_ADVICE: Final = "add clicks, draw a closer box, or give a mask"

_Found = tuple[Candidate, list[Candidate]]
"""A mask of clicks, and those that were found on the way to it."""

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
        self._found: dict[tuple[Click, ...], _Found] = {}

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
        _keep_last(self._parts, _MAX_HINTS)
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
            (H, W) uint8 label map, and for each object its expected IoU, in [0, 1]. Where
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

    @torch.inference_mode()
    def correct(
        self, mask: NDArray[np.bool_], clicks: Sequence[Click]
    ) -> tuple[NDArray[np.bool_], float] | None:
        """Correct a mask, found in whatever way, where the last of some clicks is.

        Args:
            mask: (H, W) bool with at least one pixel.
            clicks: Of one object; those before the last have corrected the mask already.

        Returns:
            (H, W) bool and its expected IoU, in [0, 1]. None where the click is far off the mask,
            so that it means another object, or where SAM finds nothing to change there.

        Raises:
            InputError: there is no click, or it lies outside of the frame.
            MaskError: the mask has no pixel.
        """
        box_xyxy = mask_box_xyxy(mask)
        if not clicks:
            raise InputError("a correction needs a click")
        if box_xyxy is None:
            raise MaskError("a mask without any pixel cannot be corrected")
        last = clicks[-1]
        check_clicks_within(clicks, self.frame.frame_hw)
        click_xyxy = np.array([last.x, last.y, last.x, last.y], dtype=np.float64)
        around_xyxy = _union(box_xyxy.astype(np.float64), click_xyxy)
        window = window_around(around_xyxy, self.frame.frame_hw, _CONTEXTS[0], 0.0)
        (crop,) = self._crops_of([window])
        before = mask_as_candidate(mask, crop)
        after = before
        if bool(mask[last.y, last.x]) != last.is_positive:
            if last.is_positive and before.depth_over_radius(last) > _OTHER_OBJECT:
                return None
            for after in self._answers(before, tuple(clicks)):
                corrected = changed_at(last, mask, before, after)
                num_changed, num_px = np.count_nonzero(corrected != mask), np.count_nonzero(mask)
                most = _MOST_ADDED if last.is_positive else _LARGEST_PATCH
                if 0 < num_changed <= most * num_px:
                    mask = corrected
                    break
            else:
                return None
        part = join([after], [before], Wanted(self.frame.frame_hw, tuple(clicks)))
        return mask, part.evidence.expected_iou

    def _answers(self, mask: Candidate, clicks: tuple[Click, ...]) -> Iterator[Candidate]:
        """Ask in several ways how a mask is to be corrected, the likeliest first."""
        guided = clicks
        if not any(click.is_positive for click in clicks):
            guided = (mask.inmost_click, *clicks)
        wanted = Wanted(self.frame.frame_hw, guided)
        with suppress(MaskError):
            yield self._corrected(mask, wanted, guided, None)
        yield self._patched(mask, clicks)
        # Where SAM is told of the mask it may hold on to it.
        with suppress(MaskError):
            yield best_mask(self.sam, mask.crop, wanted, [guided])

    def _from_box(self, box: Box, clicks: tuple[Click, ...]) -> Part:
        box_xyxy = np.array(box, dtype=np.float64)
        wanted = Wanted(self.frame.frame_hw, clicks, box_xyxy)
        unclicked = replace(wanted, clicks=())
        masks, others = [], []
        windows = dict.fromkeys(
            window_around(box_xyxy, self.frame.frame_hw, context, 0.0) for context in _CONTEXTS
        )
        for crop in self._crops_of([*windows]):
            first = best_mask(self.sam, crop, unclicked, [()], box_xyxy)
            inmost = first.inmost_click
            mask = best_mask(self.sam, crop, unclicked, [(inmost,)], box_xyxy, first.low_res)
            if clicks:
                mask = self._corrected(mask, wanted, (inmost, *clicks), box_xyxy)
            masks.append(mask)
            others.append(first)
        return join(masks, others, wanted)

    def _from_clicks(self, clicks: tuple[Click, ...]) -> Part:
        # The first positive click finds the object, each later one corrects the mask before it.
        num_first = 1 + next(n for n, click in enumerate(clicks) if click.is_positive)
        nums = range(num_first, len(clicks) + 1)
        num_known = max((n for n in nums if clicks[:n] in self._found), default=num_first)
        found = self._found.get(clicks[:num_known]) or self._search(clicks[:num_known])
        for num_clicks in range(num_known, len(clicks) + 1):
            if num_clicks > num_known:
                found = self._heed_last(*found, clicks[:num_clicks])
            self._found.pop(clicks[:num_clicks], None)
            self._found[clicks[:num_clicks]] = found
            _keep_last(self._found, _MAX_HINTS)
        mask, others = found
        return join([mask], others, Wanted(self.frame.frame_hw, clicks))

    def _heed_last(
        self, mask: Candidate, others: list[Candidate], clicks: tuple[Click, ...]
    ) -> _Found:
        """Correct a mask by the last of some clicks."""
        last = clicks[-1]
        mask = self._corrected(mask, Wanted(self.frame.frame_hw, clicks), clicks, None)
        if not mask.heeds(last):
            mask = self._patched(mask, clicks)
        if not mask.heeds(last) and mask.depth_over_radius(last) > _FAR_OFF:
            return self._search(clicks)
        return mask, others

    def _patched(self, mask: Candidate, clicks: tuple[Click, ...]) -> Candidate:
        """Add to a mask what the last click is on, or take it away; the same mask if that fails."""
        last = clicks[-1]
        opposed = (click for click in clicks if click.is_positive != last.is_positive)
        on_patch = (
            replace(last, is_positive=True),
            *(replace(click, is_positive=False) for click in opposed),
        )
        try:
            patch = best_mask(
                self.sam, mask.crop, Wanted(self.frame.frame_hw, on_patch), [on_patch]
            )
        except MaskError:
            return mask
        return mask.patched(patch, _LARGEST_PATCH, is_added=last.is_positive)

    def _search(self, clicks: tuple[Click, ...]) -> _Found:
        """Look for the object of some clicks in crops of several sizes, then more closely."""
        wanted = Wanted(self.frame.frame_hw, clicks)
        positive = tuple(click for click in clicks if click.is_positive)
        positive_xy = np.array([(click.x, click.y) for click in positive], dtype=np.float64)
        clicked_xyxy = np.concatenate([positive_xy.min(axis=0), positive_xy.max(axis=0)])
        # A model may understand one click better than several.
        click_sets = list(dict.fromkeys([positive, positive[:1]]))
        windows = dict.fromkeys(
            window_around(clicked_xyxy, self.frame.frame_hw, _CONTEXTS[0], share)
            for share in _SHARES
        )
        guesses: list[Candidate] = []
        for window in windows:
            if any(guess.merit(wanted) > _CLEAR for guess in guesses):
                break
            (crop,) = self._crops_of([window])
            with suppress(MaskError):
                guesses.append(best_mask(self.sam, crop, wanted, click_sets))
        if not guesses:
            raise MaskError("SAM finds no object there")
        guess = max(guesses, key=lambda each: each.merit(wanted))
        mask = self._closer(guess, wanted, clicked_xyxy, click_sets) or guess
        if len(clicks) > 1:
            mask = self._corrected(mask, wanted, clicks, None)
        others = [each for each in guesses if each is not mask]
        return mask, others or [mask]

    def _closer(
        self,
        guess: Candidate,
        wanted: Wanted,
        clicked_xyxy: Float,
        click_sets: Sequence[tuple[Click, ...]],
    ) -> Candidate | None:
        """Ask again in a crop around a mask; None where that shows something else, or nothing."""
        box_xyxy = _union(guess.box_xyxy, clicked_xyxy)
        (crop,) = self._crops_of([window_around(box_xyxy, self.frame.frame_hw, _CONTEXTS[0], 0.0)])
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

    def _crops_of(self, windows: Sequence[Window]) -> list[Crop]:
        """Give crops, encoding those that are new."""
        new = [window for window in windows if window not in self._crops]
        self._crops |= {crop.window_xyxy: crop for crop in encode_crops(self.frame, new, self.sam)}
        crops = [self._crops[window] for window in windows]
        _keep_last(self._crops, _MAX_CROPS)
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
        (H, W) bool, and the expected IoU, in [0, 1]. Where that is below one half, a warning is
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


def _keep_last(cached: dict[Any, Any], num_kept: int) -> None:
    for oldest in list(cached)[:-num_kept]:
        del cached[oldest]


def _union(one_xyxy: Float, other_xyxy: Float) -> Float:
    """Give the (4,) box around two."""
    corners = np.minimum(one_xyxy, other_xyxy)[:2], np.maximum(one_xyxy, other_xyxy)[2:]
    return np.concatenate(corners)
