"""Frozen and trained parameters of a network adapted to new data."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from steadygan.errors import UserError
from steadygan.nets.adapt import all_but_scale_and_shift, lower_blocks
from steadygan.nets.registry import create_critic, create_generator

SIZES = {"size": 32, "channels": 3, "classes": 3, "width": 4}
BLOCKS = {"dcgan": 7, "resnet": 4, "sagan": 4, "biggan": 4, "biggan-deep": 6, "unet": 3, "stylegan2": 3}
"""How many blocks a discriminator of 32 pixels has."""


def critic(kind: str) -> nn.Module:
    options = {"attention": 8} if kind in ("sagan", "biggan", "biggan-deep", "unet") else {}
    return create_critic(kind, **SIZES, **options, rng=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", BLOCKS)
def test_blocks_are_frozen_from_the_image_upwards(kind: str) -> None:
    """The frozen map is a function of the image alone: nothing that learns comes before anything that is frozen."""
    net = critic(kind)
    groups = [lower_blocks(kind, net, count) for count in range(BLOCKS[kind] + 1)]
    assert groups[0] == frozenset()
    assert all(a < b for a, b in itertools.pairwise(groups))
    everything = {name for name, _ in net.named_parameters()}
    above = everything - groups[-1]
    assert any(name.startswith("head.") for name in above)
    blocks = {"dcgan": "convs.", "unet": "encoder."}.get(kind, "blocks.")
    assert not any(name.startswith(("stem", "from_rgb", "attention", blocks)) for name in above)
    assert {name for name in everything if name.startswith(f"{blocks}0.")} <= groups[1]


@pytest.mark.parametrize("kind", BLOCKS)
def test_an_image_passes_frozen_blocks_before_others(kind: str) -> None:
    net, order = critic(kind), list[str]()
    for name, module in net.named_modules():
        if "weight" in module._parameters:
            module.register_forward_pre_hook(lambda *_, name=name: order.append(name))
    net(torch.zeros(4, 3, 32, 32), torch.zeros(4, dtype=torch.int64))
    for count in range(1, BLOCKS[kind] + 1):
        frozen = {name.rpartition(".")[0] for name in lower_blocks(kind, net, count)}
        places = [name in frozen for name in order]
        assert places == sorted(places, reverse=True)


@pytest.mark.parametrize("kind", BLOCKS)
def test_more_blocks_than_there_are_is_refused_with_their_number(kind: str) -> None:
    with pytest.raises(UserError, match=rf"train\.freeze_critic: the discriminator has {BLOCKS[kind]} blocks"):
        lower_blocks(kind, critic(kind), BLOCKS[kind] + 1)


def test_a_family_without_blocks_is_refused_by_name() -> None:
    assert lower_blocks("unheard-of", nn.Linear(1, 1), 0) == frozenset()
    with pytest.raises(UserError, match="unheard-of has no blocks"):
        lower_blocks("unheard-of", nn.Linear(1, 1), 1)


@pytest.mark.parametrize(
    ("kind", "classes", "options", "endings"),
    [
        ("dcgan", 0, {}, ("weight", "bias")),
        ("dcgan", 3, {}, ("gamma", "beta")),
        ("resnet", 3, {}, ("gamma", "beta", "weight", "bias")),
        ("biggan", 0, {}, ("gain.0.weight", "gain.2.weight", "shift.0.bias", "weight", "bias")),
        ("biggan", 3, {"latent": 16}, ("gain.weight", "shift.weight", "weight", "bias")),
        ("biggan-deep", 3, {}, ("gain.weight", "shift.weight", "weight", "bias")),
        ("stylegan2", 0, {}, ("affine.weight", "affine.bias")),
    ],
)
def test_scale_and_shift_are_what_normalisations_are_given(
    kind: str, classes: int, options: dict[str, int], endings: tuple[str, ...]
) -> None:
    sizes = SIZES | {"classes": classes, "latent": 20} | (options | {"latent": 20})
    net = create_generator(kind, **sizes, rng=torch.Generator().manual_seed(0))
    learning = {name for name, _ in net.named_parameters()} - all_but_scale_and_shift(net)
    assert learning
    where = "affine" if kind == "stylegan2" else "norm"
    assert all(where in name for name in learning)
    assert {ending for ending in endings if any(name.endswith(ending) for name in learning)} == set(endings)
    resting = all_but_scale_and_shift(net)
    assert not any("norm" in name or "affine" in name for name in resting)


def test_a_generator_without_normalisations_is_refused() -> None:
    with pytest.raises(UserError, match=r"train\.adapt=scale-shift: this generator has no normalisations"):
        all_but_scale_and_shift(nn.Linear(2, 2))
