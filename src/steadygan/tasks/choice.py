"""Which kind of run a configuration describes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from steadygan.config import Config
from steadygan.data.loader import Loader
from steadygan.data.pair_loader import PairLoader
from steadygan.errors import UserError
from steadygan.nets.registry import TRANSLATORS
from steadygan.objective.game import Game
from steadygan.parallel.replicas import Replicas
from steadygan.parallel.share import Share
from steadygan.tasks.images import Images, Notify, Scorer
from steadygan.tasks.synthesis import Synthesis
from steadygan.tasks.translation import Translation
from steadygan.training.monitor import Monitor


class Task(Protocol):
    """One kind of run, described by a configuration: from its data to its score.

    `images` are of the kind's own type: an `ImageSet`, or a `PairSet` of a translation.
    """

    def check(self) -> None:
        """Raises `UserError` for settings that do not fit such a run."""

    def load(self, device: torch.device, notify: Notify | None = None) -> Images:
        """Opens, splits and loads the data."""

    def describe(self, images: Any) -> dict[str, Any]:
        """All that is needed to build the generator again, in plain JSON values; kept in every checkpoint."""

    def networks(self, generator: nn.Module, critic: Callable[[], nn.Module]) -> dict[str, nn.Module]:
        """The networks by name: "G…" and "D…" are what these players train."""

    def games(self, game: Game) -> tuple[Game, ...]:
        """The games that terms are built from, one for each generator and its discriminator."""

    def labels(self, images: Any, classes: int, device: torch.device) -> Tensor | None:
        """The pool (N,) int64 from which labels of fakes are drawn, None without classes."""

    def loader(self, images: Any, share: Share) -> Loader | PairLoader:
        """Batches of the training images, of which this process has its share."""

    def frozen(self, nets: Mapping[str, nn.Module]) -> frozenset[str]:
        """The parameters that stay frozen, as `network.parameter`."""

    def monitor(self, images: Images) -> Monitor:
        """The monitor of the training loop: grids and instruments."""

    def scorer(self, images: Images, replicas: Replicas) -> Scorer | None:
        """The function that scores the averaged weights in training, if there is one."""


def task_of(config: Config) -> Task:
    """The kind of run that `config` describes: a translation where `data.domains` is set.

    Raises:
        UserError: the network family is not made for it.
    """
    translates = config.data.domains is not None
    if translates != (config.model.kind in TRANSLATORS):
        raise UserError(
            f"model.kind={config.model.kind} and data.domains={config.data.domains or 'null'} do not fit: "
            f"{' or '.join(TRANSLATORS)} needs data.domains=paired or unpaired, every other kind data.domains=null"
        )
    return Translation(config) if translates else Synthesis(config)


def build_images(config: Config, device: torch.device, notify: Notify | None = None) -> Images:
    """The images that a configuration names, opened, split and loaded."""
    return task_of(config).load(device, notify)
