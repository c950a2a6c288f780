"""Mean, Recall and Decay."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vos.score.problems import Problem, describe
from vos.score.scores import MEASURES, Statistics


def j_figures(values):
    statistics = Statistics.of_frames(np.array(values), np.zeros(len(values)))
    return statistics.j_mean, statistics.j_recall, statistics.j_decay


@pytest.mark.parametrize(
    ("values", "figures"),
    [
        ([0.5], (0.5, 0, 0)),
        ([1.0, 0.0], (0.5, 0.5, 1)),
        # Cuts at frames 1, 2, 3, 4, 5: the first quarter is frames 1 and 2, the last 4 and 5.
        ([1.0, 0.6, 0.0, 0.2, 0.4], (0.44, 0.4, 0.5)),
    ],
)
def test_by_hand(values, figures):
    assert j_figures(values) == pytest.approx(figures)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=256))
def test_decay_is_the_official_one_up_to_256_frames(values):
    cuts = np.round(np.linspace(1, len(values), 5) + 1e-10) - 1
    cuts = cuts.astype(np.uint8)
    first, last = values[cuts[0] : cuts[1] + 1], values[cuts[3] : cuts[4] + 1]
    assert j_figures(values)[2] == pytest.approx(np.mean(first) - np.mean(last))


def test_decay_beyond_256_frames():
    assert j_figures([1.0] * 500 + [0.0] * 500)[2] == 1


def test_measures_have_davis_names_and_order():
    statistics = Statistics(0.25, 2, 3, 0.75, 5, 6)
    assert list(statistics.measures()) == list(MEASURES)
    assert list(statistics.measures().values()) == [0.5, 0.25, 2, 3, 0.75, 5, 6]


def test_means_over_objects():
    parts = [Statistics(0, 1, 2, 3, 4, 5), Statistics(2, 3, 4, 5, 6, 7)]
    assert Statistics.mean_of(parts) == Statistics(1, 2, 3, 4, 5, 6)


def test_problems_are_put_together_by_reason():
    problems = [Problem("a", f"{number:05d}", "no result") for number in range(7)]
    problems += [Problem(name, None, "is not annotated") for name in "bc"]
    assert describe(problems) == [
        "a, 00000, 00001, 00002, 00003, 00004 and 2 more: no result",
        "b, c: is not annotated",
    ]
