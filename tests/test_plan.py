"""Who is tracked where: by references, absences and the frames wanted alone."""

import numpy as np
import pytest

from vos.errors import InputError
from vos.segment.plan import (
    END,
    Window,
    check_absences,
    merged,
    plan_both_ways,
    plan_forwards,
    trusting,
)
from vos.track.passes import LOST_FOR_LONG


def labels(*object_ids: int) -> np.ndarray:
    picture = np.zeros((2, 4), np.uint8)
    picture[0, : len(object_ids)] = object_ids
    return picture


def stretches(wanted) -> list[tuple]:
    return [
        (each.object_id, each.first, each.last, each.reference_index, each.num_frames_lost)
        for each in wanted.stretches
    ]


def both_ways(references, absences=None, **window):
    plan = plan_both_ways(references, absences or {}, Window(**({"first": 0} | window)))
    return stretches(plan.forwards), stretches(plan.backwards)


def test_one_reference_is_tracked_to_both_ends():
    assert both_ways({7: labels(1)}) == ([(1, 8, None, 7, 0)], [(1, 0, 6, 7, 0)])


def test_between_two_references_both_sides_meet_in_the_middle():
    forwards, backwards = both_ways({0: labels(1), 7: labels(1)})
    assert forwards == [(1, 1, 3, 0, 0), (1, 8, None, 7, 0)]
    assert backwards == [(1, 4, 6, 7, 0)]


def test_every_object_has_references_of_its_own():
    forwards, backwards = both_ways({0: labels(1), 4: labels(2), 9: labels(1, 2)})
    assert forwards == [(1, 1, 4, 0, 0), (1, 10, None, 9, 0), (2, 5, 6, 4, 0), (2, 10, None, 9, 0)]
    assert backwards == [(1, 5, 8, 9, 0), (2, 0, 3, 4, 0), (2, 7, 8, 9, 0)]


def test_neighbours_leave_nothing_between_them():
    assert both_ways({3: labels(1), 4: labels(1)}, first=3) == ([(1, 5, None, 4, 0)], [])


def test_an_object_is_searched_after_its_absence():
    forwards, backwards = both_ways({0: labels(1)}, {1: [(4, 6), (5, 9)]})
    assert forwards == [(1, 1, 3, 0, 0), (1, 10, None, 0, LOST_FOR_LONG)]
    assert backwards == []


def test_an_absence_between_two_references_is_met_from_both_sides():
    forwards, backwards = both_ways({0: labels(1), 20: labels(1)}, {1: [(4, 6)]}, last=20)
    assert forwards == [(1, 1, 3, 0, 0)]
    assert backwards == [(1, 7, 19, 20, 0)]


def test_an_absence_before_the_only_reference_is_searched_backwards():
    forwards, backwards = both_ways({9: labels(1)}, {1: [(4, 6)]}, last=9)
    assert forwards == []
    assert backwards == [(1, 0, 3, 9, LOST_FOR_LONG), (1, 7, 8, 9, 0)]


def test_a_window_between_references_starts_with_a_search_from_the_nearer_one():
    near_first, near_last = (
        both_ways({0: labels(1), 40: labels(1)}, first=first, last=first + 10) for first in (5, 28)
    )
    assert near_first == ([(1, 5, 15, 0, 4)], [])
    assert near_last == ([], [(1, 28, 38, 40, 1)])


def test_frames_that_are_not_used_do_not_count():
    forwards, _ = both_ways({0: labels(1)}, first=40, every=4)
    assert forwards == [(1, 40, None, 0, 9)]


def test_forwards_alone_objects_are_known_from_their_first_reference_on():
    references = {2: labels(1), 5: labels(1, 2)}
    plan = plan_forwards(references, {1: [(7, 8)]}, Window(first=0))
    assert plan.forwards.learns
    assert stretches(plan.forwards) == [
        (1, 2, 6, None, 0),
        (1, 9, None, 5, LOST_FOR_LONG),
        (2, 5, None, None, 0),
    ]
    assert plan.backwards.stretches == ()
    assert [(gap.object_id, gap.first, gap.last, gap.before.index) for gap in plan.gaps] == [
        (1, 3, 4, 2),
        (1, 6, 6, 5),
        (1, 9, END, 5),
        (2, 6, END, 5),
    ]


def test_a_side_is_trusted_up_to_its_first_doubt():
    plan = plan_both_ways({0: labels(1), 20: labels(1), 30: labels(1)}, {}, Window(first=0))
    gaps = trusting(plan.gaps, [(1, 14), (2, 19), (1, 26), (1, 12), (1, 3)])
    assert [gap.last_forwards for gap in gaps] == [14, 26, END]
    (first, second, _) = gaps
    assert (first.forwards.last, first.backwards.first) == (14, 15)
    assert (second.forwards.last, second.backwards.first) == (26, 27)


def test_before_the_first_reference_there_is_no_other_side():
    plan = plan_both_ways({9: labels(1)}, {}, Window(first=0))
    assert trusting(plan.gaps, [(1, 3)]) == [*plan.gaps]


@pytest.mark.parametrize(
    ("absences", "message"),
    [
        ({1: [(4, 9)]}, "object 1 in frame 5"),
        ({2: [(4, 9)]}, "object 2 cannot be absent"),
    ],
)
def test_absences_that_cannot_be(absences, message):
    with pytest.raises(InputError, match=message):
        check_absences({0: labels(1), 5: labels(1)}, absences)


def test_spans_join_where_they_touch():
    assert merged([(5, 6), (0, 2), (3, 3), (6, 9)]) == [(0, 3), (5, 9)]
