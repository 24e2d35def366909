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
from steadygan.training.memory import within_memory
from steadygan.training.state import TrainState


def train_step(state: TrainState) -> dict[str, Tensor]:
    """Runs every phase once; returns the last value of each term (unweighted) and each player's gradient norm, on
    device."""
    values: dict[str, Tensor] = {}
    for player in state.objective.phases:
        values.update(run_phase(state, player))
    state.step += 1
    return values


def run_phase(state: TrainState, player: str) -> dict[str, Tensor]:
    """One phase of one player: collect the live terms, fetch their images, update, average."""
    live = [term for term in state.objective.terms if term.player == player and term.live(state.counts[player])]
    reals = fetch(state, live)
    values: dict[str, Tensor] = {}
    for terms in state.objective.updates(live):
        values |= within_memory(state, player, partial(carry_out, state, player, terms, reals))
    state.counts[player] += 1
    if player == "G":
        state.ema.update(state.averaged, state.step)
    return values


def carry_out(state: TrainState, player: str, terms: Sequence[Term], reals: Given) -> dict[str, Tensor]:
    """Runs one update of a phase, eagerly or as a CUDA graph.

    Args:
        state: the run.
        player: D or G.
        terms: the live terms of the update.
        reals: the phase's images by view.

    Returns:
        The unweighted values of terms and the gradient norm, on the device.
    """
    work, batches = partial(update, state, player, terms), micro_batches(state, player, reals)
    if state.execution.graphs is None:
        return work(batches)
    betas = tuple(group["betas"] for group in state.optimizers[player].param_groups)
    factors = ((term.name, term.strength(state.step)) for term in terms)
    return state.execution.graphs.run((player, betas, *factors), work, batches)


def update(state: TrainState, player: str, live: Sequence[Term], batches: Sequence[MicroBatch]) -> dict[str, Tensor]:
    """Runs a phase on the device without synchronisation: generate, score, sum, backward, step.

    A phase with a non-finite gradient changes no parameter; it is counted in `state.skipped` or as an overflow of the
    loss scale.

    Args:
        state: the run.
        player: D or G.
        live: the terms of the update.
        batches: its micro-batches.

    Returns:
        The unweighted values of terms and the gradient norm, on the device.
    """
    trained = [state.nets[name] for name in state.objective.players[player]]
    optimizer, scale = state.optimizers[player], state.scales[player]
    state.let_learn(player)
    for net in trained:
        advance_spectral_norm(net)

    # Parameters that a separate update does not reach, such as biases under R1, get a zero gradient, not None.
    optimizer.zero_grad(set_to_none=not state.objective.lazy_apart)
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
            scale(torch.stack([term.strength(state.step) * losses[term.name] for term in live]).sum()).backward()
            for name, loss in losses.items():
                values[f"{player}/{name}"] += loss.detach()

    gradients = [p.grad for net in trained for p in net.parameters() if p.grad is not None]
    state.share.average_(gradients)
    scale.undo_(gradients)
    norm = torch.nn.utils.get_total_norm(gradients)
    optimizer.found_inf = (~norm.isfinite()).float()  # type: ignore[attr-defined]  # the fused step skips on it
    optimizer.step()
    state.skipped += scale.follow(optimizer.found_inf).to(state.skipped)  # type: ignore[attr-defined]
    return {**values, f"{player}/grad_norm": norm, **scale.values(player)}


def fetch(state: TrainState, terms: Sequence[Term]) -> Given:
    """Fetches the reals of a phase, if any of its terms uses them.

    They count as shown (`state.images`) in D's phases only, not when a generator takes them as input or its loss
    compares fakes with them.
    """
    if not any(isinstance(view, Real) for term in terms for view in walk(term.needs)):
        return {}
    learning = [term for term in terms if term.player == "D"]
    if any(view.origin() == "real" for term in learning for view in term.score + term.grads):
        state.images += state.loader.batch_size
    labelled = state.objective.prior.label_pool is not None
    return {Real(domain): (x, y if labelled else None) for domain, (x, y) in state.loader.batch().items()}


def micro_batches(state: TrainState, player: str, reals: Given) -> list[MicroBatch]:
    """Splits a phase's batch into `accumulate` equal parts."""
    parts = state.execution.accumulate
    size = state.objective.sizes.get(player, state.loader.batch_size) // state.loader.world_size // parts
    batches: list[Given] = [{} for _ in range(parts)]
    for view, (x, y) in reals.items():
        labels = [None] * parts if y is None else y.chunk(parts)
        for given, pair in zip(batches, zip(x.chunk(parts), labels, strict=True), strict=True):
            given[view] = pair
    return [(given, size) for given in batches]
