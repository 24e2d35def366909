"""Sampling from a generator network, shared by grids, scores, the library and the command line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from numbers import Integral

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from steadygan.errors import UserError
from steadygan.generators.prior import Prior, Truncation
from steadygan.nets.protocols import Mapped
from steadygan.pictures.pixels import to_uint8
from steadygan.progress import tell

MOST_IMAGES = 10_000_000
"""Maximum number of images per call; more is probably a typing error and would fill the memory."""


def check_call(num: object, seed: object) -> None:
    """Raises `UserError` for an invalid number of images or seed."""
    if isinstance(num, bool) or not isinstance(num, Integral):
        raise UserError(f"the number of images must be a whole number, not {num!r}")
    if int(num) < 1:
        raise UserError(f"cannot make {num} images; ask for at least one")
    if int(num) > MOST_IMAGES:
        raise UserError(
            f"{num} images are too many for one call; ask for at most {MOST_IMAGES:,}, with a different seed each time"
        )
    if isinstance(seed, bool) or not isinstance(seed, Integral) or not 0 <= int(seed) < 2**63:
        raise UserError(f"a seed must be a whole number from 0 to 2^63 − 1, not {seed!r}")


def choose_labels(num: int, classes: int | Sequence[int] | None, total: int) -> Tensor | None:
    """Labels (num,) int64 for `num` images: one class, or several repeated in turn; None: all in turn.

    None for an unconditional network (`total` = 0). Raises `UserError` for classes the network doesn't have.
    """
    if total == 0:
        if classes is not None:
            raise UserError("this generator is unconditional: choose no classes")
        return None
    wanted = list(range(total)) if classes is None else [classes] if isinstance(classes, int) else list(classes)
    if wrong := [label for label in wanted if not 0 <= label < total]:
        raise UserError(f"class {wrong[0]} is out of range: this generator has classes 0 to {total - 1}")
    if not wanted:
        raise UserError("the list of classes is empty")
    return torch.tensor(wanted, dtype=torch.int64)[torch.arange(num) % len(wanted)]


@torch.no_grad()
def sample(
    net: nn.Module,
    prior: Prior,
    num: int,
    *,
    labels: Tensor | None = None,
    seed: int = 0,
    truncation: Truncation | None = None,
    batch_size: int = 64,
    part: slice | Tensor = slice(None),
) -> Tensor:
    """Generates images with a network in evaluation mode.

    All latents are drawn on the CPU first, so that they depend on neither device nor batch size.

    Args:
        net: the generator network.
        prior: its distribution of latents.
        num: number of images.
        labels: (num,) int64 classes; None: unconditional.
        seed: of the latents.
        truncation: of z (`Prior.latents`), or of w if the network is `Mapped` (StyleGAN2's ψ).
        batch_size: images generated at a time.
        part: generate only these of the `num`.

    Returns:
        uint8 (num, C, H, W) on the CPU, or of the part.
    """
    check_call(num, seed)
    device = next(net.parameters()).device
    truncated_inside: dict[str, Truncation] = {}
    if truncation is not None and isinstance(net, Mapped):
        truncated_inside, truncation = {"truncation": truncation}, None
    latents = prior.latents(num, torch.Generator().manual_seed(seed), truncation=truncation)[part]
    labels = None if labels is None else labels[part]
    images = []
    for start in range(0, len(latents), batch_size):
        z = latents[start : start + batch_size].to(device)
        y = None if labels is None else labels[start : start + batch_size].to(device)
        images.append(to_uint8(net(z, y, **truncated_inside)).cpu())
        tell("making images", start + len(z), len(latents))
    return torch.cat(images).contiguous()


@contextmanager
def batch_statistics(net: nn.Module) -> Iterator[None]:
    """Context manager: batch norms use batch statistics, as in training, without updating running ones."""
    layers = [module for module in net.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    before = [(layer.training, layer.momentum, layer.num_batches_tracked) for layer in layers]
    for layer in layers:
        layer.training, layer.momentum, layer.num_batches_tracked = True, 0.0, None
    try:
        yield
    finally:
        for layer, (training, momentum, tracked) in zip(layers, before, strict=True):
            layer.training, layer.momentum, layer.num_batches_tracked = training, momentum, tracked


def drawn_on(device: torch.device) -> torch.device:
    """The device for random numbers: `device` itself, or the CPU for mps, which lacks float64."""
    return torch.device("cpu") if device.type == "mps" else device


@torch.no_grad()
def standing_statistics(
    net: nn.Module,
    prior: Prior,
    *,
    batches: int = 16,
    batch_size: int = 64,
    truncation: Truncation | None = None,
    seed: int = 0,
) -> None:
    """Recomputes every batch norm's running statistics as averages over new batches with the current weights.

    Running statistics from training are of past weights, and fit neither averaged weights nor truncated latents
    (BigGAN, Brock et al., ICLR 2019, §3 and app. C). Leaves the network in evaluation mode. Does nothing without batch
    norms.

    Args:
        net: the generator network, modified in place.
        prior: its distribution of latents and labels.
        batches: number of batches.
        batch_size: images per batch.
        truncation: as for `Prior.latents`.
        seed: of latents and labels.
    """
    layers = [module for module in net.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    if layers:
        device = next(net.parameters()).device
        generator = torch.Generator(drawn_on(device)).manual_seed(seed)
        momenta = [layer.momentum for layer in layers]
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None  # torch's convention for a cumulative average
        net.train()
        for _ in range(batches):
            z, y = prior.latents(batch_size, generator, truncation=truncation), prior.labels(batch_size, generator)
            net(z.to(device), None if y is None else y.to(device))
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
    net.eval()
