"""Objects thinner than the decoder's pixels."""

import cv2
import numpy as np
import pytest
import torch

import vos
from vos.config import Memory
from vos.run.state import decode_state, encode_state
from vos.score.measures import score_labels
from vos.track.memory.crops import encode_crops
from vos.track.memory.fine import FineHead, apply_fine_head, fit_fine_head, is_thin
from vos.track.memory.tracks import Track, learn

HEIGHT, WIDTH = 480, 640


def draw_spokes(t: int) -> tuple[np.ndarray, np.ndarray]:
    """A red disc with long spokes two pixels wide, that moves over a blurred background."""
    noise = np.random.default_rng(3).integers(60, 140, (HEIGHT // 20, WIDTH // 20, 3))
    rgb = np.kron(noise, np.ones((20, 20, 1))).astype(np.uint8)
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    centre = 280 + 7 * t, 230 + 4 * t
    cv2.circle(mask, centre, 45, 1, thickness=-1)
    for angle in np.linspace(0, 2 * np.pi, 12, endpoint=False):
        end = centre + 190 * np.array([np.cos(angle), np.sin(angle)])
        cv2.line(mask, centre, tuple(end.round().astype(int).tolist()), 1, thickness=2)
    rgb[mask == 1] = 220, 40, 30
    return rgb, mask


def draw_disc(t: int) -> tuple[np.ndarray, np.ndarray]:
    """A disc on the same background."""
    rgb, _ = draw_spokes(0)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    mask = ((rows - 240) ** 2 + (columns - 240 - 4 * t) ** 2 < 120**2).astype(np.uint8)
    rgb[mask == 1] = 30, 60, 220
    return rgb, mask


def learn_drawn(draw, sam, config: Memory | None = None) -> Track:
    rgb, mask = draw(0)
    (frame,) = vos.frames_from_arrays([rgb])
    track = learn([(frame, mask)], 1, sam, config or Memory())
    assert track is not None
    return track


@pytest.fixture(scope="module")
def spokes(nano) -> Track:
    """What is learned of the first frame."""
    return learn_drawn(draw_spokes, nano)


def mean_scores(draw, sam, config: Memory) -> tuple[float, float]:
    frames = vos.frames_from_arrays([draw(t)[0] for t in range(4)])
    results = list(vos.segment_video(frames, draw(0)[1], sam, vos.RunConfig(method=config)))
    scores = [score_labels(draw(t)[1], results[t][1].labels, 1) for t in range(1, 4)]
    j, f = np.mean(scores, axis=0)[:, 0]
    return float(j), float(f)


@pytest.mark.portable
def test_spokes_are_found_that_decoder_pixels_cannot_hold(nano):
    with_j, with_f = mean_scores(draw_spokes, nano, Memory())
    without_j, without_f = mean_scores(draw_spokes, nano, Memory(thin_parts=False))
    assert with_j > 0.8
    assert without_j < 0.7
    assert with_f > without_f


def test_an_object_that_decoder_pixels_hold_is_left_alone(nano, spokes):
    assert spokes.fine_head is not None
    assert learn_drawn(draw_disc, nano).fine_head is None
    for config in (Memory(thin_parts=False), Memory(pixel_head=False)):
        assert learn_drawn(draw_spokes, nano, config).fine_head is None


@pytest.mark.parametrize(("width_px", "thin"), [(2, True), (24, False)])
def test_thin_is_what_a_decoder_pixel_cannot_hold(nano, width_px, thin):
    rgb = np.full((480, 640, 3), 90, np.uint8)
    mask = np.zeros((480, 640), dtype=bool)
    mask[30:450, 300 : 300 + width_px] = True
    (frame,) = vos.frames_from_arrays([rgb])
    (crop,) = encode_crops(frame, [(0, 0, 640, 480)], nano)
    assert is_thin(crop, mask) is thin


def test_the_same_reference_gives_the_same_weights_to_the_bit_and_they_can_be_saved(nano, spokes):
    first, second = spokes.fine_head, learn_drawn(draw_spokes, nano).fine_head
    assert first is not None
    assert second is not None
    assert encode_state(first) == encode_state(second)
    again = decode_state(FineHead, encode_state(first), torch.device("cpu"))
    maps = torch.rand(len(first.direct), 50)
    torch.testing.assert_close(again.correction(maps), first.correction(maps), rtol=0, atol=0)


def test_decided_logits_are_left_as_they_are(nano, spokes):
    (frame,) = vos.frames_from_arrays([draw_spokes(1)[0]])
    (crop,) = encode_crops(frame, [(0, 0, WIDTH, HEIGHT)], nano)
    logits = torch.full((HEIGHT, WIDTH), -9.0)
    assert spokes.fine_head is not None
    torch.testing.assert_close(
        apply_fine_head(spokes.fine_head, crop, logits, spokes.colours), logits
    )
    assert fit_fine_head([(crop, draw_spokes(1)[1] == 1, logits)], spokes.colours) is None


def test_a_window_larger_than_the_limit_is_corrected_at_the_limit_and_keeps_its_size(nano):
    rgb, mask = (
        np.kron(each, np.ones((3, 3, 1) if each.ndim == 3 else (3, 3))) for each in draw_spokes(0)
    )
    rgb, mask = rgb.astype(np.uint8), mask.astype(np.uint8)
    (frame,) = vos.frames_from_arrays([rgb])
    (crop,) = encode_crops(frame, [(0, 0, rgb.shape[1], rgb.shape[0])], nano)
    logits = torch.from_numpy(np.where(mask == 1, 0.5, -0.5).astype(np.float32))
    head = fit_fine_head([(crop, mask == 1, logits)], None)
    assert head is not None
    corrected = apply_fine_head(head, crop, logits, None)
    assert corrected.shape == logits.shape
    wanted = torch.from_numpy(mask == 1)
    found = corrected > 0
    assert (wanted & found).sum() / (wanted | found).sum() > 0.9
