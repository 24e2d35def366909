"""Images made on demand, in a separate process."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import command
from PIL import Image
from starlette.requests import Request
from studio_runs import Open, id_of, unpacked

import steadygan
from steadygan.pictures.stamp import SIDECAR, read_stamp
from steadygan.studio.answers import threaded
from steadygan.studio.painter import Painter, PainterError


@pytest.fixture
def play(open_studio: Open, with_trained: Path) -> Any:
    """Posts to the trained run."""
    client = open_studio(with_trained)
    id = id_of(client, "tiny")

    def post(what: str, **body: Any) -> Any:
        return client.post(f"/api/runs/{id}/{what}", json={"step": 4, **body})

    return post


def test_an_image_of_the_page_is_the_librarys(play: Any, with_trained: Path) -> None:
    head, images = unpacked(play("images", seeds=[3, 17], classes=[7, 1], truncation=0.8).content)
    generator = steadygan.load(with_trained / "tiny" / "checkpoints" / "step-00000004", device="cpu")
    expected = generator.from_seeds([3, 17], classes=[7, 1], truncation=0.8).permute(0, 2, 3, 1).numpy()
    assert head["count"] == 2
    assert (images == expected).all()
    one = generator.sample(1, seed=17, classes=1, truncation=0.8)[0].permute(1, 2, 0).numpy()
    assert np.abs(images[1].astype(int) - one).max() <= 1


def test_a_draft_is_one_of_images_alone(play: Any) -> None:
    _, first = unpacked(play("images", seeds=[3], truncation=0.31, draft=True).content)
    _, exact = unpacked(play("images", seeds=[3], truncation=0.31).content)
    _, again = unpacked(play("images", seeds=[3], truncation=0.31, draft=True).content)
    assert not np.array_equal(first, exact)
    np.testing.assert_array_equal(again, exact)
    assert play("download", seeds=[3], draft=True).status_code == 400, "a file is never a draft"


def test_a_walk_begins_and_ends_at_its_seeds(play: Any) -> None:
    _, ends = unpacked(play("images", seeds=[3, 17], classes=[7, 1]).content)
    head, walk = unpacked(play("walk", seeds=[3, 17], classes=[7, 1], steps=6).content)
    assert head["count"] == 7
    assert np.abs(walk[[0, -1]].astype(int) - ends).max() <= 1


def test_moving_a_latent_changes_its_image_and_not_moving_it_does_not(play: Any) -> None:
    _, (still,) = unpacked(play("images", seeds=[3], moves=[[5, 0.0]]).content)
    _, (bare,) = unpacked(play("images", seeds=[3]).content)
    _, (moved,) = unpacked(play("images", seeds=[3], moves=[[5, 1.0]]).content)
    assert np.abs(still.astype(int) - bare).max() <= 1
    assert (moved != bare).any()


def test_a_page_learns_what_a_generator_can_do(play: Any) -> None:
    found = play("generator").json()
    assert (found["size"], found["channels"], found["classes"]) == (16, 1, 10)
    assert found["class_names"] == [str(digit) for digit in range(10)]
    assert found["licence"] == ""


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"step": 3}, 404),
        ({"seeds": []}, 400),
        ({"seeds": [-1]}, 400),
        ({"seeds": [0] * 257}, 400),
        ({"seeds": ["../x"]}, 400),
        ({"classes": [99]}, 502),
        ({"truncation": -1}, 400),
        ({"weights": "all"}, 400),
        ({"moves": [[1, 100]]}, 400),
        ({"checkpoint": "/etc/passwd"}, 400),
    ],
)
def test_what_makes_no_sense_is_refused_and_the_next_is_answered(play: Any, body: dict[str, Any], status: int) -> None:
    answer = play("images", **body)
    assert answer.status_code == status
    assert answer.json()["error"]
    assert play("images", seeds=[1]).status_code == 200


def test_a_downloaded_image_can_be_made_again_to_the_bit(play: Any, with_trained: Path, tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    body = {"seeds": [9], "classes": [4], "truncation": 0.9, "moves": [[5, 0.25]]}
    path.write_bytes(play("download", **body, kind="png").content)
    stamp = read_stamp(path)
    assert (stamp.step, stamp.label, stamp.class_name, stamp.index) == (4, 4, "4", 0)
    assert command("remake", path, "--runs", with_trained, "--out", tmp_path / "again.png") == 0
    with Image.open(path) as first, Image.open(tmp_path / "again.png") as again:
        assert first.tobytes() == again.tobytes()
    assert read_stamp(tmp_path / "again.png") == stamp


def test_a_folder_and_a_film_say_what_made_them(play: Any, tmp_path: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(play("download", seeds=[3, 4], kind="zip").content)) as archive:
        assert archive.namelist() == ["0000-seed-3.png", "0001-seed-4.png", SIDECAR]
        archive.extractall(tmp_path)
    assert read_stamp(tmp_path / "0001-seed-4.png").arguments["seeds"] == [3, 4]
    film = play("download", seeds=[3, 4], kind="gif", steps=5)
    assert film.headers["content-disposition"].endswith('-2-seeds.gif"')
    (tmp_path / "walk.gif").write_bytes(film.content)
    assert read_stamp(tmp_path / "walk.gif").call == "walk"
    with Image.open(tmp_path / "walk.gif") as image:
        assert image.n_frames == 6


def test_an_export_holds_the_averaged_generator_and_a_card(
    play: Any, with_trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "taken.zip").write_bytes(play("export").content)
    with zipfile.ZipFile(tmp_path / "taken.zip") as archive:
        card = archive.read("README.md").decode()
    assert "FD-digits" in card
    monkeypatch.setenv("STEADYGAN_CACHE", str(tmp_path / "cache"))
    checkpoint = with_trained / "tiny" / "checkpoints" / "step-00000004"
    images = [steadygan.load(path, device="cpu").sample(3) for path in (checkpoint, tmp_path / "taken.zip")]
    assert torch.equal(*images)


def test_an_export_is_a_state_dict_or_a_program_on_demand(play: Any, tmp_path: Path) -> None:
    answer = play("export", to="state-dict")
    assert answer.status_code == 200, answer.text
    (tmp_path / "taken.pt").write_bytes(answer.content)
    assert torch.load(tmp_path / "taken.pt", weights_only=True)
    answer = play("export", to="torch")
    assert answer.headers["content-disposition"].endswith('-generator.pt2"')
    (tmp_path / "taken.pt2").write_bytes(answer.content)
    assert torch.export.load(tmp_path / "taken.pt2")
    assert play("export", to="/etc/passwd").status_code == 400


def test_a_damaged_checkpoint_is_a_sentence(play: Any, with_trained: Path) -> None:
    path = with_trained / "tiny" / "checkpoints" / "step-00000002" / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    answer = play("images", step=2, seeds=[1])
    assert answer.status_code == 502
    assert "weights.safetensors: " in answer.json()["error"]
    assert play("images", seeds=[1]).status_code == 200


def test_nearest_training_images_come_with_a_yardstick(play: Any) -> None:
    head, images = unpacked(play("neighbours", seeds=[3, 4], k=3).content)
    assert head["images"] == 32
    assert head["spaces"][0]["name"] == "pixels"
    assert len(images) == 2 + len(head["spaces"]) * 2 * 3
    pixels = head["spaces"][0]
    assert pixels["distances"][0] == sorted(pixels["distances"][0])
    distance = np.sqrt(((images[0].astype(float) - images[2]) ** 2).mean())
    assert pixels["distances"][0][0] == pytest.approx(distance, rel=1e-3)
    assert all(0 <= share <= 1 for share in pixels["closer"])


def test_a_lost_process_is_said_and_replaced(painter: Painter) -> None:
    painter._end()
    with pytest.raises(PainterError, match=r"longer than 0\.01 s"):
        painter.ask("hello", seconds=0.01)
    assert painter._process is None
    process = painter._running()
    process.kill()
    process.wait()
    assert painter.ask("hello", seconds=300) == ({}, b"")
    assert painter._process is not process
    with pytest.raises(PainterError, match="not made: KeyError"):
        painter.ask("nothing")


def test_a_process_that_wants_too_much_memory_fails_alone(trained: Path) -> None:
    small = Painter(memory_gib=0.05)
    with pytest.raises(PainterError):
        small.ask("describe", checkpoint=str(trained / "checkpoints" / "step-00000004"))
    small.close()


def test_who_waits_for_images_when_the_studio_ends_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = [sys.executable, "-c", "import sys; sys.stdin.buffer.read()"]
    painter, told = Painter(), []
    with subprocess.Popen(silent, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        monkeypatch.setattr(painter, "_running", lambda: process)
        painter._process = process

        def wait() -> None:
            with pytest.raises(PainterError) as caught:
                painter.ask("seeds")
            told.append(str(caught.value))

        waiting = threading.Thread(target=wait)
        waiting.start()
        painter.close()
        waiting.join()
    monkeypatch.undo()
    wait()
    assert told == ["the studio has ended"] * 2


def test_a_request_under_way_when_the_studio_ends_is_answered() -> None:
    async def cancelled() -> int:
        ended = threading.Event()
        task = asyncio.create_task(threaded(lambda _: ended.wait())(Request({"type": "http"})))
        await asyncio.sleep(0)
        task.cancel()
        answer = await task
        ended.set()
        return answer.status_code

    assert asyncio.run(cancelled()) == 503


def test_a_film_and_a_strip_of_sheets_say_what_they_show(open_studio: Open, with_trained: Path, tmp_path: Path) -> None:
    client = open_studio(with_trained)
    address = f"/api/runs/{id_of(client, 'tiny')}"
    for name, query in {"film.gif": "film?kind=gif&index=13", "strip.png": "strip?index=13&keep=1"}.items():
        (tmp_path / name).write_bytes(client.get(f"{address}/{query}").content)
        stamp = read_stamp(tmp_path / name)
        assert (stamp.call, stamp.run, stamp.step, stamp.index, stamp.class_name) == ("film", "runs/tiny", 4, 13, "3")
        assert (stamp.arguments["seed"], stamp.arguments["steps"]) == (0, [2, 4])


def test_sheets_become_a_film(play: Any, open_studio: Open, root_of_runs: Path) -> None:
    client = open_studio(root_of_runs)
    address = f"/api/runs/{id_of(client, 'first')}/film"
    with Image.open(io.BytesIO(client.get(f"{address}?kind=gif&fps=5").content)) as film:
        assert (film.n_frames, film.size) == (2, (32, 22))
    with Image.open(io.BytesIO(client.get(f"{address}?kind=gif&index=1").content)) as film:
        assert film.size == (256, 256)
    assert client.get(f"{address}?kind=exe").status_code == 400
