"""The interface of kinds of runs, and the choice between them."""

from __future__ import annotations

from collections.abc import Mapping
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
    """One kind of run, described by a configuration, from data to scores.

    `images` hold an `ImageSet`, or a `PairSet` for a translation.
    """

    @property
    def config(self) -> Config:
        """The configuration."""

    def load(self, device: torch.device, notify: Notify | None = None) -> Images:
        """Opens, splits and loads the data."""

    def describe(self, images: Any) -> dict[str, Any]:
        """The description from which the generator can be rebuilt, as plain JSON values; saved in every checkpoint."""

    def networks(self, description: Mapping[str, Any]) -> dict[str, nn.Module]:
        """The networks of a `describe`, with fresh weights; players train those whose names start with "G" and "D"."""

    def games(self, game: Game) -> tuple[Game, ...]:
        """The games from which terms are built, one per generator–discriminator pair."""

    def labels(self, images: Any, classes: int, device: torch.device) -> Tensor | None:
        """The pool (N,) int64 from which labels of fakes are sampled; None without classes."""

    def loader(self, images: Any, share: Share) -> Loader | PairLoader:
        """The loader of this process's part of training batches."""

    def frozen(self, nets: Mapping[str, nn.Module]) -> frozenset[str]:
        """The parameters that stay frozen, as `network.parameter`."""

    def monitor(self, images: Images) -> Monitor:
        """The monitor of the training loop: grids and instruments."""

    def scorer(self, images: Images, replicas: Replicas) -> Scorer | None:
        """The function that scores the averaged weights in training, or None."""


def kind_of(config: Config) -> type[Synthesis] | type[Translation]:
    """The kind of run of `config`: a translation if `data.domains` is set.

    Raises:
        UserError: the network family does not support it.
    """
    translates = config.data.domains is not None
    if translates != (config.model.kind in TRANSLATORS):
        raise UserError(
            f"model.kind={config.model.kind} and data.domains={config.data.domains or 'null'} do not fit: "
            f"{' or '.join(TRANSLATORS)} needs data.domains=paired or unpaired, every other kind data.domains=null"
        )
    return Translation if translates else Synthesis


def task_of(config: Config) -> Task:
    """The run of `config`, by its kind.

    Raises:
        UserError: see `kind_of`; or settings do not fit this kind of run.
    """
    return kind_of(config)(config)


def build_images(config: Config, device: torch.device, notify: Notify | None = None) -> Images:
    """Opens, splits and loads the images of a configuration."""
    return task_of(config).load(device, notify)
