"""Seeds as one, and scores against a key: grouping and averaging."""

from __future__ import annotations

import csv as csv_format
import json
from pathlib import Path
from statistics import stdev
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from steadygan.errors import UserError
from steadygan.reports import curves as compare
from steadygan.reports import tables
from steadygan.reports.against import against, plot_against
from steadygan.reports.grouping import _common_name, group_seeds, mean_and_sd, merged
from steadygan.runs.reading import read_runs

PROTOCOL = {"name": "digits", "num_fake": 2000, "reals_sha256": "ab" * 32}


def write_run(folder: Path, scores: dict[int, float], seed: int = 0, **options: Any) -> Path:
    """A run directory with an FD by step and a configuration; `protocol` and sections are options."""
    folder.mkdir(parents=True)
    protocol = PROTOCOL | options.pop("protocol", {})
    config = {"name": folder.name, "data": {"fraction": 1.0}, "train": {"seed": seed, "lr": 0.1}, "eval": {"every": 9}}
    for section, values in options.items():
        config[section] = {**config.get(section, {}), **values}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    metrics = [
        {"step": step, "images": 2 * step, "images_per_s": 10.0, "D/adversarial": fd} for step, fd in scores.items()
    ]
    records = [{"step": step, "FD-digits": fd, "protocol": protocol} for step, fd in scores.items()]
    for name, rows in (("metrics", metrics), ("scores", records)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_runs_that_differ_in_the_seed_alone_are_one_group(tmp_path: Path) -> None:
    paths = [
        write_run(tmp_path / "cr-seed0", {1: 2.0}, 0),
        write_run(tmp_path / "cr-seed1", {1: 4.0}, 1, train={"device": "cuda", "log_every": 7}, eval={"every": 3}),
        write_run(tmp_path / "slow", {1: 3.0}, 0, train={"lr": 0.2}),
        write_run(tmp_path / "part", {1: 3.0}, 2, data={"fraction": 0.5}),
    ]
    groups = group_seeds(read_runs(paths))
    assert [(group.name, len(group.runs)) for group in groups] == [("cr", 2), ("slow", 1), ("part", 1)]
    (paths[1] / "config.yaml").unlink()
    assert len(group_seeds(read_runs(paths))) == 4, "a run without configuration belongs to no group"


def test_mean_and_standard_deviation_of_the_sample() -> None:
    assert mean_and_sd([1.0, 2.0, 4.5]) == (2.5, pytest.approx(stdev([1.0, 2.0, 4.5])))
    assert mean_and_sd([3.0]) == (3.0, None)


def test_curves_are_averaged_only_where_all_have_a_point() -> None:
    curves = [[(10, 1.0), (20, 2.0), (30, 3.0)], [(30, 5.0), (10, 3.0)]]
    assert merged(curves) == [(10, 2.0, pytest.approx(2**0.5)), (30, 4.0, pytest.approx(2**0.5))]
    assert merged(curves[:1]) == [(10, 1.0, 0.0), (20, 2.0, 0.0), (30, 3.0, 0.0)]
    assert merged([[], curves[0]]) == []


def test_a_table_of_groups_has_means_beside_their_deviations(tmp_path: Path) -> None:
    paths = [write_run(tmp_path / f"cr-seed{seed}", {10: 4.0, 20: 2.0 + seed}, seed) for seed in (0, 1, 2)]
    paths.append(write_run(tmp_path / "alone", {20: 7.0}, train={"lr": 0.2}))
    rows = tables.table(paths, seeds=True)
    assert [row["run"] for row in rows] == ["cr", "alone"]
    assert [row["seeds"] for row in rows] == [3, 1]
    assert (rows[0]["FD-digits"], rows[0]["FD-digits sd"]) == (3.0, 1.0)
    assert (rows[0]["FD-digits best"], rows[1]["FD-digits sd"]) == (3.0, None)
    assert "FD-digits best at step" not in rows[0]
    lines = tables.markdown(rows).splitlines()
    assert "FD-digits sd" not in lines[0]
    assert "| 3 ± 1 |" in lines[2]
    read = list(csv_format.DictReader(tables.csv(rows).splitlines()))
    assert float(read[0]["FD-digits sd"]) == 1.0


def test_a_group_lacks_the_score_that_one_of_its_runs_lacks(tmp_path: Path) -> None:
    paths = [write_run(tmp_path / f"cr-seed{seed}", {10: 4.0}, seed) for seed in (0, 1)]
    (paths[1] / "scores.jsonl").write_text("")
    assert tables.table(paths, seeds=True)[0]["FD-digits"] is None


def test_a_group_is_drawn_as_one_curve(tmp_path: Path) -> None:
    paths = [write_run(tmp_path / f"cr-seed{seed}", {10: 4.0, 20: 2.0 + 3 * seed}, seed) for seed in (0, 1)]
    colours = []
    for seeds in (False, True):
        compare.plot(paths, tmp_path / "out.png", seeds=seeds)
        with Image.open(tmp_path / "out.png") as image:
            pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
        colours.append([bool((pixels == colour).all(1).any()) for colour in ((31, 119, 180), (255, 127, 14))])
    assert colours == [[True, True], [True, False]]


def test_scores_against_a_key_are_means_over_seeds_at_each_value(tmp_path: Path) -> None:
    paths = [
        write_run(
            tmp_path / f"cr-{fraction}-seed{seed}",
            {10: 1.0, 20: 10 / fraction + seed},
            seed,
            data={"fraction": fraction},
        )
        for fraction in (1.0, 0.1)
        for seed in (0, 2)
    ]
    paths.append(write_run(tmp_path / "plain", {20: 50.0}, data={"fraction": 0.1}, train={"lr": 0.2}))
    rows = against(paths, "data.fraction")
    assert [(row["run"], row["data.fraction"], row["seeds"]) for row in rows] == [
        ("cr", 0.1, 2),
        ("cr", 1.0, 2),
        ("plain", 0.1, 1),
    ]
    assert [row["FD-digits"] for row in rows] == [101.0, 11.0, 50.0]
    assert rows[0]["FD-digits sd"] == pytest.approx(2**0.5)
    assert against(paths, "data.fraction", pick="best")[0]["FD-digits"] == 1.0
    plot_against(rows, "data.fraction", tmp_path / "figures/against.png")
    with Image.open(tmp_path / "figures/against.png", formats=["PNG"]) as image:
        assert image.width > 100


def test_words_are_values_too(tmp_path: Path) -> None:
    paths = [write_run(tmp_path / kind, {20: 5.0}, model={"kind": kind}) for kind in ("resnet", "dcgan")]
    rows = against(paths, "model.kind")
    assert [row["model.kind"] for row in rows] == ["dcgan", "resnet"]
    plot_against(rows, "model.kind", tmp_path / "against.png")


def test_scores_against_different_reals_make_no_curve(tmp_path: Path) -> None:
    """A run on part of the data is by default compared with that part."""
    paths = [
        write_run(tmp_path / str(f), {20: 5.0}, data={"fraction": f}, protocol={"reals_sha256": str(f)})
        for f in (0.1, 1.0)
    ]
    with pytest.raises(UserError, match=r"protocols differ in reals_sha256.*--protocol"):
        against(paths, "data.fraction")


@pytest.mark.parametrize(
    ("key", "message"),
    [("data.fractoin", "did you mean 'data.fraction'"), ("train.lr", r"all runs have 0\.1")],
)
def test_a_key_that_makes_no_curve_is_refused(tmp_path: Path, key: str, message: str) -> None:
    paths = [write_run(tmp_path / f"r{seed}", {20: 5.0}, seed) for seed in (0, 1)]
    with pytest.raises(UserError, match=message):
        against(paths, key)


def test_a_score_taken_once_gets_no_panel_beside_a_curve_of_that_name(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run", {10: 4.0, 20: 2.0})
    before, after = tmp_path / "before.png", tmp_path / "after.png"
    compare.plot([path], before)
    with (path / "scores.jsonl").open("a") as file:
        for truncation in (0.2, 0.5, 1.0, 2.0):
            record = {"step": 20, "FD-digits": 9.0, "protocol": PROTOCOL | {"truncation": truncation}}
            file.write(json.dumps(record) + "\n")
    compare.plot([path], after)
    with Image.open(before) as a, Image.open(after) as b:
        assert a.size == b.size
    assert sum("truncation=0.5" in column for column in tables.table([path])[0]) > 0, "the table has all"


def test_d_accuracy_on_seen_and_unseen_reals_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.axes import Axes

    path = write_run(tmp_path / "run", {10: 4.0})
    rows = [{"step": step, "D_accuracy_train": 0.9, "D_accuracy_heldout": 0.5} for step in (10, 20, 30)]
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    drawn: list[float] = []
    plot = Axes.plot

    def noted(self: Axes, x: Any, *args: Any, **kwargs: Any) -> Any:
        drawn.extend(np.asarray(args[0], dtype=float).tolist() if args else [])
        return plot(self, x, *args, **kwargs)

    monkeypatch.setattr(Axes, "plot", noted)
    compare.plot([path], tmp_path / "out.png")
    assert {0.9, 0.5} <= set(drawn)


@pytest.mark.parametrize(
    ("names", "common"),
    [
        (["stylegan2-0", "stylegan2-1"], "stylegan2"),
        (["stylegan2-seed10", "stylegan2-seed11"], "stylegan2"),
        (["cifar10_seed0", "cifar10_seed1", "cifar10_seed2"], "cifar10"),
        (["run1", "run12"], "run"),
        (["r1", "r1-1"], "r1"),
        (["0", "1"], "0"),
    ],
)
def test_a_groups_name_keeps_the_digits_of_its_experiment(names: list[str], common: str) -> None:
    assert _common_name(names) == common
