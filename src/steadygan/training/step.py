"""The update step: one phase for one player. It knows no method by name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from steadygan.nets.prepared import prepared
from steadygan.nets.spectral_norm import advance_spectral_norm
from steadygan.objective.batch import ORIGINS, walk
from steadygan.objective.bundle import Bundle
from steadygan.objective.terms import Term
from steadygan.objective.views import Real
from steadygan.training.graphs import Given, MicroBatch
from steadygan.training.state import TrainState


def train_step(state: TrainState) -> dict[str, Tensor]:
    """Runs every phase once; returns each term's last value (unweighted) and each player's gradient norm, on device."""
    values: dict[str, Tensor] = {}
    for player in state.objective.phases:
        values.update(run_phase(state, player))
    state.step += 1
    return values


def run_phase(state: TrainState, player: str) -> dict[str, Tensor]:
    """One phase of one player: collect the live terms, fetch their images, update, average."""
    live = [term for term in state.objective.terms if term.player == player and term.live(state.counts[player])]
    batches, work = micro_batches(state, live), partial(update, state, player, live)
    if state.execution.graphs is None:
        values = work(batches)
    else:
        betas = tuple(group["betas"] for group in state.optimizers[player].param_groups)
        factors = ((term.name, term.strength(state.step)) for term in live)
        values = state.execution.graphs.run((player, betas, *factors), work, batches)
    state.counts[player] += 1
    if player == "G":
        state.ema.update(state.averaged, state.step)
    return values


def update(state: TrainState, player: str, live: Sequence[Term], batches: Sequence[MicroBatch]) -> dict[str, Tensor]:
    """Generate, score, sum, backward, step: what a phase does on the device, which nothing here waits for.

    A phase whose gradient is not finite changes no parameter and is counted in `state.skipped`.
    """
    trained = [state.nets[name] for name in state.objective.players[player]]
    optimizer = state.optimizers[player]
    state.let_learn(player)
    for net in trained:
        advance_spectral_norm(net)

    optimizer.zero_grad()
    values: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=state.device))
    with prepared(state.nets.values(), keep=state.execution.graphs is None):
        for given, size in batches:
            b = Bundle(
                state.nets,
                state.objective.prior,
                state.generator,
                size=size,
                given=given,
                pre_d=state.objective.pre_d,
                pre_d_on=state.objective.pre_d_on.get(player, ORIGINS),
                joint=state.objective.joint,
                autocast=state.execution.autocast,
                compiled=state.execution.compiled,
                memories=state.pools,
            )
            b.prepare(live)
            losses = {term.name: b.loss(term) / state.execution.accumulate for term in live}
            torch.stack([term.strength(state.step) * losses[term.name] for term in live]).sum().backward()
            for name, loss in losses.items():
                values[f"{player}/{name}"] += loss.detach()

    gradients = [p.grad for net in trained for p in net.parameters() if p.grad is not None]
    state.share.average_(gradients)
    norm = torch.nn.utils.get_total_norm(gradients)
    optimizer.found_inf = (~norm.isfinite()).float()  # type: ignore[attr-defined]  # the fused step skips on it
    optimizer.step()
    state.skipped += optimizer.found_inf.to(state.skipped)  # type: ignore[attr-defined]
    return {**values, f"{player}/grad_norm": norm}


def micro_batches(state: TrainState, terms: Sequence[Term]) -> list[MicroBatch]:
    """The phase's batch in `accumulate` equal parts. Reals are only fetched when a term looks at them.

    They count as shown (`state.images`) when D learns from them, not when a generator is given them or they only say
    what its fakes are compared with.
    """
    loader, parts = state.loader, state.execution.accumulate
    size = loader.batch_size // loader.world_size // parts
    if not any(isinstance(view, Real) for term in terms for view in walk(term.needs)):
        return [({}, size)] * parts
    learning = [term for term in terms if term.player == "D"]
    if any(view.origin() == "real" for term in learning for view in term.score + term.grads):
        state.images += loader.batch_size
    batches: list[Given] = [{} for _ in range(parts)]
    for domain, (x, y) in loader.batch().items():
        labels = [None] * parts if y is None or state.objective.prior.label_pool is None else y.chunk(parts)
        for given, pair in zip(batches, zip(x.chunk(parts), labels, strict=True), strict=True):
            given[Real(domain)] = pair
    return [(given, size) for given in batches]
