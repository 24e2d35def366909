"""Runs the code of docs/extending.md: extensions by modules outside the package."""

from __future__ import annotations

import io
import json
import re
import sqlite3
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from helpers import tiny_run
from PIL import Image
from safetensors.torch import load_file

import steadygan
from steadygan import config
from steadygan.errors import UserError
from steadygan.objective.adversarial import find_loss

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "extending.md").read_text(encoding="utf-8")


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The modules of the page, importable, in a folder outside the package."""
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, code in re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, re.DOTALL):
        (folder / name).write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(folder)
    return folder


def first_line(path: Path, *overrides: str) -> dict[str, float]:
    """The first log line of two steps of digits with these settings."""
    options = tiny_run("train.steps=2", "train.log_every=1", *overrides)
    run = steadygan.train("digits", options, out=path).path
    row: dict[str, float] = json.loads((run / "metrics.jsonl").read_text().splitlines()[0])
    return row


def test_a_term_of_ones_own_trains(tmp_path: Path, modules: Path) -> None:
    row = first_line(tmp_path / "run", "objective.terms.my_terms:latent_slope={weight: 2}")
    assert row["G/latent_slope"] >= 0


def test_a_view_of_ones_own_trains(tmp_path: Path, modules: Path) -> None:
    row = first_line(tmp_path / "run", "objective.terms.my_views:rolled={}")
    assert row["D/rolled"] > 0


def test_an_adversarial_loss_of_ones_own_trains_and_brings_its_boundary(tmp_path: Path, modules: Path) -> None:
    row = first_line(tmp_path / "run", "objective.loss=my_losses:minimax")
    assert row["G/adversarial"] < 0 < row["D/adversarial"]
    assert 0 <= row["D_accuracy_fake"] <= 1


def test_a_schedule_of_ones_own_is_followed(tmp_path: Path, modules: Path) -> None:
    """Two steps with a weight that rises: the term is logged without its weight, and G moves by it."""
    path = "objective.terms.my_schedules:brightness.weight"
    rising = f"{path}={{shape: linear, start: 0, end: 1, steps: 2}}"
    assert first_line(tmp_path / "run", rising)["G/brightness"] > 0
    with pytest.raises(UserError, match=r"my_schedules:brightness\.weight"):
        first_line(tmp_path / "other", f"{path}={{shape: zigzag, start: 0, end: 1, steps: 2}}")


def test_a_backbone_of_ones_own_trains_and_its_options_are_typed(tmp_path: Path, modules: Path) -> None:
    kind = ["model.kind=my_nets:FAMILY", "model.conditional=false"]
    row = first_line(tmp_path / "run", *kind, "model.generator.gain=2", "model.critic.hidden=4")
    assert row["G/adversarial"] != 0
    assert steadygan.load(tmp_path / "run").sample(2).shape == (2, 1, 16, 16)
    with pytest.raises(UserError, match=r"model\.critic\.hidden: .*got 'wide'"):
        first_line(tmp_path / "other", *kind, "model.critic.hidden=wide")


def test_a_critic_on_frozen_features_of_ones_own_keeps_them_out_of_checkpoints(tmp_path: Path, modules: Path) -> None:
    first_line(tmp_path / "run", "model.kind=my_features:FAMILY", "model.conditional=false")
    (weights,) = (tmp_path / "run" / "checkpoints").glob("step-00000002/weights.safetensors")
    assert {name for name in load_file(weights) if name.startswith("D.")} == {"D.head.weight", "D.head.bias"}


def test_a_container_of_ones_own_is_trained_on(tmp_path: Path, modules: Path) -> None:
    images = {f"{label}/{i}.png": noise(i) for label in range(2) for i in range(8)}
    with closing(sqlite3.connect(tmp_path / "scans.sqlite")) as base:
        base.execute("CREATE TABLE images (name TEXT, image BLOB)")
        base.executemany("INSERT INTO images VALUES (?, ?)", images.items())
        base.commit()
    first_line(tmp_path / "run", f"data.path=my_data:Table:{tmp_path}/scans.sqlite", "data.heldout=0")
    assert steadygan.load(tmp_path / "run").class_names == ("0", "1")


def noise(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (16, 16), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def test_a_metric_of_ones_own_is_scored(tmp_path: Path, modules: Path) -> None:
    first_line(tmp_path / "run", "eval.metrics=my_metrics:VARIANCE", "eval.num_fake=20")
    (score,) = [json.loads(line) for line in (tmp_path / "run" / "scores.jsonl").read_text().splitlines()]
    assert score["feature_variance"] > 0
    assert score["protocol"]["better"] == {"feature_variance": "higher"}


def test_an_extractor_of_ones_own_compares_two_folders(tmp_path: Path, modules: Path) -> None:
    for side, shift in (("a", 0), ("b", 100)):
        (tmp_path / side).mkdir()
        for i in range(8):
            (tmp_path / side / f"{i}.png").write_bytes(noise(i + shift))
    same = steadygan.evaluate_images(tmp_path / "a", tmp_path / "a", features="my_extractors:Coarse", device="cpu")
    other = steadygan.evaluate_images(tmp_path / "a", tmp_path / "b", features="my_extractors:Coarse", device="cpu")
    assert abs(same["FD-coarse"]) < 1e-6 < other["FD-coarse"]


FADE = "augment.transforms.my_transforms:Fade={speed: 0.125}"


def test_a_transform_of_ones_own_learns_from_d_is_logged_and_comes_back(tmp_path: Path, modules: Path) -> None:
    """Two augmentations in a row, after ADA; a resumed run continues as if it had never stopped."""
    options = tiny_run("train.log_every=1", "train.checkpoint_every=2", "augment.ada={p: 0.5}", FADE)
    paths = [tmp_path / "whole", tmp_path / "half"]
    steadygan.train("digits", [*options, "train.steps=4"], out=paths[0])
    steadygan.train("digits", [*options, "train.steps=2"], out=paths[1])
    steadygan.train(paths[1], ["train.steps=4"], resume=True)
    whole, half = ([json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()] for path in paths)
    noise = [row["D/Fade_noise"] for row in whole]
    assert noise[0] == 0
    assert all(abs(abs(b - a) - 0.125) < 1e-6 or {a, b} == {0} for a, b in pairwise(noise))
    assert max(noise) > 0
    assert [row["D/ada_p"] for row in whole] == [0.5] * 4
    assert [(row["D/Fade_noise"], row["D/adversarial"]) for row in half] == [
        (row["D/Fade_noise"], row["D/adversarial"]) for row in whole
    ]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("augment.transforms.my_transforms:Fade={spede: 1}", r"my_transforms:Fade\.spede: unknown .* 'speed'"),
        ("augment.transforms.my_transforms:Fade.speed=fast", r"my_transforms:Fade\.speed: .* got 'fast'"),
        ("augment.transforms.my_transforms:Fode={}", r"my_transforms:Fode cannot be imported"),
        ("augment.transforms.color={}", r"as module:NAME"),
        ("augment.transforms.torch.nn:Identity={}", "whose state would not be saved in checkpoints"),
        ("augment.transforms.builtins:dict={}", "does not say what its options are"),
        ("augment.transforms.builtins:object={}", "is not a function"),
    ],
)
def test_a_transform_that_does_not_fit_is_refused(tmp_path: Path, modules: Path, override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        first_line(tmp_path / "run", override)


def test_an_inherited_transform_is_switched_off(modules: Path) -> None:
    assert config.load("digits", [FADE]).augment.transforms == {"my_transforms:Fade": {"speed": 0.125}}
    off = config.load("digits", [FADE, "augment.transforms.my_transforms:Fade=null"])
    assert off.augment.transforms == {}


def test_what_is_no_adversarial_loss_is_refused(modules: Path) -> None:
    with pytest.raises(UserError, match=r"objective\.loss: my_losses:math must be an AdversarialLoss, not a module"):
        find_loss("my_losses:math")
