"""The optimisers of the players."""

from __future__ import annotations

import torch
from torch import nn

from steadygan.config import PlayerConfig
from steadygan.schedules import value


def adam(net: nn.Module, player: PlayerConfig, *, pace: float = 1.0, recorded: bool = False) -> torch.optim.Adam:
    """Fused Adam, which can skip a phase without synchronising with the device.

    Args:
        net: the networks of the player.
        player: its section of the configuration.
        pace: see `Objective.pace`.
        recorded: for CUDA graphs, which need the learning rate on the device.
    """
    start = value(player.lr, 0) * pace
    lr = torch.tensor(start, device=next(net.parameters()).device) if recorded else start
    betas = (value(player.beta1, 0) ** pace, value(player.beta2, 0) ** pace)
    optimizer = torch.optim.Adam(net.parameters(), lr=lr, betas=betas, eps=player.eps, fused=True, capturable=recorded)
    optimizer._warned_capturable_if_run_uncaptured = True  # warm-up steps run uncaptured
    return optimizer
