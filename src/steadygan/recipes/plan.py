"""A plan: the settings chosen for the user's images, their cost, and the configuration."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import yaml

from steadygan.build import resolve
from steadygan.config import About, Config
from steadygan.errors import UserError, command_line
from steadygan.machine import choose_device
from steadygan.overrides import parse
from steadygan.recipes.choose import PRESET, Chosen, check, choose, described, own_name
from steadygan.recipes.look import Look, look_at
from steadygan.recipes.speed import Machine, machine
from steadygan.recipes.trial import check_run
from steadygan.runs.status import ENDED, read_status

OWN = "your own images"
"""`about.paper` of a run on the user's own images."""


@dataclass(frozen=True)
class Plan:
    """The settings chosen for the user's images.

    Attributes:
        name: the run's name.
        look: properties of the images.
        chosen: the choices.
        device: the device that trains.
        extra: the user's overrides, which come last.
        memory: peak bytes of a step.
    """

    name: str
    look: Look
    chosen: Chosen
    device: str
    memory: int
    extra: tuple[str, ...] = ()

    @property
    def added(self) -> list[str]:
        """The user's overrides of what is not chosen."""
        chosen = {choice.key for choice in self.chosen.choices}
        return [override for override in self.extra if override.partition("=")[0] not in chosen]

    @property
    def config(self) -> Config:
        """The configuration to train."""
        about = About(
            paper=OWN,
            table=f"none: {self.look.count:,} images in {self.look.path}",
            score="none published",
            protocol="FD-tiny for colour images of up to 64 pixels (docs/scores.md)",
            deviations=f"chosen for these images, from preset {PRESET}; no paper's",
        )
        return described([*self.chosen.overrides, *self.added]).model_copy(update={"name": self.name, "about": about})

    @property
    def command(self) -> str:
        """The equivalent command, with every choice as an override."""
        return command_line("train", PRESET, *self.chosen.overrides, *self.added, "--out", own_directory(self.name))

    @property
    def hours(self) -> float:
        """Hours of training."""
        hours = self.config.train.hours
        assert hours is not None
        return hours

    def lines(self) -> list[tuple[str, str, str]]:
        """(subject, setting, reason) rows, then the forecast."""
        chosen = self.chosen
        lines = [(c.title, f"{c.key}={c.value}" if c.key else c.value, c.because) for c in chosen.choices]
        if self.look.alpha:
            lines.insert(1, ("transparency", f"{self.look.alpha:.0%} of the images", "they are laid on white"))
        if self.look.duplicates:
            of = f"{self.look.duplicates:,} of {self.look.looked_at:,}"
            lines.insert(1, ("duplicates", of, "equal to an earlier image; they count twice"))
        if self.look.unreadable:
            some = ", ".join(list(self.look.unreadable)[:3])
            lines.insert(1, ("unreadable", f"{len(self.look.unreadable):,}", f"left out: {some}"))
        lines += [("you say", override, "") for override in self.added]
        minutes = 60 * self.hours
        length = f"{minutes:.0f} minutes" if minutes >= 2 else f"{60 * minutes:.0f} seconds"
        lines.append(("forecast", length, f"{chosen.steps:,} steps of {chosen.seconds:.2f} s"))
        lines.append(("memory", f"{self.memory / 2**20:,.0f} MiB", "at the peak of a step, and Python's own 500"))
        lines.append(
            ("expect", chosen.words, f"D is shown {chosen.images:,} images, each about {chosen.passes:,.0f} times")
        )
        return lines

    def to_yaml(self) -> str:
        """The plan as YAML for `steadygan train FILE.yaml`, with reasons as comments."""
        tree: dict[str, object] = {}
        reasons: dict[tuple[str, ...], str] = {}
        for choice in self.chosen.choices:
            if choice.key:
                keys, value = parse(Config, f"{choice.key}={choice.value}")
                _put(tree, keys, value)
                reasons[tuple(keys)] = choice.because
        for override in self.added:
            keys, value = parse(Config, override)
            _put(tree, keys, value)
            reasons[tuple(keys)] = "as you said"
        header = f"# Chosen for {self.look.count:,} images in {self.look.path}; expect {self.chosen.words}.\n"
        about = yaml.safe_dump({"name": self.name, "about": self.config.about.model_dump()}, sort_keys=False, width=110)
        return f"{header}extends: {PRESET}\n{about}" + "".join(_written(tree, reasons, ()))


def make_plan(
    path: str,
    *,
    hours: float | None = None,
    size: int | None = None,
    extra: tuple[str, ...] = (),
    progress: Callable[[int, int], None] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Plan:
    """Makes a plan: examines the images, measures this machine, chooses settings.

    Args:
        path: any `data.path`.
        hours, size: see `choose`.
        extra: the user's overrides.
        progress: called with (images examined, total).
        say: called with each activity, for progress.

    Raises:
        UserError: there are no or too few images, too many unreadable ones, or training would refuse a setting.
    """
    wanted = described(list(extra))  # from the quickest check to the slowest
    if hours is not None and not math.isfinite(hours):
        raise UserError(f"--hours {hours}: give a finite number of hours, such as 0.5")
    if (other := _given(extra, "data.path")) is not None:
        raise UserError(
            f"data.path={other}: the images are those of {path}; leave data.path out, or give {other} instead"
        )
    device = choose_device(_given(extra, "train.device") or "auto")
    look = look_at(path, progress=progress, bits=wanted.data.bits, root=wanted.data.root)
    check(look, size, max_unreadable=wanted.data.max_unreadable)
    choose_for = partial(
        choose, look, device="cpu" if device.type == "cpu" else "cuda", hours=hours, size=size, extra=extra
    )
    # As on a machine of any speed: networks, terms and protocols that do not exist are refused before timing.
    tried = Plan(own_name(path), look, choose_for(lambda _: 1.0), str(device), 0, extra)
    check_run(tried.config, look, device)
    say("timing a few steps on this machine")
    found, threads = _machine(device, look, wanted.train.threads)
    chosen = choose_for(lambda config: found.seconds(resolve(config)), threads=threads)
    own = Plan(own_name(path), look, chosen, str(device), 0, extra)
    memory = found.memory(resolve(own.config), look.count)
    return Plan(own.name, look, chosen, str(device), memory, extra)


def _given(extra: Sequence[str], key: str) -> str | None:
    """The user's value of a setting, None if there is none."""
    return next((value for name, _, value in (one.partition("=") for one in reversed(extra)) if name == key), None)


def _machine(device: torch.device, look: Look, threads: int | None) -> tuple[Machine, int | None]:
    """This machine, with the user's number of threads, or one chosen by timing steps at 32 px."""
    classes = len(look.classes) if 2 <= len(look.classes) <= 100 else 0
    base = described([f"data.channels={look.channels}", f"model.conditional={str(classes > 0).lower()}"])
    if threads is not None:
        return Machine(device, classes, look.channels, threads), threads
    found = machine(base, device, classes=classes, channels=look.channels)
    return found, found.threads


def own_directory(name: str, root: Path = Path("runs"), *, restarted: bool = False) -> Path:
    """The run directory for the user's images: `runs/NAME`, with a number if that name is taken.

    Args:
        name: the run's name.
    """
    path, number, last = root / name, 2, None
    while path.exists():
        last, path, number = path, root / f"{name}-{number}", number + 1
    if restarted and last is not None and (status := read_status(last)) and status["state"] not in ENDED:
        return last
    return path


def _put(tree: dict[str, object], keys: list[str], value: object) -> None:
    for key in keys[:-1]:
        below = tree.setdefault(key, {})
        assert isinstance(below, dict)
        tree = below
    tree[keys[-1]] = value


def _written(tree: dict[str, object], reasons: dict[tuple[str, ...], str], above: tuple[str, ...]) -> list[str]:
    """YAML with the reasons as comments."""
    lines = []
    for key, value in tree.items():
        place = (*above, key)
        indent = "  " * len(above)
        if isinstance(value, dict):
            lines.append(f"{indent}{key}:\n")
            lines += _written(value, reasons, place)
        else:
            # Flow style keeps a list on one line; a bare scalar would get an end mark, which must be stripped.
            text = yaml.safe_dump(value, default_flow_style=True, width=1000, allow_unicode=True)
            lines.append(
                f"{indent}{key}: {text.removesuffix(chr(10)).removesuffix(chr(10) + '...')}  # {reasons[place]}\n"
            )
    return lines
