"""Runs for the tests of all commands."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli.runs import TINY
from helpers import command

from steadygan.metrics.protocol import PROTOCOLS, Protocol


@pytest.fixture(autouse=True)
def quick_scores(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEADYGAN_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setitem(PROTOCOLS, "digits", Protocol("digits", extractor="digits", num_fake=20))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    path = tmp_path_factory.mktemp("trained") / "runs" / "first"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEADYGAN_CACHE", str(path.parent / "cache"))
        patch.setitem(PROTOCOLS, "digits", Protocol("digits", extractor="digits", num_fake=20))
        assert command("train", "digits", *TINY, "--out", path) == 0
    return path
