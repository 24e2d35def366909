"""Self-attention over the positions of a feature map, and its place in a network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steadygan.errors import UserError
from steadygan.kernels.precision import without_autocast
from steadygan.nets.layers import Conv2d
from steadygan.nets.spectral_norm import Spectral


class Attention(nn.Module):
    """(N, C, H, W) → the same shape: x + γ · o(attended), γ a scalar that starts at 0.

    Queries are a 1×1 convolution to C/8 channels; keys (1×1 to C/8) and values (1×1 to C/2) are max-pooled 2×2. The
    softmax of the inner products, which are not divided by √(C/8), weights the values; a 1×1 convolution maps back to C
    channels. No biases. Source: Zhang et al., Self-Attention GANs, ICML 2019, eqs. 1 to 3, with the pooling and the C/2
    of the authors' code (brain-research/self-attention-gan), which all successors use.
    """

    def __init__(self, channels: int, *, spectral: Spectral) -> None:
        super().__init__()
        # Narrow networks for tests and small data have fewer than eight channels.
        inner, middle = max(channels // 8, 1), max(channels // 2, 1)
        self.query, self.key, self.value, self.out = (
            Conv2d(before, after, 1, bias=False, spectral=spectral)
            for before, after in ((channels, inner), (channels, inner), (channels, middle), (middle, channels))
        )
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W) with even H and W."""
        query = self.query(x).flatten(2)
        key, value = (F.max_pool2d(layer(x), 2).flatten(2) for layer in (self.key, self.value))
        fused = x.is_cuda and (_once.get() or not torch.is_grad_enabled())
        attend = fused_attention if fused else plain_attention
        return x + self.gamma * self.out(attend(query, key, value).unflatten(2, x.shape[2:]))


def plain_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """(N, F, L), (N, F, S), (N, V, S) → (N, V, L): Σ_s softmax_s(⟨query_l, key_s⟩)·value_s."""
    asked = torch.bmm(query.transpose(1, 2), key)
    with without_autocast(asked):  # which on a GPU would cast the network's largest tensor to float32
        weight = torch.softmax(asked, dim=2)
    return torch.bmm(value, weight.transpose(1, 2))


def fused_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """`plain_attention` with a fused kernel, which never stores the (L, S) weights but has no second derivative."""
    wide = value.shape[1] - query.shape[1]  # it requires inputs of equal width
    query, key = (F.pad(x, (0, 0, 0, wide)) for x in (query, key))
    query, key, value = (x.transpose(1, 2).unsqueeze(1) for x in (query, key, value))
    return F.scaled_dot_product_attention(query, key, value, scale=1.0).squeeze(1).transpose(1, 2)


_once: ContextVar[bool] = ContextVar("differentiated_once", default=False)


@contextmanager
def differentiated_once() -> Iterator[None]:
    """Context manager: networks may use kernels without a second derivative (not for R1 or WGAN-GP)."""
    before = _once.set(True)
    try:
        yield
    finally:
        _once.reset(before)


def attention_after(
    attention: int | Sequence[int],
    sides: Sequence[int],
    widths: Sequence[int],
    *,
    last: bool = False,
    spectral: Spectral,
) -> nn.ModuleList:
    """The layer after each block of a network: `Attention` where requested, else the identity.

    Args:
        attention: the side or sides, in pixels, of the maps with attention; 0 or an empty list for none.
        sides: of the blocks' outputs in pixels.
        widths: channels of the blocks' outputs.
        last: if several blocks have that side, attention follows the last one rather than the first.
        spectral: spectral norm of its layers.

    Raises:
        UserError: no block outputs that side.
    """
    wanted = [side for side in (attention if isinstance(attention, Sequence) else [attention]) if side != 0]
    for side in wanted:
        if side not in sides:
            known = ", ".join(map(str, sorted(set(sides))))
            raise UserError(f"attention is possible at sides {known} here (0: none), got {side!r}")
    order = list(sides)
    places = {len(order) - 1 - order[::-1].index(side) if last else order.index(side) for side in wanted}
    return nn.ModuleList(
        Attention(width, spectral=spectral) if place in places else nn.Identity() for place, width in enumerate(widths)
    )
