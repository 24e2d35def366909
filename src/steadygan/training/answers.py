"""The discriminator's logits on reals, fakes, noise and wrong labels: whether it looks at the image at all.

A loss near chance has two causes that call for opposite remedies: a D that tells nothing apart, and one that does, at a
small scale (consistency terms hold it there). What is measured here is free of scale where it can be.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from steadygan.parallel.share import unshared

LOOKED_AT = 64
"""How many noise images, and how many reals with a wrong label, D is asked about at a logging step."""


def balanced_draw(labels: Tensor | None, total: int, count: int, seed: int) -> Tensor:
    """Indices (at most `count`,) of images, in random order, the same for the same arguments.

    labels: (total,) int64, of which every class gives as many as it has, up to an equal share; None: any image.
    """
    order = torch.randperm(total, generator=torch.Generator().manual_seed(seed))
    if labels is None:
        return order[:count]
    own = labels.cpu()[order]
    # Each image's number within its class, in this order: lowest numbers first is a round through the classes.
    number = torch.zeros_like(own)
    for value in own.unique():
        members = own == value
        number[members] = torch.arange(int(members.sum()))
    kept = order[number.argsort(stable=True)][:count]
    return kept[torch.randperm(len(kept), generator=torch.Generator().manual_seed(seed))]


def auc(above: Tensor, below: Tensor) -> float:
    """The probability that one of `above` (N,) exceeds one of `below` (M,), ties counting half: 0.5 is chance."""
    difference = above[:, None] - below[None]
    return float((difference > 0).float().mean() + 0.5 * (difference == 0).float().mean())


def wrong_labels(y: Tensor) -> Tensor:
    """For labels y (N,) those of other images, dealt so that none keeps its class where that is possible.

    Sorted by class and moved on by the size of the largest class, no label meets its own unless a class has more than
    half of the images.
    """
    order = y.argsort(stable=True)
    moved = torch.empty_like(y)
    moved[order] = y[order].roll(int(y.bincount().max()))
    return moved


@torch.no_grad()
def answers(critic: nn.Module, reals: Tensor, labels: Tensor | None, logit: Tensor) -> dict[str, float]:
    """`D_auc_*`, how often D ranks a real image above something else, and `D_spread_*`, what its logit varies with.

    reals (N, C, H, W) in [-1, 1], their labels (N,), None without, and D's logits of them (N,). D_auc_noise: above
    uniform noise with the reals' labels, the same noise all run long; D_auc_shuffled: above a real with a wrong label;
    of `LOOKED_AT` images each. 0.5 is a D that can't tell, 1 one that always does; below 0.5 it prefers the other.
    D_spread_within: the mean over classes of the logit's standard deviation within a class; D_spread_between: that of
    the classes' means. A D that reads the label alone has no spread within.
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
