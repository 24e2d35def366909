"""Families by name and by module, and the typed checking of their options."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import nn

from steadygan import build, config
from steadygan.errors import UserError
from steadygan.nets import registry
from steadygan.nets.registry import FAMILIES, SET_BY, TRANSLATORS, build_network, create_critic, create_generator
from steadygan.nets.shape import Shape
from steadygan.nets.spectral_norm import SpectralNorm

SHAPE = Shape(32, 1, 2, 20, 4)
ROLES: tuple[registry.Role, ...] = ("generator", "critic")


def normalised(net: nn.Module) -> int:
    return sum(layer.spectral_norm for layer in net.modules() if isinstance(layer, SpectralNorm))


@pytest.mark.parametrize("word", ["false", "no", False])
def test_a_word_for_false_is_false(word: object) -> None:
    assert normalised(build_network("critic", "resnet", SHAPE, {"sn_critic": word})) == 0


@pytest.mark.parametrize(
    ("role", "kind", "option", "said"),
    [
        ("critic", "resnet", {"sn_critic": "of"}, "model.critic.sn_critic: must be true or false"),
        ("critic", "resnet", {"sn_eps": "small"}, "model.critic.sn_eps: must be a number"),
        ("generator", "biggan", {"shared": 2}, "model.generator.shared: must be true or false"),
        ("critic", "stylegan2", {"mbstd_group": 2.5}, "model.critic.mbstd_group: must be a whole number"),
        ("critic", "resnet", {"sn_crtic": False}, "model.critic.sn_crtic: unknown option; did you mean 'sn_critic'"),
    ],
)
def test_an_option_of_the_wrong_type_or_name_is_named(role: Any, kind: str, option: dict, said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        build_network(role, kind, SHAPE, option)


@pytest.mark.parametrize("kind", [*FAMILIES, *TRANSLATORS])
@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("name", SET_BY)
def test_the_run_s_shape_is_no_option(role: Any, kind: str, name: str) -> None:
    with pytest.raises(UserError, match=rf"model\.{role}\.{name}: not an option of its own; set {SET_BY[name]}"):
        build_network(role, kind, SHAPE, {name: 1})


@pytest.mark.parametrize("override", ["model.critic.classes=0", "model.critic.size=64", "model.generator.latent=3"])
def test_a_configuration_cannot_override_its_shape_for_one_network(override: str) -> None:
    with pytest.raises(UserError, match="not an option of its own"):
        build.resolve(config.load("digits", [override]))


def test_a_configuration_keeps_the_given_options_in_their_types_and_no_others() -> None:
    model = build.resolve(config.load("digits", ["model.critic.sn_critic='false'", "model.critic.width='8'"])).model
    assert (model.critic, model.generator) == ({"sn_critic": False, "width": 8}, {})
    with pytest.raises(UserError, match=r"model\.critic\.width: must be at least 1"):
        build.resolve(config.load("digits", ["model.critic.width=0"]))


def test_a_module_that_is_not_there_or_holds_no_family_is_refused() -> None:
    sizes = {"size": 32, "channels": 1, "classes": 0, "width": 4}
    with pytest.raises(UserError, match=r"model\.kind: unknown backbone 'resnett'; .*'resnet'"):
        create_critic("resnett", **sizes)
    with pytest.raises(UserError, match=r"model\.kind: no_such_module:FAMILY cannot be imported"):
        create_critic("no_such_module:FAMILY", **sizes)
    with pytest.raises(UserError, match=r"model\.kind: os:system is not a steadygan\.nets\.Family"):
        create_critic("os:system", **sizes)


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_network_says_its_shape(kind: str) -> None:
    options = {"groups": 1} if kind == "r3gan" else {}
    size, classes = (64, 0) if kind == "fastgan" else (32, 2)
    generator = create_generator(kind, size=size, channels=1, classes=classes, latent=20, width=4, **options)
    critic = create_critic(kind, size=size, channels=1, classes=classes, width=4, **options)
    assert (generator.size, generator.channels, generator.classes, generator.latent) == (size, 1, classes, 20)
    assert (critic.size, critic.channels, critic.classes) == (size, 1, classes)
    assert isinstance(generator(torch.randn(2, 20), torch.tensor([0, 1])), torch.Tensor)
