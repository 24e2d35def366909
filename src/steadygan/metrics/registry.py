"""The registry of metrics. A new metric is an entry here, or a custom one `module:NAME`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, Protocol

import torch
from torch import Tensor

from steadygan.errors import UserError
from steadygan.metrics.frechet import Moments, frechet_distance
from steadygan.metrics.inception_score import inception_score
from steadygan.metrics.kid import kernel_distance
from steadygan.metrics.memorisation import as_scores as copies_as_scores
from steadygan.metrics.memorisation import memorised
from steadygan.metrics.modes import class_agreement, class_spread, stacked_modes
from steadygan.metrics.prdc import prdc
from steadygan.metrics.reference import Reference
from steadygan.options import find
from steadygan.pretrained.extractor import Extractor, Features

Better = Literal["lower", "higher", "near-one"]
Need = Literal["fakes", "reals", "classes", "imagenet"]


class Settings(Protocol):
    """The protocol settings that metrics read."""

    @property
    def is_splits(self) -> int: ...

    @property
    def kd_subsets(self) -> int: ...

    @property
    def kd_subset_size(self) -> int: ...

    @property
    def neighbours(self) -> int: ...


@dataclass(frozen=True)
class Inputs:
    """The inputs of a metric.

    Attributes:
        extractor: the feature extractor; `extractor.score_name("FD")` is `FID` or `FD-<extractor>`.
        protocol: sizes and settings.
        moments: mean and covariance of the fakes' features.
        reference: mean, covariance and spread within classes of the reals; with need "reals" also their features (N,
        F).
        fakes: features (M, F) and logits (M, C) of the fakes; None if moments suffice for all metrics.
        asked: requested labels (M,) int64 of the fakes; None without classes.
        classes: number of the data's classes that the extractor predicts; 0: none.
    """

    extractor: Extractor
    protocol: Settings
    moments: Moments
    reference: Reference
    fakes: Features | None
    asked: Tensor | None
    classes: int

    @property
    def device(self) -> str | torch.device:
        """The device for float64 arithmetic: the extractor's GPU, else the CPU."""
        return self.extractor.device if self.extractor.device.type == "cuda" else "cpu"


@dataclass(frozen=True)
class Metric:
    """One entry of `Protocol.scores`.

    Attributes:
        compute: inputs -> scores by name; names ending in `_std` are standard deviations.
        better: score name, without the extractor's -> the better direction.
        needs: "fakes": their features and logits; "reals": the reals' features; "classes": labels that the extractor
            predicts, otherwise the metric is skipped; "imagenet": an extractor with ImageNet's classes.
        least: minimum number of images per side.
        about: description and source, for `steadygan settings`.
    """

    compute: Callable[[Inputs], Mapping[str, float]]
    better: Mapping[str, Better]
    needs: frozenset[Need] = frozenset()
    least: Callable[[Settings], int] = lambda _: 2
    about: str = ""


def _read(inputs: Inputs) -> Features:
    assert inputs.fakes is not None
    return inputs.fakes


def _frechet(inputs: Inputs) -> dict[str, float]:
    reference, moments = inputs.reference, inputs.moments
    distance = frechet_distance(reference.mean, reference.cov, moments.mean, moments.cov)
    return {inputs.extractor.score_name("FD"): distance}


def _kernel(inputs: Inputs) -> dict[str, float]:
    name, protocol = inputs.extractor.score_name("KD"), inputs.protocol
    sizes = protocol.kd_subsets, protocol.kd_subset_size
    mean, std = kernel_distance(_read(inputs).features, inputs.reference.features, *sizes, device=inputs.device)
    return {name: mean, f"{name}_std": std}


def _inception(inputs: Inputs) -> dict[str, float]:
    name = inputs.extractor.score_name("IS")
    mean, std = inception_score(_read(inputs).logits, inputs.protocol.is_splits)
    return {name: mean, f"{name}_std": std}


def _prdc(inputs: Inputs) -> dict[str, float]:
    reals, fakes = inputs.reference.features, _read(inputs).features
    return prdc(reals, fakes, inputs.protocol.neighbours, device=inputs.device)._asdict()


def _modes(inputs: Inputs) -> dict[str, float]:
    return stacked_modes(_read(inputs).logits)._asdict()


def _classes(inputs: Inputs) -> dict[str, float]:
    read, asked, spread = _read(inputs), inputs.asked, inputs.reference.spread
    assert asked is not None
    scores = {"class_agreement": class_agreement(read.logits, asked)}
    if len(spread) and torch.bincount(asked, minlength=inputs.classes).min() >= 2:
        scores["diversity"] = (class_spread(read.features, asked, inputs.classes) / spread).mean().item()
    return scores


def _copies(inputs: Inputs) -> dict[str, float]:
    return copies_as_scores(memorised(_read(inputs).features, inputs.reference.features))


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "fd": Metric(
            _frechet,
            {"FD": "lower", "FID": "lower"},
            about="Fréchet distance between features; FID with the TF-2015 Inception (Heusel et al., NeurIPS 2017)",
        ),
        "kd": Metric(
            _kernel,
            {"KD": "lower", "KID": "lower"},
            frozenset({"fakes", "reals"}),
            about="kernel distance between features; KID with the TF-2015 Inception (Bińkowski et al., ICLR 2018)",
        ),
        "is": Metric(
            _inception,
            {"IS": "higher"},
            frozenset({"fakes", "imagenet"}),
            lambda p: p.is_splits,
            about="Inception score, for extractors with ImageNet's classes (Salimans et al., NeurIPS 2016)",
        ),
        "prdc": Metric(
            _prdc,
            {"precision": "higher", "recall": "higher", "density": "higher", "coverage": "higher"},
            frozenset({"fakes", "reals"}),
            lambda protocol: protocol.neighbours + 1,
            about="precision, recall (Kynkäänniemi et al., NeurIPS 2019), density, coverage (Naeem et al., ICML 2020)",
        ),
        "modes": Metric(
            _modes,
            {"modes": "higher", "kl": "lower"},
            frozenset({"fakes"}),
            about="stacked digits: modes generated of 1,000, and KL divergence from the uniform distribution",
        ),
        "classes": Metric(
            _classes,
            {"class_agreement": "higher", "diversity": "near-one"},
            frozenset({"fakes", "classes"}),
            about="how often the requested class is recognised, and the distance within classes relative to reals",
        ),
        "copies": Metric(
            _copies,
            {"copies": "lower"},
            frozenset({"fakes", "reals"}),
            lambda _: 3,
            about="share of fakes that are closer to a training image than training images are to each other",
        ),
    }
)
"""In the order of a record."""


def find_metric(name: str) -> Metric:
    """Finds the metric `name`, one of `METRICS` or `module:NAME`.

    Raises:
        UserError: it does not exist or is not a `Metric`.
    """
    metric = find(name, METRICS, where="protocol scores", noun="metric")
    if not isinstance(metric, Metric):
        raise UserError(f"protocol scores: {name} is not a steadygan.metrics.registry.Metric")
    return metric
