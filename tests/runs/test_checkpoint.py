"""Checkpoints: written atomically, checked before use, and never executed."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import tiny_run
from safetensors.torch import save_file

from steadygan import config as configuration
from steadygan.build import build_state
from steadygan.errors import UserError
from steadygan.files import sha256
from steadygan.generators.generator import Generator
from steadygan.runs import checkpoint as module
from steadygan.runs.checkpoint import (
    MANIFEST,
    STATE,
    WEIGHTS,
    best_checkpoint,
    checkpoints,
    load_checkpoint,
    read_manifest,
    read_weights,
    save_checkpoint,
    use_checkpoint,
)
from steadygan.tasks.choice import build_images, task_of
from steadygan.training.state import TrainState
from steadygan.training.step import train_step

TINY = tiny_run()


def make(*overrides: str) -> tuple[TrainState, dict[str, Any]]:
    config = configuration.load("digits", [*TINY, *overrides])
    images = build_images(config, torch.device("cpu"))
    return build_state(task_of(config), images.train, torch.device("cpu")), task_of(config).describe(images.train)


@pytest.fixture
def saved(tmp_path: Path) -> tuple[TrainState, Path]:
    """A state after one step, and its checkpoint."""
    state, description = make()
    train_step(state)
    return state, save_checkpoint(state, tmp_path / "checkpoints", description, keep=2)


def forge(path: Path, **changes: Any) -> None:
    """Rewrites the manifest so that the digests fit whatever the files now hold."""
    manifest = json.loads((path / MANIFEST).read_text())
    manifest["sha256"] = {name: sha256(path / name) for name in (WEIGHTS, STATE)}
    (path / MANIFEST).write_text(json.dumps(manifest | changes))


def test_a_checkpoint_brings_everything_back(saved: tuple[TrainState, Path]) -> None:
    state, path = saved
    other, _ = make()
    load_checkpoint(other, path)
    for key, value in state.weights().items():
        torch.testing.assert_close(other.weights()[key], value, rtol=0, atol=0)
    assert torch.equal(other.generator.get_state(), state.generator.get_state())
    assert (other.step, other.images, other.counts) == (1, state.images, state.counts)
    assert other.loader.state_dict() == state.loader.state_dict()


@pytest.mark.parametrize("name", [WEIGHTS, STATE])
@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing"])
def test_a_damaged_file_is_named(saved: tuple[TrainState, Path], name: str, damage: str) -> None:
    state, path = saved
    file = path / name
    data = bytearray(file.read_bytes())
    if damage == "missing":
        file.unlink()
    else:
        data[len(data) // 2] ^= 1
        file.write_bytes(data[: len(data) // 2] if damage == "truncated" else data)
    with pytest.raises(UserError, match="the previous one") as caught:
        load_checkpoint(state, path)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"sha256": {}, "format": 1}', '{"sha256": 3}'])
def test_a_damaged_manifest_is_named(saved: tuple[TrainState, Path], text: str) -> None:
    _, path = saved
    (path / MANIFEST).write_text(text)
    with pytest.raises(UserError, match="manifest"):
        read_manifest(path)


def test_another_format_is_refused(saved: tuple[TrainState, Path]) -> None:
    _, path = saved
    forge(path, format=99)
    with pytest.raises(UserError, match="format 99"):
        read_manifest(path)


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "a/b"])
def test_a_manifest_that_points_elsewhere_is_refused(saved: tuple[TrainState, Path], name: str) -> None:
    _, path = saved
    manifest = json.loads((path / MANIFEST).read_text())
    (path / MANIFEST).write_text(json.dumps(manifest | {"sha256": manifest["sha256"] | {name: "0" * 64}}))
    with pytest.raises(UserError, match="manifest doesn't list"):
        read_manifest(path)


class Malicious:
    """Unpickling it makes a directory."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_code_in_a_state_file_is_never_executed(saved: tuple[TrainState, Path], tmp_path: Path, writer: str) -> None:
    state, path = saved
    trace = tmp_path / "executed"
    if writer == "torch":
        torch.save({"step": 1, "extra": Malicious(trace)}, path / STATE)
    else:
        (path / STATE).write_bytes(pickle.dumps(Malicious(trace), protocol=2))
    forge(path)
    with pytest.raises(UserError, match="nothing in it was executed") as caught:
        load_checkpoint(state, path)
    assert not trace.exists()
    assert "weights_only" not in str(caught.value)
    pickle.loads(pickle.dumps(Malicious(trace)))
    assert trace.exists(), "the attack itself must work, or the test proves nothing"


def test_garbage_with_a_right_digest_is_an_error_for_the_user(saved: tuple[TrainState, Path]) -> None:
    state, path = saved
    (path / STATE).write_bytes(b"no zip, no pickle")
    forge(path)
    with pytest.raises(UserError):
        load_checkpoint(state, path)
    (path / WEIGHTS).write_bytes(b"no safetensors")
    forge(path)
    with pytest.raises(UserError, match="safetensors"):
        read_weights(path)


def test_a_checkpoint_of_other_networks_does_not_fit(saved: tuple[TrainState, Path]) -> None:
    other, _ = make("model.width=4")
    with pytest.raises(UserError, match="does not fit this run"):
        load_checkpoint(other, saved[1])


def test_old_checkpoints_go_and_the_best_stays(tmp_path: Path) -> None:
    state, description = make()
    for step in range(1, 6):
        state.step = step
        path = save_checkpoint(state, tmp_path, description, keep=2)
        if step == 2:
            (tmp_path / "best").write_text(path.name + "\n")
    assert [path.name for path in checkpoints(tmp_path)] == ["step-00000002", "step-00000004", "step-00000005"]
    best = best_checkpoint(tmp_path)
    assert best is not None
    assert best.name == "step-00000002"


def test_a_copy_under_another_name_is_neither_counted_nor_removed(tmp_path: Path) -> None:
    state, description = make()
    mine = tmp_path / "step-00000001-backup"
    mine.mkdir()
    for step in (1, 2):
        state.step = step
        save_checkpoint(state, tmp_path, description, keep=1)
    assert [path.name for path in checkpoints(tmp_path)] == ["step-00000002"]
    assert mine.is_dir()


@pytest.mark.parametrize("pointer", [b"", b"..", b"../elsewhere", b"step-00000009", b"\xff\xfe"], ids=repr)
def test_a_damaged_pointer_to_the_best_is_no_checkpoint(saved: tuple[TrainState, Path], pointer: bytes) -> None:
    root = saved[1].parent
    (root.parent / "elsewhere").mkdir()
    (root / "best").write_bytes(pointer)
    assert best_checkpoint(root) is None


def assert_only_the_first_is_there(path: Path) -> None:
    assert [entry.name for entry in path.parent.iterdir()] == ["step-00000001"]
    fresh, _ = make()
    load_checkpoint(fresh, path)
    assert fresh.step == 1


@pytest.mark.parametrize("where", ["torch.save", "os.fsync", "steadygan.runs.checkpoint.save_file"])
def test_a_full_disk_leaves_the_checkpoint_before(
    saved: tuple[TrainState, Path], where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    state, path = saved
    state.step = 2
    with monkeypatch.context() as patch:
        patch.setattr(where, full)
        with pytest.raises(UserError, match=r"step-00000002: cannot be written: No space left on device"):
            save_checkpoint(state, path.parent, {}, keep=1)
    assert_only_the_first_is_there(path)


@pytest.mark.parametrize("writer", ["save_file", "torch.save"])
def test_a_write_the_system_refuses_is_an_error_for_the_user(
    saved: tuple[TrainState, Path], writer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a real limit on file sizes, for safetensors and torch have exceptions of their own."""
    resource = pytest.importorskip("resource")
    state, path = saved
    state.step = 2
    if writer == "torch.save":
        monkeypatch.setattr(module, "save_file", lambda tensors, file: file.write_bytes(b""))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(UserError, match=r"step-00000002: cannot be written: File too large"):
            save_checkpoint(state, path.parent, {}, keep=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert_only_the_first_is_there(path)


class Killed(BaseException):
    """Stands for the end of the process: nothing may catch it."""


@pytest.mark.parametrize("moment", ["torch.save", "steadygan.runs.checkpoint.sha256", "steadygan.files._sync"])
def test_dying_between_two_files_shows_no_half_checkpoint(
    saved: tuple[TrainState, Path], moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*args: Any, **options: Any) -> None:
        raise Killed

    state, path = saved
    state.step = 2
    monkeypatch.setattr(moment, die)
    # A killed process doesn't clean up either.
    monkeypatch.setattr("shutil.rmtree", lambda *args, **options: None)
    with pytest.raises(Killed):
        save_checkpoint(state, path.parent, {}, keep=1)
    assert len(list(path.parent.iterdir())) == 2
    assert checkpoints(path.parent) == [path]
    monkeypatch.undo()
    load_checkpoint(state, path)
    assert state.step == 1


def test_the_same_step_can_be_saved_again(saved: tuple[TrainState, Path]) -> None:
    state, path = saved
    with torch.no_grad():
        next(state.nets["D"].parameters()).zero_()
    again = save_checkpoint(state, path.parent, {"kind": "dcgan"}, keep=2)
    assert again == path
    assert_only_the_first_is_there(path)
    assert read_manifest(path)["generator"] == {"kind": "dcgan"}


def test_files_have_the_permissions_that_the_umask_leaves(saved: tuple[TrainState, Path]) -> None:
    state, path = saved
    before = os.umask(0o027)
    try:
        save_checkpoint(state, path.parent, {}, keep=2)
    finally:
        os.umask(before)
    modes = {file.name: file.stat().st_mode & 0o777 for file in path.iterdir()}
    assert modes == {WEIGHTS: 0o640, STATE: 0o640, MANIFEST: 0o640}
    assert path.stat().st_mode & 0o777 == 0o750


def test_a_generator_is_read_without_state_and_without_critic(saved: tuple[TrainState, Path]) -> None:
    _, path = saved
    whole = Generator(path, torch.device("cpu")).sample(2, seed=1)
    (path / STATE).unlink()
    own = {name: tensor for name, tensor in read_weights(path).items() if name.startswith("G_ema.")}
    save_file(own, path / WEIGHTS)
    assert torch.equal(Generator(path, torch.device("cpu")).sample(2, seed=1), whole)
    with pytest.raises(UserError, match="SHA-256 of its network G "):
        Generator(path, torch.device("cpu"), "raw")


def test_a_generator_with_another_networks_numbers_is_refused(saved: tuple[TrainState, Path]) -> None:
    _, path = saved
    weights = read_weights(path)
    name = next(name for name in weights if name.startswith("G_ema.") and weights[name].dim() > 1)
    weights[name] += 1
    save_file(weights, path / WEIGHTS)
    with pytest.raises(UserError, match="SHA-256 of its network G_ema"):
        Generator(path, torch.device("cpu"))


def test_only_the_tensors_asked_for_are_read(saved: tuple[TrainState, Path]) -> None:
    _, path = saved
    assert {name.partition(".")[0] for name in read_weights(path, ("G_ema",))} == {"G_ema"}
    assert {name.partition(".")[0] for name in read_weights(path)} == {"D", "G", "G_ema"}


def test_a_reader_whose_checkpoint_disappears_takes_the_newest(saved: tuple[TrainState, Path]) -> None:
    state, path = saved
    run, seen = path.parent.parent, []

    def read(checkpoint: Path) -> int:
        seen.append(checkpoint.name)
        if len(seen) == 1:
            state.step = 2
            save_checkpoint(state, path.parent, {}, keep=1)
        return int(read_manifest(checkpoint)["step"])

    assert use_checkpoint(run, read) == 2
    assert seen == ["step-00000001", "step-00000002"]


def test_weights_deleted_while_they_are_opened_are_an_error_for_the_user(
    saved: tuple[TrainState, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, path = saved
    mapped = torch.UntypedStorage.from_file

    def deleted_first(name: str, *args: Any, **options: Any) -> torch.UntypedStorage:
        Path(name).unlink()
        return mapped(name, *args, **options)

    monkeypatch.setattr(torch.UntypedStorage, "from_file", deleted_first)
    with pytest.raises(UserError, match="not a readable safetensors file"):
        read_weights(path)


def test_a_damaged_checkpoint_is_an_error_not_a_reason_to_take_another(saved: tuple[TrainState, Path]) -> None:
    _, path = saved
    (path / STATE).write_bytes(b"damaged")
    with pytest.raises(UserError, match="changed since it was written"):
        use_checkpoint(path.parent.parent, read_manifest)


@pytest.mark.parametrize("step", [None, -1, 1.5, "1", True, float("inf")])
def test_an_odd_step_in_a_manifest_is_named(saved: tuple[TrainState, Path], step: Any) -> None:
    _, path = saved
    forge(path, step=step)
    with pytest.raises(UserError, match="its step is"):
        Generator(path, torch.device("cpu"))


def test_weights_of_another_type_do_not_fit(saved: tuple[TrainState, Path]) -> None:
    state, path = saved
    weights = read_weights(path)
    name = next(name for name in weights if name.startswith("G.") and weights[name].is_floating_point())
    weights[name] = weights[name].double()
    save_file(weights, path / WEIGHTS)
    forge(path)
    with pytest.raises(UserError, match="float64"):
        load_checkpoint(state, path)
