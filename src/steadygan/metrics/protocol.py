"""Protocols: everything a score depends on."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

from steadygan.errors import UserError, nearest
from steadygan.generators.prior import Truncation
from steadygan.metrics.registry import find_metric
from steadygan.pretrained.registry import available, extractor_type

Split = Literal["train", "heldout", "all", "test"]
Weights = Literal["ema", "raw"]
Resize = Literal["none", "bicubic"]
BatchNorm = Literal["running", "batch", "standing"]
Labels = Literal["balanced", "random"]


@dataclass(frozen=True)
class Protocol:
    """The settings of a score.

    `split`, `weights`, `truncation` and `batch_norm` are applied by the caller of `score`, which passes reals and
    generator; the rest is applied by `score`.

    Attributes:
        extractor: a name `get_extractor` knows.
        num_fake: fakes generated.
        num_real: reals drawn without replacement with `seed`; None: all of the split; with `at_most`, all if there are
            fewer.
        scores: names of `registry.METRICS`, or `module:NAME`.
        split: the reals: training images, held-out images, the whole data set, or another data set given by path.
        truncation: None: off.
        batch_norm: the statistics that the generator uses.
        labels: in turn, or sampled uniformly with `seed`.
        resize: "bicubic" resizes both sides to the extractor's size (antialiased, back to uint8), "none" leaves it to
            the extractor.
        per_channel: three greyscale images stacked as channels, read one by one, their features concatenated.
        is_splits: parts over which the Inception score is averaged.
        kd_subsets, kd_subset_size: of the kernel distance.
        neighbours: k of precision, recall, density and coverage.
    """

    name: str
    extractor: str
    num_fake: int
    num_real: int | None = None
    at_most: bool = False
    scores: tuple[str, ...] = ("fd", "classes")
    split: Split = "train"
    weights: Weights = "ema"
    batch_norm: BatchNorm = "running"
    truncation: Truncation | None = None
    labels: Labels = "balanced"
    resize: Resize = "none"
    per_channel: bool = False
    is_splits: int = 10
    kd_subsets: int = 100
    kd_subset_size: int = 1000
    neighbours: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        words = {"split": Split, "weights": Weights, "batch_norm": BatchNorm, "resize": Resize, "labels": Labels}
        for key, allowed in words.items():
            if (value := getattr(self, key)) not in get_args(allowed):
                raise UserError(f"protocol {key} is {value!r}; possible: {', '.join(get_args(allowed))}")
        for name in self.scores:
            find_metric(name)
        for key in ("num_fake", "num_real"):
            if (value := getattr(self, key)) is not None and value < 2:
                raise UserError(f"protocol {key} is {value}; a distance needs at least 2 images")

    def record(self) -> dict[str, Any]:
        """The protocol as recorded with a score.

        Fields added after `FIRST_FIELDS` are omitted at their default, so that a new field does not change the identity
        of earlier scores. `at_most` is always omitted, as num_real records the number.
        """
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        kept = {
            field.name for field in fields(self) if field.name in FIRST_FIELDS or values[field.name] != field.default
        }
        record = {name: value for name, value in values.items() if name in kept and name != "at_most"}
        return record | {"scores": list(self.scores)}  # as read back from JSON


FIRST_FIELDS = frozenset(
    {
        *("name", "extractor", "num_fake", "num_real", "scores", "split", "weights", "batch_norm", "truncation"),
        *("labels", "resize", "per_channel", "is_splits", "kd_subsets", "kd_subset_size", "neighbours", "seed"),
    }
)
"""Fields that every record has had since the first version."""

EVERYTHING: tuple[str, ...] = ("fd", "kd", "is", "prdc")

PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("digits", "digits", 2_000),
        # For runs on subsets, which the protocol above would compare with their own subset.
        Protocol("digits-full", "digits", 2_000, split="all"),
        Protocol("stacked-digits", "digits", 10_000, scores=("fd", "modes"), per_channel=True),
        # SNGAN to ICR: google/compare_gan's test split and as many fakes, the Inception score without splits.
        Protocol(
            "compare_gan-cifar10",
            "inception",
            10_000,
            10_000,
            scores=("fd", "is", "kd"),
            split="test",
            labels="random",
            is_splits=1,
        ),
        # BigGAN, U-Net GAN: ajbrock/BigGAN-PyTorch's, but with the TF-2015 Inception, not torchvision's.
        Protocol("biggan-pytorch", "inception", 50_000, scores=("fd", "is"), labels="random"),
        # DiffAugment's BigGAN on CIFAR: without --G_eval_mode, i.e. with the statistics of each test batch.
        Protocol(
            "diffaugment-cifar",
            "inception",
            10_000,
            10_000,
            scores=("fd", "is"),
            split="test",
            labels="random",
            batch_norm="batch",
        ),
        # DiffAugment's StyleGAN2 on 100 to 400 images: fid5k-train.
        Protocol("diffaugment-lowshot", "inception", 5_000, scores=("fd",), labels="random"),
        # NVlabs/stylegan2-ada-pytorch: against the whole data set, even for a run on a subset.
        Protocol("fid50k_full", "inception", 50_000, scores=("fd",), split="all", labels="random"),
        # PyTorch-StudioGAN with its default resizer, `-ref train` and CIFAR's 50,000 images.
        Protocol("studiogan", "inception-pytorch", 50_000, scores=("fd", "is", "prdc"), labels="random", is_splits=1),
        # Not from a paper: for data without a protocol, cheap enough to run during training. Sides over 64 pixels are
        # resized to 64, below 32 to 32 (by the extractor).
        Protocol("tiny", "tiny", 2_000, 5_000, at_most=True, scores=("fd", "prdc")),
        # Not from a paper: for machines without the Inception weights.
        Protocol("squeezenet", "squeezenet", 10_000, scores=EVERYTHING),
        Protocol("squeezenet-test", "squeezenet", 10_000, scores=EVERYTHING, split="test"),
        Protocol("dinov2", "dinov2", 10_000, scores=("fd", "kd", "prdc")),
    )
}

DEFAULTS = ("digits", "stacked-digits")
"""Data sets whose default protocol has the same name."""


def get_protocol(name: str) -> Protocol:
    """The protocol called `name`. Raises UserError for an unknown one."""
    if name not in PROTOCOLS:
        raise UserError(f"unknown protocol {name!r}; {nearest(name, PROTOCOLS)}")
    return PROTOCOLS[name]


def fit(protocol: Protocol, channels: int, size: int) -> Protocol:
    """Adapts the protocol to images of (channels, size, size): adds a resize if the extractor has a fixed input size.

    Raises UserError, listing the extractors, if the extractor cannot read such images.
    """
    kind = extractor_type(protocol.extractor)
    reads = (3,) if protocol.per_channel else (1, 3) if kind.channels == 3 else (kind.channels,)
    if channels not in reads:
        raise UserError(
            f"the protocol {protocol.name!r} reads {kind.name}: {kind.input}; these images have {channels} "
            f"channel{'s' * (channels != 1)}. Extractors: {available()}"
        )
    return replace(protocol, resize="bicubic") if kind.size not in (None, size) else protocol


def choose_protocol(data_name: str, channels: int, size: int = 32) -> Protocol:
    """The default protocol of a data set, fitted to its images: its own, or `tiny`."""
    protocol = PROTOCOLS[data_name] if data_name in DEFAULTS else None
    if protocol is None or channels != (3 if protocol.per_channel else 1):
        protocol = PROTOCOLS["tiny"]
    return fit(protocol, channels, size)
