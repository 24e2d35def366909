"""The page in a real browser: user actions, with no console errors and no requests to other hosts."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from studio_runs import write_run

pytest.importorskip("selenium", reason="selenium is not installed")
pytest.importorskip("uvicorn", reason="uvicorn is not installed")

from selenium.webdriver.common.keys import Keys
from studio_page import PATIENCE, Page, Served


def test_home_shows_every_run_and_a_search_narrows_them(serve: Callable[..., Page], root_of_runs: Path) -> None:
    scores = root_of_runs / "first" / "scores.jsonl"
    scores.write_text(scores.read_text().splitlines()[0] + "\n")
    page = serve(root_of_runs)
    page.open()
    assert page.one(".card h2", "first")
    assert len(page.all(".card")) == 2
    assert len(page.all(".spark")) == 1
    page.press("/")
    page.one("input[type=search]").send_keys("second")
    page.until(lambda _: len(page.all(".card")) == 1)
    assert page.text(".card h2") == "deeper/second"


def test_a_run_that_went_wrong_is_not_merely_finished(serve: Callable[..., Page], root_of_runs: Path) -> None:
    rows = [{"step": s, "images": 8 * s, "D/adversarial": 1e6 if s < 190 else 0.0} for s in range(10, 201, 10)]
    (root_of_runs / "first" / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name in ("first", "deeper/second"):
        (root_of_runs / name / "status.json").write_text(json.dumps({"state": "finished", "message": ""}))
    page = serve(root_of_runs)
    page.open()
    assert page.one(".card .state.failed", "diverging")
    assert page.one(".card .state.finished", "finished")
    assert len(page.all(".card .state")) == 2
    page.push(".card h2 a", "first")
    page.push(".tab", "Health")
    assert page.one("p", "Since step 10.")


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


def test_a_page_outlives_its_server_and_its_run(serve: Served, root_of_runs: Path) -> None:
    page = serve(root_of_runs)
    page.open()
    page.push(".card h2 a", "first")
    page.one("figcaption", "step 10")
    serve.end()
    page.one("#link", "no contact")
    page.push(".tab", "Curves")
    page.one("h2", "This run cannot be read")
    page.one("main p", "the studio does not answer")
    serve(root_of_runs, port=urlsplit(page.base).port)
    page.one("#link", "live")
    page.one(".chart h3", "FD-digits")
    shutil.rmtree(root_of_runs / "first")
    page.one("h1", "This run was removed")
    write_run(root_of_runs / "first", steps=20)
    page.one(".runhead h1", "first")
    page.one(".row [role=status]", "steps 1 to 20")
    page.driver.get_log("browser")  # it names each unanswered request


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
    assert page.one("p", "No checkpoint of step 10 was kept")


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


def test_what_is_damaged_is_named_and_the_rest_is_shown(serve: Callable[..., Page], root_of_runs: Path) -> None:
    (root_of_runs / "first" / "config.yaml").write_text("name: [unclosed")
    page = serve(root_of_runs)
    page.open()
    page.push(".card h2 a", "first")
    assert page.one(".troubles", "config.yaml cannot be read")
    assert page.one("figcaption", "step 10")
    assert page.one(".tab", "Curves")


def test_files_are_kept_and_what_takes_long_is_said_until_it_is_there(
    serve: Callable[..., Page], root_of_runs: Path, downloads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = threading.Event()

    def slowly(*_: object) -> bytes:
        made.wait(PATIENCE)
        return b"a strip"

    page = serve(root_of_runs)
    page.open()
    page.push(".card h2 a", "first")
    page.push(".stage canvas")
    page.until(lambda _: len(page.all(".film button")) == 2)
    page.push(".menu button", "Save")
    page.push("[role=menuitem]", "This sheet, PNG")
    page.until(lambda _: (downloads / "first-step-10.png").is_file())
    monkeypatch.setattr("steadygan.studio.sheets.png", slowly)
    page.push(".menu button", "Save strip")
    page.push("[role=menuitem]", "PNG")
    assert page.one(".toast", "Making the file")
    made.set()
    page.until(lambda _: not page.all(".toast"))
    page.until(lambda _: (downloads / "first-latent-0.png").is_file())
    assert page.one("input[aria-label='Latent']").get_attribute("value") == "0"
    assert (downloads / "first-latent-0.png").read_bytes() == b"a strip"
    assert (downloads / "first-step-10.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_a_command_names_a_run_of_any_name_and_holds_no_control_characters(
    serve: Callable[..., Page], root_of_runs: Path
) -> None:
    page = serve(root_of_runs)
    page.open()
    names = ["plain-1.2", "two words", "it's", "a\x1b[31m\nb", "\u202etxt'\\", "\u2028ü", "$(x) `y` !z"]
    quote = "const [names, done] = arguments; import('/static/lib/dom.js').then((m) => done(names.map(m.quoted)))"
    quoted = page.driver.execute_async_script(quote, names)
    assert quoted[:2] == ["plain-1.2", "'two words'"]
    assert all(word.isprintable() for word in quoted)
    told = subprocess.run(["bash", "-c", f"printf '%s\\0' {' '.join(quoted)}"], capture_output=True, check=True)
    assert told.stdout.decode().split("\0")[:-1] == names
