"""The notebooks run from the first cell to the last on tiny settings, and are kept without outputs."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import command, tiny_run
from importing.style_files import stylegan2_ada
from PIL import Image

from steadygan.metrics.protocol import PROTOCOLS, Protocol
from steadygan.recipes.speed import Machine

# A cell that ends in `Image.open(…)` shows the image and leaves its file open, as is usual in notebooks.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

NOTEBOOKS = {path.stem: path for path in (Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb")}


def cells(name: str) -> list[dict[str, Any]]:
    book = json.loads(NOTEBOOKS[name].read_text(encoding="utf-8"))
    return [cell for cell in book["cells"] if cell["cell_type"] == "code"]


def filled(line: str, names: dict[str, Any]) -> str:
    """A shell line with the values of the names in braces, as IPython puts them in."""
    return re.sub(r"\{(\w+)\}", lambda found: str(names[found[1]]), line)


def run(name: str, folder: Path, parameters: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Runs the cells in `folder`, with other parameters; the names that they leave behind."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("STEADYGAN_CACHE", str(folder / "cache"))
    names: dict[str, Any] = {}
    for cell in cells(name):
        code, tags = "".join(cell["source"]), cell["metadata"].get("tags", [])
        if "install" in tags:
            assert code == "%pip install -q ./steadygan"
            continue
        if code.startswith("!"):
            for line in code.splitlines():
                words = shlex.split(filled(line.removeprefix("!"), names))
                assert words[0] == "steadygan"
                assert command(*words[1:]) == 0, line
            continue
        exec(compile(code, f"{name}.ipynb", "exec"), names)
        if "parameters" in tags:
            assert parameters.keys() <= names.keys()
            names |= parameters
    return names


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_kept_without_outputs(name: str) -> None:
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells(name))


def test_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROTOCOLS, "digits", Protocol("digits", extractor="digits", num_fake=20))
    names = run("digits", tmp_path, {"STEPS": 2, "SETTINGS": tiny_run("train.log_every=1")}, monkeypatch)
    assert "FD-digits" in names["run"].scores
    assert (tmp_path / "sevens.png").is_file()
    assert (tmp_path / "walk.gif").is_file()


def test_own_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROTOCOLS, "tiny", Protocol("tiny", extractor="tiny", num_fake=20, at_most=True, num_real=20))
    monkeypatch.setattr(Machine, "_measure", lambda self, config, threads: 0.1 * (threads or 1))
    monkeypatch.setattr(Machine, "memory", lambda self, config, images: 1 << 20)
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for index in range(40):
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(tmp_path / f"photos/{index}.png")
    small = "train.steps=2 train.batch_size=4 model.width=2 model.latent=4 train.sample_first=0"
    run("your-images", tmp_path, {"HOURS": 0.01, "SETTINGS": small, "MORE": "train.steps=3"}, monkeypatch)
    assert (tmp_path / "runs/photos/checkpoints/step-00000003").is_dir()
    assert (tmp_path / "samples.png").is_file()


def test_an_imported_stylegan2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stylegan2_ada(tmp_path, classes=0)
    names = run("stylegan2", tmp_path, {"FILE": "network-snapshot.pkl"}, monkeypatch)
    assert names["frames"].shape == (19, 3, 16, 16)
    assert not (names["rows"][0] == names["rows"][1]).all()
    assert (tmp_path / "walk.gif").is_file()
