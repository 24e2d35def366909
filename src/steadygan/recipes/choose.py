"""Chooses settings: a pure function of the images and the measurements."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from steadygan import config as configuration
from steadygan.config import Config
from steadygan.data.containers.registry import is_name
from steadygan.data.decoding import MAX_UNREADABLE, UnreadableImage, check_unreadable
from steadygan.data.split import split
from steadygan.errors import UserError
from steadygan.recipes.look import Look, leaving_out, too_few
from steadygan.recipes.rules import Network, Rules, rules

PRESET = "own-images"
MOST_STEPS = 100_000_000
"""More steps than any run can take: `train.hours` ends it."""
LOOKS = 20
"""Sheets of pictures and checkpoints of a run of 1,000 steps or more. On a CPU, at 32 pixels, a log line takes as long
as two steps, a sheet with its checkpoint as long as four (LOG.md)."""
LOG_SECONDS, LOG_STEPS, SHEET_STEPS = 10, 60, 50
"""Log lines are at least 10 s apart, and 60 steps or a twentieth of the run; sheets at least 50 steps."""

Seconds = Callable[[Config], float]
"""Seconds per training step of a configuration on this machine."""


@dataclass(frozen=True)
class Choice:
    """One setting: key, value as in an override, and reason. key "": a fact."""

    key: str
    value: str
    because: str
    title: str


@dataclass(frozen=True)
class Chosen:
    """All settings of a run, in the order of printing.

    Attributes:
        seconds: measured seconds per step.
        images: number of images shown to D.
        passes: how often D is shown each different training image.
        words: the expected outcome.
    """

    choices: tuple[Choice, ...]
    network: Network
    seconds: float
    steps: int
    images: int
    passes: float
    words: str

    @property
    def overrides(self) -> list[str]:
        """The choices as overrides of the preset own-images, without facts."""
        return [f"{choice.key}={choice.value}" for choice in self.choices if choice.key]


def check(look: Look, size: int | None, table: Rules | None = None, *, max_unreadable: float = MAX_UNREADABLE) -> None:
    """Checks the images and the size before anything is measured.

    Args:
        look: properties of the images.
        size: side of the training images in pixels; None: not asked for.
        table: the rules; None: the package's.
        max_unreadable: share of unreadable images, in [0, 1], from which on training refuses them.

    Raises:
        UserError: training would refuse the images, or there is no network of that size.
    """
    if (reason := too_few(look)) is not None:
        raise UserError(reason)
    failures = [UnreadableImage(name, why) for name, why in look.unreadable.items()]
    try:
        check_unreadable(failures, look.looked_at + len(failures), max_unreadable)
    except UserError as error:
        raise UserError(f"{error}\nor leave them out with {leaving_out(look, max_unreadable)}") from None
    sizes = sorted({row.size for row in (table or rules()).networks})
    if size is not None and size not in sizes:
        raise UserError(f"--size {size}: choose one of {', '.join(map(str, sizes))}, or write a YAML of your own")


def choose(
    look: Look,
    seconds: Seconds,
    *,
    device: str = "cpu",
    threads: int | None = None,
    hours: float | None = None,
    size: int | None = None,
    extra: Sequence[str] = (),
    table: Rules | None = None,
) -> Chosen:
    """Chooses the settings for these images, this machine and this time.

    Overrides by the user stand in the place of what would have been chosen for their keys, and the rest is chosen for
    a run with them.

    Args:
        look: properties of the images.
        seconds: measures a step of a configuration.
        device: "cpu" or "cuda".
        threads: torch threads, as measured.
        hours: training time; None: the table's default.
        size: side of the training images in pixels; None: choose.
        extra: overrides by the user.
        table: the rules; None: the package's.

    Raises:
        UserError: there are too few images, too many unreadable ones, or no network of that size.
    """
    table = table or rules()
    wanted, given = described(list(extra)), dict(override.split("=", 1) for override in extra)
    check(look, size, table, max_unreadable=wanted.data.max_unreadable)
    plenty = table.hours.get(device, table.hours["cpu"])
    hours = wanted.train.hours if "train.hours" in given else hours
    if "data.size" in given and wanted.data.size in {row.size for row in table.networks}:
        size = wanted.data.size
    budget = 3600 * (plenty.value if hours is None else hours)
    base = [*_of_the_data(look, table), *_of_the_time(hours, plenty.value, plenty.because)]
    batch = next(row for row in table.batches if row.device == device or row is table.batches[-1])
    training = _training_images(look, _with(base, extra))
    size_of_all, all_of_them = max(2, training), f"all {training:,} training images: fewer than a usual batch"
    because = batch.because if batch.value <= size_of_all else all_of_them
    base.append(_said("train.batch_size", min(batch.value, size_of_all), because, "batch"))
    if threads is not None:
        base.append(_said("train.threads", threads, "measured: the fastest here", "threads"))
    kind = table.kinds.get(wanted.model.kind)
    base += [Choice(row.key, row.value, kind.because, row.title) for row in kind.settings] if kind else []
    network, step, why = _network(look, seconds, base, extra, budget, size, table)
    steps = max(1, int(budget / step))
    chosen = [*base, *_of_the_network(network, why)]
    images = int(budget / step * _shown(_with(chosen, extra)))
    passes = images / max(1.0, training * look.distinct / max(1, look.readable))
    choices = [
        *chosen,
        *_of_the_features(chosen, table),
        _of_the_augmentation(look, passes, table),
        *_of_the_course(steps, step, table),
        *_of_the_objective(_with(chosen, extra), extra, table),
    ]
    # By size and classes alone: a wider network is taken where there is time for it, and makes nothing worse.
    alike = [row for row in table.networks if (row.size, row.classes) == (network.size, network.classes)]
    share = images / max(min(row.needs or 0 for row in alike), 100_000)
    expected = next(row for row in reversed(table.expect) if share >= row.share)
    smallest = network.size == min(row.size for row in table.networks)
    words = expected.smallest if smallest and expected.smallest else expected.words
    if look.distinct < table.few_images.below and passes > table.augment.passes:
        words += f"; {table.few_images.words}"
    choices = [
        replace(choice, value=given[choice.key], because="as you said") if choice.key in given else choice
        for choice in choices
    ]
    return Chosen(tuple(choices), network, step, steps, images, passes, words)


def own_name(path: str) -> str:
    """A run name from the folder's name, in characters that are safe in file names."""
    last = re.split("[:/]", path)[-1] if is_name(path) else Path(path).expanduser().resolve().name
    plain = re.sub(r"\.(zip|tar|tgz|parquet|tar\.gz)$", "", last, flags=re.IGNORECASE)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", plain).strip("-.") or "images"


def described(overrides: list[str]) -> Config:
    """The configuration of these overrides."""
    return configuration.load(PRESET, overrides, preset=True)


def _said(key: str, value: Any, because: str, title: str) -> Choice:
    text = str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)
    return Choice(key, text, because, title)


def _of_the_data(look: Look, table: Rules) -> list[Choice]:
    place = look.path if is_name(look.path) else str(Path(look.path).expanduser().resolve())
    found = [Choice("data.path", place, f"{look.count:,} images ({look.layout})", "data")]
    grey = look.channels == 1
    found.append(_said("data.channels", look.channels, "all are grey" if grey else "they have colours", "colours"))
    flip, because = False, "not measured whether mirror images look different: too few different images"
    if look.mirror is not None:
        flip = look.mirror < table.flip.below
        because = table.flip.because if flip else table.flip.otherwise
        because += f" ({look.mirror:.0%} told apart, 50% is by chance)"
    found.append(_said("data.flip", flip, because, "mirroring"))
    held_out = table.held_out
    if look.count < held_out.fewest:
        found.append(_said("data.heldout", 0, held_out.few, "held out"))
    elif look.duplicates > held_out.most_duplicates * look.looked_at:
        found.append(_said("data.heldout", 0, held_out.duplicated, "held out"))
    else:
        share = described([]).data.heldout
        because = f"{round(share * look.count):,} of the images are kept from training, to see whether D memorises"
        found.append(_said("data.heldout", share, because, "held out"))
    if look.classes:
        learn = 2 <= len(look.classes) <= table.classes.most
        learn = learn and min(look.classes.values()) >= table.classes.fewest_images
        even = (
            "" if look.balanced else "; as unevenly filled as they are, fakes take their classes as often as reals do"
        )
        because = table.classes.because + even if learn else table.classes.otherwise
        found.append(_said("model.conditional", learn, because, f"{len(look.classes)} classes"))
    return found


def _of_the_augmentation(look: Look, passes: float, table: Rules) -> Choice:
    """Augmentation of a run that shows D each image so often."""
    augment = table.augment
    if passes <= augment.passes:
        often = "once" if round(passes) == 1 else f"{passes:.0f} times"
        because = f"{augment.otherwise}: about {often}"
        return Choice("augment.diffaugment.policy", "[]", because, "augmentation")
    policy = augment.grey if look.channels == 1 else augment.colour
    because = f"{policy.because}; each image about {passes:,.0f} times"
    return Choice("augment.diffaugment.policy", policy.value, because, "augmentation")


def _of_the_features(chosen: Sequence[Choice], table: Rules) -> list[Choice]:
    """The pretrained network beside D, unless the kind's own settings have decided."""
    if any(choice.key == "model.features" for choice in chosen):
        return []
    return [Choice("model.features", table.features.value, table.features.because, "features")]


def _of_the_objective(config: Config, extra: Sequence[str], table: Rules) -> list[Choice]:
    """What the run's regularisers and updates are; facts, as the preset or other choices set them."""
    kind = table.kinds.get(config.model.kind)
    terms, phases = ", ".join(config.objective.terms) or "none", ", ".join(config.train.phases)
    regulariser = kind.because if kind else table.regulariser.because
    learning = kind.because if kind else table.optimiser.because
    if any(override.startswith("objective.") for override in extra) or ":" in config.model.kind:
        regulariser = "as you said"
    if any(override.startswith(("train.phases", "optim.g.", "optim.d.")) for override in extra):
        learning = "as you said"
    return [Choice("", terms, regulariser, "regulariser"), Choice("", phases, learning, "learning")]


def _of_the_time(hours: float | None, plenty: float, because: str) -> list[Choice]:
    because = "as you asked; learning rates follow the clock" if hours is not None else because
    return [
        _said("train.hours", float(plenty if hours is None else hours), because, "time"),
        _said("train.steps", MOST_STEPS, "the time ends the run, whatever the speed", "steps"),
    ]


def _of_the_network(network: Network, why: str) -> list[Choice]:
    chosen = [
        _said("data.size", network.size, why, "size"),
        _said("model.kind", network.kind, network.because, "network"),
        _said("model.width", network.width, f"of {network.size} px: {network.source}", "width"),
        _said("model.latent", network.latent, "numbers that an image is made from: more in wider networks", "latent"),
    ]
    if network.gain != 1:
        because = "without it D's logits hardly differ between images"
        chosen.append(Choice("model.critic.sn_gain", f"{network.gain:g}", because, "D's slope"))
    return chosen


def _of_the_course(steps: int, step: float, table: Rules) -> list[Choice]:
    """Intervals of logs, grids and checkpoints; `steps` is a forecast."""
    schedule, average = table.schedule, table.average
    lines = max(1, round(LOG_SECONDS / step), min(LOG_STEPS, round(steps / LOOKS)))
    sheets = max(SHEET_STEPS, round(steps / LOOKS))
    return [
        Choice("optim.schedule", "linear", schedule.because, "learning rates"),
        _said("optim.decay_from", int(MOST_STEPS * schedule.decay_from), "half of the time", "decay"),
        _said("train.ema.half_life", max(10, round(steps * average.half_life)), average.because, "averaging"),
        _said("train.ema.start", max(1, round(steps * average.start)), "the first images are not averaged in", "from"),
        _said("train.log_every", lines, f"a line of measurements every {lines * step:.0f} s", "log"),
        _said("train.sample_every", sheets, "a sheet of pictures with each checkpoint, more at first", "sheets"),
        _said("train.checkpoint_every", sheets, "a twentieth of the run, or 50 steps", "checkpoints"),
    ]


def _network(
    look: Look,
    seconds: Seconds,
    base: list[Choice],
    extra: Sequence[str],
    budget: float,
    size: int | None,
    table: Rules,
) -> tuple[Network, float, str]:
    """The network, seconds of its step, and the reason for it."""
    rows = _rows(_with(base, extra), extra, size, table)
    taken, step, why = rows[0], 0.0, "the largest size with a rule"
    for row in rows:
        if size is None and row is not rows[0] and row.size > look.side:
            why = f"half of the images are smaller than {row.size} px"
            break
        config = _with([*base, *_of_the_network(row, "")], extra)
        shown, needs = _shown(config), row.needs or 0
        if row is rows[0]:
            step = seconds(config)
            continue
        fits = budget / (step * _times_the_work(taken, row)) * shown >= needs
        if fits and budget / (now := seconds(config)) * shown >= needs:
            taken, step = row, now
        elif row.width == min(other.width for other in rows if other.size == row.size):
            why = f"{row.size} px need more time: D must be shown {needs:,} images"
            break
    return taken, step, "as you said" if size is not None else why


def _rows(config: Config, extra: Sequence[str], size: int | None, table: Rules) -> list[Network]:
    """The networks for a configuration: by its classes, or of the kind that the user names.

    A kind without rows of its own gets the others' sizes, of those that it has, and widths, without the slope, which
    few discriminators have. Raises UserError if none fits.
    """
    rows = [row for row in table.networks if (row.size == size if size is not None else row.needs is not None)]
    named = any(override.startswith("model.kind=") for override in extra)
    if named and (own := [row for row in rows if row.kind == config.model.kind]):
        return own
    rows = [row for row in rows if row.classes == config.model.conditional]
    if not named:
        return rows
    kind = table.kinds.get(config.model.kind)
    if kind is None:
        return [row.model_copy(update={"gain": 1.0}) for row in rows]
    there = " or ".join(map(str, kind.sizes))
    fitting = [
        row.model_copy(update={"gain": 1.0, "width": round(row.width * kind.width), "source": "unmeasured"})
        for row in rows
        if row.size in kind.sizes
    ]
    if not fitting:
        raise UserError(f"model.kind={config.model.kind}: not of {size} pixels; choose --size {there}")
    return fitting


def _with(choices: Sequence[Choice], extra: Sequence[str]) -> Config:
    """The configuration of these choices and the user's overrides."""
    return described([*(f"{choice.key}={choice.value}" for choice in choices if choice.key), *extra])


def _training_images(look: Look, config: Config) -> int:
    """About how many images a run trains on: those that can be read and are not held out."""
    data = config.data
    kept, _ = split(look.count, data.heldout, data.fraction, data.seed, data.max_images)
    return min(len(kept), round(len(kept) * look.readable / look.count))


def _shown(config: Config) -> int:
    """Reals that D is shown in a step."""
    return config.train.batch * config.train.phases.count("D")


def _times_the_work(taken: Network, row: Network) -> float:
    """Lower bound of a step's time relative to the measured one, so that networks that cannot fit are not measured.

    A ResNet's step takes 1.6 times as long at 64 px as at 32 (results/folder-trials.csv, `plan-resnet`), not 4 times.
    """
    return 0.25 * (row.size / taken.size) ** 2 * max(1.0, row.width / taken.width)
