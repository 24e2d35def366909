"""Families that are recognised but refused with a reason, as steadygan lacks their networks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from steadygan.importing.layouts.parts import Part
from steadygan.importing.values import Array, Budget, Refused

MOST = 100_000
"""Maximum number of dictionary entries; one inside several others counts repeatedly."""
REASONS: Mapping[str, tuple[str, str]] = {
    "lucidrains/stylegan2-pytorch": (
        r"(GAN\.)?G\.blocks\.\d+\.to_style1\.weight",
        "its StyleGAN2 is another network: noise is per channel, weights are not equalised, and maps are "
        "doubled bilinearly; train ours on the same images instead",
    ),
    "lucidrains/lightweight-gan": (
        r"(GAN\.)?D\.to_shape_disc_out\..*|(GAN\.)?G\.layers\.\d+\.\d+\.\d+\..*",
        "its networks (skip-layer excitation) are not in steadygan",
    ),
    "mimicry": (
        r"(model_state_dict\.)?block\d+\.c1\.(weight|sn_u)",
        "its residual blocks rectify the shortcut as well and double maps bilinearly, which ours do not",
    ),
    "FastGAN": (
        r"(\w+\.)?init\.init\.\d\.weight_orig",
        "its layout cannot be read; train our own (model.kind=fastgan) on the same images instead",
    ),
    "StyleGAN3": (r"(\w+\.)?synthesis\.input\.freqs", "cfg stylegan3-t and -r are another network than StyleGAN2"),
    "rosinality's SWAGAN": (
        r"(\w+\.)?to_rgb1\.iwt\..*|(\w+\.)?iwt\.\w\w",
        "it makes wavelet coefficients, which ours does not",
    ),
    "pytorch_GAN_zoo": (r"(\w+\.)?scaleLayers\.\d+\..*", "progressive GANs are not in steadygan"),
}


def names(value: Any, budget: Budget, prefix: str = "", depth: int = 0) -> Iterator[str]:
    """Dotted names of tensors in nested dictionaries, one per path to a tensor.

    Args:
        value: a file's content.
        budget: bounds the number of entries.
        prefix: of the names.
        depth: of the nesting so far; at most 3.
    """
    if isinstance(value, dict) and depth < 3:
        budget.spend(len(value))
        for key, part in value.items():
            if isinstance(part, Array):
                yield f"{prefix}{key!s:.200}"
            elif isinstance(part, dict):
                yield from names(part, budget, f"{prefix}{key!s:.200}.", depth + 1)


def refuse(parts: Sequence[Part]) -> None:
    """Raises Refused, with the reason, for files of these families, and for too many paths to tensors."""
    for part in parts:
        try:
            reason = misfit(part.value)
        except Refused as error:
            raise Refused(f"{part.path}: {error}") from error
        if reason:
            raise Refused(f"{part.path}: a file of {reason}")


def misfit(value: Any) -> str | None:
    """The family in `REASONS` to which a file's content belongs, with the reason; None if there is none."""
    for name in names(value, Budget(MOST)):
        for family, (pattern, reason) in REASONS.items():
            if re.fullmatch(pattern, name):
                return f"{family}: {reason}"
    return None
