"""Gradient penalties: terms that read the critic's gradient with respect to its input image."""

from __future__ import annotations

from torch import Tensor

from steadygan.objective.bundle import Bundle
from steadygan.objective.terms import Parts, Term
from steadygan.objective.views import Lerp


def r1(parts: Parts, *, gamma: float = 10.0, every: int = 1) -> tuple[Term, ...]:
    """(γ/2)·E_x ‖∇D(x)‖² on reals (Mescheder et al., ICML 2018, eq. 9).

    `every` = 16 is StyleGAN2's lazy schedule (Karras et al., CVPR 2020, §3.1). The gradient is that of the summed
    logits, with respect to the image as the critic sees it.
    """
    x = parts.real

    def penalty(b: Bundle) -> Tensor:
        return 0.5 * b.grad(x).square().flatten(1).sum(1).mean()

    return (Term("r1", "D", penalty, grads=(x,), weight=gamma, every=every),)


def gp(
    parts: Parts, *, weight: float = 10.0, target: float = 1.0, one_sided: bool = False, every: int = 1
) -> tuple[Term, ...]:
    """λ·E(‖∇D(x̂)‖₂ - target)², x̂ uniform between a real and a fake (WGAN-GP, Gulrajani et al., NeurIPS 2017, eq. 3).

    `one_sided` penalises only norms above the target. x̂ carries the real's label.
    """
    between = Lerp(parts.real, parts.fake)

    def penalty(b: Bundle) -> Tensor:
        excess = b.grad(between).flatten(1).norm(dim=1) - target
        return (excess.relu() if one_sided else excess).square().mean()

    return (Term("gp", "D", penalty, grads=(between,), weight=weight, every=every),)
