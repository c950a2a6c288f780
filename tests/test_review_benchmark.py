"""What the benchmark of ``vos review`` counts, and that its fit finds what made frames wrong."""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import review


def test_faults_are_stretches_of_wrong_frames():
    is_wrong = np.array([1, 1, 0, 0, 1, 0, 1], bool)
    assert list(review.faults_of(is_wrong)) == [(0, 1), (4, 4), (6, 6)]
    assert list(review.faults_of(is_wrong & False)) == []


def test_the_first_tenth_is_the_one_of_the_highest_risks():
    risks = np.linspace(0, 1, 30)
    is_wrong = np.zeros(30, bool)
    is_wrong[[0, 26, 27, 29]] = True
    assert review.first_wrong(risks, is_wrong) == 2
    assert review.area_under_roc(risks, is_wrong & (risks > 0.5)) > 0.95


def test_the_fit_finds_the_sign_that_counts():
    random = np.random.default_rng(0)
    signs = random.random((2000, 3))
    is_wrong = random.random(2000) < 1 / (1 + np.exp(-8 * signs[:, 1] + 5))
    weights = review.fit(signs, is_wrong)
    assert weights[1] > 4
    assert np.all(weights[[0, 2]] < 1)
    assert np.all(weights[:-1] >= 0)
