"""Files and options made to do harm: documented errors only, and no memory beyond the limits."""

import http.server
import importlib
import logging
import re
import struct
import subprocess
import sys
import threading
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path

import av
import click
import numpy as np
import pytest
from click.testing import CliRunner
from clips import HW, make_rgb, read, write_clip
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from interrupted_runs import stand_in
from PIL import Image

import vos
from vos.cli.davis import davis_command
from vos.cli.images import images_command
from vos.cli.moments import Moment
from vos.cli.perseg import perseg_command
from vos.cli.references import BoxHint, ClickHint, FrameMask
from vos.cli.run import run_command
from vos.errors import DamagedSourceError, InputError, MaskError, ScoreError, SourceError, VosError
from vos.masks import DAVIS_PALETTE, mask_from_array, read_label_png, read_mask
from vos.masks.image_files import MAX_PIXELS
from vos.masks.pixels import labels_from_colours, labels_from_grey
from vos.run.names import name_fault
from vos.run.outputs import Outputs
from vos.score import evaluate_images
from vos.sets.davis import davis_job, find_davis_sequences
from vos.source import open_backwards, open_source
from vos.source.selection import Selection

TOOLS = Path(__file__).resolve().parents[1] / "tools"
sys.path.insert(0, str(TOOLS))

import fuzz_files  # noqa: E402

NUM_PIXELS = HW[0] * HW[1]


# --- what a file may open


@contextmanager
def web_server(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve a folder; give the address and the list of paths that were asked for."""
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args) -> None:
            super().__init__(*args, directory=folder)

        def log_message(self, *args) -> None:
            asked.append(self.path)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{other}\n#EXT-X-ENDLIST\n"
REFERRERS = {
    "hls": HLS,
    "hls_key": HLS.replace("#EXTINF", '#EXT-X-KEY:METHOD=AES-128,URI="{other}"\n#EXTINF'),
    "hls_map": HLS.replace("#EXTINF", '#EXT-X-MAP:URI="{other}"\n#EXTINF'),
    "concat": "ffconcat version 1.0\nfile '{other}'\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT1S" profiles="urn:mpeg:dash:profile:isoff-main:2011"><Period>'
    '<AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1">'
    "<BaseURL>{other}</BaseURL></Representation></AdaptationSet></Period></MPD>",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
    "m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "rtsp_text": "[Reference]\nRef1={other}\n",
    "ram": "RTSPtextRTSP://{other}\n",
    "tedcaptions": '{{"captions":[{{"duration":1,"content":"{other}","startOfParagraph":true,'
    '"startTime":0}}]}}',
}


@pytest.mark.parametrize("suffix", [".mp4", ".m3u8", ".mpd", ".sdp"])
@pytest.mark.parametrize("referrer", REFERRERS)
def test_a_file_reaches_neither_the_network_nor_other_files(tmp_path, referrer, suffix):
    write_clip(tmp_path / "other.ts")
    with web_server(tmp_path) as (address, asked):
        for other in (f"{address}/other.ts", f"file://{tmp_path}/other.ts", "other.ts"):
            path = tmp_path / f"list{suffix}"
            path.write_text(REFERRERS[referrer].format(other=other))
            with pytest.raises(SourceError):
                open_source(path)
        assert read(f"{address}/other.ts")  # or the server would have seen nothing in any case
    assert asked
    assert len(asked) == sum(path == "/other.ts" for path in asked)


def boxed(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


def with_pictures_in(other: Path, data: bytes) -> bytes:
    """Make a QuickTime file say that its pictures lie in another one (an alias record)."""
    name = other.name.encode()
    alias = bytes(10) + b"\3vol".ljust(28, b"\0") + bytes(12)
    alias += bytes([len(name)]) + name.ljust(63, b"\0") + bytes(16)
    alias += struct.pack(">HH", 1, 1) + bytes(16)
    path = b"vol:" + name
    alias += struct.pack(">HH", 2, len(path)) + path + bytes(len(path) % 2)
    alias += struct.pack(">HH", 0xFFFF, 0)
    entry = boxed(b"alis", bytes(4) + alias)
    boxes = [b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"]
    places = []
    place = 0
    for kind in boxes:
        # The handler of the data reference comes first in minf, so search within the box before.
        place = data.index(kind, place)
        places.append(place - 4)
    dref = places[-1]
    size = int.from_bytes(data[dref : dref + 4], "big")
    new = boxed(b"dref", bytes(4) + struct.pack(">I", 1) + entry)
    data = bytearray(data[:dref] + new + data[dref + size :])
    for place in places[:-1]:
        old_size = int.from_bytes(data[place : place + 4], "big")
        data[place : place + 4] = struct.pack(">I", old_size + len(new) - size)
    return bytes(data)


def test_a_movie_that_keeps_its_pictures_in_another_file(tmp_path):
    other = write_clip(tmp_path / "other.mov")
    path = tmp_path / "clip.mov"
    data = other.read_bytes()
    start, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    path.write_bytes(with_pictures_in(other, data[:start] + bytes(end - start) + data[end:]))
    # FFmpeg follows it where it is told to, or this file would prove nothing.
    with av.open(str(path), container_options={"enable_drefs": "1"}) as container:
        assert sum(1 for _ in container.decode(video=0)) == 12
    with pytest.raises(SourceError):
        read(path)


@pytest.mark.parametrize("scheme", ["file://", "concat:", "subfile,,start,0,end,0,,:", ""])
def test_a_playlist_on_the_network_cannot_read_files_here(tmp_path, scheme):
    served = tmp_path / "served"
    served.mkdir()
    secret = write_clip(tmp_path / "secret.ts")
    (served / "list.m3u8").write_text(HLS.format(other=f"{scheme}{secret}"))
    with web_server(served) as (address, _), pytest.raises(SourceError):
        read(f"{address}/list.m3u8")


# --- frames too large


def png(width: int, height: int, content: bytes, *, bit_depth: int = 8) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        checksum = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, bit_depth, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (chunk(b"IHDR", header), chunk(b"IDAT", content), chunk(b"IEND", b""))
    )


def flat_png(width: int, height: int, *, bit_depth: int) -> bytes:
    packer = zlib.compressobj(1)
    row = bytes(1 + width * bit_depth // 8)
    content = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    return png(width, height, content, bit_depth=bit_depth)


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """A PNG of 60 kB that unpacks to 400 million pixels."""
    return flat_png(20_000, 20_000, bit_depth=1)


TOO_LARGE = r"are [\d.]+ (million )?pixels, more than the limit of [\d.]+ .*max-pixels"


def test_images_too_large_are_refused_before_they_are_unpacked(tmp_path, bomb):
    """The peak is measured in a process of its own; unpacked, the bomb takes 400 MB and more."""
    for name in ("image.png", "mask.png"):
        (tmp_path / name).write_bytes(bomb)
    # FFmpeg reads it as a video of one picture, whose size nothing but the picture tells.
    (tmp_path / "video.mp4").write_bytes(flat_png(12_000, 9_000, bit_depth=8))
    code = f"""
import resource
from pathlib import Path
from vos.errors import VosError
from vos.masks import read_label_png, read_mask
from vos.source import open_source
import PIL.Image, vos.source.video
PIL.Image.init()
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
before = peak()
def open_small(path):
    open_source(path, max_pixels=1000000)
folder = Path({str(tmp_path)!r})
for read, name in (
    (open_source, "image.png"), (open_small, "video.mp4"), (read_mask, "mask.png"),
    (read_label_png, "mask.png"),
):
    try:
        read(folder / name)
    except VosError as error:
        print(error)
    else:
        print("read")
print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *messages, growth_mb = done.stdout.splitlines()
    assert [bool(re.search(TOO_LARGE, message)) for message in messages] == [
        True,
        False,  # the decoder stops before the size is known
        True,
        True,
    ]
    assert "no legal size, or far more than 1000000 pixels" in messages[1]
    assert int(growth_mb) < 60


def test_folders_obey_the_limit(tmp_path):
    Image.fromarray(make_rgb(0)).save(tmp_path / "0.png")
    Image.fromarray(make_rgb(1, (HW[0], HW[1] + 1))).save(tmp_path / "1.png")
    with open_source(tmp_path, max_pixels=NUM_PIXELS) as source:
        assert next(source).frame_hw == HW
        with pytest.raises(DamagedSourceError, match=TOO_LARGE):
            next(source)
    with pytest.raises(SourceError, match=TOO_LARGE):
        open_source(tmp_path, max_pixels=NUM_PIXELS - 1)


@pytest.mark.parametrize("decoder", ["av", "decord"])
@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.ts"])
def test_videos_obey_the_limit(tmp_path, name, decoder):
    if decoder == "decord":
        pytest.importorskip("decord")
    path = write_clip(tmp_path / name)
    assert len(read(path, decoder=decoder, max_pixels=NUM_PIXELS)) == 12
    with pytest.raises(SourceError, match=f"{name} is too large: 64 x 48 {TOO_LARGE}"):
        open_source(path, decoder=decoder, max_pixels=NUM_PIXELS - 1)
    with pytest.raises(SourceError, match=TOO_LARGE):
        open_backwards(path, Selection(decoder=decoder, max_pixels=NUM_PIXELS - 1))


def test_a_video_that_grows_midway(tmp_path):
    """Every picture of an MJPEG video says its own size; these pass the decoder's rough limit."""
    mjpeg = {"num_frames": 5, "codec": "mjpeg", "pix_fmt": "yuvj420p"}
    small = write_clip(tmp_path / "small.mkv", **mjpeg)
    large = write_clip(tmp_path / "large.mkv", **mjpeg, hw=(480, 640))
    path = tmp_path / "joined.mkv"
    with av.open(str(path), "w") as target:
        with av.open(str(small)) as source:
            stream = target.add_stream_from_template(source.streams.video[0])
        for part in (small, large):
            with av.open(str(part)) as source:
                for packet in source.demux(video=0):
                    if packet.size:
                        packet.pts = packet.dts = packet.pts + 200 * (part is large)
                        packet.stream = stream
                        target.mux(packet)
    frames = []
    with (
        open_source(path, max_pixels=NUM_PIXELS) as source,
        pytest.raises(DamagedSourceError, match=f"640 x 480 {TOO_LARGE}"),
    ):
        frames.extend(source)
    assert len(frames) == 5


def test_masks_obey_the_limit(tmp_path):
    labels = np.ones((30, 40), np.uint8)
    Image.fromarray(labels).save(tmp_path / "mask.png")
    np.save(tmp_path / "mask.npy", labels)
    for name in ("mask.png", "mask.npy"):
        assert (read_mask(tmp_path / name, max_pixels=1200) == labels).all()
        with pytest.raises(MaskError, match=TOO_LARGE):
            read_mask(tmp_path / name, max_pixels=1199)
    with pytest.raises(MaskError, match=TOO_LARGE):
        read_label_png(tmp_path / "mask.png", max_pixels=1199)


def test_an_array_full_of_holes(tmp_path):
    """On the disk it takes next to nothing, and it claims a terabyte."""
    path = tmp_path / "mask.npy"
    header = "{'descr': '|u1', 'fortran_order': False, 'shape': (1000000, 1000000), }"
    with path.open("wb") as file:
        np.lib.format.magic(1, 0)
        text = header.ljust(117) + "\n"
        file.write(np.lib.format.magic(1, 0) + struct.pack("<H", len(text)) + text.encode())
        file.truncate(10 + len(text) + 10**12)
    with pytest.raises(MaskError, match=TOO_LARGE):
        read_mask(path)


def test_a_large_still_needs_no_leave_and_gives_no_warning(tmp_path):
    """Pillow itself warns above 89 million pixels and refuses above 179 million."""
    width, height = 12_000, 9_000
    content = zlib.compress(bytes((1 + width // 8) * height), 1)
    path = tmp_path / "still.png"
    path.write_bytes(png(width, height, content, bit_depth=1))
    labels = read_label_png(path)
    assert labels.shape == (height, width)


def test_a_chunk_that_claims_gigabytes_takes_none(tmp_path):
    """Python takes memory for as many bytes as it is asked to read."""
    good = png(8, 8, zlib.compress(bytes(72)))
    place = good.index(b"IDAT") - 4
    path = tmp_path / "mask.png"
    path.write_bytes(good[:place] + struct.pack(">I", 0x7FFFFFFF) + good[place + 4 :])
    tracemalloc.start()
    try:
        with suppress(MaskError):
            read_label_png(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("max_pixels", [0, -1, 1.5, True, None])
def test_illegal_limits(tmp_path, max_pixels):
    with pytest.raises(InputError, match="max_pixels must be an integer, 1 or more"):
        open_source(tmp_path, max_pixels=max_pixels)
    with pytest.raises(InputError, match="max_pixels must be an integer, 1 or more"):
        read_mask(tmp_path / "mask.png", max_pixels=max_pixels)


def test_the_command_line_hands_the_limit_on(tmp_path):
    path = write_clip(tmp_path / "clip.mp4")
    mask = tmp_path / "mask.png"
    Image.fromarray(np.ones((100, 100), np.uint8)).save(mask)
    arguments = [str(path), "--out", str(tmp_path / "out"), "--max-pixels", str(NUM_PIXELS)]
    done = CliRunner().invoke(run_command, [*arguments, "--ref-mask", str(mask)])
    assert isinstance(done.exception, MaskError)
    assert re.search(TOO_LARGE, str(done.exception))
    arguments[-1] = str(NUM_PIXELS - 1)
    done = CliRunner().invoke(run_command, [*arguments, "--ref-point", "9,9"])
    assert isinstance(done.exception, SourceError)
    assert re.search(TOO_LARGE, str(done.exception))
    (option,) = [one for one in run_command.params if one.name == "max_pixels"]
    assert option.default == MAX_PIXELS
    assert 7680 * 4320 < 15360 * 8640 <= MAX_PIXELS


def add_pictures(root: Path) -> None:
    """A set as DAVIS' and as PerSeg's, and a picture and a mask with a column less."""
    rgb, labels = np.full((30, 41, 3), 90, np.uint8), np.zeros((30, 41), np.uint8)
    rgb[5:20, 5:20], labels[5:20, 5:20] = (230, 50, 40), 1
    for images, masks in (("JPEGImages/480p", "Annotations/480p"), ("Images", "Annotations")):
        for folder, name, array in ((images, "jpg", rgb), (masks, "png", labels)):
            (root / folder / "one").mkdir(parents=True)
            for number in ("00", "01", "02", "03"):
                Image.fromarray(array).save(root / folder / "one" / f"{number}.{name}")
    Image.fromarray(rgb[:, :-1]).save(root / "small.png")
    Image.fromarray(labels[:, :-1]).save(root / "small_mask.png")


@pytest.mark.parametrize(
    ("command", "arguments", "what"),
    [
        (images_command, ("Images/one/00.jpg", "Annotations/one/00.png", "small.png"), "mask"),
        (
            images_command,
            ("Images/one/00.jpg", "small_mask.png", "small.png", "--resize-mask"),
            "00.jpg",
        ),
        (images_command, ("small.png", "small_mask.png", "Images/one/01.jpg"), "01.jpg"),
        (davis_command, (".", "--year", "2017"), "mask"),
        (perseg_command, (".",), "mask"),
    ],
)
def test_all_commands_that_read_pictures_obey_the_limit(
    tmp_path, monkeypatch, caplog, command, arguments, what
):
    add_pictures(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("vos.sam.load.load_sam", stand_in)
    limits = {30 * 41: 0, 30 * 41 - 1: 1}
    for limit, number in limits.items():
        options = ("--overwrite", "--max-pixels", str(limit))
        with caplog.at_level(logging.WARNING, "vos"):
            done = CliRunner().invoke(command, [*arguments, *options])
        said = f"{done.exception}{caplog.text}"
        assert bool(re.search(f"{what}.*{TOO_LARGE}", said)) == bool(number), said
        assert (done.exception is None) == (number == 0), said


def test_the_frames_of_a_set_obey_the_limit(tmp_path):
    add_pictures(tmp_path)
    (sequence,) = find_davis_sequences(tmp_path)
    job = davis_job(sequence, vos.JobOutputs(folder=tmp_path / "out"), max_pixels=30 * 41 - 1)
    with pytest.raises(VosError, match=TOO_LARGE):
        vos.run_job(job, stand_in())


@pytest.mark.parametrize("command", [images_command, davis_command, perseg_command])
def test_the_limit_is_one_option(command):
    (option,) = [one for one in command.params if one.name == "max_pixels"]
    (other,) = [one for one in run_command.params if one.name == "max_pixels"]
    assert (option.default, option.help) == (other.default, other.help)


def test_scoring_reads_no_picture_beyond_the_limit(tmp_path, bomb):
    """Pillow's own limit lets more through, and takes what a broken chunk claims."""
    for folder in ("Annotations", "results"):
        (tmp_path / folder / "one").mkdir(parents=True)
        (tmp_path / folder / "one" / "01.png").write_bytes(flat_png(15_000, 10_000, bit_depth=1))
    with pytest.raises(ScoreError, match=TOO_LARGE):
        evaluate_images(tmp_path, tmp_path / "results")


# --- numbers that headers claim


def patched(path: Path, box: bytes, offset: int, value: int) -> Path:
    """Overwrite a 32 bit number in an MP4 box."""
    data = bytearray(path.read_bytes())
    place = data.index(box) + 4 + offset
    data[place : place + 4] = struct.pack(">I", value)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("box", "offset"), [(b"stsz", 8), (b"stts", 4), (b"stts", 8), (b"stco", 4), (b"stsc", 4)]
)
@pytest.mark.parametrize("value", [0x7FFFFFFF, 0xFFFFFFFF])
def test_counts_that_an_mp4_claims_take_no_memory(tmp_path, box, offset, value):
    path = patched(write_clip(tmp_path / "clip.mp4"), box, offset, value)
    tracing = fuzz_files.memory("VmRSS")
    try:
        with open_source(path) as source:
            for number, frame in enumerate(source):
                assert number < 12
                assert frame.frame_hw == HW
    except SourceError:
        pass
    assert fuzz_files.memory("VmRSS") - tracing < 50 << 20


def test_a_number_of_frames_is_a_hint_only(tmp_path):
    path = write_clip(tmp_path / "clip.mkv")
    tagged = tmp_path / "tagged.mkv"
    with av.open(str(path)) as source, av.open(str(tagged), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        stream.metadata["NUMBER_OF_FRAMES"] = "999999999999999999"
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    assert len(read(tagged)) == 12
    assert len(read(tagged, every=5)) == 3


@pytest.mark.parametrize(
    "pts",
    [
        [0, 1, 2**40, 2**40 + 1],
        [2**55, 2**55 + 1, 2**55 + 2, 2**55 + 3],
    ],
)
def test_times_beyond_belief_count_as_missing(tmp_path, pts):
    path = write_clip(tmp_path / "clip.mkv", 4, pts=pts, codec="ffv1", pix_fmt="bgr0")
    with av.open(str(path)) as container:
        assert [frame.time for frame in container.decode(video=0)][-1] > 1e10
    assert [frame.pts_seconds for frame in read(path)] == pytest.approx([0, 0.04, 0.08, 0.12])


@pytest.mark.parametrize("every", [1, 10**6, 10**30])
@pytest.mark.parametrize(
    "rate_hz", [Fraction(1, 2**31 - 1), Fraction(2**31 - 1), Fraction(30000, 1001), None]
)
def test_frame_rates_fit_into_what_videos_can_say(rate_hz, every):
    rate = Selection(every=every).rate_hz(rate_hz)
    assert rate is None or (rate > 0 and max(rate.numerator, rate.denominator) < 2**31)
    assert every > 1 or rate_hz is None or rate == pytest.approx(rate_hz)


# --- names


NAMES_OUTSIDE = [
    *["", ".", "..", "../up", "/etc/passwd", "a/b", "a/", "a\\b", "..\\up", "C:\\x"],
    *["a\0", "a\n", "x" * 201, "\u00e9" * 101],
]


@pytest.mark.parametrize("name", NAMES_OUTSIDE)
def test_results_stay_in_their_folder(tmp_path, name):
    with pytest.raises(InputError, match="a result cannot be named"):
        Outputs(folder=tmp_path, name=name)


@pytest.mark.parametrize(
    "name", ["CON", "con", "NUL.tar", "Com1", "LPT9.x", "aux ", "a:b", "a?", "C:", "end.", "end "]
)
def test_windows_has_further_rules(name):
    assert name_fault(name, on_windows=True)
    assert name_fault(name, on_windows=False) is None


@given(st.text(min_size=1, max_size=20))
def test_any_legal_name_is_one_file_in_its_folder(name):
    if name_fault(name, on_windows=False) is None:
        folder = Path("results")
        for path in (folder / name, folder / f"{name}.json", folder / f".{name}.json.part"):
            assert path.parent == folder
            assert path.resolve().parent == folder.resolve()


@pytest.mark.parametrize("name", ["...mp4", "x" * 251 + ".mp4"])
def test_a_video_whose_name_is_no_name_for_results(tmp_path, name):
    path = write_clip(tmp_path / "clip.mp4").rename(tmp_path / name)
    arguments = [str(path), "--out", str(tmp_path / "out"), "--ref-point", "9,9"]
    done = CliRunner().invoke(run_command, arguments)
    assert isinstance(done.exception, InputError)
    assert "choose a --name" in str(done.exception)
    assert not (tmp_path / "out").exists()


# --- options


NUMBERS = st.from_regex(r"\d{1,30}", fullmatch=True) | st.just("9" * 5000)
TEXTS = st.one_of(
    st.text(max_size=40),
    st.from_regex(r"[-\d.:,s ]{1,40}", fullmatch=True),
    st.lists(NUMBERS, min_size=1, max_size=5).map(":".join),
    st.lists(NUMBERS, min_size=1, max_size=5).map(",".join),
    st.tuples(NUMBERS, st.text(max_size=9)).map(":".join),
    NUMBERS.map("{}s".format),
)


@given(TEXTS)
def test_options_are_read_or_refused(text):
    for kind in (Moment(), ClickHint(), BoxHint(), FrameMask()):
        try:
            value = kind.convert(text, None, None)
        except click.BadParameter:
            continue
        if isinstance(kind, Moment):
            with suppress(InputError):  # a time that is no finite number
                Selection(start=value)


# --- masks

NPY_HEADER = st.fixed_dictionaries(
    {
        "descr": st.sampled_from(["|u1", "<i8", ">u4", "|b1", "<f8", "|O", "|V0", "<U3", "x", ""]),
        "fortran_order": st.sampled_from([False, True, None, 1]),
        "shape": st.lists(
            st.sampled_from([0, 1, 3, -1, 2**31, 2**62, 2**64, 1.5, None]), max_size=4
        ).map(tuple),
    }
)


@given(NPY_HEADER | st.text(max_size=50), st.binary(max_size=64), st.sampled_from([1, 2, 3, 9]))
@settings(max_examples=150)
def test_array_files_are_read_or_refused(tmp_path_factory, header, content, version):
    text = repr(header).encode() + b"\n"
    size = struct.pack("<H" if version == 1 else "<I", len(text))
    path = tmp_path_factory.mktemp("masks") / "mask.npy"
    path.write_bytes(b"\x93NUMPY" + bytes([version, 0]) + size + text + content)
    refused_or_legal(lambda: read_mask(path))


MAGICS = [
    *[b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a", b"BM", b"II*\0", b"MM\0*"],
    b"RIFF\x40\0\0\0WEBPVP8 ",
]


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@given(st.sampled_from(MAGICS), st.binary(max_size=200))
@settings(max_examples=150)
def test_image_files_are_read_or_refused(tmp_path_factory, magic, content):
    path = tmp_path_factory.mktemp("masks") / "mask.png"
    path.write_bytes(magic + content)
    refused_or_legal(lambda: read_mask(path))
    refused_or_legal(lambda: read_label_png(path))
    with pytest.raises(SourceError):
        open_source(path).close()


SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)
PALETTES = st.sampled_from(
    [(0, 255), (0, 1, 2), (0, 254, 255), tuple(range(0, 256, 51)), tuple(range(256))]
)


@given(st.data(), PALETTES, SHAPES, st.booleans())
def test_colours_are_read_or_refused(data, palette, shape, is_lossy):
    pixels = st.sampled_from(palette)
    rgb = data.draw(hnp.arrays(np.uint8, (*shape, 3), elements=pixels))
    grey = data.draw(hnp.arrays(np.uint16, shape, elements=pixels | st.just(65535)))
    refused_or_legal(lambda: labels_from_colours(rgb, is_lossy=is_lossy)[0], shape)
    refused_or_legal(lambda: labels_from_grey(grey, is_lossy=is_lossy), shape)


@given(st.data(), SHAPES)
def test_palette_pictures_are_read_or_refused(tmp_path_factory, data, shape):
    image = Image.fromarray(data.draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, 5))))
    colours = st.sampled_from([*DAVIS_PALETTE[:6].tolist(), [255, 0, 0], [9, 9, 9]])
    image.putpalette(np.ravel(data.draw(st.lists(colours, min_size=6, max_size=6))).tolist())
    path = tmp_path_factory.mktemp("palette") / "m.png"
    image.save(path)
    refused_or_legal(lambda: read_mask(path), shape)


@given(st.data())
def test_arrays_are_read_or_refused(data):
    kinds = hnp.scalar_dtypes() | hnp.array_dtypes()
    array = data.draw(hnp.arrays(kinds, hnp.array_shapes(min_dims=0, max_dims=4, max_side=4)))
    refused_or_legal(lambda: mask_from_array(array), array.shape)


def refused_or_legal(read_one, shape: tuple[int, ...] | None = None) -> None:
    try:
        labels = read_one()
    except MaskError:
        return
    assert labels.dtype == np.uint8
    assert labels.ndim == 2
    assert shape is None or labels.shape == shape


# --- damaged files


@pytest.mark.skipif(sys.platform != "linux", reason="the limits of memory are Linux'")
def test_damaged_files_give_documented_errors_only():
    """Fifty of the two thousand that tools/fuzz_files.py does."""
    options = {"seed": 1, "num_workers": 1, "seconds": 60, "memory_mb": 256}
    results = list(fuzz_files.run_cases(range(50), **options))
    assert sorted(result.number for result in results) == list(range(50))
    assert [result for result in results if not result.is_good] == []
    outcomes = {result.outcome for result in results}
    assert {"read", "SourceError", "DamagedSourceError", "MaskError"} <= outcomes


@pytest.mark.skipif(sys.platform != "linux", reason="the limits of memory are Linux'")
def test_the_tool_sees_crashes_hangs_and_memory(tmp_path, monkeypatch):
    """A copy of the tool whose cases do nothing but go wrong."""
    source = (TOOLS / "fuzz_files.py").read_text()
    faults = {
        "import ctypes; ctypes.string_at(0)": "! crash, exit code -11",
        "import time; time.sleep(60)": "! hang",
        "bytearray(b'x' * (300 << 20))": "! over the limit of memory",
        "bytearray(2 << 30)": "! MemoryError",
        "raise KeyError('x')": "! KeyError",
    }
    wrong = f"        exec({list(faults)!r}[number])\n"
    assert source.count("        read_file(path)\n") == 1
    source = source.replace("        read_file(path)\n", wrong)
    (tmp_path / "wrong_fuzz_files.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    tool = importlib.import_module("wrong_fuzz_files")
    monkeypatch.setattr(tool, "make_originals", lambda folder: (folder / "x").write_bytes(b"x"))
    try:
        results = list(tool.run_cases(range(5), seed=0, num_workers=1, seconds=8, memory_mb=256))
    finally:
        del sys.modules["wrong_fuzz_files"]
    for result, outcome in zip(results, faults.values(), strict=True):
        assert not result.is_good
        assert result.outcome.startswith(outcome)
