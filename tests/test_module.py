"""`python -m steadygan` imports nothing from the current directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import steadygan

SOURCE = Path(steadygan.__file__).parents[1]
STRANGE = "from pathlib import Path\nPath(__file__).with_suffix('.ran').touch()\nraise SystemExit('strange code ran')\n"


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    environment.pop("PYTHONSAFEPATH", None)
    command = [sys.executable, "-m", "steadygan", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def test_modules_in_the_current_directory_are_not_imported(tmp_path: Path) -> None:
    for name in ("typing", "yaml", "typer", "numpy", "rich", "pydantic", "json", "torch"):
        (tmp_path / f"{name}.py").write_text(STRANGE)

    done = run(tmp_path, "presets", "digits")

    assert (done.returncode, done.stderr) == (0, "")
    assert "extends" in done.stdout or "name" in done.stdout or "about" in done.stdout
    assert not list(tmp_path.glob("*.ran"))


@pytest.mark.parametrize(
    "setting",
    ["data: {path: 'strange:Images:x'}", "model: {kind: 'strange:Nets'}", "objective: {terms: {'strange:term': {}}}"],
)
def test_a_dry_run_imports_no_module_that_lies_next_to_its_yaml(tmp_path: Path, setting: str) -> None:
    (tmp_path / "strange.py").write_text(STRANGE)
    (tmp_path / "mine.yaml").write_text(f"extends: digits\n{setting}\n")

    done = run(tmp_path, "train", "mine.yaml", "--dry-run")

    assert done.returncode == 2
    assert "strange" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "strange.ran").exists()
