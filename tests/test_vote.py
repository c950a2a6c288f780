"""The final mask of head, SAM and correspondence."""

import torch

from vos.track.memory.vote import combine

SIDE = 32


def mask(rows, columns):
    """Logits of +-6: a rectangle of decoder pixels."""
    logits = torch.full((SIDE, SIDE), -6.0)
    logits[slice(*rows), slice(*columns)] = 6.0
    return logits


WHOLE, PART = mask((4, 28), (4, 24)), mask((4, 27), (4, 24))  # PART lacks one row of 24
THIRD, QUARTER = mask((4, 12), (4, 24)), mask((4, 10), (4, 24))
HALF = mask((4, 16), (4, 24))
NOWHERE = torch.full((SIDE, SIDE), -6.0)


def is_equal(logits, wanted):
    return bool(((logits > 0) == (wanted > 0)).all())


def test_whichever_is_more_like_the_correspondence_decides():
    assert is_equal(combine(HALF, WHOLE, WHOLE).logits, WHOLE)
    assert is_equal(combine(HALF, WHOLE, HALF).logits, HALF)
    assert is_equal(combine(WHOLE, HALF, WHOLE).logits, WHOLE)
    assert is_equal(combine(WHOLE, HALF, HALF).logits, HALF)


def test_a_small_part_that_one_of_them_lost_comes_back_where_the_correspondence_has_it():
    assert is_equal(combine(PART, WHOLE, WHOLE).logits, WHOLE)
    assert is_equal(combine(WHOLE, PART, WHOLE).logits, WHOLE)


def test_a_little_more_or_less_of_the_correspondence_changes_nothing_where_both_agree():
    for opinion in (PART, mask((4, 29), (4, 24))):
        assert is_equal(combine(WHOLE, WHOLE, opinion).logits, WHOLE)


def test_where_both_lost_much_but_not_the_same_the_correspondence_is_believed_and_remembered():
    combined = combine(THIRD, QUARTER, WHOLE)
    assert is_equal(combined.logits, WHOLE)
    assert is_equal(combined.sam_logits, WHOLE)


def test_where_both_agree_that_there_is_less_something_hides_the_object():
    combined = combine(HALF, HALF, WHOLE)
    assert is_equal(combined.logits, HALF)
    assert torch.equal(combined.sam_logits, HALF)


def test_where_both_have_much_more_the_correspondence_is_not_believed():
    combined = combine(WHOLE, WHOLE, HALF)
    assert is_equal(combined.logits, WHOLE)
    assert torch.equal(combined.sam_logits, WHOLE)


def test_a_correspondence_of_nothing_leaves_what_both_say():
    assert is_equal(combine(WHOLE, WHOLE, NOWHERE).logits, WHOLE)


def test_without_a_vote_three_quarters_are_the_heads():
    assert is_equal(combine(PART, WHOLE, None).logits, PART)
    assert torch.equal(combine(WHOLE, WHOLE, None).logits, WHOLE)
    assert torch.equal(combine(PART, WHOLE, None).sam_logits, WHOLE)


def test_no_opinion_is_so_sure_that_the_others_cannot_move_it():
    assert is_equal(combine(-1000 * torch.ones(SIDE, SIDE), WHOLE, WHOLE).logits, WHOLE)
    assert combine(1000 * WHOLE, WHOLE, None).logits.abs().max() <= 8
