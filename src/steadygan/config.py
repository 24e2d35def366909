"""The single description of a run: frozen, validated, free of torch.

A run is described by a preset's name or a YAML file (which may extend either), plus dotted overrides such as
`train.batch_size=64`. `load` turns these into a `Config` or raises a `UserError` that names the key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    field_validator,
    model_validator,
)

from steadygan.errors import UserError
from steadygan.overrides import explain, parse
from steadygan.schedules import Beta, Probability, Rate, Schedule
from steadygan.sources import preset_names, preset_text, read_tree
from steadygan.spelling import misspaced

__all__ = ["Config", "load", "preset_about", "preset_names", "preset_text", "validate"]

Positive = Annotated[int, Field(gt=0)]
NonNegative = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Fraction = Annotated[float, Field(ge=0, le=1)]


def _without_null(value: Any) -> Any:
    return {k: v for k, v in value.items() if v is not None} if isinstance(value, Mapping) else value


Table = Annotated[dict[str, dict[str, Any]], BeforeValidator(_without_null)]
"""Terms with their options: `bcr: {}` is bcr with its defaults; `objective.terms.bcr=null` removes an inherited bcr."""


def _batch_size(given: Any) -> int | Literal["auto"]:
    if given == "auto":
        return "auto"
    try:
        size = float(given)
    except (TypeError, ValueError):
        size = 0.0
    if isinstance(given, bool) or size < 1 or size != int(size):
        raise ValueError("must be a whole number above 0, or auto for as many as memory has room for")
    return int(size)


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class About(Section):
    """The source of a preset. Unknown entries are marked as unknown, never guessed."""

    paper: str = Field("", description="the paper that the run reproduces")
    table: str = Field("", description="table and row")
    score: str = Field("", description="the published score")
    protocol: str = Field("", description="the protocol of the published score")
    deviations: str = Field("", description="what differs from the paper")


class DataConfig(Section):
    path: str = Field(
        "digits", description="digits; a folder, zip, tar or parquet file; torchvision:NAME; hf:USER/NAME"
    )
    root: str | None = Field(None, description="folder of torchvision's data sets; null: the one in STEADYGAN_DATA")
    size: Positive = Field(32, le=4096, description="side of the square training images, in pixels")
    channels: Literal[1, 3] | None = Field(None, description="1: grey, 3: RGB; null: as the images are")
    bits: Annotated[int, Field(ge=1, le=31)] | None = Field(
        None, description="bits in use of 16-bit or 32-bit grey images: 12 for values to 4095; null: all 16"
    )
    fraction: float = Field(
        1.0, gt=0, le=1, description="share of the training images to use, a subset drawn by data.seed"
    )
    max_images: Positive | None = Field(None, description="largest number of training images; null: all")
    seed: Seed = Field(0, description="random seed of the held-out split and the subset, separate from train.seed")
    heldout: float = Field(0.1, ge=0, lt=1, description="share of the images held out from training, to see D overfit")
    max_unreadable: Fraction = Field(0.01, description="largest share of unreadable images; more are an error")
    cache: bool = Field(
        True, description="when decoded images do not fit in memory, keep them in a file; false: decode each batch"
    )
    flip: bool = Field(False, description="mirror training images at random (not for letters and digits)")
    domains: Literal["paired", "unpaired"] | None = Field(
        None, description="translation: the path holds domains A and B, paired or not; null: one domain"
    )
    fit: Literal["crop", "squash"] = Field("crop", description="translation: how images are made square")
    jitter: float = Field(
        1.0, ge=1, le=2, description="translation: enlarge images by this factor, then crop at random"
    )


class ModelConfig(Section):
    kind: str = Field("dcgan", description="backbone: a family of networks, or your own as module:NAME")
    width: Positive = Field(
        64, le=1 << 16, description="base number of channels; 64 is the published width of dcgan and resnet"
    )
    latent: Positive = Field(128, le=1 << 16, description="dimension of the latent z")
    prior: Literal["normal", "uniform"] = Field("normal", description="distribution of z: N(0, I) or U(-1, 1)")
    conditional: bool = Field(False, description="condition both networks on the class labels")
    fake_labels: Literal["auto", "uniform", "data"] = Field(
        "auto", description="distribution of the fakes' labels; auto: the data's where classes are imbalanced"
    )
    generator: dict[str, Any] = Field({}, description="options of the backbone's generator")
    critic: dict[str, Any] = Field({}, description="options of the backbone's discriminator")
    features: str | None = Field(
        None,
        description="a pretrained network whose features D scores too: tiny ships with the package; null: none",
    )
    directions: tuple[Literal["a2b", "b2a"], ...] = Field(
        ("a2b", "b2a"), min_length=1, description="translation: directions, each with a generator and a discriminator"
    )


class ObjectiveConfig(Section):
    loss: str = Field("hinge", description="adversarial loss, or your own as module:NAME")
    history: NonNegative = Field(
        50, description="translation: size of the pool of earlier fakes that D also sees; 0: no pool"
    )
    terms: Table = Field({}, description="regularisers added to the loss, such as {cr: {weight: 10}}")


class ConsistencyConfig(Section):
    flip: Fraction = Field(0.5, description="probability of a horizontal flip")
    shift: float = Field(
        0.125, ge=0, le=0.5, description="largest shift, as a share of the side (0.125: 4 of 32 pixels)"
    )
    cutout: Fraction = Field(0.0, description="side of the square that is cut out, as a share of the image's")
    padding: Literal["reflect", "zero"] = Field("reflect", description="fill of the border that a shift uncovers")


class DiffAugmentConfig(Section):
    policy: tuple[Literal["color", "translation", "cutout"], ...] = Field(
        (), description="operations, in this order; empty: off"
    )
    placement: Literal["both", "reals-only", "discriminator-only"] = Field(
        "both", description="what is augmented; the others are the paper's ablations, which fail"
    )


class AdaptiveConfig(Section):
    p: Probability | None = Field(
        None, description="probability, a number or a schedule; null: adaptive, starting at 0"
    )
    target: float = Field(0.6, gt=-1, lt=1, description="adaptive: target of r_t, the mean sign of D's logit on reals")
    kimg: float = Field(500, gt=0, description="adaptive: thousands of images in which p can go from 0 to 1")
    every: Positive = Field(4, description="adaptive: minibatches between adjustments of p")


class ADAConfig(AdaptiveConfig):
    ops: dict[str, Fraction] = Field(
        {"blit": 1, "geometric": 1, "color": 1},
        description="strength of each operation or group, 0 to 1; a table of yours replaces this one",
    )


class AugmentConfig(Section):
    consistency: ConsistencyConfig = Field(ConsistencyConfig(), description="the augmentation T of CR and bCR")
    diffaugment: DiffAugmentConfig = Field(
        DiffAugmentConfig(), description="differentiable augmentation of everything D sees"
    )
    ada: ADAConfig | None = Field(
        None, description="adaptive discriminator augmentation, after DiffAugment; {}: the paper's; null: off"
    )
    transforms: Table = Field(
        {}, description="your own augmentations of everything D sees, last: {module:NAME: {option: value}, …}"
    )
    apa: AdaptiveConfig | None = Field(
        None, description="adaptive pseudo augmentation: some fakes are labelled real for D; {}: on; null: off"
    )


class PlayerConfig(Section):
    lr: Rate = Field(2e-4, description="Adam's learning rate, a number or a schedule")
    beta1: Beta = Field(0.5, description="Adam's β₁, a number or a schedule")
    beta2: Beta = Field(0.999, description="Adam's β₂, a number or a schedule")
    eps: float = Field(1e-8, gt=0, description="Adam's ε")


class OptimConfig(Section):
    g: PlayerConfig = Field(PlayerConfig(), description="Adam of the generator")
    d: PlayerConfig = Field(PlayerConfig(), description="Adam of the discriminator")
    schedule: Literal["constant", "linear"] = Field(
        "constant", description="schedule of both learning rates; linear: to 0 at train.steps"
    )
    decay_from: NonNegative = Field(0, description="step at which the linear decay begins")
    lazy: Literal["together", "apart"] = Field(
        "together",
        description="terms with every=k: in their phase's Adam step, or apart in one that follows it, with lr·c and "
        "betas^c throughout, c = k/(k + 1) (StyleGAN2's code)",
    )

    @model_validator(mode="after")
    def _check(self) -> OptimConfig:
        if self.schedule == "linear" and any(isinstance(player.lr, Schedule) for player in (self.g, self.d)):
            raise ValueError("schedule=linear is of plain learning rates; set it to constant where an lr has its own")
        return self

    def rate(self, player: PlayerConfig, steps: int) -> float | Schedule:
        """The learning rate of a player in a run of `steps` steps."""
        if self.schedule == "constant" or isinstance(player.lr, Schedule):
            return player.lr
        decay = max(1, steps - self.decay_from)
        return Schedule(shape="linear", start=player.lr, end=0, delay=self.decay_from, steps=decay)


class EMAConfig(Section):
    start: NonNegative = Field(0, description="number of steps in which the average is a copy of G")
    half_life: Rate | None = Field(
        6931, description="half-life in G steps, a number or a schedule (6931: a decay of 0.9999); null: no averaging"
    )


class TrainConfig(Section):
    steps: Positive = Field(100_000, description="training steps; a step runs every phase once")
    hours: float | None = Field(
        None,
        gt=0,
        description="end after this many hours; schedules then follow the clock; null: train.steps alone decides",
    )
    batch_size: Annotated[int | Literal["auto"], PlainValidator(_batch_size)] = Field(
        64, description="images of a batch, over all processes; auto: the largest power of two that fits in memory"
    )
    g_batch_size: Positive | None = Field(None, description="fakes in a phase of G; null: batch_size")
    accumulate: Positive = Field(1, description="micro-batches of a batch; more need less memory for the same gradient")
    phases: tuple[Literal["D", "G"], ...] = Field(
        ("D", "G"), min_length=1, description="order of the updates in a step"
    )
    seed: Seed = Field(0, description="random seed of weights, latents and the order of images")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1 or mps")
    threads: Annotated[int, Field(gt=0, le=4096)] | None = Field(None, description="CPU threads; null: torch's choice")
    channels_last: bool = Field(True, description="memory format of images and kernels; does not change the result")
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="precision of the networks in training; auto: bfloat16 where the device computes in it, else "
        "float32; float16: with a loss scale, for GPUs without bfloat16",
    )
    tf32: bool = Field(True, description="TF32 on NVIDIA GPUs: float32 products rounded to 10 bits")
    autotune: bool = Field(
        True, description="cuDNN times its convolutions and takes the fastest; a resumed run may take others"
    )
    fold: bool = Field(
        True, description="fold resampling into the neighbouring convolution; does not change the result"
    )
    winograd: bool = Field(
        True, description="Winograd convolutions on a CPU, for 3×3 kernels of many channels; the same but for rounding"
    )
    compile: bool = Field(False, description="torch.compile, where nothing is differentiated twice")
    cuda_graphs: bool = Field(False, description="record each phase as a CUDA graph and replay it")
    recompute: bool = Field(False, description="activation checkpointing: less memory for one more forward pass")
    ema: EMAConfig = Field(EMAConfig(), description="exponential moving average of G's weights")
    init_from: str | None = Field(
        None, description="fine-tune: the run or checkpoint whose networks this run starts from"
    )
    freeze_critic: NonNegative = Field(0, description="FreezeD: number of D's first blocks that stay frozen")
    adapt: Literal["all", "scale-shift"] = Field(
        "all", description="what of G learns; scale-shift: gains and biases alone"
    )
    collapse: Literal["stop", "rollback", "continue"] = Field("stop", description="what to do when training collapses")
    instruments_every: NonNegative = Field(
        0, description="steps between records of singular values and gradient norms; 0: never"
    )
    log_every: Positive = Field(50, description="steps between lines of metrics.jsonl")
    sample_every: Positive = Field(1000, description="steps between sample grids")
    sample_first: NonNegative = Field(
        0, description="also save grids at step 0, at this step and at each doubling of it; 0: none"
    )
    checkpoint_every: Positive = Field(5000, description="steps between checkpoints")
    keep_checkpoints: Positive = Field(2, description="number of newest checkpoints to keep, besides the best")
    report: tuple[str, ...] = Field((), description="trackers: tensorboard, wandb, trackio; module:NAME for yours")
    collective_timeout: float = Field(
        600, gt=0, description="several processes: seconds to wait for one that does not answer before all end"
    )

    @model_validator(mode="after")
    def _check(self) -> TrainConfig:
        if self.batch_size != "auto" and self.batch_size % self.accumulate:
            raise ValueError(f"accumulate must divide batch_size ({self.batch_size}), got {self.accumulate}")
        if (self.g_batch_size or 0) % self.accumulate:
            raise ValueError(f"accumulate must divide g_batch_size ({self.g_batch_size}), got {self.accumulate}")
        if self.compile and self.recompute:
            raise ValueError("compile and recompute exclude each other; set one of them to false")
        if missing := {"D", "G"} - set(self.phases):
            raise ValueError(f"phases must update both players; {missing.pop()} is missing")
        if self.init_from is None and (self.freeze_critic or self.adapt != "all"):
            raise ValueError("freeze_critic and adapt keep weights of another run; set train.init_from to that run")
        return self

    @property
    def batch(self) -> int:
        """`batch_size` as a number; runs replace auto (`estimate.fit_batch`). Raises UserError before."""
        if self.batch_size == "auto":
            raise UserError("train.batch_size=auto is chosen where a run starts; set it to a number here")
        return self.batch_size


class EvalConfig(Section):
    metrics: tuple[str, ...] = Field((), description="metrics besides the protocol's; your own as module:NAME")
    protocol: str | None = Field(None, description="named protocol; null: the one made for the data, or tiny")
    every: NonNegative | None = Field(
        None, description="steps between scores; 0: only at the end; null: as often as takes 3 % of the time"
    )
    num_fake: Annotated[int, Field(ge=2)] | None = Field(
        None, description="number of fakes when scoring in training; null: the protocol's"
    )
    patience: Positive | None = Field(
        None, description="end the run after this many scores in a row without a new best; null: never"
    )
    reals: str | None = Field(None, description="folder or zip of test images, for protocols that score against them")


class Config(Section):
    name: str = Field("run", description="name of the run, and of its directory by default")
    about: About = Field(About(), description="where a preset comes from")
    data: DataConfig = Field(DataConfig(), description="the images")
    model: ModelConfig = Field(ModelConfig(), description="the networks")
    objective: ObjectiveConfig = Field(ObjectiveConfig(), description="the losses")
    augment: AugmentConfig = Field(AugmentConfig(), description="augmentations")
    optim: OptimConfig = Field(OptimConfig(), description="the optimisers")
    train: TrainConfig = Field(TrainConfig(), description="length, speed, records and checkpoints")
    eval: EvalConfig = Field(EvalConfig(), description="scores while training")

    @field_validator("name")
    @classmethod
    def _plain(cls, name: str) -> str:
        """Checks that the name is a single folder name, as a run's default directory is runs/NAME."""
        if not name.strip() or name.startswith(".") or any(letter in "/\\" or ord(letter) < 32 for letter in name):
            raise ValueError("must be a folder name below runs/; to train elsewhere, use --out")
        return name

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=110)


def load(source: str | Path, overrides: Sequence[str] = (), *, preset: bool = False) -> Config:
    """Loads a preset, a YAML file or a run's configuration, and applies `key.path=value` overrides.

    Args:
        source: a preset, a YAML file or a run directory.
        overrides: settings as `key.path=value` strings.
        preset: the source is a preset's name, whatever the current directory holds.

    Raises:
        UserError: the source does not exist, or a setting is invalid.
    """
    name, tree = read_tree(str(source), preset=preset)
    tree.setdefault("name", name)
    torn = misspaced(overrides)
    mistakes = [message for _, message in torn.values()]
    apart = {place + word for place, (count, _) in torn.items() for word in range(count)}
    for override in (override for place, override in enumerate(overrides) if place not in apart):
        try:
            _set(tree, *parse(Config, override))
        except UserError as error:
            mistakes.append(str(error))
    try:
        config = validate(tree)
    except UserError as error:
        mistakes.append(str(error))
    if mistakes:
        raise UserError("\n".join(mistakes))
    return config


def preset_about(name: str) -> About:
    """The source of a preset; much faster than loading its configuration."""
    return About.model_validate(read_tree(name, preset=True)[1].get("about") or {})


def validate(tree: Mapping[str, Any]) -> Config:
    """Builds a `Config` from nested mappings; raises UserError with every mistake's dotted key."""
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        found = error.errors()
        # pydantic drops a wrong entry from its list and then reports that the list is too short.
        within = [item["loc"][:-1] for item in found]
        told = [item for item in found if item["type"] != "too_short" or item["loc"] not in within]
        raise UserError("\n".join(explain(Config, item) for item in told)) from None


def _set(tree: dict[str, Any], keys: Sequence[str], value: Any) -> None:
    for key in keys[:-1]:
        if not isinstance(tree.get(key), dict):
            tree[key] = {}
        tree = tree[key]
    tree[keys[-1]] = value
