"""The loop: events between steps, and failures."""

from __future__ import annotations

import json
import multiprocessing
import os
import runpy
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import tiny_run

import steadygan
from steadygan.errors import UserError
from steadygan.metrics.protocol import PROTOCOLS, Protocol
from steadygan.runs.checkpoint import checkpoints, load_checkpoint, read_manifest
from steadygan.runs.requests import FILE, Attention, ask
from steadygan.training.loop import Progress, interruptible
from steadygan.training.state import TrainState

TINY = tiny_run("train.log_every=1")
COLOURED = ["data.channels=3"]


def rows(path: Path, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / name).read_text().splitlines()]


def test_metrics_hold_every_term_by_name_and_the_critic_on_seen_and_unseen_images(tmp_path: Path) -> None:
    steadygan.train("digits", [*TINY, *COLOURED, "train.steps=2"], out=tmp_path / "run")
    row = rows(tmp_path / "run")[-1]
    assert {"step", "images", "seconds", "images_per_s", "skipped"} <= row.keys()
    assert {"D/adversarial", "D/bcr_real", "G/adversarial", "D/grad_norm"} <= row.keys()
    assert all(0 <= row[f"D_accuracy_{part}"] <= 1 for part in ("train", "heldout"))


def test_small_values_keep_their_digits(tmp_path: Path) -> None:
    """zCR's image distance is around 1e-6 at first."""
    steadygan.train(
        "digits", [*TINY, *COLOURED, "train.steps=1", "objective.terms.zcr.sigma=1e-4"], out=tmp_path / "run"
    )
    value = rows(tmp_path / "run")[0]["G/zcr_gen"]
    assert -1e-6 < value < 0


def test_the_best_checkpoint_stays_while_newer_ones_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    costs = iter([3.0, 1.0, 2.0, 2.5, 4.0])
    made_up = {"protocol": {"name": "made up"}}
    monkeypatch.setattr("steadygan.tasks.synthesis.Synthesis.scorer", lambda *_: lambda state: (made_up, next(costs)))
    options = ["train.steps=5", "eval.every=1", "train.keep_checkpoints=1"]
    steadygan.train("digits", [*TINY, *options], out=tmp_path / "run")
    assert [path.name for path in checkpoints(tmp_path / "run/checkpoints")] == ["step-00000002", "step-00000005"]
    assert (tmp_path / "run/checkpoints/best").read_text() == "step-00000002\n"
    assert steadygan.load(tmp_path / "run").step == 2


def test_a_score_that_fails_costs_no_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise UserError("the score failed")

    monkeypatch.setattr("steadygan.tasks.synthesis.Synthesis.scorer", lambda *_: fail)
    with pytest.raises(UserError, match="the score failed"):
        steadygan.train("digits", [*TINY, "train.steps=3"], out=tmp_path / "run")
    assert read_manifest(tmp_path / "run/checkpoints/step-00000003")["step"] == 3


def test_a_protocol_for_other_classes_is_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    for index in range(20):
        folder = tmp_path / "images" / "ab"[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("L", (16, 16), 10 * index).save(folder / f"{index}.png")
    options = [*TINY, f"data.path={tmp_path / 'images'}", "train.steps=1"]
    with pytest.raises(UserError, match=r"eval\.protocol=digits has 10 classes"):
        steadygan.train("digits", [*options, "eval.protocol=digits"], out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    monkeypatch.setitem(PROTOCOLS, "digits", Protocol("digits", extractor="digits", num_fake=20))
    scored = steadygan.train("digits", options, out=tmp_path / "run")
    assert scored.finished
    assert "class_agreement" not in scored.scores


TERM = """
import torch
from steadygan.objective.registry import Gen, Term

def brightness(game, *, weight: float = 1.0, after: int = 10**9):
    '''Penalises a difference in brightness of fakes and reals; NaN from phase number `after`.'''
    phases = iter(range(10**9))
    def loss(b):
        broken = next(phases) >= after
        return (b[game.fake].mean() - 0.25).square() * (float("nan") if broken else 1.0)
    return (Term("brightness", "G", loss, views=(game.fake,), weight=weight),)
"""


@pytest.fixture
def third_party(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a term in a module outside the package."""
    name = f"theirs_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(TERM)
    monkeypatch.syspath_prepend(tmp_path)
    return f"{name}:brightness"


def test_a_third_partys_term_trains_from_a_yaml_file(third_party: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"extends: digits\nobjective:\n  terms:\n    {third_party}: {{weight: 2}}\n")
    path = steadygan.train(file, [*TINY, *COLOURED, "train.steps=2"], out=tmp_path / "run").path
    assert all(row["G/brightness"] > 0 for row in rows(path))
    resolved = (path / "config.yaml").read_text()
    assert third_party in resolved
    assert "after: 1000000000" in resolved


def test_an_option_of_a_third_partys_term_can_be_set_on_the_command_line(third_party: str, tmp_path: Path) -> None:
    overrides = [*TINY, *COLOURED, "train.steps=1", f"objective.terms.{third_party}.weight=0.5"]
    path = steadygan.train("digits", overrides, out=tmp_path / "run").path
    assert "G/brightness" in rows(path)[0]


def test_a_term_that_turns_nan_is_skipped_then_rolled_back_then_reported(
    third_party: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollbacks: list[str] = []

    def noted(state: TrainState, path: Path) -> None:
        rollbacks.append(path.name)
        load_checkpoint(state, path)

    monkeypatch.setattr("steadygan.training.recovery.load_checkpoint", noted)
    options = [f"objective.terms.{third_party}.after=12", "train.phases=[D, D, G]"]
    options += ["train.checkpoint_every=10", "train.steps=100", "train.sample_every=100"]
    with pytest.raises(UserError, match=r"training diverged at step 20: no longer finite is G/brightness") as caught:
        steadygan.train("digits", [*TINY, *COLOURED, *options], out=tmp_path / "run")
    assert "3 rollbacks did not help" in str(caught.value)
    assert rollbacks == ["step-00000010"] * 3
    last = rows(tmp_path / "run")[-1]
    assert last["skipped"] > 30, "what was skipped before a rollback stays counted"
    assert last["G/brightness"] is None
    assert read_manifest(tmp_path / "run/checkpoints/step-00000010")["step"] == 10
    assert steadygan.load(tmp_path / "run").sample(1).shape == (1, 3, 16, 16)


def test_nan_before_the_first_checkpoint_ends_the_run_with_a_reason(third_party: str, tmp_path: Path) -> None:
    options = [f"objective.terms.{third_party}.after=0", "train.steps=100", "train.sample_every=100"]
    with pytest.raises(UserError, match="training diverged at step 10"):
        steadygan.train("digits", [*TINY, *COLOURED, *options], out=tmp_path / "run")


def test_a_signal_raises_the_flag_once_and_the_handlers_come_back() -> None:
    # Whoever starts the tests in the background may have SIGINT ignored.
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with interruptible() as flag:
            assert not flag
            signal.raise_signal(signal.SIGINT)
            assert flag
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, inherited)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")
def test_a_closed_terminal_ends_a_run_at_a_step_boundary_unless_nohup_says_otherwise() -> None:
    inherited = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        with interruptible() as flag:
            signal.raise_signal(signal.SIGHUP)
            signal.raise_signal(signal.SIGHUP)  # some terminals send two
            assert flag
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with interruptible() as flag:
            signal.raise_signal(signal.SIGHUP)
            assert not flag
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, inherited)


def test_a_grid_that_cannot_be_written_and_deleted_samples_end_no_training(tmp_path: Path) -> None:
    run, notices = tmp_path / "run", []

    def spoil(now: Any) -> None:
        notices.append(now.notice)
        if now.step == 1:
            shutil.rmtree(run / "samples")
        elif now.step == 2:
            (run / "samples/step-00000003.png").mkdir()

    overrides = [*TINY, *COLOURED, "train.steps=3", "train.sample_every=1"]
    assert steadygan.train("digits", overrides, out=run, on_step=spoil).finished
    assert (run / "samples/step-00000002.png").is_file()
    assert "step-00000003.png: cannot be written" in notices[2]
    assert checkpoints(run / "checkpoints")[-1].name == "step-00000003"


def test_a_log_that_cannot_be_written_ends_the_run_with_a_checkpoint_of_its_last_step(tmp_path: Path) -> None:
    run = tmp_path / "run"

    def spoil(now: Any) -> None:
        if now.step == 2:
            (run / "metrics.jsonl").rename(run / "before")
            (run / "metrics.jsonl").mkdir()

    with pytest.raises(UserError, match=r"metrics\.jsonl: cannot be written: Is a directory"):
        steadygan.train("digits", [*TINY, *COLOURED, "train.steps=5"], out=run, on_step=spoil)
    assert checkpoints(run / "checkpoints")[-1].name == "step-00000003"
    (run / "metrics.jsonl").rmdir()
    (run / "before").rename(run / "metrics.jsonl")
    assert steadygan.train(run, resume=True).finished


def test_a_run_stopped_before_its_first_checkpoint_starts_again_both_ways(tmp_path: Path) -> None:
    overrides = [*TINY, *COLOURED, "train.steps=2"]

    def crash(now: Any) -> None:
        raise ZeroDivisionError

    for name, again in (
        ("same", {"source": "digits", "overrides": overrides, "out": tmp_path / "same"}),
        ("resumed", {"source": tmp_path / "resumed", "resume": True}),
    ):
        with pytest.raises(ZeroDivisionError):
            steadygan.train("digits", overrides, out=tmp_path / name, on_step=crash)
        assert not checkpoints(tmp_path / name / "checkpoints")
        result = steadygan.train(**again)  # type: ignore[arg-type]
        assert result.finished
        assert [row["step"] for row in rows(tmp_path / name)] == [1, 2]


def test_a_runs_name_without_resume_says_so(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("name: run\n")
    with pytest.raises(UserError, match="is a run directory: to train it further add --resume"):
        steadygan.train(tmp_path)


def test_an_edited_configuration_is_resumed_only_when_asked_for_and_leaves_a_trace(tmp_path: Path) -> None:
    run = steadygan.train("digits", [*TINY, *COLOURED, "train.steps=1"], out=tmp_path / "run").path
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("  steps: 1\n", "  steps: 2\n"))
    with pytest.raises(UserError, match=r"train\.steps is 2, was 1"):
        steadygan.train(run, resume=True)
    assert steadygan.train(run, resume=True, accept_config=True).finished
    assert steadygan.train(run, ["train.steps=3"], resume=True).finished
    resumes = json.loads((run / "provenance.json").read_text())["resumes"]
    assert [entry["changed"] for entry in resumes] == [{"train.steps": [1, 2]}, {"train.steps": [2, 3]}]
    assert [entry["step"] for entry in resumes] == [1, 2]


def test_outside_the_main_thread_the_flag_stays_down() -> None:
    seen: list[bool] = []

    def body() -> None:
        with interruptible() as flag:
            seen.append(bool(flag))

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert seen == [False]


def test_an_interruption_on_a_checkpoint_does_not_write_it_again(tmp_path: Path) -> None:
    stamps = []

    def stop(now: Any) -> None:
        stamps.append((tmp_path / "run/checkpoints/step-00000001").stat().st_ino)
        signal.raise_signal(signal.SIGTERM)

    overrides = [*TINY, *COLOURED, "train.steps=9", "train.checkpoint_every=1"]
    result = steadygan.train("digits", overrides, out=tmp_path / "run", on_step=stop)
    assert not result.finished
    assert [(tmp_path / "run/checkpoints/step-00000001").stat().st_ino] == stamps
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


# Each process is forked from one that has imported torch and done nothing else, which saves importing it again.
FRESH = multiprocessing.get_context("forkserver")
FRESH.set_forkserver_preload(["torch._dynamo", "steadygan.run"])


@contextmanager
def running(path: Path, monkeypatch: pytest.MonkeyPatch, *overrides: str) -> Iterator[Any]:
    """A process with `python -m steadygan train digits …`, ended with the block."""
    command = ["steadygan", "train", "digits", "--out", str(path), *TINY, *COLOURED, "train.steps=1000000", *overrides]
    monkeypatch.setattr(sys, "argv", command)  # which a new process takes over
    process = FRESH.Process(target=runpy.run_module, args=("steadygan",), kwargs={"run_name": "__main__"})
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def wait_for(process: Any, pattern: Path, count: int) -> None:
    """Until `count` files match `pattern`, while the process lives."""
    limit = time.monotonic() + 120
    while len(list(pattern.parent.glob(pattern.name))) < count:
        process.join(0.05)
        assert process.exitcode is None
        assert time.monotonic() < limit


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_signal_leaves_a_checkpoint_to_go_on_from(
    tmp_path: Path, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run"
    with running(path, monkeypatch, "train.checkpoint_every=1000000") as process:
        wait_for(process, path / "metrics.jsonl", 1)
        os.kill(process.pid, number)
        process.join(60)
        assert process.exitcode == 130
    (checkpoint,) = checkpoints(path / "checkpoints")
    step = read_manifest(checkpoint)["step"]
    assert rows(path)[-1]["step"] == step
    result = steadygan.train(path, [f"train.steps={step + 2}"], resume=True)
    assert result.finished
    assert [row["step"] for row in rows(path)] == list(range(1, step + 3))


def test_kill_9_leaves_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run"
    with running(path, monkeypatch, "train.checkpoint_every=1", "train.keep_checkpoints=3") as process:
        wait_for(process, path / "checkpoints/step-*", 3)
        with pytest.raises(UserError, match="another process is training"):
            steadygan.train(path, ["train.steps=1"], resume=True)
    assert process.exitcode == -signal.SIGKILL
    newest = checkpoints(path / "checkpoints")[-1]
    step = read_manifest(newest)["step"]
    assert steadygan.load(path).sample(1).dtype == torch.uint8
    result = steadygan.train(path, [f"train.steps={step + 1}", "train.keep_checkpoints=1"], resume=True)
    assert result.finished
    assert [row["step"] for row in rows(path)] == list(range(1, step + 2))
    assert [entry.name for entry in checkpoints(path / "checkpoints")] == [f"step-{step + 1:08d}"]


def test_a_request_to_stop_leaves_a_checkpoint_to_resume_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steadygan.training.loop.Attention", partial(Attention, interval=0))

    def at_step_two(now: Progress) -> None:
        if now.step == 2:
            ask(tmp_path / "run", "stop")

    run = steadygan.train("digits", [*TINY, *COLOURED, "train.steps=4"], out=tmp_path / "run", on_step=at_step_two)
    assert not run.finished
    assert [path.name for path in checkpoints(tmp_path / "run/checkpoints")] == ["step-00000002"]
    assert not (tmp_path / "run" / FILE).exists()
    assert steadygan.train(tmp_path / "run", resume=True).finished


def test_a_paused_run_is_the_run_that_never_paused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steadygan.training.loop.Attention", partial(Attention, interval=0))
    turns = 0

    def sleep(seconds: float) -> None:
        nonlocal turns
        turns += 1
        if turns == 3:
            ask(tmp_path / "paused", "resume")

    def at_step_two(now: Progress) -> None:
        if now.step == 2:
            monkeypatch.setattr("steadygan.runs.requests.time.sleep", sleep)
            ask(tmp_path / "paused", "pause")

    options = [*TINY, *COLOURED, "train.steps=4"]
    assert steadygan.train("digits", options, out=tmp_path / "paused", on_step=at_step_two).finished
    assert turns == 3
    steadygan.train("digits", options, out=tmp_path / "straight")
    digests = [
        read_manifest(checkpoints(tmp_path / name / "checkpoints")[-1])["sha256"] for name in ("paused", "straight")
    ]
    assert digests[0]["weights.safetensors"] == digests[1]["weights.safetensors"]
