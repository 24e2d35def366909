"""The extractor of FD-tiny: weights, inputs, and response to damaged images."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from steadygan.metrics.frechet import Moments, frechet_distance
from steadygan.pretrained.registry import get_extractor
from steadygan.pretrained.tiny import FEATURES, MAPS, WEIGHTS, TinyNet


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> tuple[ModuleType, ModuleType]:
    """`benchmarks/tiny_maps.py` and `benchmarks/tiny_extractor.py`, which imports it and other scripts beside it."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    return importlib.import_module("tiny_maps"), importlib.import_module("tiny_extractor")


def blobs(count: int, size: int = 32, seed: int = 0, channels: int = 3) -> Tensor:
    """Images of a few soft spots of colour, uint8."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, channels, 5, 5, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic", align_corners=False)
    return (255 * smooth.clamp(0, 1)).round().to(torch.uint8)


def about(path: Path) -> dict[str, Any]:
    assert path.stat().st_size < 2_000_000
    with safe_open(path, framework="pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118
        said: dict[str, Any] = json.loads(file.metadata()["about"])
    return said


def test_weights_are_small_and_say_where_they_come_from() -> None:
    maps, net = about(MAPS), about(WEIGHTS)
    assert maps["architecture"] == "Trunk"
    assert maps["cifar10_accuracy"] > 0.8
    assert maps["imagenette64_accuracy"] > 0.7
    assert net["architecture"] == "TinyNet"
    assert net["components"] > 0.9
    assert min(net["explained"].values()) > 0.6


def test_training_again_gives_the_same_bytes(
    scripts: tuple[ModuleType, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maps, _ = scripts
    monkeypatch.setattr(maps, "BATCH", 4)
    labels = torch.arange(20) % 10
    cifar, imagenette = maps.Labelled(blobs(20), labels), maps.Labelled(blobs(20, 128), labels)
    for name in ("one", "two"):
        network = maps.train(cifar, imagenette, steps=4)
        maps.save(network.trunk, tmp_path / name, architecture="Trunk", steps=4)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert 0 <= maps.accuracy(network, 0, cifar, 48) <= 1


def test_its_images_are_the_same_every_time_and_the_network_learns_to_imitate(
    scripts: tuple[ModuleType, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The teacher is the mean colour and contrast here."""
    _, extractor = scripts
    monkeypatch.setattr(extractor, "SIZES", {32: (2, 16), 40: (2, 4), 48: (2, 4), 56: (2, 4), 64: (2, 4)})
    monkeypatch.setattr(extractor, "CIFAR", (20, 30))
    monkeypatch.setattr(extractor, "POOL", 25)
    drawn = [next(extractor.parts(blobs(60), blobs(30, 128), 1)) for _ in range(2)]
    assert all(torch.equal(images, drawn[1][size]) for size, images in drawn[0].items())
    assert {size: len(images) for size, images in drawn[0].items()} == {32: 100, 40: 50, 48: 50, 56: 50, 64: 50}
    read = {size: torch.cat([x.float().mean((2, 3)), x.float().std((2, 3))], 1) for size, x in drawn[0].items()}
    monkeypatch.setattr(extractor, "FEATURES", 6)
    targets = extractor.Targets(torch.cat(list(read.values())))
    assert targets.kept == pytest.approx(1)
    wanted = {size: targets(features) for size, features in read.items()}
    torch.testing.assert_close(torch.cat(list(wanted.values())).var(0).sum(), torch.tensor(1.0), rtol=0, atol=1e-3)
    padded = {size: torch.nn.functional.pad(some, (0, FEATURES - 6)) for size, some in wanted.items()}
    torch.manual_seed(0)
    network = TinyNet().train()
    losses = [loss for _, loss in extractor.train(network, drawn[0], padded, 60)]
    assert losses[-1] < 0.5 * losses[0]
    assert extractor.explained(network, drawn[0], padded)[32] > 0.3


@pytest.mark.parametrize("kind", range(13))
def test_every_damage_changes_images_and_keeps_their_shape(scripts: tuple[ModuleType, ModuleType], kind: int) -> None:
    damages = importlib.import_module("damages")
    for size in (32, 40, 64):
        pool = {size: blobs(8, size)}
        make = damages.Damages(torch.Generator().manual_seed(0), pool)
        x = blobs(10, size, seed=1).float() / 127.5 - 1
        made = make.kinds[kind](x.clone())
        assert made.shape == x.shape
        assert made.isfinite().all()
        assert (made - x).abs().mean() > 1e-3


def test_held_out_images_are_every_so_manieth(scripts: tuple[ModuleType, ModuleType]) -> None:
    seen, held_out = scripts[0].Labelled(blobs(20), torch.arange(20)).every(10)
    assert held_out.labels.tolist() == [0, 10]
    assert len(seen) == 18


@pytest.mark.parametrize("size", [16, 32, 37, 50, 64, 100])
def test_images_of_any_size_and_grey_ones_give_the_features(size: int) -> None:
    extractor = get_extractor("tiny")
    features, logits = extractor(blobs(3, size))
    assert features.shape == (3, FEATURES)
    assert logits.shape == (3, 0)
    sides = extractor.prepare(blobs(1, size)).shape[2:]
    assert sides == (min(max(size, 32), 64),) * 2


def test_features_depend_on_neither_batch_size_nor_autocast() -> None:
    extractor, images = get_extractor("tiny"), blobs(9)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        parts = extractor(images, batch_size=2)
    torch.testing.assert_close(extractor(images).features, parts.features)


def test_its_network_is_as_small_as_it_says() -> None:
    assert sum(parameter.numel() for parameter in TinyNet().parameters()) == 774_240


def distance(fakes: Tensor, reals: Tensor) -> float:
    extractor = get_extractor("tiny")
    x, y = (Moments().update(extractor(side).features) for side in (fakes, reals))
    return frechet_distance(x.mean, x.cov, y.mean, y.cov)


def test_the_distance_rises_with_noise_and_with_lost_colours() -> None:
    reals, others = blobs(200), blobs(200, seed=1)
    draws = torch.randn(others.shape, generator=torch.Generator().manual_seed(2))
    noisy = [(others + level * draws).round().clamp(0, 255).to(torch.uint8) for level in (4, 16, 64)]
    found = [distance(fakes, reals) for fakes in (others, *noisy)]
    assert found == sorted(found)
    assert distance(others[:, :1].expand(-1, 3, -1, -1), reals) > 3 * found[0]
