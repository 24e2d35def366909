from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors import safe_open

from steadygan.data.digits import digits
from steadygan.errors import UserError
from steadygan.metrics.modes import class_agreement
from steadygan.pretrained.digits import Digits
from steadygan.pretrained.registry import get_extractor


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "digits_classifier.py"
    spec = importlib.util.spec_from_file_location("digits_classifier", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_classifier_reads_digits_that_it_was_not_trained_on(benchmark: ModuleType) -> None:
    images, labels = (torch.from_numpy(array) for array in digits())
    _, held_out = benchmark.split(len(images))
    logits = get_extractor("digits")(images[held_out]).logits
    assert len(held_out) == 180
    assert class_agreement(logits, labels[held_out]) >= 0.98


def test_weights_are_small_and_say_where_they_come_from() -> None:
    assert Digits.weights.stat().st_size < 200_000
    with safe_open(Digits.weights, framework="pt") as file:
        about = json.loads(file.metadata()["about"])
    assert about["architecture"] == "DigitsNet"
    assert about["held_out_accuracy"] >= 0.98


def test_training_the_classifier_again_gives_the_same_bytes(benchmark: ModuleType, tmp_path: Path) -> None:
    for name in ("one", "two"):
        network, accuracy = benchmark.train(steps=4)
        benchmark.save(network, tmp_path / name, seed=0, steps=4, held_out_accuracy=accuracy, architecture="x")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_features_depend_on_neither_batch_size_nor_autocast() -> None:
    images = torch.from_numpy(digits()[0][:50])
    extractor = get_extractor("digits")
    whole = extractor(images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        parts = extractor(images, batch_size=7)
    assert whole.features.shape == (50, 64)
    assert whole.logits.shape == (50, 10)
    torch.testing.assert_close(whole.features, parts.features)
    assert not whole.features.requires_grad


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(2, 1, 16, 16, dtype=torch.uint8),
        torch.zeros(2, 3, 32, 32, dtype=torch.uint8),
        torch.zeros(2, 1, 32, 32),
        torch.zeros(0, 1, 32, 32, dtype=torch.uint8),
    ],
    ids=["size", "colour", "float", "none"],
)
def test_images_that_the_extractor_does_not_read_are_refused(images: torch.Tensor) -> None:
    with pytest.raises(UserError, match=r"greyscale uint8 images \(N, 1, 32, 32\)"):
        get_extractor("digits")(images)


def test_unknown_extractor_names_the_nearest_or_all_with_their_files() -> None:
    with pytest.raises(UserError, match=r"did you mean 'digits'\?$"):
        get_extractor("digit")
    with pytest.raises(UserError, match=r"digits.*STEADYGAN_INCEPTION_WEIGHTS"):
        get_extractor("zzz")
