"""The discriminator's logits on reals, fakes, noise and wrong labels: does it use the image at all?

A loss near chance has two causes with opposite remedies: D cannot separate reals from fakes, or it separates them with
small logits, as consistency terms make it do. Therefore these measures are scale-free where possible.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from steadygan.parallel.share import unshared

LOOKED_AT = 64
"""Number of noise images, and of reals with a wrong label, that D scores at a logging step."""


def balanced_draw(labels: Tensor | None, total: int, count: int, seed: int) -> Tensor:
    """Draws indices (at most `count`,) of images in random order, a function of the arguments alone.

    Args:
        labels: (total,) int64; each class contributes an equal share, or all its images if it has fewer. None: any
            images.
        total: number of images.
        count: maximum number of indices.
        seed: of the draw.
    """
    order = torch.randperm(total, generator=torch.Generator().manual_seed(seed))
    if labels is None:
        return order[:count]
    own = labels.cpu()[order]
    # Each image's number within its class; sorting by it cycles through the classes.
    number = torch.zeros_like(own)
    for value in own.unique():
        members = own == value
        number[members] = torch.arange(int(members.sum()))
    kept = order[number.argsort(stable=True)][:count]
    return kept[torch.randperm(len(kept), generator=torch.Generator().manual_seed(seed))]


def auc(above: Tensor, below: Tensor) -> float:
    """Area under the ROC curve: the probability that one of `above` (N,) exceeds one of `below` (M,), ties counting
    half."""
    difference = above[:, None] - below[None]
    return float((difference > 0).float().mean() + 0.5 * (difference == 0).float().mean())


def wrong_labels(y: Tensor) -> Tensor:
    """Permutes labels y (N,) so that no image keeps its class, where that is possible.

    The labels are sorted by class and rotated by the size of the largest class: a label can meet its own class only if
    one class has more than half of the images.
    """
    order = y.argsort(stable=True)
    moved = torch.empty_like(y)
    moved[order] = y[order].roll(int(y.bincount().max()))
    return moved


@torch.no_grad()
def answers(critic: nn.Module, reals: Tensor, labels: Tensor | None, logit: Tensor) -> dict[str, float]:
    """Computes `D_auc_*`, how often D ranks a real above another image, and `D_spread_*`, what its logit varies with.

    D_auc_noise: above uniform noise with the reals' labels, the same noise throughout the run. D_auc_shuffled: above a
    real with a wrong label. Both use `LOOKED_AT` images; 0.5 is chance, 1 perfect, below 0.5 D prefers the other image.
    D_spread_within: mean over classes of the logit's standard deviation within a class. D_spread_between: standard
    deviation of the classes' mean logits. A D that uses the label alone has a D_spread_within of 0.

    Args:
        critic: D.
        reals: (N, C, H, W) in [-1, 1].
        labels: (N,); None: unconditional.
        logit: D's logits on the reals, (N,).
    """
    some = min(LOOKED_AT, len(reals))
    x, y = reals[:some], None if labels is None else labels[:some]
    noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)).to(x) * 2 - 1
    with unshared(critic):
        found = {"D_auc_noise": auc(logit, critic(noise, y).logit)}
        if labels is None or y is None:
            return found | {"D_spread_within": _deviation(logit)}
        wrong = wrong_labels(y)
        moved = wrong != y
        if moved.any():
            found["D_auc_shuffled"] = auc(logit[:some][moved], critic(x[moved], wrong[moved]).logit)
    classes = [logit[labels == value] for value in labels.unique()]
    within = [_deviation(own) for own in classes if len(own) > 1]
    found["D_spread_within"] = sum(within) / max(len(within), 1)
    found["D_spread_between"] = _deviation(torch.stack([own.mean() for own in classes]))
    return found


def _deviation(values: Tensor) -> float:
    return float(values.std(correction=0))
