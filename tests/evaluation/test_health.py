"""A run's leak and copies, from its directory and from its configuration."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import tiny_run

import steadygan
from steadygan.config import load
from steadygan.data.digits import digits
from steadygan.errors import UserError
from steadygan.evaluation.health import Health, augmentations, leaks
from steadygan.metrics.evaluation import score
from steadygan.metrics.protocol import PROTOCOLS


def test_the_augmentations_are_those_that_the_discriminator_sees() -> None:
    assert augmentations(load("digits-none")) == {}
    assert list(augmentations(load("digits"))) == ["shift"]
    assert list(augmentations(load("digits", ["augment.consistency.cutout=0.5"]))) == ["shift", "cutout"]
    mirrored = load("digits", ["augment.consistency.flip=0.5"])
    assert "flip" in augmentations(mirrored)
    assert "flip" not in augmentations(load("digits", ["augment.consistency.flip=0.5", "data.flip=true"]))
    policy = load("digits-none", ["augment.diffaugment.policy=[translation,cutout]"])
    assert list(augmentations(policy)) == ["translation", "cutout"]


def test_each_augmentation_is_measured_alone() -> None:
    x = torch.full((4, 1, 32, 32), -1.0)
    cutout = augmentations(load("digits", ["augment.consistency.cutout=0.5"]))["cutout"]
    changed = cutout(x, torch.Generator().manual_seed(0))
    assert set(changed.unique().tolist()) == {-1.0, 0.0}


def test_without_held_out_images_some_of_the_training_images_are_kept_from_the_reader(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("steadygan.metrics.leak.STEPS", 5)
    images = torch.from_numpy(digits(32)[0])[:300]
    config = load("digits-none", ["augment.diffaugment.policy=[cutout]"])
    found = leaks(config, images[:50], images, None)
    assert found["cutout"].false.of == 60
    assert leaks(config, images[:5], images[:10], None) == {}
    assert leaks(load("digits-none"), images[:50], images, None) == {}


def test_the_health_of_a_run_is_one_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEADYGAN_CACHE", str(tmp_path / "cache"))
    settings = tiny_run("data.size=32", "train.steps=1", "eval.num_fake=10", "augment.diffaugment.policy=[cutout]")
    steadygan.train("digits-none", [*settings, "data.heldout=0.05"], out=tmp_path / "run")
    monkeypatch.setattr("steadygan.metrics.leak.STEPS", 5)
    monkeypatch.setattr("steadygan.evaluation.health.FAKES", 40)
    record = steadygan.evaluate(tmp_path / "run", protocol="health")
    written = json.loads((tmp_path / "run" / "scores.jsonl").read_text().splitlines()[-1])
    assert {key: written[key] for key in record} == record
    assert record["step"] == 1
    assert {"copies", "copies_low", "copies_high"} <= record.keys()
    assert record["protocol"]["name"] == "health"
    assert record["protocol"]["num_heldout"] == 90
    assert record["protocol"]["num_fake"] == 40


def test_a_translation_has_no_such_health(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(load("cufs-pix2pix").to_yaml())
    (tmp_path / "provenance.json").write_text(json.dumps({"data": {"path": str(tmp_path), "fingerprint": ""}}))
    with pytest.raises(UserError, match="translates images"):
        Health.of(tmp_path)


def test_copies_are_a_metric_of_any_protocol(tmp_path: Path) -> None:
    images = torch.from_numpy(digits(32)[0])[:120]
    protocol = replace(PROTOCOLS["digits"], num_fake=40, scores=("fd", "copies"))
    copied = score(lambda number, asked, seed, part: images[part], images, None, protocol, **options(tmp_path))
    assert copied["copies"] == 1
    fresh = score(lambda number, asked, seed, part: images[80:][part], images[:80], None, protocol, **options(tmp_path))
    assert fresh["copies"] < 0.2


def options(cache: Path) -> dict[str, Any]:
    return {"classes": 0, "fingerprint": "f00d", "cache_dir": cache}
