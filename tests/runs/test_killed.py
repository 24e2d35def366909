"""A kill at any file operation loses neither the best checkpoint nor the newest, nor a score."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from steadygan.runs.checkpoint import checkpoint_step, checkpoints, read_manifest
from steadygan.runs.directory import Writer


class Killed(BaseException):
    """Stands for the end of the process: nothing may catch it."""


OPERATIONS = {"open", "os.chmod", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate"}
_left: int | None = None


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    """Ends the process at an operation, and lets it do no further one: it is dead."""
    global _left
    if _left is not None and event in OPERATIONS:
        if _left <= 0:
            raise Killed
        _left -= 1


sys.addaudithook(_watch)


@contextmanager
def killed_at(number: int) -> Iterator[list[bool]]:
    """Within, the process dies at file operation `number` (from 0); the list says whether it got so far."""
    global _left
    dead = [False]
    _left = number
    try:
        yield dead
    except Killed:
        dead[0] = True
    finally:
        _left = None


class Small:
    """The smallest state that a checkpoint can be of."""

    def __init__(self, step: int) -> None:
        self.step = self.images = step

    def weights(self) -> dict[str, Tensor]:
        return {f"{net}.w": torch.full((3,), float(self.step)) for net in ("D", "G", "G_ema")}

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        raise NotImplementedError


def score(step: int) -> dict[str, Any]:
    return {"step": step, "FD-digits": float("nan"), "protocol": {"name": "digits"}}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A run with checkpoint 1, the best, and 2."""
    run = Writer.create(tmp_path / "base", "name: run\n", {"seed": 0})
    run.save(Small(1), {}, keep=1, record=score(1), best=True)
    run.save(Small(2), {}, keep=1, record=score(2))
    run.close()
    return run.path


def better(run: Writer) -> None:
    run.save(Small(3), {}, keep=1, record=score(3), best=True)


def worse(run: Writer) -> None:
    run.save(Small(3), {}, keep=1, record=score(3))


def unscored(run: Writer) -> None:
    run.save(Small(3), {}, keep=1)


def again(run: Writer) -> None:
    run.save(Small(2), {}, keep=1)


def back(run: Writer) -> None:
    run.forget_after(1)


@pytest.mark.parametrize("act", [better, worse, unscored, again, back])
def test_a_kill_at_any_file_operation_loses_nothing(base: Path, act: Callable[[Writer], None]) -> None:
    operation, dead = 0, True
    while dead:
        path = base.with_name(f"killed-at-{operation}")
        shutil.copytree(base, path)
        run = Writer(path)
        run.lock()
        with killed_at(operation) as ended:
            act(run)
        (dead,) = ended
        run.close()
        check(path, act, operation, dead)
        shutil.rmtree(path)
        operation += 1
    assert operation > 10, "operations are seen at all"


def check(path: Path, act: Callable[[Writer], None], operation: int, dead: bool) -> None:
    where = f"killed at operation {operation}"
    run = Writer(path)
    run.lock()
    run.tidy()
    steps = [checkpoint_step(checkpoint) for checkpoint in checkpoints(run.checkpoints)]
    for checkpoint in checkpoints(run.checkpoints):
        assert read_manifest(checkpoint)["step"] == checkpoint_step(checkpoint), where
    newest, best = max(steps), run.best()
    assert best is not None, where
    assert checkpoint_step(best) == (3 if act is better and newest == 3 else 1), where
    assert newest >= (1 if act is back else 2), where
    if not dead:
        assert newest == {back: 1, again: 2}.get(act, 3)
    scored = [row["step"] for row in run.records("scores.jsonl")]
    if act is back:
        assert scored in ([1], [1, 2])
    else:
        assert scored == ([1, 2, 3] if newest == 3 and act in (better, worse) else [1, 2]), where
    assert not [entry for entry in run.checkpoints.iterdir() if entry.name.startswith(".")], where
    run.close()


def test_a_kill_while_a_kill_is_mended_loses_nothing(base: Path) -> None:
    """After the new checkpoint was written and before anything else."""
    run = Writer(base)
    run.lock()
    run.save(Small(3), {}, keep=5, record=score(3), best=True)
    (run.checkpoints / "best").write_text("step-00000001\n")
    (run.path / "scores.jsonl").write_text('{"step": 1}\n{"step": 2}\n{"step"')
    run.close()
    operation, dead = 0, True
    while dead:
        path = base.with_name(f"killed-at-{operation}")
        shutil.copytree(base, path)
        first = Writer(path)
        first.lock()
        with killed_at(operation) as ended:
            first.tidy()
        (dead,) = ended
        first.close()
        check(path, better, operation, dead)
        operation += 1
    assert operation > 5
