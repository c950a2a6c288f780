"""The tool that fits a score's weights: what it fits, and what it listens to."""

import sys
from pathlib import Path

import numpy as np
import pytest

import vos
from vos.synthetic import ClipConfig, make_clip
from vos.track.memory import trust

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

from calibrate_score import Tracked, fit, report, track

WEIGHTS = np.array([3.0, 1.0, 2.0, 0.5, -4.0])


def videos(num_videos=3, num_frames=400):
    rng = np.random.default_rng(0)
    evidence = rng.uniform(0, 1, (num_videos, num_frames, 4))
    ious = 1 / (1 + np.exp(-evidence @ WEIGHTS[:-1] - WEIGHTS[-1]))
    return [Tracked(*each) for each in zip(evidence, ious, strict=True)]


def test_the_fit_finds_the_weights_that_made_the_ious():
    # The decay pulls weights towards 0 a little.
    np.testing.assert_allclose(fit(videos()), WEIGHTS, rtol=0.1)


def test_right_weights_have_no_error_and_wrong_ones_do(capsys):
    clips = videos()
    report("right", clips, [WEIGHTS] * len(clips))
    report("wrong", clips, [np.array([0, 0, 0, 0.5, 3.0])] * len(clips))
    right, wrong = capsys.readouterr().out.split("wrong")
    assert "expected IoU: mean error 0.000, calibration error 0.000, rank correlation 1.00" in right
    assert "expected IoU: mean error 0.000" not in wrong


def test_tracking_gives_what_spoke_for_each_frame(nano):
    config = ClipConfig(num_frames=4, frame_hw=(96, 128), num_objects=1, seed=1)
    clip = [(frame.rgb, labels == 1) for frame, labels in make_clip(config)]
    tracked = track(clip, nano)
    assert tracked.evidence.shape == (3, 4)
    assert ((tracked.evidence >= 0) & (tracked.evidence <= 1)).all()
    assert tracked.ious.min() > 0.7
    frames = vos.frames_from_arrays([rgb for rgb, _ in clip])
    results = vos.segment_video(frames, clip[0][1].astype(np.uint8), nano)
    scores = [masks.scores[0] for _, masks in results][1:]
    for evidence, score in zip(tracked.evidence, scores, strict=True):
        assert trust.expected_iou(trust.Evidence(*evidence)) == pytest.approx(score, abs=1e-6)
