"""The page in a real browser: pages that use the process that makes images."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import tiny_run

pytest.importorskip("selenium", reason="selenium is not installed")
pytest.importorskip("uvicorn", reason="uvicorn is not installed")

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select
from studio_page import PATIENCE, Page

from steadygan.runs.requests import asked
from steadygan.studio.painter import Painter


def test_an_image_tells_how_it_is_made_and_is_made_again_as_a_favourite(
    serve: Callable[..., Page], with_trained: Path
) -> None:
    page = serve(with_trained)
    page.open()
    page.push(".card h2 a", "tiny")
    page.push(".tab", "Play")
    page.until(lambda _: len(page.all(".tile canvas")) == 16)
    assert page.one(".chip", "7")
    page.push(".tile", at=3)
    assert page.text(".detail h2") == "Seed 3"
    command, lines = (block.text for block in page.all(".detail pre"))
    assert command.startswith("steadygan sample runs/tiny/checkpoints/step-00000004 --seeds 3 --classes 3")
    assert "generator.from_seeds([3], classes=3)[0]" in lines
    pad = page.one(".pad2d")
    page.driver.execute_script("arguments[0].focus()", pad)
    page.press(Keys.ARROW_RIGHT)
    page.until(lambda _: "--moves" in page.one(".detail pre").text)
    made = page.text(".detail pre")
    page.push(".detail button", "Keep")
    page.push("button", "Back to the middle")
    page.press("r")
    page.until(lambda _: page.one(".detail h2").text != "Seed 3")
    page.push(".favs .tile")
    page.until(lambda _: page.text(".detail pre") == made)
    assert page.one(".chip[aria-pressed='true']", "3")


def test_a_class_among_thousands_is_found_by_its_name(
    serve: Callable[..., Page], with_trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{kind} {number}" for number in range(1000) for kind in ("ape", "bat", "cat")]
    names[7] = " ".join(["a name without an end"] * 9)
    wanted: list[list[int] | None] = []

    def ask(self: Painter, do: str, **arguments: Any) -> tuple[dict[str, Any], bytes]:
        if do == "seeds":
            wanted.append(arguments["classes"])
            return {"count": 16, "height": 1, "width": 1, "channels": 1}, bytes(16)
        return {"classes": 3000, "class_names": names, "device": "cpu"}, b""

    monkeypatch.setattr("steadygan.studio.painter.Painter.ask", ask)
    page = serve(with_trained)
    page.open()
    page.push(".card h2 a", "tiny")
    page.push(".tab", "Play")
    search = page.one("input[placeholder='search 3,000 classes']")
    page.until(lambda _: page.one(".tile span", names[7]))
    assert max(box.size["height"] for box in page.all(".tile span, .chip")) < 40
    search.send_keys("BAT 99")
    page.until(lambda _: len(page.all(".chip")) == 12)
    search.send_keys("7", Keys.ENTER)
    page.until(lambda _: page.text(".tile span") == "0 · bat 997")
    search.clear()
    search.send_keys("no such")
    assert page.one(".chips", "no class of this name")
    assert page.one(".chip[aria-pressed='true']", "bat 997")
    assert wanted[0] is None
    assert wanted[-1] == [2992]


def test_neighbours_are_asked_for_by_the_names_of_classes(
    serve: Callable[..., Page], with_trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted: list[list[int] | None] = []

    def ask(self: Painter, do: str, **arguments: Any) -> tuple[dict[str, Any], bytes]:
        if do != "neighbours":
            return {"classes": 3, "class_names": ["ape", "bat", "cat"], "device": "cpu"}, b""
        wanted.append(arguments["classes"])
        count = len(arguments["seeds"])
        space = {"name": "pixels", "closer": [0.5] * count, "distances": [[1.0]] * count, "indices": [[0]] * count}
        shape = {"count": count, "height": 1, "width": 1, "channels": 1, "k": 1, "images": 9}
        return {**shape, "spaces": [{**space, "among_reals": [1, 2, 3]}]}, bytes(2 * count)

    monkeypatch.setattr("steadygan.studio.painter.Painter.ask", ask)
    page = serve(with_trained)
    page.open()
    page.push(".card h2 a", "tiny")
    page.push(".tab", "Neighbours")
    assert page.one(".case figcaption", "seed 1 · bat")
    page.push(".chip", "cat")
    page.push("button", "Look")
    assert page.one(".case figcaption", "seed 1 · cat")
    assert wanted == [None, [2]]


def test_a_live_run_is_watched_and_stopped(serve: Callable[..., Page], tmp_path: Path) -> None:
    root = tmp_path / "runs"
    root.mkdir()
    run = root / "live"
    settings = tiny_run("data.channels=3", "train.steps=1000000", "train.log_every=1", "train.sample_every=5")
    command = [sys.executable, "-m", "steadygan", "train", "digits", *settings, "--out", str(run)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as training:
        try:
            page = serve(root, allowed=True)
            page.open()
            page.push(".card h2 a", "live")
            slider = page.one("input[aria-label='Step']")
            before = int(slider.get_attribute("max"))
            page.until(lambda _: int(slider.get_attribute("max")) > before)
            page.push(".tab", "Steer")
            page.push("button.danger:not(:disabled)", "Stop and save")
            training.wait(PATIENCE)
        finally:
            training.send_signal(signal.SIGKILL)
    assert training.returncode == 130
    assert asked(run) is None
    assert list((run / "checkpoints").glob("step-*"))


def test_a_run_is_started_from_the_page(
    serve: Callable[..., Page], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("steadygan.studio.control.forecast", lambda command: [["time", f"of {command[1]}"]])
    root = tmp_path / "runs"
    root.mkdir()
    chosen, read, ask = "[role=radio][aria-checked=true]", threading.Event(), Painter.ask

    def slowly(self: Painter, wish: str, **options: Any) -> Any:
        if wish == "folder":
            read.wait(PATIENCE)
        return ask(self, wish, **options)

    monkeypatch.setattr(Painter, "ask", slowly)
    page = serve(root, allowed=True)
    page.open("#/new")
    page.until(lambda _: len(page.all(".seen canvas")) == 24)
    first = page.text(chosen)
    page.push(chosen, key=Keys.ARROW_DOWN)
    second = page.text(chosen)
    assert second != first
    read.set()
    assert page.one(".figures")
    assert page.text(chosen) == page.driver.switch_to.active_element.text == second, "what was chosen meanwhile stays"
    page.press(Keys.ARROW_UP)
    assert page.text(chosen) == first
    page.push("button", "Forecast time and memory")
    assert page.one("tr", "time of digits")
    for label, value in (("size, pixels", "16"), ("steps", "2"), ("batch size", "8")):
        (field,) = [one for one in page.all("label.field") if one.text == label]
        field.find_element(By.CSS_SELECTOR, "input").send_keys(value)
    assert page.one("p", "Not forecast yet")
    name = page.one("input[aria-label='Name of the run']")
    name.clear()
    name.send_keys("from-the-page")
    page.push("button.primary", "Start training")
    page.one("button.primary:not(:disabled)", "Start training")
    page.push(".jobs summary", "from-the-page")
    page.until(lambda _: (root / "from-the-page" / "checkpoints" / "step-00000002").is_dir())
    assert page.one(".jobs .state", "finished")
    assert page.one(".jobs pre", "checkpoints")
    page.push(".jobs a", "open the run")
    assert page.one("h1", "from-the-page")


def test_checkpoints_that_come_and_go_are_offered_on_an_open_page(
    serve: Callable[..., Page], with_trained: Path, tmp_path: Path
) -> None:
    checkpoints, away = with_trained / "tiny" / "checkpoints", tmp_path / "away"
    away.mkdir()
    for step in (2, 4):
        (checkpoints / f"step-{step:08d}").rename(away / f"step-{step:08d}")
    page = serve(with_trained, allowed=True)
    page.open()
    page.push(".card h2 a", "tiny")
    page.push(".tab", "Play")
    page.one("h2", "No checkpoint yet")
    (away / "step-00000002").rename(checkpoints / "step-00000002")
    page.until(lambda _: len(page.all(".tile canvas")) == 16)
    page.push(".tab", "Steer")
    choice = page.one("select[aria-label='Checkpoint']")
    (away / "step-00000004").rename(checkpoints / "step-00000004")
    page.until(lambda _: choice.text.split() == ["step", "4", "(best)", "step", "2"])
    assert choice.get_attribute("value") == "2"
    (checkpoints / "step-00000002").rename(away / "step-00000002")
    page.until(lambda _: choice.get_attribute("value") == "4")
    assert page.one("button:not(:disabled)", "Train on")


def test_images_of_imported_weights_come_with_their_terms(serve: Callable[..., Page], with_trained: Path) -> None:
    provenance = with_trained / "tiny" / "provenance.json"
    content = json.loads(provenance.read_text())
    provenance.write_text(json.dumps({**content, "init_from": {"licence": "for research only"}}))
    page = serve(with_trained)
    page.open()
    page.push(".card h2 a", "tiny")
    page.push(".tab", "Play")
    page.until(lambda _: "for research only" in page.text(".terms"))


def test_a_checkpoint_is_chosen_by_step(serve: Callable[..., Page], with_trained: Path) -> None:
    page = serve(with_trained)
    page.open()
    page.push(".card h2 a", "tiny")
    page.push(".tab", "Play")
    page.until(lambda _: len(page.all(".tile canvas")) == 16)
    Select(page.one("select[aria-label='Checkpoint']")).select_by_value("2")
    page.push(".tile")
    page.until(lambda _: "step-00000002" in page.one(".detail pre").text)
    page.push(".tab", "Time")
    page.push(".stage canvas")
    assert page.one("pre", "steadygan remake runs/tiny/samples/step-00000004.png")


def test_light_and_dark_and_a_phone_fit(serve: Callable[..., Page], root_of_runs: Path) -> None:
    page = serve(root_of_runs, allowed=True)
    page.open()
    page.one(".card")
    colour = "return getComputedStyle(document.body).backgroundColor"
    first = page.driver.execute_script(colour)
    page.push("#theme")
    assert page.driver.execute_script(colour) != first
    page.push("#theme")
    phone = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    first, second = (link.get_attribute("href").split("#/run/")[1] for link in page.all(".card h2 a"))
    tabs = ("time", "health", "curves", "play", "neighbours", "facts", "steer")
    for address in ("", *(f"#/run/{first}/{tab}" for tab in tabs), "#/compare", f"#/compare/{first},{second}", "#/new"):
        page.open(address)
        page.one("main h1, main h2")
        page.until(lambda _: not any(word in page.text("main") for word in ("Opening", "Looking", "Reading every")))
        assert page.driver.execute_script("return document.documentElement.scrollWidth") <= 360, address
    page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
