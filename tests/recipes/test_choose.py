"""The choice of settings, with a made-up machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from steadygan import config as configuration
from steadygan.build import build_state
from steadygan.config import Config
from steadygan.errors import UserError
from steadygan.nets.registry import FAMILIES
from steadygan.recipes.choose import choose, described, own_name
from steadygan.recipes.look import Look
from steadygan.recipes.plan import Plan
from steadygan.recipes.rules import rules
from steadygan.tasks.choice import task_of

FACES = Look("photos", "flat", 2000, 2000, 178, (178, 218), 3, {}, 0.0, 0.52, 0, {})


def at(images_per_s: float) -> Callable[[Config], float]:
    """A machine that trains this many images a second at 32 px and width 16, and fewer with larger networks."""

    def seconds(config: Config) -> float:
        work = (config.data.size / 32) ** 2 * config.model.width / 16
        return config.train.batch_size * work / images_per_s

    return seconds


def chosen(look: Look = FACES, speed: float = 250, **given: object) -> dict[str, str]:
    return dict(override.split("=", 1) for override in choose(look, at(speed), **given).overrides)  # type: ignore[arg-type]


def test_more_time_never_makes_smaller_pictures() -> None:
    sizes = [int(chosen(hours=hours)["data.size"]) for hours in (0.01, 0.5, 2, 24, 24 * 30)]
    assert sizes == sorted(sizes)
    assert sizes[0] == 32
    assert sizes[-1] == 128


def test_pictures_are_no_larger_than_half_of_the_images() -> None:
    assert chosen(replace(FACES, side=50), hours=1000)["data.size"] == "48"


def test_a_size_that_is_asked_for_is_taken_and_any_other_is_refused() -> None:
    assert chosen(hours=0.01, size=128)["data.size"] == "128"
    with pytest.raises(UserError, match="--size 100: choose one of 32, 48, 64, 128"):
        choose(FACES, at(250), size=100)


@pytest.mark.parametrize("size", [32, 48, 64, 128])
def test_more_time_never_promises_less(size: int) -> None:
    words = [row.words for row in rules().expect]
    promised = [choose(FACES, at(250), hours=hours, size=size).words for hours in (0.01, 0.5, 1, 2, 8, 24, 240)]
    places = [words.index(one) if one in words else 0 for one in promised]
    assert places == sorted(places)
    assert places[-1] == len(words) - 1


def test_what_cannot_fit_is_not_measured() -> None:
    measured = []

    def seconds(config: Config) -> float:
        measured.append(config.data.size)
        return at(250)(config)

    choose(FACES, seconds, hours=0.5)
    assert 128 not in measured


def test_deep_critics_get_a_slope() -> None:
    assert chosen(hours=1, size=64)["model.critic.sn_gain"] == "2"
    assert "model.critic.sn_gain" not in chosen(size=32)


def test_images_are_augmented_where_each_is_shown_often() -> None:
    """1,900 images (100 are held out) at 250 a second are shown 60 times after 456 seconds."""
    key = "augment.diffaugment.policy"
    assert chosen(size=32, hours=455 / 3600)[key] == "[]"
    assert chosen(size=32, hours=461 / 3600)[key] == "[color,translation,cutout]"


def test_letters_are_not_mirrored_and_grey_images_not_coloured() -> None:
    grey = chosen(replace(FACES, channels=1, mirror=0.9, count=200))
    assert (grey["data.flip"], grey["augment.diffaugment.policy"]) == ("false", "[translation,cutout]")
    assert chosen()["data.flip"] == "true"


def test_images_are_not_mirrored_where_mirror_images_were_not_measured() -> None:
    choices = {choice.key: choice for choice in choose(replace(FACES, mirror=None), at(250)).choices}
    assert choices["data.flip"].value == "false"
    assert "not measured" in choices["data.flip"].because


@pytest.mark.parametrize(
    ("classes", "learnt"),
    [({"a": 1000, "b": 1000}, "true"), ({"a": 1990, "b": 10}, "false"), ({str(i): 20 for i in range(150)}, "false")],
)
def test_classes_are_learnt_where_each_has_images_enough(classes: dict[str, int], learnt: str) -> None:
    assert chosen(replace(FACES, classes=classes))["model.conditional"] == learnt


def test_biggan_is_taken_where_classes_are_learnt() -> None:
    two = replace(FACES, classes={"a": 1000, "b": 1000})
    assert chosen(two, size=32)["model.kind"] == "biggan"
    assert chosen(two, size=32, extra=["model.conditional=false"])["model.kind"] == "resnet"
    assert chosen(replace(two, classes={"a": 1990, "b": 10}), size=32)["model.kind"] == "resnet"
    assert chosen(FACES, size=32)["model.kind"] == "resnet"
    large = chosen(two, size=64)
    assert (large["model.kind"], large["model.latent"]) == ("biggan", "80"), "a multiple of its five chunks"
    assert "model.critic.sn_gain" not in large


def test_classes_are_learnt_at_32_pixels_for_longer() -> None:
    """Ten kinds of photographs at 64 pixels show no objects after half an hour, faces show faces."""
    two = replace(FACES, classes={"a": 1000, "b": 1000})
    assert (chosen(FACES, hours=0.5)["data.size"], chosen(two, hours=0.5)["data.size"]) == ("64", "32")
    assert chosen(two, hours=2)["data.size"] == "64"


def test_a_kind_that_is_named_gets_its_own_settings() -> None:
    two = replace(FACES, classes={"a": 1000, "b": 1000})
    residual = chosen(two, size=64, extra=["model.kind=resnet"])
    assert (residual["model.critic.sn_gain"], residual["model.latent"]) == ("2", "64")
    assert chosen(size=64, extra=["model.kind=biggan"])["model.latent"] == "80"
    for kind in ("stylegan2", "biggan", "fastgan"):
        given = chosen(size=64, extra=[f"model.kind={kind}"])
        assert given["model.kind"] == kind
        assert "model.critic.sn_gain" not in given, "its discriminator has none"


def test_few_images_shrink_the_batch_and_none_is_kept_away() -> None:
    few = chosen(replace(FACES, count=20))
    assert (few["train.batch_size"], few["data.heldout"]) == ("20", "0")
    with pytest.raises(UserError, match="too few to learn from"):
        choose(replace(FACES, count=7), at(250))


def test_duplicates_count_once() -> None:
    """8,000 images shown are 4 times 2,000 images, but 80 times the 100 that differ."""
    key, often = "augment.diffaugment.policy", {"size": 32, "hours": 32 / 3600}
    copies = replace(FACES, duplicates=1900)
    assert (chosen(**often)[key], chosen(copies, **often)[key]) == ("[]", "[color,translation,cutout]")
    assert chosen()["data.heldout"] == "0.05"
    assert chosen(copies)["data.heldout"] == "0"
    assert "memorise them" in choose(copies, at(250)).words


@pytest.mark.parametrize("count", [10, 60, 300, 3000])
@pytest.mark.parametrize("hours", [0.005, 0.5])
def test_the_lines_of_a_plan_agree(count: int, hours: float) -> None:
    look = replace(FACES, count=count, looked_at=min(count, 2000))
    found = choose(look, at(250), hours=hours, size=32)
    plan = Plan("photos", look, found, "cpu", 1 << 20)
    config, lines = plan.config, {what: (setting, reason) for what, setting, reason in plan.lines()}
    trained = count - round(count * config.data.heldout)
    assert found.passes == pytest.approx(found.images / trained)
    times = f"about {found.passes:,.0f} times"
    assert times in lines["augmentation"][1]
    assert times in lines["expect"][1]
    assert (lines["augmentation"][0].endswith("[]")) is ("rarely" in lines["augmentation"][1])
    assert not ("rarely" in lines["augmentation"][1] and "memorise" in lines["expect"][0])
    assert config.train.batch_size == min(32, trained)
    assert ("all 10 training images" in lines["batch"][1]) is (count == 10)
    assert lines["held out"][1].startswith(str(count - trained) if count > 60 else "too few")


def test_the_batch_is_no_larger_than_the_images_that_can_be_read_and_are_trained_on() -> None:
    broken = replace(FACES, count=30, looked_at=24, unreadable={f"{number}.png": "empty" for number in range(6)})
    assert chosen(broken, extra=["data.max_unreadable=0.3"])["train.batch_size"] == "24"
    assert chosen(replace(FACES, count=40), extra=["data.heldout=0.5"])["train.batch_size"] == "20"


@pytest.mark.parametrize("hours", [0.1, 0.5, 8])
@pytest.mark.parametrize("speed", [25, 100, 1000])
def test_looking_takes_a_small_part_of_the_time(hours: float, speed: float) -> None:
    """On a CPU a log line takes as long as two steps, a sheet and its checkpoint as long as four."""
    found = choose(FACES, at(speed), hours=hours, size=32)
    every = {key: int(value) for key, value in (one.split("=", 1) for one in found.overrides) if key.endswith("every")}
    assert every["train.sample_every"] == every["train.checkpoint_every"], "a step's statistics are computed once"
    taken = found.steps * (2 / every["train.log_every"] + 4 / every["train.sample_every"])
    assert taken < max(130, 0.07 * found.steps)


def test_what_the_user_says_is_chosen_and_the_rest_is_chosen_for_it() -> None:
    wide = choose(FACES, at(250), hours=0.5, size=32, extra=["model.width=64", "train.hours=0.25", "train.seed=3"])
    free = choose(FACES, at(250), hours=0.25, size=32)
    assert wide.seconds == 4 * free.seconds
    assert wide.images == pytest.approx(free.images / 4, abs=1)
    said = {choice.key: choice.because for choice in wide.choices if choice.because == "as you said"}
    assert {"model.width", "train.hours"} <= said.keys()
    assert "model.width=64" in wide.overrides
    more = choose(FACES, at(250), size=32, extra=["train.phases=[D,D,G]", "train.batch_size=16"])
    assert more.images == pytest.approx(2 * 16 * more.steps, rel=1e-3)
    assert chosen(hours=0.01, extra=["data.size=64"])["model.critic.sn_gain"] == "2", "the network of that size"
    with pytest.raises(UserError, match=r"model\.widht"):
        choose(FACES, at(250), extra=["model.widht=8"])


def test_the_smallest_size_is_not_told_to_be_smaller() -> None:
    assert "smaller" not in choose(FACES, at(250), hours=0.001, size=32).words
    assert "smaller --size" in choose(FACES, at(250), hours=0.001, size=64).words


def test_every_choice_has_a_reason() -> None:
    assert all(choice.because for choice in choose(FACES, at(250)).choices)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("photos/", "photos"),
        ("my photos (2)", "my-photos-2"),
        ("a/faces.tar.gz", "faces"),
        ("hf:me/cats", "cats"),
        ("…", "images"),
    ],
)
def test_a_run_is_named_after_its_images(path: str, name: str) -> None:
    assert own_name(path) == name


def test_the_written_plan_is_the_plan(tmp_path_factory: pytest.TempPathFactory) -> None:
    extra = ("train.seed=3", "train.ema.start=7")
    plan = Plan("photos", FACES, choose(FACES, at(250), threads=1, extra=extra), "cpu", 1 << 20, extra)
    file = tmp_path_factory.mktemp("plan") / "photos.yaml"
    file.write_text(plan.to_yaml())
    assert configuration.load(file) == plan.config
    assert plan.config.about.paper == "your own images"
    assert (plan.config.train.seed, plan.config.train.ema.start) == (3, 7)
    assert plan.command.count("train.ema.start=") == plan.command.count("train.seed=3") == 1


def test_the_command_of_a_plan_trains_the_same() -> None:
    plan = Plan("photos", FACES, choose(FACES, at(250)), "cpu", 1 << 20)
    config = described(plan.chosen.overrides)
    assert config.model_copy(update={"name": "photos", "about": plan.config.about}) == plan.config


def test_stylegan2_and_r3gan_bring_the_penalties_that_hold_their_discriminators() -> None:
    stylegan2 = chosen(size=64, extra=["model.kind=stylegan2"])
    assert stylegan2["objective.loss"] == "non-saturating"
    assert stylegan2["objective.terms.r1.gamma"] == "0.1"
    r3gan = configuration.load("own-images", choose(FACES, at(250), size=64, extra=["model.kind=r3gan"]).overrides)
    assert r3gan.objective.loss == "relativistic"
    assert set(r3gan.objective.terms) == {"r1", "r2"}
    assert "objective.terms.r1.gamma" not in chosen(size=64)
    given = chosen(size=64, extra=["model.kind=stylegan2", "objective.terms.r1.gamma=3"])
    assert given["objective.terms.r1.gamma"] == "3"


def test_fastgan_has_its_own_sizes_and_no_pretrained_network_beside_its_d() -> None:
    found = chosen(hours=0.01, extra=["model.kind=fastgan"])
    assert (found["data.size"], found["model.features"]) == ("64", "null")
    with pytest.raises(UserError, match=r"model\.kind=fastgan: not of 32 pixels; choose --size 64 or 128"):
        choose(FACES, at(250), size=32, extra=["model.kind=fastgan"])


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve images of noise."""
    folder = tmp_path_factory.mktemp("photos")
    noise = np.random.default_rng(0).integers(0, 256, (12, 64, 64, 3), dtype=np.uint8)
    for number, image in enumerate(noise):
        Image.fromarray(image).save(folder / f"{number}.png")
    return folder


@pytest.mark.parametrize("kind", FAMILIES)
def test_every_kind_is_built_with_what_is_chosen_for_it(kind: str, photos: Path) -> None:
    """Networks, the features beside D, and terms whose needs are met."""
    taken = choose(FACES, at(250), size=64, extra=[f"model.kind={kind}"]).overrides
    config = configuration.load("own-images", [*taken, f"data.path={photos}", "model.width=1", "train.batch_size=4"])
    task, cpu = task_of(config), torch.device("cpu")
    state = build_state(task, task.load(cpu).train, cpu)
    assert state.step == 0


def test_facts_are_of_the_run_and_not_of_the_table() -> None:
    def facts(*extra: str) -> dict[str, tuple[str, str]]:
        return {c.title: (c.value, c.because) for c in choose(FACES, at(250), extra=extra).choices if not c.key}

    assert facts()["regulariser"][0] == "none"
    assert facts()["learning"][0] == "D, G"
    told = facts("objective.terms.bcr={real: 1, fake: 1}", "train.phases=[D,D,G]")
    assert told["regulariser"] == ("bcr", "as you said")
    assert told["learning"] == ("D, D, G", "as you said")
    value, because = facts("model.kind=stylegan2")["regulariser"]
    assert value == "r1"
    assert "spectral norm alone" not in because
