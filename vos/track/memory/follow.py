"""One frame's masks by memory: look where the object should be, compare, segment, judge."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from vos.config import MemoryConfig
from vos.records import Frame, FrameMasks
from vos.sam.geometry import average_in_cells, low_res_to_frame
from vos.sam.model import SamModel
from vos.track.masks import Claim, is_contested, settle
from vos.track.memory.correspond import Correspondence, correspond, remember
from vos.track.memory.evidence import Prompted, decode, evidence_maps, low_res_rgb, prompt
from vos.track.memory.fine import refine
from vos.track.memory.look import Look, Window, look, share_windows, side_px, window_around
from vos.track.memory.motion import (
    GROWTH_WHEN_LOST,
    VELOCITY_ERROR,
    box_of,
    expected_box,
    log_density,
    when_contested,
    when_lost,
    when_seen,
)
from vos.track.memory.parts import large_parts, unlikely_parts
from vos.track.memory.tracks import Track, expected_window, shares, window_shares
from vos.track.memory.trust import Evidence, expected_iou, gather, likeness_of
from vos.track.published.segment import frame_masks

_MOTION_SHARE: Final = 0.35  # of the object's size: how far its parts may move between frames
_REACH_SHARE: Final = 0.25  # of the object's size: how far beyond its expected box it may be
_UNDECIDED: Final = 0.5  # what is remembered of a cell that two objects want
_DROPPED: Final = -6.0  # the logit of parts that are not the object's


@dataclass(frozen=True, slots=True, eq=False)
class Tracks:
    """All objects of a video.

    Attributes:
        object_ids: (K,) ascending, 1 to 254.
        tracks: K of them; None for an object that no reference has shown so far.
    """

    object_ids: tuple[int, ...]
    tracks: tuple[Track | None, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Finding:
    """What a look shows of one object.

    Attributes:
        look: The look.
        logits: Final logits of the window's pixels.
        shares: (h, w) the object's share of each cell.
        evidence: What speaks for them.
    """

    look: Look
    logits: torch.Tensor
    shares: torch.Tensor
    evidence: Evidence


@torch.inference_mode()
def follow(
    frame: Frame, tracks: Tracks, sam: SamModel, config: MemoryConfig
) -> tuple[FrameMasks, Tracks]:
    """Find every object in the next frame.

    Args:
        frame: The frame.
        tracks: What is known after the frame before it.
        sam: The model.
        config: Settings.

    Returns:
        The masks, and what is known now.
    """
    known = {row: track for row, track in enumerate(tracks.tracks) if track is not None}
    findings = _find_all(frame, known, sam, config)
    scores = np.zeros(len(tracks.tracks), dtype=np.float32)
    for row, finding in findings.items():
        is_lost = known[row].motion.num_frames_lost
        needed = config.return_likeness if is_lost else config.lose_likeness
        if finding.evidence.likeness >= needed:
            scores[row] = expected_iou(finding.evidence)
    claims = [
        _claim(object_id, known[row], findings[row], config)
        for row, object_id in enumerate(tracks.object_ids)
        if scores[row] > 0
    ]
    settled = settle(claims, frame.frame_hw, sam.device)
    masks = frame_masks(settled.labels, tracks.object_ids, scores)
    is_torn = [
        config.contests
        and scores[row] > 0
        and is_contested(findings[row].logits > 0, settled.contested[findings[row].look.slices])
        for row in range(len(scores))
    ]
    is_clear = not any(is_torn) and all(masks.present[row] for row in known)
    contested_of = [settled.contested.cpu().numpy() if torn else None for torn in is_torn]
    after = [
        track
        and _update(
            track, findings.get(row), masks, row, contested_of[row], config, is_clear=is_clear
        )
        for row, track in enumerate(tracks.tracks)
    ]
    return masks, Tracks(tracks.object_ids, tuple(after))


def _claim(object_id: int, track: Track, finding: _Finding, config: MemoryConfig) -> Claim:
    """Let an object bid for its pixels by what it looks like, and by where it should be."""
    slices, logits = finding.look.slices, finding.logits
    prior = log_density(track.motion, slices, logits.device) if config.contests else None
    return Claim(object_id, slices, logits, prior)


def _find_all(
    frame: Frame, tracks: dict[int, Track], sam: SamModel, config: MemoryConfig
) -> dict[int, _Finding]:
    """Look where the objects should be; look closer where one may be that was lost.

    Those in sight come first, and what they hold is closed to the lost: whatever an object
    resembles, it is not another that is being followed.
    """
    windows = {row: expected_window(track, frame.frame_hw, config) for row, track in tracks.items()}
    lost = {row: track for row, track in tracks.items() if track.motion.num_frames_lost}
    in_sight = {row: track for row, track in tracks.items() if row not in lost}
    taken = torch.zeros(frame.frame_hw, device=sam.device)
    findings = _find(frame, in_sight, windows, taken, sam, config)
    for finding in findings.values():
        if config.contests and finding.evidence.likeness >= config.lose_likeness:
            taken[finding.look.slices][finding.logits > 0] = 1
    found_again = _find(frame, lost, windows, taken, sam, config)
    closer = {}
    for row, finding in found_again.items():
        if config.context is not None:
            box_xyxy = _box_in_frame(finding)
            window = window_around(
                box_xyxy, frame.frame_hw, config.context, config.min_window_share
            )
            if side_px(window) * GROWTH_WHEN_LOST < side_px(windows[row]):
                closer[row] = window
    again = {row: lost[row] for row in closer}
    return findings | found_again | _find(frame, again, closer, taken, sam, config)


def _find(
    frame: Frame,
    tracks: dict[int, Track],
    windows: dict[int, Window],
    taken: torch.Tensor,
    sam: SamModel,
    config: MemoryConfig,
) -> dict[int, _Finding]:
    """Look through each object's window; give nothing for those of which nothing is seen."""
    if not tracks:
        return {}
    own_windows = [windows[row] for row in tracks]
    shared, places = share_windows(own_windows, frame.frame_hw, config.max_looks)
    findings = {}
    for place, seen in enumerate(look(frame, shared, sam)):
        rows = [row for row, own in zip(tracks, places, strict=True) if own == place]
        findings.update(_find_in(seen, {row: tracks[row] for row in rows}, taken, sam, config))
    return findings


def _find_in(
    seen: Look,
    tracks: dict[int, Track],
    taken: torch.Tensor,
    sam: SamModel,
    config: MemoryConfig,
) -> dict[int, _Finding]:
    """Find objects in one look, all with one call of the decoder."""
    prompts: dict[int, Prompted] = {}
    memories: dict[int, Correspondence] = {}
    own_taken = average_in_cells(taken[seen.slices][None], seen.letterbox, seen.cells_hw)[0]
    for row, track in tracks.items():
        found = _correspond(seen, track)
        prompted = prompt(seen, seen.as_map(found.probabilities) * (1 - own_taken))
        if prompted is not None:
            prompts[row], memories[row] = prompted, found
    if not prompts:
        return {}
    classifiers = torch.stack([tracks[row].head.channels for row in prompts])[:, None]
    own_logits_of, channel_logits = decode(seen, list(prompts.values()), classifiers, sam)
    rgb = low_res_rgb(seen)
    findings = {}
    for place, (row, prompted) in enumerate(prompts.items()):
        track = tracks[row]
        colours = track.colours if config.colours else None
        own_low_res = low_res = own_logits_of[place]
        if config.pixel_head:
            maps = evidence_maps(prompted, colours, rgb)
            low_res = track.head.logits(channel_logits[place, 0], maps, own_low_res)
        logits, own_logits = low_res_to_frame(torch.stack([low_res, own_low_res]), seen.letterbox)
        if track.fine is not None:
            logits = refine(track.fine, seen, logits, colours)
        if config.likely_parts:
            is_dropped = unlikely_parts(seen, logits, memories[row], track.motion)
            if is_dropped.any():
                logits = logits.masked_fill(is_dropped, _DROPPED)
                own_logits = own_logits.masked_fill(is_dropped, _DROPPED)
        if logits.max() > 0:
            own_shares = _shares(seen, logits, own_logits)
            found = memories[row]
            likeness = likeness_of(
                own_shares[seen.is_inside], found.own_similarities, track.own_similarity
            )
            probabilities = seen.as_map(found.probabilities)
            evidence = gather(likeness, logits, own_logits, own_shares, probabilities)
            findings[row] = _Finding(seen, logits, own_shares, evidence)
    return findings


def _correspond(seen: Look, track: Track) -> Correspondence:
    """Compare a look with what is remembered; of an object in sight, only where it may be."""
    motion = track.motion
    is_near = torch.ones(len(seen.cells), dtype=torch.bool, device=seen.cells.device)
    if not motion.num_frames_lost:
        expected_xyxy = torch.from_numpy(expected_box(motion)).to(seen.places_xy)
        reach_px = _REACH_SHARE * motion.size_px + 2 * seen.cell_px
        reach_px += VELOCITY_ERROR * float(np.abs(motion.velocity_xy).max())
        is_right_below = seen.places_xy >= expected_xyxy[:2] - reach_px
        is_left_above = seen.places_xy <= expected_xyxy[2:] + reach_px
        is_near = (is_right_below & is_left_above).all(dim=1)
    probabilities, similarities = torch.zeros(2, len(seen.cells), device=seen.cells.device)
    near = is_near.nonzero()[:, 0]
    if len(near):
        found = correspond(
            seen.cells[near] @ track.axes,
            seen.places_xy[near],
            track.references,
            track.recent,
            _MOTION_SHARE * motion.size_px + 3 * seen.cell_px,
        )
        probabilities[near] = found.probabilities
        similarities[near] = found.own_similarities
    return Correspondence(probabilities, similarities)


def _shares(seen: Look, logits: torch.Tensor, own_logits: torch.Tensor) -> torch.Tensor:
    """Give the object's (h, w) share of each cell, the mean of what two masks say.

    Where they disagree a remembered cell so speaks for neither side, and the error of one does not
    feed itself.
    """
    probabilities = (torch.sigmoid(logits) + torch.sigmoid(own_logits)) / 2
    return average_in_cells(probabilities[None], seen.letterbox, seen.cells_hw)[0]


def _update(
    track: Track,
    finding: _Finding | None,
    masks: FrameMasks,
    row: int,
    contested: NDArray[np.bool_] | None,
    config: MemoryConfig,
    *,
    is_clear: bool,
) -> Track:
    """Remember what was seen; where nothing was, only that it was not.

    Args:
        track: The object before this frame.
        finding: What was found of it.
        masks: What the frame's masks are.
        row: Which of them is the object's.
        contested: (H, W), which pixels several objects want; None where few of them are its own.
        config: Settings.
        is_clear: Whether all objects are in sight, and none is contested.
    """
    is_moving_on = contested is not None and track.motion.can_move_on
    if finding is None or not (masks.present[row] or is_moving_on):
        return replace(track, motion=when_lost(track.motion))
    recent = track.recent
    if config.num_recent:
        # What another object won is not this one's, whatever its own mask said.
        labels = masks.labels[finding.look.slices]
        is_free = (labels == 0) | (labels == masks.object_ids[row])
        own_shares = finding.shares * window_shares(finding.look, is_free, finding.look.cells_hw)
        if contested is not None:
            of_both = shares(finding.look, contested, finding.look.cells_hw)
            own_shares = own_shares + (_UNDECIDED - own_shares) * of_both
        newest = remember(finding.look, own_shares, track.axes)
        recent = (*recent, newest)[-config.num_recent :]
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
    return replace(track, recent=recent, motion=motion)


def _box_in_frame(finding: _Finding) -> NDArray[np.float64]:
    """Give the (4,) box of what was found, frame pixels."""
    corner_xy = finding.look.window_xyxy[:2]
    box_xyxy: NDArray[np.float64] = box_of((finding.logits > 0).cpu().numpy())
    box_xyxy += np.tile(corner_xy, 2)
    return box_xyxy
