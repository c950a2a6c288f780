"""Saved states with a right checksum and wrong contents: a documented error, or a legal run."""

import contextlib
import errno
import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from interrupted_runs import NUM_FRAMES, OPTIONS, make_clip, shell

from vos.errors import OutputError
from vos.masks import read_label_png, write_label_png

RUN = ("clip.mp4", *OPTIONS, "--save-every", 0, "--ref", "13:later.png", "--causal")
NUM_DONE = 11
STATE = Path("out", ".clip.unfinished", "state")

NUMBERS = (None, True, -1, 0, 1, 0.5, 300, 2**31, 2**62, 2**80, -1e300, float("nan"), float("inf"))
VALUES = (*NUMBERS, "x", "../../x", [], {}, [1, 2, 3])

TENSORS = {
    "of NaN": lambda tensor: torch.full_like(
        tensor if tensor.is_floating_point() else tensor.float(), torch.nan
    ),
    "one infinite": lambda tensor: (
        tensor.float().clone().index_fill(-1, torch.tensor([0]), torch.inf)
        if tensor.ndim
        else tensor.float() / 0
    ),
    "of zeros": torch.zeros_like,
    "huge": lambda tensor: torch.full_like(tensor, 1) * 1e30,
    "largest": lambda tensor: (
        torch.full_like(tensor, torch.finfo(torch.float32).max)
        if tensor.is_floating_point()
        else torch.full_like(tensor, 1) * 127
    ),
    "negative": lambda tensor: -tensor if tensor.is_floating_point() else ~tensor,
    "a row less": lambda tensor: tensor[1:] if tensor.ndim else tensor,
    "a column less": lambda tensor: tensor[..., 1:] if tensor.ndim else tensor,
    "a row more": lambda tensor: torch.cat([tensor, tensor[:1]]) if tensor.ndim else tensor,
    "empty": lambda tensor: tensor[:0] if tensor.ndim else tensor.reshape(1)[:0],
    "an axis more": lambda tensor: tensor[None],
    "an axis less": lambda tensor: tensor.sum(0, dtype=tensor.dtype) if tensor.ndim else tensor,
    "turned": lambda tensor: tensor.T.contiguous() if tensor.ndim == 2 else tensor.flatten(),
    "larger": lambda tensor: tensor.expand(3, *tensor.shape).flatten(),
    "of doubles": torch.Tensor.double,
    "of halves": torch.Tensor.half,
    "of bytes": lambda tensor: tensor.to(torch.uint8),
    "of bfloat16": torch.Tensor.bfloat16,
    "of truth values": torch.Tensor.bool,
    "complex": lambda tensor: tensor.to(torch.complex64),
}


@pytest.fixture(scope="module", params=["memory", "persam-f"])
def broken_off(request, tmp_path_factory) -> tuple[Path, tuple[str, ...]]:
    """A folder with a run that broke off, and its command; a reference is still to come."""
    folder = tmp_path_factory.mktemp(request.param)
    make_clip(folder)
    run = (*RUN, "--method", request.param)
    num_written = 0

    def until_full(path: Path, labels: np.ndarray) -> None:
        nonlocal num_written
        num_written += 1
        if num_written > NUM_DONE:
            raise OutputError(os.strerror(errno.ENOSPC))
        write_label_png(path, labels)

    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(folder):
        patch.setattr("vos.sink.label_pngs.write_label_png", until_full)
        assert shell(*run) == 1
        assert STATE.exists()
    return folder, run


def opened(state: bytes) -> tuple[object, dict[str, torch.Tensor]]:
    """Take a state apart: its document, and its tensors."""
    tensors = safetensors.torch.load(state.partition(b"\n")[2])
    return json.loads(tensors.pop("document").numpy().tobytes()), tensors


def sealed(document: object, tensors: dict[str, torch.Tensor]) -> bytes:
    """Put a state together, with the checksum that belongs to it."""
    text = torch.frombuffer(bytearray(json.dumps(document).encode()), dtype=torch.uint8)
    tensors = {key: tensor.contiguous().clone() for key, tensor in tensors.items()}
    body = safetensors.torch.save({**tensors, "document": text})
    return b"vos state 2 " + hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def places_in(node: object, path: tuple = ()) -> Iterator[tuple]:
    """Where every part of a document stands, but for the arrays' own descriptions."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, each in items:
        yield (*path, key)
        if isinstance(each, dict | list):
            yield from places_in(each, (*path, key))


def with_value(state: bytes, place: tuple, value: object) -> bytes:
    """Forge a part of the document."""
    document, tensors = opened(state)
    node = document
    for step in place[:-1]:
        node = node[step]
    node[place[-1]] = value
    return sealed(document, tensors)


def with_tensor(state: bytes, key: str, name: str) -> bytes:
    """Forge a tensor; its description follows its number of axes."""
    document, tensors = opened(state)
    tensors[key] = TENSORS[name](tensors[key])

    def describe(node: object) -> None:
        if isinstance(node, dict) and node.get("key") == key:
            node["axes"] = list(range(tensors[key].ndim))
        for each in node.values() if isinstance(node, dict) else node:
            if isinstance(each, dict | list):
                describe(each)

    describe(document)
    return sealed(document, tensors)


def refuse_constant(text: str) -> None:
    raise AssertionError(f"{text} is no JSON")


def goes_on_legally(broken_off: tuple[Path, tuple[str, ...]], state: bytes) -> str:
    """Go on from a state in a copy of the folder; give the error, if there is one."""
    folder, run = broken_off
    with tempfile.TemporaryDirectory() as copy, contextlib.chdir(copy):
        shutil.copytree(folder, copy, dirs_exist_ok=True)
        STATE.write_bytes(state)
        stderr = io.StringIO()
        with contextlib.redirect_stderr(stderr), contextlib.redirect_stdout(io.StringIO()):
            code = shell(*run, "--resume")
        if code == 1:
            (line,) = stderr.getvalue().splitlines()
            assert line.startswith("error: ")
            return line
        assert code == 0
        paths = sorted(Path("out", "clip").glob("*.png"))
        assert len(paths) == NUM_FRAMES
        for path in paths:
            assert set(np.unique(read_label_png(path))) <= {0, 1, 2}
        text = Path("out", "clip.json").read_text()
        assert len(json.loads(text, parse_constant=refuse_constant)["frames"]) == NUM_FRAMES
        with av.open("out/clip.mp4") as overlay:
            assert sum(1 for _ in overlay.decode(video=0)) <= NUM_FRAMES
        return ""


def test_the_state_itself_goes_on(broken_off):
    """Taken apart and put together again, so that the tests below forge no more than they say."""
    state = (broken_off[0] / STATE).read_bytes()
    document, tensors = opened(state)
    assert tensors
    assert document["progress"]["state"]["references"]
    assert goes_on_legally(broken_off, sealed(document, tensors)) == ""


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("num_frames",), 0, "frame 10 is not one of the 0 done"),
        (("num_frames",), NUM_FRAMES, "summary.json holds 11 of the 16 frames done before"),
        (("num_frames",), 2**80, "stands where int belongs"),
        (("mark", "number"), -1, "frame -1 is not one of the 11 done"),
        (("mark", "number"), 9, "there is no label map"),
        (("mark", "index"), 99, "frame 99 does not come before frame 10"),
        (("mark", "pts_seconds"), float("nan"), "are not all finite"),
        (("header",), "[" * 100_000, "RecursionError"),
    ],
)
def test_values_that_no_run_leaves(broken_off, place, value, message):
    state = (broken_off[0] / STATE).read_bytes()
    assert message in goes_on_legally(broken_off, with_value(state, place, value))


@pytest.mark.parametrize(
    ("name", "message"), [("of NaN", "not all finite"), ("complex", "complex numbers stand")]
)
def test_arrays_that_no_run_leaves(broken_off, name, message):
    state = (broken_off[0] / STATE).read_bytes()
    tensors = opened(state)[1]
    keys = sorted(
        key for key, tensor in tensors.items() if tensor.is_floating_point() and tensor.numel()
    )
    assert keys
    for key in keys:
        assert message in goes_on_legally(broken_off, with_tensor(state, key, name))


@settings(max_examples=15)
@given(data=st.data())
def test_a_forged_value_is_an_error_or_a_legal_run(broken_off, data):
    state = (broken_off[0] / STATE).read_bytes()
    place = data.draw(st.sampled_from(sorted(places_in(opened(state)[0]), key=str)))
    goes_on_legally(broken_off, with_value(state, place, data.draw(st.sampled_from(VALUES))))


@settings(max_examples=15)
@given(data=st.data())
def test_a_forged_array_is_an_error_or_a_legal_run(broken_off, data):
    state = (broken_off[0] / STATE).read_bytes()
    key = data.draw(st.sampled_from(sorted(opened(state)[1])))
    name = data.draw(st.sampled_from(sorted(TENSORS)))
    goes_on_legally(broken_off, with_tensor(state, key, name))
