"""Where an object should be, how large, and what is settled only later."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vos.track.masks import Claim, is_contested, settle
from vos.track.memory.crops import window_around
from vos.track.memory.motion import (
    Motion,
    expected_box,
    log_occupancy,
    motion_at_rest,
    when_contested,
    when_lost,
    when_seen,
)

AREA_PX = 400.0
MAX_AREA_CHANGE = {True: 0.08, False: 0.01}  # where all is clear, and where it is not
NOT_SEEN = -torch.inf
EVERYWHERE = (slice(None), slice(None))
SPEEDS = st.floats(-200, 200)


def box(x0, y0, x1, y1):
    return np.array([x0, y0, x1, y1], dtype=np.float64)


def moving(**changes):
    motion = Motion(box(10, 10, 29, 29), np.array([4.0, -2.0]), AREA_PX, has_velocity=True)
    return replace(motion, **changes)


def test_motion_starts_at_the_mask_and_at_rest():
    mask = np.zeros((40, 60), dtype=bool)
    mask[5:15, 20:50] = True
    motion = motion_at_rest(mask)
    assert motion.box_xyxy.tolist() == [20, 5, 49, 14]
    assert motion.velocity_xy.tolist() == [0, 0]
    assert (motion.area_px, motion.size_px) == (300, 30)
    assert expected_box(motion).tolist() == [20, 5, 49, 14]


def test_an_object_is_expected_where_it_was_and_where_it_is_going():
    assert expected_box(moving()).tolist() == [10, 8, 33, 29]


def test_a_lost_object_is_expected_where_it_was_last_seen():
    motion = when_lost(moving(num_frames_contested=3))
    assert expected_box(motion).tolist() == [10, 10, 29, 29]
    assert (motion.num_frames_lost, motion.num_frames_contested) == (1, 0)


def test_velocity_follows_steady_movement():
    motion = moving(velocity_xy=np.zeros(2))
    for _ in range(12):
        here = motion.box_xyxy + np.array([3, 5, 3, 5])
        motion = when_seen(motion, here, AREA_PX, is_contested=False, is_clear=True)
    assert motion.velocity_xy == pytest.approx([3, 5], abs=0.01)


def test_an_object_that_is_found_again_starts_at_rest():
    motion = when_seen(
        moving(num_frames_lost=9), box(90, 90, 99, 99), AREA_PX, is_contested=False, is_clear=True
    )
    assert motion.velocity_xy.tolist() == [0, 0]
    assert motion.num_frames_lost == 0


@given(st.floats(1, 1e7), st.booleans())
def test_the_expected_area_changes_slowly(area_px, is_clear):
    here = box(10, 10, 29, 29)
    motion = when_seen(moving(), here, area_px, is_contested=False, is_clear=is_clear)
    change = np.log(motion.area_px / AREA_PX)
    assert abs(change) <= MAX_AREA_CHANGE[is_clear] * 1.001
    if abs(np.log(area_px / AREA_PX)) > 1:
        assert abs(change) >= MAX_AREA_CHANGE[is_clear] * 0.999
    assert np.sign(change) == np.sign(np.log(area_px / AREA_PX)) or change == 0


def test_the_expected_area_reaches_a_new_one():
    motion = moving()
    for _ in range(400):
        motion = when_seen(
            motion, box(10, 10, 29, 29), 2 * AREA_PX, is_contested=False, is_clear=True
        )
    assert motion.area_px == pytest.approx(2 * AREA_PX, rel=0.01)


def test_a_contested_object_keeps_its_way_but_not_for_ever():
    motion = moving()
    num_moves = 0
    while motion.can_move_on:
        motion = when_contested(motion)
        num_moves += 1
    assert num_moves == 12
    assert motion.box_xyxy == pytest.approx(box(10, 10, 29, 29) + 12 * np.tile([4, -2], 2))
    assert motion.area_px == AREA_PX
    seen = when_seen(motion, motion.box_xyxy, AREA_PX, is_contested=True, is_clear=False)
    assert not seen.can_move_on
    seen = when_seen(motion, motion.box_xyxy, AREA_PX, is_contested=False, is_clear=True)
    assert seen.can_move_on


def test_an_object_moves_on_only_once_its_velocity_is_known():
    here = box(10, 10, 29, 29)
    motion = when_lost(moving())
    assert not motion.can_move_on
    for contested, expected in ((False, False), (True, False), (False, True), (True, True)):
        motion = when_seen(motion, here, AREA_PX, is_contested=contested, is_clear=True)
        assert motion.can_move_on is expected


@given(SPEEDS, SPEEDS, st.integers(1, 300), st.integers(1, 300), st.floats(1, 4))
def test_an_object_that_moved_out_of_the_frame_still_has_a_window(right, down, height, width, grow):
    motion = moving(box_xyxy=box(0, 0, width - 1, height - 1), velocity_xy=np.array([right, down]))
    while motion.can_move_on:
        motion = when_contested(motion)
    x0, y0, x1, y1 = window_around(expected_box(motion), (height, width), grow, 0.1)
    assert 0 <= x0 < x1 <= width
    assert 0 <= y0 < y1 <= height


@given(SPEEDS, SPEEDS, st.integers(0, 2), st.integers(1, 40), st.integers(1, 40))
def test_an_object_is_expected_to_cover_as_much_wherever_it_goes(
    right, down, num_lost, width, height
):
    motion = moving(
        box_xyxy=box(300, 200, 299 + width, 199 + height),
        velocity_xy=np.array([right, down]) / 20,
        num_frames_lost=num_lost,
    )
    logs = log_occupancy(motion, (slice(0, 400), slice(0, 600)), "cpu")
    assert logs.max() <= 0
    covered_px = np.pi / 2 * np.hypot(width / 2, 2) * np.hypot(height / 2, 2)
    assert 0.8 < logs.exp().sum() / covered_px < 1.02  # a little of it is outside of the frame
    row, column = divmod(int(logs.argmax()), 600)
    at_xy = motion.centre_xy + (0 if num_lost else motion.velocity_xy)
    assert np.abs(np.array([column, row]) - at_xy).max() <= 0.51


def test_the_longer_an_object_is_lost_the_less_is_known_of_its_position():
    window = slice(0, 60), slice(0, 60)
    seen, lost, long_lost = (
        log_occupancy(moving(num_frames_lost=n, velocity_xy=np.zeros(2)), window, "cpu")
        for n in (0, 2, 6)
    )
    at_centre = np.s_[20, 20]
    assert seen[at_centre] > lost[at_centre] > long_lost[at_centre]
    assert seen[59, 59] < lost[59, 59] < long_lost[59, 59]


def test_two_that_pass_are_told_apart_by_where_they_are_going():
    """Each wants all of both; the boxes of the last frame would say the opposite."""
    window = slice(0, 40), slice(0, 100)
    there = moving(box_xyxy=box(30, 10, 49, 29), velocity_xy=np.array([15.0, 0]))
    back = moving(box_xyxy=box(40, 10, 59, 29), velocity_xy=np.array([-15.0, 0]))
    all_of_both = torch.full((40, 100), -5.0)
    all_of_both[10:30, 25:65] = 5.0
    claims = [
        Claim(number, window, all_of_both, log_occupancy(motion, window, "cpu"))
        for number, motion in enumerate((there, back), start=1)
    ]
    settled = settle(claims, (40, 100), "cpu")
    assert (settled.labels[10:30, 46:65] == 1).all()
    assert (settled.labels[10:30, 25:44] == 2).all()
    # The logits of one have to be stronger by this much for its centre to change hands.
    first, second = (claim.log_prior for claim in claims)
    assert first[20, 54] - second[20, 54] > 3
    assert second[20, 35] - first[20, 35] > 3


def claims_of(logits):
    return [Claim(number, EVERYWHERE, own) for number, own in enumerate(logits, start=1)]


def test_a_pixel_is_contested_where_two_claim_it_however_strongly():
    logits = torch.tensor(
        [
            [[5.0, 5.0, 5.0, -1.0, 5.0]],
            [[4.0, 0.1, -1.0, -1.5, NOT_SEEN]],
            [[NOT_SEEN, 0.5, NOT_SEEN, -9.0, 3.5]],
        ]
    )
    settled = settle(claims_of(logits), (1, 5), "cpu")
    assert settled.contested[0].tolist() == [True, True, False, False, True]
    assert settled.labels[0].tolist() == [1, 1, 1, 0, 1]


def test_of_two_that_want_a_pixel_it_is_whose_is_likelier_to_be_there():
    log_priors = torch.tensor([[[0.0, 0, -50, 0]], [[2.0, 0, 0, 50]]])
    logits = torch.tensor([[[5.0, 5, 5, 5]], [[4.0, 4, -1, NOT_SEEN]]])
    claims = [Claim(n + 1, EVERYWHERE, logits[n], log_priors[n]) for n in range(2)]
    settled = settle(claims, (1, 4), "cpu")
    # What nobody else wants is an object's however unlikely, and what it does not want never is.
    assert settled.labels[0].tolist() == [2, 1, 1, 1]


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.booleans())
def test_claims_are_settled_as_if_all_had_been_there_at_once(seed, num_objects, has_priors):
    rng = np.random.default_rng(seed)
    frame_hw = (6, 7)
    logits = np.full((num_objects, *frame_hw), NOT_SEEN)
    log_priors = rng.integers(-4, 9, logits.shape) / 2 * has_priors
    claims = []
    for row, own in enumerate(logits):
        (y0, y1), (x0, x1) = (sorted(rng.choice(size + 1, 2, replace=False)) for size in frame_hw)
        own[y0:y1, x0:x1] = rng.integers(-4, 9, (y1 - y0, x1 - x0)) / 2
        slices = slice(int(y0), int(y1)), slice(int(x0), int(x1))
        prior = torch.from_numpy(log_priors[row][slices]) if has_priors else None
        claims.append(Claim(10 * (row + 1), slices, torch.from_numpy(own[slices]), prior))
    settled = settle(claims, frame_hw, "cpu")
    bids = np.where(logits > 0, logits + log_priors, NOT_SEEN)
    winners = np.where((logits > 0).any(axis=0), 10 * (bids.argmax(axis=0) + 1), 0)
    assert settled.labels.tolist() == winners.tolist()
    assert settled.contested.tolist() == ((logits > 0).sum(axis=0) > 1).tolist()


@pytest.mark.parametrize("logit", [5.0, NOT_SEEN])
def test_one_object_alone_has_nothing_to_contest(logit):
    assert not settle(claims_of(torch.full((1, 3, 4), logit)), (3, 4), "cpu").contested.any()


def test_where_nobody_claims_anything_there_is_background():
    for claims in ([], claims_of(torch.full((3, 3, 4), NOT_SEEN))):
        settled = settle(claims, (3, 4), "cpu")
        assert not settled.contested.any()
        assert not settled.labels.any()


@pytest.mark.parametrize(("num_contested", "expected"), [(0, False), (3, False), (4, True)])
def test_an_object_is_contested_by_the_share_of_its_own_mask(num_contested, expected):
    claimed, contested = torch.zeros(2, 5, 10, dtype=torch.bool)
    claimed[0] = True
    contested[0, :num_contested] = True
    contested[2:] = True  # elsewhere
    assert is_contested(claimed, contested) is expected
