"""What became of each object, counted while frames pass by."""

import itertools
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vos.sink.tallies import MAX_RANGES, ObjectTallies, report_objects, unsure_from_the_start


def counted(states: str, indices=None, min_score: float = 0.5) -> dict[str, object]:
    """Tally one object: ``+`` seen, ``?`` seen but doubtful, ``-`` absent."""
    tallies = ObjectTallies(min_score)
    for index, state in zip(indices or range(len(states)), states, strict=False):
        score = {"+": min_score, "?": min_score - 0.01, "-": 0.0}[state]
        tallies.add(index, [{"id": 2, "present": state != "-", "score": score}])
    (row,) = tallies.rows()
    return row


@pytest.mark.parametrize(
    ("states", "line"),
    [
        ("+" * 5, "in 5 of 5 frames"),
        ("+" * 76 + "-" * 9 + "?" * 204, "in 280 of 289 frames, lost 76-84, doubtful 85-288"),
        ("+-+-?", "in 3 of 5 frames, lost 1, 3, doubtful 4"),
        ("--+-+", "in 2 of 5 frames, first in frame 2, lost 3"),
        ("---", "in none of 3 frames"),
        ("+" + "-+" * 20, "in 21 of 41 frames, lost 1, 3, 5, 7, 9, 11, 13, 15 and more, 20 frames"),
    ],
)
def test_the_report_of_an_object(states, line):
    (got,) = report_objects([counted(states)])
    assert got.startswith(f"object 2: {line}")


@pytest.mark.parametrize(
    ("states", "is_unsure"),
    [
        ("+?-?", True),
        ("??-?", True),  # the reference came from a hint that says little
        ("-+--", True),
        ("?+?-", False),
        ("+?+?", False),
        ("+", False),
        ("?", False),
        ("---", False),
    ],
)
def test_an_object_that_is_never_sure_after_its_reference(states, is_unsure):
    assert unsure_from_the_start([counted(states)]) == [2] * is_unsure


def test_the_report_calls_objects_by_their_names():
    assert report_objects([counted("+")], {2: "dog"}) == ["object 2 (dog): in 1 of 1 frames"]
    assert report_objects([counted("+")], {1: "dog"}) == ["object 2: in 1 of 1 frames"]


def test_ranges_are_of_the_source_s_own_numbers():
    """Frames follow one another if nothing used lies between."""
    row = counted("+--+-", indices=[75, 80, 85, 90, 95])
    assert row["lost"] == [[80, 85], [95, 95]]
    assert row["first_index"] == 75


@given(st.text(alphabet="+-?", min_size=1, max_size=60))
def test_ranges_say_neither_more_nor_less(states):
    row = counted(states)
    first = states.replace("?", "+").find("+")
    lost = [t for t, state in enumerate(states) if state == "-" and -1 < first < t]
    doubtful = [t for t, state in enumerate(states) if state == "?"]
    for name, want in (("lost", lost), ("doubtful", doubtful)):
        assert [t for a, b in row[name] for t in range(a, b + 1)] == want
        assert row[f"num_{name}"] == len(want)
        assert all(b + 1 < c for (_, b), (c, _) in itertools.pairwise(row[name]))
    assert row["num_present"] == len(states) - states.count("-")


def test_memory_does_not_grow_with_an_object_that_flickers():
    tallies = ObjectTallies()
    for index in range(6 * MAX_RANGES):
        tallies.add(index, [{"id": 1, "present": index % 2 == 0, "score": 1.0}])
    (row,) = tallies.rows()
    assert len(row["lost"]) == MAX_RANGES
    assert row["num_lost"] == 3 * MAX_RANGES
    assert sys.getsizeof(tallies._objects[1].lost.ranges) < 100 * MAX_RANGES
    assert report_objects([row])[0].endswith(f"and more, {3 * MAX_RANGES} frames in all")
