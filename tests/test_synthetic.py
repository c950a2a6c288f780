from fractions import Fraction
from itertools import islice, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vos.errors import InputError
from vos.synthetic import ClipConfig, Scene, make_clip

SMALL = (72, 128)


def labels_at(config: ClipConfig, seconds: float) -> np.ndarray:
    return Scene(config).draw(round(seconds * config.frame_rate_hz))[1]


def test_a_clip_has_the_frames_and_ids_asked_for():
    config = ClipConfig(num_frames=5, frame_hw=SMALL, num_objects=4, frame_rate_hz=Fraction(10))
    clip = list(make_clip(config))
    assert [frame.index for frame, _ in clip] == [0, 1, 2, 3, 4]
    assert [frame.pts_seconds for frame, _ in clip] == [0, 0.1, 0.2, 0.3, 0.4]
    assert [frame.name for frame, _ in clip][-1] == "00004"
    for frame, labels in clip:
        assert frame.frame_hw == labels.shape == SMALL
        assert labels.dtype == np.uint8
        assert set(np.unique(labels)) <= {0, 1, 2, 3, 4}
    assert any((a[0].rgb != b[0].rgb).any() for a, b in pairwise(clip))


def test_a_seed_is_a_clip():
    config = ClipConfig(num_frames=3, frame_hw=SMALL)
    once, again = list(make_clip(config)), list(make_clip(config))
    for (frame, labels), (other_frame, other_labels) in zip(once, again, strict=True):
        assert (frame.rgb == other_frame.rgb).all()
        assert (labels == other_labels).all()
    other = next(make_clip(ClipConfig(num_frames=3, frame_hw=SMALL, seed=1)))
    assert (once[0][1] != other[1]).any()


def test_a_frame_needs_no_earlier_one():
    config = ClipConfig(num_frames=8, frame_hw=SMALL, has_occluder=True, leaves=True)
    frame, labels = list(make_clip(config))[7]
    alone_frame, alone_labels = Scene(config).draw(7)
    assert (frame.rgb == alone_frame.rgb).all()
    assert (labels == alone_labels).all()


@settings(max_examples=40, deadline=None)
@given(
    num_objects=st.integers(3, 11),
    num_distractors=st.integers(0, 5),
    seed=st.integers(0, 2**32),
    frame_hw=st.tuples(st.integers(70, 140), st.integers(70, 140)),
    options=st.fixed_dictionaries({name: st.booleans() for name in ("leaves", "crosses")}),
)
def test_every_object_is_visible_at_first(num_objects, num_distractors, seed, frame_hw, options):
    config = ClipConfig(
        frame_hw=frame_hw,
        num_objects=num_objects,
        num_distractors=num_distractors,
        seed=seed,
        has_occluder=True,
        **options,
    )
    _, labels = Scene(config).draw(0)
    assert np.unique(labels).tolist() == list(range(num_objects + 1))
    assert np.bincount(labels.ravel()).min() >= 20


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), seconds=st.floats(0, 1000))
def test_objects_stay_in_the_frame(seed, seconds):
    labels = labels_at(ClipConfig(frame_hw=SMALL, num_objects=1, seed=seed), seconds)
    assert labels.any()
    for border in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        assert not border.any()


def test_appearance_and_labels_agree():
    config = ClipConfig(num_objects=4, has_background=False, has_texture=False, noise_levels=0)
    background = np.array([118, 124, 112])
    for index in (0, 17, 40):
        frame, labels = Scene(config).draw(index)
        away = np.abs(frame.rgb.astype(int) - background).max(axis=2)
        assert (away[labels > 0] > 8).mean() > 0.995
        # Outside there are only shadows, which darken all channels alike.
        ratio = frame.rgb[labels == 0] / background
        antialiased = np.ptp(ratio, axis=1) > 0.06
        assert antialiased.mean() < 0.01


def test_labels_are_exact_at_pixel_centres():
    # The same shape drawn four times larger has the same area, but for the pixels of its outline.
    areas = []
    for scale in (1, 4):
        config = ClipConfig(frame_hw=(100 * scale, 160 * scale), num_objects=1)
        areas.append((Scene(config).draw(0)[1] > 0).sum() / scale**2)
    assert areas[0] == pytest.approx(areas[1], rel=0.01)


def test_higher_ids_cover_lower_ones_where_they_cross():
    config = ClipConfig(frame_hw=SMALL, num_objects=2, crosses=True)
    apart = np.bincount(labels_at(config, 0).ravel(), minlength=3)
    met = np.bincount(labels_at(config, 1).ravel(), minlength=3)
    assert met[2] > 0.6 * apart[2]
    assert met[1] < 0.4 * apart[1]
    swapped = labels_at(config, 2)
    for object_id, other in ((1, 2), (2, 1)):
        now = np.argwhere(swapped == object_id).mean(axis=0)
        then = np.argwhere(labels_at(config, 0) == other).mean(axis=0)
        assert np.abs(now - then).max() < 3


def test_the_last_object_leaves_and_returns():
    config = ClipConfig(frame_hw=SMALL, num_objects=3, leaves=True)
    for seconds, is_there in ((0, True), (1.8, False), (2, False), (2.2, False), (4, True)):
        assert (3 in labels_at(config, seconds)) is is_there
    assert 1 in labels_at(config, 2)


def test_the_occluder_hides_what_it_passes():
    config = ClipConfig(frame_hw=SMALL, num_objects=1)
    hiding = ClipConfig(frame_hw=SMALL, num_objects=1, has_occluder=True)
    areas = [
        (np.count_nonzero(labels_at(config, seconds)), np.count_nonzero(labels_at(hiding, seconds)))
        for seconds in np.arange(0, 2, 1 / 24)
    ]
    assert areas[0][0] == areas[0][1]
    assert any(hidden < 0.5 * whole for whole, hidden in areas)


def test_distractors_look_like_objects_and_have_no_label():
    plain = {"frame_hw": SMALL, "num_objects": 1, "noise_levels": 0, "has_background": False}
    frame, labels = Scene(ClipConfig(num_distractors=1, **plain)).draw(0)
    colour = np.median(frame.rgb[labels == 1], axis=0)
    alike = (np.abs(frame.rgb - colour).max(axis=2) < 30) & (labels == 0)
    assert alike.sum() > 0.3 * (labels == 1).sum()


def test_noise_differs_from_frame_to_frame_and_has_the_size_asked_for():
    plain = {"frame_hw": SMALL, "num_objects": 1, "has_background": False}
    noisy, clean = (Scene(ClipConfig(noise_levels=levels, **plain)) for levels in (6, 0))
    noise = [noisy.draw(i)[0].rgb.astype(int) - clean.draw(i)[0].rgb for i in (0, 1)]
    assert noise[0].std() == pytest.approx(6, rel=0.05)
    assert (noise[0] != noise[1]).mean() > 0.5


def test_a_clip_may_be_endless():
    config = ClipConfig(num_frames=10**9, frame_hw=SMALL, num_objects=1)
    assert len(list(islice(make_clip(config), 2))) == 2


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"num_frames": 0}, "num_frames must be 1 or more"),
        ({"num_objects": 0}, "num_objects must be 1 to 254"),
        ({"num_objects": 255}, "num_objects must be 1 to 254"),
        ({"num_distractors": -1}, "num_distractors must be 0 or more"),
        ({"seed": -1}, "seed must be 0 or more"),
        ({"frame_rate_hz": Fraction(0)}, "frame_rate_hz must be positive"),
        ({"noise_levels": -1.0}, "noise_levels must be 0 or more"),
        ({"num_objects": 1, "crosses": True}, "crossing takes 2 objects"),
        ({"num_objects": 2, "crosses": True, "leaves": True}, "take 3 objects"),
        ({"num_objects": 100, "frame_hw": (60, 60)}, "do not fit"),
        ({"frame_hw": (0, 60)}, "frame_hw must be 16 pixels or more"),
    ],
)
def test_illegal_settings(settings_, message):
    with pytest.raises(InputError, match=message):
        ClipConfig(**settings_)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), seconds=st.floats(0, 100), num_objects=st.integers(2, 6))
def test_objects_keep_apart_unless_asked(seed, seconds, num_objects):
    """Each is as large as when it is drawn alone: nothing covers anything."""
    config = ClipConfig(frame_hw=(120, 200), num_objects=num_objects, seed=seed)
    scene = Scene(config)
    together = scene.draw(round(seconds * config.frame_rate_hz))[1]
    for actor in scene._actors:
        alone = Scene(config)
        alone._actors = [actor]
        labels = alone.draw(round(seconds * config.frame_rate_hz))[1]
        assert (together == actor.label).sum() == (labels == actor.label).sum()


def test_overlapping_objects_cover_one_another():
    config = ClipConfig(frame_hw=SMALL, num_objects=4, overlaps=True, frame_rate_hz=Fraction(2))
    areas = [np.bincount(Scene(config).draw(t)[1].ravel(), minlength=5)[1] for t in range(60)]
    assert min(areas) < 0.5 * max(areas)
