"""The prior ``memory``: windows, correspondence, the fitted classifier, and what they are for."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from colour_sam import ColourSam
from embedded_model import load_nano
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

import vos
from vos.config import Memory
from vos.errors import InputError
from vos.records import Frame
from vos.synthetic import ClipConfig, make_clip
from vos.track.memory import follow as follow_module
from vos.track.memory.colours import learn_colours
from vos.track.memory.correspond import RememberedCells, correspond
from vos.track.memory.crops import encode_crops, share_windows, window_around
from vos.track.memory.follow import Tracks, follow
from vos.track.memory.head import fit_head
from vos.track.memory.tracks import learn
from vos.track.memory.trust import Evidence

SIZES = st.tuples(st.integers(16, 400), st.integers(16, 400))
SHARES = st.floats(0, 1)


@st.composite
def frames_and_boxes(draw):
    height, width = draw(SIZES)
    x0, x1 = sorted(draw(st.tuples(st.integers(0, width - 1), st.integers(0, width - 1))))
    y0, y1 = sorted(draw(st.tuples(st.integers(0, height - 1), st.integers(0, height - 1))))
    return (height, width), np.array([x0, y0, x1, y1], dtype=np.float64)


@given(frames_and_boxes(), st.floats(1, 4), SHARES)
def test_a_window_lies_in_the_frame_and_holds_the_box(case, context, min_share):
    (height, width), box = case
    x0, y0, x1, y1 = window_around(box, (height, width), context, min_share)
    assert 0 <= x0 < x1 <= width
    assert 0 <= y0 < y1 <= height
    assert x0 <= box[0] + 1
    assert y0 <= box[1] + 1
    assert x1 >= box[2]
    assert y1 >= box[3]


def test_a_window_of_a_lost_object_ends_as_the_whole_frame():
    assert window_around(np.array([10.0, 10, 20, 20]), (48, 64), 100, 0) == (0, 0, 64, 48)


@given(st.lists(frames_and_boxes(), min_size=1, max_size=6), st.integers(1, 4))
def test_shared_windows_are_few_and_hold_each_objects_window(cases, max_windows):
    frame_hw = (400, 400)
    windows = [window_around(box, frame_hw, 1.5, 0.1) for _, box in cases]
    shared, indices = share_windows(windows, frame_hw, max_windows)
    assert len(shared) <= max_windows
    assert set(indices) == set(range(len(shared)))
    for window, index in zip(windows, indices, strict=True):
        around = shared[index]
        assert around[0] <= window[0] + 1
        assert around[1] <= window[1] + 1
        assert around[2] >= window[2] - 1
        assert around[3] >= window[3] - 1


def test_objects_far_apart_keep_their_own_windows():
    windows = [(0, 0, 50, 50), (350, 350, 400, 400)]
    assert share_windows(windows, (400, 400), 2) == (windows, [0, 1])
    assert len(share_windows(windows, (400, 400), 1)[0]) == 1


def test_a_small_object_keeps_its_magnification_beside_a_large_one():
    windows = [(10, 210, 170, 370), (0, 0, 640, 480)]
    assert share_windows(windows, (480, 640), 3) == (windows, [0, 1])
    nearly_the_same = [(10, 10, 170, 170), (14, 14, 170, 170)]
    assert len(share_windows(nearly_the_same, (480, 640), 3)[0]) == 1


def unit(*values):
    return torch.nn.functional.normalize(torch.tensor(values, dtype=torch.float32), dim=1)


def test_cells_take_the_labels_of_what_they_resemble():
    memory = RememberedCells(unit([1, 0], [0, 1]), torch.tensor([1.0, 0.0]), torch.zeros(2, 2))
    found = correspond(unit([1, 0.1], [0.1, 1]), torch.zeros(2, 2), [memory], [], 1.0)
    assert found.probabilities[0] > 0.99
    assert found.probabilities[1] < 0.01
    assert found.object_similarities[0] > 0.99
    assert found.object_similarities[1] < 0.2


def test_the_correspondence_multiplies_in_few_shapes(monkeypatch):
    """oneDNN keeps a program for each; what fills them up has no vote."""
    shapes = set()

    def noting(rows, weight):
        shapes.add((len(rows), len(weight)))
        return torch.nn.functional.linear(rows, weight)

    monkeypatch.setattr("vos.track.memory.correspond.linear", noting)
    generator = torch.Generator().manual_seed(0)
    sizes = [(1, 1), (3, 4), (63, 511), (64, 512), (65, 513), (500, 700), (1300, 1024)]
    for num_queries, num_cells in sizes:
        cells = torch.randn(num_queries + num_cells, 8, generator=generator)
        positions = torch.rand(num_queries + num_cells, 2, generator=generator)
        memory = RememberedCells(
            -cells[num_queries:], torch.ones(num_cells), positions[num_queries:]
        )
        found = correspond(cells[:num_queries], positions[:num_queries], [memory], [memory], 1.0)
        torch.testing.assert_close(found.probabilities, torch.ones(num_queries))
    assert all(rows % 64 == 0 and keys % 512 == 0 for rows, keys in shapes)
    assert len(shapes) < len(sizes)


def test_a_recent_frame_counts_near_by_and_a_reference_anywhere():
    """Two equal cells, one the object's: in a recent frame the nearer one decides."""
    positions = torch.tensor([[0.0, 0.0], [100.0, 0.0]])
    memory = RememberedCells(unit([1, 0], [1, 0]), torch.tensor([1.0, 0.0]), positions)
    queries = unit([1, 0], [1, 0])
    recent = correspond(queries, positions, [memory], [memory], 5.0)
    assert recent.probabilities[0] > recent.probabilities[1]
    anywhere = correspond(queries, positions, [memory], [], 5.0)
    assert torch.allclose(anywhere.probabilities, torch.tensor(0.5))


def test_the_penalty_is_the_square_of_the_distance():
    """The product that carries the penalties against the plain formula."""
    generator = torch.Generator().manual_seed(0)
    cells = torch.nn.functional.normalize(torch.randn(30, 8, generator=generator), dim=1)
    positions = torch.rand(30, 2, generator=generator) * 800
    labels = torch.rand(30, generator=generator)
    queries, at = cells[:7], positions[7:14]
    far = RememberedCells(-cells, torch.zeros(30), positions)
    found = correspond(queries, at, [far], [RememberedCells(cells, labels, positions)], 100.0)
    distances = torch.cdist(at, positions)
    similarities = torch.cat(
        [queries @ -cells.T, queries @ cells.T - 0.1 * (distances / 100).square()], dim=1
    )
    top, index = similarities.topk(10, dim=1)
    every = torch.cat([torch.zeros(30), labels])
    expected = (torch.softmax(top / 0.05, dim=1) * every[index]).sum(dim=1)
    assert torch.allclose(found.probabilities, expected, atol=1e-4)


def test_the_head_learns_what_tells_the_object_apart():
    generator = torch.Generator().manual_seed(0)
    channels = torch.randn(4, 4000, generator=generator)
    maps = torch.randn(2, 4000, generator=generator)
    shares = (channels[2] + maps[1] > 0.5).float()
    head = fit_head(channels, maps, shares)
    by_channels = (head.channels @ channels)[None]
    logits = by_channels[0] + head.maps @ maps + head.bias
    assert torch.allclose(head.logits(by_channels, maps[:, None])[0], logits, atol=1e-3)
    assert ((logits > 0) == shares.bool()).float().mean() > 0.98
    assert abs(head.channels[2]) > 10 * abs(head.channels[0])


def test_colours_are_histograms_blurred_as_scipy_blurs_them():
    rgb = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 400))).float()
    shares = torch.linspace(0, 1, 400)
    bins = (rgb / 16).long().numpy()
    smooth = []
    for weights in (shares.numpy(), 1 - shares.numpy()):
        counts = np.zeros((16, 16, 16))
        np.add.at(counts, tuple(bins), weights)
        blurred = gaussian_filter(counts, 1.0)
        smooth.append(np.log(blurred / blurred.sum() + 1e-5))
    expected = torch.from_numpy(smooth[0] - smooth[1]).float()
    torch.testing.assert_close(learn_colours(rgb, shares).log_ratios, expected)


def test_colours_of_the_object_are_told_from_those_beside_it():
    rgb = torch.tensor([[250.0, 10], [10, 10], [10, 250]]).repeat(1, 50)
    colours = learn_colours(rgb, torch.tensor([1.0, 0.0]).repeat(50))
    red, blue = colours.look_up(rgb[:, :2][:, None])[0]
    assert red > 3
    assert blue < -3


def test_a_crop_knows_where_its_cells_are():
    sam = load_nano()
    frame = Frame(0, 0.0, "0", np.zeros((60, 100, 3), np.uint8))
    (crop,) = encode_crops(frame, [(20, 10, 80, 40)], sam)
    assert crop.is_inside.sum() == len(crop.cells) == len(crop.positions_xy)
    assert crop.positions_xy.min(dim=0).values.tolist() == pytest.approx([20, 10], abs=1)
    assert crop.positions_xy.max(dim=0).values.tolist() == pytest.approx([79, 39], abs=1)
    assert torch.allclose(crop.cells.norm(dim=1), torch.ones(1), atol=1e-5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"context": 0.5},
        {"min_window_share": 2},
        {"lose_likeness": -1},
        {"return_likeness": 1.5},
        {"max_windows": 0},
        {"num_recent": -1},
        {"num_views": -1},
    ],
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(InputError, match=f"{next(iter(wrong))} must be"):
        Memory(**wrong)


def follow_clip(settings):
    """Give the (frames, objects) J of a synthetic clip."""
    sam = load_nano()
    pairs = list(make_clip(ClipConfig(**settings)))
    results = list(vos.segment_video([frame for frame, _ in pairs], pairs[0][1], sam))
    ious = []
    for (_, annotated), (_, masks) in zip(pairs, results, strict=True):
        own = []
        for object_id in masks.object_ids:
            a, b = annotated == object_id, masks.labels == object_id
            union = (a | b).sum()
            own.append((a & b).sum() / union if union else 1.0)
        ious.append(own)
    return np.array(ious)


SMALL = {"frame_hw": (240, 320), "num_frames": 24}


@pytest.mark.portable
def test_look_alikes_do_not_take_over():
    ious = follow_clip(
        SMALL | {"num_frames": 12, "num_objects": 2, "num_distractors": 2, "seed": 3}
    )
    assert ious[-5:].mean() > 0.8
    assert ious.min() > 0.5


def test_memory_and_time_do_not_grow_with_length():
    """A track holds as much after many frames as after a few."""
    sam = load_nano()
    pairs = list(make_clip(ClipConfig(**SMALL | {"num_objects": 1, "num_frames": 9})))
    frame, labels = pairs[0]
    config = Memory()
    tracks = Tracks((1,), (learn([(frame, labels)], 1, sam, config),))
    sizes = []
    for frame, _ in pairs[1:]:
        _, tracks = follow(frame, tracks, sam, config)
        (track,) = tracks.tracks
        sizes.append(sum(len(memory.cells) for memory in (*track.references, *track.recent)))
        assert len(track.recent) <= config.num_recent
    assert max(sizes) <= 1024 * (1 + config.num_recent)
    assert max(sizes[config.num_recent :]) < 1.05 * sizes[config.num_recent]


@pytest.mark.portable
def test_an_object_that_is_gone_is_lost_and_found_again():
    """An empty scene in the middle: nothing is made up there, and the object comes back."""
    sam = load_nano()
    settings = SMALL | {"num_objects": 1, "num_frames": 10, "seed": 1}
    pairs = list(make_clip(ClipConfig(**settings)))
    scene = [frame for frame, _ in pairs]
    reference = pairs[0][1]
    empty = np.full_like(scene[0].rgb, 90)
    hidden = [replace(frame, rgb=empty) if 3 <= n < 7 else frame for n, frame in enumerate(scene)]
    results = [masks for _, masks in vos.segment_video(hidden, reference, sam)]
    assert [bool(masks.present[0]) for masks in results[3:7]] == [False] * 4
    assert all(len(masks.object_ids) == 1 for masks in results)
    annotated, found = pairs[-1][1] == 1, results[-1].labels == 1
    assert (annotated & found).sum() / (annotated | found).sum() > 0.8


@pytest.mark.parametrize(
    ("share", "support", "is_seen"), [(0.05, 0.1, False), (0.05, 0.9, True), (0.8, 0.1, True)]
)
def test_a_sliver_with_little_support_is_what_hides_the_object(
    monkeypatch, share, support, is_seen
):
    """An object that is followed on a sliver of another would not be searched for any more."""
    rgb, mask = np.full((96, 96, 3), 90, np.uint8), np.zeros((96, 96), np.uint8)
    rgb[30:60, 30:60], mask[30:60, 30:60] = (230, 60, 40), 1
    (frame,) = vos.frames_from_arrays([rgb])
    sam, config = vos.SamModel(ColourSam()), Memory()
    tracks = Tracks((1,), (learn([(frame, mask)], 1, sam, config),))

    def find_a_part(*args):
        candidates = segment_all(*args)
        (candidate,) = candidates.values()
        nth = (candidate.logits > 0).flatten().cumsum(dim=0).view_as(candidate.logits)
        logits = candidate.logits.masked_fill(nth > share * nth.max(), -9)
        evidence = Evidence(0.8, support, support, support)
        return {0: replace(candidate, logits=logits, evidence=evidence)}

    segment_all = follow_module._segment_all
    monkeypatch.setattr(follow_module, "_segment_all", find_a_part)
    masks, tracks = follow(frame, tracks, sam, config)
    assert bool(masks.present[0]) == is_seen
    assert bool(tracks.tracks[0].motion.num_frames_lost) != is_seen


@pytest.mark.parametrize(
    ("support", "gap_px", "is_remembered"), [(0.1, 0, False), (0.9, 0, True), (0.1, 20, True)]
)
def test_a_poor_mask_beside_another_object_is_not_remembered(
    monkeypatch, support, gap_px, is_remembered
):
    """It is mostly of the other one. A poor mask with nothing beside it shows how it changes."""
    rgb, labels = np.full((96, 128, 3), 90, np.uint8), np.zeros((96, 128), np.uint8)
    there = 50 + gap_px
    rgb[30:60, 20:50], labels[30:60, 20:50] = (230, 60, 40), 1
    rgb[30:60, there : there + 30], labels[30:60, there : there + 30] = (40, 60, 230), 2
    (frame,) = vos.frames_from_arrays([rgb])
    sam, config = vos.SamModel(ColourSam()), Memory()
    learned = tuple(learn([(frame, labels)], object_id, sam, config) for object_id in (1, 2))
    evidence = {0: Evidence(0.8, support, support, support), 1: Evidence(1.0, 1.0, 1.0, 1.0)}

    def believe(*args):
        found = segment_all(*args)
        return {row: replace(found[row], evidence=evidence[row]) for row in found}

    segment_all = follow_module._segment_all
    monkeypatch.setattr(follow_module, "_segment_all", believe)
    masks, tracks = follow(frame, Tracks((1, 2), learned), sam, config)
    assert masks.present.all()
    assert [len(track.recent) for track in tracks.tracks] == [is_remembered, 1]


@pytest.mark.parametrize("frame_hw", [(1, 1), (2, 300), (300, 1), (3, 5), (64, 1000)])
@pytest.mark.parametrize("corner", [(0, 0), (-1, -1)])
@pytest.mark.parametrize("context", [1.8, None])
def test_one_pixel_in_the_corner_of_a_thin_frame_is_no_error(frame_hw, corner, context):
    rgb, mask = np.full((*frame_hw, 3), 90, np.uint8), np.zeros(frame_hw, np.uint8)
    rgb[corner], mask[corner] = (230, 60, 40), 1
    config = vos.RunConfig(method=Memory(context=context))
    frames = vos.frames_from_arrays([rgb] * 3)
    sam = vos.SamModel(ColourSam())
    results = list(vos.segment_video(frames, mask, sam, config))
    assert [masks.object_ids for _, masks in results] == [(1,)] * 3


def test_an_object_may_be_lost_for_hours():
    sam = vos.SamModel(ColourSam())
    rgb, mask = np.full((48, 64, 3), 90, np.uint8), np.zeros((48, 64), np.uint8)
    with_object = rgb.copy()
    with_object[10:30, 10:30], mask[10:30, 10:30] = (230, 60, 40), 1
    frame, empty = vos.frames_from_arrays([with_object, rgb])
    config = Memory()
    track = learn([(frame, mask)], 1, sam, config)
    track = replace(track, motion=replace(track.motion, num_frames_lost=1_000_000))
    masks, tracks = follow(empty, Tracks((1,), (track,)), sam, config)
    assert not masks.present[0]
    masks, _ = follow(frame, tracks, sam, config)
    found = masks.labels == 1
    assert (found & (mask > 0)).sum() / (found | (mask > 0)).sum() > 0.8


def test_an_object_is_in_one_piece_where_all_references_say_so():
    """Else the one in which it looks so takes away what is not connected, in all frames."""
    sam = vos.SamModel(ColourSam())
    rgb, one, two = np.full((48, 64, 3), 90, np.uint8), *np.zeros((2, 48, 64), np.uint8)
    one[10:30, 10:30] = two[10:30, 10:30] = two[34:44, 40:60] = 1
    (frame,) = vos.frames_from_arrays([rgb])
    for masks, expected in (([one], True), ([two], False), ([one, two], False), ([one, one], True)):
        track = learn([(frame, mask) for mask in masks], 1, sam, Memory())
        assert track.is_one_piece == expected


def test_windows_of_many_objects_are_shared_at_once():
    """254 objects: pairs are compared all together, not one by one."""
    windows = [(x, y, x + 8, y + 8) for y in range(0, 160, 10) for x in range(0, 160, 10)][:254]
    shared, indices = share_windows(windows, (168, 168), 3)
    assert len(shared) <= 3
    assert len(indices) == 254
