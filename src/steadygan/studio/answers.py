"""Wrappers for handlers: plain functions of the request, run in threads, whose errors become responses."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import Response

from steadygan.studio.run import RunFiles

Handler = Callable[[Request], Awaitable[Response]]


class JSON(Response):
    """A JSON response."""

    media_type = "application/json"

    def __init__(self, found: Any, status_code: int = 200) -> None:
        super().__init__(in_json(found), status_code)


def in_json(found: Any) -> str:
    """Encodes JSON that every browser can read.

    Non-finite numbers become null; lone surrogates, which stand for bytes of file names that are not UTF-8, are
    escaped.
    """
    try:
        return json.dumps(found, allow_nan=False, separators=(",", ":"))
    except ValueError:
        return json.dumps(_finite(found), allow_nan=False, separators=(",", ":"))


def _finite(found: Any) -> Any:
    if isinstance(found, dict):
        return {key: _finite(value) for key, value in found.items()}
    if isinstance(found, list | tuple):
        return [_finite(value) for value in found]
    return None if isinstance(found, float) and not math.isfinite(found) else found


class Missing(Exception):
    """The requested object does not exist."""


class Refused(Exception):
    """The studio was not started with permission for this."""


def answer(status: int) -> Callable[[Request, Exception], Awaitable[Response]]:
    """Makes a handler that answers an exception with its message."""

    async def handler(request: Request, error: Exception) -> Response:
        return JSON({"error": str(error)[:2000]}, status)

    return handler


def threaded(work: Callable[[Request], Any]) -> Handler:
    """Makes a handler of a blocking function; a result that is not a response is sent as JSON.

    Shutting down does not wait for the function.
    """

    async def handler(request: Request) -> Response:
        return await _worked(work, request)

    return handler


def with_body(work: Callable[[Request, dict[str, Any]], Any]) -> Handler:
    """Like `threaded`, with the request's JSON object."""

    async def handler(request: Request) -> Response:
        body = await request.json()
        if not isinstance(body, dict):
            raise ValueError("an object is expected")
        return await _worked(work, request, body)

    return handler


async def _worked(work: Callable[..., Any], *arguments: Any) -> Response:
    try:
        found = await run_sync(work, *arguments, abandon_on_cancel=True)
    except asyncio.CancelledError:
        return JSON({"error": "the studio has ended"}, 503)
    return found if isinstance(found, Response) else JSON(found)


def run_of(studio: Any, request: Request) -> RunFiles:
    """The run with the id in the URL."""
    run = studio.catalogue.get(request.path_params["id"])
    if run is None:
        raise Missing("there is no such run (any more)")
    return run


def whole(query: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    """An integer of the query.

    Args:
        query: the URL's query.
        name: of the entry.
        default: if there is none.
        low, high: the allowed range, both included.

    Raises:
        ValueError: it is not an integer in this range.
    """
    text = query.get(name)
    if text is None:
        return default
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 20) or not low <= int(text) <= high:
        raise ValueError(f"{name} must be a whole number from {low} to {high}")
    return int(text)


def download(data: bytes, kind: str, name: str) -> Response:
    """A download with a file name of letters, digits, dots, dashes and underscores."""
    types = {"png": "image/png", "gif": "image/gif", "webp": "image/webp", "mp4": "video/mp4", "zip": "application/zip"}
    types |= dict.fromkeys(("onnx", "pt2", "pt"), "application/octet-stream")
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "-" for c in name).strip(".-") or "steadygan"
    return Response(
        data,
        media_type=types[kind],
        headers={"content-disposition": f'attachment; filename="{safe}.{kind}"', "cache-control": "no-store"},
    )
