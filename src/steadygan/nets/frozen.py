"""Parts of a network that were trained elsewhere and never learn here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Self

from torch import Tensor, nn


class Frozen(nn.Module):
    """A pretrained network inside a discriminator or generator: called like the network, differentiable in its input.

    It hides the network from everything that walks over modules. No phase, optimiser or average finds its parameters;
    `train()` leaves its batch norms in evaluation mode; no checkpoint contains it: the constructor of the network that
    contains it must load the weights from their source, every time it is built. It does follow `.to(device)` and the
    like. Put plain torch layers into it: the package's spectral norm is not advanced inside.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._hidden = (network.eval().requires_grad_(False),)  # in a tuple, where nn.Module does not register it

    @property
    def network(self) -> nn.Module:
        """The pretrained network."""
        return self._hidden[0]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.network(*args, **kwargs)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Called by `.to`, `.cuda`, `.double` and the like."""
        self.network._apply(fn, recurse)
        return super()._apply(fn, recurse)


def frozen_parameters(net: nn.Module) -> Iterator[nn.Parameter]:
    """The parameters of all `Frozen` parts of a network, which `net.parameters()` leaves out."""
    for module in net.modules():
        if isinstance(module, Frozen):
            yield from module.network.parameters()
            yield from frozen_parameters(module.network)
