"""What differs on a GPU: arithmetic, batches, full memory, copies beside computation.

Without CUDA all of it is skipped; with ``VOS_REQUIRE_CUDA=1`` it fails there instead.
"""

import gc
import logging
import os
import threading
from itertools import islice

import numpy as np
import pytest
import torch

import vos
from vos.run.state import decode_state, encode_state
from vos.segment.forward import Progress, segment_steps
from vos.synthetic import ClipConfig, make_clip
from vos.track.batches import encode_in_batches

pytestmark = pytest.mark.cuda

METHODS = {"memory": vos.Memory(), "persam-f": vos.PersamF(batch_size=4)}
NUM_FRAMES = 6


@pytest.fixture(autouse=True)
def cuda():
    """Skip without a GPU, or fail where one must be."""
    if not torch.cuda.is_available():
        if os.environ.get("VOS_REQUIRE_CUDA") == "1":
            pytest.fail("VOS_REQUIRE_CUDA is set, but torch sees no CUDA device")
        pytest.skip("torch sees no CUDA device")
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


@pytest.fixture(scope="module")
def clip():
    """Frames and exact masks of three objects."""
    config = ClipConfig(num_frames=NUM_FRAMES, frame_hw=(240, 320), num_objects=3, seed=4)
    return list(make_clip(config))


def load(device: str = "cuda", dtype: str = "float32", **options: bool) -> vos.SamModel:
    return vos.load_sam("nano", device=device, dtype=dtype, **options)


def follow(clip, sam, method) -> np.ndarray:
    """Give (T, H, W) label maps."""
    config = vos.RunConfig(method=method)
    pairs = vos.segment_video([frame for frame, _ in clip], clip[0][1], sam, config)
    return np.stack([masks.labels for _, masks in pairs])


def least_iou(one: np.ndarray, other: np.ndarray) -> float:
    """Give the least IoU of any object in any frame."""
    ious = []
    for object_id in np.unique(one[one > 0]):
        for mask, wanted in zip(one == object_id, other == object_id, strict=True):
            union = np.count_nonzero(mask | wanted)
            ious.append(np.count_nonzero(mask & wanted) / union if union else 1.0)
    return min(ious)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_masks_are_those_of_the_cpu(clip, method):
    on_gpu, on_cpu = (follow(clip, load(device), method) for device in ("cuda", "cpu"))
    assert least_iou(on_cpu, on_gpu) > 0.97


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_two_runs_give_the_same_bytes(clip, method):
    sam = load()
    np.testing.assert_array_equal(follow(clip, sam, method), follow(clip, sam, method))


def test_bfloat16_is_the_default_and_keeps_the_masks(clip):
    sam = load(dtype="auto")
    assert sam.dtype == "bfloat16"
    assert least_iou(follow(clip, load(), vos.Memory()), follow(clip, sam, vos.Memory())) > 0.9


def test_the_size_of_a_batch_does_not_matter(clip):
    sam = load()
    one, *others = (follow(clip, sam, vos.PersamF(batch_size=size)) for size in (1, 3, 8))
    for other in others:
        assert least_iou(one, other) > 0.97


def test_pictures_of_one_batch_do_not_touch_one_another(clip):
    """Neither in the batch nor in the pinned copies that run beside the computation."""
    sam = load()
    pictures = [frame.rgb for frame, _ in clip]
    alone = [sam.encode([picture])[0] for picture in pictures]
    for _ in range(5):
        together = encode_in_batches(pictures, sam, len(pictures))
        for one, other in zip(alone, together, strict=True):
            assert torch.nn.functional.cosine_similarity(one, other, dim=0).min() > 0.999


@pytest.mark.parametrize(
    ("method", "in_small_batches"),
    [(vos.Memory(), vos.Memory()), (vos.PersamF(batch_size=16), vos.PersamF(batch_size=1))],
    ids=METHODS,
)
def test_a_batch_that_fills_the_memory_is_halved(clip, method, in_small_batches, caplog):
    """With a cap on the allocator, just above what small batches and all features take."""
    pictures = [clip[0][0].rgb] * 64
    expected = follow(clip, load(), method)
    sam = load()
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    follow(clip, sam, in_small_batches)
    kept = encode_in_batches(pictures, sam, 1)
    needed = torch.cuda.max_memory_reserved()
    del kept
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, 1.1 * needed / total))
    with caplog.at_level(logging.WARNING, "vos"):
        encode_in_batches(pictures, sam, 64)
        found = follow(clip, sam, method)
    assert "going on with" in caplog.text
    assert least_iou(expected, found) > 0.97


def test_what_does_not_fit_at_all_is_one_clear_error(clip):
    sam = load()
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(1.01 * torch.cuda.memory_reserved() / total)
    with pytest.raises(vos.errors.DeviceError, match="out of memory on cuda"):
        follow(clip, sam, vos.Memory())


# What torch's compiler imports does not fit each version of torch beside it.
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method`:DeprecationWarning")
def test_a_compiled_encoder_keeps_the_masks(clip):
    plain, compiled = load(), load(compiled=True)
    one, other = (follow(clip[:2], sam, vos.Memory()) for sam in (plain, compiled))
    assert least_iou(one, other) > 0.97


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_stream_that_is_left_gives_back_memory_and_threads(clip, method):
    sam = load()
    follow(clip[:2], sam, method)  # what stays for good is there now
    gc.collect()
    before = torch.cuda.memory_allocated(), threading.active_count()
    config = vos.RunConfig(method=method)
    pairs = vos.segment_video((frame for frame, _ in clip), clip[0][1], sam, config)
    next(pairs)
    next(pairs)
    pairs.close()
    del pairs
    gc.collect()
    assert torch.cuda.memory_allocated() <= before[0]
    assert threading.active_count() == before[1]


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize(("first", "second"), [("cuda", "cuda"), ("cuda", "cpu"), ("cpu", "cuda")])
def test_a_run_goes_on_on_another_device(clip, method, first, second):
    config = vos.RunConfig(method=method)
    frames = [frame for frame, _ in clip]
    num_before = 4  # a whole batch
    steps = segment_steps(frames, clip[0][1], load(first), config)
    before = list(islice(steps, num_before))
    steps.close()
    sam = load(second)
    saved = decode_state(Progress, encode_state(before[-1].progress), sam.device)
    after = segment_steps(frames[num_before:], saved, sam, config)
    labels = np.stack([step.masks.labels for step in (*before, *after)])
    whole = follow(clip, load(first), method)
    if first == second:
        np.testing.assert_array_equal(labels, whole)
    else:
        assert least_iou(whole, labels) > 0.97
