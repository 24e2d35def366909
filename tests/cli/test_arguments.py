"""Invalid arguments of every command, and the options that all commands have."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import Run

from steadygan import __version__
from steadygan.cli.terminal import plain, print_scores, show_warning
from steadygan.estimate import Cost


def test_the_version(steadygan: Run) -> None:
    assert steadygan("--version") == (0, f"steadygan {__version__}\n", "")


@pytest.mark.parametrize("arguments", [["-h"], ["sample", "-h"], ["data", "pack", "-h"]])
def test_help_has_a_short_name(steadygan: Run, arguments: list[str]) -> None:
    result = steadygan(*arguments)
    assert result.status == 0
    assert "Usage: steadygan" in result.out


@pytest.mark.parametrize(
    "arguments",
    [
        ["sample", ""],
        ["train", "digits", "--out", ""],
        ["train", "digits", "--out="],
        ["data", "info", ""],
        ["stop", ""],
    ],
)
def test_an_empty_argument_does_not_stand_for_the_current_directory(
    steadygan: Run, tmp_path: Path, arguments: list[str]
) -> None:
    result = steadygan(*arguments)
    assert result.status == 2
    assert "is empty: is it a variable that is not set?" in result.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["name=../../x"], "name: must be a folder name below runs/"),
        (["name=."], "name: must be a folder name below runs/"),
        (["train.seed=99999999999999999999999"], "train.seed: must be below"),
        (["train.hours=1e400"], "train.hours: must be a finite number"),
        (["data.size=99999"], "data.size: must be at most 4096"),
        (["train.accumulate=7"], "train: accumulate must divide batch_size (16), got 7\n"),
        (["objective.terms.r1=10"], "write objective.terms.r1.OPTION=…"),
        (["model.width=65536"], "networks of 9,020,249,341,954 parameters would take 33,603.0 GiB of memory, and "),
        (["model.critic.width=60000"], "GiB are free: lower model.width, model.latent or data.size"),
        (["data.size=4096"], "the embedded digits of 4096 pixels would take 84.2 GiB of memory, and "),
        (["train.report=TensorBoard"], "train.report: unknown tracker 'TensorBoard'; did you mean 'tensorboard'?"),
    ],
)
def test_a_setting_that_makes_no_sense_is_one_short_line(
    steadygan: Run, monkeypatch: pytest.MonkeyPatch, overrides: list[str], message: str
) -> None:
    monkeypatch.setattr("steadygan.data.free_memory.free_bytes", lambda: 64 << 30)
    result = steadygan("train", "digits", *overrides, "--dry-run")
    assert result.status == 2
    assert message in result.err
    assert len(result.err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("eval.protocol=FID", "eval.protocol: "),
        ("eval.metrics=fid", "unknown metric 'fid'; did you mean 'fd'?"),
        ("eval.protocol=squeezenet-test", "error: "),
    ],
)
def test_a_dry_run_refuses_the_scores_that_training_would(
    steadygan: Run, monkeypatch: pytest.MonkeyPatch, override: str, message: str
) -> None:
    monkeypatch.setattr("steadygan.estimate.estimate_cost", lambda *_: Cost(0, 0, 0, 0, 0))
    monkeypatch.setattr("steadygan.estimate.seconds_per_step", lambda _: 1.0)
    result = steadygan("train", "digits", override, "--dry-run", "data.max_images=32", "model.width=2")
    assert result.status == 2
    assert message in result.err
    assert "time        " in result.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train"], "SOURCE is missing: your images, a preset, a YAML file"),
        (["data", "pack", "digits", "out.zip"], "--size is missing: side of the images, in pixels"),
        (["train", "digits", "--size"], "--size needs a value"),
        (["sample", "x", "--num", "abc"], "--num abc: must be a whole number"),
        (["train", "digits", "--size=64x64"], "--size 64x64: must be a whole number, 1 or more; write --size=64, "),
        (["train", "digits", "--hours", "30m"], "--hours 30m: must be a number, 0.001 or more; write --hours=0.5, "),
        (["train", "digits", "--hours", "-1"], "--hours -1: must be at least 0.001"),
        (["studio", "--port", "x"], "--port x: must be a whole number, from 0 to 65535"),
        (["sample", "x", "--weights", "both"], "--weights both: must be ema or raw"),
        (["data", "pack", "digits", "o.zip", "--size", "8", "--crop", "centre"], "did you mean 'center'?"),
        (["sample", "x", "--sed", "3"], "there is no option --sed; did you mean '--seed'?"),
        (["train", "digits", "--dry_run"], "there is no option --dry_run; did you mean '--dry-run'?"),
        (["train", "digits", "--whatever"], "there is no option --whatever; known: --accept-config, --device, "),
        (["train", "digits", "--data.path=x"], "settings are written without dashes: data.path=x"),
        (["train", "digits", "-data.path=x"], "settings are written without dashes: data.path=x"),
        (["train", "digits", "--batch-size", "8"], "settings are written without dashes: train.batch_size=8"),
        (["plan", "digits", "--lr=1e-4"], "written without dashes: optim.g.lr=1e-4 or optim.d.lr=1e-4"),
        (["smaple", "x"], "there is no command 'smaple'; did you mean 'sample'?"),
        (["data", "inf", "x"], "there is no command 'inf'; did you mean 'info'?"),
        (["help"], "there is no command 'help'; it is `steadygan --help`"),
        (["data", "info", "a", "b"], "unexpected argument 'b'; the arguments are PATH"),
    ],
)
def test_a_command_line_that_cannot_be_read_is_one_line_of_ours(
    steadygan: Run, arguments: list[str], message: str
) -> None:
    result = steadygan(*arguments)
    assert (result.status, result.out) == (2, "")
    assert result.err.startswith("error: ")
    assert message in result.err
    assert len(result.err.splitlines()) == 1
    assert "--help` tells more)" in result.err


def test_a_group_without_a_command_shows_its_help(steadygan: Run) -> None:
    result = steadygan("data")
    assert result.status == 2
    assert "Usage: steadygan data" in result.err + result.out


def test_a_long_seed_is_not_rounded(steadygan: Run) -> None:
    from steadygan import config as configuration

    assert configuration.load("digits", [f"train.seed={2**63 - 1}"]).train.seed == 2**63 - 1


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert plain("a\x1b[31mred\r.png\n") == "a\\x1b[31mred\\r.png\n"


def test_a_warning_that_comes_twice_is_shown_once(capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("the images are dark", "the images are dark", "something else"):
        show_warning(text, UserWarning, "file.py", 1)
    assert capsys.readouterr().err == "warning: the images are dark\nwarning: something else\n"


@pytest.mark.parametrize(("name", "classes", "shown"), [("squeezenet", 0, False), ("squeezenet", 10, True),
                                                        ("studiogan", 0, True)])  # fmt: skip
def test_the_inception_score_is_shown_where_it_says_something(
    capsys: pytest.CaptureFixture[str], name: str, classes: int, shown: bool
) -> None:
    from steadygan.cli.terminal import make_console

    record = {"FD-squeezenet": 3.0, "IS-squeezenet": 2.0, "protocol": {"name": name, "classes": classes}}
    print_scores(make_console(), record)
    assert ("IS-squeezenet" in capsys.readouterr().out) == shown


def test_scores_stay_in_one_line_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    from steadygan.cli.terminal import make_console

    names = [f"a-rather-long-name-{number}" for number in range(20)]
    print_scores(make_console(), {**dict.fromkeys(names, 1.0), "protocol": {"name": "mine"}})
    assert all(name in capsys_line for capsys_line in [capsys.readouterr().out.splitlines()[0]] for name in names)


def test_a_word_that_no_preset_has_is_answered_in_a_line(steadygan: Run) -> None:
    result = steadygan("presets", "nothing-like-this-at-all")
    assert result.status == 2
    assert "no preset has 'nothing-like-this-at-all'" in result.err
    assert len(result.err) < 200
