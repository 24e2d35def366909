"""The wheel holds the package with its data, and no tests, results or runs."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import pytest

import steadygan

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "steadygan"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Built by the backend of pyproject.toml in this process: no network, no environment of its own."""
    builder = pytest.importorskip("hatchling.builders.wheel", reason="the wheel is built by hatchling").WheelBuilder
    folder = tmp_path_factory.mktemp("wheel")
    (path,) = builder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_it_holds_every_tracked_file_of_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    inside = {name for name in wheel.namelist() if not name.startswith(f"steadygan-{steadygan.__version__}.dist-info/")}
    expected = {
        str(path.relative_to(PACKAGE.parent))
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert inside == expected


def test_presets_embedded_data_weights_and_the_studios_pages_are_inside(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    assert sum(bool(re.fullmatch(r"steadygan/presets/[\w.-]+\.yaml", name)) for name in names) > 100
    assert any(name.startswith("steadygan/studio/static/") and name.endswith(".html") for name in names)
    assert {"steadygan/py.typed", "steadygan/recipes/rules.yaml"} <= set(names)
    assert any(name.startswith("steadygan/pretrained/") and name.endswith(".safetensors") for name in names)


def test_it_is_small_and_names_its_command_licence_and_extras(wheel: zipfile.ZipFile) -> None:
    assert sum(entry.compress_size for entry in wheel.infolist()) < 8 << 20
    info = f"steadygan-{steadygan.__version__}.dist-info"
    assert "steadygan = steadygan.cli:main" in wheel.read(f"{info}/entry_points.txt").decode()
    assert f"{info}/licenses/LICENSE" in wheel.namelist()
    metadata = wheel.read(f"{info}/METADATA").decode()
    assert {"plot", "pairs", "vision", "parquet", "hf", "fid", "studio"} <= set(
        re.findall(r"^Provides-Extra: (\w+)$", metadata, re.MULTILINE)
    )
