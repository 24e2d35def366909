"""Small runs that together hold every term: what several test files go through."""

from __future__ import annotations

SMALL = ("model.width=2", "train.phases=[D,G]")
NARROW = ("model.generator.fmap_max=16", "model.critic.fmap_max=16")
OBJECTIVES: dict[str, tuple[str, ...]] = {
    "cifar10-biggan-icr": ("objective.terms.gp={}", "objective.terms.ortho={}"),
    "cifar10-crbiggan-diffaugment10": ("data.fraction=1",),
    "cifar10-dcgan-dragan": ("objective.loss=relativistic", "objective.terms.r2={}", "train.batch_size=2"),
    "cifar10-dcgan-jsreg": (),
    "cifar10-logan": (),
    "celeba128-unet": ("data.size=32",),
    "cifar10-biggan-lecam10": ("data.fraction=1", "objective.terms.lecam.start=0"),
    "cifar10-stylegan2": ("objective.terms.path_length={every: 2}", "objective.terms.r1.every=2", *NARROW),
}
"""Presets and overrides."""
