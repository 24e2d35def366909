"""The registry of feature extractors."""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Mapping
from pathlib import Path

import torch

from steadygan.errors import UserError, nearest
from steadygan.files import sha256
from steadygan.pretrained.digits import Digits
from steadygan.pretrained.dinov2 import Dino
from steadygan.pretrained.extractor import Extractor
from steadygan.pretrained.inception import Inception, InceptionPyTorch
from steadygan.pretrained.squeezenet import Squeeze
from steadygan.pretrained.tiny import Tiny

EXTRACTORS: dict[str, type[Extractor]] = {
    kind.name: kind for kind in (Digits, Tiny, Inception, InceptionPyTorch, Squeeze, Dino)
}


def available() -> str:
    """A list of the extractors and their inputs, for messages."""
    known = "; ".join(
        f"{name!r} reads {kind.input}" + (f" (weights file: {kind.variable})" if kind.variable else "")
        for name, kind in EXTRACTORS.items()
    )
    return f"{known}; your own: module:Class"


def extractor_type(name: str) -> type[Extractor]:
    """The class of extractor `name`, or a custom `module:Class`. Raises UserError if there is none."""
    if name in EXTRACTORS:
        return EXTRACTORS[name]
    if ":" not in name:
        hint = nearest(name, EXTRACTORS)
        known = "" if hint.startswith("did you mean") else f". Available: {available()}"
        raise UserError(f"there is no feature extractor {name!r}; {hint}{known}")
    module, _, attribute = name.partition(":")
    try:
        kind = getattr(importlib.import_module(module), attribute)
    except (ImportError, ValueError, AttributeError) as error:
        raise UserError(f"the extractor {name} cannot be imported ({error}); is it on PYTHONPATH?") from error
    if not (isinstance(kind, type) and issubclass(kind, Extractor)):
        raise UserError(f"{name} is not a subclass of steadygan.metrics.Extractor")
    if kind.name in EXTRACTORS and kind is not EXTRACTORS[kind.name]:
        raise UserError(f"{name} calls itself {kind.name!r}, which is another extractor: rename it")
    return kind


def get_extractor(
    name: str, device: str | torch.device = "cpu", weights: Mapping[str, Path] | None = None
) -> Extractor:
    """Builds the extractor `name` on `device`.

    weights: files by extractor name; they take precedence over environment variables. Raises UserError for an unknown
    name or missing weights.
    """
    kind = extractor_type(name)
    extractor = kind(device, (weights or {}).get(kind.name))
    if ":" in name and (source := getattr(sys.modules[kind.__module__], "__file__", None)):
        # Another `prepare` makes another extractor, for which cached statistics are stale.
        extractor.sha256 = hashlib.sha256((extractor.sha256 + sha256(Path(source))).encode()).hexdigest()
    return extractor
