"""A network with batch-norm statistics for several truncations; thread-safe."""

from __future__ import annotations

import copy
import threading
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from steadygan.errors import UserError
from steadygan.generators.prior import Cut, Prior, Truncation, read_truncation
from steadygan.generators.sampling import standing_statistics
from steadygan.nets.batch_norm import has_batch_statistics
from steadygan.nets.protocols import Mapped

KEPT = 8
"""Maximum number of truncations whose batch-norm statistics are kept."""

UNTRUNCATED = 2.0
"""The truncation for which the trained statistics serve as a draft: few elements of a normal latent exceed it."""


class Truncations:
    """The networks of a generator by truncation: they share parameters, but each has its own batch-norm statistics.

    Statistics for a truncated latent are gathered at first use (standing statistics, Brock et al., BigGAN, ICLR 2019,
    §3.1), or read from `tables`. The networks do not change afterwards.
    """

    def __init__(self, module: nn.Module, prior: Prior, tables: Mapping[str, Tensor]) -> None:
        """module: in evaluation mode, with its trained statistics; tables: see `at_truncation`, or empty."""
        self.module, self._prior, self.tables = module, prior, tables
        self._lock, self._kept = threading.Lock(), dict[Cut, nn.Module]()

    def __call__(self, truncation: Truncation | None) -> nn.Module:
        """The network for a truncation; None: the module itself.

        Raises:
            UserError: the truncation is invalid, or of a kind that does not apply to w.
        """
        cut = self._checked(truncation)
        if truncation is None or cut is None:
            return self.module
        with self._lock:
            if cut not in self._kept:
                network = self._made(cut, truncation)
                if len(self._kept) >= KEPT:
                    self._kept.pop(next(iter(self._kept)))
                self._kept[cut] = network
            return self._kept[cut]

    def _checked(self, truncation: Truncation | None) -> Cut | None:
        """The truncation that needs its own statistics; None if there is no such need."""
        if truncation is None:
            return None
        cut = read_truncation(truncation)
        if self._prior.kind == "uniform" and not isinstance(self.module, Mapped) and cut.threshold >= 1:
            raise UserError(
                f"this generator's latents lie within ±1: a truncation of {truncation} would do nothing; "
                "choose a smaller one"
            )
        if cut.law is not None and isinstance(self.module, Mapped):
            raise UserError(f"truncation {truncation}: this generator truncates w and not z; give {cut.threshold:g}")
        return cut if has_batch_statistics(self.module) else None

    def nearest(self, truncation: Truncation | None) -> nn.Module:
        """The network for a truncation if available, else for the nearest available one: immediate, for a draft."""
        cut = self._checked(truncation)
        if cut is None:
            return self.module
        with self._lock:
            known = {kept.threshold: network for kept, network in self._kept.items() if kept.law == cut.law}
        known.setdefault(UNTRUNCATED, self.module)
        return known[min(known, key=lambda threshold: abs(threshold - cut.threshold))]

    def forget(self) -> None:
        """Drops all networks, after the module was changed or moved."""
        self._kept.clear()

    def kept(self) -> Mapping[Cut, nn.Module]:
        """The available truncations, oldest first."""
        return dict(self._kept)

    def _made(self, cut: Cut, truncation: Truncation) -> nn.Module:
        network = copy.deepcopy(self.module, {id(weight): weight for weight in self.module.parameters()})
        if self.tables and self._prior.law(cut) == "scaled":
            network.load_state_dict(at_truncation(self.tables, cut.threshold), strict=False)
            return network
        device = next(network.parameters()).device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(0)  # for networks with noise inputs
            standing_statistics(network, self._prior, truncation=truncation)
        return network


def at_truncation(tables: Mapping[str, Tensor], truncation: float) -> dict[str, Tensor]:
    """Interpolates statistics for a truncation in [0, 1] between the two nearest rows of tables (truncations, C).

    Raises:
        UserError: the truncation is above 1.
    """
    if truncation > 1:
        raise UserError(f"this generator was published with statistics for truncations up to 1, got {truncation}")
    found = {}
    for key, table in tables.items():
        place = truncation * (len(table) - 1)
        below = min(int(place), len(table) - 2)
        found[key] = torch.lerp(table[below], table[below + 1], place - below)
    return found
