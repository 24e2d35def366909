"""The README's example runs as written."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image

import steadygan

README = Path(__file__).parents[1] / "README.md"


def test_the_python_example_runs_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = re.search(r"```python\n(import steadygan\n.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert code is not None
    assert len(code[1].strip().splitlines()) <= 15
    monkeypatch.chdir(tmp_path)
    exec(compile(code[1], str(README), "exec"), {})
    with Image.open(tmp_path / "sevens.png") as sheet:
        assert sheet.size == (4 * 34 + 2, 4 * 34 + 2)
    assert (tmp_path / "runs/quick/samples/step-00000020.png").is_file()


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
    run = steadygan.train("my-experiment.yaml", tiny)
    record = json.loads((run.path / "metrics.jsonl").read_text().splitlines()[-1])
    assert "G/latent_slope" in record
