"""The rules for ids, void and binary masks."""

import numpy as np
import pytest
from score_masks import square

from vos.score.labels import LabelRule, annotated_objects, predicted_objects, rule_of

BINARY = LabelRule(1, is_binary=True, is_joined=False)
TWO = LabelRule(2, is_binary=False, is_joined=False)
JOINED = LabelRule(1, is_binary=False, is_joined=True)


def row(*values):
    return np.array([values], np.uint8)


@pytest.mark.parametrize(
    ("first", "join_objects", "rule"),
    [
        (row(0, 255), False, BINARY),
        (row(255, 255), False, BINARY),
        (row(0, 1, 2, 255), False, TWO),
        (row(0, 1, 2), True, JOINED),
        (row(0, 2, 4), False, LabelRule(4, is_binary=False, is_joined=False, absent_ids=(1, 3))),
        (row(0, 0), False, LabelRule(0, is_binary=False, is_joined=False)),
        (row(0, 0), True, LabelRule(0, is_binary=False, is_joined=True)),
    ],
)
def test_the_first_annotation_makes_the_rule(first, join_objects, rule):
    assert rule_of(first, join_objects=join_objects) == rule


@pytest.mark.parametrize(
    ("rule", "stored", "read"),
    [
        (BINARY, row(0, 255, 254), row(0, 1, 1)),
        (TWO, row(0, 2, 255), row(0, 2, 255)),
        (JOINED, row(0, 2, 7, 255), row(0, 1, 1, 255)),
    ],
)
def test_annotations(rule, stored, read):
    np.testing.assert_array_equal(annotated_objects(stored, rule), read)


@pytest.mark.parametrize(
    ("rule", "stored", "objects", "unknown"),
    [
        (BINARY, row(0, 255, 255), row(0, 1, 1), ()),
        (BINARY, row(0, 1), row(0, 1), ()),
        (BINARY, row(0, 1, 255), row(0, 1, 0), (255,)),
        (LabelRule(1, False, False), row(0, 255), row(0, 1), ()),
        (LabelRule(1, False, False), row(0, 1, 2, 9), row(0, 1, 0, 0), (2, 9)),
        (TWO, row(0, 255), row(0, 0), (255,)),
        (TWO, row(2, 1), row(2, 1), ()),
        (JOINED, row(0, 1, 5), row(0, 1, 1), ()),
        (JOINED, row(0, 5, 255), row(0, 1, 0), (255,)),
        (JOINED, row(0, 255), row(0, 1), ()),
    ],
)
def test_predictions(rule, stored, objects, unknown):
    read, found = predicted_objects(stored, rule)
    read = np.where(read > rule.num_objects, 0, read)
    np.testing.assert_array_equal(read, objects)
    assert found == unknown


def test_reading_leaves_the_stored_map_alone():
    stored = square(255)
    annotated_objects(stored, BINARY)
    predicted_objects(stored, BINARY)
    np.testing.assert_array_equal(stored, square(255))
