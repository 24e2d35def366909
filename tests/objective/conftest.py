"""The tiny run that several files train: the one of `benchmarks/combinations.py`."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def combinations() -> ModuleType:
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "combinations.py"
    spec = importlib.util.spec_from_file_location("combinations", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
