"""The docs site: it builds without a warning, and its pages send no requests to other hosts."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mkdocs", reason="the docs group is not installed")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(out)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return out


def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 25
    loading = re.compile(
        r"<(?:script|link|img|iframe|source|video|audio)\b[^>]*?(?:src|href|srcset)=[\"']?(?:https?:)?//", re.IGNORECASE
    )
    assert [page.name for page in pages if loading.search(page.read_text(encoding="utf-8"))] == []
    styles = [sheet.read_text(encoding="utf-8") for sheet in site.rglob("*.css")]
    assert [sheet[:40] for sheet in styles if re.search(r"(?:url\(|@import )[\"']?(?:https?:)?//", sheet)] == []


def test_the_reference_has_every_setting_and_command(site: Path) -> None:
    settings = (site / "reference/settings.html").read_text(encoding="utf-8")
    for key in ("train.batch_size", "objective.terms.bcr.real", "model.generator.style_mixing", "augment.ada.ops.hue"):
        assert f"<code>{key}</code>" in settings
    commands = (site / "reference/commands.html").read_text(encoding="utf-8")
    for word in ("train", "settings", "data pack", "import"):
        assert f"steadygan {word}" in commands
    assert "--max-unreadable" in commands


def test_the_api_pages_are_made_from_docstrings(site: Path) -> None:
    page = (site / "reference/api.html").read_text(encoding="utf-8")
    for name in ("train", "evaluate", "load", "Generator", "Term"):
        assert re.search(rf'id="steadygan\.[\w.]*\b{name}"', page), name
