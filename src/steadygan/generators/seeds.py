"""Latents from seeds, one per image, and moves between them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from steadygan.errors import UserError
from steadygan.generators.interpolation import slerp
from steadygan.generators.prior import Prior, Truncation
from steadygan.generators.sampling import check_call

Moves = Sequence[tuple[int, float]]
"""(seed of a direction, distance) pairs, applied in order."""


def latents_of(prior: Prior, seeds: Sequence[int], *, truncation: Truncation | None = None) -> Tensor:
    """z (len(seeds), latent) float32 on the CPU; row i is the latent of `sample(1, seed=seeds[i])`.

    Raises:
        UserError: there are no seeds, or one is out of range.
    """
    if not seeds:
        raise UserError("name at least one seed")
    for seed in seeds:
        check_call(1, seed)
    return torch.cat(
        [prior.latents(1, torch.Generator().manual_seed(int(seed)), truncation=truncation) for seed in seeds]
    )


def moved(prior: Prior, z: Tensor, moves: Moves) -> Tensor:
    """z (N, latent) after each move: towards the latent of the direction's seed (positive) or away from it (negative).

    Under the normal prior a move of t turns z by t right angles on its own sphere, towards the part of the direction
    that is orthogonal to z. This keeps the norm of z, which is almost constant under the prior. Under the uniform prior
    z moves on a straight line, clipped to the cube.
    """
    for seed, far in moves:
        direction = latents_of(prior, [seed])
        if prior.kind == "uniform":
            z = (z + far * direction).clamp(-1, 1)
            continue
        radius = z.norm(dim=1, keepdim=True)
        along = (z * direction).sum(1, keepdim=True) / radius.square().clamp(min=1e-12)
        across = direction - along * z
        across = across * (radius / across.norm(dim=1, keepdim=True).clamp(min=1e-12))
        angle = torch.tensor(far * torch.pi / 2)
        z = z * angle.cos() + across * angle.sin()
    return z


def between(prior: Prior, a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Latents between a and b: on the arc for the normal prior, on the line for the uniform one.

    Args:
        prior: the distribution of latents.
        a: (N, latent).
        b: (N, latent).
        t: (N, 1), position in [0, 1].

    Returns:
        (N, latent).
    """
    return slerp(a, b, t) if prior.kind == "normal" else torch.lerp(a, b, t)


def parse_seeds(text: str) -> list[int]:
    """Parses `3,17,100-120` as [3, 17, 100, …, 120]. Raises `UserError` if invalid, and for more than 100,000 seeds."""
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.strip().isdecimal()):
            raise UserError(f"seeds are whole numbers and ranges, e.g. 3,17,100-120; {part.strip()!r} is neither")
        low, high = int(first), int(last) if dash else int(first)
        if high < low or len(seeds) + high - low >= 100_000:
            raise UserError(
                f"{part.strip()}: a range of seeds must ascend, such as 3-5, with at most 100,000 seeds in all"
            )
        seeds.extend(range(low, high + 1))
    return seeds


def parse_moves(text: str) -> list[tuple[int, float]]:
    """Parses `7:0.3,9:-0.1` as [(7, 0.3), (9, -0.1)]. Raises `UserError` if invalid."""
    moves = []
    for part in filter(None, (entry.strip() for entry in text.split(","))):
        seed, colon, far = part.partition(":")
        try:
            move = int(seed), float(far)
        except ValueError:
            colon, move = "", (0, 0.0)
        if not colon or move[0] < 0 or not math.isfinite(move[1]):
            raise UserError(f"a move must be SEED:DISTANCE, e.g. 7:0.3, not {part!r}")
        moves.append(move)
    return moves
