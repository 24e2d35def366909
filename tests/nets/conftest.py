"""Fixtures for tests of several backbones."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from steadygan.nets.registry import count_parameters, create_critic, create_generator

Counter = Callable[..., tuple[int, int]]


@pytest.fixture
def published_counts(monkeypatch: pytest.MonkeyPatch) -> Counter:
    """(parameters of the generator, of D) of networks too large to fill, on the meta device.

    Called with a kind, the arguments of both networks, and `latent`; `generator`, `critic`: options of one of them.
    """

    def count(
        kind: str, *, latent: int, generator: dict | None = None, critic: dict | None = None, **shape: int
    ) -> tuple[int, int]:
        # Neither spectral norm nor the initialisation adds parameters; on the meta device they, and normal_, would
        # import torch's Python operators, which takes longer than all tests of backbones.
        with monkeypatch.context() as patch, torch.device("meta"):
            patch.setattr(torch.Tensor, "normal_", lambda tensor, *args, **kwargs: tensor)
            nets = (
                create_generator(kind, **shape, latent=latent, init="xavier", sn_generator=False, **(generator or {})),
                create_critic(kind, **shape, init="xavier", sn_critic=False, **(critic or {})),
            )
        return count_parameters(nets[0]), count_parameters(nets[1])

    return count
