"""When what looks like a lost object is it."""

import torch

from vos.track.memory.correspond import RememberedCells, object_cells
from vos.track.memory.presence import presence, resemblance

HEAD, BODY, LEGS, WALL = torch.eye(4)


def remembered(*object_cells_, background=(WALL,)):
    cells = torch.stack([*object_cells_, *background])
    labels = torch.tensor([1.0] * len(object_cells_) + [0.0] * len(background))
    return RememberedCells(cells, labels, torch.zeros(len(cells), 2))


def presence_of(*found, last=None):
    cells, shares = torch.stack([*found, WALL]), torch.tensor([1.0] * len(found) + [0.0])
    reference = remembered(HEAD, BODY, LEGS)
    return presence(resemblance(cells, shares, [reference], last, self_similarity=1.0))


def test_the_whole_object_is_taken_up():
    assert presence_of(HEAD, BODY, LEGS) > 0.9
    assert presence_of(HEAD, BODY, LEGS, last=remembered(HEAD, BODY, LEGS)) > 0.9


def test_what_resembles_one_part_is_not_the_object():
    """Each cell of the find is like the object's, but of the object most is missing."""
    assert presence_of(BODY, BODY, BODY) < 0.1


def test_what_was_not_there_last_is_doubtful():
    assert presence_of(HEAD, BODY, LEGS, last=remembered(WALL, background=())) < 0.3


def test_a_memory_of_background_alone_has_no_cells_of_the_object():
    assert len(object_cells([remembered(HEAD), remembered()])) == 1
    # Where no cell is mostly the object's, those with most of it are.
    rim = RememberedCells(torch.eye(4), torch.tensor([0.0, 0.1, 0.2, 0.2]), torch.zeros(4, 2))
    assert len(object_cells([rim])) == 2
