"""Frames to features: batches that do not fit, and a compiled encoder."""

import logging

import numpy as np
import pytest
import torch
from colour_sam import ColourSam

from vos.errors import DeviceError
from vos.records import Frame
from vos.sam.model import SamModel
from vos.track.published.encode import encode


def frames(number: int) -> list[Frame]:
    rng = np.random.default_rng(0)
    return [
        Frame(n, n / 25, f"{n:05d}", rng.integers(0, 256, (48, 90, 3), dtype=np.uint8))
        for n in range(number)
    ]


class SmallMemory(SamModel):
    """Has room for a few frames at once."""

    def __init__(self, room: int) -> None:
        super().__init__(ColourSam())
        self.room = room
        self.tried: list[int] = []

    def encode(self, pictures):
        self.tried.append(len(pictures))
        if len(pictures) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().encode(pictures)


def test_a_batch_that_does_not_fit_is_halved_and_stays_so(caplog):
    sam = SmallMemory(room=2)
    with caplog.at_level(logging.WARNING, logger="vos"):
        encoded = list(encode(frames(11), sam, 8))
    assert [one.frame.index for one in encoded] == list(range(11))
    assert sam.tried == [8, 4, 2, 2, 2, 2, 2, 1]
    assert [record.getMessage().split(" with ", 1)[1] for record in caplog.records] == [
        "8 frames at once; going on with 4",
        "4 frames at once; going on with 2",
    ]
    plain = SamModel(ColourSam())
    for one in encoded:
        assert torch.equal(one.features, plain.encode([one.frame.rgb])[0])


def test_one_frame_that_does_not_fit_is_an_error():
    with pytest.raises(torch.OutOfMemoryError):
        list(encode(frames(3), SmallMemory(room=0), 2))


def test_other_errors_are_not_taken_for_full_memory():
    class Broken(SmallMemory):
        def encode(self, pictures):
            self.tried.append(len(pictures))
            raise RuntimeError("a kernel failed")

    sam = Broken(room=8)
    with pytest.raises(RuntimeError, match="a kernel failed"):
        list(encode(frames(4), sam, 4))
    assert sam.tried == [4]


def test_a_compiled_encoder_gives_the_same(monkeypatch):
    compiled = []

    def compile_(call):
        compiled.append(call)
        return call

    monkeypatch.setattr(torch, "compile", compile_)
    picture = frames(1)[0].rgb
    features = SamModel(ColourSam(), compiled=True).encode([picture])
    assert len(compiled) == 1
    assert torch.equal(features, SamModel(ColourSam()).encode([picture]))


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method`:DeprecationWarning")
def test_a_user_is_told_that_nothing_can_be_compiled(monkeypatch):
    from torch._dynamo.exc import BackendCompilerFailed

    picture = frames(1)[0].rgb

    def fails(call):
        def program(images):
            raise BackendCompilerFailed(call, RuntimeError("no compiler\nat all"), None)

        return program

    monkeypatch.setattr(torch, "compile", fails)
    with pytest.raises(DeviceError, match="no compiler") as caught:
        SamModel(ColourSam(), compiled=True).encode([picture])
    assert "\n" not in str(caught.value)
    assert "--compile" in str(caught.value)


def test_other_failures_of_a_program_are_its_own(monkeypatch):
    def program(images):
        raise RuntimeError("a kernel failed")

    monkeypatch.setattr(torch, "compile", lambda call: program)
    with pytest.raises(RuntimeError, match="a kernel failed") as caught:
        SamModel(ColourSam(), compiled=True).encode([frames(1)[0].rgb])
    assert type(caught.value) is RuntimeError
