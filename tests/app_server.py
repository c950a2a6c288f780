"""The page's server on a port of its own, with the stand-in model, for tests that talk to it."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from colour_sam import PALETTE, ColourSam
from websockets.sync.client import ClientConnection, connect

import vos
from vos.app.serve import bind, make_server
from vos.app.server import create_app
from vos.app.session import Session
from vos.run.job import ModelChoice
from vos.sink import write_video

HEIGHT, WIDTH, NUM_FRAMES = 96, 160, 14
TOKEN = "a-token-of-the-tests"
SIDE = 30
PATIENCE_SECONDS = 120  # machines that do much else


def corner_of(object_id: int, index: int) -> tuple[int, int]:
    """Left and top of an object in a frame: 1 and 2 go to the right, the second one below."""
    return 10 + 4 * index, {1: 10, 2: 54}[object_id]


def draw(index: int) -> tuple[np.ndarray, np.ndarray]:
    rgb = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    for object_id in (1, 2):
        left, top = corner_of(object_id, index)
        part = slice(top, top + SIDE), slice(left, left + SIDE)
        rgb[part], labels[part] = PALETTE[object_id], object_id
    return rgb, labels


def make_clip(path: Path, num_frames: int = NUM_FRAMES) -> Path:
    arrays = (draw(index)[0] for index in range(num_frames))
    write_video(path, vos.frames_from_arrays(arrays, fps=10), Fraction(10))
    return path


def stand_in() -> vos.SamModel:
    return vos.SamModel(ColourSam(), name="colour", weights_sha256="0" * 64)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return (one & other).sum() / (one | other).sum()


class Page:
    """What a page does, without a browser: requests, and a socket whose messages it remembers."""

    def __init__(self, port: int, socket_: ClientConnection) -> None:
        self.port, self.socket = port, socket_
        self.state: dict = {}
        self.notices: list[str] = []
        self.indices: list[int] = []
        self.receive()

    def receive(self) -> dict:
        message = json.loads(self.socket.recv(timeout=PATIENCE_SECONDS))
        if message["type"] in ("state", "project", "stale"):
            self.state |= message
        if message["type"] == "notice":
            self.notices.append(message["text"])
        if message["type"] == "progress":
            self.indices += [index for index, _ in message["frames"]]
        return message

    def until(self, condition) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, (self.state.get("status"), self.notices)
            self.receive()

    def edit(self, **message) -> None:
        """Send a message and wait for what comes of it: a new state of the project, or a notice."""
        before = len(self.notices)
        self.socket.send(json.dumps(message))
        while self.receive()["type"] != "project" and before == len(self.notices):
            pass

    def click(self, object_id: int, index: int = 0, *, positive: bool = True, dx: int = 15) -> None:
        left, top = corner_of(object_id, index)
        self.edit(
            type="click", frame=index, object=object_id, x=left + dx, y=top + 15, positive=positive
        )

    def track(self, direction: str = "both", frame: int = 0) -> None:
        self.socket.send(json.dumps({"type": "track", "frame": frame, "direction": direction}))
        self.until(lambda: self.state["status"] == "tracking" or self.notices)
        self.until(lambda: self.state["status"] == "ready")

    def labels(self, index: int) -> np.ndarray:
        import zlib

        status, _, body = get(self.port, f"/labels/{index}")
        assert status == 200, body
        return np.frombuffer(zlib.decompress(body), np.uint8).reshape(HEIGHT, WIDTH)


@dataclass
class Served:
    port: int
    session: Session | None

    @contextmanager
    def page(self) -> Iterator[Page]:
        headers = {"Cookie": cookie(self.port)}
        with connect(
            f"ws://127.0.0.1:{self.port}/socket",
            origin=f"http://127.0.0.1:{self.port}",
            additional_headers=headers,
        ) as opened:
            page = Page(self.port, opened)
            page.until(lambda: page.state["status"] != "loading")
            yield page


@contextmanager
def serving(
    source: Path,
    folder: Path,
    sam: vos.SamModel | None = None,
    name: str | None = None,
    config: vos.RunConfig | None = None,
) -> Iterator[Served]:
    sam = sam or stand_in()
    session = Session(str(source), folder, name, choose_model=ModelChoice, config=config, sam=sam)
    listener = bind("127.0.0.1", 0)
    port = listener.getsockname()[1]
    is_up = threading.Event()
    server = make_server(create_app(session, token=TOKEN, port=port), is_up.set)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        assert is_up.wait(PATIENCE_SECONDS)
        session.picture(0, "jpg")  # the model is loaded after the first frame is shown
        yield Served(port, session)
    finally:
        server.should_exit = True
        thread.join(PATIENCE_SECONDS)
        session.close()
        listener.close()


@contextmanager
def forwarded(port: int) -> Iterator[int]:
    """Forward another port to one of this machine, as ``ssh -L`` does; gives its number."""
    listener = socket.create_server(("127.0.0.1", 0))
    pairs: list[socket.socket] = []

    def pump(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def accept() -> None:
        with suppress(OSError):  # it is closed
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", port))
                pairs.extend((near, far))
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(PATIENCE_SECONDS)
        for each in pairs:
            each.close()


def cookie(port: int) -> str:
    return f"vos_{port}={TOKEN}"


def get(
    port: int, path: str, *, method: str = "GET", body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """Ask as the page does, unless headers say otherwise; an empty one is left out."""
    host = f"127.0.0.1:{port}"
    sent = {"Host": host, "Cookie": cookie(port), "Origin": f"http://{host}"}
    sent |= {key.replace("_", "-"): value for key, value in headers.items()}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    connection.putrequest(method, path, skip_host=True)
    for key, value in sent.items():
        if value:
            connection.putheader(key, value)
    if body is not None:
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, {key.lower(): value for key, value in answer.getheaders()}, content


def is_hung_up(port: int, sent: bytes, patience_seconds: float) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=patience_seconds) as half_open:
        half_open.sendall(sent)
        try:
            return half_open.recv(1) == b""
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False
