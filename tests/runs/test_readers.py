"""Readers of a run while its trainer writes, rolls back and writes again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from exporting.made import checkpoint
from helpers import tiny_run

import steadygan
from steadygan.errors import UserError
from steadygan.generators.description import refuse_oversized
from steadygan.runs.checkpoint import read_manifest
from steadygan.runs.following import Follower, Row, read_records

SCORES = [10.0, 2.0, 10.1, 1.5, 9.9, 1.2, 9.8, 1.0]
"""Each rise is a collapse, and brings the checkpoint before it back."""


def follow(path: Path, done: Callable[[], bool]) -> list[Row]:
    """The rows of a file as a reader has them who asks again and again and starts anew when it was rewritten."""
    follower, rows, last = Follower(path), [], False
    while not last:
        last = done()  # a last look once the trainer is through
        restarts = follower.restarts
        new = follower.read()
        rows = new if follower.restarts != restarts else rows + new
        steps = [row["step"] for row in rows if "event" not in row]
        assert steps == sorted(set(steps)), "no step twice, none out of order"
        assert follower.damaged == 0
    return rows


def load(path: Path, done: Callable[[], bool]) -> int:
    """How many times a generator was loaded and made an image, while checkpoints came and went."""
    loaded = 0
    while not done():
        try:
            generator = steadygan.load(path, device="cpu")
        except UserError:
            if loaded:
                raise
            continue  # before the first checkpoint there is none
        assert generator.sample(1).shape == (1, 1, 16, 16)
        loaded += 1
    return loaded


def test_two_readers_see_a_sound_run_while_its_trainer_rolls_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = list(SCORES)
    monkeypatch.setattr(
        "steadygan.tasks.synthesis.Synthesis.scorer",
        lambda *_: lambda _: ({"protocol": {"name": "made up"}}, values.pop(0) if values else 1.0),
    )
    path, ended = tmp_path / "run", threading.Event()
    results: dict[str, object] = {}
    failures: list[BaseException] = []

    def work(name: str, read: Callable[[], object]) -> None:
        try:
            results[name] = read()
        except BaseException as error:
            failures.append(error)

    readers = [
        threading.Thread(target=work, args=("metrics", lambda: follow(path / "metrics.jsonl", ended.is_set))),
        threading.Thread(target=work, args=("scores", lambda: follow(path / "scores.jsonl", ended.is_set))),
        threading.Thread(target=work, args=("loaded", lambda: load(path, ended.is_set))),
    ]
    for reader in readers:
        reader.start()
    try:
        options = tiny_run("train.steps=6", "train.log_every=1", "eval.every=1", "train.keep_checkpoints=1")
        steadygan.train("digits", [*options, "train.collapse=rollback"], out=path)
    finally:
        ended.set()
        for reader in readers:
            reader.join()
    assert not failures
    assert len([row for row in read_records(path / "metrics.jsonl") if row.get("event") == "rollback"]) == 3
    assert results["metrics"] == read_records(path / "metrics.jsonl")
    assert results["scores"] == read_records(path / "scores.jsonl")
    assert results["loaded"] != 0


def test_weights_that_go_while_a_generator_is_loaded_are_named(tmp_path: Path) -> None:
    made = checkpoint("dcgan", tmp_path)
    description = read_manifest(made)["generator"]
    refuse_oversized(made, description)
    (made / "weights.safetensors").unlink()
    with pytest.raises(UserError, match=r"weights\.safetensors: cannot be read: No such file"):
        refuse_oversized(made, description)
