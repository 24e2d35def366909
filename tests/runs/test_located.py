"""A run's images are found from another directory, and after they moved."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from steadygan.errors import UserError
from steadygan.runs.located import load_located


def run_in(tmp_path: Path) -> Path:
    run = tmp_path / "work/run"
    (tmp_path / "work/photos").mkdir(parents=True)
    run.mkdir()
    (run / "config.yaml").write_text("name: run\ndata: {path: photos}\n")
    (run / "provenance.json").write_text(json.dumps({"data": {"path": str(tmp_path / "work/photos")}}))
    return run


def test_a_relative_path_is_what_it_was_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_in(tmp_path)
    monkeypatch.chdir(tmp_path / "work")
    assert load_located(run).data.path == "photos"
    monkeypatch.chdir(tmp_path)
    assert load_located(run).data.path == str(tmp_path / "work/photos")
    assert load_located(run, ["data.path=elsewhere"]).data.path == "elsewhere"


def test_images_that_moved_are_asked_for_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_in(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "work/photos").rename(tmp_path / "moved")
    with pytest.raises(UserError, match=r"no longer at photos and .*--data PATH, or to resume with data.path=PATH"):
        load_located(run)
    assert load_located(run, data=tmp_path / "moved").data.path == str(tmp_path / "moved")
