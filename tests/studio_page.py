"""A served studio in a real browser."""

from __future__ import annotations

import json
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from selenium import webdriver
from selenium.common.exceptions import (
    ElementClickInterceptedException,
    ElementNotInteractableException,
    StaleElementReferenceException,
)
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from steadygan.studio.server import Studio, create_app

CHROMIUM, CHROMEDRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
FLAGS += ["--disable-renderer-backgrounding", "--disable-backgrounding-occluded-windows"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--window-size=1200,900"]
PATIENCE = 240
PASSING = [StaleElementReferenceException, ElementNotInteractableException, ElementClickInterceptedException]
"""What an element raises that the page replaces or has not laid out yet: the next look finds it."""


def chromium(profile: Path, downloads: Path) -> Any:
    """A headless browser that keeps its downloads."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(CHROMEDRIVER)))
    driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(downloads)})
    return driver


class Page:
    """A served studio, and the browser's view of it."""

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
        return WebDriverWait(self.driver, PATIENCE, poll_frequency=0.05, ignored_exceptions=PASSING).until(condition)

    def text(self, css: str) -> str:
        """The text of a selector's first element; a loading page may replace it meanwhile."""
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
        """Moves a slider as a user does: its value changes, and it fires an event."""
        slider = self.one(css)
        script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input', {bubbles: true}))"
        self.driver.execute_script(script, slider, value)


class Served:
    """A directory served on a free port, and the browser's requests and console messages."""

    def __init__(self, browser: Any) -> None:
        self.browser = browser
        self.running: list[tuple[Any, threading.Thread, Studio]] = []
        self.pages: list[Page] = []

    def __call__(self, root: Path, *, port: int = 0, **options: Any) -> Page:
        studio = Studio(root, **options)
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(100)  # a browser that is ahead of the server waits for it
        config = uvicorn.Config(create_app(studio), log_level="critical", timeout_graceful_shutdown=5)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        self.running.append((server, thread, studio))
        for kind in ("browser", "performance"):
            self.browser.get_log(kind)
        self.pages.append(Page(self.browser, f"http://127.0.0.1:{listener.getsockname()[1]}/"))
        return self.pages[-1]

    def end(self) -> None:
        for server, thread, studio in self.running:
            studio.pulse.ending.set()
            server.should_exit = True
            thread.join()
            studio.close()
        self.running.clear()

    def check(self) -> None:
        """The console had no error, and all requests went to the studio."""
        messages = self.browser.get_log("browser")
        asked_for = list(requested(self.browser.get_log("performance")))
        self.browser.get("about:blank")
        self.end()
        assert not [message for message in messages if message["level"] == "SEVERE"]
        own = {urlsplit(page.base).netloc for page in self.pages}
        assert asked_for
        assert {urlsplit(url).netloc for url in asked_for} <= own


def requested(log: list[dict[str, Any]]) -> Iterator[str]:
    """The URLs that the browser requested, from its log."""
    for entry in log:
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            url = message["params"]["request"]["url"]
            if urlsplit(url).scheme in ("http", "https", "ws", "wss"):
                yield url
