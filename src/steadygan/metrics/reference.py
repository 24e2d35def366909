"""Statistics of the reals, cached by content and extractor."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from steadygan.errors import UserError
from steadygan.files import cache_root, write_whole


class Reference(NamedTuple):
    """mean (F,), cov (F, F), spread per class (K,) or (0,), all float64; features (N, F) float32 or (0, 0)."""

    mean: Tensor
    cov: Tensor
    spread: Tensor
    features: Tensor


def cache_path(key: tuple[object, ...], folder: Path | None) -> Path:
    """The file of this key: in `folder`, else $STEADYGAN_CACHE, else ~/.cache/steadygan."""
    return (folder or cache_root()) / f"reference-{hashlib.sha256(repr(key).encode()).hexdigest()[:32]}.safetensors"


def load_reference(path: Path) -> Reference | None:
    """The cached reference; None if it is missing or damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            reference = Reference(*(file.get_tensor(name) for name in Reference._fields))
            intact = (file.metadata() or {}).get("sha256") == _digest(reference)
    except (OSError, SafetensorError, TypeError, RuntimeError):  # torch's reader raises RuntimeError for a deleted file
        return None
    return reference if intact else None


def save_reference(path: Path, reference: Reference) -> None:
    """Saves a reference atomically, so that readers and concurrent writers never see a partial file.

    Warns if the folder cannot be written, as scores do not need the cache.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {name: tensor.contiguous() for name, tensor in reference._asdict().items()}
        digest = {"sha256": _digest(reference)}
        write_whole(path, lambda file: save_file(tensors, file, metadata=digest), durable=False)
    except (OSError, UserError, SafetensorError) as error:
        advice = "set STEADYGAN_CACHE to a writable folder"
        warnings.warn(f"reference statistics not cached: {error}; {advice}", stacklevel=2)


def _digest(reference: Reference) -> str:
    digest = hashlib.sha256()
    for tensor in reference:
        digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()
