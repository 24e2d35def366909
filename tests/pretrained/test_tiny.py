"""The extractor of FD-tiny: weights, inputs, and response to damaged images."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from steadygan.metrics.frechet import Moments, frechet_distance
from steadygan.pretrained.registry import get_extractor
from steadygan.pretrained.tiny import FEATURES, WEIGHTS, TinyNet


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "tiny_extractor.py"
    spec = importlib.util.spec_from_file_location("tiny_extractor", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where a dataclass looks for its names
    spec.loader.exec_module(module)
    return module


def blobs(count: int, size: int = 32, seed: int = 0, channels: int = 3) -> Tensor:
    """Images of a few soft spots of colour, uint8."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, channels, 5, 5, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic", align_corners=False)
    return (255 * smooth.clamp(0, 1)).round().to(torch.uint8)


def test_weights_are_small_and_say_where_they_come_from() -> None:
    assert WEIGHTS.stat().st_size < 2_000_000
    with safe_open(WEIGHTS, framework="pt") as file:
        about = json.loads(file.metadata()["about"])
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118
    assert about["architecture"] == "TinyNet"
    assert about["cifar10_accuracy"] > 0.8
    assert about["imagenette64_accuracy"] > 0.7


def test_training_again_gives_the_same_bytes(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, "BATCH", 4)
    labels = torch.arange(20) % 10
    cifar = benchmark.Labelled(blobs(20), labels)
    imagenette = benchmark.Labelled(blobs(20, 128), labels)
    for name in ("one", "two"):
        network = benchmark.train(cifar, imagenette, steps=4)
        benchmark.save(network.trunk, tmp_path / name, architecture="TinyNet", steps=4)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert 0 <= benchmark.accuracy(network, 0, cifar, 48) <= 1


def test_held_out_images_are_every_so_manieth(benchmark: ModuleType) -> None:
    seen, held_out = benchmark.Labelled(blobs(20), torch.arange(20)).every(10)
    assert held_out.labels.tolist() == [0, 10]
    assert len(seen) == 18


@pytest.mark.parametrize("size", [16, 32, 37, 50, 64, 100])
def test_images_of_any_size_and_grey_ones_give_the_features(size: int) -> None:
    extractor = get_extractor("tiny")
    features, logits = extractor(blobs(3, size))
    assert features.shape == (3, FEATURES)
    assert features.min() >= 0
    assert logits.shape == (3, 0)
    sides = extractor.prepare(blobs(1, size)).shape[2:]
    assert sides == (min(max(size, 32), 64),) * 2


def test_features_depend_on_neither_batch_size_nor_autocast() -> None:
    extractor, images = get_extractor("tiny"), blobs(9)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        parts = extractor(images, batch_size=2)
    torch.testing.assert_close(extractor(images).features, parts.features)


def test_its_network_is_as_small_as_it_says() -> None:
    assert sum(parameter.numel() for parameter in TinyNet().parameters()) == 288_800


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
