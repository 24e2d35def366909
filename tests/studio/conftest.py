"""A directory with runs, and a page's view of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import command, tiny_run
from studio_runs import Open, write_run

pytest.importorskip("starlette", reason="the studio's server is not installed")

from starlette.testclient import TestClient

from steadygan.studio.painter import Painter
from steadygan.studio.server import Studio, create_app


class Shared(Painter):
    """Outlives the studios that use it, because the process that makes images takes seconds to start."""

    def close(self) -> None:
        """Not with a studio, but with the last test."""


@pytest.fixture(scope="session")
def painter() -> Iterator[Painter]:
    """The one process that makes images for all studios of all tests."""
    made = Shared()
    yield made
    made._end()


@pytest.fixture(autouse=True)
def one_painter(painter: Painter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Studios share that process."""
    monkeypatch.setattr("steadygan.studio.server.Painter", lambda *_, **__: painter)


@pytest.fixture
def root_of_runs(tmp_path: Path) -> Path:
    """A directory with two runs."""
    write_run(tmp_path / "runs" / "first")
    write_run(tmp_path / "runs" / "deeper" / "second", seed=1)
    (tmp_path / "secret.txt").write_text("not for pages")
    return tmp_path / "runs"


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run actually trained for four steps."""
    path = tmp_path_factory.mktemp("trained") / "tiny"
    every = [f"train.{name}_every=2" for name in ("log", "sample", "checkpoint")]
    settings = ["model.conditional=true", "eval.num_fake=20", "train.steps=4", *every]
    assert command("train", "digits", *tiny_run(*settings), "--out", path) == 0
    return path


@pytest.fixture
def with_trained(root_of_runs: Path, trained: Path, painter: Painter) -> Path:
    """The directory with the trained run in it as well, and the process that makes images ready."""
    painter.ask("hello", seconds=600)
    shutil.copytree(trained, root_of_runs / "tiny")
    return root_of_runs


@pytest.fixture
def open_studio() -> Iterator[Open]:
    """Opens a studio on a directory; requests come from its own page."""
    opened: list[tuple[Studio, TestClient]] = []

    def open_on(root: Path, token: str | None = None, **options: Any) -> TestClient:
        studio = Studio(root, **options)
        app = create_app(studio, token, ("studio.example",))
        client = TestClient(app, base_url="http://127.0.0.1:8000", headers={"x-steadygan": "1"})
        opened.append((studio, client))
        return client

    yield open_on
    for studio, client in opened:
        client.close()
        studio.close()


@pytest.fixture(scope="session")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The browser's download folder."""
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory, downloads: Path) -> Iterator[Any]:
    """A real Chromium."""
    from studio_page import CHROMEDRIVER, CHROMIUM, chromium

    if CHROMIUM is None or CHROMEDRIVER is None:
        pytest.skip("chromium and chromium-driver are not installed")
    driver = chromium(tmp_path_factory.mktemp("profile"), downloads)
    yield driver
    driver.quit()


@pytest.fixture
def serve(browser: Any) -> Iterator[Callable[..., Any]]:
    """Serves a directory on a free port; then checks for console errors and requests to other hosts."""
    from studio_page import Served

    served = Served(browser)
    yield served
    served.check()
