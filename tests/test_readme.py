"""The README's example runs as written."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image

import steadygan
from steadygan import config
from steadygan.nets.registry import FAMILIES, TRANSLATORS
from steadygan.objective.adversarial import LOSSES
from steadygan.objective.registry import TERMS

README = Path(__file__).parents[1] / "README.md"


def test_the_python_example_runs_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = re.search(r"```python\n(import steadygan\n.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert code is not None
    assert len(code[1].strip().splitlines()) <= 15
    monkeypatch.chdir(tmp_path)
    exec(compile(code[1], str(README), "exec"), {})
    with Image.open(tmp_path / "sevens.png") as sheet:
        assert sheet.size == (4 * (4 * 34 + 2), 4 * (4 * 34 + 2))
    assert (tmp_path / "runs/quick/samples/step-00000020.png").is_file()


def test_the_readme_fits_and_its_counts_are_those_of_the_code() -> None:
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 200
    assert f"{len(LOSSES)} losses, {len(TERMS)} terms, DiffAugment, ADA, APA" in text
    assert f"[{len(FAMILIES)}, and {len(TRANSLATORS)} for translation]" in text
    presets = re.search(r"# (\d+) experiments", text)
    assert presets is not None
    assert 0 <= len(config.preset_names()) - int(presets[1]) < 10  # rounded down


def test_every_cell_of_ours_has_a_test_or_a_measurement_behind_it() -> None:
    text = README.read_text(encoding="utf-8")
    named = set(re.findall(r"\]\[(\w+)\]", text))
    targets = dict(re.findall(r"^\[(\w+)\]: (\S+)$", text, re.MULTILINE))
    assert named == targets.keys()
    assert [target for target in targets.values() if not (README.parent / target).exists()] == []
    assert all(target.startswith(("tests/", "results/", "docs/combinations.md")) for target in targets.values())


def test_the_documented_term_trains_under_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (README.parent / "docs/extending.md").read_text(encoding="utf-8")
    module, experiment = (re.search(rf"```{kind}\n(.*?)```", text, re.DOTALL) for kind in ("python", "yaml"))
    assert module is not None
    assert experiment is not None
    assert len(module[1].strip().splitlines()) <= 20
    (tmp_path / "my_terms.py").write_text(module[1])
    (tmp_path / "my-experiment.yaml").write_text(experiment[1])
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    tiny = ["train.steps=2", "train.log_every=1", "train.batch_size=8", "model.width=2", "data.size=16"]
    run = steadygan.train("my-experiment.yaml", [*tiny, "eval.num_fake=20"])
    record = json.loads((run.path / "metrics.jsonl").read_text().splitlines()[-1])
    assert "G/latent_slope" in record
