"""The discriminator of a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from steadygan.config import ModelConfig
from steadygan.nets.registry import build_network
from steadygan.nets.shape import Shape
from steadygan.pretrained.critic import FeatureCritic


def build_critic(model: ModelConfig, description: Mapping[str, Any]) -> nn.Module:
    """Builds this configuration's discriminator for the images of a generator with this description."""
    options = dict(model.critic)
    width = options.pop("width", description["width"])
    shape = Shape(description["size"], description["channels"], description["classes"], width=width)
    net = build_network("critic", model.kind, shape, options)
    return net if model.features is None else FeatureCritic(shape, net, model.features)
