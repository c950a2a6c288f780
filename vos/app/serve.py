"""Running the server, with an end to everything that could wait for ever."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import ExitStack
from typing import Final

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from vos.app.guard import App
from vos.app.messages import MAX_MESSAGE_BYTES
from vos.errors import InputError

REQUEST_SECONDS = 10.0  # for the head of a request to arrive
_KEEP_ALIVE_SECONDS: Final = 30
_PING_SECONDS: Final = 20.0
_MAX_CONNECTIONS: Final = 64


class _TimedProtocol(H11Protocol):
    """Hangs up on who opens a connection and does not say what for."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._deadline = self.loop.call_later(REQUEST_SECONDS, self._hang_up)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._is_idle():
            self._keep()
        elif self._deadline is None:  # the head of a request has begun
            self._deadline = self.loop.call_later(REQUEST_SECONDS, self._hang_up)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._keep()

    def _keep(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _is_idle(self) -> bool:
        # A websocket takes the connection over.
        is_http = self.transport.get_protocol() is self
        return is_http and (self.cycle is None or self.cycle.response_complete)

    def _hang_up(self) -> None:
        self._deadline = None
        if self._is_idle():
            self.transport.abort()


def bind(host: str, port: int) -> socket.socket:
    """Take a port; 0 is any free one.

    Raises:
        InputError: it is taken, or the host is none of this machine.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with ExitStack() as stack:
            listener = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            stack.pop_all()
    except OSError as error:
        raise InputError(
            f"cannot listen at {host}, port {port}: {error.strerror or error}; "
            "choose another --port, or 0 for any"
        ) from error
    return listener


def make_server(app: App, on_start: Callable[[], None]) -> uvicorn.Server:
    """Give the server of an application, to be run with a socket of :func:`bind`.

    Args:
        app: The application.
        on_start: Called when the server answers.
    """
    config = uvicorn.Config(
        app,
        http=_TimedProtocol,
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        ws_max_size=MAX_MESSAGE_BYTES,
        ws_ping_interval=_PING_SECONDS,
        ws_ping_timeout=_PING_SECONDS,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=2,
        limit_concurrency=_MAX_CONNECTIONS,
        h11_max_incomplete_event_size=1 << 16,
        lifespan="off",
        log_level="error",
        access_log=False,
        server_header=False,
    )
    return _Server(config, on_start)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, on_start: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_start = on_start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_start()
