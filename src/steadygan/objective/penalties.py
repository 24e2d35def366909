"""Gradient penalties: terms that read D's gradient with respect to its input image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from steadygan.errors import UserError
from steadygan.objective.batch import ScoredBatch, View
from steadygan.objective.declarations import needs
from steadygan.objective.game import Game
from steadygan.objective.terms import Term
from steadygan.objective.views import Jitter, Lerp, Through
from steadygan.schedules import Weight


def r1(game: Game, *, gamma: Weight = 10.0, every: int = 1, through: bool = False) -> tuple[Term, ...]:
    """(γ/2)·E_x ‖∇D(x)‖² on reals (Mescheder et al., ICML 2018, eq. 9).

    `every` = 16 is StyleGAN2's lazy schedule (Karras et al., CVPR 2020, §3.1). The gradient is that of the summed
    logits. Under DiffAugment, A, it is taken with respect to A(x), D's input, or `through` A with respect to x. The
    official code of DiffAugment (Zhao et al., NeurIPS 2020) uses the former for CIFAR and FFHQ, and the latter for
    low-shot data.

    Args:
        gamma: γ.
        every: apply the penalty in every n-th update of D, n times as strong (lazy regularisation).
        through: under DiffAugment, differentiate with respect to the image before it instead of after it.
    """
    return (_half_squared_norm("r1", game.critic_sees_real, gamma, every, through),)


def r2(game: Game, *, gamma: Weight = 10.0, every: int = 1, through: bool = False) -> tuple[Term, ...]:
    """(γ/2)·E_g ‖∇D(g)‖² on fakes (Mescheder et al., ICML 2018, eq. 10); `every` and `through` as for `r1`.

    With R1 of the same γ and the relativistic loss it is R3GAN's objective (Huang et al., NeurIPS 2024, §2.2), for
    which the game converges locally. The gradient is with respect to the image and does not reach G.

    Args:
        gamma: γ.
        every: apply the penalty in every n-th update of D, n times as strong (lazy regularisation).
        through: under DiffAugment, differentiate with respect to the image before it instead of after it.
    """
    return (_half_squared_norm("r2", game.critic_sees_fake, gamma, every, through),)


def _half_squared_norm(name: str, seen: View, gamma: Weight, every: int, through: bool) -> Term:
    view: View = Through(seen) if through else seen

    def penalty(b: ScoredBatch) -> Tensor:
        return 0.5 * _squared_norm(b, view).mean()

    return Term(name, "D", penalty, grads=(view,), weight=gamma, every=every)


def gp(
    game: Game,
    *,
    weight: Weight = 10.0,
    target: float = 1.0,
    one_sided: bool = False,
    epsilon: float = 0.0,
    every: int = 1,
) -> tuple[Term, ...]:
    """λ·E(‖∇D(x̂)‖₂ - target)², x̂ uniform between a real and a fake (WGAN-GP, Gulrajani et al., NeurIPS 2017, eq. 3).

    x̂ carries the real's label. Images are in [-1, 1]. Where they are in [0, 1], as in compare_gan, gradients are twice
    as large: its λ(‖∇‖ - 1)² with 1e-4 under the root is weight 4λ, target ½ and epsilon 2.5e-5 here.

    Args:
        weight: λ.
        target: the gradient norm without penalty.
        one_sided: penalise only norms above the target.
        epsilon: added to the squared norm under its root.
        every: apply the penalty in every n-th update of D, n times as strong (lazy regularisation).
    """
    between = Lerp(game.critic_sees_real, game.critic_sees_fake)
    penalty = _distance_from(target, between, one_sided, epsilon)
    return (Term("gp", "D", penalty, grads=(between,), weight=weight, every=every),)


def dragan(
    game: Game,
    *,
    weight: Weight = 10.0,
    target: float = 1.0,
    scale: float = 0.5,
    noise: Literal["brighter", "both-ways"] = "brighter",
    one_sided: bool = False,
    epsilon: float = 0.0,
    every: int = 1,
) -> tuple[Term, ...]:
    """λ·E(‖∇D(x + δ)‖₂ - k)² near the reals (DRAGAN, Kodali et al., 2017), k = `target`.

    δ = a·scale·std(batch)·U, with a ~ U(0, 1) per sample and U ~ U(0, 1) per pixel: the authors' code, which
    interpolates between x and x_p = x + ½·std·U. The noise only brightens. Public variants: compare_gan has std·(U - ½)
    without a, clipped to the range of images; chainer-gan-lib has ½·std·U without a; StudioGAN is as here. The settings
    for images in [0, 1] are as for `gp`.

    Args:
        weight: λ.
        target: k, the gradient norm without penalty.
        scale: size of the noise, in standard deviations of the batch.
        noise: brighter: the authors'; both-ways: compare_gan's, scale·std·(2U - 1), clipped to [-1, 1].
        one_sided: penalise only norms above the target.
        epsilon: added to the squared norm under its root.
        every: apply the penalty in every n-th update of D, n times as strong (lazy regularisation).
    """
    near = Jitter(game.critic_sees_real, scale, noise)
    penalty = _distance_from(target, near, one_sided, epsilon)
    return (Term("dragan", "D", penalty, grads=(near,), weight=weight, every=every),)


@needs("image_logit")
def jsreg(game: Game, *, gamma: Weight = 0.1, anneal: int = 0, decay: float = 0.01, every: int = 1) -> tuple[Term, ...]:
    """(γ/2)·E[(1 - σ(D(x)))²‖∇D(x)‖² + σ(D(g))²‖∇D(g)‖²] (Roth et al., NeurIPS 2017), D being the logit.

    The weights σ are not detached, as in the authors' code. The γ for images in [0, 1] is 4γ here. With `anneal` > 0, γ
    decays to γ·decay over that many training steps, γ·decay^(step/anneal), and stays there; the authors' image runs
    have gamma 2 and decay 0.01 over all steps. Designed for the non-saturating loss, where σ(logit) is a probability.

    Args:
        gamma: γ.
        anneal: training steps in which γ decays; 0: γ is constant.
        decay: the fraction of γ left after `anneal` steps.
        every: apply the penalty in every n-th update of D, n times as strong (lazy regularisation).

    Raises:
        UserError: anneal or decay is out of range.
    """
    if anneal < 0 or not 0 < decay <= 1:
        raise UserError("objective.terms.jsreg: anneal must be at least 0 and decay above 0 and at most 1")
    x, g = game.critic_sees_real, game.fake

    def penalty(b: ScoredBatch) -> Tensor:
        real = torch.sigmoid(-b.D(x).logit).square() * _squared_norm(b, x)
        fake = torch.sigmoid(b.D(g).logit).square() * _squared_norm(b, g)
        return 0.5 * (real + fake).mean()

    def annealed(step: int) -> float:
        return decay ** min(1.0, step / anneal)

    schedule = annealed if anneal else None
    return (Term("jsreg", "D", penalty, grads=(x, g), weight=gamma, every=every, schedule=schedule),)


def _squared_norm(b: ScoredBatch, view: View) -> Tensor:
    """‖∇D(view)‖² (N,)."""
    return b.grad(view).square().flatten(1).sum(1)


def _distance_from(target: float, view: View, one_sided: bool, epsilon: float) -> Callable[[ScoredBatch], Tensor]:
    """The loss E(√(‖∇D(view)‖₂² + epsilon) - target)², of norms above the target only when one-sided."""
    if epsilon < 0:
        raise UserError(f"objective.terms: epsilon is added under a root and must be at least 0, got {epsilon}")

    def penalty(b: ScoredBatch) -> Tensor:
        # Without epsilon, torch's norm, whose gradient at zero is zero instead of infinite.
        norm = (_squared_norm(b, view) + epsilon).sqrt() if epsilon else b.grad(view).flatten(1).norm(dim=1)
        excess = norm - target
        return (excess.relu() if one_sided else excess).square().mean()

    return penalty
