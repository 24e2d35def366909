"""Images made again from their files' metadata."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers import command, tiny_run
from PIL import Image

import steadygan
from steadygan.errors import UserError
from steadygan.generators.generator import Generator
from steadygan.generators.remaking import check, find_weights, label_of, remake, stamp_for
from steadygan.pictures.stamp import read_stamp


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("runs") / "tiny"
    settings = tiny_run("model.conditional=true", "train.steps=2", "train.sample_every=1", "eval.num_fake=20")
    assert command("train", "digits", *settings, "--out", path) == 0
    return path


@pytest.fixture
def generator(run: Path) -> Generator:
    return steadygan.load(run / "checkpoints" / "step-00000002", device="cpu")


def same(first: Path, second: Path) -> bool:
    with Image.open(first) as a, Image.open(second) as b:
        return a.size == b.size and a.tobytes() == b.tobytes()


@pytest.mark.parametrize(
    "options",
    [
        ("sample", "--num", "9", "--seed", "4"),
        ("sample", "--seeds", "3,17,100-102", "--truncation", "0.7"),
        ("sample", "--num", "4", "--truncation", "scaled:0.7"),
        ("sample", "--seeds", "8", "--classes", "5", "--moves", "7:0.3,9:-0.1"),
        ("interpolate", "--rows", "2", "--steps", "3", "--between", "classes"),
    ],
)
def test_a_sheet_is_made_again_to_the_bit(run: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    name, *rest = options
    assert command(name, run, *rest, "--out", tmp_path / "first.png") == 0
    assert command("remake", tmp_path / "first.png", "--runs", run.parent) == 0
    assert same(tmp_path / "first.png", tmp_path / "first-remade.png")


def test_a_grid_of_a_training_is_made_again_to_the_bit(run: Path, tmp_path: Path) -> None:
    grid = run / "samples" / "step-00000002.png"
    stamp = read_stamp(grid)
    assert (stamp.call, stamp.step, stamp.columns) == ("sample", 2, 10)
    assert stamp.arguments == {"num": 80, "classes": list(range(10)), "seed": 0}
    assert (stamp.column_names, stamp.named) == (tuple("0123456789"), True)
    assert command("remake", grid, "--runs", tmp_path, "--out", tmp_path / "again.png") == 0
    assert same(grid, tmp_path / "again.png")


def test_a_grid_between_checkpoints_says_why_it_cannot_be_made_again(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = run / "samples" / "step-00000001.png"
    assert read_stamp(grid).step == 1
    assert command("remake", grid, "--out", tmp_path / "again.png") == 2
    told = capsys.readouterr().err
    assert "this grid is of step 1 of tiny, between two checkpoints" in told
    assert f"sample {run}/checkpoints/step-00000002 --num 80 --seed 0 --classes 0,1,2,3,4,5,6,7,8,9`" in told
    moved = shutil.copy(grid, tmp_path / "elsewhere.png")
    assert command("remake", moved, "--runs", run.parent, "--out", tmp_path / "again.png") == 2
    assert f"sample {run}/checkpoints/step-00000002" in capsys.readouterr().err
    with pytest.raises(UserError, match="contains images of the data"):
        check(replace(read_stamp(grid), call="sheet"))
    with pytest.raises(UserError, match=r"remake tiny/samples/step-00000001\.png"):
        check(replace(read_stamp(grid), call="film"))


def test_an_image_of_a_folder_is_made_again_from_its_own_batch(run: Path, tmp_path: Path) -> None:
    assert command("sample", run, "--num", "70", "--out", tmp_path / "folder") == 0
    path = tmp_path / "folder" / "000067.png"
    stamp = read_stamp(path)
    assert (stamp.index, stamp.label, stamp.class_name) == (67, 7, "7")
    assert command("remake", path, "--runs", run, "--out", tmp_path / "again.png") == 0
    assert same(path, tmp_path / "again.png")


def test_a_seed_stands_for_one_image_whatever_it_is_made_with(generator: Generator) -> None:
    several = generator.from_seeds([5, 9], classes=[1, 2], batch_size=1)
    assert torch.equal(several[1:], generator.from_seeds([9], classes=2, batch_size=1))
    assert torch.equal(several[:1], generator.sample(1, seed=5, classes=1))


def test_a_checkpoint_is_found_by_its_weights_wherever_it_lies(run: Path, generator: Generator, tmp_path: Path) -> None:
    stamp = stamp_for(generator, "ema", "sample", {"num": 4})
    assert find_weights(stamp.checkpoint, [tmp_path, run.parent]) == generator.path
    with pytest.raises(UserError, match="--runs"):
        find_weights("0" * 64, [run, tmp_path / "absent"])


def test_another_checkpoint_or_a_stamp_that_does_not_fit_is_refused(run: Path, generator: Generator) -> None:
    stamp = stamp_for(generator, "ema", "sample", {"num": 4, "seed": 1})
    assert len(remake(stamp, generator)) == 4
    with pytest.raises(UserError, match="not the checkpoint"):
        remake(replace(stamp, checkpoint="0" * 64), generator)
    with pytest.raises(UserError, match="does not fit"):
        remake(replace(stamp, arguments={"nonsense": 1}), generator)
    with pytest.raises(UserError, match="image index 4, but the call makes 2"):
        remake(replace(stamp, call="from_seeds", arguments={"seeds": [1, 2]}, index=4), generator)


def test_classes_are_taken_in_turn_by_number_and_by_name(generator: Generator) -> None:
    assert label_of(generator, None, 13) == (3, "3")
    assert label_of(generator, ["7", "2"], 1) == (2, "2")
    assert label_of(generator, 4, 9) == (4, "4")
