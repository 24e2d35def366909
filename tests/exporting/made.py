"""Tiny checkpoints of every family with random values in every tensor."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from steadygan.generators.prior import Prior
from steadygan.generators.sampling import standing_statistics
from steadygan.importing.convert import write
from steadygan.importing.layouts.common import Imported
from steadygan.nets import create_generator

FAMILIES: Mapping[str, dict[str, Any]] = {
    "dcgan": {"size": 16, "channels": 1, "classes": 3, "latent": 8, "width": 4},
    "resnet": {"size": 32, "classes": 3, "latent": 8, "width": 4},
    "sagan": {"size": 32, "classes": 3, "latent": 8, "width": 4, "options": {"attention": 16}},
    "biggan": {"size": 32, "classes": 3, "latent": 16, "width": 4, "options": {"attention": 16}},
    "biggan-deep": {"size": 32, "classes": 3, "latent": 8, "width": 4},
    "unet": {"size": 64, "latent": 8, "width": 2},
    "stylegan2": {"size": 16, "classes": 3, "latent": 8, "width": 1, "options": {"mapping_layers": 2}},
    "fastgan": {"size": 64, "latent": 8, "width": 4},
    "r3gan": {"size": 16, "classes": 3, "latent": 8, "width": 4, "options": {"groups": 2, "full": 8}},
    "translate": {"size": 16, "width": 2, "options": {"blocks": 1}},
    "unet-translate": {"size": 16, "width": 2},
}


def checkpoint(kind: str, folder: Path, **more: Any) -> Path:
    """A checkpoint with a generator of this family; `more` is of its description, or fields of `Imported`."""
    sizes = {"channels": 3, "classes": 0, "latent": 0, **FAMILIES[kind]}
    fields = {key: more.pop(key) for key in ("licence", "statistics", "arguments") if key in more}
    options = sizes.pop("options", {}) | more.pop("options", {})
    sizes |= more
    directions = sizes.pop("directions", ["a2b", "b2a"]) if "translate" in kind else []
    prior = sizes.pop("prior", "normal")
    networks = {}
    for seed, name in enumerate([f"G_{way[0]}{way[2]}" for way in directions] or ["G"]):
        net = create_generator(kind, **sizes, **options, rng=torch.Generator().manual_seed(seed))
        _settle(net, sizes["latent"], sizes["classes"], seed)
        networks[name] = {key: value.clone() for key, value in net.state_dict().items()}
    description = {"kind": kind, **sizes, "options": options, "prior": prior}
    if directions:
        description["directions"] = directions
    else:
        networks["G_ema"] = dict(networks["G"])
    write(Imported("a test's", description, networks, **fields), [], folder / kind)
    return folder / kind


@torch.no_grad()
def _settle(net: torch.nn.Module, latent: int, classes: int, seed: int) -> None:
    """Small random values in parameters initialised to 0, and the resulting batch-norm statistics."""
    rng = torch.Generator().manual_seed(seed)
    for name, value in [*net.named_parameters(), *net.named_buffers()]:
        if value.is_floating_point() and name.rsplit(".")[-1] not in ("u", "v", "running_mean", "running_var"):
            value.add_(0.05 * torch.randn(value.shape, generator=rng))
    pool = torch.arange(classes) if classes else None
    if latent:
        standing_statistics(net, Prior(latent, label_pool=pool), batches=2, batch_size=16)
    net.eval()
