"""The page in a real browser: what a person does, without an error in its console and without a request elsewhere."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from helpers import tiny_run
from studio_runs import write_run

pytest.importorskip("selenium", reason="selenium is not installed")
pytest.importorskip("uvicorn", reason="uvicorn is not installed")

import uvicorn
from selenium import webdriver
from selenium.common.exceptions import (
    ElementClickInterceptedException,
    ElementNotInteractableException,
    StaleElementReferenceException,
)
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from steadygan.runs.requests import asked
from steadygan.studio.server import Studio, create_app

CHROMIUM, CHROMEDRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None or CHROMEDRIVER is None, reason="chromium and chromium-driver are not installed"
)
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
FLAGS += ["--disable-renderer-backgrounding", "--disable-backgrounding-occluded-windows"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--window-size=1200,900"]
PATIENCE = 240
PASSING = [StaleElementReferenceException, ElementNotInteractableException, ElementClickInterceptedException]
"""What an element raises that the page replaces or has not laid out yet: the next look finds it."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(CHROMEDRIVER)))
    yield driver
    driver.quit()


class Page:
    """A studio that is served, and the browser's view of it."""

    def __init__(self, driver: Any, base: str) -> None:
        self.driver, self.base = driver, base

    def open(self, address: str = "") -> None:
        self.driver.get("about:blank")
        self.driver.get(self.base + address)

    def all(self, css: str) -> list[Any]:
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def one(self, css: str, text: str | None = None) -> Any:
        """The first element of a selector (with a text in it), as soon as there is one."""

        def look(_: Any) -> Any:
            return next((e for e in self.all(css) if e.is_displayed() and (text is None or text in e.text)), None)

        return self.until(look)

    def until(self, condition: Callable[[Any], Any]) -> Any:
        return WebDriverWait(self.driver, PATIENCE, ignored_exceptions=PASSING).until(condition)

    def text(self, css: str) -> str:
        """What the first element of a selector says; a page under way may replace it while it is read."""
        return str(self.until(lambda _: self.one(css).text))

    def push(self, css: str, text: str | None = None, *, at: int = 0, key: str = Keys.ENTER) -> None:
        """Presses a button, link or box with the keyboard, which hits it even while the page around it moves."""

        def hit(_: Any) -> bool:
            shown = [e for e in self.all(css) if e.is_displayed() and (text is None or text in e.text)]
            if len(shown) <= at:
                return False
            shown[at].send_keys(key)
            return True

        self.until(hit)

    def press(self, keys: str) -> None:
        """Presses a key wherever the focus is."""
        self.until(lambda _: self.driver.switch_to.active_element.send_keys(keys) or True)

    def drag(self, css: str, value: float) -> None:
        """Moves a slider as a hand does: its value changes, and it says so."""
        slider = self.one(css)
        script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input', {bubbles: true}))"
        self.driver.execute_script(script, slider, value)


@pytest.fixture
def serve(browser: Any) -> Iterator[Callable[..., Page]]:
    """Serves a directory on a free port; afterwards the console had no error, and nothing else was asked for."""
    running: list[tuple[Any, threading.Thread, Studio]] = []
    pages: list[Page] = []

    def start(root: Path, **options: Any) -> Page:
        studio = Studio(root, **options)
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen(100)  # a browser that is ahead of the server waits for it
        config = uvicorn.Config(create_app(studio), log_level="critical", timeout_graceful_shutdown=5)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        running.append((server, thread, studio))
        for kind in ("browser", "performance"):
            browser.get_log(kind)
        pages.append(Page(browser, f"http://127.0.0.1:{listener.getsockname()[1]}/"))
        return pages[-1]

    yield start
    messages = browser.get_log("browser")
    asked_for = list(requested(browser.get_log("performance")))
    browser.get("about:blank")
    for server, thread, studio in running:
        studio.pulse.ending.set()
        server.should_exit = True
        thread.join()
        studio.close()
    assert not [message for message in messages if message["level"] == "SEVERE"]
    own = {urlsplit(page.base).netloc for page in pages}
    assert asked_for
    assert {urlsplit(url).netloc for url in asked_for} <= own


def requested(log: list[dict[str, Any]]) -> Iterator[str]:
    """The addresses that the browser asked for, by its own account."""
    for entry in log:
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            url = message["params"]["request"]["url"]
            if urlsplit(url).scheme in ("http", "https", "ws", "wss"):
                yield url


def test_home_shows_every_run_and_a_search_narrows_them(serve: Callable[..., Page], root_of_runs: Path) -> None:
    page = serve(root_of_runs)
    page.open()
    assert page.one(".card h2", "first")
    assert len(page.all(".card")) == 2
    page.press("/")
    page.one("input[type=search]").send_keys("second")
    page.until(lambda _: len(page.all(".card")) == 1)
    assert page.text(".card h2") == "deeper/second"


def test_a_new_run_turns_up_by_itself(serve: Callable[..., Page], root_of_runs: Path) -> None:
    page = serve(root_of_runs)
    page.open()
    page.one(".card h2", "first")
    write_run(root_of_runs / "third")
    assert page.one(".card h2", "third")


def test_a_page_that_nobody_sees_gives_its_connection_up_and_then_catches_up(
    serve: Callable[..., Page], root_of_runs: Path
) -> None:
    page = serve(root_of_runs)
    page.open()
    page.one(".card h2", "first")
    page.driver.execute_script("dispatchEvent(new Event('pagehide'))")
    shutil.rmtree(root_of_runs / "first")
    write_run(root_of_runs / "third")
    page.driver.execute_script("dispatchEvent(new Event('pageshow'))")
    page.one(".card h2", "third")
    assert {card.text for card in page.all(".card h2")} == {"third", "deeper/second"}


def test_the_slider_leads_through_time_and_a_tile_becomes_a_film(
    serve: Callable[..., Page], root_of_runs: Path
) -> None:
    page = serve(root_of_runs)
    page.open()
    page.push(".card h2 a", "first")
    assert page.one("figcaption", "step 10")
    page.drag("input[aria-label='Step']", 0)
    assert page.one("figcaption", "step 5")
    canvas = page.one(".stage canvas")
    pixel = "const c = arguments[0]; return c.getContext('2d').getImageData(4, 4, 1, 1).data[0]"
    page.until(lambda _: page.driver.execute_script(pixel, canvas) == 50)
    page.press(Keys.ARROW_RIGHT)
    page.until(lambda _: page.driver.execute_script(pixel, canvas) == 200)
    page.press("c")
    page.until(lambda _: len(page.all(".stage canvas")) == 2)
    page.until(lambda _: canvas.click() or True)
    page.until(lambda _: len(page.all(".film button")) == 2)
    assert [button.text for button in page.all(".film button")] == ["5", "10"]


def test_curves_are_drawn_zoomed_and_read_by_keys(serve: Callable[..., Page], root_of_runs: Path) -> None:
    page = serve(root_of_runs)
    page.open()
    page.push(".card h2 a", "first")
    page.push(".tab", "Curves")
    chart = page.one(".chart svg[aria-label^='FD-digits']")
    page.until(lambda _: "FD-digits 5" in chart.get_attribute("aria-label"))
    page.driver.execute_script("arguments[0].focus()", chart)
    page.press(Keys.ARROW_LEFT)
    page.until(lambda _: "step 10" in chart.get_attribute("aria-label"))
    page.press("+")
    assert page.one("button:not(:disabled)", "Show all steps")
    assert page.one(".chart h3", "Adversarial losses")


def test_two_runs_are_compared(serve: Callable[..., Page], root_of_runs: Path) -> None:
    page = serve(root_of_runs)
    page.open()
    page.one(".card")
    for name in ("first", "deeper/second"):
        page.push(f"input[aria-label='Compare {name}']", key=Keys.SPACE)
    page.push("#tray", "Compare 2")
    assert page.one("td.mono", "train.seed")
    assert page.one("h1", "2 runs")
    page.until(lambda _: len(page.all(".sheets canvas")) == 2)
    assert page.one(".chart h3", "FD-digits")


def test_an_image_tells_its_seed_its_command_and_its_python_lines(
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
    page.press("r")
    page.until(lambda _: page.one(".detail h2").text != "Seed 3")


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


def test_a_run_is_started_from_the_page(serve: Callable[..., Page], tmp_path: Path) -> None:
    root = tmp_path / "runs"
    root.mkdir()
    page = serve(root, allowed=True)
    page.open("#/new")
    page.until(lambda _: len(page.all(".seen canvas")) == 24)
    for label, value in (("size, pixels", "16"), ("steps", "2"), ("batch size", "8")):
        (field,) = [one for one in page.all("label.field") if one.text == label]
        field.find_element(By.CSS_SELECTOR, "input").send_keys(value)
    name = page.one("input[aria-label='Name of the run']")
    name.clear()
    name.send_keys("from-the-page")
    page.push("button.primary", "Start training")
    page.until(lambda _: (root / "from-the-page" / "checkpoints" / "step-00000002").is_dir())
    page.open()
    assert page.one(".card .state", "finished")


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


def test_what_is_damaged_is_named_and_the_rest_is_shown(serve: Callable[..., Page], root_of_runs: Path) -> None:
    (root_of_runs / "first" / "config.yaml").write_text("name: [unclosed")
    page = serve(root_of_runs)
    page.open()
    page.push(".card h2 a", "first")
    assert page.one(".troubles", "config.yaml cannot be read")
    assert page.one("figcaption", "step 10")
    assert page.one(".tab", "Curves")


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
