"""`steadygan diagnose`."""

from __future__ import annotations

import json
from pathlib import Path

from helpers import Run

RUNS = Path(__file__).with_name("runs")


def test_diagnose_says_the_kind_the_numbers_and_what_to_change(steadygan: Run) -> None:
    said = steadygan("diagnose", RUNS / "memorises")
    assert said.status == 0
    assert said.out.startswith("memorises\n")
    assert "D_accuracy_heldout" in said.out
    assert "augment.diffaugment.policy=[translation,cutout]" in said.out


def test_diagnose_as_json(steadygan: Run) -> None:
    found = json.loads(steadygan("diagnose", RUNS / "diverges", "--json").out)
    assert found["kind"] == "diverging"
    assert found["since_step"] > 0


def test_diagnose_of_what_is_no_run_names_it(steadygan: Run, tmp_path: Path) -> None:
    said = steadygan("diagnose", tmp_path)
    assert said.status == 2
    assert "is not a run directory" in said.err
