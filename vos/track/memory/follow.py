"""One frame's masks by memory: crop, correspond, decode, classify, compete, judge, remember."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from vos.config import Memory
from vos.masks.boxes import grow_box_xyxy
from vos.records import Frame, FrameMasks
from vos.sam.geometry import average_in_cells, low_res_to_frame
from vos.sam.model import SamModel
from vos.track.edges import EDGE_REACH_PX, soft_edges
from vos.track.masks import Claim, is_contested, measure, settle
from vos.track.memory.correspond import Correspondence, correspond, remember
from vos.track.memory.crops import Crop, Window, encode_crops, share_windows, side_px, window_around
from vos.track.memory.fine import apply_fine_head
from vos.track.memory.motion import (
    GROWTH_WHEN_LOST,
    VELOCITY_ERROR,
    box_of,
    expected_box,
    log_occupancy,
    when_contested,
    when_lost,
    when_seen,
)
from vos.track.memory.parts import large_parts, unlikely_parts
from vos.track.memory.presence import presence, resemblance
from vos.track.memory.prompts import (
    CropPrompts,
    decode_crop,
    head_maps,
    low_res_rgb,
    make_prompts,
)
from vos.track.memory.relook import MAX_REJECTED, Seen, background_before
from vos.track.memory.tracks import Track, expected_window, shares, window_shares
from vos.track.memory.trust import Evidence, compare_masks, expected_iou, likeness_of
from vos.track.memory.vote import Combined, combine

_MOTION_SHARE: Final = 0.35  # of the object's size: how far its parts may move between frames
_REACH_SHARE: Final = 0.25  # of the object's size: how far beyond its expected box it may be
_UNDECIDED: Final = 0.5  # what is remembered of a cell that two objects want
_SEEN_WELL: Final = 0.85  # likeness
# A mask that is both is a sliver of what hides the object. Followed, it would keep the object from
# being searched for.
_SLIVER_SHARE: Final = 0.1  # of the object's area: smaller than that,
_SLIVER_SCORE: Final = 0.3  # and of a lower expected IoU
_POOR_SCORE: Final = 0.3  # expected IoU: a poorer mask beside another's is not remembered
_DROPPED: Final = -6.0  # the logit of parts that are not the object's


@dataclass(frozen=True, slots=True, eq=False)
class Tracks:
    """All objects of a video.

    Attributes:
        object_ids: (K,) ascending, 1 to 254.
        tracks: K of them; None for an object that no reference has shown so far.
        seen: The last frame in which all of them were seen, if any.
    """

    object_ids: tuple[int, ...]
    tracks: tuple[Track | None, ...]
    seen: Seen | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Candidate:
    """What may be one object, in one crop.

    Attributes:
        crop: The crop.
        logits: (H, W) final logits of the crop.
        shares: (h, w) the object's share of each cell.
        evidence: What speaks for them.
    """

    crop: Crop
    logits: torch.Tensor
    shares: torch.Tensor
    evidence: Evidence


@torch.inference_mode()
def follow(
    frame: Frame,
    tracks: Tracks,
    sam: SamModel,
    config: Memory,
    wanted: Container[int] | None = None,
    *,
    soft: bool = False,
) -> tuple[FrameMasks, Tracks]:
    """Find objects in the next frame.

    Args:
        frame: The frame.
        tracks: What is known after the frame before it.
        sam: The model.
        config: Settings.
        wanted: Ids of the objects to find, nothing changes for the others; None is all.
        soft: Whether the masks come with soft edges.

    Returns:
        The masks, and what is known now.
    """
    known = {
        row: track
        for row, track in enumerate(tracks.tracks)
        if track is not None and (wanted is None or tracks.object_ids[row] in wanted)
    }
    candidates = _segment_all(frame, known, sam, config)
    scores = np.zeros(len(tracks.tracks), dtype=np.float32)
    for row, candidate in candidates.items():
        is_lost = known[row].motion.num_frames_lost
        needed = config.return_likeness if is_lost else config.lose_likeness
        if candidate.evidence.likeness < needed:
            continue
        is_elsewhere = is_lost and not _overlaps(candidate, known[row])
        if is_elsewhere and _presence_of(candidate, known[row]) < config.return_presence:
            continue
        object_id, seen = tracks.object_ids[row], tracks.seen
        # A frame in which an object was not tracked says nothing of where it was.
        shows = is_elsewhere and config.relook and seen and (seen.labels == object_id).any()
        if shows and seen is not None:
            rejected = background_before(
                candidate.crop, candidate.shares, known[row], object_id, seen, sam
            )
            if rejected is not None:
                kept = (*known[row].rejected, rejected)[-MAX_REJECTED:]
                known[row] = replace(known[row], rejected=kept)
                continue
        score = expected_iou(candidate.evidence)
        area_px = int((candidate.logits > 0).sum())
        if score < _SLIVER_SCORE and area_px < _SLIVER_SHARE * known[row].motion.area_px:
            continue
        scores[row] = score
    claiming = np.flatnonzero(scores > 0).tolist()
    competes = config.contests and len(claiming) > 1
    claims = {
        row: _claim(tracks.object_ids[row], known[row], candidates[row], competes=competes)
        for row in claiming
    }
    settled = settle(claims.values(), frame.frame_hw, sam.device)
    masks = measure(settled.labels, tracks.object_ids, scores)
    if soft:
        masks = replace(masks, edges=soft_edges([*claims.values()], settled.labels))
    is_torn = [
        competes
        and row in claims
        and is_contested(claims[row].logits > 0, settled.contested[claims[row].slices])
        for row in range(len(scores))
    ]
    is_clear = not any(is_torn) and all(masks.present[row] for row in known)
    contested_of = [settled.contested.cpu().numpy() if torn else None for torn in is_torn]
    after = list(tracks.tracks)
    for row, track in known.items():
        after[row] = _update(
            track, candidates.get(row), masks, row, contested_of[row], config, is_clear=is_clear
        )
    has_all = all(masks.present[row] for row, track in enumerate(after) if track is not None)
    seen = Seen(frame, masks.labels) if has_all else tracks.seen
    return masks, Tracks(tracks.object_ids, tuple(after), seen)


def _overlaps(candidate: _Candidate, track: Track) -> bool:
    """Say whether what may be a lost object is where it was last seen: that needs less proof."""
    found, last = _box_in_frame(candidate), track.motion.box_xyxy
    return bool((found[:2] <= last[2:]).all() and (last[:2] <= found[2:]).all())


def _presence_of(candidate: _Candidate, track: Track) -> float:
    """Give the probability that what may be a lost object is it."""
    crop = candidate.crop
    found = resemblance(
        crop.cells @ track.axes,
        candidate.shares[crop.is_inside],
        track.references,
        track.seen_well,
        track.self_similarity,
    )
    return presence(found)


def _claim(object_id: int, track: Track, candidate: _Candidate, *, competes: bool) -> Claim:
    """Let an object bid for its pixels by its appearance, and against others by its motion."""
    logits = candidate.logits
    # Most of a window is not the object. Soft edges need to see what is just beside it.
    box_xyxy = box_of((logits > 0).cpu().numpy()).astype(np.int64)
    x0, y0, x1, y1 = grow_box_xyxy(box_xyxy, EDGE_REACH_PX, candidate.crop.letterbox.frame_hw)
    left, top, *_ = candidate.crop.window_xyxy
    logits = logits[y0 : y1 + 1, x0 : x1 + 1]
    slices = slice(top + y0, top + y1 + 1), slice(left + x0, left + x1 + 1)
    prior = log_occupancy(track.motion, slices, logits.device) if competes else None
    return Claim(object_id, slices, logits, prior)


def _segment_all(
    frame: Frame, tracks: dict[int, Track], sam: SamModel, config: Memory
) -> dict[int, _Candidate]:
    """Segment objects where they should be, and lost ones again in a closer crop.

    Those in sight come first, and their pixels are closed to the lost: whatever an object
    resembles, it is not another that is being followed.
    """
    windows = {row: expected_window(track, frame.frame_hw, config) for row, track in tracks.items()}
    lost = {row: track for row, track in tracks.items() if track.motion.num_frames_lost}
    in_sight = {row: track for row, track in tracks.items() if row not in lost}
    candidates = _segment(frame, in_sight, windows, None, sam, config)
    if not lost:
        return candidates
    taken = torch.zeros(frame.frame_hw, device=sam.device)
    for candidate in candidates.values():
        if config.contests and candidate.evidence.likeness >= config.lose_likeness:
            taken[candidate.crop.slices][candidate.logits > 0] = 1
    found_again = _segment(frame, lost, windows, taken, sam, config)
    closer = {}
    for row, candidate in found_again.items():
        if config.context is not None:
            box_xyxy = _box_in_frame(candidate)
            window = window_around(
                box_xyxy, frame.frame_hw, config.context, config.min_window_share
            )
            if side_px(window) * GROWTH_WHEN_LOST < side_px(windows[row]):
                closer[row] = window
    again = {row: lost[row] for row in closer}
    return candidates | found_again | _segment(frame, again, closer, taken, sam, config)


def _segment(
    frame: Frame,
    tracks: dict[int, Track],
    windows: dict[int, Window],
    taken: torch.Tensor | None,
    sam: SamModel,
    config: Memory,
) -> dict[int, _Candidate]:
    """Segment each object in its window; give nothing for those of which nothing is found."""
    if not tracks:
        return {}
    shared, indices = share_windows(
        [windows[row] for row in tracks], frame.frame_hw, config.max_windows
    )
    candidates = {}
    for number, crop in enumerate(encode_crops(frame, shared, sam)):
        rows = [row for row, index in zip(tracks, indices, strict=True) if index == number]
        in_crop = {row: tracks[row] for row in rows}
        candidates.update(_segment_crop(crop, in_crop, taken, sam, config))
    return candidates


def _segment_crop(
    crop: Crop,
    tracks: dict[int, Track],
    taken: torch.Tensor | None,
    sam: SamModel,
    config: Memory,
) -> dict[int, _Candidate]:
    """Segment objects in one crop, all with one call of the decoder.

    Where a pixel of the frame is 1 in ``taken``, none of them can be.
    """
    prompts: dict[int, CropPrompts] = {}
    memories: dict[int, Correspondence] = {}
    free_shares: torch.Tensor | float = 1.0
    if taken is not None:
        in_window = taken[crop.slices][None]
        free_shares = 1 - average_in_cells(in_window, crop.letterbox, crop.cells_hw)[0]
    for row, track in tracks.items():
        found = _correspond(crop, track)
        made = make_prompts(crop, crop.as_map(found.probabilities) * free_shares)
        if made is not None:
            prompts[row], memories[row] = made, found
    if not prompts:
        return {}
    classifiers = torch.stack([tracks[row].head.channels for row in prompts])[:, None]
    sam_low_res_of, channel_logits = decode_crop(crop, list(prompts.values()), classifiers, sam)
    rgb = low_res_rgb(crop)
    candidates = {}
    for number, row in enumerate(prompts):
        track = tracks[row]
        colours = track.colours if config.colours else None
        sam_low_res = sam_low_res_of[number]
        combined = Combined(sam_low_res, sam_low_res)
        if config.pixel_head:
            maps = head_maps(prompts[row], colours, rgb)
            by_head = track.head.logits(channel_logits[number, 0], maps)
            combined = combine(by_head, sam_low_res, maps[0] if config.vote else None)
        logits, sam_logits, remembered = low_res_to_frame(
            torch.stack([combined.logits, sam_low_res, combined.sam_logits]), crop.letterbox
        )
        if track.fine_head is not None:
            logits = apply_fine_head(track.fine_head, crop, logits, colours)
        if config.likely_parts:
            is_dropped = unlikely_parts(crop, logits, memories[row], track.motion)
            if is_dropped.any():
                logits = logits.masked_fill(is_dropped, _DROPPED)
                sam_logits = sam_logits.masked_fill(is_dropped, _DROPPED)
                remembered = remembered.masked_fill(is_dropped, _DROPPED)
        if logits.max() > 0:
            mask_shares = _mean_shares(crop, logits, remembered)
            found = memories[row]
            likeness = likeness_of(
                mask_shares[crop.is_inside], found.object_similarities, track.self_similarity
            )
            probabilities = crop.as_map(found.probabilities)
            evidence = compare_masks(likeness, logits, sam_logits, mask_shares, probabilities)
            candidates[row] = _Candidate(crop, logits, mask_shares, evidence)
    return candidates


def _correspond(crop: Crop, track: Track) -> Correspondence:
    """Compare a crop with what is remembered; of an object in sight, only where it may be."""
    motion = track.motion
    is_near = torch.ones(len(crop.cells), dtype=torch.bool, device=crop.cells.device)
    if not motion.num_frames_lost:
        expected_xyxy = torch.from_numpy(expected_box(motion)).to(crop.positions_xy)
        reach_px = _REACH_SHARE * motion.size_px + 2 * crop.cell_px
        reach_px += VELOCITY_ERROR * float(np.abs(motion.velocity_xy).max())
        is_right_below = crop.positions_xy >= expected_xyxy[:2] - reach_px
        is_left_above = crop.positions_xy <= expected_xyxy[2:] + reach_px
        is_near = (is_right_below & is_left_above).all(dim=1)
    probabilities, similarities = torch.zeros(2, len(crop.cells), device=crop.cells.device)
    near = is_near.nonzero()[:, 0]
    if len(near):
        found = correspond(
            crop.cells[near] @ track.axes,
            crop.positions_xy[near],
            (*track.references, *track.rejected),
            track.recent,
            _MOTION_SHARE * motion.size_px + 3 * crop.cell_px,
        )
        probabilities[near] = found.probabilities
        similarities[near] = found.object_similarities
    return Correspondence(probabilities, similarities)


def _mean_shares(crop: Crop, logits: torch.Tensor, sam_logits: torch.Tensor) -> torch.Tensor:
    """Give the object's (h, w) share of each cell, the mean of what two masks say.

    Where they disagree a remembered cell so speaks for neither side, and the error of one does not
    feed itself.
    """
    probabilities = (torch.sigmoid(logits) + torch.sigmoid(sam_logits)) / 2
    return average_in_cells(probabilities[None], crop.letterbox, crop.cells_hw)[0]


def _update(
    track: Track,
    candidate: _Candidate | None,
    masks: FrameMasks,
    row: int,
    contested: NDArray[np.bool_] | None,
    config: Memory,
    *,
    is_clear: bool,
) -> Track:
    """Remember what was seen; where nothing was, only that it was not.

    Args:
        track: The object before this frame.
        candidate: What was found of it.
        masks: What the frame's masks are.
        row: Which of them is the object's.
        contested: (H, W), which pixels several objects want; None where few of them are in its
            mask.
        config: Settings.
        is_clear: Whether all objects are in sight, and none is contested.
    """
    is_moving_on = contested is not None and track.motion.can_move_on
    if candidate is None or not (masks.present[row] or is_moving_on):
        return replace(track, motion=when_lost(track.motion))
    recent, seen_well = track.recent, track.seen_well
    if config.num_recent and not _is_poor_beside_another(masks, row):
        # What another object won is not this one's, whatever its logits said.
        labels = masks.labels[candidate.crop.slices]
        is_free = (labels == 0) | (labels == masks.object_ids[row])
        crop = candidate.crop
        mask_shares = candidate.shares * window_shares(crop, is_free, crop.cells_hw)
        if contested is not None:
            of_both = shares(crop, contested, crop.cells_hw)
            mask_shares = mask_shares + (_UNDECIDED - mask_shares) * of_both
        newest = remember(crop, mask_shares, track.axes)
        recent = (*recent, newest)[-config.num_recent :]
        if contested is None and candidate.evidence.likeness >= _SEEN_WELL:
            seen_well = newest
    if is_moving_on:
        return replace(track, recent=recent, motion=when_contested(track.motion))
    box_xyxy = masks.boxes_xyxy[row].astype(np.float64)
    if track.is_one_piece:
        x0, y0, x1, y1 = masks.boxes_xyxy[row].tolist()
        mask = masks.labels[y0 : y1 + 1, x0 : x1 + 1] == masks.object_ids[row]
        box_xyxy = box_of(large_parts(mask)) + np.array([x0, y0, x0, y0])
    motion = when_seen(
        track.motion,
        box_xyxy,
        float(masks.areas_px[row]),
        is_contested=contested is not None,
        is_clear=is_clear,
    )
    return replace(track, recent=recent, seen_well=seen_well, rejected=(), motion=motion)


def _is_poor_beside_another(masks: FrameMasks, row: int) -> bool:
    """Say whether an object's mask is poor and beside another object's.

    Much of it is then of the other object, which hides this one. With that in memory, this object
    would not be recognised when it comes out again. A poor mask with nothing beside it is kept in
    memory: there, the object has changed its shape.
    """
    if not masks.present[row] or masks.scores[row] >= _POOR_SCORE:
        return False
    boxes_xyxy, box_xyxy = masks.boxes_xyxy, masks.boxes_xyxy[row]
    is_beside = (boxes_xyxy[:, :2] <= box_xyxy[2:] + 1) & (box_xyxy[:2] <= boxes_xyxy[:, 2:] + 1)
    is_other = masks.present & (np.arange(len(masks.present)) != row)
    return bool((is_beside.all(axis=1) & is_other).any())


def _box_in_frame(candidate: _Candidate) -> NDArray[np.float64]:
    """Give the (4,) box of what was found, frame pixels."""
    corner_xy = candidate.crop.window_xyxy[:2]
    box_xyxy: NDArray[np.float64] = box_of((candidate.logits > 0).cpu().numpy())
    box_xyxy += np.tile(corner_xy, 2)
    return box_xyxy
