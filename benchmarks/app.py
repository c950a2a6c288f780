"""Prints what vos app promises to keep: times to the first frame and to masks, scrubbing, tracking
against vos-run, and memory.

    python benchmarks/app.py clip.mp4 --click 640,440 --out /tmp/app

The clip is one of 1280 x 720; it is joined to itself for the long videos. Memory is measured with
chromium, in an hour and a half; --cheap takes a quarter of that, with a stand-in for the model.
"""

import argparse
import http.client
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice, pairwise
from pathlib import Path

import av
from websockets.sync.client import connect

RATE_HZ = 30
TEN_MINUTES = 600 * RATE_HZ
NUM_STEPS = 40  # of scrubbing
SMALL_WH = 320, 240  # of memory's measure
SQUARE_PX = 64
LOOP_FRAMES = 100
NUM_ROWS = 10
PATIENCE_SECONDS = 60.0  # for a browser to answer
MEMORY_NAMES = ("browser", "JS heap", "nodes", "listeners", "server")

# vos app with the model of the tests, which finds colours.
SERVE_CHEAP = f"""import pathlib, signal, sys
sys.path.insert(0, {str(Path(__file__).parents[1] / "tests")!r})
from app_server import TOKEN, serving
with serving(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])) as served:
    print(f"http://127.0.0.1:{{served.port}}/?token={{TOKEN}}", flush=True)
    signal.pause()
"""

# The page's own modules show frames one after the other, with those that come next read ahead.
SHOW_FRAMES = """async ([first, end]) => {
  const { store, on } = await import("/static/store.js");
  const { show } = await import("/static/pictures.js");
  if (!window.shown) {
    window.shown = () => {};
    on("picture", ({ index }) => window.shown(index));
  }
  store.isPlaying = true;
  for (let index = first; index < end; index++) {
    await new Promise((done) => {
      window.shown = (at) => { if (at === index) done(); };
      show(index);
    });
  }
  store.isPlaying = false;
}"""


def join_to_itself(clip: Path, path: Path, num_frames: int) -> Path:
    """Write a video of so many frames, without encoding anything."""
    with av.open(str(clip)) as source:
        packets = [p for p in source.demux(video=0) if p.size]
        stream = source.streams.video[0]
        step = int(1 / (stream.average_rate * stream.time_base))
        with av.open(str(path), "w") as target:
            out = target.add_stream_from_template(stream)
            offset = written = 0
            while written < num_frames:
                source.seek(0)
                for packet in source.demux(video=0):
                    if not packet.size or written >= num_frames:
                        continue
                    packet.pts += offset
                    packet.dts += offset
                    packet.stream = out
                    target.mux(packet)
                    written += 1
                offset += step * len(packets)
    return path


class Server:
    """``vos app`` in a process of its own, and what a page asks of it."""

    def __init__(self, video: Path, out: Path, *, command: list[str | Path] | None = None) -> None:
        self.started = time.perf_counter()
        plain = [sys.executable, "-m", "vos", "app", video, "--out", out, "--no-browser", "-q"]
        self.process = subprocess.Popen(command or plain, stdout=subprocess.PIPE, text=True)
        self.address = re.search(r"http://\S+", self.process.stdout.readline()).group()
        host, self.token = re.fullmatch(r"http://(.+)/\?token=(.+)", self.address).groups()
        self.host, self.port = host, int(host.rpartition(":")[2])
        self.headers = {"Cookie": f"vos_{self.port}={self.token}"}
        self.connection = http.client.HTTPConnection(host)

    def get(self, path: str) -> bytes:
        self.connection.request("GET", path, headers=self.headers)
        answer = self.connection.getresponse()
        content = answer.read()
        assert answer.status == 200, (path, answer.status, content)
        return content

    @contextmanager
    def page(self) -> Iterator["Page"]:
        with connect(
            f"ws://{self.host}/socket",
            origin=f"http://{self.host}",
            additional_headers=self.headers,
        ) as socket:
            yield Page(socket)

    def cpu_ms(self) -> float:
        """CPU time of all threads so far: what the machine's other work does not change much."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return 1000 * (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def wait_until_idle(self) -> None:
        before = -1.0
        while (now := self.cpu_ms()) - before > 10:
            before = now
            time.sleep(0.5)

    def rss_mib(self) -> float:
        return sum_rss_mib([self.process.pid])

    def end(self) -> None:
        self.process.terminate()
        self.process.wait()


class Page:
    def __init__(self, socket) -> None:
        self.socket = socket
        self.state = {"status": "loading"}
        self.num_frames = 0
        self.sketched: float | None = None
        self.until(lambda: self.state["status"] == "ready")

    def until(self, condition) -> None:
        while not condition():
            message = json.loads(self.socket.recv())
            if message["type"] in ("state", "project"):
                self.state |= message
            self.num_frames += len(message.get("frames", ()))
            if message["type"] == "preview" and message["object"] and self.sketched is None:
                self.sketched = time.perf_counter()
            if message["type"] == "notice":
                raise SystemExit(message["text"])

    def edit(self, **message) -> float:
        """Send an edit; give the seconds until it is done."""
        before, began = self.state["project"], time.perf_counter()
        self.socket.send(json.dumps(message))
        self.until(lambda: self.state["project"] != before)
        return time.perf_counter() - began


def sum_rss_mib(pids: list[int]) -> float:
    pages = 0
    for pid in pids:
        pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096 / (1 << 20)


def below(pid: int) -> list[int]:
    """A process and those that it has started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in below(int(child)))]


def sum_pss_mib(pids: list[int]) -> float:
    """What the processes take, each shared page counted once."""
    texts = (Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids)
    return sum(int(re.search(r"^Pss: *(\d+) kB", text, re.M)[1]) for text in texts) / 1024


def report(what: str, value: str, limit: str) -> None:
    print(f"{what:<42} {value:>22}   limit {limit}", flush=True)


def measure_clicks(clip: Path, out: Path, click: tuple[int, int]) -> None:
    """Clicks at once, and clicks where the pointer has rested: what they take is computed then."""
    x, y = click
    on = [(x + dx, y + dy) for dx, dy in ((0, 0), (6, 4), (-6, 2), (4, -6), (-8, -4))]
    beside = [(x + 200, y + dy) for dy in (0, 60, 120)]
    for rests in (False, True):
        server = Server(clip, out / f"{rests}")
        server.get("/")
        server.get("/frame/0.jpg")
        started = f"{time.perf_counter() - server.started:.2f} s"
        with server.page() as page:
            page.socket.send(json.dumps({"type": "look", "frame": 0}))
            server.wait_until_idle()
            rows, rows_beside = (
                [measure_click(server, page, *each, is_on, rests=rests) for each in points]
                for points, is_on in ((on, True), (beside, False))
            )
        server.end()
        if not rests:
            report("first frame after start", started, "1 s")
        when = "after a rest" if rests else "at once"
        report_clicks(f"first click, {when}", rows[:1], "500 ms")
        report_clicks(f"further clicks, {when}", rows[1:], "150 ms")
        report_clicks(f"clicks beside it, {when}", rows_beside, "150 ms")


def measure_click(
    server: Server, page: Page, x: int, y: int, is_positive: bool, *, rests: bool
) -> tuple[float, ...]:
    """Click; give ms to what is shown first, to the mask that stays, and its CPU time."""
    at = {"frame": 0, "object": 1, "x": x, "y": y}
    if rests:
        page.socket.send(json.dumps({"type": "rest", **at}))
    server.wait_until_idle()
    known, page.sketched = page.state["project"], None
    began, cpu_before = time.perf_counter(), server.cpu_ms()
    page.socket.send(json.dumps({"type": "click", **at, "positive": is_positive}))
    page.until(lambda: page.state["project"] != known)
    server.get("/labels/0")
    mask_ms = 1000 * (time.perf_counter() - began)
    sketch_ms = mask_ms if page.sketched is None else 1000 * (page.sketched - began)
    return sketch_ms, mask_ms, server.cpu_ms() - cpu_before


def report_clicks(what: str, rows: list[tuple[float, ...]], limit: str) -> None:
    sketch, mask, mask_cpu = (statistics.median(each) for each in zip(*rows, strict=True))
    longest, longest_cpu = (max(each) for each in list(zip(*rows, strict=True))[1:])
    report(f"{what}: sketch", f"{sketch:.0f} ms", limit)
    report(f"{what}: mask", f"{mask:.0f} ms, CPU {mask_cpu:.0f} ms", limit)
    if len(rows) > 1:
        report(f"{what}: longest", f"{longest:.0f} ms, CPU {longest_cpu:.0f} ms", limit)


def measure_scrubbing(clip: Path, out: Path) -> None:
    long = join_to_itself(clip, out / "ten_minutes.mp4", TEN_MINUTES)
    server = Server(long, out)
    server.get("/frame/0.jpg")
    with server.page():
        began = time.perf_counter()
        server.get("/times")
        report("times of all frames", f"{time.perf_counter() - began:.2f} s", "none")
        times = []
        cpu_before = server.cpu_ms()
        for index in random.Random(0).sample(range(TEN_MINUTES), NUM_STEPS):
            began = time.perf_counter()
            server.get(f"/frame/{index}.jpg")
            times.append(1000 * (time.perf_counter() - began))
    times.sort()
    value = f"{statistics.median(times):.0f}, at most {times[-1]:.0f} ms"
    report("scrubbing in ten minutes, median", value, "250 ms")
    cpu_ms = (server.cpu_ms() - cpu_before) / NUM_STEPS
    report("scrubbing, CPU", f"{cpu_ms:.0f} ms a frame", "none")
    server.end()


def measure_tracking(clip: Path, out: Path, click: tuple[int, int], num_frames: int) -> None:
    """Both start from the same click; what the model takes to load does not count."""
    short = join_to_itself(clip, out / "short.mp4", num_frames)
    command = [sys.executable, "-m", "vos", "run", str(short), "--out", str(out / "run")]
    command += ["--ref-point", "{},{}".format(*click), "--no-overlay", "--overwrite", "-q"]
    done = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    document = json.loads((out / "run" / "short.json").read_text())
    rate_run = document["num_frames"] / document["elapsed_seconds"]
    server = Server(short, out)
    with server.page() as page:
        page.edit(type="click", frame=0, object=1, x=click[0], y=click[1], positive=True)
        page.socket.send(json.dumps({"type": "track", "frame": 0, "direction": "both"}))
        page.until(lambda: page.state["status"] == "tracking")
        page.until(lambda: page.state["status"] == "ready")
    server.end()
    document = json.loads((out / "short.json").read_text())
    rate_app = document["num_frames"] / document["elapsed_seconds"]
    value = f"{rate_app:.2f} of {rate_run:.2f} frames/s"
    report("tracking in the page", f"{value} = {rate_app / rate_run:.2f}", "0.9")
    assert "short" in done


def measure_memory(
    clip: Path, out: Path, click: tuple[int, int], num_frames: int, *, is_cheap: bool
) -> None:
    """Track a small video in an open page that follows, then show every frame of it there."""
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("memory is measured with chromium, which is not here")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    loop = make_loop(clip, out / "loop.mp4", has_square=is_cheap)
    long = join_to_itself(loop, out / "long.mp4", num_frames)
    command = [sys.executable, "-c", SERVE_CHEAP, long, out] if is_cheap else None
    server = Server(long, out, command=command)
    model = "a stand-in for the model" if is_cheap else "nano"
    width, height = SMALL_WH
    print(f"memory, {num_frames} frames of {width} x {height} tracked by {model}, MiB")
    print(f"{'frames':>12}" + "".join(f"{name:>11}" for name in MEMORY_NAMES), "   minutes")
    rows: list[tuple[float, ...]] = []

    def note(what: str, browser: Browser) -> None:
        rows.append((*browser.measure(), server.rss_mib()))
        minutes = (time.perf_counter() - server.started) / 60
        numbers = "".join(f"{number:11.1f}" for number in rows[-1])
        print(f"{what:>12}{numbers} {minutes:10.1f}", flush=True)

    bounds = [num_frames * n // NUM_ROWS for n in range(1, NUM_ROWS + 1)]
    with opened(chromium, out / "browser", server.address) as browser, server.page() as page:
        x, y = (SQUARE_PX // 2, height // 2) if is_cheap else scaled(clip, click)
        page.edit(type="click", frame=0, object=1, x=x, y=y, positive=True)
        browser.until("!!document.querySelector('#objects li')")  # it knows of the click
        browser.evaluate("document.getElementById('track').click()")
        page.until(lambda: page.state["status"] == "tracking")
        for bound in bounds:
            page.until(lambda bound=bound: page.num_frames >= bound)
            note(f"{bound} tracked", browser)
        page.until(lambda: page.state["status"] == "ready")
        for first, end in pairwise([0, *bounds]):
            for start in range(first, end, 100):
                steps = [max(1, start), min(start + 100, end)]
                browser.evaluate(f"({SHOW_FRAMES})({steps})")
            note(f"{end} shown", browser)
    server.end()
    for name, values in zip(MEMORY_NAMES, zip(*rows, strict=True), strict=True):
        for what, part in (("tracked", values[:NUM_ROWS]), ("shown", values[NUM_ROWS:])):
            numbers = f"{part[0]:.1f} to {part[-1]:.1f}, at most {max(part):.1f}"
            report(f"{name}, {what}", numbers, "flat")


def make_loop(clip: Path, path: Path, *, has_square: bool) -> Path:
    """Make a small clip that goes there and back, so that it can be repeated."""
    width, height = SMALL_WH
    with av.open(str(clip)) as source:
        rgbs = [
            frame.to_ndarray(format="rgb24", width=width, height=height)
            for frame in islice(source.decode(video=0), LOOP_FRAMES // 2 + 1)
        ]
    if has_square:
        top = (height - SQUARE_PX) // 2
        for left, rgb in zip(range(0, width - SQUARE_PX, 5), rgbs, strict=False):
            rgb[top : top + SQUARE_PX, left : left + SQUARE_PX] = (220, 40, 40)
        rgbs = rgbs[: (width - SQUARE_PX) // 5]
    with av.open(str(path), "w") as target:
        stream = target.add_stream("libx264", rate=RATE_HZ, options={"bf": "0", "g": "50"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for rgb in (*rgbs, *rgbs[-2:0:-1]):
            target.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        target.mux(stream.encode(None))
    return path


def scaled(clip: Path, click: tuple[int, int]) -> tuple[int, int]:
    with av.open(str(clip)) as source:
        context = source.streams.video[0].codec_context
        width, height = SMALL_WH
        return click[0] * width // context.width, click[1] * height // context.height


@contextmanager
def opened(program: str, folder: Path, address: str) -> Iterator["Browser"]:
    """Open a page in Chromium by its own protocol: playwright would have it keep what it loads."""
    shutil.rmtree(folder, ignore_errors=True)
    options = ["--headless", "--no-sandbox", "--remote-debugging-port=0", "--window-size=1280,720"]
    command = [program, *options, f"--user-data-dir={folder}", "about:blank"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        port_file = folder / "DevToolsActivePort"
        while not port_file.exists() or not port_file.read_text():
            time.sleep(0.1)
        connection = http.client.HTTPConnection("127.0.0.1", int(port_file.read_text().split()[0]))
        connection.request("PUT", "/json/new?about:blank")
        target = json.loads(connection.getresponse().read())
        with connect(target["webSocketDebuggerUrl"], max_size=None) as socket:
            browser = Browser(process.pid, socket)
            browser.call("Page.navigate", url=address)
            yield browser
        process.terminate()


class Browser:
    """What is asked of a browser's page."""

    def __init__(self, pid: int, socket) -> None:
        self.pid, self.socket = pid, socket
        self.num_calls = 0

    def call(self, method: str, patience: float = PATIENCE_SECONDS, **params: object) -> dict:
        self.num_calls += 1
        self.socket.send(json.dumps({"id": self.num_calls, "method": method, "params": params}))
        answer: dict = {}
        while answer.get("id") != self.num_calls:
            answer = json.loads(self.socket.recv(timeout=patience))
        return answer["result"]

    def evaluate(self, expression: str, patience: float = PATIENCE_SECONDS) -> object:
        done = self.call("Runtime.evaluate", patience, expression=expression, awaitPromise=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def until(self, expression: str) -> None:
        while True:
            with suppress(KeyError, TimeoutError):  # between two pages nobody answers
                if self.evaluate(expression, 2.0):
                    return
            time.sleep(0.1)

    def measure(self) -> tuple[float, ...]:
        """MiB of all processes (what they share once) and of JS objects, nodes, and listeners."""
        self.call("HeapProfiler.collectGarbage")
        self.call("Performance.enable")
        metrics = {
            each["name"]: each["value"] for each in self.call("Performance.getMetrics")["metrics"]
        }
        return (
            sum_pss_mib(below(self.pid)),
            metrics["JSHeapUsedSize"] / (1 << 20),
            metrics["Nodes"],
            metrics["JSEventListeners"],
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--click", default="640,440", help="X,Y on the object in the first frame")
    parser.add_argument("--out", type=Path, required=True, help="folder for all that is written")
    parser.add_argument("--num-tracked", type=int, default=60)
    parser.add_argument("--num-frames", type=int, default=20_000, help="of the memory's measure")
    parser.add_argument(
        "--cheap", action="store_true", help="measure memory with a stand-in for the model"
    )
    parser.add_argument("--only", choices=["clicks", "scrubbing", "tracking", "memory"])
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    x, y = map(int, args.click.split(","))
    if args.only in (None, "clicks"):
        measure_clicks(args.clip, args.out / "clicks", (x, y))
    if args.only in (None, "scrubbing"):
        measure_scrubbing(args.clip, args.out)
    if args.only in (None, "tracking"):
        measure_tracking(args.clip, args.out, (x, y), args.num_tracked)
    if args.only in (None, "memory"):
        measure_memory(
            *(args.clip, args.out / "memory", (x, y), args.num_frames), is_cheap=args.cheap
        )


if __name__ == "__main__":
    main()
