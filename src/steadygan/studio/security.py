"""Access control: checks of Host, Origin and token, and response headers that restrict the browser."""

from __future__ import annotations

import ipaddress
import secrets
import socket
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "steadygan_studio"
LARGEST_BODY, LARGEST_IMAGE = 64 << 10, 16 << 20
"""Maximum bytes of a request; of an image to translate."""
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


def is_loopback(host: str) -> bool:
    """Whether an address to bind to is a loopback address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def new_token() -> str:
    return secrets.token_urlsafe(24)


class Guard:
    """Middleware that accepts only requests from the studio's own page.

    Host: must be a loopback name, or with a token this machine's name or a numeric address, which prevents DNS
    rebinding. The port is not checked, as `ssh -L` changes it. Origin and Sec-Fetch-Site: must be the page's own if
    sent, and requests that change anything need a header that forms cannot set.

    Args:
        token: required once in the link, then kept in a cookie.
    """

    def __init__(self, app: ASGIApp, token: str | None = None, names: tuple[str, ...] = ()) -> None:
        self.app, self.token, self.names = app, token, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            key = name.decode("latin-1").lower()
            if key in ("host", "origin") and key in headers:
                await _refuse(send, 400, "this request names two hosts")
                return
            headers[key] = value.decode("latin-1")
        if not self._host_is_ours(headers.get("host", "")):
            await _refuse(send, 403, "this address is not the studio's: open the link that it printed")
        elif not (_same_origin(headers) or _opens_the_page(scope)):
            await _refuse(send, 403, "another site asked for this")
        elif scope["method"] not in ("GET", "HEAD") and headers.get("x-steadygan") != "1":
            await _refuse(send, 403, "only the studio's own page may do this")
        elif _size(headers) > (LARGEST_IMAGE if scope["path"].endswith("/translated") else LARGEST_BODY):
            await _refuse(send, 413, "too long")
        elif self.token is not None and not self._knows_token(scope, headers):
            query = parse_qs(scope["query_string"].decode("latin-1"))
            given = query.get("token", [""])[-1]
            if scope["path"] == "/" and secrets.compare_digest(given.encode(), self.token.encode()):
                cookie = f"{COOKIE}={self.token}; HttpOnly; SameSite=Strict; Path=/; Max-Age=2592000"
                await _answer(send, 303, b"", {"location": "/", "set-cookie": cookie})
            else:
                await _refuse(send, 401, "open the link with the token that the studio printed when it started")
        else:
            await self.app(scope, receive, _with_headers(send))

    def _host_is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if any(mark in host for mark in "@/\\?# "):
            return False
        if is_loopback(name):
            return True
        if self.token is None:
            return False
        try:
            ipaddress.ip_address(name)
            return True
        except ValueError:
            return name in (*self.names, socket.gethostname().lower(), socket.getfqdn().lower())

    def _knows_token(self, scope: Scope, headers: dict[str, str]) -> bool:
        assert self.token is not None
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return cookie is not None and secrets.compare_digest(cookie.value.encode(), self.token.encode())


def _size(headers: dict[str, str]) -> int:
    if "transfer-encoding" in headers:
        return LARGEST_IMAGE + 1
    text = headers.get("content-length", "0")
    return int(text) if text.isdecimal() and len(text) < 12 else LARGEST_IMAGE + 1


def _same_origin(headers: dict[str, str]) -> bool:
    if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc.lower() == headers.get("host", "").lower()


def _opens_the_page(scope: Scope) -> bool:
    """Links on other pages may open the front page, which has no side effects."""
    return scope["method"] == "GET" and scope["path"] == "/"


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), *_encoded(HEADERS)]}
        await send(message)

    return sending


def _encoded(headers: dict[str, Any]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


async def _refuse(send: Send, status: int, text: str) -> None:
    await _answer(send, status, text.encode(), {"content-type": "text/plain; charset=utf-8"})


async def _answer(send: Send, status: int, body: bytes, headers: dict[str, str]) -> None:
    every = _encoded({**headers, **HEADERS, "content-length": str(len(body)), "cache-control": "no-store"})
    await send({"type": "http.response.start", "status": status, "headers": every})
    await send({"type": "http.response.body", "body": body})
