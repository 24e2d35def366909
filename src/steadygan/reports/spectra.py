"""Growth of layers' singular values, from a run's metrics.jsonl."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMED = 4
"""Number of layers in the legend, those with the largest growth."""


class Spectra(NamedTuple):
    """σ₀ of every weight of one network of a run, by layer in the network's order: [(step, σ₀), …]."""

    run: str
    net: str
    layers: dict[str, list[tuple[int, float]]]


def read_spectra(run: str, rows: Sequence[dict[str, Any]]) -> list[Spectra]:
    """The spectra in the lines of a metrics.jsonl, one per network; empty if the run did not record them.

    Non-finite values are NaN.
    """
    nets: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for row in rows:
        for key, values in row.items():
            if key.startswith("sigma/"):
                _, net, layer = key.split("/", 2)
                first = math.nan if values[0] is None else values[0]
                nets.setdefault(net, {}).setdefault(layer, []).append((row["step"], first))
    return [Spectra(run, net, layers) for net, layers in nets.items()]


def growth(points: Sequence[tuple[int, float]]) -> float:
    """The largest σ₀ relative to the first; infinite if a value is not finite."""
    values = [value for _, value in points]
    if any(math.isnan(value) for value in values):
        return math.inf
    return max(values) / values[0] if values[0] else math.inf


def draw(axes: Axes, spectra: Spectra) -> None:
    """Draws one curve per layer on a logarithmic axis, from dark (first) to light (last): BigGAN (Brock et al. 2019),
    fig. 3.

    The layers with the largest growth are drawn bold and listed in the legend.
    """
    from matplotlib import colormaps

    layers = list(spectra.layers)
    loudest = sorted(layers, key=lambda layer: growth(spectra.layers[layer]), reverse=True)[:NAMED]
    for place, (layer, points) in enumerate(spectra.layers.items()):
        colour = colormaps["viridis"](0.9 * place / max(1, len(layers) - 1))
        loud = layer in loudest
        axes.plot(
            *zip(*points, strict=True),
            color=colour,
            linewidth=1.8 if loud else 0.8,
            zorder=3 if loud else 2,
            marker="." if len(points) == 1 else None,
            label=f"{layer} ×{growth(points):.2f}" if loud else None,
        )
    axes.set_yscale("log")
    axes.tick_params(axis="y", which="both", labelsize=7)
    axes.legend(fontsize=7, framealpha=0.7, title=f"{len(layers)} weights; grown most:", title_fontsize=7)
