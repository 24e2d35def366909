"""Checkpoints: directories written atomically and read without executing code.

step-00001000/
  weights.safetensors    every network tensor by `network.parameter`; the averaged generator is `G_ema`
  state.pt               optimisers, random states, data position (tensors and plain values, `weights_only`)
  manifest.json          format, step, SHA-256 of each file and network, and what is needed to rebuild the generator

Resuming needs all three files. Loading a generator needs neither `state.pt`, which imported weights lack, nor the
weights of other networks.
"""

from __future__ import annotations

import errno
import hashlib
import json
import pickle
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from steadygan._version import __version__
from steadygan.errors import UserError
from steadygan.files import read_json, sha256, whole_directory, write_failure, write_text
from steadygan.runs.shared import CONFIG, MODEL, MOST_CONFIG, is_shared, opened
from steadygan.runs.shared import STATISTICS as STATISTICS

T = TypeVar("T")


class Checkpointed(Protocol):
    """The state that a checkpoint saves and restores."""

    step: int
    images: int

    def weights(self) -> dict[str, Tensor]:
        """All network tensors by `network.parameter`."""

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Loads tensors by name."""

    def state_dict(self) -> dict[str, Any]:
        """All other state: tensors and plain values only."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""


FORMAT = 1
WEIGHTS, STATE, MANIFEST = "weights.safetensors", "state.pt", "manifest.json"
AVERAGED = "G_ema"

ANOTHER = "use another checkpoint of the run, or remove this one and resume"
"""Advice for a damaged checkpoint."""
KINDS = "give a run, a checkpoint, an exported folder or .zip, hub:USER/NAME, or a .pkl or .pth file"
MOST_HEADER = 8 << 20
"""Maximum size in bytes of a safetensors header, which holds about a hundred bytes per tensor."""
RETRIES = 5
"""Maximum number of further checkpoints that a reader tries when retention deletes the one it found."""


def save_checkpoint(
    state: Checkpointed,
    root: Path,
    generator: Mapping[str, Any],
    *,
    keep: int,
    record: Mapping[str, Any] | None = None,
    best: bool = False,
) -> Path:
    """Writes `root/step-NNNNNNNN`, then deletes all but the `keep` newest checkpoints and the one named in `root/best`.

    A kill at any moment leaves the previous checkpoints and the best one intact: the new checkpoint is complete before
    `best` names it, and old ones are deleted last.

    Args:
        state: the state to save.
        root: the folder of the run's checkpoints.
        generator: describes the generator for `steadygan.load` (plain JSON values).
        keep: how many of the newest checkpoints stay.
        record: the score of these weights, for `scores.jsonl`. If the writer is killed before it appends the record,
            the next writer recovers it from here.
        best: whether that score is the best so far.

    Returns:
        The checkpoint.
    """
    path = root / checkpoint_name(state.step)
    with whole_directory(path) as temporary:
        weights = {key: value.detach().cpu().contiguous() for key, value in state.weights().items()}
        with _as_oserror(temporary):
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
            "networks": network_digests(weights),
        }
        if record is not None:
            manifest["scored"] = {"record": dict(record), "best": best}
        (temporary / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    if best:
        mark_best(path)
    kept = best_checkpoint(root)
    for old in checkpoints(root)[:-keep]:
        if old != kept:
            remove_checkpoint(old)
    return path


def remove_checkpoint(path: Path) -> None:
    """Deletes a checkpoint atomically: neither readers nor a process after a kill see a partial one.

    Raises:
        UserError: it cannot be deleted.
    """
    aside = path.with_name(f".{path.name}-{secrets.token_hex(4)}-gone")
    try:
        path.replace(aside)
    except OSError as error:
        raise UserError(f"{path}: cannot be removed: {error.strerror}") from error
    shutil.rmtree(aside, ignore_errors=True)


def mark_best(checkpoint: Path) -> None:
    """Names a checkpoint in `best`, which protects it from retention."""
    write_text(checkpoint.parent / "best", checkpoint.name + "\n")


def network_digests(weights: Mapping[str, Tensor]) -> dict[str, str]:
    """The SHA-256 of each network's tensors (names, types, shapes and content), by the network's name."""
    digests: dict[str, Any] = {}
    for key in sorted(weights):
        tensor = weights[key].detach().cpu().contiguous()
        digest = digests.setdefault(key.partition(".")[0], hashlib.sha256())
        digest.update(f"{key} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return {name: digest.hexdigest() for name, digest in digests.items()}


def checkpoint_name(step: int) -> str:
    """The directory's name: `step-00001000`."""
    return f"step-{step:08d}"


def checkpoint_step(path: Path) -> int:
    """The step in a checkpoint's name."""
    return int(path.name.removeprefix("step-"))


@contextmanager
def _as_oserror(folder: Path) -> Iterator[None]:
    """Reports a full disk, which errors of safetensors and torch do not mention."""
    try:
        yield
    except (SafetensorError, RuntimeError) as error:
        reason = write_failure(folder) or str(error).splitlines()[0]
        raise OSError(errno.EIO, reason) from error


def checkpoints(root: Path) -> list[Path]:
    """The checkpoints in a directory, oldest first. Copies under other names are ignored."""
    found = [path for path in root.glob("step-*") if re.fullmatch(r"step-\d{8,}", path.name) and path.is_dir()]
    return sorted(found, key=checkpoint_step)


def best_checkpoint(root: Path) -> Path | None:
    """The checkpoint with the best score so far; None if none has been scored or it was deleted."""
    pointer = root / "best"
    name = pointer.read_text(encoding="utf-8", errors="replace").strip() if pointer.is_file() else None
    return next((path for path in checkpoints(root) if path.name == name), None)


def find_checkpoint(path: Path) -> Path:
    """Resolves a path to a checkpoint: the path itself, or the best (else newest) checkpoint of a run or its
    checkpoints/.

    Shared generators (`runs.shared`) count as checkpoints: a folder, a zip file, or `hub:USER/NAME`.

    Raises:
        UserError: there is none.
    """
    path = opened(path)
    if (path / MANIFEST).is_file() or is_shared(path):
        return path
    root = path if path.name == "checkpoints" else path / "checkpoints"
    found = best_checkpoint(root) or next(reversed(checkpoints(root)), None) if root.is_dir() else None
    if found is None:
        raise UserError(f"{path} is neither a checkpoint nor a run directory with one; {KINDS}")
    return found


def use_checkpoint(path: Path, use: Callable[[Path], T]) -> T:
    """Applies `use` to the checkpoint of a path (`find_checkpoint`).

    If the training process deletes that checkpoint meanwhile, the path is resolved again.
    """
    for attempt in range(RETRIES + 1):
        checkpoint = find_checkpoint(path)
        try:
            return use(checkpoint)
        except UserError:
            if checkpoint == path or checkpoint.exists() or attempt == RETRIES:
                raise
    raise AssertionError


def weights_name(path: Path) -> str:
    """The name of a checkpoint's weights file, which differs in a shared generator."""
    return MODEL if is_shared(path) and not (path / MANIFEST).is_file() else WEIGHTS


def weights_digest(path: Path) -> str:
    """The SHA-256 of a checkpoint's weights; for a shared generator, that of the weights it was exported from."""
    manifest = read_manifest(path, ())
    return str(manifest.get("exported_from") or manifest["sha256"][weights_name(path)])


def read_manifest(path: Path, files: Sequence[str] | None = None) -> dict[str, Any]:
    """Reads a checkpoint's manifest and verifies the hashes of these files; None: of all files it lists.

    Raises:
        UserError: the manifest, or one of the files, is missing or damaged.
    """
    weights = weights_name(path)
    file = path / (MANIFEST if weights == WEIGHTS else CONFIG)
    try:
        if file.is_file() and file.stat().st_size > MOST_CONFIG:
            raise UserError(f"{file}: damaged: larger than {MOST_CONFIG:,} bytes; {ANOTHER}")
        manifest = read_json(file)
        sums = {str(name): str(digest) for name, digest in manifest["sha256"].items()}
        version = manifest["format"]
    except (OSError, UserError, KeyError, AttributeError) as error:
        raise UserError(f"{path}: not a checkpoint, or a damaged one: {file.name} is missing or unreadable") from error
    if version != FORMAT:
        raise UserError(
            f"{path}: checkpoint format {version!r}; "
            f"this version of steadygan reads {FORMAT}: use the version that wrote it"
        )
    if any(Path(name).name != name for name in sums) or weights not in sums:
        raise UserError(f"{path}: the manifest doesn't list the files of a checkpoint; {ANOTHER}")
    for name in sums if files is None else files:
        file = path / name
        if not file.is_file() or sha256(file) != sums[name]:
            raise UserError(
                f"{file}: missing or changed since it was written (its SHA-256 is not the manifest's); "
                "remove this checkpoint to resume from the previous one"
            )
    return manifest


def manifest_step(path: Path, manifest: Mapping[str, Any]) -> int:
    """The step of a checkpoint. Raises `UserError` where its manifest has none."""
    step = manifest.get("step")
    if type(step) is not int or step < 0:
        raise UserError(f"{path / MANIFEST}: damaged: its step is {step!r}; {ANOTHER}")
    return step


def read_weights(path: Path, networks: Sequence[str] | None = None) -> dict[str, Tensor]:
    """Reads tensors of a checkpoint by `network.parameter`, on the CPU: those of these networks, or all.

    The rest of the file is not read.
    """
    name = weights_name(path)
    if name == WEIGHTS:
        return _read_tensors(path / WEIGHTS, networks)
    if networks is not None and AVERAGED not in networks:
        return {}
    return {f"{AVERAGED}.{key}": value for key, value in _read_tensors(path / MODEL).items()}


def _read_tensors(path: Path, networks: Sequence[str] | None = None) -> dict[str, Tensor]:
    try:
        with path.open("rb") as raw:
            listed = int.from_bytes(raw.read(8), "little")
        if listed > MOST_HEADER:
            raise UserError(f"{path}: damaged: its list of tensors has {listed:,} bytes, of at most {MOST_HEADER:,}")
        with safe_open(path, framework="pt", device="cpu") as file:
            keys = [key for key in file.keys() if networks is None or key.partition(".")[0] in networks]  # noqa: SIM118
            return {key: file.get_tensor(key) for key in keys}
    except (OSError, SafetensorError, RuntimeError) as error:  # torch's reader raises RuntimeError for a deleted file
        raise UserError(f"{path}: not a readable safetensors file: {error}; {ANOTHER}") from error


def read_statistics(path: Path) -> dict[str, Tensor]:
    """Batch-norm statistics of the averaged generator, tables (truncations, C) from truncation 0 to 1; empty if
    absent."""
    return _read_tensors(path / STATISTICS) if (path / STATISTICS).is_file() else {}


def licence(path: Path, manifest: Mapping[str, Any]) -> str:
    """The licence of imported weights, or of a run fine-tuned from them (from its provenance); None if unknown."""
    origin = manifest.get("origin")
    if origin is None:
        try:
            origin = read_json(path.resolve().parents[1] / "provenance.json").get("init_from")
        except (UserError, LookupError):
            return ""
    return str(origin.get("licence", "")) if isinstance(origin, Mapping) else ""


def read_networks(path: Path, networks: Sequence[str]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The manifest of a checkpoint and the tensors of these networks, verified against it.

    `state.pt` and other networks are not read and may be missing. Checkpoints of version 0.1.0 have one digest for all
    weights; their weights file is read whole.

    Raises:
        UserError: a network is missing or damaged.
    """
    manifest = read_manifest(path, ())
    digests, tables = manifest.get("networks"), [STATISTICS] if STATISTICS in manifest["sha256"] else []
    if weights_name(path) == MODEL and set(networks) != {AVERAGED}:
        raise UserError(f"{path} is an exported generator, which has only averaged weights; use those (ema)")
    if not isinstance(digests, dict):
        return read_manifest(path, (WEIGHTS, *tables)), read_weights(path, networks)
    read_manifest(path, tables)
    weights = read_weights(path, networks)
    found = network_digests(weights)
    for name in networks:
        if name not in found or found[name] != digests.get(name):
            raise UserError(
                f"{path / weights_name(path)}: missing or changed since it was written (the SHA-256 of its network "
                f"{name} is not the manifest's)"
            )
    return manifest, weights


def fill(net: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Loads tensors into a network. Raises `ValueError` if names, shapes or types differ from the network's."""
    own = net.state_dict()
    for name in sorted(own.keys() | tensors.keys()):
        here, there = (_form(of[name]) if name in of else "absent" for of in (own, tensors))
        if here != there:
            raise ValueError(f"{name} is {there} in the checkpoint and {here} here")
    net.load_state_dict(tensors)


def _form(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def load_checkpoint(state: Checkpointed, path: Path) -> None:
    """Restores a state from a checkpoint.

    Raises:
        UserError: it is damaged, has no training state, or does not fit the run.
    """
    if STATE not in read_manifest(path)["sha256"]:
        raise UserError(f"{path} has weights but no training state to resume from; start from it with train.init_from")
    try:
        saved = torch.load(path / STATE, map_location="cpu", weights_only=True)
        state.load_weights(read_weights(path))
        state.load_state_dict(saved)
    except pickle.UnpicklingError as error:
        # torch's own message advises loading it with weights_only=False, which would execute code.
        raise UserError(f"{path / STATE}: not a training state; nothing in it was executed; {ANOTHER}") from error
    except (EOFError, KeyError, RuntimeError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise UserError(
            f"{path}: does not fit this run (was the model, the optimiser or the data changed?): {error}"
        ) from error
