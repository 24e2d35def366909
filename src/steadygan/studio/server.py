"""The application: its state, the page's own files, and live updates."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from steadygan import __version__
from steadygan.errors import UserError, program
from steadygan.studio import control, making, views
from steadygan.studio.answers import JSON, Missing, Refused, answer, in_json
from steadygan.studio.catalogue import Catalogue
from steadygan.studio.jobs import Jobs
from steadygan.studio.painter import MEMORY_GIB, Busy, Painter, PainterError
from steadygan.studio.places import Places
from steadygan.studio.security import Guard
from steadygan.studio.sheets import Cache, Damaged

LISTENERS = 24
"""Maximum number of pages with live updates."""
CARDS = 24
"""Number of pictures generated in advance: about as many as fit a window."""
PULSE = 1.0
"""Seconds between scans of the directory, while a page is open."""
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass
class Studio:
    """State shared by all requests.

    Attributes:
        root: the directory with runs.
        allowed: whether runs may be started and controlled.
        data: folders of images for new runs.
        device, memory_gib: of the process that generates images.
    """

    root: Path
    allowed: bool = False
    data: tuple[Path, ...] = ()
    device: str = "cpu"
    memory_gib: float = MEMORY_GIB
    catalogue: Catalogue = field(init=False)
    painter: Painter = field(init=False)
    reader: Painter = field(init=False)
    cache: Cache = field(default_factory=Cache)
    jobs: Jobs = field(default_factory=Jobs)
    places: Places = field(init=False)

    def __post_init__(self) -> None:
        self.catalogue = Catalogue(self.root)
        self.painter = Painter(self.device, self.memory_gib)
        self.reader = Painter(self.device, self.memory_gib, waiting=6)
        self.places = Places(self.data)
        self.pulse = Pulse(self.catalogue)
        self._awake = False

    def wake(self) -> None:
        """Starts the process that generates images before the first request."""
        if not self._awake:
            self._awake = True
            threading.Thread(target=self._first_question, daemon=True).start()

    def _first_question(self) -> None:
        with suppress(PainterError):
            self.painter.ask("hello")

    def close(self) -> None:
        self.pulse.ending.set()
        self.painter.close()
        self.reader.close()


class Pulse:
    """The summaries of all runs, renewed at most once a second for any number of pages.

    `ending` is set when the server shuts down, which ends live updates.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.ending = threading.Event()
        self._lock = threading.Lock()
        self._at = -PULSE
        self._now: dict[str, dict[str, Any]] = {}

    def now(self) -> dict[str, dict[str, Any]]:
        """Summary by id."""
        with self._lock:
            if time.monotonic() - self._at >= PULSE:
                self.catalogue.scan()
                self._now = {run.id: run.brief() for run in self.catalogue.all()}
                self._at = time.monotonic()
            return self._now


def create_app(studio: Studio, token: str | None = None, names: tuple[str, ...] = ()) -> Starlette:
    """The ASGI application; token and names: see `Guard`."""
    files = page_files()
    listeners = asyncio.Semaphore(LISTENERS)

    async def page(request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        if name not in files:
            raise HTTPException(404)
        body, tag = files[name]
        headers = {"etag": tag, "cache-control": "no-cache", "content-type": TYPES[Path(name).suffix]}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(body, headers=headers)

    async def about(request: Request) -> Response:
        return JSON(
            {
                "version": __version__,
                "program": program(),
                "directory": studio.root.name,
                "control": studio.allowed,
                "device": studio.device,
            }
        )

    async def events(request: Request) -> Response:
        if listeners.locked():
            return JSON({"error": "too many pages are open"}, 503)
        return StreamingResponse(
            changes(studio.pulse, listeners, request),
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        threading.Thread(target=get_ready, args=(studio,), daemon=True).start()
        yield
        studio.close()

    routes = [
        Route("/", page),
        Route("/static/{name:path}", page),
        Route("/api/about", about),
        Route("/api/events", events),
        *views.routes(studio),
        *making.routes(studio),
        *control.routes(studio),
    ]
    handlers: dict[Any, Any] = {
        Missing: answer(404),
        Damaged: answer(404),
        Refused: answer(403),
        UserError: answer(400),
        ValueError: answer(400),
        Busy: answer(503),
        PainterError: answer(502),
        HTTPException: _plain_error,
        Exception: _unexpected,
    }
    guard = Middleware(Guard, token=token, names=names)
    return Starlette(routes=routes, middleware=[guard], exception_handlers=handlers, lifespan=lifespan)


def get_ready(studio: Studio) -> None:
    """Prepares the first page: scans all runs, and makes pictures of the newest cards."""
    newest = sorted(studio.pulse.now().values(), key=lambda run: -run["started"])[:CARDS]
    for summary in newest:
        run = studio.catalogue.get(summary["id"])
        with suppress(Missing, Damaged, OSError):
            if run is not None and summary["sheet"] is not None:
                views.card_picture(studio, run, summary["sheet"]["step"])


def page_files() -> dict[str, tuple[bytes, str]]:
    """The page's static files by URL, with their ETag; no other files are served."""
    found: dict[str, tuple[bytes, str]] = {}

    def collect(folder: Any, prefix: str) -> None:
        for entry in folder.iterdir():
            if entry.is_dir():
                collect(entry, f"{prefix}{entry.name}/")
            elif Path(entry.name).suffix in TYPES:
                body = entry.read_bytes()
                found[prefix + entry.name] = (body, f'"{hashlib.sha256(body).hexdigest()[:20]}"')

    collect(resources.files("steadygan.studio").joinpath("static"), "")
    return found


async def changes(pulse: Pulse, listeners: asyncio.Semaphore, request: Request) -> AsyncIterator[str]:
    """Server-sent events: `runs` with changed summaries; the first event, `whole`, has all."""
    async with listeners:
        known: dict[str, str] = {}
        quiet, whole = 0.0, True
        while not pulse.ending.is_set() and not await request.is_disconnected():
            summaries = await run_in_threadpool(pulse.now)
            fresh = {id: in_json(summary) for id, summary in summaries.items()}
            changed = [text for id, text in fresh.items() if known.get(id) != text]
            gone = [id for id in known if id not in fresh]
            if changed or gone or whole:
                told = f'"changed": [{", ".join(changed)}], "gone": {in_json(gone)}, "whole": {in_json(whole)}'
                yield f"event: runs\ndata: {{{told}}}\n\n"
                quiet, whole = 0.0, False
            elif quiet > 15:
                yield ": still here\n\n"
                quiet = 0.0
            known = fresh
            quiet += PULSE
            await asyncio.sleep(PULSE)


async def _plain_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return JSON({"error": str(getattr(error, "detail", error))}, status)


async def _unexpected(request: Request, error: Exception) -> Response:
    return JSON({"error": f"internal error: {type(error).__name__}"}, 500)
