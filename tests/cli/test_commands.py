"""The command line, through its entry point: output, refusals, files left behind."""

from __future__ import annotations

import errno
import io
import json
import re
import signal
import sys
import warnings
from importlib import import_module
from pathlib import Path

import pytest
from cli.runs import TINY, folder
from helpers import Result, Run, command
from PIL import Image

from steadygan.cli import app
from steadygan.metrics.protocol import PROTOCOLS, Protocol


def png_size(path: str) -> tuple[int, int]:
    with Image.open(path, formats=["PNG"]) as image:
        return image.size


def test_train_says_what_it_does_and_where_the_results_are(steadygan: Run) -> None:
    result = steadygan("train", "digits", *TINY, "objective.terms.bcr.real=10", "objective.terms.zcr.gen=0.5")
    assert (result.status, result.err) == (0, "")
    lines = dict(re.findall(r"^(\w+) {2,}(.+)$", result.out, re.MULTILINE))
    assert lines["data"].startswith("32 images of 1×16×16, 10 classes, 180 held out")
    assert re.search(r"G [\d,]+ parameters, D [\d,]+", lines["networks"])
    assert "10·bcr_real" in lines["objective"]
    assert "0.5·zcr_gen" in lines["objective"]
    assert "FD-digits" in lines["scores"]
    assert lines["protocol"].startswith("digits: 20 fakes against 32 train reals, ema weights, step 2")
    assert Path(lines["samples"]).is_file()
    assert list(Path(lines["generator"]).glob("step-00000002"))
    assert lines["more"] == "steadygan sample runs/digits --num 64"


def test_progress_has_losses_speed_time_left_and_the_newest_grid_and_no_colours(steadygan: Run) -> None:
    out = steadygan("train", "digits", *TINY).out
    (line,) = re.findall(r"^step +2/2 .*$", out, re.MULTILINE)
    assert re.search(
        r"\d+ images/s  \S+ left  D -?\d+\.\d\d  G -?\d+\.\d\d  runs/digits/samples/step-00000002\.png$", line
    )
    assert "\x1b" not in out


def test_a_terminal_shows_the_newest_grid_below_the_bar(steadygan: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    out = steadygan("train", "digits", *TINY).out
    assert "\x1b" in out
    assert re.search(r"training .*2/2.*\n.*samples     runs/digits/samples/step-00000002\.png", out)


def test_a_run_that_exists_is_refused_naming_both_ways_out(steadygan: Run, trained: Path) -> None:
    before = (trained / "metrics.jsonl").read_bytes()
    result = steadygan("train", "digits", *TINY, "--out", trained)
    assert result.status == 2
    assert f"steadygan train {trained} --resume" in result.err
    assert "--out" in result.err
    assert (trained / "metrics.jsonl").read_bytes() == before


def test_an_interrupted_run_says_how_to_resume_and_does(steadygan: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from steadygan.training import loop

    step = loop.train_step

    def interrupt(state: object) -> object:
        signal.raise_signal(signal.SIGINT)
        return step(state)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", interrupt)
        result = steadygan("train", "digits", *TINY, "train.steps=5", "--out", "a [b]")
    assert result.status == 130
    assert "resume with steadygan train 'a [b]' --resume" in result.out
    assert (Path("a [b]") / "checkpoints/step-00000001").is_dir()
    assert steadygan("train", "a [b]", "--resume").status == 0
    assert (Path("a [b]") / "checkpoints/step-00000005").is_dir()


def test_a_folder_of_images_is_trained_on_and_scored(steadygan: Run, tmp_path: Path) -> None:
    images = folder(tmp_path / "images", 20)
    result = steadygan("train", "digits", *TINY, f"data.path={images}", "model.conditional=false", "--out", "run")
    assert (result.status, result.err) == (0, "")
    assert "FD-tiny" in result.out
    assert "samples     run/samples/step-00000002.png" in result.out
    assert steadygan("evaluate", "run").status == 0


def test_dry_run_estimates_and_leaves_nothing(steadygan: Run, tmp_path: Path) -> None:
    result = steadygan("train", "digits", *TINY, "--dry-run")
    assert result.status == 0
    assert re.search(
        r"^memory +[\d,]+ MiB at the peak of a step: weights [\d,]+, Adam [\d,]+, images", result.out, re.MULTILINE
    )
    assert re.search(r"^arithmetic +[\d.]+ GFLOP a step$", result.out, re.MULTILINE)
    assert re.search(r"^execution +eager$", result.out, re.MULTILINE)
    assert re.search(r"^time +[\d.]+ s a step, .* for 2 steps$", result.out, re.MULTILINE)
    assert not list(tmp_path.iterdir())


def test_a_dry_run_of_what_cannot_fit_says_what_to_change(steadygan: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steadygan.data.images.free_memory", lambda device: 1)
    result = steadygan("train", "digits", *TINY, "--dry-run")
    assert result.status == 2
    assert "would not fit" in result.err
    assert "train.accumulate" in result.err


def test_sample_writes_a_sheet_or_a_folder(steadygan: Run, trained: Path) -> None:
    result = steadygan("sample", trained, "--num", "12", "--out", "new/sheet.png")
    assert result == Result(0, "12 images   new/sheet.png\n", "")
    assert png_size("new/sheet.png") == (
        6 * (10 * 18 + 2),
        6 * (2 * 18 + 2) + 17,
    )  # named above
    assert steadygan("sample", trained, "--num", "3", "--classes", "7,3", "--out", "several").status == 0
    assert sorted(path.name for path in Path("several").iterdir()) == [
        "000000.png",
        "000001.png",
        "000002.png",
        "images.json",
        "labels.csv",
    ]
    assert png_size("several/000000.png") == (16, 16)
    assert steadygan("sample", trained / "checkpoints/step-00000002", "--num", "1", "--out", "one.png").status == 0
    assert png_size("one.png") == (16, 16)


def test_evaluate_prints_and_records_a_score(steadygan: Run, trained: Path) -> None:
    count = len((trained / "scores.jsonl").read_text().splitlines())
    result = steadygan("evaluate", trained, "--weights", "raw")
    assert result.status == 0
    assert re.search(r"^scores +FD-digits [\d.]+", result.out, re.MULTILINE)
    assert "raw weights, step 2" in result.out
    assert len((trained / "scores.jsonl").read_text().splitlines()) == count + 1


def test_evaluate_compares_two_folders_of_images(steadygan: Run, trained: Path) -> None:
    steadygan("sample", trained, "--num", "12", "--out", "a")
    steadygan("sample", trained, "--num", "12", "--seed", "1", "--out", "b")
    result = steadygan("evaluate", "a", "b", "--features", "digits")
    assert result.status == 0
    assert re.search(r"^scores +FD-digits [\d.]+  KD-digits", result.out, re.MULTILINE)
    assert "precision" in result.out
    assert "images: 12 fakes against 12 test reals" in result.out


@pytest.mark.filterwarnings("always")
def test_a_warning_is_one_line_without_the_place_in_the_source(
    steadygan: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = warnings.showwarning
    a, b = folder(tmp_path / "a [b]", 101, damaged=1), folder(tmp_path / "b", 12)
    result = steadygan("evaluate", a, b, "--features", "digits")
    assert result.status == 0
    assert result.err == "warning: a [b]: skipped, as they cannot be read (1 of 101): 0.png\n"

    def examine() -> list[object]:
        warnings.warn("two\n  lines", stacklevel=1)
        return []

    monkeypatch.setattr(import_module("steadygan.cli.doctor"), "examine", examine)
    assert steadygan("doctor").err == "warning: two lines\n"
    assert warnings.showwarning is before, "for those who use the library nothing changes"


@pytest.mark.filterwarnings("always")
@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", "damaged", "sound", "--features", "digits"],
        ["evaluate", "RUN", "--protocol", "test", "--reals", "damaged"],
        ["curve", "RUN", "--protocol", "test", "--reals", "damaged", "--truncation", "off", "--out", "curve.csv"],
        ["data", "pack", "damaged", "out.zip", "--size", "16"],
    ],
    ids=" ".join,
)
def test_too_many_unreadable_images_pass_by_the_option_that_the_error_names(
    steadygan: Run, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setitem(PROTOCOLS, "test", Protocol("test", extractor="digits", num_fake=20, split="test"))
    folder(tmp_path / "damaged", 12, damaged=1)
    folder(tmp_path / "sound", 12)
    arguments = [argument.replace("RUN", str(trained)) for argument in arguments]
    refused = steadygan(*arguments)
    assert refused.status == 2
    assert "1 of 12 (under 1 % are skipped; to change that, give --max-unreadable" in refused.err
    passed = steadygan(*arguments, "--max-unreadable", "0.1")
    assert passed.status == 0
    assert re.search(r"^(warning: damaged: skipped, .*|skipped )0\.png", passed.err, re.MULTILINE)


@pytest.mark.parametrize("form", ["table", "markdown", "csv"])
def test_compare_prints_every_quantity_in_full_and_draws(steadygan: Run, trained: Path, form: str) -> None:
    result = steadygan("compare", trained, trained, "--format", form, "--out", "curves.png")
    assert result.status == 0
    for name in ("step", "images_per_s", "FD-digits", "class_agreement"):
        assert name in result.out
    assert "first" in result.out
    assert png_size("curves.png")[0] > 100


def test_presets_are_listed_with_their_table_row(steadygan: Run) -> None:
    result = steadygan("presets")
    assert result.status == 0
    (row,) = [line for line in result.out.splitlines() if line.split()[:1] == ["cifar10-sngan"]]
    assert "17.50" in row
    assert "Table 2" in row


def test_presets_are_listed_by_a_word_in_their_row(steadygan: Run) -> None:
    result = steadygan("presets", "FFHQ-256")
    assert result.status == 0
    names = [line.split()[0] for line in result.out.splitlines() if line.startswith("  ")]
    by_size = [name for name in names if name.removeprefix("ffhq256-stylegan2-")[0].isdigit()]
    assert by_size == [f"ffhq256-stylegan2-{size}" for size in ("1k", "5k", "10k", "30k", "70k")]
    assert all(name.startswith("ffhq256") for name in names)
    assert f"{len(names)} presets" in result.out


def test_a_preset_prints_as_it_can_be_run(steadygan: Run) -> None:
    result = steadygan("presets", "digits-cr")
    assert (result.status, result.err) == (0, "")
    Path("mine.yaml").write_text(result.out)
    assert steadygan("train", "mine.yaml", *TINY, "--dry-run").status == 0


def test_data_info_in_json_fails_on_what_cannot_be_read(steadygan: Run, tmp_path: Path) -> None:
    result = steadygan("data", "info", "digits", "--json")
    assert result.status == 0
    assert json.loads(result.out)["count"] == 1797
    result = steadygan("data", "info", "--json", folder(tmp_path / "images", 10, classes=2, damaged=1))
    assert result.status == 1
    found = json.load(io.StringIO(result.out))
    assert found["classes"] == {"class0": 5, "class1": 5}
    assert list(found["unreadable"]) == ["class0/0.png"]


def test_doctor_looks_at_the_machine(steadygan: Run) -> None:
    result = steadygan("doctor")
    assert result.status == 0
    for subject in ("torch", "memory", "disk", "bfloat16", "C compiler"):
        assert subject in result.out


@pytest.mark.parametrize("group", [[], ["data"]])
def test_a_list_of_commands_shows_whole_summaries(
    steadygan: Run, monkeypatch: pytest.MonkeyPatch, group: list[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    _, _, shown = steadygan(*group, "--help").out.partition("Commands:")
    assert len(shown.splitlines()) > 3
    assert "..." not in shown


def test_help_names_every_command(steadygan: Run) -> None:
    result = steadygan("--help")
    assert result.status == 0
    named = [command.name or command.callback.__name__ for command in app.registered_commands if command.callback]
    named += [str(group.name) for group in app.registered_groups]
    assert len(named) >= 18
    for name in named:
        assert re.search(rf"^ +{name} ", result.out, re.MULTILINE), name


def test_a_terminal_that_shows_ascii_only_ends_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.BytesIO()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, encoding="ascii"))
    assert command("train", "digits", *TINY) == 0
    sys.stdout.flush()
    assert b"1?16?16" in shown.getvalue()


def test_a_terminal_that_was_closed_ends_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(text: str, **_: object) -> None:
        if text.startswith("step "):
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("steadygan.cli.training.typer.echo", closed)
    assert command("train", "digits", *TINY) == 0
    assert (tmp_path / "runs/digits/checkpoints/step-00000002").is_dir()


def test_a_pack_that_is_stopped_leaves_nothing_half_written(
    steadygan: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder(tmp_path / "images", 4)
    monkeypatch.setattr("steadygan.files._sync", lambda path: signal.raise_signal(signal.SIGTERM))
    assert steadygan("data", "pack", "images", "out.zip", "--size", "16").status == 128 + signal.SIGTERM
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images"]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
