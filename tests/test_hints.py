"""Masks from boxes and clicks: near, small and several objects, corrections, scores, mistakes."""

import json
import subprocess
import sys
from dataclasses import asdict, replace

import cv2
import numpy as np
import pytest
import torch
from colour_sam import PALETTE, ColourSam
from hypothesis import given
from hypothesis import strategies as st

import vos
from vos.errors import InputError, MaskError
from vos.hint import Click, Hint, Target, parse_box, parse_click
from vos.masks import mask_box_xyxy
from vos.records import Frame
from vos.track.candidates import Candidate, Wanted
from vos.track.hint_parts import Evidence
from vos.track.hints import HintSession, mask_from_hints, reference_from_hints
from vos.track.memory.crops import encode_crops


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return np.count_nonzero(one & other) / np.count_nonzero(one | other)


@pytest.fixture(scope="module")
def colour_sam() -> vos.SamModel:
    return vos.SamModel(ColourSam())


@pytest.fixture(scope="module")
def frame() -> Frame:
    """A red and a green rectangle on black."""
    rgb = np.zeros((100, 160, 3), dtype=np.uint8)
    rgb[20:60, 20:60] = PALETTE[1]
    rgb[40:90, 100:140] = PALETTE[2]
    return Frame(0, 0.0, "00000", rgb)


@pytest.fixture(scope="module")
def beach() -> tuple[np.ndarray, np.ndarray]:
    """A small ball before a figure on a ground that is not flat, and the ball's mask."""
    y, x = np.mgrid[:720, :1280]
    rgb = np.stack([140 + y // 12, 150 + x // 40, 120 + y // 20], axis=-1).astype(np.uint8)
    rgb[200:620, 560:720] = (40, 50, 110)
    ball = (x - 640) ** 2 + (y - 380) ** 2 < 30**2
    rgb[ball] = (240, 220, 60)
    return rgb, ball


class CountingSam(vos.SamModel):
    num_calls = 0

    def decode(self, *args, **options):
        self.num_calls += 1
        return super().decode(*args, **options)


def test_what_was_segmented_before_is_not_segmented_again(frame):
    sam = CountingSam(ColourSam())
    session = HintSession(frame, sam)
    one, other = Hint((Click(40, 40),)), Hint((), ((95, 35, 145, 95),))
    session.reference({1: one})
    session.reference({2: other})
    num_calls = sam.num_calls
    both, _ = session.reference({1: one, 2: other})
    assert sam.num_calls == num_calls
    np.testing.assert_array_equal(both, reference_from_hints(frame, {1: one, 2: other}, sam)[0])


@pytest.mark.parametrize(
    ("hint", "num_calls"),
    [(Hint((Click(40, 40),)), 3), (Hint(boxes_xyxy=((18, 18, 62, 62),)), 4)],
    ids=["click", "box"],
)
def test_a_first_hint_takes_few_calls_of_the_decoder(frame, hint, num_calls):
    sam = CountingSam(ColourSam())
    HintSession(frame, sam).segment(hint)
    assert sam.num_calls == num_calls


@pytest.mark.parametrize("is_positive", [True, False])
def test_a_further_click_takes_one_call_or_two(frame, is_positive):
    sam = CountingSam(ColourSam())
    session = HintSession(frame, sam)
    first = Click(40, 40)
    session.segment(Hint((first,)))
    num_calls = sam.num_calls
    further = Click(46, 44) if is_positive else Click(66, 40, is_positive=False)
    session.segment(Hint((first, further)))
    assert 1 <= sam.num_calls - num_calls <= 2


class BoxlessSam(vos.SamModel):
    """Finds nothing in boxes."""

    num_boxes = 0

    def decode(self, features, prompts, *args, **options):
        decoded = super().decode(features, prompts, *args, **options)
        if prompts.boxes_xyxy is None:
            return decoded
        self.num_boxes += 1
        return replace(decoded, low_res_logits=torch.full_like(decoded.low_res_logits, -8.0))


def test_a_mask_is_kept_where_a_closer_crop_shows_nothing():
    rgb = np.zeros((100, 160, 3), dtype=np.uint8)
    rgb[44:56, 74:86] = PALETTE[1]
    sam = BoxlessSam(ColourSam())
    mask, _ = mask_from_hints(rgb, [Click(80, 50)], [], sam)
    assert sam.num_boxes == 1
    assert iou(mask, rgb.any(axis=2)) > 0.6


def test_an_outline_is_near_the_mask(frame):
    session = HintSession(frame, vos.SamModel(ColourSam()))
    outline = session.outline(Hint((Click(40, 40),))) > 0
    ys, xs = np.nonzero(outline)
    scale = 160 / outline.shape[1]
    corners = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]) * scale
    np.testing.assert_allclose(corners, [20, 20, 60, 60], atol=3)


# --- one and several objects


def test_a_click_and_a_box_make_a_reference(frame, colour_sam):
    hints = {3: Hint((Click(40, 40),)), 7: Hint(boxes_xyxy=((98, 38, 142, 92),))}
    labels, scores = reference_from_hints(frame, hints, colour_sam)
    assert labels.dtype == np.uint8
    assert set(np.unique(labels)) == {0, 3, 7}
    assert np.abs(mask_box_xyxy(labels == 3) - [20, 20, 59, 59]).max() <= 2
    assert np.abs(mask_box_xyxy(labels == 7) - [100, 40, 139, 89]).max() <= 2
    assert scores.keys() == {3, 7}
    assert all(0 < score < 1 for score in scores.values())


def test_one_object_is_as_in_a_reference(frame, colour_sam):
    boxes = [(98, 38, 142, 92)]
    mask, score = mask_from_hints(frame.rgb, [Click(120, 60)], boxes, colour_sam)
    hint = Hint((Click(120, 60),), tuple(boxes))
    labels, scores = reference_from_hints(frame, {9: hint}, colour_sam)
    assert mask.dtype == np.bool_
    np.testing.assert_array_equal(mask, labels == 9)
    assert score == scores[9]


def test_a_small_object_is_looked_at_closely(beach, nano):
    """In the whole frame, the ball has the size of three cells."""
    rgb, ball = beach
    by_click, click_score = mask_from_hints(rgb, [Click(640, 380)], [], nano)
    by_box, box_score = mask_from_hints(rgb, [], [(611, 351, 669, 409)], nano)
    assert iou(by_click, ball) > 0.9
    assert iou(by_box, ball) > 0.9
    assert click_score > 0.7
    assert box_score > 0.7


def test_a_mask_stays_within_its_box(beach, nano):
    """Even if the object goes on beyond."""
    mask, _ = mask_from_hints(beach[0], [], [(560, 200, 719, 400)], nano)
    x0, y0, x1, y1 = mask_box_xyxy(mask)
    assert min(x0 - 560, y0 - 200, 719 - x1, 400 - y1) >= -0.03 * 201


def test_boxes_and_clicks_of_one_object_add_up(frame, colour_sam):
    red, green = (18, 18, 62, 62), (98, 38, 142, 92)
    both, score = mask_from_hints(frame, [], [red, green], colour_sam)
    by_click, _ = mask_from_hints(frame, [Click(120, 60)], [red], colour_sam)
    truth = frame.rgb.any(axis=2)
    assert iou(both, truth) > 0.9
    assert iou(by_click, truth) > 0.9
    scores = [mask_from_hints(frame, [], [box], colour_sam)[1] for box in (red, green)]
    assert min(scores) <= score <= max(scores)


def test_objects_compete_for_pixels(beach, nano):
    """A figure, and the ball before it: no pixel is both's, the ball is not the figure's."""
    rgb, ball = beach
    hints = {1: Hint(boxes_xyxy=((560, 200, 719, 619),)), 2: Hint((Click(640, 380),))}
    labels, _ = reference_from_hints(rgb, hints, nano)
    assert iou(labels == 2, ball) > 0.9
    assert np.count_nonzero(labels == 1) > np.count_nonzero(ball)


def test_two_hints_at_one_object(frame, colour_sam):
    same = {1: Hint((Click(40, 40),)), 2: Hint((Click(41, 41),))}
    with pytest.raises(MaskError, match=r"hints of \[2\] are those of other objects; add clicks"):
        reference_from_hints(frame, same, colour_sam)


# --- sessions and corrections


def test_a_hint_does_not_depend_on_those_before_it(beach, nano):
    session = HintSession(beach[0], nano)
    session.segment(Hint((Click(640, 380),)))
    hint = Hint((Click(640, 380), Click(640, 500, is_positive=False)))
    labels, scores = session.reference({1: hint})
    alone, own_scores = reference_from_hints(beach[0], {1: hint}, nano)
    np.testing.assert_array_equal(labels, alone)
    assert scores == own_scores


@pytest.mark.parametrize("is_positive", [True, False])
def test_a_further_click_that_agrees_takes_nothing_away(beach, nano, is_positive):
    rgb, ball = beach
    further = Click(648, 372) if is_positive else Click(640, 600, is_positive=False)
    mask, _ = mask_from_hints(rgb, [Click(640, 380), further], [], nano)
    assert iou(mask, ball) > 0.85


def candidate(frame: Frame, sam: vos.SamModel, mask: np.ndarray, **fields) -> Candidate:
    """A mask of the whole frame, decoder pixel by decoder pixel."""
    height, width = mask.shape
    (crop,) = encode_crops(frame, [(0, 0, width, height)], sam)
    side = 256
    rows, columns = (np.arange(side) * width // side,) * 2
    low_res = np.full((side, side), -8.0, dtype=np.float32)
    inside = rows < height
    low_res[inside] = np.where(mask[rows[inside]][:, columns], 8.0, -8.0)
    return Candidate(crop, torch.from_numpy(low_res), **{"predicted_iou": 0.9, **fields})


@pytest.mark.parametrize("is_added", [True, False])
def test_one_click_patches_a_part_of_a_mask_and_no_more(frame, colour_sam, is_added):
    shape = frame.frame_hw
    mask, small, large = np.zeros((3, *shape), bool)
    mask[20:60, 20:60] = True
    small[30:40, 50:70] = True
    large[10:110, 10:150] = True
    before, by_small, by_large = (
        candidate(frame, colour_sam, each) for each in (mask, small, large)
    )
    patched = before.patched(by_small, 0.5, is_added=is_added)
    click = Click(65, 35) if is_added else Click(55, 35, is_positive=False)
    assert patched.heeds(click)
    assert not before.heeds(click)
    assert patched.heeds(Click(30, 50))
    assert before.patched(by_large, 0.5, is_added=is_added) is before


def test_clicks_choose_between_masks(frame, colour_sam):
    """The deeper a click is on the wrong side, the more it speaks against a mask."""
    small, large = np.zeros((2, 100, 160), dtype=np.bool_)
    small[40:60, 40:60] = large[20:80, 20:100] = True
    inner, outer = (candidate(frame, colour_sam, mask) for mask in (small, large))
    positive = (Click(50, 50),)

    def ratio(*further: Click) -> float:
        wanted = Wanted((100, 160), positive + further)
        return inner.merit(wanted) / outer.merit(wanted)

    assert ratio() == pytest.approx(1)
    deep, shallow = ratio(Click(80, 50, False)), ratio(Click(97, 50, False))
    assert deep > shallow > 1
    assert ratio(Click(80, 50)) < ratio(Click(63, 50)) < 1
    assert ratio(Click(150, 50, False)) == pytest.approx(1)


def test_a_click_means_what_it_is_in_the_middle_of(frame, colour_sam):
    """A ball before a figure: the click is in the middle of the one, at the rim of the other."""
    ball, figure = np.zeros((2, 100, 160), dtype=np.bool_)
    ball[40:60, 80:100] = figure[10:90, 40:100] = True
    small, large = (candidate(frame, colour_sam, mask) for mask in (ball, figure))
    wanted = Wanted((100, 160), (Click(90, 50),))
    assert small.merit(wanted) > 2 * large.merit(wanted)
    wanted = Wanted((100, 160), (Click(70, 50),))
    assert large.merit(wanted) > small.merit(wanted) == 0
    # Several clicks say themselves what is meant.
    wanted = Wanted((100, 160), (Click(90, 50), Click(88, 48)))
    assert small.merit(wanted) == pytest.approx(large.merit(wanted), rel=0.05)


def test_masks_without_the_click_or_cut_by_their_crop_lose(frame, colour_sam):
    mask = np.zeros((100, 160), dtype=np.bool_)
    mask[20:60, 20:60] = True
    whole = candidate(frame, colour_sam, mask)
    assert whole.merit(Wanted((100, 160), (Click(30, 30),))) > 0
    assert whole.merit(Wanted((100, 160), (Click(100, 30),))) == 0
    assert candidate(frame, colour_sam, mask & False).merit(Wanted((100, 160), ())) == 0
    mask[:, 20:60] = True
    at_edge = candidate(frame, colour_sam, mask)
    of_frame = at_edge.merit(Wanted((100, 160), (Click(30, 30),)))
    of_larger = at_edge.merit(Wanted((101, 160), (Click(30, 30),)))
    assert of_larger < of_frame


def test_a_box_prefers_the_mask_that_fills_it(frame, colour_sam):
    small, large = np.zeros((2, 100, 160), dtype=np.bool_)
    small[40:60, 40:60] = large[20:80, 20:100] = True
    wanted = Wanted((100, 160), (), np.array([20.0, 20, 99, 79]))
    full = candidate(frame, colour_sam, large, predicted_iou=0.8)
    part = candidate(frame, colour_sam, small, predicted_iou=0.9)
    assert full.merit(wanted) == pytest.approx(0.8, abs=0.05)
    assert part.merit(wanted) < 0.5
    # What is to be corrected is not replaced.
    assert full.merit(replace(wanted, before=part)) < full.merit(wanted) / 5


@given(st.integers(0, 99), st.integers(0, 159))
def test_the_inmost_click_is_on_the_mask(y, x):
    rgb = np.zeros((100, 160, 3), dtype=np.uint8)
    mask = np.zeros((100, 160), dtype=np.bool_)
    mask[max(0, y - 3) : y + 4, max(0, x - 9) : x + 9] = True
    one = candidate(Frame(0, 0.0, "00000", rgb), vos.SamModel(ColourSam()), mask)
    click = one.inmost_click
    assert mask[click.y, click.x]
    assert one.holds(np.array([click.x, click.y]))


# --- scores


def test_better_evidence_is_a_higher_score():
    weak, strong = Evidence(0.5, 0.4, 0.5, 0.5), Evidence(0.95, 0.9, 0.95, 0.95)
    assert 0 < weak.expected_iou < 0.6
    assert 0.8 < strong.expected_iou < 1


def test_a_doubtful_mask_is_warned_of(nano, caplog):
    """In smooth noise there are shapes and no object, whatever is clicked on."""
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    rgb = cv2.GaussianBlur(noise, None, 2)
    _, score = mask_from_hints(rgb, [Click(80, 60)], [], nano)
    assert score < 0.5
    assert f"expected IoU {score:.2f}; add clicks" in caplog.text


class Blind(ColourSam):
    """Finds nothing anywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.mask_decoder.register_forward_hook(
            lambda _module, _inputs, output: (torch.full_like(output[0], -5.0), output[1])
        )


@pytest.mark.parametrize("hint", [Hint((Click(40, 40),)), Hint(boxes_xyxy=((18, 18, 62, 62),))])
def test_nothing_at_a_hint_is_said(frame, hint):
    with pytest.raises(MaskError, match="frame 0, object 4: SAM finds no object there; add clicks"):
        reference_from_hints(frame, {4: hint}, vos.SamModel(Blind()))


# --- the records, and mistakes


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Hint(), "needs a box or a click on the object"),
        (lambda: Hint((Click(3, 4, is_positive=False),)), "needs a box or a click on the object"),
        (lambda: Hint(boxes_xyxy=((30, 10, 20, 50),)), "30,10,20,50 must have x0 < x1"),
        (lambda: Click(1.5, 2), r"whole pixels of the frame, got \(1.5, 2\)"),
        (lambda: Hint(boxes_xyxy=((0, 0, True, 5),)), "whole pixels of the frame"),
        (
            lambda: Hint((Click(160, 1),)).check_within((100, 160)),
            "160,1 lies outside of the frame",
        ),
        (lambda: Hint((Click(-1, 1),)).check_within((100, 160)), "160 x 100"),
        (lambda: Hint(boxes_xyxy=((0, 0, 161, 50),)).check_within((100, 160)), "reaches out of"),
    ],
)
def test_hints_check_themselves(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize(
    ("hints", "message"),
    [
        ({}, "at least one"),
        ({255: Hint((Click(1, 1),))}, r"1\.\.254, got 255"),
        ({1: Hint((Click(160, 1),))}, "outside of the frame's 160 x 100"),
    ],
)
def test_references_check_their_hints(frame, colour_sam, hints, message):
    with pytest.raises(InputError, match=message):
        reference_from_hints(frame, hints, colour_sam)


def test_a_box_may_end_one_past_the_last_pixel(frame, colour_sam):
    whole, _ = mask_from_hints(frame, [], [(95, 35, 160, 100)], colour_sam)
    assert iou(whole, (frame.rgb == PALETTE[2]).all(axis=2)) > 0.9


def test_hints_are_plain_values():
    hint = Hint((Click(3, 4), Click(5, 6, is_positive=False)), ((1, 2, 30, 40),))
    stored = json.loads(json.dumps(asdict(hint)))
    clicks = tuple(Click(**each) for each in stored["clicks"])
    assert Hint(clicks, tuple(map(tuple, stored["boxes_xyxy"]))) == hint
    code = "import sys, vos.hint; print('torch' in sys.modules or 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("text", "target", "click"),
    [
        ("410,220", Target(), Click(410, 220)),
        (" :3:0,7 ", Target(None, 3), Click(0, 7)),
        ("!410,220", Target(), Click(410, 220, is_positive=False)),
        ("-0,220", Target(), Click(0, 220, is_positive=False)),
        ("120:4,5", Target(120), Click(4, 5)),
        ("120:2:-4,5", Target(120, 2), Click(4, 5, is_positive=False)),
        ("4.8s:4,5", Target(4.8), Click(4, 5)),
        ("2s:3:!4,5", Target(2.0, 3), Click(4, 5, is_positive=False)),
        ("0:04.8:4,5", Target(4.8), Click(4, 5)),
        ("1:30s:4,5", Target(90.0), Click(4, 5)),
        ("1:02:03.5:6:4,5", Target(3723.5, 6), Click(4, 5)),
    ],
)
def test_clicks_are_read(text, target, click):
    read, read_click = parse_click(text)
    assert (read, read_click) == (target, click)
    assert type(read.frame) is type(target.frame)


@pytest.mark.parametrize(
    "text",
    ["", "4", "4,5,6", "4;5", "!!4,5", "4,-5", "1.5,2", "x:4,5", "9" * 20, "1:2:3:4,5", ":4,5"],
)
def test_what_is_no_click_is_said(text):
    with pytest.raises(InputError, match=r"is not a click: write X,Y.*120:2:"):
        parse_click(text)


def test_boxes_are_read():
    assert parse_box("1,2,30,40") == (Target(), (1, 2, 30, 40))
    assert parse_box("7:-1,2,30,40") == (Target(7), (-1, 2, 30, 40))
    assert parse_box("0.5s:2:1,2,30,40") == (Target(0.5, 2), (1, 2, 30, 40))
    with pytest.raises(InputError, match=r"'1,2,3' is not a box: write X0,Y0,X1,Y1"):
        parse_box("1,2,3")


def correct(frame, sam, mask, *clicks):
    return HintSession(frame, sam).correct(mask, clicks)


@pytest.fixture(scope="module")
def red(frame) -> np.ndarray:
    return (frame.rgb == PALETTE[1]).all(axis=-1)


def test_a_click_on_a_missing_part_adds_it_to_a_mask_of_any_origin(frame, colour_sam, red):
    mask = red.copy()
    mask[:, 42:] = False
    mask[30:33, 25:28] = False  # what else is wrong stays for other clicks
    corrected, score = correct(frame, colour_sam, mask, Click(52, 40))
    assert iou(corrected, red) > 0.93
    np.testing.assert_array_equal(corrected[:, :40], mask[:, :40])
    assert not corrected[:, 64:].any()
    assert 0.3 < score <= 1


def test_a_click_on_a_wrong_part_takes_it_from_a_mask_of_any_origin(frame, colour_sam, red):
    mask = red.copy()
    mask[25:55, 60:84] = True
    mask[80:90, 20:30] = True
    corrected, _ = correct(frame, colour_sam, mask, Click(72, 40, is_positive=False))
    np.testing.assert_array_equal(corrected[:, :58], mask[:, :58])
    assert not corrected[:, 62:].any()
    both, _ = correct(
        *(frame, colour_sam, corrected),
        *(Click(72, 40, is_positive=False), Click(25, 85, is_positive=False)),
    )
    assert iou(both, red) > 0.93
    assert not both[64:].any()


def test_a_click_that_a_mask_heeds_leaves_it_as_it_is(frame, colour_sam, red):
    for click in (Click(40, 40), Click(90, 20, is_positive=False)):
        np.testing.assert_array_equal(correct(frame, colour_sam, red, click)[0], red)


def test_a_click_far_off_a_mask_means_another_object(frame, colour_sam, red):
    assert correct(frame, colour_sam, red, Click(120, 80)) is None


def test_corrections_that_are_none(frame, colour_sam, red):
    with pytest.raises(InputError, match="needs a click"):
        correct(frame, colour_sam, red)
    with pytest.raises(InputError, match="outside of the frame"):
        correct(frame, colour_sam, red, Click(160, 5))
    with pytest.raises(MaskError, match="without any pixel"):
        correct(frame, colour_sam, red & False, Click(5, 5))
