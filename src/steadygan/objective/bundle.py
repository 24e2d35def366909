"""A bundle: one batch in one phase, in which every view is computed once and D is called once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from steadygan.generators.prior import Prior
from steadygan.nets.attention import differentiated_once
from steadygan.nets.batch_norm import set_batch_groups
from steadygan.nets.layers import Score
from steadygan.objective.batch import ORIGINS, Origin, ScoredBatch, Transform, View, walk
from steadygan.objective.terms import Term
from steadygan.objective.views import Gen, Small

T = TypeVar("T")


class Bundle:
    """The tensors of one batch, by view.

    Gradients that are differentiated again are always computed by the uncompiled networks in full precision, as are
    their images and logits.

    Args:
        nets: networks by name.
        prior: the distribution of latents and labels.
        generator: the source of all randomness, on the batch's device.
        size: samples in the batch.
        given: values (and labels) of input views, such as `Real()`.
        pre_d: a transform applied to images before a discriminator (DiffAugment, Zhao et al., NeurIPS 2020).
        pre_d_on: which images are transformed, by origin.
        joint: score all views in one pass; must be False for a discriminator with batch statistics.
        autocast: the dtype for images and scores; None: no autocast.
        compiled: compiled replacements of `nets`, used for images and scores.
        memories: state of views (`View.memory`).
    """

    def __init__(
        self,
        nets: Mapping[str, nn.Module],
        prior: Prior,
        generator: torch.Generator,
        *,
        size: int,
        given: Mapping[View, tuple[Tensor, Tensor | None]] | None = None,
        pre_d: Transform | None = None,
        pre_d_on: Collection[Origin] = ORIGINS,
        joint: bool = True,
        autocast: torch.dtype | None = None,
        compiled: Mapping[str, Callable[..., Any]] | None = None,
        memories: Mapping[View, nn.Module] | None = None,
    ) -> None:
        self.autocast, self.compiled, self.memories = autocast, compiled or {}, memories or {}
        self.nets, self.prior, self.generator, self.size = nets, prior, generator, size
        self.pre_d, self.pre_d_on, self.joint = pre_d, pre_d_on, joint
        self._values: dict[View, Tensor] = {view: value for view, (value, _) in (given or {}).items()}
        self._labels: dict[View, Tensor | None] = {view: labels for view, (_, labels) in (given or {}).items()}
        self._seen: dict[View, Tensor] = {}
        self._scores: dict[tuple[str, View], Score] = {}
        self._gradients: dict[tuple[str, View], Tensor] = {}

    def __getitem__(self, view: View) -> Tensor:
        """The view's tensor, computed at first use."""
        if view not in self._values:
            value = view.compute(self)
            self._values[view] = value
        return self._values[view]

    def labels(self, view: View) -> Tensor | None:
        """The view's labels (N,) int64; None if there are none."""
        if view not in self._labels:
            self._labels[view] = view.labels(self)
        return self._labels[view]

    def loss(self, term: Term) -> Tensor:
        """The term's scalar, without its weight, from the scores of its critic."""
        return term.loss(self.scored_by(term.critic))

    def scored_by(self, critic: str) -> ScoredBatch:
        """This batch with the scores of one critic."""
        return _ScoredBy(self, critic)

    def D(self, view: View, critic: str = "D") -> Score:
        """D's output for the view; a term must have declared it in `score` or `grads`."""
        return self._lookup(self._scores, view, critic, "score")

    def grad(self, view: View, critic: str = "D") -> Tensor:
        """∂(sum of logits)/∂(view as D sees it, see `View.leaf`), with a graph; a term must have declared it
        in `grads`.
        """
        return self._lookup(self._gradients, view, critic, "grads")

    def seen(self, view: View) -> Tensor:
        """The view as input of a discriminator: after `pre_d`, as defined by the view."""
        if self.pre_d is None:
            return self[view]
        if view not in self._seen:
            self._seen[view] = view.seen(self)
        return self._seen[view]

    def before_critic(self, image: Tensor, origin: Origin) -> Tensor:
        """An image of that origin after `pre_d`, if it applies."""
        return image if self.pre_d is None or origin not in self.pre_d_on else self.pre_d(image, self.generator)

    def prepare(self, terms: Iterable[Term]) -> None:
        """Computes what the terms need: one call per generator and level, one D pass, one more for gradients."""
        terms = list(terms)
        self.generate(view for term in terms for view in term.needs)
        for critic in dict.fromkeys(term.critic for term in terms):
            mine = [term for term in terms if term.critic == critic]
            self._score(critic, list(dict.fromkeys(view for term in mine for view in term.score)))
            self._differentiate(critic, list(dict.fromkeys(view for term in mine for view in term.grads)))

    def generate(self, views: Iterable[View]) -> None:
        """Computes every `Gen` view that these depend on; views of one network with available sources share one
        call."""
        below = list(walk(views))
        small = {view.source for view in below if isinstance(view, Small) and view not in self._values}
        pending = [view for view in below if isinstance(view, Gen) and (view not in self._values or view in small)]
        while pending:
            unmade = set(pending)
            ready = [view for view in pending if unmade.isdisjoint(walk([view.source]))]
            by_net: dict[str, list[Gen]] = defaultdict(list)
            for view in ready:
                by_net[view.net].append(view)
            for name, group in by_net.items():
                net = self.nets[name]
                # Before setting the groups: a source may call the network itself (LOGAN).
                z, y = torch.cat([self[view.source] for view in group]), _cat([self.labels(view) for view in group])
                set_batch_groups(net, len(group))
                made = self._fast(name, z, y, scales=True) if small.intersection(group) else (self._fast(name, z, y),)
                set_batch_groups(net, 1)
                scales: list[list[Any]] = [group, [Small(view) for view in group]]
                for images, scale in zip(made, scales, strict=False):
                    self._values.update(zip(scale, images.to(z.dtype).chunk(len(group)), strict=True))
            pending = [view for view in pending if view not in self._values]

    def _score(self, critic: str, views: Sequence[View]) -> None:
        if not views:
            return
        scores = self._calls(partial(self._fast, critic), [self.seen(view) for view in views], views)
        self._scores.update(zip([(critic, view) for view in views], scores, strict=True))

    def _differentiate(self, critic: str, views: Sequence[View]) -> None:
        """Scores views separately from the joint pass, with their own leaves and a graph of the gradient."""
        if not views:
            return
        leaves, images = zip(*(view.leaf(self) for view in views), strict=True)
        scores = self._calls(self.nets[critic], images, views)
        total = torch.stack([score.logit.sum() for score in scores]).sum()
        gradients = torch.autograd.grad(total, leaves, create_graph=True)
        for view, score, gradient in zip(views, scores, gradients, strict=True):
            self._scores.setdefault((critic, view), score)
            self._gradients[critic, view] = gradient

    def _fast(self, name: str, x: Tensor, y: Tensor | None, **options: bool) -> Any:
        """A network's output, computed in the fastest way that needs no second derivative."""
        net = self.nets[name]
        rounding = torch.autocast(x.device.type, self.autocast, enabled=self.autocast is not None)
        # Explicit no_grad: a compiler may not check whether parameters require gradients.
        learning = torch.is_grad_enabled() and (x.requires_grad or any(p.requires_grad for p in net.parameters()))
        with rounding, differentiated_once(), torch.set_grad_enabled(learning):
            return self.compiled.get(name, net)(x, y, **options)

    def _calls(self, critic: Callable[..., Any], images: Sequence[Tensor], views: Sequence[View]) -> list[Score]:
        """The scores of views: jointly those of one shape, each by itself where the discriminator asks for it."""
        groups: dict[object, list[int]] = defaultdict(list)
        for place, image in enumerate(images):
            groups[image.shape[1:] if self.joint else place].append(place)
        found: dict[int, Score] = {}
        for places in groups.values():
            made = self._call(critic, [images[place] for place in places], [views[place] for place in places])
            found.update(zip(places, made, strict=True))
        return [found[place] for place in range(len(views))]

    def _call(self, critic: Callable[..., Any], images: Sequence[Tensor], views: Sequence[View]) -> list[Score]:
        out = critic(torch.cat(list(images)), _cat([self.labels(view) for view in views]))
        parts = [[None] * len(views) if field is None else field.chunk(len(views)) for field in out]
        return [Score(*fields) for fields in zip(*parts, strict=True)]

    def _lookup(self, table: dict[tuple[str, View], T], view: View, critic: str, declared: str) -> T:
        try:
            return table[critic, view]
        except KeyError:
            raise KeyError(f"no term declares {view} in its `{declared}` for critic {critic!r}") from None


class _ScoredBy:
    """A bundle with the scores of one discriminator."""

    def __init__(self, bundle: Bundle, critic: str) -> None:
        self.nets, self.prior, self.generator = bundle.nets, bundle.prior, bundle.generator
        self.size, self.memories = bundle.size, bundle.memories
        self.labels, self.seen, self.before_critic = bundle.labels, bundle.seen, bundle.before_critic
        self.generate, self._tensor = bundle.generate, bundle.__getitem__
        self.D, self.grad = partial(bundle.D, critic=critic), partial(bundle.grad, critic=critic)

    def __getitem__(self, view: View) -> Tensor:
        return self._tensor(view)


def _cat(labels: Sequence[Tensor | None]) -> Tensor | None:
    present = [label for label in labels if label is not None]
    if present and len(present) != len(labels):
        raise ValueError("only some of the views in one pass have labels")
    return torch.cat(present) if present else None
