"""The studio's costs: opening, viewing a very long run, next to a training, and from a slider to images.

    python benchmarks/studio.py --rounds 5 --out results/studio.csv
    python benchmarks/studio.py --only opening slider

Needs chromium and chromium-driver, selenium, and for `slider` and `training` a minute of CPU. Run directories are made
in a temporary folder. Times in the page are the page's own: from the navigation's start to the frame with the
awaited content. Other work on a machine only ever makes a round slower, so that the quickest of `--rounds` is given as
well as the median; the load is written down.

opening-N    N runs: the first contentful frame, and the frame with every card that fits the window
long-time    a run of 1,000,000 lines and 5,000 grids: the frame with its newest grid
long-curves  the same run: the frame with its curves (of lines picked evenly), and until all lines are read
bytes        the page's own files, uncompressed
slider       truncation moved on the Play page: until 16 digits images are painted, as a draft while the slider moves,
             and with the statistics of that truncation when it rests
training     CPU time of the steps of one training with a page open on it, between steps without; and the CPU time
             of the studio's server meanwhile, as a share of one core
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

LINES, GRIDS = 1_000_000, 5_000
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,900", "--no-first-run"]
PATIENCE = 300
CONFIG = """\
name: {name}
data: {{path: digits, size: 32}}
model: {{kind: dcgan, conditional: true}}
objective: {{loss: hinge, terms: {{bcr: {{}}, zcr: {{}}}}}}
train: {{steps: {steps}, seed: {seed}}}
"""
WATCH = """
const wanted = %s;
window.seen = {};
const look = () => {
  for (const [name, css, count] of wanted) {
    if (!(name in window.seen) && document.querySelectorAll(css).length >= count) {
      window.seen[name] = null;
      requestAnimationFrame(() => setTimeout(() => { window.seen[name] = performance.now(); }));
    }
  }
};
new MutationObserver(look).observe(document, { childList: true, subtree: true, attributes: true });
"""
"""Notes when the frame was painted that first had so many elements of a selector."""
MOVE = """
const [value, event, done] = arguments, slider = document.querySelector("input[aria-label='Truncation']");
const said = document.querySelector(".playing [role=status]"), began = performance.now();
new MutationObserver((_, watcher) => {
  if (said.textContent.endsWith("(draft)") !== (event === "input")) return;
  watcher.disconnect();
  requestAnimationFrame(() => setTimeout(() => done(performance.now() - began)));
}).observe(said, { childList: true });
slider.value = value;
slider.dispatchEvent(new Event(event, { bubbles: true }));
"""
"""From the slider's event to the painted frame; the page itself asks, waits and draws."""


def write_run(path: Path, seed: int, lines: int = 200, grids: int = 20) -> None:
    """A finished run as the training loop writes one."""
    (path / "samples").mkdir(parents=True)
    (path / "checkpoints").mkdir()
    (path / "config.yaml").write_text(CONFIG.format(name=path.name, steps=lines, seed=seed))
    (path / "provenance.json").write_text(json.dumps({"started": f"2026-01-01T00:00:{seed % 60:02d}+00:00"}))
    with (path / "metrics.jsonl").open("w") as file:
        for step in range(1, lines + 1):
            wave = 0.5 + 0.4 * ((step * 7919 + seed) % 1000) / 1000
            row = {"schema": 1, "step": step, "images": 64 * step, "seconds": 0.2 * step, "images_per_s": 320 * wave}
            row |= {"D/adversarial": wave, "G/adversarial": 1 - wave, "D/bcr": wave / 9, "D/zcr": wave / 7}
            row |= {"D_accuracy_train": wave, "D_accuracy_heldout": wave / 2, "G_diversity": wave}
            file.write(json.dumps(row) + "\n")
    protocol = {"name": "digits", "num_fake": 1000, "num_real": 1617}
    scores = [{"step": s, "FD-digits": 50 + 1000 / s, "protocol": protocol} for s in range(1, lines, lines // 20)]
    (path / "scores.jsonl").write_text("".join(json.dumps(row) + "\n" for row in scores))
    grid = Image.effect_noise((10 * 34 + 2, 8 * 34 + 2), 60)
    first = path / "samples" / "step-00000001.png"
    grid.save(first)
    for number in range(1, grids):
        shutil.copyfile(first, path / "samples" / f"step-{1 + number * max(1, lines // grids):08d}.png")


@contextmanager
def studio(root: Path) -> Iterator[tuple[str, int]]:
    """`steadygan studio` on a free port: its address and process id."""
    command = [sys.executable, "-m", "steadygan", "studio", str(root), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = next(line for line in process.stdout if "http://" in line)
            yield next(word for word in line.split() if word.startswith("http://")), process.pid
        finally:
            process.terminate()


class Browser:
    """Chromium, with timings of its paints."""

    def __init__(self, profile: Path) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = str(shutil.which("chromium"))
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        self.driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
        self.script = ""

    def painted(self, address: str, *wanted: tuple[str, str, int]) -> dict[str, float]:
        """Milliseconds from the navigation to the frame that first had so many elements of each selector."""
        driver = self.driver
        if self.script:
            driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", {"identifier": self.script})
        source = {"source": WATCH % json.dumps(wanted)}
        self.script = driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", source)["identifier"]
        driver.get("about:blank")
        driver.get(address)

        def all_seen(_: Any) -> Any:
            seen = driver.execute_script("return window.seen")
            return seen if len(seen) == len(wanted) and None not in seen.values() else None

        return WebDriverWait(driver, PATIENCE, poll_frequency=0.05).until(all_seen)

    def first_paint(self) -> float:
        """Of the page that is open: its first contentful frame."""
        script = "return performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null"
        return float(WebDriverWait(self.driver, PATIENCE).until(lambda _: self.driver.execute_script(script)))


def spread(values: list[float], digits: int = 0) -> str:
    """Quickest and median."""
    return f"{min(values):.{digits}f} (median {median(values):.{digits}f} of {len(values)})"


def opening(browser: Browser, folder: Path, rounds: int) -> Iterator[tuple[str, str, str]]:
    for count in (1, 10, 100):
        root = folder / f"runs-{count}"
        for number in range(count):
            write_run(root / f"run-{number:03d}", seed=number)
        with studio(root) as (address, _):
            first, cards = [], []
            for _ in range(rounds + 1):
                seen = browser.painted(address, ("cards", ".card h2", min(count, 6)))
                first.append(browser.first_paint())
                cards.append(seen["cards"])
        # The first visit fills the browser's and the server's caches; every later one is counted.
        yield f"opening-{count}", "ms to the first contentful frame", spread(first[1:])
        yield f"opening-{count}", "ms to the frame with the cards", spread(cards[1:])
        yield f"opening-{count}", "ms to the frame with the cards, first visit", f"{cards[0]:.0f}"


def long(browser: Browser, folder: Path, rounds: int) -> Iterator[tuple[str, str, str]]:
    root = folder / "long"
    write_run(root / "long", seed=0, lines=LINES, grids=GRIDS)
    megabytes = (root / "long" / "metrics.jsonl").stat().st_size / 2**20
    shown, curves = [], []
    for number in range(rounds):
        # A fresh server each time: nothing of the run is known yet.
        for page, seen, css, count in (
            ("time", shown, ".stage canvas[aria-label]", 1),
            ("curves", curves, ".chart path.line", 3),
        ):
            with studio(root) as (address, _pid):
                (run,) = json.load(urllib.request.urlopen(f"{address}api/runs"))["runs"]
                began = time.perf_counter()
                seen.append(browser.painted(f"{address}#/run/{run['id']}/{page}", ("seen", css, count))["seen"])
                while page == "curves" and number == rounds - 1:
                    if json.load(urllib.request.urlopen(f"{address}api/runs/{run['id']}/series"))["exact"]:
                        yield "long-curves", "s until every line is read", f"{time.perf_counter() - began:.1f}"
                        break
                    time.sleep(0.2)
    yield "long-time", f"ms to the newest of {GRIDS:,} grids", spread(shown)
    yield "long-curves", f"ms to the curves of {LINES:,} lines ({megabytes:.0f} MiB)", spread(curves)


def page_bytes() -> Iterator[tuple[str, str, str]]:
    from steadygan.studio.server import page_files

    files = page_files()
    yield (
        "bytes",
        f"kB in {len(files)} files, uncompressed",
        f"{sum(len(body) for body, _ in files.values()) / 1000:.1f}",
    )


def training_of(root: Path, steps: int, *settings: str) -> subprocess.Popen[bytes]:
    """A training of the digits, on one thread."""
    chosen = ["model.width=16", f"train.steps={steps}", "train.batch_size=32", "eval.every=0", "eval.num_fake=64"]
    chosen += ["train.threads=1", "train.device=cpu", *settings]
    command = [sys.executable, "-m", "steadygan", "train", "digits", *chosen, "--out", str(root / "live")]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})


def slider(browser: Browser, folder: Path, rounds: int) -> Iterator[tuple[str, str, str]]:
    root = folder / "playing"
    assert training_of(root, 20).wait() == 0
    with studio(root) as (address, _):
        (run,) = json.load(urllib.request.urlopen(f"{address}api/runs"))["runs"]
        browser.painted(f"{address}#/run/{run['id']}/play", ("tiles", ".tile canvas", 16))
        driver = browser.driver
        driver.execute_script("document.querySelector('.playing input[type=checkbox]').click()")
        moving, resting = [], []
        for number in range(10 * rounds):
            value = 0.3 + 0.05 * (number % 30)
            moving.append(float(driver.execute_async_script(MOVE, value, "input")))
            resting.append(float(driver.execute_async_script(MOVE, value, "change")))
        tiles = len(driver.find_elements(By.CSS_SELECTOR, ".tile canvas"))
    yield "slider", f"ms from a move of truncation to a draft of {tiles} digits images on a CPU", spread(moving[3:])
    yield "slider", "ms from its rest to the exact images", spread(resting[3:])


def training(browser: Browser, folder: Path, rounds: int) -> Iterator[tuple[str, str, str]]:
    root, window = folder / "training", 40
    root.mkdir()
    alone, watched, ratios, served = [], [], [], []
    process = training_of(root, 10**6, "train.log_every=1", "train.sample_every=20", "train.checkpoint_every=1000")
    lines = root / "live" / "metrics.jsonl"

    def steps() -> int:
        return lines.read_bytes().count(b"\n") if lines.is_file() else 0

    def cost() -> float:
        """CPU milliseconds a step, over a window of steps that begins and ends with one."""
        begun = wait_for(steps, steps() + 1)
        before = cpu_of(process.pid)
        ended = wait_for(steps, begun + window)
        return 1000 * (cpu_of(process.pid) - before) / (ended - begun)

    try:
        wait_for(steps, 20)
        with studio(root) as (address, pid):
            for _ in range(rounds):
                browser.driver.get("about:blank")
                first = cost()
                browser.driver.get(address)
                before, began = cpu_of(pid), time.perf_counter()
                second = cost()
                served.append(100 * (cpu_of(pid) - before) / (time.perf_counter() - began))
                browser.driver.get("about:blank")
                third = cost()
                alone += [first, third]
                watched.append(second)
                ratios.append(100 * (2 * second / (first + third) - 1))
    finally:
        process.kill()
        process.wait()
    yield "training", "CPU ms a step alone", spread(alone, 2)
    yield "training", "CPU ms a step, a page open on it", spread(watched, 2)
    yield "training", "% slower with the page open than before and after it", spread(ratios, 2)
    yield "training", "% of a core that the server takes meanwhile", spread(served, 2)


def wait_for(count: Callable[[], int], least: int) -> int:
    """The count, once it is reached."""
    while (now := count()) < least:
        time.sleep(0.01)
    return now


def cpu_of(pid: int) -> float:
    """CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = {"opening": opening, "long": long, "slider": slider, "training": training}
    parser.add_argument("--only", nargs="+", choices=[*parts, "bytes"], default=["bytes", *parts])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True).stdout
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        browser = None
        for name in options.only:
            if name != "bytes":
                browser = browser or Browser(Path(folder) / "profile")
            found = page_bytes() if name == "bytes" else parts[name](browser, Path(folder), options.rounds)
            for what, unit, value in found:
                print(f"{what:<12} {unit}: {value}", flush=True)
                machine = f"{os.cpu_count()}-core CPU, load {os.getloadavg()[0]:.1f}"
                rows.append([what, unit, value, machine, commit.strip(), "python " + " ".join(sys.argv)])
        if browser is not None:
            browser.driver.quit()
    if options.out is not None:
        new = not options.out.exists()
        with options.out.open("a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["what", "unit", "value", "machine", "commit", "command"])
            writer.writerows(rows)


if __name__ == "__main__":
    main()
