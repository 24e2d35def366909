"""A run's origin, and its changes at each resume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from steadygan.errors import UserError
from steadygan.runs.provenance import (
    changed_circumstances,
    check_config,
    check_same_data,
    circumstances,
    provenance,
    resumed,
)

CONFIG = "name: run\ntrain:\n  steps: 5\n  seed: 0\n"
LONGER = CONFIG.replace("steps: 5", "steps: 9")
NOW = circumstances(torch.device("cpu"), 1, "float32; eager")
START = provenance(seed=0, config_yaml=CONFIG, data={"fingerprint": "f"}, circumstances=NOW)


def write(path: Path, origin: Any, config: str = CONFIG) -> Path:
    (path / "provenance.json").write_text(json.dumps(origin))
    (path / "config.yaml").write_text(config)
    return path


def test_a_resume_adds_to_the_history_what_it_changed() -> None:
    once = resumed(START, step=3, config_yaml=LONGER, overrides=["train.steps=9"], circumstances=NOW)
    twice = resumed(once, step=9, config_yaml=CONFIG, overrides=[], circumstances=NOW | {"threads": 64})
    assert twice["started"] == START["started"]
    assert [entry["step"] for entry in twice["resumes"]] == [3, 9]
    assert twice["resumes"][0]["changed"] == {"train.steps": [5, 9]}
    assert twice["resumes"][0]["overrides"] == ["train.steps=9"]
    assert twice["resumes"][1]["threads"] == 64
    assert {"versions", "device", "execution", "config_sha256"} <= twice["resumes"][1].keys()
    assert twice["config"] == {"name": "run", "train": {"steps": 5, "seed": 0}}


def test_the_configuration_as_written_is_accepted_also_in_the_middle_of_a_resume(tmp_path: Path) -> None:
    check_config(write(tmp_path, START))
    after = resumed(START, step=3, config_yaml=LONGER, overrides=[], circumstances=NOW)
    check_config(write(tmp_path, after, LONGER))
    check_config(write(tmp_path, after, CONFIG))


@pytest.mark.parametrize(
    ("edited", "said"),
    [
        (CONFIG.replace("steps: 5", "steps: 6"), "train.steps is 6, was 5"),
        (CONFIG[: CONFIG.index("  seed")], "train.seed is None, was 0"),
        (CONFIG + "# by hand\n", "is not what the run was last trained with"),
    ],
)
def test_an_edited_or_truncated_configuration_is_refused_naming_what_differs(
    tmp_path: Path, edited: str, said: str
) -> None:
    write(tmp_path, START, edited)
    with pytest.raises(UserError, match="--accept-config") as caught:
        check_config(tmp_path)
    assert said in str(caught.value)


def test_a_run_of_version_0_1_0_has_no_copy_and_is_checked_all_the_same(tmp_path: Path) -> None:
    old = {key: value for key, value in START.items() if key not in ("schema", "config", "execution")}
    check_config(write(tmp_path, old))
    with pytest.raises(UserError, match="--accept-config"):
        check_config(write(tmp_path, old, LONGER))


def test_what_changes_rounding_is_said() -> None:
    assert changed_circumstances(START, NOW) == ""
    said = changed_circumstances(START, NOW | {"threads": 64, "execution": "float32; graphs"})
    assert "64" in said
    assert "execution: float32; eager, now float32; graphs" in said


@pytest.mark.parametrize(
    "odd", ["", "[]", "null", "{}", '{"data": 3}', "[" * 50_000, '{"data": {"fingerprint": null}}']
)
def test_an_odd_provenance_is_named(tmp_path: Path, odd: str) -> None:
    (tmp_path / "provenance.json").write_text(odd)
    with pytest.raises(UserError, match=r"provenance\.json.*data cannot be checked"):
        check_same_data(tmp_path, "f")
