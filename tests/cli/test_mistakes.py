"""Mistakes at the command line: each is named, and leaves no files behind."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli.runs import TINY, folder
from helpers import Run

ERRORS = {
    "unknown preset": (["train", "dgits"], ["'dgits'", "did you mean 'digits'"]),
    "missing YAML file": (["train", "mine.yaml"], ["mine.yaml: no such file"]),
    "no such folder": (["train", "nowhere/cats"], ["nowhere/cats does not exist: give images, a YAML file"]),
    "no such zip": (["train", "cats.zip"], ["cats.zip does not exist: give images, a YAML file"]),
    "unknown key": (["train", "digits", "train.stepz=4"], ["unknown key train.stepz", "did you mean 'steps'"]),
    "unknown section": (["train", "digits", "trian.steps=4"], ["unknown key trian", "did you mean 'train.steps'"]),
    "wrong type": (["train", "digits", "train.steps=many"], ["train.steps=many", "must be a whole number"]),
    "out of range": (["train", "digits", "train.batch_size=0"], ["train.batch_size", "above 0"]),
    "no equals sign": (["train", "digits", "train.steps"], ["'train.steps' is not of the form key.path=value"]),
    "no YAML value": (["train", "digits", "model.critic={a"], ["model.critic", "not understood"]),
    "unknown term": (["train", "digits", "objective.terms.bcrr={}"], ["objective.terms.bcrr", "did you mean 'bcr'"]),
    "unknown option": (["train", "digits", "objective.terms.bcr.reel=1"], ["bcr.reel", "did you mean 'real'"]),
    "unknown module": (["train", "digits", "objective.terms.no_such:x={}"], ["no_such:x cannot be imported"]),
    "unknown loss": (["train", "digits", "objective.loss=hindge"], ["objective.loss", "did you mean 'hinge'"]),
    "unknown backbone": (["train", "digits", "model.kind=dcgam"], ["model.kind", "did you mean 'dcgan'"]),
    "unknown protocol": (["train", "digits", "eval.protocol=digit"], ["eval.protocol", "did you mean 'digits'"]),
    "unusable device": (["train", "digits", "train.device=gpu"], ["device gpu", "steadygan doctor"]),
    "no such data": (["train", "digits", "data.path=nowhere"], ["nowhere does not exist"]),
    "empty folder": (["train", "digits", "data.path=empty"], ["no images in empty"]),
    "folder without images": (["train", "digits", "data.path=texts"], ["no images in texts", "1 other files"]),
    "damaged images": (["train", "digits", "data.path=damaged"], ["3 of 16", "data.max_unreadable", "0.png"]),
    "data is a file": (
        ["train", "digits", "data.path=texts/a.txt"],
        ["texts/a.txt is neither a folder nor a valid zip"],
    ),
    "batch too large": (["train", "digits", "train.batch_size=5000"], ["train.batch_size is 5000", "at most 1617"]),
    "one image a batch": (["train", "digits", "train.batch_size=1"], ["train.batch_size", "batch norm"]),
    "one image a part": (["train", "digits", "train.accumulate=8"], ["train.batch_size", "batch norm"]),
    "one fake a batch": (
        ["train", "digits", "train.g_batch_size=1", "--dry-run"],
        ["train.g_batch_size", "batch norm"],
    ),
    "no labels": (["train", "digits", "data.path=flat"], ["model.conditional", "flat has none"]),
    "channels": (["train", "stacked-digits", "data.channels=1"], ["stacked-digits has 3 channels", "data.channels"]),
    "run is a file": (["train", "digits", "--out", "texts/a.txt"], ["texts/a.txt is a file", "--out"]),
    "run below a file": (["train", "digits", "--out", "texts/a.txt/run"], ["texts/a.txt/run: cannot be created"]),
    "resume nothing": (["train", "nowhere", "--resume"], ["nowhere is not a run directory"]),
    "resume a preset": (["train", "digits", "--resume"], ["digits is not a run directory"]),
    "resume elsewhere": (["train", "digits", "--resume", "--out", "x"], ["--resume continues the run in SOURCE"]),
    "sample nothing": (["sample", "nowhere"], ["nowhere is neither a checkpoint nor a run directory"]),
    "evaluate nothing": (["evaluate", "nowhere"], ["nowhere is neither a run directory nor a generator"]),
    "evaluate images without features": (["evaluate", "empty", "texts"], ["--features", "squeezenet"]),
    "evaluate a run by features": (["evaluate", "nowhere", "--features", "digits"], ["two folders of images"]),
    "evaluate images by protocol": (
        ["evaluate", "empty", "texts", "--features", "digits", "--protocol", "digits"],
        ["--protocol", "not for two folders"],
    ),
    "evaluate without weights": (
        ["evaluate", "flat", "flat", "--features", "squeezenet", "--size", "8", "--squeezenet-weights", "no.npz"],
        ["no.npz"],
    ),
    "compare nothing": (["compare", "nowhere"], ["nowhere is not a run directory"]),
    "nothing of that name to train on": (
        ["train", "nope"],
        ["'nope' is neither a folder of images, a preset,", "check the path of a folder", "presets"],
    ),
    "no such data to look at": (["data", "info", "nowhere"], ["nowhere does not exist"]),
    "no such preset to print": (["presets", "digts"], ["no preset has 'digts'", "did you mean 'digits'?"]),
}


@pytest.mark.parametrize("case", ERRORS)
def test_a_mistake_is_named_and_leaves_nothing_behind(steadygan: Run, tmp_path: Path, case: str) -> None:
    arguments, expected = ERRORS[case]
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("no image")
    folder(tmp_path / "flat")
    folder(tmp_path / "damaged", 16, classes=2, damaged=3)
    before = sorted(tmp_path.rglob("*"))
    first = arguments[:2] + (TINY if arguments[0] == "train" and "--resume" not in arguments else [])
    if case == "batch too large":
        first.remove("data.max_images=32")
    result = steadygan(*first, *arguments[2:])
    assert result.status == 2
    assert result.out == ""
    assert result.err.startswith("error: ")
    for part in expected:
        assert part in result.err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["train", "RUN", "--resume"], "already reached step 2"),
        (["train", "RUN", "--resume", "train.steps=4", "data.seed=1"], "data.seed is 1, was 0"),
        (["train", "RUN", "--resume", "train.steps=4", "data.max_images=16"], "data.max_images is 16, was 32"),
        (["sample", "RUN", "--classes", "10"], "class 10 is out of range"),
        (["sample", "RUN", "--classes", "cat"], "there is no class 'cat'"),
        (["sample", "RUN", "--num", "0"], "cannot make 0 images"),
        (["sample", "RUN", "--truncation", "-1"], "truncation must be positive"),
        (["sample", "RUN", "--weights", "best"], "--weights best: must be ema or raw (`"),
        (["sample", "RUN", "--out", "RUN/config.yaml"], "config.yaml is a file"),
        (["evaluate", "RUN", "--weights", "best"], "--weights best: must be ema or raw (`"),
        (["evaluate", "RUN", "--protocol", "fid"], "unknown protocol 'fid'"),
        (["compare", "RUN", "--format", "html"], "--format must be table, markdown or csv"),
    ],
    ids=" ".join,
)
def test_a_mistake_about_a_run_leaves_it_as_it_is(
    steadygan: Run, trained: Path, arguments: list[str], expected: str
) -> None:
    def contents() -> dict[Path, bytes]:
        return {file: file.read_bytes() for file in trained.rglob("*") if file.is_file()}

    before = contents()
    result = steadygan(*(argument.replace("RUN", str(trained)) for argument in arguments))
    assert result.status == 2
    assert expected in result.err
    assert contents() == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["sample", "RUN", "--out", "file/sheet.png"],
        ["sample", "RUN", "--out", "file/folder"],
        ["interpolate", "RUN", "--out", "file/sheet.png"],
        ["neighbours", "RUN", "--out", "file/sheet.png"],
        ["curve", "RUN", "--out", "file/curve.png"],
        ["compare", "RUN", "--out", "file/curves.png"],
        ["train", "digits", "--out", "file/run"],
    ],
    ids=" ".join,
)
def test_an_out_that_cannot_be_made_is_one_clear_error(
    steadygan: Run, trained: Path, tmp_path: Path, arguments: list[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    result = steadygan(*(argument.replace("RUN", str(trained)) for argument in arguments))
    assert result.status == 2
    assert f"--out {arguments[-1]}: cannot be created: " in result.err
    assert "file is no folder" in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_mistake_in_what_a_file_extends_names_the_file(steadygan: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("extends: dgits\n")
    assert "mine.yaml: extends: 'dgits' is neither a preset" in steadygan("train", "mine.yaml").err


def test_a_size_without_a_rule_is_refused_before_anything_is_timed(
    steadygan: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("steadygan.recipes.plan._machine")
    folder(tmp_path / "photos", 12)
    assert "--size 33: choose one of 32, 48, 64, 128" in steadygan("train", "photos", "--size", "33").err


def test_two_mistakes_are_both_named(steadygan: Run) -> None:
    result = steadygan("train", "digits", "train.stepz=1", "data.heldout=2")
    assert "train.stepz" in result.err
    assert "data.heldout" in result.err
