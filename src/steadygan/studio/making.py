"""Images on request: play, downloads, nearest training images, export."""

from __future__ import annotations

import struct
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from steadygan.errors import in_words
from steadygan.studio.answers import Missing, download, in_json, run_of, with_body
from steadygan.studio.run import RunFiles

Kind = TypeVar("Kind", bound=BaseModel)
Seed = Annotated[int, Field(ge=0, lt=2**63)]


class OfCheckpoint(BaseModel):
    """A request about a checkpoint, given by its step."""

    model_config = ConfigDict(extra="forbid")

    step: int
    weights: Literal["ema", "raw"] = "ema"


class Making(OfCheckpoint):
    """A request for images."""

    seeds: Annotated[list[Seed], Field(min_length=1, max_length=256)] = [0]
    classes: Annotated[list[Annotated[int, Field(ge=0, lt=10**6)]], Field(min_length=1, max_length=256)] | None = None
    truncation: Annotated[float, Field(gt=0, le=10)] | None = None
    moves: Annotated[list[tuple[Seed, Annotated[float, Field(ge=-4, le=4)]]], Field(max_length=8)] = []


class Images(Making):
    """Images from seeds; a draft while a slider moves."""

    draft: bool = False


class Walking(Making):
    """A walk through the seeds."""

    steps: Annotated[int, Field(ge=1, le=60)] = 12


class Download(Walking):
    """A download."""

    kind: Literal["png", "zip", "gif", "webp", "mp4"] = "png"
    scale: Annotated[int, Field(ge=1, le=16)] = 1


class Neighbours(Making):
    """Samples whose neighbours to find."""

    k: Annotated[int, Field(ge=1, le=20)] = 5


class Translating(OfCheckpoint):
    """A request for translations."""

    direction: Literal["a2b", "b2a"] = "a2b"


class Pairs(Translating):
    """Held-out images of a translation."""

    first: Annotated[int, Field(ge=0, lt=10**9)] = 0
    count: Annotated[int, Field(ge=1, le=16)] = 4


class Translated(Translating):
    """An image to translate, as base64.

    Attributes:
        keep: return it as a file.
    """

    image: Annotated[str, Field(min_length=1)]
    keep: bool = False


class Export(BaseModel):
    """An export of a generator."""

    model_config = ConfigDict(extra="forbid")

    step: int
    to: Literal["zip", "onnx", "torch", "state-dict"] = "zip"


TARGETS = {"zip": "zip", "onnx": "onnx", "torch": "pt2", "state-dict": "pt"}
"""File suffixes by export target."""


def routes(studio: Any) -> list[Route]:
    """The routes of this module."""

    def about(request: Request, body: dict[str, Any]) -> Any:
        run, wanted = run_of(studio, request), parsed(Making, body)
        answer, _ = studio.painter.ask("describe", checkpoint=_checkpoint(run, wanted.step), weights=wanted.weights)
        return answer

    def images(request: Request, body: dict[str, Any]) -> Response:
        run, wanted = run_of(studio, request), parsed(Images, body)
        answer, data = studio.painter.ask("seeds", seconds=60, **_arguments(run, wanted))
        return packed(answer, data)

    def walk(request: Request, body: dict[str, Any]) -> Response:
        run, wanted = run_of(studio, request), parsed(Walking, body)
        if len(wanted.seeds) * wanted.steps > 600:
            raise ValueError("a walk of more than 600 images is too long")
        arguments = _arguments(run, wanted)
        arguments.pop("moves")
        answer, data = studio.painter.ask("walk", seconds=120, **arguments)
        return packed(answer, data)

    def keep(request: Request, body: dict[str, Any]) -> Response:
        run, wanted = run_of(studio, request), parsed(Download, body)
        _, data = studio.painter.ask("download", seconds=180, run=run.place, **_arguments(run, wanted))
        seeds = f"seed-{wanted.seeds[0]}" if len(wanted.seeds) == 1 else f"{len(wanted.seeds)}-seeds"
        return download(data, wanted.kind, f"{run.name}-{wanted.step}-{seeds}")

    def neighbours(request: Request, body: dict[str, Any]) -> Response:
        run, wanted = run_of(studio, request), parsed(Neighbours, body)
        if len(wanted.seeds) > 32:
            raise ValueError("at most 32 samples per request")
        arguments = _arguments(run, wanted)
        arguments.pop("moves")
        answer, data = studio.reader.ask("neighbours", seconds=600, run=str(run.path), **arguments)
        return packed(answer, data)

    def translator(request: Request, body: dict[str, Any]) -> Any:
        run, wanted = run_of(studio, request), parsed(Making, body)
        answer, _ = studio.painter.ask("translator", checkpoint=_checkpoint(run, wanted.step), weights=wanted.weights)
        return answer

    def pairs(request: Request, body: dict[str, Any]) -> Response:
        run, wanted = run_of(studio, request), parsed(Pairs, body)
        answer, data = studio.painter.ask("translate_own", seconds=300, run=str(run.path), **_arguments(run, wanted))
        return packed(answer, data)

    def translated(request: Request, body: dict[str, Any]) -> Response:
        run, wanted = run_of(studio, request), parsed(Translated, body)
        answer, data = studio.painter.ask("translate_given", seconds=300, run=run.place, **_arguments(run, wanted))
        if wanted.keep:
            return download(data, "png", f"{run.name}-{wanted.step}-{wanted.direction}")
        return packed(answer, data)

    def export(request: Request, body: dict[str, Any]) -> Response:
        run, wanted = run_of(studio, request), parsed(Export, body)
        checkpoint = _checkpoint(run, wanted.step)
        _, data = studio.reader.ask("export", seconds=600, checkpoint=checkpoint, to=wanted.to)
        return download(data, TARGETS[wanted.to], f"{run.name}-step-{wanted.step}-generator")

    return [
        Route("/api/runs/{id}/generator", with_body(about), methods=["POST"]),
        Route("/api/runs/{id}/images", with_body(images), methods=["POST"]),
        Route("/api/runs/{id}/walk", with_body(walk), methods=["POST"]),
        Route("/api/runs/{id}/download", with_body(keep), methods=["POST"]),
        Route("/api/runs/{id}/neighbours", with_body(neighbours), methods=["POST"]),
        Route("/api/runs/{id}/translator", with_body(translator), methods=["POST"]),
        Route("/api/runs/{id}/pairs", with_body(pairs), methods=["POST"]),
        Route("/api/runs/{id}/translated", with_body(translated), methods=["POST"]),
        Route("/api/runs/{id}/export", with_body(export), methods=["POST"]),
    ]


def parsed(kind: type[Kind], body: dict[str, Any]) -> Kind:
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {in_words(first['msg'])}") from None


def _checkpoint(run: RunFiles, step: int) -> str:
    path = run.checkpoints.get(step)
    if path is None:
        raise Missing(f"there is no checkpoint of step {step} (any more)")
    return str(path)


def _arguments(run: RunFiles, wanted: OfCheckpoint) -> dict[str, Any]:
    found = wanted.model_dump()
    return {"checkpoint": _checkpoint(run, found.pop("step")), **found}


def packed(header: dict[str, Any], data: bytes) -> Response:
    """A length (4 bytes, little-endian), that many bytes of JSON, then raw pixels, which a canvas can draw directly."""
    text = in_json(header).encode()
    return Response(
        struct.pack("<I", len(text)) + text + data,
        media_type="application/octet-stream",
        headers={"cache-control": "no-store"},
    )
