"""Starting and steering runs from a page."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers import command
from studio_runs import Open, id_of, write_run

from steadygan.runs.requests import take
from steadygan.studio import jobs
from steadygan.studio.control import overrides_of
from steadygan.studio.places import Places

TINY = {"data.size": 16, "data.max_images": 24, "model.width": 2, "train.batch_size": 8, "train.steps": 2}


class Process:
    """Stands for a training that was started."""

    def __init__(self, arguments: list[str], **_: Any) -> None:
        self.arguments = arguments
        self.status: int | None = None

    def poll(self) -> int | None:
        return self.status

    def wait(self) -> None:
        """Returns at once: nothing runs."""


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that would have been started."""
    commands: list[list[str]] = []

    def popen(arguments: list[str], **options: Any) -> Process:
        assert arguments[:3] == [sys.executable, "-m", "steadygan"]
        assert options["start_new_session"]
        commands.append(arguments[3:])
        return Process(arguments)

    monkeypatch.setattr(jobs.subprocess, "Popen", popen)
    return commands


@pytest.mark.parametrize("wanted", ["stop", "pause", "resume"])
def test_a_request_lands_in_the_run(open_studio: Open, root_of_runs: Path, wanted: str) -> None:
    client = open_studio(root_of_runs, allowed=True)
    answer = client.post(f"/api/runs/{id_of(client, 'first')}/ask", json={"do": wanted})
    assert answer.json() == {"asked": wanted}
    assert take(root_of_runs / "first") == wanted
    assert client.post(f"/api/runs/{id_of(client, 'first')}/ask", json={"do": "delete"}).status_code == 400


def test_the_commands_leave_the_same_requests(root_of_runs: Path) -> None:
    for wanted in ("stop", "pause", "resume"):
        assert command(wanted, root_of_runs / "first") == 0
        assert take(root_of_runs / "first") == wanted
    assert command("stop", root_of_runs) == 2


def test_a_run_is_started_from_a_preset_data_and_settings(
    open_studio: Open, root_of_runs: Path, started: list[list[str]]
) -> None:
    client = open_studio(root_of_runs, allowed=True)
    plan = {"preset": "digits", "place": "digits", "settings": TINY, "name": "new.run-1"}
    answer = client.post("/api/control/start", json=plan)
    assert answer.json()["state"] == "running"
    settings = [f"{key}={value}" for key, value in TINY.items()]
    expected = ["train", "digits", "data.path=digits", *settings, "--out", str(root_of_runs.resolve() / "new.run-1")]
    assert started == [expected]
    assert client.get("/api/control/jobs").json()["jobs"][0]["run"] == "new.run-1"


def test_own_images_are_trained_on_as_the_plan_chooses(
    open_studio: Open, root_of_runs: Path, started: list[list[str]], tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    client = open_studio(root_of_runs, allowed=True, data=(tmp_path / "photos",))
    place = client.get("/api/control/options").json()["places"][1]["id"]
    settings = {"train.hours": 0.25, "data.size": 48, "train.seed": 3}
    plan = {"preset": "own-images", "place": place, "settings": settings, "name": "mine"}
    assert client.post("/api/control/start", json=plan).json()["run"] == "mine"
    photos, out = str(tmp_path / "photos"), str(root_of_runs.resolve() / "mine")
    assert started == [["train", photos, "train.seed=3", "--hours", "0.25", "--size", "48", "--out", out]]


def test_the_plan_is_shown_with_its_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(arguments: list[str], **_: Any) -> Any:
        assert arguments[3:] == ["plan", "photos", "--hours", "0.25"]
        lines = b"timing a few steps\nsize            data.size=64  as time allows\nforecast        15 minutes\n"
        return SimpleNamespace(returncode=0, stdout=lines)

    monkeypatch.setattr(jobs.subprocess, "run", run)
    found = jobs.chosen(["train", "photos", "--hours", "0.25"])
    assert found == [["size", "data.size=64", "as time allows"], ["forecast", "15 minutes"]]


@pytest.mark.parametrize("name", ["../out", "a/b", "", ".hidden", "a b", "x" * 65, "-dash", "a\n"])
def test_a_new_run_stays_in_the_directory(
    open_studio: Open, root_of_runs: Path, started: list[list[str]], name: str
) -> None:
    client = open_studio(root_of_runs, allowed=True)
    assert client.post("/api/control/start", json={"preset": "digits", "name": name}).status_code == 400
    assert not started


@pytest.mark.parametrize(
    "change",
    [
        {"preset": "/etc/passwd"},
        {"preset": "../runs/first"},
        {"place": "/etc"},
        {"settings": {"data.path": 1}},
        {"settings": {"train.init_from": 1}},
        {"settings": {"objective.terms.os:system": 1}},
        {"settings": {"train.steps": "x"}},
        {"settings": {"train.steps": {"a": 1}}},
        {"settings": {"train.stepz": 3}},
        {"settings": {"train.steps": -3}},
        {"name": "first"},
    ],
)
def test_a_page_sets_neither_paths_nor_code_nor_nonsense(
    open_studio: Open, root_of_runs: Path, started: list[list[str]], change: dict[str, Any]
) -> None:
    client = open_studio(root_of_runs, allowed=True)
    answer = client.post("/api/control/start", json={"preset": "digits", "name": "new", **change})
    assert answer.status_code in (400, 404)
    assert not started


def test_settings_become_overrides() -> None:
    settings = {"augment.diffaugment.policy": ["color"], "data.flip": True, "objective.terms.bcr.real": 5}
    wanted = ['augment.diffaugment.policy=["color"]', "data.flip=true", "objective.terms.bcr.real=5"]
    assert overrides_of(settings) == wanted


def test_only_folders_that_the_studio_was_started_with_are_offered(tmp_path: Path) -> None:
    (tmp_path / "photos" / "cats").mkdir(parents=True)
    (tmp_path / "photos" / ".git").mkdir()
    (tmp_path / "photos" / "dogs.zip").write_bytes(b"")
    (tmp_path / "photos" / "away").symlink_to(tmp_path)
    names = [place["name"] for place in Places((tmp_path / "photos",)).listed()]
    assert names == ["digits (embedded)", "photos", "photos/cats", "photos/dogs.zip"]


def test_an_ended_run_is_taken_up_and_a_running_one_is_not(
    open_studio: Open, root_of_runs: Path, started: list[list[str]]
) -> None:
    client = open_studio(root_of_runs, allowed=True)
    path = root_of_runs.resolve() / "first"
    address = f"/api/runs/{id_of(client, 'first')}/resume"
    (path / "status.json").write_text('{"state": "stopped"}')
    assert client.post(address, json={"steps": 200}).status_code == 200
    assert started == [["train", str(path), "--resume", "train.steps=200"]]
    assert "running already" in client.post(address, json={}).json()["error"]
    (root_of_runs / "deeper" / "second" / "status.json").write_text('{"state": "paused"}')
    assert client.post(f"/api/runs/{id_of(client, 'deeper/second')}/resume", json={}).status_code == 400


def test_a_branch_starts_where_a_checkpoint_was(
    open_studio: Open, with_trained: Path, started: list[list[str]]
) -> None:
    origin = with_trained / "tiny" / "provenance.json"
    before = {**json.loads(origin.read_text()), "started": "2020-01-02T03:04:05+00:00"}
    origin.write_text(json.dumps(before))
    client = open_studio(with_trained, allowed=True)
    address = f"/api/runs/{id_of(client, 'tiny')}/branch"
    body = {"step": 2, "name": "other", "settings": {"optim.g.lr": 0.5}}
    assert client.post(address, json=body).status_code == 200
    out = with_trained.resolve() / "other"
    assert started == [["train", str(out), "--resume"]]
    steps = [json.loads(line)["step"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert steps == [2]
    now = json.loads((out / "provenance.json").read_text())
    assert now["started"] > "2026"
    assert (now["branched_from"]["step"], now["branched_from"]["started"]) == (2, before["started"])
    assert client.post(address, json=body).status_code == 400
    assert client.post(address, json={**body, "step": 3, "name": "third"}).status_code == 400


def test_a_branch_trains_on_under_its_own_settings(with_trained: Path) -> None:
    out = with_trained / "other"
    assert command("branch", with_trained / "tiny", "optim.g.lr=0.5", "--at", "2", "--out", out) == 0
    assert command("train", out, "--resume") == 0
    steps = [json.loads(line)["step"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert steps == [2, 4]
    assert "lr: 0.5" in (out / "config.yaml").read_text()
    assert (with_trained / "tiny" / "checkpoints" / "step-00000002").is_dir()


def test_a_branch_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "young")
    assert command("branch", run, "--out", tmp_path / "out") == 2
    assert not (tmp_path / "out").exists()


def test_a_folder_is_reported_and_its_crop_and_augmentation_are_shown(open_studio: Open, root_of_runs: Path) -> None:
    client = open_studio(root_of_runs, allowed=True)
    found = client.post("/api/control/folder", json={"place": "digits"}).json()
    assert (found["count"], found["channels"], found["unreadable_count"]) == (1797, 1, 0)
    assert client.post("/api/control/folder", json={"place": "unknown"}).status_code == 404
    plan = {"preset": "digits", "settings": {"data.size": 16, "augment.diffaugment.policy": ["cutout"]}}
    preview = client.post("/api/control/preview", json=plan).content
    length = int.from_bytes(preview[:4], "little")
    head = json.loads(preview[4 : 4 + length])
    assert (head["count"], head["width"], head["policy"], head["consistent"]) == (8, 16, ["cutout"], True)
    assert len(preview) == 4 + length + 3 * 8 * 16 * 16


def test_what_a_training_printed_is_shown_from_its_end(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("x" * 10_000 + "the end")
    assert jobs.tail(tmp_path / "log").endswith("xthe end")
    assert len(jobs.tail(tmp_path / "log")) == jobs.TAIL
    assert jobs.tail(tmp_path / "absent") == ""
