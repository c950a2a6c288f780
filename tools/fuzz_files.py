"""Read thousands of damaged files, and see that nothing but a documented error comes of it.

    python tools/fuzz_files.py --cases 2000

Small videos, images, masks and weights are made, mutated (bits, fields, pieces, ends) and read as
vos reads what users give it. Masks are also painted with other values, softened and reduced, and
videos get side data of any kind, which must not cost a frame. Every case runs in a worker process
with a limit of time and of memory, so that a crash, a hang or a case that swallows memory is seen
and counted. A case is known by its number: ``--only 123 --keep FOLDER`` does it again and keeps its
file.

What is read must keep its promises too: frames of one size with ascending times, the same
backwards, label maps with legal ids and a colour for each. Exit code 1 if anything broke them.
Linux only.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import re
import resource
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice, pairwise
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from av import Packet

from vos.records import Frame

HW = (48, 64)
MAX_PIXELS = 1 << 20  # of a frame; what is above it must be refused before it takes memory
NUM_FRAMES = 12
MAX_FRAMES = 200  # read of one file; none is made of more
NUM_MEANWHILE = 50  # cases until a worker's memory counts as its usual one
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one case.

    Attributes:
        number: Which case.
        kind: Name of the file it was made from.
        outcome: ``read``, the name of a documented error, or what is wrong.
        is_good: Whether that is as documented.
        seconds: Time it took.
        peak_mb: Memory at its highest, above what the worker had after its start.
        rss_mb: The worker's memory afterwards.
    """

    number: int
    kind: str
    outcome: str
    is_good: bool
    seconds: float
    peak_mb: float = 0.0
    rss_mb: float = 0.0


# --- files to damage


def make_originals(folder: Path) -> None:
    """Write one small file of each kind.

    ``video.*``, ``image.*``, ``mask.*`` and ``weights.*`` are to be damaged, ``side.*`` to get side
    data, and of ``paint.*`` only the names count.
    """
    import torch
    from PIL import Image
    from safetensors.torch import save_file

    for suffix in ("mp4", "mkv", "ts"):
        options = {"x264-params": "keyint=5:bframes=2:scenecut=0"}
        write_video(folder / f"video.{suffix}", "libx264", options)
    write_video(folder / "video.avi", "mpeg4", {"bf": "2"})
    write_video(folder / "video.webm", "libvpx-vp9", {"deadline": "realtime"})
    write_video(folder / "video.mov", "prores_ks", {}, "yuv422p10le")
    write_video(folder / "video.gif", "gif", {}, "rgb8")
    write_video(folder / "side.h264", "libx264", {"bf": "0"})
    write_video(folder / "side.mjpeg", "mjpeg", {}, "yuvj420p")
    for suffix in ("avi", "mov"):
        write_video(folder / f"video.exif.{suffix}", "mjpeg", {}, "yuvj420p")
    shown = "master-display=G(8500,39850)B(6550,2300)R(35400,14600)WP(15635,16450)L(10000000,1)"
    hdr = f"log-level=none:hdr10=1:transfer=smpte2084:colorprim=bt2020:{shown}:max-cll=1000,400"
    write_video(folder / "video.hdr.mp4", "libx265", {"x265-params": hdr}, "yuv420p10le")
    rgb = picture(3)
    grey = rgb[..., 0]
    labels = np.zeros(HW, np.uint8)
    labels[5:25, 6:30], labels[20:40, 40:60] = 1, 2
    palette = Image.fromarray(labels)
    palette.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    for name, image, options in (
        ("image.png", Image.fromarray(rgb), {}),
        ("image.jpg", Image.fromarray(rgb), {}),
        ("image.jpeg", Image.fromarray(rgb), {"progressive": True, "exif": _exif()}),
        ("image.webp", Image.fromarray(rgb), {}),
        ("image.bmp", Image.fromarray(rgb), {}),
        ("image.avif", Image.fromarray(rgb), {}),
        ("mask.png", palette, {}),
        ("mask.grey.png", Image.fromarray(labels * 127), {}),
        ("mask.deep.png", Image.fromarray(grey.astype(np.uint16) * 257), {}),
        ("mask.jpg", Image.fromarray((labels > 0).astype(np.uint8) * 255), {}),
        ("mask.tiff", Image.fromarray(labels), {"compression": "tiff_lzw"}),
        ("mask.gif", palette, {}),
    ):
        image.save(folder / name, **options)
    others = [Image.fromarray(picture(index)) for index in range(1, 5)]
    for name in ("video.animation.webp", "video.animation.png", "video.pages.tiff"):
        Image.fromarray(rgb).save(folder / name, save_all=True, append_images=others, duration=40)
    for suffix in PAINTED:
        (folder / f"paint.{suffix}").write_bytes(b"made anew for each case")
    np.save(folder / "mask.npy", labels)
    weights = {"a.weight": torch.arange(300, dtype=torch.float32).reshape(20, 15)}
    save_file(weights, folder / "weights.safetensors")
    torch.save(weights, folder / "weights.pth")


def picture(index: int) -> np.ndarray:
    """A picture with gradients and a square that moves, (H, W, 3) uint8."""
    y, x = np.mgrid[: HW[0], : HW[1]]
    rgb = np.stack([x * 3, y * 4, x + y + 5 * index], axis=-1).astype(np.uint8)
    rgb[10:25, 5 + index : 20 + index] = 255
    return rgb


def write_video(path: Path, codec: str, options: dict[str, str], pix_fmt: str = "yuv420p") -> None:
    """Write some frames, each with EXIF if the name says so."""
    import av

    # With the index at the front, a file that is cut short still has a beginning to be read.
    container_options = {"movflags": "faststart"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", options=container_options) as container:
        stream = container.add_stream(codec, rate=Fraction(25), options=options)
        stream.height, stream.width, stream.pix_fmt = *HW, pix_fmt
        for index in range(NUM_FRAMES):
            frame = av.VideoFrame.from_ndarray(picture(index), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            for packet in stream.encode(frame):
                container.mux(with_exif(packet) if "exif" in path.name else packet)
        container.mux(stream.encode(None))


def with_exif(packet: Packet) -> Packet:
    """Give a JPEG picture's packet an EXIF record."""
    import av

    body = _exif()
    jpeg = bytes(packet)
    record = b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body
    new = av.Packet(jpeg[:2] + record + jpeg[2:])
    new.stream, new.is_keyframe = packet.stream, True
    new.pts, new.dts, new.time_base = packet.pts, packet.dts, packet.time_base
    return new


def _exif() -> bytes:
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    return exif.tobytes()


# --- damage


def make_case(number: int, seed: int, originals: dict[str, bytes]) -> tuple[str, bytes]:
    """Give the name and content of one damaged file; the same for the same number and seed."""
    rng = np.random.default_rng([seed, number])
    names = sorted(originals)
    name = names[number % len(names)]
    if name.startswith("paint"):
        return name, painted(rng, Path(name).suffix[1:])
    data = bytearray(originals[name])
    if name.startswith("side"):
        return name, bytes(with_side_data(data, rng))
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        mutation = MUTATIONS[rng.integers(len(MUTATIONS))]
        data = mutation(data, rng, originals[names[rng.integers(len(names))]])
    # Without right checksums most of a PNG reader is never reached.
    if name.endswith(".png") and rng.random() < 0.7:
        data = with_checksums(data)
    return name, bytes(data)


Mutation = Callable[[bytearray, np.random.Generator, bytes], bytearray]


def somewhere(data: bytearray, rng: np.random.Generator) -> int:
    """Choose a position: any, near the beginning, or after the name of a box, chunk or atom."""
    if not data:
        return 0
    way = rng.integers(3)
    if way == 0:
        return int(rng.integers(len(data)))
    if way == 1:
        return int(rng.integers(min(len(data), 64)))
    tags = [match.end() for match in re.finditer(rb"[A-Za-z]{4}", data)]
    at = tags[rng.integers(len(tags))] if tags else 0
    return min(at + int(rng.integers(-8, 24)), len(data) - 1) if at > 8 else 0


def flip_bits(data: bytearray, rng: np.random.Generator, _: bytes) -> bytearray:
    for _ in range(rng.choice([1, 2, 4, 16])):
        if data:
            data[somewhere(data, rng)] ^= 1 << int(rng.integers(8))
    return data


def set_field(data: bytearray, rng: np.random.Generator, _: bytes) -> bytearray:
    for _ in range(rng.integers(1, 4)):
        size = int(rng.choice([1, 2, 4, 8]))
        value = EXTREMES[rng.integers(len(EXTREMES))]
        order = "big" if rng.random() < 0.5 else "little"
        at = somewhere(data, rng)
        data[at : at + size] = (value % (1 << 8 * size)).to_bytes(size, order)
    return data


def cut_end(data: bytearray, rng: np.random.Generator, _: bytes) -> bytearray:
    return data[: rng.integers(len(data) + 1)]


def cut_out(data: bytearray, rng: np.random.Generator, _: bytes) -> bytearray:
    at = somewhere(data, rng)
    del data[at : at + int(rng.integers(1, 400))]
    return data


def repeat(data: bytearray, rng: np.random.Generator, _: bytes) -> bytearray:
    at = somewhere(data, rng)
    piece = data[at : at + int(rng.integers(1, 400))]
    return data[:at] + piece * int(rng.integers(2, 20)) + data[at:]


def overwrite(data: bytearray, rng: np.random.Generator, _: bytes) -> bytearray:
    at = somewhere(data, rng)
    size = min(int(rng.integers(1, 300)), len(data) - at)
    data[at : at + size] = rng.bytes(size) if rng.random() < 0.5 else bytes(size)
    return data


def splice(data: bytearray, rng: np.random.Generator, other: bytes) -> bytearray:
    return data[: somewhere(data, rng)] + other[rng.integers(len(other)) :]


def twice(data: bytearray, _: np.random.Generator, __: bytes) -> bytearray:
    return data + data


MUTATIONS: tuple[Mutation, ...] = (
    flip_bits,
    flip_bits,
    flip_bits,
    set_field,
    set_field,
    set_field,
    cut_end,
    cut_out,
    repeat,
    overwrite,
    splice,
    twice,
)


def with_side_data(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Add what no decoder needs to a raw stream: SEI to H.264, application segments to JPEG.

    Sizes are right, contents are anything.
    """
    is_jpeg = data.startswith(b"\xff\xd8")
    marks = rb"\xff\xd8\xff" if is_jpeg else rb"\x00\x00\x01[\x65\x41]"
    starts = [match.start() for match in re.finditer(marks, bytes(data))]
    for start in sorted(rng.choice(starts, int(rng.integers(1, 5))), reverse=True):
        # Nothing that looks like the mark of something else.
        body = bytes(rng.integers(1, 0x80, int(rng.integers(1, 120)), dtype=np.uint8))
        if is_jpeg:
            name = (b"Exif\0\0II*\0\x08\0\0\0", b"JFIF\0", b"ICC_PROFILE\0\1\1", b"")
            body = name[rng.integers(len(name))] + body
            kind = bytes([0xFF, 0xE0 + int(rng.integers(1, 16))])
            start, piece = start + 2, kind + (len(body) + 2).to_bytes(2, "big") + body
        else:
            kind = int(rng.integers(0, 210))
            piece = b"\0\0\1\x06" + bytes([kind, len(body)]) + body + b"\x80"
        data[start:start] = piece
    return data


PAINTED = ("png", "bmp", "tiff", "gif", "webp", "jpg", "npy")
MODES = ("1", "L", "I;16", "P", "RGB", "RGBA", "LA")


def painted(rng: np.random.Generator, suffix: str) -> bytes:
    """Paint a mask: areas of any values, softened, reduced and stored in any way."""
    from PIL import Image

    from vos.masks import DAVIS_PALETTE

    height, width = rng.integers(1, 80, 2)
    ids = np.zeros((height, width), np.uint8)
    for _ in range(rng.integers(0, 6)):
        (top, bottom), (left, right) = (np.sort(rng.integers(0, n + 1, 2)) for n in (height, width))
        ids[top:bottom, left:right] = rng.integers(0, 256)
    if rng.random() < 0.2:
        ids = rng.integers(0, 256, ids.shape, dtype=np.uint8)
    if suffix == "npy":
        kinds = (np.bool_, np.uint8, np.int16, np.int64, np.uint64, np.float32, np.complex64)
        buffer = io.BytesIO()
        np.save(buffer, ids.astype(kinds[rng.integers(len(kinds))]) * rng.choice([1, 1, 255]))
        return buffer.getvalue()
    palettes = (
        DAVIS_PALETTE,
        rng.permutation(DAVIS_PALETTE),
        rng.integers(0, 256, (256, 3), dtype=np.uint8),
        np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1),
    )
    colours = palettes[rng.integers(len(palettes))]
    mode = MODES[rng.integers(len(MODES))]
    image = Image.fromarray(colours[ids])
    if rng.random() < 0.5:
        size = int(rng.integers(1, 90)), int(rng.integers(1, 90))
        image = image.resize(size, Image.Resampling(int(rng.integers(6))))
    if mode == "P":
        image = image.quantize(int(rng.integers(1, 257)), dither=Image.Dither.NONE)
        if rng.random() < 0.5:
            image.putpalette(palettes[rng.integers(len(palettes))].tobytes())
    elif mode == "I;16":
        grey = np.asarray(image.convert("L")).astype(np.uint16)
        image = Image.fromarray(grey * np.uint16(rng.choice([1, 16, 256, 257])))
    else:
        image = image.convert(mode)
    buffer = io.BytesIO()
    try:
        image.save(buffer, format=FORMAT_OF.get(suffix, suffix.upper()))
    except (OSError, ValueError):  # not every format takes every mode
        buffer = io.BytesIO()
        image.convert("RGB").save(buffer, format=FORMAT_OF.get(suffix, suffix.upper()))
    return buffer.getvalue()


FORMAT_OF = {"jpg": "JPEG"}


def with_checksums(data: bytearray) -> bytearray:
    """Put right the checksums of a PNG's chunks, as far as there are chunks."""
    at = 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if end + 4 > len(data):
            break
        data[end : end + 4] = zlib.crc32(data[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return data


# --- reading


class BrokenPromiseError(Exception):
    """What was read is not as documented."""


class UnsteadyError(Exception):
    """A damaged video decoded to other pixels the second time: decoders read what memory held."""


def read_file(path: Path) -> None:
    """Read a file as vos would.

    Raises:
        VosError: the file is refused, as documented.
        BrokenPromiseError: it is not, and what was read is not as documented.
        UnsteadyError: it is not, and reading it backwards gave other pixels.
    """
    if path.name.startswith("weights"):
        from vos.sam.weights.checkpoints import read_state_dict

        read_state_dict(path)
    elif path.name.startswith(("mask", "paint")):
        from vos.masks import read_painted_mask

        mask = read_painted_mask(path, max_pixels=MAX_PIXELS)
        labels = mask.labels
        promise(labels.dtype == np.uint8 and labels.ndim == 2, "a label map's layout")
        promise(0 < labels.max() <= 254 and labels.size <= MAX_PIXELS, "a label map's ids or size")
        promise(set(mask.colours) == set(np.unique(labels).tolist()) - {0}, "a colour for each id")
    else:
        num_frames = read_frames(path)
        promise(num_frames == NUM_FRAMES or "side" not in path.name, "frames with side data")


def read_frames(path: Path) -> int:
    """Read a video or an image there and back; give the number of frames."""
    from vos.errors import DamagedSourceError, SourceError
    from vos.source import Selection, open_backwards, open_source

    seen = []
    damage = None
    try:
        with open_source(path, max_pixels=MAX_PIXELS) as source:
            for frame in islice(source, MAX_FRAMES):
                promise(frame.rgb.size <= 3 * MAX_PIXELS, "a frame's size")
                seen.append(trace(frame))
    except DamagedSourceError as error:
        damage = error
    promise(all(a[1] < b[1] for a, b in pairwise(seen)), "ascending times")
    promise(len({shape for *_, shape in seen}) <= 1, "frames of one size")
    promise(all(np.isfinite(seconds) for _, seconds, *_ in seen), "finite times")
    if seen and len(seen) < MAX_FRAMES:
        back = []
        damage_again = None
        try:
            selection = Selection(max_pixels=MAX_PIXELS)
            with open_backwards(path, selection, max_frames_in_memory=5) as source:
                for frame in source:
                    back.append(trace(frame))
        except DamagedSourceError as error:
            damage_again = error
        except SourceError as error:
            if "does not give the same frames twice" in str(error):
                raise UnsteadyError from error
            raise BrokenPromiseError(f"read forwards, but backwards: {error}") from error
        if back != seen[::-1]:
            raise UnsteadyError
        promise(str(damage) == str(damage_again), "the same damage backwards")
    if damage is not None:
        raise damage
    return len(seen)


def trace(frame: Frame) -> tuple[int, float, str, int, tuple[int, ...]]:
    """Give what tells a frame from others; its pixels as a checksum, since files hold many."""
    checksum = zlib.crc32(np.ascontiguousarray(frame.rgb))
    return frame.index, frame.pts_seconds, frame.name, checksum, frame.rgb.shape


def promise(is_kept: bool, what: str) -> None:
    if not is_kept:
        raise BrokenPromiseError(what)


# --- workers


def run_case(number: int, seed: int, originals: dict[str, bytes], folder: Path) -> tuple[str, str]:
    """Do one case; give the kind of file and the outcome, which begins with ``!`` if it is bad."""
    from vos.errors import VosError

    name, data = make_case(number, seed, originals)
    path = folder / name
    path.write_bytes(data)
    try:
        read_file(path)
    except UnsteadyError:
        return name, "read, unsteady"
    except VosError as error:
        return name, type(error).__name__ if str(error) else "! an error without a message"
    except Exception as error:
        return name, f"! {type(error).__name__}: {error}"
    return name, "read"


def work(connection: Connection, originals_folder: Path, seed: int, memory_mb: int) -> None:
    """Do the cases whose numbers come through the connection."""
    import logging
    import warnings

    from PIL import Image

    import vos.masks
    import vos.source.video

    originals = {path.name: path.read_bytes() for path in originals_folder.iterdir()}
    if any(name.startswith("weights") for name in originals):
        import vos.sam.weights.checkpoints  # noqa: F401
    Image.init()
    warnings.simplefilter("ignore")
    logging.disable()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # image libraries write there
    # Far above what is legal: for what is asked for at once and never used.
    limit = memory("VmData") + 4 * memory_mb * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    start_rss = memory("VmRSS")
    connection.send("ready")
    with tempfile.TemporaryDirectory() as folder:
        while True:
            number = connection.recv()
            if number is None:
                return
            Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
            kind, outcome = run_case(number, seed, originals, Path(folder))
            peak_mb = (memory("VmHWM") - start_rss) / 2**20
            if peak_mb > memory_mb:
                outcome = "! over the limit of memory"
            connection.send((kind, outcome, peak_mb, memory("VmRSS") / 2**20))


def memory(field: str) -> int:
    """Read a field of this process' status, in bytes."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"{field}:\s+(\d+) kB", status)[1]) * 1024


class Worker:
    """A process that does one case after another, replaced when it dies."""

    def __init__(self, originals: Path, seed: int, seconds: float, memory_mb: int) -> None:
        self._arguments = (originals, seed, memory_mb)
        self._seconds = seconds
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=work, args=(theirs, *self._arguments), daemon=True)
        self._process.start()
        theirs.close()
        self.connection.recv()
        self.number: int | None = None

    def begin(self, number: int) -> None:
        self.number, self._started = number, time.monotonic()
        self.connection.send(number)

    def result(self, kinds: list[str]) -> Result | None:
        """Give the result of the case in hand, or None while there is none."""
        number = self.number
        seconds = time.monotonic() - self._started
        kind = kinds[number % len(kinds)]
        if self.connection.poll():
            try:
                kind, outcome, peak_mb, rss_mb = self.connection.recv()
            except EOFError:
                self._process.join()
                outcome = f"! crash, exit code {self._process.exitcode}"
                self._start()
                return Result(number, kind, outcome, False, seconds)
            self.number = None
            is_good = not outcome.startswith("!")
            return Result(number, kind, outcome, is_good, seconds, peak_mb, rss_mb)
        if seconds > self._seconds:
            self._process.kill()
            self._process.join()
            self._start()
            return Result(number, kind, "! hang", False, seconds)
        return None

    def stop(self) -> None:
        self._process.kill()
        self._process.join()


def run_cases(
    numbers: range, *, seed: int, num_workers: int, seconds: float, memory_mb: int
) -> Iterator[Result]:
    """Do many cases in worker processes.

    Args:
        numbers: Which cases.
        seed: Another one gives other damage.
        num_workers: Processes at a time.
        seconds: Limit of time for each case.
        memory_mb: Limit for each case, above what the process has at its start. Four times as much
            may be asked for, if it is not used.

    Yields:
        Results as they come.
    """
    from multiprocessing.connection import wait

    with tempfile.TemporaryDirectory() as folder:
        originals = Path(folder)
        make_originals(originals)
        kinds = sorted(path.name for path in originals.iterdir())
        workers = [Worker(originals, seed, seconds, memory_mb) for _ in range(num_workers)]
        left = iter(numbers)
        try:
            while True:
                for worker in workers:
                    if worker.number is None and (number := next(left, None)) is not None:
                        worker.begin(number)
                busy = [worker for worker in workers if worker.number is not None]
                if not busy:
                    return
                wait([worker.connection for worker in busy], timeout=0.5)
                for worker in busy:
                    result = worker.result(kinds)
                    if result is not None:
                        yield result
        finally:
            for worker in workers:
                worker.stop()


# --- report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--only", type=int, help="number of one case")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=min(4, os.cpu_count() or 1))
    parser.add_argument("--seconds", type=float, default=30, help="limit for each case")
    parser.add_argument("--memory-mb", type=int, default=256, help="limit for each case")
    parser.add_argument("--growth-mb", type=float, default=64, help="limit over all cases")
    parser.add_argument("--keep", type=Path, help="folder for the files of bad cases")
    options = parser.parse_args()
    numbers = (
        range(options.cases) if options.only is None else range(options.only, options.only + 1)
    )
    started = time.monotonic()
    results = []
    for result in run_cases(
        numbers,
        seed=options.seed,
        num_workers=options.workers,
        seconds=options.seconds,
        memory_mb=options.memory_mb,
    ):
        results.append(result)
        if not result.is_good:
            print(f"case {result.number} ({result.kind}): {result.outcome}", flush=True)
    growth_mb = memory_growth_mb(results)
    print_report(results, growth_mb, time.monotonic() - started)
    if options.keep is not None:
        keep = [r.number for r in results if not r.is_good] or list(numbers[:1])
        keep_files(keep, options.seed, options.keep)
    is_good = all(result.is_good for result in results) and growth_mb <= options.growth_mb
    return 0 if is_good else 1


def memory_growth_mb(results: list[Result]) -> float:
    """Tell by how much the workers' memory grew from the first tenth to the last, by medians."""
    tenth = max(1, len(results) // 10)
    settled = [result.rss_mb for result in results[NUM_MEANWHILE:] if result.rss_mb]
    if len(settled) < 2 * tenth:
        return 0.0
    return float(np.median(settled[-tenth:]) - np.median(settled[:tenth]))


def print_report(results: list[Result], growth_mb: float, seconds: float) -> None:
    by_kind: dict[str, Counter[str]] = {}
    for result in results:
        outcome = result.outcome if result.is_good else "BAD"
        by_kind.setdefault(result.kind, Counter())[outcome] += 1
    for kind, counts in sorted(by_kind.items()):
        print(f"{kind:20}", ", ".join(f"{name} {count}" for name, count in counts.most_common()))
    slowest = max(results, key=lambda result: result.seconds)
    largest = max(results, key=lambda result: result.peak_mb)
    num_bad = sum(not result.is_good for result in results)
    print(
        f"{len(results)} cases in {seconds:.0f} s, {num_bad} bad; "
        f"slowest {slowest.seconds:.2f} s (case {slowest.number}, {slowest.kind}), "
        f"most memory {largest.peak_mb:.0f} MB (case {largest.number}, {largest.kind}), "
        f"growth {growth_mb:.1f} MB"
    )


def keep_files(numbers: list[int], seed: int, folder: Path) -> None:
    with tempfile.TemporaryDirectory() as made:
        make_originals(Path(made))
        originals = {path.name: path.read_bytes() for path in Path(made).iterdir()}
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        name, data = make_case(number, seed, originals)
        (folder / f"{number}.{name}").write_bytes(data)


if __name__ == "__main__":
    sys.exit(main())
