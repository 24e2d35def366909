"""A run's data from its directory."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from studio_runs import PROTOCOL, write_run

from steadygan.pictures.stamp import Stamp, saving
from steadygan.studio.catalogue import Catalogue
from steadygan.studio.run import SILENCE, RunFiles
from steadygan.studio.scores import headline


@pytest.fixture
def run(tmp_path: Path) -> RunFiles:
    return RunFiles("id", "first", write_run(tmp_path / "first"))


def status(run: RunFiles, **fields: Any) -> None:
    known = {"schema": 1, "message": "", "pid": os.getpid(), "host": socket.gethostname(), "heartbeat": time.time()}
    (run.path / "status.json").write_text(json.dumps({**known, **fields}))


@pytest.mark.parametrize("state", ["starting", "running", "paused", "finished", "stopped", "collapsed", "failed"])
def test_a_run_says_its_own_state(run: RunFiles, state: str) -> None:
    status(run, state=state, message="in words")
    assert run.state() == {"state": state, "message": "in words"}


@pytest.mark.parametrize("sign", ["silent", "killed"])
def test_a_run_that_was_killed_has_lost_contact(run: RunFiles, sign: str) -> None:
    silent: dict[str, Any] = {"heartbeat": time.time() - 2 * SILENCE, "host": "elsewhere"}
    fields = silent if sign == "silent" else {"pid": 2**22 + 1}
    status(run, state="running", **fields)
    assert run.state()["state"] == "lost"
    status(run, state="finished", **fields)
    assert run.state()["state"] == "finished"


def test_an_older_run_without_a_status_is_judged_by_its_records(run: RunFiles) -> None:
    os.utime(run.path / "metrics.jsonl", (1, 1))
    assert run.state()["state"] == "stopped"
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 10, "event": "collapse", "symptom": "all alike"}\n')
    assert run.state() == {"state": "collapsed", "message": "all alike"}
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 100, "images": 800}\n')
    assert run.state()["state"] == "finished"


def test_a_summary_tells_how_far_a_run_is(run: RunFiles) -> None:
    found = run.summary()
    assert (found["step"], found["steps"], found["images_per_s"]) == (10, 100, 40.0)
    assert found["seconds_left"] == pytest.approx(90 * 8 / 40)
    assert found["score"] == {"name": "FD-digits", "points": [(5, 10.0), (10, 5.0)], "count": 2, "cost": 5.0}
    assert found["progress"] == 0.1
    assert found["sheet"]["step"] == 10
    assert found["objective"] == "dcgan 8², by class · hinge + bCR"


def test_a_run_that_was_given_hours_is_as_far_as_its_time(run: RunFiles) -> None:
    config = run.path / "config.yaml"
    config.write_text(config.read_text().replace("steps: 100", "hours: 0.5, steps: 100000000"))
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 20, "images": 160, "images_per_s": 40, "spent": 1350}\n')
    found = run.summary()
    assert (found["steps"], found["hours"], found["progress"], found["seconds_left"]) == (None, 0.5, 0.75, 450)
    assert found["seconds_a_step"] == pytest.approx(8 / 40)
    status(run, state="finished")
    assert run.summary()["progress"] == 1.0


def test_a_sheet_that_joins_in_the_same_moment_is_found(run: RunFiles) -> None:
    folder, now = run.path / "samples", time.time()
    os.utime(folder, (now, now))
    assert list(run.sheets) == [5, 10]
    (folder / "step-00000015.png").touch()
    os.utime(folder, (now, now))
    assert list(run.sheets) == [5, 10, 15]


def test_the_headline_is_a_score_of_one_protocol() -> None:
    usual = [{"step": s, "KD-x_std": 9.0, "FD-x": 90.0 / s, "protocol": PROTOCOL} for s in (10, 20)]
    longer = {"step": 20, "FD-x": 1.5, "protocol": {**PROTOCOL, "num_fake": 50_000}}
    assert headline([*usual, longer]) == {"name": "FD-x", "points": [(10, 9.0), (20, 4.5)], "count": 2, "cost": 4.5}
    health = {"step": 30, "copies": 0.0, "protocol": {"name": "health"}}
    assert headline([usual[0], health]) == {"name": "FD-x", "points": [(10, 9.0)], "count": 1, "cost": 9.0}
    assert headline([]) is None


def test_a_run_is_summed_up_again_only_when_it_changed(run: RunFiles) -> None:
    assert run.brief() is run.brief()
    before = run.brief()
    (run.path / "metrics.jsonl").write_text('{"step": 50, "images": 400, "images_per_s": 4}\n')
    os.utime(run.path / "metrics.jsonl", (5, 5))
    assert run.brief()["step"] == 50 != before["step"]


DAMAGE = {
    "config.yaml": b"name: [unclosed",
    "provenance.json": b"[1, 2]",
    "status.json": b'{"state": 7',
    "metrics.jsonl": b'\x00\x01{nonsense\n{"step": 3}\n{"st',
    "scores.jsonl": b'{"step": 1, "FD": 2}\n{"step": 2, "F\n{"step": 2, "FD": [1], "protocol": {}}\n',
    "checkpoints/best": b"\xff\xfe../../etc",
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_file_leaves_the_rest_to_be_seen(run: RunFiles, name: str) -> None:
    (run.path / name).write_bytes(DAMAGE[name])
    found = run.detail()
    assert found["steps_of_sheets"] == [5, 10]
    named = " ".join(found["troubles"])
    assert name in named or name == "checkpoints/best"
    assert json.dumps(found)


@pytest.mark.parametrize("name", [*DAMAGE, "samples", "checkpoints"])
def test_what_is_missing_is_no_error(run: RunFiles, name: str) -> None:
    path = run.path / name
    if path.is_dir():
        path.rename(run.path / "elsewhere")
    else:
        path.unlink(missing_ok=True)
    assert json.dumps(run.detail())


def test_scores_without_a_protocol_are_left_out(run: RunFiles) -> None:
    (run.path / "scores.jsonl").write_text(json.dumps({"step": 1, "FD": 1.0}) + "\n")
    assert run.scores == []


def test_a_deleted_run_is_no_error_and_then_gone(root_of_runs: Path) -> None:
    catalogue = Catalogue(root_of_runs)
    catalogue.scan()
    (first,) = [run for run in catalogue.all() if run.name == "first"]
    first.path.rename(root_of_runs.parent / "moved")
    assert first.detail()["state"] == "unknown"
    catalogue.scan()
    assert [run.name for run in catalogue.all()] == ["deeper/second"]
    assert catalogue.get(first.id) is None


def test_the_columns_of_a_sheet_have_the_names_that_its_stamp_gives_them(run: RunFiles) -> None:
    assert run.detail()["column_names"] == []
    stamp = Stamp("0.1.0", "", "first", 20, "ema", "sample", columns=3, column_names=("cat", "dog", "owl"))
    Image.new("L", (32, 22)).save(run.path / "samples" / "step-00000020.png", **saving(stamp, "PNG"))
    assert run.detail()["column_names"] == ["cat", "dog", "owl"]


def test_runs_are_found_below_and_links_are_not_followed(root_of_runs: Path, tmp_path: Path) -> None:
    outside = write_run(tmp_path / "outside")
    (root_of_runs / "link").symlink_to(outside)
    (root_of_runs / ".hidden").mkdir()
    write_run(root_of_runs / ".hidden" / "run")
    catalogue = Catalogue(root_of_runs)
    catalogue.scan()
    assert sorted(run.name for run in catalogue.all()) == ["deeper/second", "first"]
    (root_of_runs / "first" / "samples" / "step-00000099.png").symlink_to(tmp_path / "secret.txt")
    (first,) = [run for run in catalogue.all() if run.name == "first"]
    assert list(first.sheets) == [5, 10]


def test_a_directory_that_is_a_run_itself_is_shown(tmp_path: Path) -> None:
    catalogue = Catalogue(write_run(tmp_path / "alone"))
    catalogue.scan()
    assert [(run.name, run.place) for run in catalogue.all()] == [("alone", "alone")]


def test_a_configuration_too_large_to_be_one_is_not_read(run: RunFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steadygan.studio.run.LARGEST", 10)
    assert run.detail()["config"] == {}
    assert any("larger" in trouble for trouble in run.troubles)


def test_a_protocol_goes_with_its_score(run: RunFiles) -> None:
    assert [row["protocol"] for row in run.scores] == [PROTOCOL, PROTOCOL]


@pytest.mark.parametrize(
    ("name", "seen"), [("größer 2", "größer 2"), ("a\x1b[31m\n", r"a\x1b[31m\n"), ("\u202elive", r"\u202elive")]
)
def test_a_name_shows_what_cannot_be_seen(tmp_path: Path, name: str, seen: str) -> None:
    write_run(tmp_path / "run")
    (tmp_path / "run").rename(tmp_path / name)
    found = RunFiles("id", name, tmp_path / name, f"runs/{name}").summary()
    assert (found["name"], found["place"]) == (seen, f"runs/{name}")
