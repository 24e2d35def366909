"""Fixtures for several test files."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from helpers import Result, Run, command

from steadygan.kernels.compiled import building

# Two test processes share the cores, and networks this small gain nothing from threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# The processes that tests start would compile all sources of torch each, half of the time of its import.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
os.environ.pop("UV_RUN_RECURSION_DEPTH", None)  # `uv run pytest`: messages would name `uv run steadygan`
torch.set_num_threads(1)


LONG = (
    "test_learning",
    "test_compile",
    "test_program",
    "test_presets",
    "test_estimate",
    "test_inception",
    "test_browser_making",
    "test_browser",
    "test_loop",
    "test_making",
    "test_commands",
    "test_resume",
    "test_graphs",
    "test_distributed",
    "test_translation",
    "test_site",
    "test_notebooks",
    "test_module",
    "test_use",
)
"""The files that take longest, the longest first."""


def pytest_collection_finish() -> None:
    """The collector of garbage does not look again and again at what lives as long as the tests do."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)


def pytest_sessionfinish() -> None:
    gc.unfreeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first; if they started last, one process would wait for the other."""
    places = {name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path.stem, len(LONG)))


@pytest.fixture(autouse=True)
def may_compile() -> Iterator[None]:
    """Kernels are compiled by the first test that needs them."""
    with building():
        yield


@pytest.fixture
def float64() -> Iterator[None]:
    """New tensors and networks are float64 and come from seed 0."""
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture
def steadygan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in an empty directory, on a terminal of 80 columns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: str | Path) -> Result:
        capsys.readouterr()
        return Result(command(*arguments), *capsys.readouterr())

    return run
