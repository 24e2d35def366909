"""Every preset builds its networks and objective, and trains exactly the player whose turn it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from steadygan import build, config
from steadygan.data import Source, load_images
from steadygan.training.step import run_phase

CLASSES = 3


def shrunken(name: str) -> config.Config:
    """The preset with small networks and batches; everything else as it is."""
    tree: dict[str, Any] = config.load(name).model_dump()
    tree["model"]["width"] = 2
    if tree["model"]["kind"] == "stylegan2":
        tree["model"]["latent"] = 16
        for network in ("generator", "critic"):
            tree["model"][network]["fmap_max"] = 8
    tree["train"] |= {"batch_size": 4, "accumulate": min(tree["train"]["accumulate"], 2)}
    return build.resolve(config.validate(tree))


def moved(before: dict[str, Tensor], after: torch.nn.Module) -> list[bool]:
    return [not torch.equal(before[name], value) for name, value in after.named_parameters()]


@pytest.mark.parametrize("name", config.preset_names())
def test_the_preset_trains_one_player_at_a_time_with_finite_losses(name: str) -> None:
    cfg = shrunken(name)
    channels = cfg.data.channels or 3
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(8, channels, cfg.data.size, cfg.data.size), dtype=np.uint8)
    labels = rng.integers(CLASSES, size=8)
    source = Source("noise", cfg.data.size, channels, tuple("abc"), labels, images=images)
    state = build.build_state(cfg, load_images(source, np.arange(8)), torch.device("cpu"))
    for player, other in (("D", "G"), ("G", "D")):
        before = {
            key: {name: value.detach().clone() for name, value in net.named_parameters()}
            for key, net in state.nets.items()
        }
        values = run_phase(state, player)
        assert all(value.isfinite() for value in values.values()), values
        assert int(state.skipped) == 0
        assert np.mean(moved(before[player], state.nets[player])) > 0.5
        assert not any(moved(before[other], state.nets[other]))


@pytest.mark.parametrize("name", config.preset_names())
def test_the_preset_says_where_it_comes_from(name: str) -> None:
    about = config.load(name).about
    assert about.paper
    assert about.table
    assert about.score
    assert about.protocol
