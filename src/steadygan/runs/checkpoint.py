"""Checkpoints: a directory that is there whole or not at all, readable without running anybody's code.

step-00001000/
  weights.safetensors    every network tensor by `network.parameter`; the averaged generator is `G_ema`
  state.pt               optimisers, random states, data position (tensors and plain values, `weights_only`); imported
                         weights have none
  manifest.json          format, step, sha-256 of each file, and what is needed to rebuild the generator
"""

from __future__ import annotations

import errno
import json
import pickle
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from steadygan._version import __version__
from steadygan.errors import UserError
from steadygan.files import sha256, whole_directory


class Checkpointed(Protocol):
    """What a checkpoint is written from, and brings back."""

    step: int
    images: int

    def weights(self) -> dict[str, Tensor]:
        """All network tensors by `network.parameter`."""

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Puts tensors of these names in their places."""

    def state_dict(self) -> dict[str, Any]:
        """Everything else: tensors and plain values only."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Brings back what `state_dict` returned."""


FORMAT = 1
WEIGHTS, STATE, MANIFEST = "weights.safetensors", "state.pt", "manifest.json"
STATISTICS = "statistics.safetensors"
"""Batch norm statistics by truncation, of imported generators that were published with them."""


def save_checkpoint(state: Checkpointed, root: Path, generator: Mapping[str, Any], *, keep: int) -> Path:
    """Writes `root/step-` and eight digits, and removes all but the `keep` newest and the one named in `root/best`.

    `generator` describes the generator for `steadygan.load` (plain JSON values).
    """
    path = root / checkpoint_name(state.step)
    with whole_directory(path) as temporary:
        weights = {key: value.detach().cpu().contiguous() for key, value in state.weights().items()}
        with _as_oserror():
            save_file(weights, temporary / WEIGHTS)
            torch.save(state.state_dict(), temporary / STATE)
        manifest = {
            "format": FORMAT,
            "steadygan": __version__,
            "torch": torch.__version__,
            "step": state.step,
            "images": state.images,
            "generator": dict(generator),
            "sha256": {name: sha256(temporary / name) for name in (WEIGHTS, STATE)},
        }
        (temporary / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    best = best_checkpoint(root)
    for old in checkpoints(root)[:-keep]:
        if old != best:
            shutil.rmtree(old)
    return path


def checkpoint_name(step: int) -> str:
    """The directory's name: `step-00001000`."""
    return f"step-{step:08d}"


def checkpoint_step(path: Path) -> int:
    """The step in a checkpoint's name."""
    return int(path.name.removeprefix("step-"))


@contextmanager
def _as_oserror() -> Iterator[None]:
    """On a full disk safetensors and torch raise errors of their own."""
    try:
        yield
    except (SafetensorError, RuntimeError) as error:
        raise OSError(errno.EIO, str(error).splitlines()[0]) from error


def checkpoints(root: Path) -> list[Path]:
    """The checkpoints in a directory, oldest first. What only looks like one (a copy under another name) is left be."""
    return sorted(path for path in root.glob("step-*") if re.fullmatch(r"step-\d{8,}", path.name) and path.is_dir())


def best_checkpoint(root: Path) -> Path | None:
    """The checkpoint with the best score so far, if one has been scored and is still there."""
    pointer = root / "best"
    name = pointer.read_text(encoding="utf-8", errors="replace").strip() if pointer.is_file() else None
    return next((path for path in checkpoints(root) if path.name == name), None)


def find_checkpoint(path: Path) -> Path:
    """The checkpoint that a path stands for: itself, or the best (else the newest) of a run directory."""
    if (path / MANIFEST).is_file():
        return path
    root = path / "checkpoints"
    found = best_checkpoint(root) or next(reversed(checkpoints(root)), None) if root.is_dir() else None
    if found is None:
        raise UserError(f"{path} is neither a checkpoint nor a run directory with one")
    return found


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a checkpoint whose files are the ones that were written; `UserError` if not."""
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        sums = {str(name): str(digest) for name, digest in manifest["sha256"].items()}
        version = manifest["format"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not a checkpoint, or a damaged one: {MANIFEST} is missing or unreadable") from error
    if version != FORMAT:
        raise UserError(f"{path}: checkpoint format {version!r}; this version of steadygan reads {FORMAT}")
    if WEIGHTS not in sums or any(Path(name).name != name for name in sums):
        raise UserError(f"{path}: the manifest doesn't list the files of a checkpoint")
    for name, digest in sums.items():
        file = path / name
        if not file.is_file() or sha256(file) != digest:
            raise UserError(
                f"{file}: missing or changed since it was written (its SHA-256 is not the manifest's); "
                "remove this checkpoint to go on from the one before"
            )
    return manifest


def read_weights(path: Path) -> dict[str, Tensor]:
    """All network tensors of a checkpoint, on the CPU."""
    return _read_tensors(path / WEIGHTS)


def read_statistics(path: Path) -> dict[str, Tensor]:
    """Tables (truncations, C) of the averaged generator's batch norms, from none to the whole; empty where absent."""
    return _read_tensors(path / STATISTICS) if (path / STATISTICS).is_file() else {}


def licence(path: Path, manifest: Mapping[str, Any]) -> str:
    """The terms, where known, of imported weights, and of a run's that started from such (its provenance says so)."""
    origin = manifest.get("origin")
    if origin is None:
        try:
            provenance = json.loads((path.resolve().parents[1] / "provenance.json").read_text(encoding="utf-8"))
            origin = provenance["init_from"]
        except (OSError, ValueError, LookupError, TypeError):
            return ""
    return str(origin.get("licence", "")) if isinstance(origin, Mapping) else ""


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: not a readable safetensors file: {error}") from error


def load_checkpoint(state: Checkpointed, path: Path) -> None:
    """Brings a state back to what it was when the checkpoint was written."""
    if STATE not in read_manifest(path)["sha256"]:
        raise UserError(f"{path} has weights but no training state to resume from; start from it with train.init_from")
    try:
        saved = torch.load(path / STATE, map_location="cpu", weights_only=True)
        state.load_weights(read_weights(path))
        state.load_state_dict(saved)
    except pickle.UnpicklingError as error:
        # torch's own message advises to load it unsafely, which is the last thing to do.
        raise UserError(f"{path / STATE}: not a training state; nothing in it was executed") from error
    except (EOFError, KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: does not fit this run (was the model, the optimiser or the data changed?): {error}"
        ) from error
