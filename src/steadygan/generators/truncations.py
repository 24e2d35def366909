"""One network with the statistics of several truncations, for several threads at once."""

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
"""For how many truncations the statistics of batch norms are kept."""

UNTRUNCATED = 2.0
"""The truncation for which the trained statistics are a draft: few elements of a normal latent lie beyond it."""


class Truncations:
    """The networks of a generator by truncation: all share their parameters, each has its own batch-norm statistics.

    Those of a truncated latent are gathered at first use (standing statistics, Brock et al., BigGAN, ICLR 2019, §3.1),
    or read from `tables`. None of the networks changes afterwards.
    """

    def __init__(self, module: nn.Module, prior: Prior, tables: Mapping[str, Tensor]) -> None:
        """module: in evaluation mode, with its trained statistics; tables: see `at_truncation`, or empty."""
        self.module, self._prior, self.tables = module, prior, tables
        self._lock, self._kept = threading.Lock(), dict[Cut, nn.Module]()

    def __call__(self, truncation: Truncation | None) -> nn.Module:
        """The network for a truncation; None: the module itself.

        Raises:
            UserError: what is no truncation, or names a law where the network truncates w.
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
        """The truncation of which a network has statistics of its own; None: it needs none."""
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
        """The network for a truncation if it is there, else for the nearest that is there: at once, for a draft."""
        cut = self._checked(truncation)
        if cut is None:
            return self.module
        with self._lock:
            known = {kept.threshold: network for kept, network in self._kept.items() if kept.law == cut.law}
        known.setdefault(UNTRUNCATED, self.module)
        return known[min(known, key=lambda threshold: abs(threshold - cut.threshold))]

    def forget(self) -> None:
        """Keeps none: the module was changed or moved."""
        self._kept.clear()

    def kept(self) -> Mapping[Cut, nn.Module]:
        """Those that are there, oldest first."""
        return dict(self._kept)

    def _made(self, cut: Cut, truncation: Truncation) -> nn.Module:
        network = copy.deepcopy(self.module, {id(weight): weight for weight in self.module.parameters()})
        if self.tables and self._prior.law(cut) == "scaled":
            network.load_state_dict(at_truncation(self.tables, cut.threshold), strict=False)
            return network
        device = next(network.parameters()).device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(0)  # of networks with inner noise
            standing_statistics(network, self._prior, truncation=truncation)
        return network


def at_truncation(tables: Mapping[str, Tensor], truncation: float) -> dict[str, Tensor]:
    """Statistics for a truncation of 0 to 1, between the two nearest of those in tables (truncations, C)."""
    if truncation > 1:
        raise UserError(f"this generator was published with statistics for truncations up to 1, got {truncation}")
    found = {}
    for key, table in tables.items():
        place = truncation * (len(table) - 1)
        below = min(int(place), len(table) - 2)
        found[key] = torch.lerp(table[below], table[below + 1], place - below)
    return found
