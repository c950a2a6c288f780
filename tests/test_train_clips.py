"""Training of what the default does at run time: clips, damaged prompts, correspondence."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

import train_nano
from nano_training import hint_objective
from nano_training import tracking_objective as objective
from nano_training.clips import NUM_NOISE, PADDING, ClipBatch, draw_clips, place_window
from nano_training.damage import damage
from nano_training.decoder import Decoded, classify, in_reading_order
from nano_training.depthwise import ExactDepthwiseGradients
from nano_training.moments import draw_moments
from nano_training.objective import tight_boxes
from nano_training.pairs import PairSet, read_pairs
from nano_training.trainer import State, Team, train_step
from nano_training.views import Recipe, draw_batch
from test_train_nano import make_files, write_tar

from vos.track.memory.correspond import RememberedCells, correspond
from vos.track.memory.crops import window_around

CPU = torch.device("cpu")


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Views this small gain nothing from threads."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> PairSet:
    files = make_files(num_frames=8)
    return read_pairs([write_tar(tmp_path_factory.mktemp("pairs") / "pairs.tar", files)])


@pytest.mark.parametrize("from_disk", [False, True])
def test_clips_show_the_object_through_windows(pairs, from_disk):
    for seed in range(4):
        rng = np.random.default_rng(seed)
        clips = draw_clips(pairs if from_disk else None, rng, 64, 6)
        num_clips, length = clips.masks.shape[:2]
        assert clips.images.shape == (num_clips, length, 64, 64, 3)
        assert clips.believed.shape == (num_clips, length, 8, 8)
        assert 3 <= length <= 5
        assert clips.masks.flatten(2).any(dim=2).all()
        inside = torch.zeros_like(clips.masks)
        for n in range(num_clips):
            for t in range(length):
                height, width = clips.contents_hw[n, t].int().tolist()
                inside[n, t, :height, :width] = True
                x0, y0, x1, y1 = clips.windows_xyxy[n, t].tolist()
                # The window keeps its shape.
                assert height / width == pytest.approx((y1 - y0) / (x1 - x0), abs=0.1)
        assert not (clips.masks & ~inside).any()
        assert (clips.images[~inside] == PADDING).all()


def test_moments_of_a_video_are_near_one_another_but_not_near_the_first(pairs):
    video = next(pair for pair in pairs.pairs if pair.name == "run_00000")
    rng = np.random.default_rng(0)
    drawn = [draw_moments(pairs, rng, video, 3) for _ in range(20)]
    shown = [moments for moments in drawn if moments]
    assert len(shown) > 5
    for moments in shown:
        assert len(moments) == 3
        assert all(moment.mask.any() for moment in moments)
        assert not any((moment.mask & moment.others).any() for moment in moments)


def test_windows_are_the_tracker_s():
    rng = np.random.default_rng(0)
    for _ in range(50):
        frame_hw = tuple(int(side) for side in rng.integers(60, 400, 2))
        corners = np.sort(rng.uniform(0, 1, (2, 2)) * (np.array(frame_hw[::-1]) - 1), axis=0)
        box_xyxy = np.round(corners.ravel())
        wanted = window_around(box_xyxy, frame_hw, 1.8, 0.15)
        assert np.abs(place_window(box_xyxy, frame_hw, 1.8) - wanted).max() <= 1


def test_damage_leaves_something_to_prompt_with():
    shares = np.zeros((32, 32), np.float32)
    shares[8:20, 10:22] = 1
    shares[20:26, 15] = 1
    others = np.zeros_like(shares)
    others[10:18, 24:30] = 1
    overlaps, has_missed, has_added = [], False, False
    for seed in range(40):
        believed = damage(np.random.default_rng(seed), shares, others)
        assert believed.dtype == np.float32
        assert 0 <= believed.min() <= believed.max() <= 1
        assert believed.max() > 0.5
        overlaps.append(((believed > 0.5) & (shares > 0.5)).sum() / (shares > 0.5).sum())
        has_missed |= overlaps[-1] < 0.7
        has_added |= bool((believed[others > 0] > 0.5).any())
    assert has_missed
    assert has_added
    assert np.mean(overlaps) > 0.5
    nothing = np.zeros_like(shares)
    assert damage(np.random.default_rng(0), nothing, others).shape == shares.shape


def make_batch(num_frames: int, size_px: int, seed: int) -> ClipBatch:
    generator = torch.Generator().manual_seed(seed)
    grid_px = size_px // 8
    windows_xyxy = torch.tensor([[10.0, 20, 74, 84], [14, 24, 78, 88], [8, 30, 72, 94]])
    return ClipBatch(
        images=torch.zeros(1, num_frames, size_px, size_px, 3, dtype=torch.uint8),
        masks=torch.zeros(1, num_frames, size_px, size_px, dtype=torch.bool),
        windows_xyxy=windows_xyxy[None, :num_frames],
        contents_hw=torch.full((1, num_frames, 2), float(size_px)),
        believed=torch.zeros(1, num_frames, grid_px, grid_px),
        is_damaged=torch.zeros(1, num_frames, dtype=torch.bool),
        noise=torch.rand(1, num_frames, NUM_NOISE, generator=generator),
        fits_head=False,
    )


def test_correspondence_is_the_tracker_s():
    batch = make_batch(3, 64, seed=1)
    generator = torch.Generator().manual_seed(2)
    features = torch.randn(1, 3, 256, 8, 8, generator=generator)
    shares = torch.rand(1, 3, 8, 8, generator=generator)
    cells = [objective._cells_of(batch, t, features[:, t], shares[:, t]) for t in range(3)]
    found, losses = objective._correspond(cells, cells[:2], 2, 64, batch)
    memories = [
        RememberedCells(each.values[0], each.shares[0], each.places_xy[0]) for each in cells[:2]
    ]
    radius_px = 0.35 * 64 / 1.8 + 3 * 8
    wanted = correspond(
        cells[2].values[0], cells[2].places_xy[0], memories[:1], memories[1:], radius_px
    )
    torch.testing.assert_close(found[0], wanted.probabilities, rtol=1e-3, atol=1e-4)
    assert losses["cells"] > 0


def test_prompts_lie_on_what_is_believed():
    batch = make_batch(1, 128, seed=0)
    believed = torch.zeros(1, 16, 16)
    believed[0, 4:9, 6:13] = 0.9
    believed[0, 14, 1] = 0.8  # A speck, which the tracker drops.
    prompts, low_res = objective._prompt(batch, 0, believed, 16)
    (x, y) = prompts.points_xy[0, 0].tolist()
    assert 6 * 8 < x < 13 * 8
    assert 4 * 8 < y < 9 * 8
    wanted = torch.tensor([6 * 8 - 4.5, 4 * 8 - 4.5, 13 * 8 + 3.5, 9 * 8 + 3.5])
    assert (prompts.boxes_xyxy[0] - wanted).abs().max() <= 2
    assert low_res.shape == (1, 64, 64)
    assert low_res[0, 24, 40] > 0 > low_res[0, 60, 60]


def test_pixels_come_in_reading_order():
    pixels = torch.zeros(1, 2, 2, 16, 3)
    maps = torch.arange(64.0).reshape(1, 8, 8)
    pixels[..., 1] = in_reading_order(maps)
    classifiers = torch.tensor([[[0.0, 2, 0], [1, 0, 0]]])
    logits = classify(pixels, classifiers)
    torch.testing.assert_close(logits[:, 0], 2 * maps)
    assert not logits[:, 1].any()


def test_a_fitted_classifier_tells_the_reference_s_pixels_apart():
    generator = torch.Generator().manual_seed(0)
    truth = torch.zeros(1, 16, 16)
    truth[0, 4:12, 2:9] = 1
    pixels = torch.randn(1, 4, 4, 16, 32, generator=generator)
    pixels[..., 5] += 3 * in_reading_order(truth)
    decoded = Decoded(torch.zeros(1, 3, 16, 16), torch.zeros(1, 3), pixels)
    inside = torch.ones(1, 16, dtype=torch.bool)
    weights, bias = objective._fit_classifier(decoded, truth, inside)
    logits = classify(pixels, weights[:, None])[:, 0] + bias
    assert ((logits > 0) == (truth > 0.5)).float().mean() > 0.9
    assert weights.abs().argmax() == 5


@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_gradients_are_those_of_float32(stride):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 8, 9, 9, generator=generator, requires_grad=True)
    weight = torch.randn(8, 1, 3, 3, generator=generator, requires_grad=True)
    bias = torch.randn(8, generator=generator, requires_grad=True)
    inputs = (images, weight, bias)
    plain = F.conv2d(images, weight, bias, stride=stride, padding=1, groups=8)
    gradient = torch.randn(plain.shape, generator=generator)
    wanted = torch.autograd.grad(plain, inputs, gradient)
    with ExactDepthwiseGradients(), torch.autocast("cpu", torch.bfloat16):
        ours = F.conv2d(images, weight, bias, stride=stride, padding=1, groups=8)
    assert ours.dtype == torch.bfloat16
    for one, other in zip(
        torch.autograd.grad(ours, inputs, gradient.bfloat16()), wanted, strict=True
    ):
        assert (one - other).abs().max() < 0.02 * other.abs().max()


class NoWaiting(TorchDispatchMode):
    """Fails on what would make the host wait for a GPU: values read, sizes that depend on them."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        assert name not in {"_local_scalar_dense", "nonzero", "masked_select", "unique", "_unique2"}
        if name in {"index", "index_put", "index_put_"}:
            assert not any(i is not None and i.dtype == torch.bool for i in args[1])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("clip_share", [0.0, 1.0])
def test_a_step_never_waits_for_the_device(clip_share):
    recipe = Recipe(pairs=None, seed=4, num_pairs=1, view_sizes_px=(64,), clip_share=clip_share)
    batches = [draw_batch(recipe, index) for index in range(4)]
    kinds = {}
    for batch in batches:
        kinds[getattr(batch, "fits_head", None), getattr(batch, "has_boxes", None)] = batch
    state = State.start(train_nano.PACKAGED_WEIGHTS, CPU)
    for batch in kinds.values():
        with NoWaiting():
            losses = train_step(state, batch, 0.0, CPU)
        assert torch.isfinite(losses["total"])
    assert state.step == len(kinds)


@pytest.mark.parametrize("clip_share", [0.0, 1.0])
def test_threads_share_a_batch_and_learn_the_same(clip_share):
    recipe = Recipe(pairs=None, seed=4, num_pairs=3, view_sizes_px=(64,), clip_share=clip_share)
    batch = draw_batch(recipe, 0)
    results = []
    for team in (None, Team(2)):
        state = State.start(train_nano.PACKAGED_WEIGHTS, CPU)
        losses = train_step(state, batch, 0.0, CPU, team=team)
        norms = [p.grad.norm() for p in state.sam.parameters() if p.grad is not None]
        results.append((losses["total"], torch.stack(norms)))
    (total, norms), (other_total, other_norms) = results
    torch.testing.assert_close(total, other_total, rtol=0.02, atol=0)
    # In bfloat16, sums over other halves differ.
    assert (norms - other_norms).abs().median() < 0.05 * norms.median()


def test_hints_are_a_box_around_the_object_and_a_click_on_it(monkeypatch):
    clips = draw_clips(None, np.random.default_rng(5), 64, 9)
    truth = F.avg_pool2d(clips.masks[:, 0, None].float(), 2)[:, 0]
    inmost_xy = objective._prompt(clips, 0, F.avg_pool2d(truth, 4), 8)[0].points_xy[:, 0]
    asked = []

    def decode(sam, features, prompts, low_res, size_px):
        asked.append((prompts, low_res))
        logits = torch.stack([-truth, 8 * truth - 4, truth * 0], dim=1)
        scores = torch.tensor([[0.2, 0.9, 0.1]]).expand(len(truth), -1)
        return Decoded(logits, scores, torch.zeros(0))

    monkeypatch.setattr(hint_objective, "decode", decode)
    details = torch.ones_like(truth)
    losses = hint_objective.compute_hint_losses(
        None, clips, 0, torch.zeros(0), truth, details, inmost_xy
    )
    assert losses["Jbox"] == losses["Jclick"] == 1

    (box, no_mask), (corrected, low_res), (click, nothing), (clicked, again) = asked
    assert no_mask is None
    assert nothing is None
    assert low_res.equal(8 * truth - 4)
    assert again.equal(low_res)
    assert box.points_xy.shape[1] == 0
    assert click.boxes_xyxy is None
    tight_xyxy = tight_boxes(truth > 0.5, torch.zeros(len(truth), 4))
    sides_px = (tight_xyxy[:, 2:] - tight_xyxy[:, :2]).repeat(1, 2)
    for boxes_xyxy in (box.boxes_xyxy, corrected.boxes_xyxy):
        assert ((boxes_xyxy - tight_xyxy).abs() <= 0.031 * sides_px).all()
    assert clicked.boxes_xyxy.equal(tight_xyxy)
    is_any = clips.noise[:, 0, 0] >= hint_objective.INMOST_SHARE
    assert is_any.any()
    assert not is_any.all()
    for n, (x, y) in enumerate(click.points_xy[:, 0].tolist()):
        if is_any[n]:
            assert truth[n, int((y + 0.5) / 2), int((x + 0.5) / 2)] > 0.5
        else:
            assert (x, y) == tuple(inmost_xy[n].tolist())
