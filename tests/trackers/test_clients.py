"""The real trackers, offline: their own readers find the records."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from studio_runs import write_run

from steadygan.errors import UserError
from steadygan.trackers.clients import CLIENTS, check
from steadygan.trackers.reporter import Reporter


def report(run: Path, name: str, at: int | None = None) -> None:
    reporter = Reporter(run, name, CLIENTS[name])
    if at is not None:
        reporter.rewind(at)
    reporter.send()
    reporter.close()


def cut(run: Path, lines: int) -> None:
    """The records after a resume from an earlier checkpoint."""
    kept = (run / "metrics.jsonl").read_text().splitlines(keepends=True)[:lines]
    (run / "metrics.jsonl").write_text("".join(kept))


def add(run: Path, step: int, value: float) -> None:
    with (run / "metrics.jsonl").open("a") as out:
        out.write(json.dumps({"step": step, "D/adversarial": value}) + "\n")


def test_tensorboard_reads_scalars_scores_grids_and_configuration_of_a_resumed_run(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = write_run(tmp_path / "run", steps=4)
    report(run, "tensorboard")
    cut(run, 2)
    add(run, 3, 30.0)
    report(run, "tensorboard", at=2)
    found = EventAccumulator(str(run / "tensorboard")).Reload()
    assert [(one.step, one.value) for one in found.Scalars("D/adversarial")] == [(1, 1.0), (2, 0.5), (3, 30.0)]
    (score,) = [tag for tag in found.Tags()["scalars"] if tag.startswith("scores/FD-digits/digits-")]
    assert [(one.step, one.value) for one in found.Scalars(score)] == [(5, 10.0), (10, 5.0)]
    assert [(one.step, one.width, one.height) for one in found.Images("samples")] == [(5, 32, 22), (10, 32, 22)]
    text = found.Tensors("configuration/text_summary")[0].tensor_proto.string_val[0].decode()
    assert '"kind": "dcgan"' in text


def test_wandb_keeps_a_run_offline_and_knows_it_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = write_run(tmp_path / "run", steps=2)
    report(run, "wandb")
    add(run, 3, 30.0)
    report(run, "wandb")
    identity = json.loads((run / "tracker-wandb.json").read_text())["id"]
    files = sorted((run / "wandb").glob(f"offline-run-*/run-{identity}.wandb"))
    assert len(files) == 2
    # Its own process writes the files, a little after a short run has ended on a busy machine.
    deadline = time.monotonic() + 20
    while any(b"D/adversarial" not in file.read_bytes() for file in files) and time.monotonic() < deadline:
        time.sleep(0.1)
    first, second = (file.read_bytes() for file in files)
    assert b"D/adversarial" in first
    assert b"scores/FD-digits/digits-" in first
    assert b"D/adversarial" in second
    assert b"scores/FD-digits/digits-" not in second
    grids = list((run / "wandb").glob("offline-run-*/files/media/images/samples_*.png"))
    assert len(grids) == 2


def test_trackio_keeps_a_run_and_knows_it_again(tmp_path: Path) -> None:
    pytest.importorskip("trackio", reason="trackio is not installed")
    import subprocess

    run = write_run(tmp_path / "run", steps=2)
    code = f"""
import sys
from pathlib import Path
from steadygan.trackers.clients import CLIENTS
from steadygan.trackers.reporter import Reporter

run = Path({str(run)!r})
for _ in range(2):
    reporter = Reporter(run, "trackio", CLIENTS["trackio"])
    reporter.send()
    reporter.close()
from trackio.sqlite_storage import SQLiteStorage
(name,) = SQLiteStorage.get_runs("steadygan")
rows = SQLiteStorage.get_logs("steadygan", name)
assert [row["step"] for row in rows if "D/adversarial" in row] == [1, 2], rows
assert [row["step"] for row in rows if "samples" in row] == [5, 10], rows
assert any(key.startswith("scores/FD-digits/") for row in rows for key in row), rows
"""
    # Its library decides at its import where it keeps things.
    environment = {"TRACKIO_DIR": str(tmp_path / "trackio"), "HF_HUB_OFFLINE": "1", "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", sorted(CLIENTS))
def test_an_absent_library_is_named_with_its_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steadygan.errors.find_spec", lambda package: None)
    with pytest.raises(
        UserError, match=rf"train.report=\[{name}\] needs {name}: `pip install {name}` .*extra '{name}'"
    ):
        check([name])


def test_wandb_without_a_key_is_refused_before_it_would_ask_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = ModuleType("wandb")
    fake.setup = lambda: SimpleNamespace(settings=SimpleNamespace(mode="online"))  # type: ignore[attr-defined]
    fake.login = lambda *, prompt, verify: False  # type: ignore[attr-defined]
    monkeypatch.setattr("steadygan.errors.find_spec", lambda package: fake)
    monkeypatch.setitem(sys.modules, "wandb", fake)
    with pytest.raises(UserError, match="wandb is not logged in: `wandb login`, or WANDB_MODE=offline"):
        check(["wandb"])
    fake.login = lambda *, prompt, verify: True  # type: ignore[attr-defined]
    check(["wandb"])
