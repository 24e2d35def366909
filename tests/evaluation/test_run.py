"""Drawings of a finished run, through the command line."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import Result, Run, tiny_run
from PIL import Image

import steadygan as library
from steadygan.errors import UserError
from steadygan.evaluation import neighbours as explore
from steadygan.evaluation.run import truncation_curve
from steadygan.generators.generator import Generator

TINY = tiny_run("train.steps=2", "eval.num_fake=20")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trained") / "first"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEADYGAN_CACHE", str(path.parent / "cache"))
        return library.train("digits", TINY, out=path).path


@pytest.fixture(autouse=True)
def wide_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steadygan: Run) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("STEADYGAN_CACHE", str(tmp_path / "cache"))


def size_of(path: str) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def test_interpolate_writes_a_sheet_with_a_path_a_row(steadygan: Run, trained: Path) -> None:
    result = steadygan("interpolate", trained, "--rows", "2", "--steps", "5", "--out", "new/sheet.png")
    assert result == Result(0, "2 paths of 5 images   new/sheet.png\n", "")
    assert size_of("new/sheet.png") == (8 * (5 * 18 + 2), 8 * (2 * 18 + 2))


def test_an_animation_goes_there_and_back(steadygan: Run, trained: Path) -> None:
    command = ["interpolate", trained, "--between", "classes", "--classes", "3,8", "--rows", "1", "--steps", "4"]
    assert steadygan(*command, "--out", "walk.webp").status == 0
    with Image.open("walk.webp") as image:
        assert (image.size, image.n_frames) == ((20, 20), 6)
        frames = []
        for index in range(6):
            image.seek(index)
            frames.append(np.asarray(image.convert("L")).astype(int))
    assert np.array_equal(frames[1], frames[5])
    assert np.array_equal(frames[2], frames[4])
    sheet = library.load(trained).interpolate(1, 4, between="classes", classes=["3", "8"])
    assert np.abs(frames[3][2:18, 2:18] - sheet[0, 3, 0].int().numpy()).max() <= 1


def test_curve_scores_every_truncation_and_records_it(steadygan: Run, trained: Path) -> None:
    before = (trained / "scores.jsonl").read_text().splitlines()
    command = ["curve", trained, "--truncation", "off,0.5,2", "--num-fake", "20"]
    result = steadygan(*command, "--out", "a/curve.png", "--out", "a/curve.csv")
    assert (result.status, result.err) == (0, "")
    new = [json.loads(line) for line in (trained / "scores.jsonl").read_text().splitlines()[len(before) :]]
    made = [(r["protocol"]["truncation"], r["protocol"]["num_fake"], r["protocol"]["batch_norm"]) for r in new]
    assert made == [(None, 20, "standing"), (0.5, 20, "standing"), (2.0, 20, "standing")]
    rows = list(csv.DictReader(Path("a/curve.csv").read_text().splitlines()))
    assert [row["truncation"] for row in rows] == ["0.5", "2.0", "off"]
    assert [float(row["FD-digits"]) for row in rows] == [new[i]["FD-digits"] for i in (1, 2, 0)]
    assert size_of("a/curve.png")[0] > 300
    in_training = json.loads(before[0])
    assert new[0]["FD-digits"] == pytest.approx(in_training["FD-digits"], rel=1e-4), "off is what it always was"
    assert library.evaluate(trained, truncation=0.5)["protocol"]["truncation"] == 0.5


def test_raw_weights_get_statistics_of_a_truncation_and_say_so(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEADYGAN_CACHE", str(trained.parent / "cache"))
    records = truncation_curve(trained, [None, 0.5], weights="raw", num_fake=20)
    assert [record["protocol"]["batch_norm"] for record in records] == ["running", "standing"]


def test_neighbours_finds_a_planted_copy(steadygan: Run, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A generator that gives training image 17 back is caught in pixels and in features; its others are not."""
    sample = Generator.sample

    def memorised(self: Generator, num: int = 16, **options: object) -> torch.Tensor:
        images = sample(self, num, **options)  # type: ignore[arg-type]
        images[1] = planted
        return images

    planted = explore.neighbours(trained, 1, 32).found["pixels"][1][0][31]
    monkeypatch.setattr(Generator, "sample", memorised)
    monkeypatch.setattr(explore, "CHUNK_BYTES", 5 * 4 * 16**2)  # five images at a time
    result = steadygan("neighbours", trained, "--num", "3", "--nearest", "2", "--out", "new/near.png")
    assert (result.status, result.err) == (0, "")
    found = explore.neighbours(trained, 3, 2).found
    assert set(found) == {"pixels", "digits"}
    for near, images in found.values():
        assert near.distances[1, 0] == 0
        assert torch.equal(images[1, 0], planted)
        assert near.distances[0, 0] > 0
        assert near.distances[2, 0] > 0
    number = int(found["pixels"][0].indices[1, 0])
    assert len(re.findall(rf"^ *1 +\w+ +0 #{number} ", result.out, re.MULTILINE)) == 2
    assert size_of("new/near.png") == (20 + 2 * (4 + 38), 3 * 18 + 2)


def test_pixel_distances_are_in_grey_levels(trained: Path) -> None:
    result = explore.neighbours(trained, 2, 1)
    near, images = result.found["pixels"]
    rms = (result.samples.double() - images[:, 0].double()).square().mean((1, 2, 3)).sqrt()
    torch.testing.assert_close(near.distances[:, 0].double(), rms, rtol=1e-5, atol=0)


def test_compare_writes_what_the_names_ask_for(steadygan: Run, trained: Path) -> None:
    result = steadygan("compare", trained, "--group-seeds", "--out", "c.png", "--out", "c.md", "--out", "new/c.csv")
    assert (result.status, result.err) == (0, "")
    assert Path("c.md").read_text().startswith("| run | seeds | step |")
    (row,) = csv.DictReader(Path("new/c.csv").read_text().splitlines())
    assert row["run"] == "first"
    assert size_of("c.png")[0] > 300


def test_the_nearest_in_features_need_an_extractor_that_reads_the_images(trained: Path) -> None:
    with pytest.raises(UserError, match="no feature extractor 'digts'"):
        explore.neighbours(trained, features="digts")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["interpolate", "nowhere"], "nowhere is neither a checkpoint nor a run"),
        (["interpolate", "RUN", "--out", "a.avi"], "--out a.avi: name a .png for a sheet, or one of .gif"),
        (["interpolate", "RUN", "--between", "pixels"], "between must be latents, classes, both"),
        (["interpolate", "RUN", "--steps", "1000000000"], "ask for at most 100,000 images"),
        (["interpolate", "RUN", "--classes", "cat"], "there is no class 'cat'"),
        (["interpolate", "RUN", "--weights", "best"], "--weights best: must be ema or raw (`"),
        (["curve", "nowhere"], "nowhere is not a run directory"),
        (["curve", "RUN", "--truncation", "1,x"], "got x; off is no truncation"),
        (["curve", "RUN", "--truncation", "0"], "truncation must be positive"),
        (["curve", "RUN", "--out", "a.pdf"], "--out a.pdf: name a .png for the curve, or a .csv"),
        (["curve", "RUN", "--num-fake", "1"], "--num-fake 1"),
        (["neighbours", "nowhere"], "nowhere is not a run directory"),
        (["neighbours", "RUN", "--nearest", "33"], "33 neighbours of 32 training images"),
        (["neighbours", "RUN", "--nearest", "0"], "ask for at least one"),
        (["neighbours", "RUN", "--out", "a.csv"], "name a .png file"),
        (["compare", "RUN", "--out", "a.html"], "--out a.html: name a .png for the curves, or a .md or .csv"),
        (["compare", "RUN", "--against", "data.fractoin"], "did you mean 'data.fraction'"),
        (["compare", "RUN", "--against", "data.fraction"], "all runs have 1.0; choose"),
        (["compare", "RUN", "--against", "data.fraction", "--at", "first"], "--at must be last or best"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_named_and_changes_nothing(
    steadygan: Run, trained: Path, tmp_path: Path, arguments: list[str], expected: str
) -> None:
    before = {file: file.read_bytes() for file in trained.rglob("*") if file.is_file()}
    result = steadygan(*(argument.replace("RUN", str(trained)) for argument in arguments))
    assert (result.status, result.out) == (2, "")
    assert expected in result.err
    assert {file: file.read_bytes() for file in trained.rglob("*") if file.is_file()} == before
    assert not list(tmp_path.iterdir())
