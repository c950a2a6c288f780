"""The page's server: the page itself, frames, label maps, and a socket for all else."""

from __future__ import annotations

import asyncio
import json
import secrets
import tempfile
from array import array
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

from vos.app.guard import LOOPBACK, App, Guard
from vos.app.messages import parse_message
from vos.app.session import Session
from vos.errors import InputError, VosError

_STATIC: Final = Path(__file__).parent / "static"
_MAX_MASK_BYTES: Final = 1 << 26
_BODY_SECONDS: Final = 30.0
_MAX_WAITING: Final = 256  # messages to a page that does not read
_MAX_PAGES: Final = 16
_PICTURES: Final = {"jpg": "image/jpeg", "png": "image/png"}


def new_token() -> str:
    """Make a token that cannot be guessed."""
    return secrets.token_urlsafe(24)


def create_app(
    session: Session, *, token: str, hosts: frozenset[str] = LOOPBACK, port: int = 0
) -> App:
    """Give the ASGI application of a session.

    Args:
        session: The video and what is known of it.
        token: What the page's address must hold, as :func:`new_token` gives.
        hosts: Names by which the server may be called.
        port: Its port, so that the cookies of several servers keep apart.
    """
    pages = _Pages(session)
    app = Starlette(
        routes=[
            Route("/", _page),
            Route("/frame/{index:int}.{kind}", partial(_frame, session)),
            Route("/labels/{index:int}", partial(_labels, session)),
            Route("/times", partial(_times, session)),
            Route("/command", partial(_command, session)),
            Route("/mask/{index:int}", partial(_mask, session), methods=["POST"]),
            WebSocketRoute("/socket", pages.serve),
            Mount("/static", StaticFiles(directory=_STATIC)),
        ],
        exception_handlers={VosError: _fault},
    )
    return Guard(app, token, hosts, f"vos_{port}")


async def _page(request: Request) -> Response:
    return FileResponse(_STATIC / "index.html", media_type="text/html")


async def _frame(session: Session, request: Request) -> Response:
    kind = request.path_params["kind"]
    if kind not in _PICTURES:
        raise InputError(f"frames are {' or '.join(_PICTURES)}")
    picture = await run_sync(session.picture, request.path_params["index"], kind)
    return Response(picture, media_type=_PICTURES[kind])


async def _labels(session: Session, request: Request) -> Response:
    packed = await run_sync(session.packed_labels, request.path_params["index"])
    headers = {"content-encoding": "deflate"}
    return Response(packed, media_type="application/octet-stream", headers=headers)


async def _times(session: Session, request: Request) -> Response:
    times = await run_sync(session.reader.times)
    return Response(array("f", times.pts_seconds).tobytes(), media_type="application/octet-stream")


async def _command(session: Session, request: Request) -> Response:
    return PlainTextResponse(await run_sync(session.command))


async def _mask(session: Session, request: Request) -> Response:
    """Read a mask that was chosen in the page; its name says nothing, its content tells."""
    content = bytearray()
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for part in request.stream():
                content += part
                if len(content) > _MAX_MASK_BYTES:
                    raise InputError(f"a mask may have {_MAX_MASK_BYTES >> 20} MiB")
    except (TimeoutError, ClientDisconnect):
        return Response(status_code=408)

    def take_over() -> None:
        with tempfile.TemporaryDirectory(prefix="vos-mask-") as folder:
            path = Path(folder, "mask")
            path.write_bytes(content)
            session.import_mask(request.path_params["index"], path)

    await run_sync(take_over)
    return Response(status_code=204)


async def _fault(request: Request, error: Exception) -> Response:
    return PlainTextResponse(str(error), status_code=400 if isinstance(error, InputError) else 404)


class _Pages:
    """The open pages of a session: all of them see everything that happens."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._num_open = 0

    async def serve(self, socket: WebSocket) -> None:
        """Serve a page until it goes."""
        if self._num_open >= _MAX_PAGES:
            await socket.close(1013)
            return
        await socket.accept()
        self._num_open += 1
        loop = asyncio.get_running_loop()
        outbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue(_MAX_WAITING)

        def put(message: dict[str, Any]) -> None:
            try:
                outbox.put_nowait(message)
            except asyncio.QueueFull:  # it has gone to sleep; it asks for all when it wakes up
                with suppress(asyncio.QueueEmpty):
                    while True:
                        outbox.get_nowait()
                outbox.put_nowait({"type": "behind"})

        def publish(message: dict[str, Any]) -> None:
            with suppress(RuntimeError):  # the server has ended
                loop.call_soon_threadsafe(put, message)

        leave = self._session.listen(publish)
        sender = asyncio.create_task(self._send(socket, outbox))
        try:
            put(await run_sync(self._session.state))
            while True:
                await self._receive(await socket.receive_text(), put)
        except (WebSocketDisconnect, KeyError):  # KeyError: it was no text
            pass
        finally:
            leave()
            sender.cancel()
            self._num_open -= 1

    async def _receive(self, text: str, put: Any) -> None:
        try:
            await run_sync(self._session.handle, parse_message(text))
        except VosError as error:
            put({"type": "notice", "kind": "error", "text": str(error)})

    async def _send(self, socket: WebSocket, outbox: asyncio.Queue[dict[str, Any]]) -> None:
        with suppress(WebSocketDisconnect, RuntimeError):
            while True:
                message = await outbox.get()
                if message["type"] == "behind":
                    message = await run_sync(self._session.state)
                await socket.send_text(json.dumps(message, separators=(",", ":")))
