from __future__ import annotations

import csv as csv_format
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from steadygan.errors import UserError
from steadygan.reports import curves as compare
from steadygan.reports import tables
from steadygan.runs.reading import read_run

PROTOCOL = {"name": "digits", "num_fake": 2000, "reals_sha256": "ab" * 32, "torch": "2.11"}


def write_run(folder: Path, seed: int = 0, reports: int = 120, **protocol: Any) -> Path:
    """A run directory with noisy curves and five evaluations whose FD is best (10) at step 3,000."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    metrics = []
    for i in range(1, reports + 1):
        row: dict[str, Any] = {"step": 50 * i, "images": 3200 * i, "seconds": 5.0 * i}
        row["images_per_s"] = 640.0 if i > 1 else 10.0
        row |= {"D/adversarial": 1.2 - i / reports / 2 + rng.normal(0, 0.1), "D/cr": rng.exponential(0.05)}
        row |= {"G/adversarial": 0.8 + i / reports + rng.normal(0, 0.2), "G/zcr": -rng.exponential(0.02)}
        row |= {"D_accuracy_train": 0.6 + 0.3 * i / reports + rng.normal(0, 0.02)}
        row |= {"D_accuracy_heldout": 0.6 + 0.05 * i / reports + rng.normal(0, 0.02)}
        metrics.append(row)
    scores = [
        {"step": step, "FD-digits": fd + 3 * seed, "class_agreement": 0.9, "diversity": 1.2 - fd / 50}
        | {"protocol": PROTOCOL | protocol}
        for step, fd in zip(range(1000, 6000, 1000), (40.0, 20.0, 10.0, 12.0, 15.0), strict=True)
    ]
    for name, rows in (("metrics", metrics), ("scores", scores)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_table_gives_last_and_best_scores_and_the_speed(tmp_path: Path) -> None:
    (row,) = tables.table([write_run(tmp_path / "a")])
    assert row["run"] == "a"
    assert (row["step"], row["images"], row["seconds"], row["images_per_s"]) == (6000, 384_000, 600.0, 640.0)
    assert (row["FD-digits"], row["FD-digits best"], row["FD-digits best at step"]) == (15.0, 10.0, 3000)
    assert row["diversity best"] == pytest.approx(1.0), "the best diversity is that of the reals"


def test_scores_of_different_protocols_get_different_columns(tmp_path: Path) -> None:
    first = write_run(tmp_path / "a")
    other = write_run(tmp_path / "b", num_fake=500)
    row_a, row_b = tables.table([first, other])
    assert row_a.keys() == row_b.keys()
    assert "FD-digits" not in row_a
    assert row_a["FD-digits [digits num_fake=2000]"] == row_b["FD-digits [digits num_fake=500]"] == 15.0
    assert row_a["FD-digits [digits num_fake=500]"] is None


def test_versions_of_the_software_do_not_separate_scores(tmp_path: Path) -> None:
    rows = tables.table([write_run(tmp_path / "a"), write_run(tmp_path / "b", seed=1, torch="2.15")])
    assert [row["FD-digits"] for row in rows] == [15.0, 18.0]


def test_a_line_cut_short_by_a_kill_is_left_out_and_other_damage_is_said(tmp_path: Path) -> None:
    path = write_run(tmp_path / "a") / "metrics.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    assert tables.table([tmp_path / "a"])[0]["step"] == 5950
    path.write_bytes(whole[:-1])
    assert tables.table([tmp_path / "a"])[0]["step"] == 6000
    path.write_bytes(whole[:-30] + b"\n" + whole)
    with pytest.warns(UserWarning, match=r"metrics.jsonl: a damaged line left out"):
        assert tables.table([tmp_path / "a"])[0]["step"] == 6000


def test_steps_repeated_by_a_resumed_run_count_once_the_later_wins(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", reports=3)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 100, "D/adversarial": 7.0}) + "\n")
    metrics = read_run(folder).metrics
    assert [row["step"] for row in metrics] == [50, 100, 150]
    assert metrics[1]["D/adversarial"] == 7.0


def test_missing_and_empty_runs_are_errors_that_name_the_directory(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run directories"):
        tables.table([])
    with pytest.raises(UserError, match="nowhere is not a run directory"):
        tables.table([tmp_path / "nowhere"])
    (tmp_path / "metrics.jsonl").touch()
    with pytest.raises(UserError, match="has no log line yet"):
        compare.plot([tmp_path], tmp_path / "out.png")
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')
    (tmp_path / "scores.jsonl").write_text('{"step": 1, "FD-digits": 3.0}\n')
    with pytest.raises(UserError, match="step 1 lacks its protocol"):
        tables.table([tmp_path])


def test_markdown_and_csv_hold_the_table(tmp_path: Path) -> None:
    write_run(tmp_path / "with|bar")
    write_run(tmp_path / "x" / "same")
    rows = tables.table([tmp_path / "with|bar", tmp_path / "x" / "same"])
    lines = tables.markdown(rows).splitlines()
    assert len(lines) == 4
    assert "with\\|bar" in lines[2]
    read = list(csv_format.DictReader(tables.csv(rows).splitlines()))
    assert [row["run"] for row in read] == ["with|bar", "same"]
    assert float(read[0]["FD-digits best"]) == 10.0


def test_runs_of_the_same_name_are_told_apart_by_their_path(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / parent / "digits") for parent in "ab"]
    assert [row["run"] for row in tables.table(folders)] == [str(folder) for folder in folders]


def test_plot_draws_every_run_even_a_diverged_or_unscored_one(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / f"run-{seed}", seed) for seed in range(2)]
    diverged = tmp_path / "diverged"
    diverged.mkdir()
    values = ("1.0", "NaN", "null", "Infinity")
    lines = [f'{{"step": {50 * i}, "D/adversarial": {value}}}\n' for i, value in enumerate(values)]
    (diverged / "metrics.jsonl").write_text("".join(lines))
    out = tmp_path / "figures" / "compare.png"
    compare.plot([*folders, diverged], out)
    with Image.open(out) as image:
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    for colour in ((31, 119, 180), (255, 127, 14), (44, 160, 44)):
        assert (pixels == colour).all(1).any(), "each run's colour is in the figure"
