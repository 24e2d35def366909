"""A score is a protocol: what is compared with what, and how. `score` carries one out and records it."""

from __future__ import annotations

import hashlib
import os
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from steadygan import __version__
from steadygan.errors import UserError
from steadygan.metrics.features import EXTRACTORS, Extractor, Features, available, get_extractor
from steadygan.metrics.frechet import Moments, frechet_distance
from steadygan.metrics.modes import class_agreement, class_spread, stacked_modes

Split = Literal["train", "heldout", "all"]
Weights = Literal["ema", "raw"]
Resize = Literal["none", "bicubic"]
BatchNorm = Literal["running", "batch", "standing"]

Generate = Callable[[int, Tensor | None, int], Tensor]
"""(number, labels (number,) int64 or None, seed) → uint8 images (number, C, H, W)."""


@dataclass(frozen=True)
class Protocol:
    """How a score is taken.

    `split`, `weights`, `truncation` and `batch_norm` are carried out by whoever passes the reals and the
    generator to `score`; the rest by `score` itself.

    extractor: a name `get_extractor` knows. num_fake: fakes generated. num_real: reals drawn without
    replacement with `seed`; None: all of the split. truncation: None is off. batch_norm: the statistics the
    generator uses. resize: "bicubic" brings both sides to the extractor's size (antialiased, back to uint8),
    "none" refuses others. per_channel: three greyscale images stacked as channels, read one by one, their
    features concatenated.
    """

    name: str
    extractor: str
    num_fake: int
    num_real: int | None = None
    split: Split = "train"
    weights: Weights = "ema"
    batch_norm: BatchNorm = "running"
    truncation: float | None = None
    resize: Resize = "none"
    per_channel: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        words = {"split": Split, "weights": Weights, "batch_norm": BatchNorm, "resize": Resize}
        for key, allowed in words.items():
            if (value := getattr(self, key)) not in get_args(allowed):
                raise UserError(f"protocol {key} is {value!r}; possible: {', '.join(get_args(allowed))}")
        for key in ("num_fake", "num_real"):
            if (value := getattr(self, key)) is not None and value < 2:
                raise UserError(f"protocol {key} is {value}; a distance needs at least 2 images")


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("digits", extractor="digits", num_fake=2_000),
        Protocol("stacked-digits", extractor="digits", num_fake=10_000, per_channel=True),
    )
}


def choose_protocol(data_name: str, channels: int, size: int = 32) -> Protocol:
    """The named protocol for a data set; `resize` is switched on for images not of the extractor's size.

    Raises UserError for data that no extractor suits, saying which extractors there are.
    """
    protocol = PROTOCOLS.get(data_name)
    if protocol is None or channels != (3 if protocol.per_channel else 1):
        raise UserError(
            f"no extractor suits the data {data_name!r} ({channels} channel{'s' * (channels != 1)}). "
            f"Named protocols: {', '.join(PROTOCOLS)}. Extractors: {available()}."
        )
    return protocol if size == EXTRACTORS[protocol.extractor].size else replace(protocol, resize="bicubic")


class Reference(NamedTuple):
    """What is kept of the reals, float64: mean (F,), cov (F, F), each class's spread (K,) or none (0,)."""

    mean: Tensor
    cov: Tensor
    spread: Tensor


def score(
    generate: Generate,
    reals: Tensor | np.ndarray,
    real_labels: Tensor | np.ndarray | None,
    protocol: Protocol,
    *,
    classes: int,
    fingerprint: str,
    device: str | torch.device = "cpu",
    cache_dir: Path | None = None,
) -> dict[str, Any]:
    """Scores a generator against the reals of `protocol.split`, uint8 NCHW.

    classes = 0: unconditional, `real_labels` (N,) are not looked at. The labels asked for are balanced (image
    i: class i mod `classes`). `fingerprint` names the data set's content. Returns one flat record: the scores
    by name, and under "protocol" everything that made them.

    - `FD-<extractor>`: Fréchet distance, ≥ 0, lower is better.
    - `class_agreement` (greyscale, conditional): share of fakes read as the class asked for.
    - `diversity` (greyscale, conditional; where every class has two different reals and two fakes): within a
      class, relative to the reals; 1 is as diverse.
    - `modes`, `kl` (per_channel): modes generated out of 1,000, and KL to all of them equally likely.

    Raises UserError when the extractor cannot read the images or there are fewer reals than asked for.
    """
    extractor = get_extractor(protocol.extractor, device)
    reals = torch.as_tensor(reals)
    real_labels = None if real_labels is None or not classes else torch.as_tensor(real_labels).cpu()
    if len(reals) < max(protocol.num_real or 2, 2):
        raise UserError(
            f"protocol {protocol.name!r} needs {protocol.num_real or 'at least 2'} real images, "
            f"the split {protocol.split!r} has {len(reals)}: lower num_real or raise data.fraction"
        )
    if protocol.num_real is not None:
        order = torch.randperm(len(reals), generator=torch.Generator().manual_seed(protocol.seed))
        drawn = order[: protocol.num_real].sort().values
        reals, real_labels = reals[drawn], None if real_labels is None else real_labels[drawn]
    per_class = 0 if protocol.per_channel else classes
    if per_class not in (0, extractor.classes):
        raise UserError(f"{extractor.name!r} tells {extractor.classes} classes apart, not {classes}")
    reals_sha256 = content_hash(reals, real_labels if per_class else None)
    reference = _cached_reference(extractor, reals, real_labels, protocol, per_class, reals_sha256, cache_dir)

    asked = torch.arange(protocol.num_fake) % classes if classes else None
    fakes = generate(protocol.num_fake, asked, protocol.seed)
    if fakes.dtype != torch.uint8 or fakes.shape != (protocol.num_fake, *reals.shape[1:]):
        expected = (protocol.num_fake, *reals.shape[1:])
        raise ValueError(f"generate must return uint8 {expected}, not {fakes.dtype} {tuple(fakes.shape)}")
    features, logits = read(extractor, fakes, protocol)

    moments = Moments().update(features)
    distance = frechet_distance(reference.mean, reference.cov, moments.mean, moments.cov)
    scores: dict[str, float] = {f"FD-{extractor.name}": distance}
    if protocol.per_channel:
        scores |= stacked_modes(logits)._asdict()
    elif asked is not None:
        scores["class_agreement"] = class_agreement(logits, asked)
        if len(reference.spread) and protocol.num_fake >= 2 * classes:
            scores["diversity"] = (class_spread(features, asked, classes) / reference.spread).mean().item()

    record = asdict(protocol) | {
        "num_real": len(reals),
        "classes": classes,
        "extractor_sha256": extractor.sha256,
        "reals_sha256": reals_sha256,
        "data_fingerprint": fingerprint,
        "steadygan": __version__,
        "torch": str(torch.__version__),
    }
    return {**scores, "protocol": record}


def read(extractor: Extractor, images: Tensor, protocol: Protocol) -> Features:
    """Features (N, F) and logits (N, K) of uint8 images; (N, 3·F) and (N, 3, K) read channel by channel."""
    n, channels = images.shape[:2]
    if protocol.per_channel:
        if channels != 3:
            raise UserError(f"protocol {protocol.name!r} reads 3-channel images, these have {channels}")
        images = images.reshape(n * channels, 1, *images.shape[2:])
    if protocol.resize == "bicubic" and images.shape[2:] != (extractor.size, extractor.size):
        parts = images.split(1024)
        images = torch.cat([_bicubic(part, extractor.size) for part in parts])
    features, logits = extractor(images)
    if protocol.per_channel:
        return Features(features.reshape(n, -1), logits.reshape(n, channels, -1))
    return Features(features, logits)


def _bicubic(images: Tensor, size: int) -> Tensor:
    resized = F.interpolate(images.float(), (size, size), mode="bicubic", antialias=True)
    return resized.round().clamp(0, 255).to(torch.uint8)


def content_hash(images: Tensor, labels: Tensor | None) -> str:
    """SHA-256 of shape, pixels and labels."""
    digest = hashlib.sha256(str((tuple(images.shape), labels is not None)).encode())
    for part in (images, labels):
        if part is not None:
            digest.update(part.contiguous().cpu().numpy().data)
    return digest.hexdigest()


def _reference(
    extractor: Extractor, reals: Tensor, labels: Tensor | None, protocol: Protocol, classes: int
) -> Reference:
    features = read(extractor, reals, protocol).features
    moments = Moments().update(features)
    spread = torch.zeros(0, dtype=torch.float64)
    if classes and labels is not None and torch.bincount(labels, minlength=classes).min() >= 2:
        per_class = class_spread(features, labels, classes)
        spread = per_class if per_class.min() > 0 else spread
    return Reference(moments.mean, moments.cov, spread)


def _cached_reference(
    extractor: Extractor,
    reals: Tensor,
    labels: Tensor | None,
    protocol: Protocol,
    classes: int,
    reals_sha256: str,
    cache_dir: Path | None,
) -> Reference:
    """From the cache where these very images were read by these very weights, else computed."""
    folder = cache_dir or Path(os.environ.get("STEADYGAN_CACHE") or "~/.cache/steadygan").expanduser()
    key = (reals_sha256, extractor.sha256, protocol.resize, protocol.per_channel, classes)
    path = folder / f"reference-{hashlib.sha256(repr(key).encode()).hexdigest()[:32]}.safetensors"
    if (reference := _load(path)) is None:
        reference = _reference(extractor, reals, labels, protocol, classes)
        try:
            _save(path, reference)
        except OSError as error:
            advice = "set STEADYGAN_CACHE to a writable folder"
            warnings.warn(f"reference statistics not cached: {error}; {advice}", stacklevel=3)
    return reference


def _digest(reference: Reference) -> str:
    return hashlib.sha256(b"".join(tensor.contiguous().numpy().tobytes() for tensor in reference)).hexdigest()


def _load(path: Path) -> Reference | None:
    """The cached reference, or None if there is none or the file is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            reference = Reference(*(file.get_tensor(name) for name in Reference._fields))
            intact = (file.metadata() or {}).get("sha256") == _digest(reference)
    except (OSError, SafetensorError):
        return None
    return reference if intact else None


def _save(path: Path, reference: Reference) -> None:
    """Written aside and renamed, so that no reader, nor a second writer, ever sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as aside:
        tensors = {name: tensor.contiguous() for name, tensor in reference._asdict().items()}
        save_file(tensors, Path(aside) / path.name, metadata={"sha256": _digest(reference)})
        os.replace(Path(aside) / path.name, path)
