"""The data of runs that pages read."""

from __future__ import annotations

import asyncio
import io
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from studio_runs import PROTOCOL, Open, id_of, write_run

from steadygan.runs.requests import take
from steadygan.studio.catalogue import Catalogue
from steadygan.studio.server import Pulse, changes
from steadygan.studio.sheets import cut


def image(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as read:
        return np.asarray(read.convert("L"))


def test_the_page_and_its_modules_are_served_and_kept_by_the_browser(open_studio: Open, root_of_runs: Path) -> None:
    client = open_studio(root_of_runs)
    page = client.get("/")
    assert "text/html" in page.headers["content-type"]
    assert client.get("/", headers={"if-none-match": page.headers["etag"]}).status_code == 304
    module = client.get("/static/pages/time.js")
    assert module.headers["content-type"].startswith("text/javascript")
    assert client.get("/static/pages/nothing.js").status_code == 404


def test_all_runs_are_listed_and_new_ones_turn_up(
    open_studio: Open, root_of_runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("steadygan.studio.server.PULSE", 0)
    client = open_studio(root_of_runs)
    assert {run["name"] for run in client.get("/api/runs").json()["runs"]} == {"first", "deeper/second"}
    write_run(root_of_runs / "third")
    assert {run["name"] for run in client.get("/api/runs").json()["runs"]} == {"first", "deeper/second", "third"}


def test_a_run_in_detail(open_studio: Open, root_of_runs: Path) -> None:
    client = open_studio(root_of_runs)
    found = client.get(f"/api/runs/{id_of(client, 'first')}").json()
    assert found["steps_of_sheets"] == [5, 10]
    assert found["columns"] == ["images", "images_per_s", "D/adversarial"]
    assert found["layout"] == {"side": 8, "gap": 2}
    assert found["config"]["objective"]["terms"] == {"bcr": {"real": 10}}
    assert client.get("/api/runs/0123456789ab").json() == {"error": "there is no such run (any more)"}


def test_curves_come_thinned_within_a_stretch_of_steps(open_studio: Open, root_of_runs: Path) -> None:
    write_run(root_of_runs / "long", steps=5000)
    client = open_studio(root_of_runs)
    address = f"/api/runs/{id_of(client, 'long')}/series"
    found = client.get(f"{address}?name=D/adversarial&name=absent&points=100").json()["columns"]
    assert len(found["D/adversarial"]["mean"]) == 100
    assert found["D/adversarial"]["high"][0] == 1.0
    assert found["absent"]["total"] == 0
    near = client.get(f"{address}?name=D/adversarial&points=100&from=10&to=12").json()["columns"]["D/adversarial"]
    assert near["steps"] == [10, 11, 12]
    assert client.get(f"{address}?name=D/adversarial&points=1000000").status_code == 400


def test_scores_are_told_apart_by_protocol(open_studio: Open, root_of_runs: Path) -> None:
    other = {"step": 10, "FD-digits": 1.0, "protocol": {"name": "digits", "num_fake": 999}}
    with (root_of_runs / "first" / "scores.jsonl").open("a") as file:
        file.write(json.dumps(other) + "\n")
    client = open_studio(root_of_runs)
    found = client.get(f"/api/runs/{id_of(client, 'first')}/scores").json()["scores"]
    assert [(curve["name"], curve["points"]) for curve in found] == [
        ("FD-digits", [[5, 10.0], [10, 5.0]]),
        ("FD-digits", [[10, 1.0]]),
    ]
    assert found[0]["better"] == "lower"


def test_a_sheet_is_the_file_and_asked_for_once(open_studio: Open, root_of_runs: Path) -> None:
    client = open_studio(root_of_runs)
    address = f"/api/runs/{id_of(client, 'first')}/sheets/10"
    answer = client.get(address)
    assert answer.content == (root_of_runs / "first" / "samples" / "step-00000010.png").read_bytes()
    assert client.get(address, headers={"if-none-match": answer.headers["etag"]}).status_code == 304
    assert client.get(f"/api/runs/{id_of(client, 'first')}/sheets/11").status_code == 404


def test_one_latent_is_cut_out_of_every_sheet(open_studio: Open, root_of_runs: Path) -> None:
    client = open_studio(root_of_runs)
    address = f"/api/runs/{id_of(client, 'first')}/strip"
    film = image(client.get(f"{address}?index=4").content)
    assert film.shape == (8, 18)
    assert (film[:, :8] == 54).all()
    assert (film[:, 10:] == 204).all()
    assert client.get(f"{address}/steps").json() == {"steps": [5, 10]}


def test_a_damaged_sheet_is_a_grey_frame_of_the_strip(open_studio: Open, root_of_runs: Path) -> None:
    path = root_of_runs / "first" / "samples" / "step-00000005.png"
    path.write_bytes(path.read_bytes()[:60])
    client = open_studio(root_of_runs)
    film = image(client.get(f"/api/runs/{id_of(client, 'first')}/strip?index=4").content)
    assert (film[:, :8] == 128).all()
    assert (film[:, 10:] == 204).all()


def test_a_card_shows_the_newest_sheet_that_can_be_read(open_studio: Open, root_of_runs: Path) -> None:
    older, newest = sorted((root_of_runs / "first" / "samples").iterdir())
    client = open_studio(root_of_runs)
    address = f"/api/runs/{id_of(client, 'first')}/thumb"
    newest.write_bytes(newest.read_bytes()[:60])
    shown = image(client.get(address).content)
    assert abs(int(shown[shown.shape[0] // 4, shown.shape[1] // 6]) - 50) < 8
    older.write_bytes(b"")
    assert client.get(address).status_code == 204


@pytest.mark.parametrize(
    ("columns", "rows", "shown"),
    [(10, 8, (10, 4)), (8, 8, (5, 2)), (3, 2, (3, 1)), (1, 1, (1, 1)), (20, 1, (3, 1)), (4, 100, (4, 2))],
)
def test_a_card_shows_whole_tiles(columns: int, rows: int, shown: tuple[int, int]) -> None:
    assert cut(columns, rows) == shown


def test_a_translation_has_no_strips(open_studio: Open, root_of_runs: Path) -> None:
    config = root_of_runs / "first" / "config.yaml"
    config.write_text(config.read_text().replace("size: 8}", "size: 8, domains: paired}"))
    client = open_studio(root_of_runs)
    address = f"/api/runs/{id_of(client, 'first')}"
    assert client.get(f"{address}/strip").status_code == 404
    found = client.get(address).json()
    assert (found["size"], found["layout"]["side"]) == (8, 0)


def test_runs_are_compared_by_what_differs(open_studio: Open, root_of_runs: Path) -> None:
    client = open_studio(root_of_runs)
    ids = [id_of(client, name) for name in ("first", "deeper/second")]
    found = client.get(f"/api/compare?runs={ids[0]},{ids[1]},unknown").json()
    assert found["different"] == [{"key": "train.seed", "values": [0, 1]}]
    assert found["groups"] == [0, 0]
    assert [row[0]["last"] for row in found["table"]] == [[10, 5.0], [10, 5.0]]
    assert not any(row[0]["wins"] for row in found["table"])
    with (root_of_runs / "first" / "scores.jsonl").open("a") as file:
        file.write(json.dumps({"step": 11, "FD-digits": 4.0, "protocol": PROTOCOL}) + "\n")
    found = client.get(f"/api/compare?runs={ids[0]},{ids[1]}").json()
    assert [row[0]["wins"] for row in found["table"]] == [True, False]
    assert client.get("/api/compare?runs=unknown").status_code == 404


def test_what_json_cannot_hold_hides_no_run(open_studio: Open, root_of_runs: Path) -> None:
    """Numbers that are not finite, and a name that is not UTF-8."""
    run = write_run(root_of_runs / "cafe").rename(root_of_runs / os.fsdecode(b"caf\xe9"))
    with (run / "scores.jsonl").open("a") as file:
        protocol = {**PROTOCOL, "num_fake": math.inf}
        file.write(json.dumps({"step": 11, "FD-digits": math.nan, "protocol": protocol}) + "\n")
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 11, "images": 1, "images_per_s": Infinity, "D/adversarial": NaN}\n{"step": 12, "D/adv')
    (run / "provenance.json").write_text('{"seed": NaN, "versions": [Infinity]}')
    client = open_studio(root_of_runs)
    assert len(client.get("/api/runs").json()["runs"]) == 3
    address = "/api/runs/" + id_of(client, r"caf\udce9")
    found = client.get(address).json()
    assert found["provenance"] == {"seed": None, "versions": [None]}
    assert [row["FD-digits"] for row in found["scores"]] == [10.0, 5.0, None]
    for part in ("/scores", "/health", "/series?name=D/adversarial"):
        assert client.get(address + part).status_code == 200
    told = heard(Pulse(Catalogue(root_of_runs)), 1)[0]["changed"]
    assert r"caf\udce9" in [one["name"] for one in told]
    ids = ",".join(one["id"] for one in told)
    assert client.get(f"/api/compare?runs={ids}").json()["table"]


def test_what_may_not_be_read_is_named(open_studio: Open, root_of_runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, allowed = os.scandir, os.access

    def scandir(path: Any) -> Any:
        if Path(path).name == "deeper":
            raise PermissionError(path)
        return opened(path)

    monkeypatch.setattr("os.scandir", scandir)
    monkeypatch.setattr("os.access", lambda path, mode: Path(path).name != "scores.jsonl" and allowed(path, mode))
    client = open_studio(root_of_runs)
    found = client.get("/api/runs").json()
    assert ([run["name"] for run in found["runs"]], found["unread"]) == (["first"], ["deeper"])
    troubles = client.get(f"/api/runs/{id_of(client, 'first')}").json()["troubles"]
    assert troubles == ["scores.jsonl may not be read: its permissions do not allow it"]


def test_a_spread_is_no_score_of_its_own(open_studio: Open, root_of_runs: Path) -> None:
    row = {"step": 10, "KD-x": 4.0, "KD-x_std": 1.0, "leak_flip": 0.5, "leak_flip_low": 0.4, "leak_flip_high": 0.7}
    (root_of_runs / "first" / "scores.jsonl").write_text(json.dumps({**row, "protocol": {"name": "x"}}) + "\n")
    client = open_studio(root_of_runs)
    found = client.get(f"/api/runs/{id_of(client, 'first')}/scores").json()["scores"]
    assert {one["name"]: one["points"] for one in found} == {
        "KD-x": [[10, 4, 3, 5]],
        "leak_flip": [[10, 0.5, 0.4, 0.7]],
    }


def test_scores_by_different_protocols_do_not_share_a_column(open_studio: Open, root_of_runs: Path) -> None:
    other = {"step": 10, "FD-digits": 1.0, "protocol": {"name": "digits", "num_fake": 999}}
    (root_of_runs / "first" / "scores.jsonl").write_text(json.dumps(other) + "\n")
    client = open_studio(root_of_runs)
    ids = ",".join(id_of(client, name) for name in ("first", "deeper/second"))
    found = client.get(f"/api/compare?runs={ids}").json()
    assert [[cell and cell["last"][1] for cell in row] for row in found["table"]] == [[1.0, None], [None, 5.0]]
    assert not any(cell["wins"] for row in found["table"] for cell in row if cell)


def test_a_verdict_is_shown_as_it_is_given(
    open_studio: Open, root_of_runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = open_studio(root_of_runs)
    address = f"/api/runs/{id_of(client, 'first')}/health"

    class Verdict:
        def as_json(self) -> dict[str, Any]:
            keys = ("optim.g.lr", "objective.terms.r1.weight", "model.width", "train.phases")
            advice = [{"key": key} for key in keys]
            return {"kind": "memorises", "sentence": "D is memorising.", "since_step": 7, "advice": advice}

    def judge(rows: list[Any], scores: list[Any], status: str, *, config: dict[str, Any]) -> Verdict:
        assert (len(rows), len(scores), status, config["objective.loss"]) == (10, 2, "running", "hinge")
        return Verdict()

    monkeypatch.setattr("steadygan.studio.health.diagnose", judge)
    found = client.get(address).json()
    assert (found["sentence"], found["since_step"]) == ("D is memorising.", 7)
    assert [advice["branch"] for advice in found["advice"]] == [True, True, False, False]


class Page:
    """A page that listens for this many turns."""

    def __init__(self, turns: int) -> None:
        self.turns = turns

    async def is_disconnected(self) -> bool:
        self.turns -= 1
        return self.turns < 0


def heard(pulse: Pulse, turns: int, between: Any = None) -> list[dict[str, Any]]:
    async def listen() -> list[str]:
        page, texts = Page(turns), []
        async for text in changes(pulse, asyncio.Semaphore(1), page):  # type: ignore[arg-type]
            texts.append(text)
            if between is not None:
                between(len(texts))
        return texts

    return [json.loads(text.split("data: ")[1]) for text in asyncio.run(listen()) if "data: " in text]


def test_pages_hear_of_all_runs_first_and_then_of_what_changed(
    root_of_runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("steadygan.studio.server.PULSE", 0)

    def change(told: int) -> None:
        if told == 1:
            ended = '{"step": 100, "images": 800}\n'
            (root_of_runs / "first" / "metrics.jsonl").write_text(ended)
            (root_of_runs / "deeper" / "second").rename(root_of_runs.parent / "gone")

    first, then = heard(Pulse(Catalogue(root_of_runs)), 4, change)
    assert {run["name"] for run in first["changed"]} == {"first", "deeper/second"}
    assert (first["whole"], then["whole"]) == (True, False)
    assert [(run["name"], run["state"]) for run in then["changed"]] == [("first", "finished")]
    assert len(then["gone"]) == 1


def test_asking_is_for_a_studio_that_was_started_for_it(open_studio: Open, root_of_runs: Path) -> None:
    client = open_studio(root_of_runs)
    assert client.get("/api/about").json()["control"] is False
    assert client.get("/api/control/options").status_code == 403
    for address in ("ask", "resume", "branch"):
        body = {"do": "stop", "step": 1, "name": "x"}
        assert client.post(f"/api/runs/{id_of(client, 'first')}/{address}", json=body).status_code == 403
    assert take(root_of_runs / "first") is None
