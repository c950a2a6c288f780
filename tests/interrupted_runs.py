"""Runs of ``vos-run`` in processes of their own that may be killed, with the stand-in model.

The processes are forked from one that has imported everything, so that each costs no start.
"""

import multiprocessing
import os
import re
import signal
import sys
from fractions import Fraction
from multiprocessing import forkserver
from pathlib import Path

import numpy as np
import pytest
import torch
from colour_sam import PALETTE, ColourSam

import vos
from vos.cli import run_main
from vos.masks import write_label_png
from vos.run import saving
from vos.sam import load
from vos.sink import pieces, write_video

HEIGHT, WIDTH, NUM_FRAMES = 48, 80, 16
FRAMES_PER_PIECE = 5
OPTIONS = ("--ref-mask", "mask.png", "--out", "out")
WATCHDOG_SECONDS = 120


def draw(t: int, num_frames: int = NUM_FRAMES) -> tuple[np.ndarray, np.ndarray]:
    """Object 1 moves; object 2 is absent in the middle third and first appears in frame 2."""
    rgb = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    labels = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    x = 4 + 24 * t // num_frames
    places = {1: (x, 6)}
    if not num_frames // 3 <= t < 2 * num_frames // 3 and t >= 2:
        places[2] = (50, 24)
    for object_id, (left, top) in places.items():
        part = slice(top, top + 18), slice(left, left + 18)
        rgb[part], labels[part] = PALETTE[object_id], object_id
    return rgb, labels


def make_clip(folder: Path, num_frames: int = NUM_FRAMES) -> None:
    """Write clip.mp4, mask.png of its first frame and later.png of its third."""
    arrays = (draw(t, num_frames)[0] for t in range(num_frames))
    write_video(folder / "clip.mp4", vos.frames_from_arrays(arrays, fps=10), Fraction(10))
    write_label_png(folder / "mask.png", draw(0, num_frames)[1])
    write_label_png(folder / "later.png", draw(2, num_frames)[1])


def stand_in(
    *args: object, compiled: bool = False, skip_padding: bool = False, features: object = None
) -> vos.SamModel:
    assert not compiled
    assert features is None
    return vos.SamModel(
        ColourSam(), skip_padding=skip_padding, name="colour", weights_sha256="0" * 64
    )


def shell(*args: object) -> int:
    """Run vos-run with the stand-in model and short pieces; give its exit code.

    With one thread, as the forked runs: sums of another number of threads differ in the last bits.
    """
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(load, "load_sam", stand_in)
        patch.setattr(pieces, "FRAMES_PER_PIECE", FRAMES_PER_PIECE)
        patch.setattr(saving, "FRAMES_PER_PIECE", FRAMES_PER_PIECE)
        with pytest.raises(SystemExit) as end:
            run_main([str(arg) for arg in args])
    torch.set_num_threads(num_threads)
    return end.value.code


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder, hidden ones too; of summaries all but the time the run took."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): without_time(path) for path in files}


def without_time(path: Path) -> bytes:
    return re.sub(rb'"elapsed_seconds": [\d.]+', b'"elapsed_seconds": 0', path.read_bytes())


def _process(
    folder: str, args: tuple[str, ...], signals: tuple[tuple[int, signal.Signals], ...], counted
) -> None:
    os.chdir(folder)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with open("stderr", "w") as stderr, open("stdout", "w") as stdout:
        sys.stderr, sys.stdout = stderr, stdout
        num_events, due = 0, dict(signals)

        def count(*event: object) -> None:
            nonlocal num_events
            num_events += 1
            if num_events in due:
                os.kill(os.getpid(), due[num_events])

        sys.setprofile(count)
        code = shell(*args)
        sys.setprofile(None)
        counted.value = num_events
        sys.stderr.flush()
        sys.stdout.flush()
    os._exit(code)


_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["warm_runs"])


def start_server() -> None:
    """Start the process that runs are forked from; it has one thread."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        patch.setenv("OMP_NUM_THREADS", "1")
        forkserver.ensure_running()


def run_process(
    folder: Path,
    *args: object,
    kill_at: int | None = None,
    interrupt_at: tuple[int, ...] = (),
) -> tuple[int, int]:
    """Run ``vos-run`` in a folder; what it prints goes to stdout and stderr there.

    Args:
        folder: Its working directory.
        args: Its arguments.
        kill_at: At which of its calls and returns it is killed without warning.
        interrupt_at: At which of them Ctrl-C is pressed.

    Returns:
        The exit code, -9 if it was killed, and the number of calls and returns until its end.
    """
    start_server()
    counted = _context.Value("q", 0)
    texts = tuple(str(arg) for arg in args)
    signals = tuple((at, signal.SIGINT) for at in interrupt_at)
    if kill_at is not None:
        signals = ((kill_at, signal.SIGKILL),)
    process = _context.Process(target=_process, args=(str(folder), texts, signals, counted))
    process.start()
    process.join(WATCHDOG_SECONDS)
    if process.is_alive():
        process.kill()
        process.join()
        raise AssertionError(f"vos-run hangs: {texts}")
    code = process.exitcode
    process.close()
    return code, counted.value
