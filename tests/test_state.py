"""States as bytes: the same record to the last bit, and nothing else from bad bytes."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypeVar

import numpy as np
import pytest
import safetensors.torch
import torch
from colour_sam import ColourSam
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from typing_extensions import TypeAliasType

import vos
from vos.errors import InputError
from vos.run.resume import Mark, Saved
from vos.run.state import decode_state, encode_state
from vos.segment.forward import Progress, segment_steps

CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True, eq=False)
class Inner:
    features: torch.Tensor
    boxes: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Outer:
    number: int
    share: float
    is_lost: bool
    name: str | None
    kind: Literal["far", "near"]
    sizes: tuple[int, int]
    inner: tuple[Inner, ...]
    ids: frozenset[int]
    memory: Inner | None
    mask: NDArray[np.bool_]


def outer(**changes: object) -> Outer:
    inner = Inner(torch.arange(24.0).view(2, 3, 4), np.arange(8).reshape(2, 4))
    record = Outer(
        number=7,
        share=0.1 + 0.2,
        is_lost=True,
        name=None,
        kind="near",
        sizes=(3, 4),
        inner=(inner, Inner(inner.features.permute(2, 0, 1), inner.boxes.T)),
        ids=frozenset({3, 1}),
        memory=None,
        mask=np.array([True, False]),
    )
    return replace(record, **changes)


def assert_equal(ours: object, theirs: object) -> None:
    """Equal in type, value and memory layout, to the last bit."""
    assert type(ours) is type(theirs)
    if isinstance(ours, torch.Tensor):
        assert (ours.dtype, ours.shape, ours.stride()) == (
            theirs.dtype,
            theirs.shape,
            theirs.stride(),
        )
        assert ours.contiguous().numpy().tobytes() == theirs.contiguous().numpy().tobytes()
    elif isinstance(ours, np.ndarray):
        assert (ours.dtype, ours.shape, ours.strides) == (
            theirs.dtype,
            theirs.shape,
            theirs.strides,
        )
        assert ours.tobytes() == theirs.tobytes()
    elif hasattr(ours, "__dataclass_fields__"):
        for each in fields(ours):
            assert_equal(getattr(ours, each.name), getattr(theirs, each.name))
    elif isinstance(ours, tuple):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            assert_equal(one, other)
    else:
        assert ours == theirs or (ours != ours and theirs != theirs)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"name": "object ö", "memory": outer().inner[1], "ids": frozenset()},
        {"share": math.inf},
        {"share": math.nan},
        {"number": 2**60, "inner": ()},
        {"mask": np.zeros((0, 3), np.bool_)},
    ],
)
def test_records_come_back_to_the_last_bit(changes):
    record = outer(**changes)
    assert_equal(decode_state(Outer, encode_state(record), CPU), record)


def test_all_tensors_go_to_the_device_of_the_model():
    """Also those that a run on the CPU left, so that it goes on on a GPU."""
    record = outer(memory=outer().inner[1])
    found = decode_state(Outer, encode_state(record), torch.device("meta"))
    assert {each.features.device.type for each in (*found.inner, found.memory)} == {"meta"}


Scalar = TypeVar("Scalar", bound=np.generic)
Aliased = TypeAliasType("Aliased", np.ndarray[Any, np.dtype[Scalar]], type_params=(Scalar,))
"""As numpy 2.5 and later define NDArray."""


@dataclass(frozen=True)
class WithAlias:
    boxes: Aliased[np.int64]
    mask: Aliased[np.bool_] | None


@pytest.mark.parametrize("mask", [np.array([True, False]), None])
def test_arrays_by_an_alias_of_their_type_come_back(mask):
    record = WithAlias(np.arange(4), mask)
    assert_equal(decode_state(WithAlias, encode_state(record), CPU), record)
    wrong = encode_state(WithAlias(np.arange(4.0), mask))
    with pytest.raises(InputError, match="an array of float64 stands where"):
        decode_state(WithAlias, wrong, CPU)


def test_equal_records_give_equal_bytes():
    assert encode_state(outer()) == encode_state(outer())
    assert encode_state(outer()) != encode_state(outer(number=8))


def test_views_and_frozen_arrays_are_saved_by_value():
    boxes = np.arange(16).reshape(2, 8)[:, ::-2]
    boxes.flags.writeable = False
    features = torch.arange(6.0)[None].expand(4, 6)[:, 1:3]
    found = decode_state(Inner, encode_state(Inner(features, boxes)), CPU)
    np.testing.assert_array_equal(found.boxes, boxes)
    assert torch.equal(found.features, features)


@pytest.mark.parametrize("value", [[1], {"a": 1}, object(), np.float32(1), 1j, b"x"])
def test_other_values_are_refused_when_they_are_saved(value):
    with pytest.raises(InputError, match="a state cannot hold"):
        encode_state(outer(name=value))


@pytest.fixture(scope="module")
def saved() -> bytes:
    """The state of a video with references, before and after the last of them."""
    labels = np.zeros((48, 80), np.uint8)
    labels[10:30, 10:30] = 1
    rgb = np.repeat(labels[:, :, None] * np.uint8(200), 3, axis=2)
    frames = vos.frames_from_arrays([rgb] * 3)
    config = vos.RunConfig()
    steps = segment_steps(
        frames, labels, vos.SamModel(ColourSam()), config, later_references={1: labels}
    )
    progresses = [step.progress for step in steps]
    assert [len(progress.state.references) for progress in progresses] == [1, 0, 0]
    for progress in progresses:
        assert_equal(decode_state(Progress, encode_state(progress), CPU), progress)
    return encode_state(Saved("{}", 1, Mark(0, 0, 0.0, "00000", "x"), progresses[0], 0.0))


@settings(max_examples=150)
@given(place=st.floats(0, 1, exclude_max=True), bits=st.integers(1, 255))
def test_any_changed_byte_is_found(saved, place, bits):
    changed = bytearray(saved)
    changed[int(place * len(saved))] ^= bits
    with pytest.raises(InputError):
        decode_state(Saved, bytes(changed), CPU)


@settings(max_examples=50)
@given(length=st.floats(0, 1, exclude_max=True), rest=st.binary(max_size=40))
def test_any_changed_length_is_found(saved, length, rest):
    cut = saved[: int(length * len(saved))] + rest
    with pytest.raises(InputError):
        decode_state(Saved, cut, CPU)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data):
    with pytest.raises(InputError):
        decode_state(Saved, data, CPU)


def sealed(body: bytes) -> bytes:
    return b"vos state 2 " + hashlib.sha256(body).hexdigest().encode() + b"\n" + body


@given(st.binary(max_size=200))
def test_bytes_with_a_forged_checksum_are_refused(body):
    with pytest.raises(InputError):
        decode_state(Saved, sealed(body), CPU)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


def paths_in(node: object, path: tuple = ()) -> list[tuple]:
    """Where every part of a JSON document stands."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    nested = [(key, each) for key, each in items if isinstance(each, dict | list)]
    own = [(*path, key) for key in (node if isinstance(node, dict) else range(len(node)))]
    return own + [found for key, each in nested for found in paths_in(each, (*path, key))]


@settings(max_examples=60)
@given(data=st.data())
def test_a_forged_document_gives_a_record_of_the_right_types_or_an_error(saved, data):
    """Whatever stands in its JSON, what comes back can be encoded again as it is."""
    tensors = safetensors.torch.load(saved.partition(b"\n")[2])
    document = json.loads(tensors["document"].numpy().tobytes())
    *path, key = data.draw(st.sampled_from(paths_in(document)))
    node = document
    for step in path:
        node = node[step]
    node[key] = data.draw(JSON)
    text = bytearray(json.dumps(document).encode())
    tensors["document"] = torch.frombuffer(text, dtype=torch.uint8)
    try:
        found = decode_state(Saved, sealed(safetensors.torch.save(tensors)), CPU)
    except InputError:
        return
    assert_equal(decode_state(Saved, encode_state(found), CPU), found)


def test_arrays_of_another_dtype_are_refused():
    wrong = replace(outer(), mask=np.zeros(2, np.float32))
    with pytest.raises(InputError, match=r"float32 stands where .*bool"):
        decode_state(Outer, encode_state(wrong), CPU)
