"""Frames to features: batches that do not fit, and a compiled encoder."""

import logging

import numpy as np
import pytest
import torch
from colour_sam import PALETTE, ColourSam

import vos
from vos.errors import DeviceError, is_out_of_memory
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
    """Has room for a few pictures at once."""

    def __init__(self, room: int, error: Exception) -> None:
        super().__init__(ColourSam())
        self.room = room
        self.error = error

    def encode(self, pictures):
        if len(pictures) > self.room:
            raise self.error
        return super().encode(pictures)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("GET was unable to find an engine to execute this computation"),
        MemoryError(),
    ],
    ids=["torch", "cpu", "driver", "cublas", "cudnn", "python"],
)
def test_a_batch_that_does_not_fit_is_halved_and_stays_so(error, caplog):
    sam = SmallMemory(2, error)
    with caplog.at_level(logging.WARNING, logger="vos"):
        encoded = list(encode(frames(11), sam, 8))
        again = list(encode(frames(11), sam, 8))
    assert [record.getMessage().split(" with ", 1)[1] for record in caplog.records] == [
        "8 pictures at once; going on with 4",
        "4 pictures at once; going on with 2",
    ]
    plain = list(encode(frames(11), SamModel(ColourSam()), 8))
    for one, other, expected in zip(encoded, again, plain, strict=True):
        assert one.frame.index == other.frame.index == expected.frame.index
        assert torch.equal(one.features, expected.features)
        assert torch.equal(other.features, expected.features)


class OneByOne(SamModel):
    """Has room for one picture, on a device that gets all windows at once."""

    def encode(self, pictures):
        if len(pictures) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().encode(pictures)


@pytest.mark.parametrize("method", [vos.Memory(), vos.PersamF(batch_size=4)])
def test_masks_are_the_same_where_memory_is_small(method, monkeypatch, caplog):
    monkeypatch.setattr("vos.track.batches.default_batch_size", lambda device: 8)
    rgb, labels = np.zeros((2, 96, 160, 3), np.uint8), np.zeros((96, 160), np.uint8)
    for object_id, x, y in ((1, 8, 8), (2, 120, 60)):
        part = slice(y, y + 24), slice(x, x + 24)
        rgb[(slice(None), *part)], labels[part] = PALETTE[object_id], object_id

    def follow(sam):
        pairs = vos.segment_video(
            vos.frames_from_arrays(rgb), labels, sam, vos.RunConfig(method=method)
        )
        return np.stack([masks.labels for _, masks in pairs])

    small = follow(OneByOne(ColourSam()))
    assert "going on with 1" in caplog.text
    np.testing.assert_array_equal(small, follow(SamModel(ColourSam())))
    assert set(np.unique(small[-1])) == {0, 1, 2}


def test_one_frame_that_does_not_fit_is_an_error():
    with pytest.raises(torch.OutOfMemoryError):
        list(encode(frames(3), SmallMemory(0, torch.OutOfMemoryError("CUDA out of memory")), 2))


def test_a_broken_cudnn_is_not_called_full_memory():
    error = RuntimeError("GET was unable to find an engine to execute this computation")
    with pytest.raises(RuntimeError, match="unable to find an engine") as raised:
        list(encode(frames(3), SmallMemory(0, error), 2))
    assert not is_out_of_memory(raised.value)


def test_other_errors_are_not_taken_for_full_memory(caplog):
    class Broken(SamModel):
        def encode(self, pictures):
            raise RuntimeError("a kernel failed")

    with pytest.raises(RuntimeError, match="a kernel failed"):
        list(encode(frames(4), Broken(ColourSam()), 4))
    assert not caplog.records


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
