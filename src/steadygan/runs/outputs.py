"""Output paths of commands: never inside a checkpoint or the training images."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from steadygan.errors import UserError
from steadygan.files import CHECKPOINT_FILES, check_apart
from steadygan.runs.provenance import read_provenance
from steadygan.runs.shared import HUB, is_elsewhere, is_foreign, is_shared


def default_output(path: Path, name: str) -> Path:
    """The default output path: the file `name` in the run directory, or next to a checkpoint that belongs to no run.

    Args:
        path: a run directory, its checkpoints/ or a checkpoint; next to a zip file or another program's weights, and in
            the working directory for `hub:USER/NAME`.
        name: the file's name, such as `samples.png`.
    """
    if str(path).startswith(HUB):
        return Path(f"{path.name.partition('@')[0]}-{name}")
    if is_elsewhere(path) or is_foreign(path):
        return path.with_name(f"{path.stem}-{name}")
    if not (path / CHECKPOINT_FILES[0]).is_file() and not is_shared(path):
        run = run_of(path) if path.absolute().name == "checkpoints" else None
        return (run or path) / name
    run = run_of(path)
    place = path.resolve()
    return place.with_name(f"{place.name}-{name}") if run is None else run / name


def check_output(out: Path, path: Path) -> None:
    """Checks that an output path is not inside a run's training images.

    Raises:
        UserError: it does.
    """
    run = path if (path / "provenance.json").is_file() else run_of(path)
    if run is None:
        return
    data: object = None
    with suppress(UserError):  # a checkpoint works without its run's configuration
        data = read_provenance(run).get("data")
    if isinstance(data, dict) and isinstance(data.get("path"), str):
        check_data(out, data["path"])


def check_data(out: Path, data: str) -> None:
    """Checks that an output path is not inside the folder of images `data` (`data.path`).

    Raises:
        UserError: it does.
    """
    if Path(data).expanduser().is_dir():
        check_apart(out, Path(data), "the training images, of which it would become a part")


def run_of(checkpoint: Path) -> Path | None:
    """The run directory that contains a checkpoint."""
    for run in checkpoint.absolute().parents[:2]:
        if (run / "config.yaml").is_file():
            return run
    return None
