"""The embedded model, loaded once in each process of the tests."""

from functools import cache

import vos


@cache
def load_nano() -> vos.SamModel:
    """Give the same object every time: a model keeps nothing of what it is asked."""
    return vos.load_sam("nano", device="cpu", dtype="float32")
