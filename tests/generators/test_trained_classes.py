"""Classes without training images are sampled only on request."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import command, tiny_run
from PIL import Image

import steadygan
from steadygan.errors import UserError
from steadygan.generators.description import trained_classes
from steadygan.generators.remaking import label_of
from steadygan.metrics.evaluation import _labels
from steadygan.metrics.protocol import Protocol


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on images whose labels are 1 and 3: classes 0 and 2 have none."""
    folder = tmp_path_factory.mktemp("labels from one")
    rows = ["file,label"]
    for number in range(12):
        pixels = np.random.default_rng(number).integers(256, size=(16, 16), dtype=np.uint8)
        (folder / "data").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / "data" / f"{number}.png")
        rows.append(f"{number}.png,{1 + 2 * (number % 2)}")
    (folder / "data" / "labels.csv").write_text("\n".join(rows) + "\n")
    settings = ["model.conditional=true", "train.steps=1", "train.batch_size=4", "eval.num_fake=4"]
    options = tiny_run(f"data.path={folder / 'data'}", *settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the empty classes, which is what this is about
        assert command("train", "digits", *options, "--out", folder / "run") == 0
    return folder / "run"


def test_all_classes_in_turn_are_those_that_had_images(run: Path) -> None:
    generator = steadygan.load(run)
    assert (generator.classes, generator.trained_classes) == (4, (1, 3))
    torch.testing.assert_close(generator.sample(4, seed=2), generator.sample(4, classes=[1, 3], seed=2))
    torch.testing.assert_close(
        generator.interpolate(2, 3, between="classes"), generator.interpolate(2, 3, between="classes", classes=[1, 3])
    )
    torch.testing.assert_close(generator.from_seeds([5, 6]), generator.from_seeds([5, 6], classes=[1, 3]))


def test_an_empty_class_is_made_when_it_is_named_and_warned_of(run: Path) -> None:
    generator = steadygan.load(run)
    with pytest.warns(UserWarning, match="not trained on images of class 2"):
        assert len(generator.sample(2, classes=[1, 2])) == 2


@pytest.mark.parametrize("typed", ["k\u00fche", "ku\u0308he"])
@pytest.mark.parametrize("known", ["k\u00fche", "ku\u0308he"])
def test_a_class_is_found_by_either_encoding_of_its_name(run: Path, known: str, typed: str) -> None:
    generator = steadygan.load(run)
    generator.class_names = ("0", "1", "2", known)
    torch.testing.assert_close(generator.sample(2, classes=typed, seed=2), generator.sample(2, classes=3, seed=2))
    assert label_of(generator, typed, 0) == (3, known)
    with pytest.raises(UserError, match="there is no class 'kuhe'; did you mean"):
        generator.sample(2, classes="kuhe")


def test_a_folder_of_samples_can_be_trained_on_again(run: Path, tmp_path: Path) -> None:
    assert command("sample", run, "--num", "4", "--out", tmp_path / "made") == 0
    table = (tmp_path / "made" / "labels.csv").read_text().splitlines()
    assert table == ["file,label", "000000.png,1", "000001.png,3", "000002.png,1", "000003.png,3"]
    from steadygan.data.source import open_source

    with pytest.warns(UserWarning, match="2 of 4 classes have no image"):
        source = open_source(str(tmp_path / "made"), size=16)
    assert source.labels is not None
    assert source.labels.tolist() == [1, 3, 1, 3]


@pytest.mark.parametrize("labels", ["balanced", "random"])
def test_scores_ask_for_no_empty_class(labels: str) -> None:
    protocol = Protocol("mine", "digits", 40, labels=labels)  # type: ignore[arg-type]
    asked = _labels(4, (1, 3), protocol)
    assert asked is not None
    assert set(asked.tolist()) == {1, 3}
    everyone = _labels(4, (), protocol)
    assert everyone is not None
    assert set(everyone.tolist()) == {0, 1, 2, 3}


@pytest.mark.parametrize("named", [[4], [-1], ["1"], [True], "13", 1])
def test_a_damaged_list_of_trained_classes_is_refused(named: object) -> None:
    with pytest.raises(UserError, match="trained_classes"):
        trained_classes({"classes": 4, "trained_classes": named})
    assert trained_classes({"classes": 2}) == (0, 1)
