"""A generator from its checkpoint alone, and the library's calls."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import tiny_run
from PIL import Image

import steadygan
from steadygan.errors import UserError
from steadygan.generators.description import build_generator
from steadygan.generators.prior import Cut
from steadygan.generators.sampling import standing_statistics
from steadygan.metrics.protocol import PROTOCOLS, Protocol
from steadygan.runs.checkpoint import read_manifest

TINY = tiny_run("train.steps=3")


@pytest.fixture(autouse=True)
def quick_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEADYGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(PROTOCOLS, "digits", Protocol("digits", extractor="digits", num_fake=20))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs: conditional digits, and unconditional ones in colour."""
    root = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEADYGAN_CACHE", str(root / "cache"))
        patch.setitem(PROTOCOLS, "digits", Protocol("digits", extractor="digits", num_fake=20))
        steadygan.train("digits", TINY, out=root / "digits")
    steadygan.train("digits", [*TINY, "data.channels=3", "model.conditional=false"], out=root / "colour")
    return root


@pytest.fixture
def alone(runs: Path, tmp_path: Path) -> Path:
    """A copy of a checkpoint's files alone, under another name."""
    return shutil.copytree(runs / "digits/checkpoints/step-00000003", tmp_path / "somewhere else")


def test_images_are_uint8_or_floats_between_minus_one_and_one(alone: Path) -> None:
    generator = steadygan.load(alone)
    images, floats = generator.sample(5), generator.sample(5, output="float")
    assert images.dtype == torch.uint8
    assert images.shape == (5, 1, 16, 16) == floats.shape
    assert floats.dtype == torch.float32
    assert floats.min() >= -1
    assert floats.max() <= 1
    torch.testing.assert_close(floats, images.float() / 127.5 - 1)
    assert images.unique().numel() > 10, "a blank image would prove nothing"


def test_what_a_generator_says_of_itself(alone: Path, runs: Path) -> None:
    generator = steadygan.load(alone)
    assert (generator.size, generator.channels, generator.classes, generator.latent) == (16, 1, 10, 4)
    assert generator.class_names == tuple("0123456789")
    assert (generator.step, generator.path) == (3, alone)
    colour = steadygan.load(runs / "colour")
    assert (colour.channels, colour.classes, colour.class_names) == (3, 0, ())


def test_a_seed_determines_the_images_and_nothing_else_does(alone: Path) -> None:
    generator = steadygan.load(alone)
    first = generator.sample(10, seed=1)
    torch.manual_seed(5)
    assert torch.equal(generator.sample(10, seed=1), first)
    assert torch.equal(steadygan.load(alone).sample(10, seed=1), first)
    assert not torch.equal(generator.sample(10, seed=2), first)
    apart = generator.sample(10, seed=1, batch_size=3)
    assert (apart.int() - first.int()).abs().max() <= 1


def test_what_was_asked_before_does_not_change_the_images(alone: Path) -> None:
    """A truncated latent needs statistics of its own; the next untruncated call must not inherit them."""
    for weights in ("ema", "raw"):
        generator = steadygan.load(alone, weights=weights)
        first = generator.sample(8)
        narrow = generator.sample(8, truncation=0.5)
        assert not torch.equal(first, narrow)
        assert torch.equal(generator.sample(8), first)
        assert torch.equal(generator.sample(8, truncation=0.5), narrow)


def test_a_draft_takes_the_statistics_that_are_there(alone: Path) -> None:
    generator = steadygan.load(alone)
    trained, network = generator.network, generator.network.module
    assert trained.nearest(0.5) is network, "none other is there yet"
    half, one = trained(0.5), trained(1.0)
    assert trained.nearest(0.6) is half
    assert trained.nearest(0.8) is one
    assert trained.nearest(1.9) is network, "2 leaves a normal latent nearly as it is"
    assert trained.nearest("scaled:0.6") is network, "no other law stands in"
    assert list(trained.kept()) == [Cut(0.5), Cut(1.0)], "a draft gathers nothing"

    draft = generator.from_seeds([3], truncation=0.6, draft=True)
    exact = generator.from_seeds([3], truncation=0.6)
    assert not torch.equal(draft, exact)
    assert torch.equal(generator.from_seeds([3], truncation=0.6, draft=True), exact)
    with pytest.raises(UserError, match="truncation must be positive"):
        generator.from_seeds([3], truncation=0, draft=True)


def test_each_truncation_has_statistics_of_its_own(alone: Path) -> None:
    """The statistics equal those gathered with latents truncated in the same way."""
    generator = steadygan.load(alone)
    seen = []
    for truncation in (0.2, 1.0, None, 0.2):
        generator.sample(2, truncation=truncation)
        network = generator.network(truncation)
        seen.append({k: v.clone() for k, v in network.state_dict().items() if "running_" in k})
        fresh, prior = build_generator(read_manifest(alone)["generator"])
        fresh.load_state_dict(network.state_dict())
        standing_statistics(fresh, prior, truncation=truncation)
        for name, value in seen[-1].items():
            torch.testing.assert_close(value, fresh.state_dict()[name], msg=f"{name} at {truncation}")
    first = next(name for name in seen[0] if name.endswith("running_var"))
    assert seen[0][first].mean() < seen[1][first].mean() < seen[2][first].mean(), "narrower latents, less variance"
    assert all(torch.equal(seen[0][name], seen[3][name]) for name in seen[0])


def test_a_path_between_named_classes(alone: Path) -> None:
    generator = steadygan.load(alone)
    paths = generator.interpolate(2, 3, between="classes", classes=["3", 7], seed=1, truncation=0.5)
    assert (paths.shape, paths.dtype) == ((2, 3, 1, 16, 16), torch.uint8)
    back = generator.interpolate(2, 3, between="classes", classes=["7", "3"], seed=1, truncation=0.5)
    assert torch.equal(paths[0], back[0].flip(0))
    generator.sample(1)
    assert torch.equal(generator.interpolate(2, 3, between="classes", classes=["3", 7], seed=1, truncation=0.5), paths)
    with pytest.raises(UserError, match="no class 'cat'"):
        generator.interpolate(classes="cat")
    with pytest.raises(UserError, match="truncation must be positive"):
        generator.interpolate(truncation=0)


def test_classes_by_number_and_name_and_in_turn(alone: Path) -> None:
    generator = steadygan.load(alone)
    threes = generator.sample(4, classes=3)
    for same in ("3", [3], ["3"], (3, "3"), np.int64(3), np.array([3]), torch.tensor([3])):
        assert torch.equal(generator.sample(4, classes=same), threes)
    both = generator.sample(4, classes=[3, 7])
    assert torch.equal(both[::2], threes[::2])
    assert torch.equal(both[1::2], generator.sample(4, classes=7)[1::2])
    assert torch.equal(generator.sample(12), generator.sample(12, classes=range(10)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": 10}, "class 10 is out of range.*0 to 9"),
        ({"classes": -1}, "class -1 is out of range"),
        ({"classes": "cat"}, "no class 'cat'"),
        ({"classes": [3, None]}, "no class None"),
        ({"classes": []}, "empty"),
        ({"num": 0}, "cannot make 0 images"),
        ({"truncation": 0}, "truncation must be positive"),
        ({"truncation": float("nan")}, "truncation must be positive"),
        ({"output": "png"}, "output must be"),
    ],
)
def test_requests_that_make_no_sense_are_refused(alone: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        steadygan.load(alone).sample(**options)


def test_an_unconditional_generator_refuses_classes(runs: Path) -> None:
    generator = steadygan.load(runs / "colour")
    assert generator.sample(2).shape == (2, 3, 16, 16)
    for classes in (0, "cat"):
        with pytest.raises(UserError, match="unconditional"):
            generator.sample(2, classes=classes)


def test_raw_and_averaged_weights_differ(alone: Path) -> None:
    assert not torch.equal(steadygan.load(alone, weights="raw").sample(4), steadygan.load(alone).sample(4))


def test_a_grid_is_a_png_of_the_samples(alone: Path, tmp_path: Path) -> None:
    path = steadygan.load(alone).save_grid(tmp_path / "grid.png", num=6, columns=3, classes=7)
    with Image.open(path) as image:
        sheet = np.asarray(image)
    assert sheet.shape == (8 * (2 * 18 + 2), 8 * (3 * 18 + 2))  # each pixel eight times eight
    first = steadygan.load(alone).sample(6, classes=7)[0, 0].numpy()
    np.testing.assert_array_equal(sheet[16:144:8, 16:144:8], first)


def damage(path: Path, **changes: Any) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["generator"] |= changes
    (path / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "nosuch"},
        {"kind": ["dcgan"]},
        {"width": 3},
        {"width": 10**9},
        {"width": "wide"},
        {"size": 0},
        {"latent": None},
        {"prior": "cauchy"},
        {"options": {"nosuch": 1}},
        {"options": 3},
        {"class_names": None},
    ],
    ids=str,
)
def test_a_damaged_description_is_an_error_that_names_the_checkpoint(alone: Path, changes: dict[str, Any]) -> None:
    damage(alone, **changes)
    with pytest.raises(UserError) as caught:
        steadygan.load(alone)
    assert str(alone) in str(caught.value)


def test_a_manifest_without_a_description_is_refused(alone: Path) -> None:
    manifest = json.loads((alone / "manifest.json").read_text())
    for key in ("generator", "step"):
        (alone / "manifest.json").write_text(json.dumps({k: v for k, v in manifest.items() if k != key}))
        with pytest.raises(UserError, match=f"damaged.*{key}"):
            steadygan.load(alone)


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_what_holds_no_checkpoint_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=f"{name} is neither a checkpoint nor a run"):
        steadygan.load(tmp_path / name)


def test_evaluating_a_run_repeats_the_score_taken_in_training(runs: Path) -> None:
    (in_training,) = [json.loads(line) for line in (runs / "digits/scores.jsonl").read_text().splitlines()][:1]
    record = steadygan.evaluate(runs / "digits")
    assert record["protocol"] == in_training["protocol"]
    assert record["FD-digits"] == pytest.approx(in_training["FD-digits"], rel=1e-4)
    assert json.loads((runs / "digits/scores.jsonl").read_text().splitlines()[-1]) == {"schema": 1, **record}


def test_raw_weights_are_scored_with_the_statistics_of_training(runs: Path) -> None:
    protocol = steadygan.evaluate(runs / "digits", weights="raw")["protocol"]
    assert (protocol["weights"], protocol["batch_norm"]) == ("raw", "running")


def test_a_run_on_any_images_is_scored(runs: Path) -> None:
    assert steadygan.evaluate(runs / "colour")["FD-tiny"] > 0
    with pytest.raises(UserError, match="unknown protocol"):
        steadygan.evaluate(runs / "digits", protocol="digit")


def test_evaluating_against_other_images_is_refused(runs: Path, tmp_path: Path) -> None:
    path = shutil.copytree(runs / "digits", tmp_path / "copy")
    config = (path / "config.yaml").read_text()
    (path / "config.yaml").write_text(config.replace("max_images: 32", "max_images: 31"))
    with pytest.raises(UserError, match="content differs"):
        steadygan.evaluate(path)


def test_a_presets_name_is_no_run_to_evaluate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="digits is neither a run directory nor a generator"):
        steadygan.evaluate("digits")


def test_no_module_of_the_package_has_the_name_of_a_public_function() -> None:
    """Importing `steadygan.load` as a module would put it in the place of the function."""
    root = Path(steadygan.__file__).parent
    modules = {path.stem for path in root.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert not modules & set(dir(steadygan))
    assert all(callable(getattr(steadygan, name)) for name in ("train", "load", "sample", "evaluate"))
