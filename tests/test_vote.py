"""The final mask of head, SAM and correspondence."""

import torch

from vos.track.memory.vote import combine

SIDE = 32


def mask(rows, columns):
    """Logits of +-6: a rectangle of decoder pixels."""
    logits = torch.full((SIDE, SIDE), -6.0)
    logits[slice(*rows), slice(*columns)] = 6.0
    return logits


WHOLE, PART = mask((4, 28), (4, 24)), mask((4, 20), (4, 24))  # PART lacks eight rows


def is_equal(logits, wanted):
    return bool(((logits > 0) == (wanted > 0)).all())


def test_a_part_that_the_head_lost_comes_back_where_the_correspondence_has_it():
    assert is_equal(combine(PART, WHOLE, WHOLE), WHOLE)
    assert is_equal(combine(PART, WHOLE, PART), PART)


def test_what_sam_lost_or_added_stays_or_goes_by_the_same_vote():
    assert is_equal(combine(WHOLE, PART, WHOLE), WHOLE)
    assert is_equal(combine(WHOLE, PART, PART), PART)


def test_the_correspondence_is_not_asked_where_both_agree():
    everywhere, nowhere = torch.full((2, SIDE, SIDE), 6.0) * torch.tensor([1, -1])[:, None, None]
    for opinion in (everywhere, nowhere):
        assert torch.equal(combine(WHOLE, WHOLE, opinion), WHOLE)


def test_without_a_vote_three_quarters_are_the_heads():
    assert is_equal(combine(PART, WHOLE, None), PART)
    assert torch.equal(combine(WHOLE, WHOLE, None), WHOLE)


def test_no_opinion_outweighs_two_others():
    assert is_equal(combine(-1000 * torch.ones(SIDE, SIDE), WHOLE, WHOLE), WHOLE)
    # Nor is one so sure that a share of the other cannot move it.
    assert combine(1000 * WHOLE, WHOLE, None).abs().max() <= 8
