"""The state of a training run, which a checkpoint saves and restores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from steadygan.data.loader import Loader
from steadygan.data.pair_loader import PairLoader
from steadygan.errors import UserError
from steadygan.objective.batch import View, walk
from steadygan.parallel.share import Share, set_share, share_of
from steadygan.runs.checkpoint import fill
from steadygan.training.ema import EMA
from steadygan.training.execution import Execution
from steadygan.training.loss_scale import FullRange
from steadygan.training.phases import Objective
from steadygan.training.saved import check_saved, fitted
from steadygan.transforms.adaptive import Adaptive


@dataclass
class TrainState:
    """A run between two steps: its objective, its execution and the state that a checkpoint saves.

    Attributes:
        ema: the average of `averaged`, the network "G" or a dictionary of several generators.
        counts: phases of each player so far.
        images: reals shown to discriminators so far.
        skipped: phases with a non-finite gradient.
        scales: loss scale of each player.
        pools: state of views.
    """

    nets: dict[str, nn.Module]
    objective: Objective
    optimizers: dict[str, torch.optim.Optimizer]
    loader: Loader | PairLoader
    generator: torch.Generator
    ema: EMA
    execution: Execution = field(default_factory=Execution)
    averaged: nn.Module = field(default=None)  # type: ignore[assignment]
    step: int = 0
    images: int = 0
    seconds: float = 0.0
    best_score: float = float("inf")
    counts: Counter[str] = field(default_factory=Counter)
    skipped: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.int64))
    scales: dict[str, FullRange] = field(default_factory=lambda: {"D": FullRange(), "G": FullRange()})
    pools: dict[View, nn.Module] = field(init=False)

    def __post_init__(self) -> None:
        if self.averaged is None:
            self.averaged = self.nets["G"]
        views = walk(view for term in self.objective.terms for view in term.needs)
        self.pools = {view: memory for view in views if (memory := view.memory()) is not None}
        for term in self.objective.terms:
            if term.player not in self.objective.players or term.critic not in self.nets:
                raise UserError(
                    f"objective.terms: {term.name} is for player {term.player!r} and discriminator {term.critic!r}; "
                    f"there are players {', '.join(self.objective.players)} and networks {', '.join(self.nets)}"
                )
        for memory in (*self.memories.values(), *self.scales.values()):
            memory.to(self.device)
        for module in (*self.nets.values(), *self.memories.values()):
            set_share(module, self.share)
        places = [name.split(".", 1) for name in sorted(self.objective.frozen)]
        self._frozen = [self.nets[net].get_parameter(name) for net, name in places]

    @property
    def device(self) -> torch.device:
        return self.generator.device

    @property
    def share(self) -> Share:
        """This process's part of every batch."""
        return share_of(self.generator)

    @property
    def memories(self) -> dict[str, nn.Module]:
        """The state of terms, by `player/term`, and of views, by their expression."""
        terms = {f"{t.player}/{t.name}": t.loss for t in self.objective.terms if isinstance(t.loss, nn.Module)}
        return terms | {str(view): memory for view, memory in self.pools.items()}

    @property
    def adaptive(self) -> list[Adaptive]:
        """State that adapts to D: transforms of its inputs, and their controllers."""
        parts = (part for memory in self.memories.values() for part in memory.modules())
        return [part for part in parts if isinstance(part, Adaptive)]

    def let_learn(self, player: str) -> None:
        """Enables gradients for the parameters of `player` only: not for the other player, not for `frozen`."""
        for name, net in self.nets.items():
            net.requires_grad_(name in self.objective.players[player])
        for parameter in self._frozen:
            parameter.requires_grad_(False)

    def weights(self) -> dict[str, Tensor]:
        """All network tensors by `network.parameter`; the averaged generator is `G_ema`."""
        nets = {**self.nets, "G_ema": self.ema.net}
        return {f"{name}.{key}": value for name, net in nets.items() for key, value in net.state_dict().items()}

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        for name, net in {**self.nets, "G_ema": self.ema.net}.items():
            prefix = f"{name}."
            fill(net, {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)})

    def state_dict(self) -> dict[str, Any]:
        """The state without network weights; tensors and plain values only, so it loads with `weights_only`."""
        return {
            "step": self.step,
            "images": self.images,
            "seconds": self.seconds,
            "best_score": self.best_score,
            "counts": dict(self.counts),
            "skipped": int(self.skipped),
            "loader": self.loader.state_dict(),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "memories": {name: memory.state_dict() for name, memory in self.memories.items()},
            "scales": {name: scale.state_dict() for name, scale in self.scales.items() if scale.state_dict()},
            "generator": self.generator.get_state(),
            "torch_rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores a state. Raises ValueError, before changing anything, if `state` does not fit this run."""
        check_saved(state, self.state_dict())
        optimizers = {name: fitted(optimizer, state["optimizers"][name]) for name, optimizer in self.optimizers.items()}
        # A run may change its precision on resume: a scale that was not saved starts from its initial value.
        scales = {name: saved for name, saved in state.get("scales", {}).items() if self.scales[name].state_dict()}
        for name, saved in scales.items():
            self.scales[name].check(saved)
        self.loader.load_state_dict(state["loader"])
        for name, optimizer in self.optimizers.items():
            own = [(group["lr"], group["capturable"]) for group in optimizer.param_groups]
            optimizer.load_state_dict(optimizers[name])
            for group, (lr, capturable) in zip(optimizer.param_groups, own, strict=True):
                group["lr"], group["capturable"] = lr, capturable  # this run's value, whatever was saved
        for name, memory in self.memories.items():
            memory.load_state_dict(state["memories"][name])
        for name, saved in scales.items():
            self.scales[name].load_state_dict(saved)
        if self.execution.graphs is not None:
            self.execution.graphs.clear()
        self.generator.set_state(state["generator"])
        torch.set_rng_state(state["torch_rng"])
        if state["cuda_rng"] is not None:
            torch.cuda.set_rng_state(state["cuda_rng"], self.device)
        self.step, self.images, self.seconds = state["step"], state["images"], state["seconds"]
        self.best_score = state["best_score"]
        self.counts = Counter(state["counts"])
        self.skipped.fill_(state["skipped"])
