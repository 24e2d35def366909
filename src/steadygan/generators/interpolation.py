"""Interpolation between latents, classes, or both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steadygan.errors import UserError
from steadygan.generators.prior import Prior, Truncation
from steadygan.generators.sampling import choose_labels
from steadygan.nets.protocols import Mapped
from steadygan.pictures.pixels import to_uint8

MOST_IMAGES = 100_000

Between = Literal["latents", "classes", "both"]


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Along the great circle: sin((1 − t)Ω) / sin Ω · a + sin(tΩ) / sin Ω · b, Ω the angle between a and b (N, F).

    t: (N, 1). For parallel a and b, linear interpolation. White, Sampling Generative Networks, 2016, §2.1.
    """
    angle = F.cosine_similarity(a.double(), b.double(), dim=1).clamp(-1, 1).acos()[:, None]
    sine = angle.sin()
    curved = (((1 - t) * angle).sin() * a + (t * angle).sin() * b) / sine.clamp(min=1e-6)
    return torch.where(sine > 1e-6, curved, torch.lerp(a, b, t)).to(a.dtype)


@torch.no_grad()
def interpolate(
    net: nn.Module,
    prior: Prior,
    *,
    between: Between = "latents",
    rows: int = 4,
    steps: int = 8,
    classes: int | Sequence[int] | None = None,
    total: int = 0,
    seed: int = 0,
    truncation: Truncation | None = None,
    batch_size: int = 64,
) -> Tensor:
    """Images on paths between latents, classes or both.

    Classes are interpolated in the label's embedding, or in its gains and biases (`labels.look_up`), not between
    images.

    For the normal prior, paths are great circles: in high dimensions N(0, I) concentrates near the sphere of radius √d,
    and a straight line passes through norms that the generator never saw in training. For orthogonal latents, and
    independent ones nearly are, every point of the arc is again distributed as N(0, I). For the uniform prior, paths
    are straight, as an arc would leave the cube. Networks with an intermediate latent (StyleGAN2) are interpolated
    linearly, and truncated, in W, whose distribution has no fixed shape (Karras et al., StyleGAN, CVPR 2019, §4.1).

    Args:
        net: the generator network, in evaluation mode.
        prior: the distribution of latents.
        between: "latents" has two latents and one class per path, "classes" one latent and two classes, "both" two of
            each.
        rows: number of paths.
        steps: images of a path, both ends included.
        classes: class numbers, repeated in turn: path i has class i, or leads from class i to class i + 1; None: all.
        total: number of classes of the network; 0: unconditional.
        seed: of the latents.
        truncation: see `Prior.latents`, or of w.
        batch_size: images generated at a time.

    Returns:
        uint8 (rows, steps, C, H, W) on the CPU.

    Raises:
        UserError: an argument is out of range, or the network has too few classes.
    """
    if rows < 1 or steps < 2:
        raise UserError(f"{rows} paths of {steps} images: at least one path of two images is needed")
    if rows * steps > MOST_IMAGES:
        raise UserError(
            f"{rows} paths of {steps} images are held in memory at once; ask for at most {MOST_IMAGES:,} images"
        )
    if between not in get_args(Between):
        raise UserError(f"between must be {', '.join(get_args(Between))}, not {between!r}")
    if between != "latents" and total < 2:
        raise UserError(f"between={between}: the generator has no two classes; use between=latents")
    labels = choose_labels(rows + 1, classes, total)
    if between != "latents" and labels is not None and bool((labels[:-1] == labels[1:]).any()):
        raise UserError(f"between={between}: a path leads from one class to another; name at least two")
    in_w = isinstance(net, Mapped)
    generator = torch.Generator().manual_seed(seed)
    start, end = prior.latents(2 * rows, generator, truncation=None if in_w else truncation).chunk(2)
    if between == "classes":
        end = start

    t = torch.linspace(0, 1, steps).repeat(rows)[:, None]
    row = torch.arange(rows).repeat_interleave(steps)
    images = []
    for part, i in zip(t.split(batch_size), row.split(batch_size), strict=True):
        y = None if labels is None else labels[i]
        if labels is not None and between != "latents":
            y = torch.lerp(F.one_hot(labels[i], total).float(), F.one_hot(labels[i + 1], total).float(), part)
        a, b = start[i], end[i]
        if in_w:
            batch = _through_w(net, a, b, part, y, truncation)
        else:
            z = slerp(a, b, part) if prior.kind == "normal" else torch.lerp(a, b, part)
            batch = net(*_on(net, z, y))
        images.append(to_uint8(batch).cpu())
    flat = torch.cat(images)
    return flat.view(rows, steps, *flat.shape[1:])


def _through_w(net: Any, a: Tensor, b: Tensor, t: Tensor, y: Tensor | None, truncation: Truncation | None) -> Tensor:
    """Images (N, C, H, W) at t (N, 1) on straight lines in W between the mapped latents a and b (N, latent)."""
    a, b, t, y = _on(net, a, b, t, y)
    w = torch.lerp(net.map(a, y), net.map(b, y), t[:, :, None])
    return net.synthesise(net.truncate(w, truncation))


def _on(net: nn.Module, *tensors: Tensor | None) -> list[Any]:
    device = next(net.parameters()).device
    return [None if tensor is None else tensor.to(device) for tensor in tensors]
