"""Who may talk to the page's server: who has the token, from the page itself, and nobody else.

A page of another site that is open in the same browser can send requests to this machine. It does
not know the token and, as the cookie that carries it is kept to this site, cannot send it; and a
name of its own that leads here (DNS rebinding) is refused by the Host header. Pages of other
servers on this machine count as the same site to a browser, so Origin is compared as well.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK: Final = frozenset(("127.0.0.1", "localhost", "::1"))

_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_ONWARDS: Final = (
    b'<!doctype html><meta http-equiv="refresh" content="0; url=/"><title>vos</title>'
    b'<link rel="icon" href="/static/icon.svg" type="image/svg+xml">'
)
_HEADERS: Final = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)


class Guard:
    """Lets nobody in who does not come from the page.

    Args:
        app: What is guarded.
        token: What the page must know.
        hosts: Names by which the server may be called; ``*`` stands for all.
        cookie: Name of the cookie that carries the token.
    """

    def __init__(self, app: App, token: str, hosts: Iterable[str], cookie: str) -> None:
        self._app = app
        self._token = token
        self._hosts = frozenset(hosts)
        self._cookie = cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, refuse it, or trade the token in its address for the cookie."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = {
            key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]
        }
        if fault := self._fault(scope, headers):
            await _refuse(scope, receive, send, *fault)
            return
        if scope["type"] == "http" and self._token_in_address(scope):
            await self._give_cookie(scope, send)
            return

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _fault(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if "*" not in self._hosts and _hostname(host) not in self._hosts:
            return 403, "this server is not known by that name"
        origin = headers.get("origin")
        is_read = scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
        if origin is None and not is_read:
            return 403, "the request says not where it comes from"
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return 403, "the request comes from another page"
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            is_link = headers.get("sec-fetch-mode") == "navigate" and scope["path"] == "/"
            if not is_link:
                return 403, "the request comes from another page"
        if self._is_known(scope, headers):
            return None
        return 403, "open the page by the whole address that vos app has printed"

    def _is_known(self, scope: Scope, headers: dict[str, str]) -> bool:
        if self._token_in_address(scope):
            return True
        cookies: SimpleCookie = SimpleCookie()
        try:
            cookies.load(headers.get("cookie", ""))
        except CookieError:
            return False
        return self._cookie in cookies and self._is_token(cookies[self._cookie].value)

    def _token_in_address(self, scope: Scope) -> bool:
        if scope["type"] != "http" or scope["path"] != "/":
            return False
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"), max_num_fields=8)
        return any(self._is_token(each) for each in query.get("token", ()))

    def _is_token(self, text: str) -> bool:
        return secrets.compare_digest(text.encode(), self._token.encode())

    async def _give_cookie(self, scope: Scope, send: Send) -> None:
        """Lead to the page's address without the token, which browsers would remember.

        A redirection would not do: after a link on another site, browsers would not send the
        cookie along.
        """
        cookie = f"{self._cookie}={self._token}; Path=/; HttpOnly; SameSite=Strict"
        headers = [
            (b"content-type", b"text/html; charset=utf-8"),
            (b"set-cookie", cookie.encode()),
            *_HEADERS,
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": _ONWARDS})


def _hostname(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, text: str) -> None:
    if scope["type"] == "websocket":
        await receive()  # the connection, which is refused before it is accepted
        await send({"type": "websocket.close", "code": 1008, "reason": text})
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8"), *_HEADERS]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})
