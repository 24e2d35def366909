"""Starts and controls runs, only in a studio started with `--control`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.routing import Route

from steadygan import config as configuration
from steadygan.errors import UserError, command_line
from steadygan.runs.requests import ask
from steadygan.studio.answers import Handler, Missing, Refused, run_of, threaded, with_body
from steadygan.studio.jobs import chosen, forecast
from steadygan.studio.making import packed, parsed

Scalar = bool | int | float | None
Value = Scalar | list[Literal["color", "translation", "cutout"]]

SETTINGS = {
    "data.size",
    "data.flip",
    "data.fraction",
    "data.max_images",
    "model.conditional",
    "model.width",
    "train.hours",
    "train.steps",
    "train.batch_size",
    "train.seed",
    "train.log_every",
    "train.sample_every",
    "train.checkpoint_every",
    "train.keep_checkpoints",
    "eval.every",
    "eval.num_fake",
    "optim.g.lr",
    "optim.d.lr",
    "augment.diffaugment.policy",
    "augment.consistency.flip",
    "augment.consistency.shift",
    "augment.consistency.cutout",
}
"""Settings that a page may change: numbers and switches, but no paths or module names."""
TERM = re.compile(r"objective\.terms\.(bcr|zcr|cr|r1|lecam)\.(weight|real|fake|dis|gen|sigma)")

OWN = "own-images"
"""The pseudo-preset for `steadygan train FOLDER`, which chooses all settings."""
RECIPES = [
    {
        "preset": OWN,
        "title": "Chosen for these images",
        "why": "examines the images, times this machine and chooses settings for the given hours; the forecast shows "
        "each with its reason",
        "settings": {"train.hours": 0.5},
    },
    {
        "preset": "digits",
        "title": "The embedded digits",
        "why": "a small class-conditional DCGAN with bCR: two minutes on a laptop, to see everything once",
        "settings": {},
        "place": "digits",
    },
]


class Ask(BaseModel):
    model_config = ConfigDict(extra="forbid")
    do: Literal["stop", "pause", "resume"]


class Plan(BaseModel):
    """A run to start: a preset, data by id, and settings."""

    model_config = ConfigDict(extra="forbid")
    preset: Annotated[str, Field(max_length=200)]
    place: Annotated[str, Field(max_length=40)] = "digits"
    settings: Annotated[dict[str, Value], Field(max_length=40)] = {}


class Start(Plan):
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]


class Branch(BaseModel):
    model_config = ConfigDict(extra="forbid")
    step: Annotated[int, Field(ge=0)]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    settings: Annotated[dict[str, Value], Field(max_length=40)] = {}


class Resume(BaseModel):
    model_config = ConfigDict(extra="forbid")
    steps: Annotated[int, Field(gt=0, le=10**9)] | None = None


class Folder(BaseModel):
    model_config = ConfigDict(extra="forbid")
    place: Annotated[str, Field(max_length=40)]


def routes(studio: Any) -> list[Route]:
    """The routes of this module."""

    def permitted() -> None:
        if not studio.allowed:
            raise Refused("this studio is read-only: start it with --control to start and steer runs")

    def options(request: Request) -> Any:
        permitted()
        return {
            "places": studio.places.listed(),
            "presets": configuration.preset_names(),
            "recipes": RECIPES,
            "settings": sorted(SETTINGS),
            "jobs": studio.jobs.listed(),
        }

    def jobs(request: Request) -> Any:
        permitted()
        return {"jobs": studio.jobs.listed()}

    def request_to(request: Request, body: dict[str, Any]) -> Any:
        permitted()
        run, wanted = run_of(studio, request), parsed(Ask, body)
        ask(run.path, wanted.do)
        return {"asked": wanted.do}

    def resume(request: Request, body: dict[str, Any]) -> Any:
        permitted()
        run, wanted = run_of(studio, request), parsed(Resume, body)
        if run.state()["state"] in ("starting", "running", "paused") or studio.jobs.busy(run.path):
            raise UserError(f"{run.name} is running already")
        steps = [] if wanted.steps is None else [f"train.steps={wanted.steps}"]
        return studio.jobs.start(["train", str(run.path), "--resume", *steps], run.path).told()

    def split_off(request: Request, body: dict[str, Any]) -> Any:
        permitted()
        run, wanted = run_of(studio, request), parsed(Branch, body)
        out = _new(studio.root, wanted.name)
        from steadygan.runs.branching import branch  # imports torch, which the server avoids until then

        branch(run.path, out, step=wanted.step, overrides=overrides_of(wanted.settings))
        return studio.jobs.start(["train", str(out), "--resume"], out).told()

    def folder(request: Request, body: dict[str, Any]) -> Any:
        permitted()
        answer, _ = studio.reader.ask("folder", seconds=900, path=_data(studio, parsed(Folder, body).place))
        return answer | {"path": ""}

    def preview(request: Request, body: dict[str, Any]) -> Any:
        permitted()
        plan = parsed(Plan, body)
        _preset(plan.preset)
        data = f"data.path={_data(studio, plan.place)}"
        answer, pixels = studio.reader.ask(
            "preview", seconds=120, source=plan.preset, overrides=[data, *overrides_of(plan.settings)]
        )
        return packed(answer, pixels)

    def predicted(request: Request, body: dict[str, Any]) -> Any:
        permitted()
        plan = parsed(Plan, body)
        command = _command(studio, plan)
        return {"lines": chosen(command) if plan.preset == OWN else forecast(command)}

    def start(request: Request, body: dict[str, Any]) -> Any:
        permitted()
        plan = parsed(Start, body)
        out = _new(studio.root, plan.name)
        command = [*_command(studio, plan), "--out", str(out)]
        configuration.load(plan.preset, overrides_of(plan.settings))
        return studio.jobs.start(command, out).told()

    def posted(path: str, handler: Handler) -> Route:
        return Route(path, handler, methods=["POST"])

    return [
        Route("/api/control/options", threaded(options)),
        Route("/api/control/jobs", threaded(jobs)),
        posted("/api/control/folder", with_body(folder)),
        posted("/api/control/preview", with_body(preview)),
        posted("/api/control/forecast", with_body(predicted)),
        posted("/api/control/start", with_body(start)),
        posted("/api/runs/{id}/ask", with_body(request_to)),
        posted("/api/runs/{id}/resume", with_body(resume)),
        posted("/api/runs/{id}/branch", with_body(split_off)),
    ]


def may_set(key: str) -> bool:
    """Whether pages may change this setting."""
    return key in SETTINGS or TERM.fullmatch(key) is not None


def overrides_of(settings: dict[str, Any]) -> list[str]:
    """Formats settings as `key=value`; raises UserError for a key that pages may not set."""
    for key in settings:
        if not may_set(key):
            raise UserError(f"{key} cannot be set from the studio; use `{command_line('train')} … {key}=…`")
    return [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in settings.items()]


def _command(studio: Any, plan: Plan) -> list[str]:
    _preset(plan.preset)
    images = _data(studio, plan.place)
    if plan.preset != OWN:
        return ["train", plan.preset, f"data.path={images}", *overrides_of(plan.settings)]
    # Inputs of `plan` are command-line options; other settings are overrides.
    settings = dict(plan.settings)
    given = [(flag, settings.pop(key, None)) for flag, key in (("--hours", "train.hours"), ("--size", "data.size"))]
    options = [word for flag, value in given if value is not None for word in (flag, str(value))]
    return ["train", images, *overrides_of(settings), *options]


def _preset(name: str) -> None:
    if name not in configuration.preset_names():
        raise Missing(f"there is no preset {name!r}")


def _data(studio: Any, place: str) -> str:
    found = studio.places.table().get(place)
    if found is None:
        raise Missing("this folder is not one that the studio was started with (--data)")
    return str(found[1])


def _new(root: Path, name: str) -> Path:
    """The path of a new run, directly below the studio's directory."""
    out = root / name
    if out.exists() or out.is_symlink():
        raise UserError(f"{name} exists already; choose another name")
    return out
