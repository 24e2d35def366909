"""SAGAN: Zhang, Goodfellow, Metaxas and Odena, Self-Attention Generative Adversarial Networks, ICML 2019.

The networks BigGAN grew from: its blocks and tables without shared embedding and latent chunks, with per-class
tables in the conditional batch norms and Glorot initialisation, as in the authors' code for 128²
(brain-research/self-attention-gan). The tables of the other sizes are BigGAN's. One deviation: the running
statistics of batch norms have torch's momentum of 0.1 and not the code's 0.001.
"""

from __future__ import annotations

from collections.abc import Sequence

from steadygan.nets import biggan


def default_attention(size: int) -> int:
    """A quarter of the side: 32² at 128², the default of the released code (which has a 64² variant too)."""
    return size // 4


class Generator(biggan.Generator):
    """Latent (N, latent) → image (N, channels, size, size) in [−1, 1]; see `biggan.Generator`.

    `width` 64 and a latent of 128 are the published ones. Without classes the batch norms are plain ones.
    narrow: see there.
    """

    family = "sagan"

    def __init__(
        self,
        *,
        size: int,
        channels: int,
        classes: int,
        latent: int,
        width: int = 64,
        narrow: bool = False,
        attention: int | Sequence[int] | None = None,
        init: str = "xavier",
        sn_generator: bool = True,
        sn_eps: float = 1e-12,
        bn_eps: float = 1e-5,
    ) -> None:
        super().__init__(
            size=size,
            channels=channels,
            classes=classes,
            latent=latent,
            width=width,
            shared=False,
            skip_z=False,
            narrow=narrow,
            attention=default_attention(size) if attention is None else attention,
            init=init,
            sn_generator=sn_generator,
            sn_eps=sn_eps,
            bn_eps=bn_eps,
        )


class Critic(biggan.Critic):
    """Image (N, channels, size, size) in [−1, 1] → Score; see `biggan.Critic`. `width` 64 is the published one."""

    family = "sagan"

    def __init__(
        self,
        *,
        size: int,
        channels: int,
        classes: int,
        width: int = 64,
        attention: int | Sequence[int] | None = None,
        init: str = "xavier",
        sn_critic: bool = True,
        sn_eps: float = 1e-12,
    ) -> None:
        super().__init__(
            size=size,
            channels=channels,
            classes=classes,
            width=width,
            attention=default_attention(size) if attention is None else attention,
            init=init,
            sn_critic=sn_critic,
            sn_eps=sn_eps,
        )
