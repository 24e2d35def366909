"""Pretrained, frozen parts of networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Self

from torch import Tensor, nn


class Frozen(nn.Module):
    """A pretrained network inside a discriminator or generator: called like the network, differentiable with respect to
    its input.

    It hides the network from traversals of modules. No phase, optimiser or average finds its parameters; `train()`
    leaves its batch norms in evaluation mode; checkpoints do not contain it, so the constructor of the containing
    network must load the weights from their source. It follows `.to(device)` and similar calls. It must contain plain
    torch layers only, as the package's spectral norm is not updated inside.
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
        """Called by `.to`, `.cuda`, `.double` and similar methods."""
        self.network._apply(fn, recurse)
        return super()._apply(fn, recurse)


def frozen_parameters(net: nn.Module) -> Iterator[nn.Parameter]:
    """The parameters of all `Frozen` parts of a network, which `net.parameters()` omits."""
    for module in net.modules():
        if isinstance(module, Frozen):
            yield from module.network.parameters()
            yield from frozen_parameters(module.network)
