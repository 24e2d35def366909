"""The single description of a run: frozen, validated, free of torch.

A run is described by a preset's name or a YAML file (which may extend either), plus dotted overrides such as
`train.batch_size=64`. `load` turns these into a `Config` or raises a `UserError` that names the key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from steadygan.errors import UserError, nearest
from steadygan.files import read_text
from steadygan.overrides import parse
from steadygan.schedules import Beta, Probability, Rate, Schedule

# libyaml's, where it is there, reads all presets in a third of the time.
YAML: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Positive = Annotated[int, Field(gt=0)]
NonNegative = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class About(Section):
    """Where a preset comes from. What is not known is said so, never guessed."""

    paper: str = ""
    table: str = ""
    score: str = ""
    protocol: str = ""
    deviations: str = ""


class DataConfig(Section):
    path: str = Field("digits", description="digits, a folder, zip, tar or parquet; torchvision:NAME; hf:USER/NAME")
    root: str | None = Field(None, description="folder of torchvision's data sets; null: STEADYGAN_DATA")
    size: Positive = Field(32, description="side of the square training images, pixels")
    channels: Literal[1, 3] | None = Field(None, description="grey or RGB; null: what the images are")
    fraction: float = Field(1.0, gt=0, le=1, description="seeded share of the training images to use (low data)")
    max_images: Positive | None = Field(None, description="upper bound on the training images")
    seed: NonNegative = Field(0, description="of the held-out split and the subset; train.seed leaves them as they are")
    heldout: float = Field(0.1, ge=0, lt=1, description="share kept away from training to watch D overfit")
    max_unreadable: Fraction = Field(0.01, description="share of images from which on unreadable ones are an error")
    cache: bool = Field(True, description="keep decoded images that do not fit in memory in a file; false: decode anew")
    flip: bool = Field(False, description="flip training images at random (not for letters and digits)")
    domains: Literal["paired", "unpaired"] | None = Field(
        None, description="translation: the path holds domains A and B, whose images belong together or not; null: one"
    )
    fit: Literal["crop", "squash"] = Field("crop", description="translation: how images become square")
    jitter: float = Field(1.0, ge=1, le=2, description="translation: enlarge by this, then cut the size out at random")


class ModelConfig(Section):
    kind: str = Field("dcgan", description="network family")
    width: Positive = Field(64, description="base number of channels; 64 is the published width of dcgan and resnet")
    latent: Positive = Field(128, description="dimension of z")
    prior: Literal["normal", "uniform"] = Field("normal", description="z ~ N(0, I) or U(-1, 1)")
    conditional: bool = Field(False, description="condition both networks on the class labels")
    fake_labels: Literal["auto", "uniform", "data"] = Field(
        "auto", description="how labels of fakes are drawn; auto: as often as in the data where classes are imbalanced"
    )
    generator: dict[str, Any] = Field({}, description="options of the family's generator")
    critic: dict[str, Any] = Field({}, description="options of the family's critic")
    directions: tuple[Literal["a2b", "b2a"], ...] = Field(
        ("a2b", "b2a"), min_length=1, description="translation: a generator and a critic for each"
    )


class ObjectiveConfig(Section):
    loss: str = Field("hinge", description="non-saturating, hinge, wasserstein, least-squares or relativistic")
    history: NonNegative = Field(50, description="translation: how many earlier fakes D's phase is shown some of")
    terms: dict[str, dict[str, Any]] = Field({}, description="what is added to it: {cr: {weight: 10}, …}")

    @model_validator(mode="before")
    @classmethod
    def _empty_terms(cls, value: Any) -> Any:
        """`bcr: {}` is bcr with its defaults; `objective.terms.bcr=null` switches an inherited bcr off."""
        if isinstance(value, Mapping) and isinstance(value.get("terms"), Mapping):
            return {**value, "terms": {k: v for k, v in value["terms"].items() if v is not None}}
        return value


class ConsistencyConfig(Section):
    flip: Fraction = Field(0.5, description="probability of a horizontal flip")
    shift: float = Field(0.125, ge=0, le=0.5, description="largest shift as a share of the side (0.125: 4 px at 32 px)")
    cutout: Fraction = Field(0.0, description="side of the cut square as a share of the side")
    padding: Literal["reflect", "zero"] = Field("reflect", description="what a shift moves in")


class DiffAugmentConfig(Section):
    policy: tuple[Literal["color", "translation", "cutout"], ...] = Field((), description="in order; empty: off")
    placement: Literal["both", "reals-only", "discriminator-only"] = Field(
        "both", description="what is augmented; all but both are the paper's ablations, which fail"
    )


class AdaptiveConfig(Section):
    p: Probability | None = Field(None, description="its probability, a number or a schedule; null: adaptive, from 0")
    target: float = Field(0.6, gt=-1, lt=1, description="adaptive: of r_t, the mean sign of D's logit on reals")
    kimg: float = Field(500, gt=0, description="adaptive: thousands of images in which p goes from 0 to 1")
    every: Positive = Field(4, description="adaptive: minibatches from one adjustment of p to the next")


class ADAConfig(AdaptiveConfig):
    ops: dict[str, Fraction] = Field(
        {"blit": 1, "geometric": 1, "color": 1},
        description="strengths by group or operation; there are also filter, noise and cutout",
    )


class AugmentConfig(Section):
    consistency: ConsistencyConfig = Field(ConsistencyConfig(), description="the T of CR and bCR")
    diffaugment: DiffAugmentConfig = Field(DiffAugmentConfig(), description="what everything D sees passes through")
    ada: ADAConfig | None = Field(None, description="then this, adaptive (ADA); {}: on, as in its paper; null: off")
    apa: AdaptiveConfig | None = Field(None, description="fakes shown to D as reals (APA); {}: on; null: off")


class PlayerConfig(Section):
    lr: Rate = Field(2e-4, description="Adam's learning rate; like the betas a number or a schedule")
    beta1: Beta = 0.5
    beta2: Beta = 0.999
    eps: float = Field(1e-8, gt=0)


class OptimConfig(Section):
    g: PlayerConfig = PlayerConfig()
    d: PlayerConfig = PlayerConfig()
    schedule: Literal["constant", "linear"] = Field("constant", description="of both lr; linear: to 0 at train.steps")
    decay_from: NonNegative = Field(0, description="the step at which the linear decay begins")

    @model_validator(mode="after")
    def _check(self) -> OptimConfig:
        if self.schedule == "linear" and any(isinstance(player.lr, Schedule) for player in (self.g, self.d)):
            raise ValueError("schedule=linear is of plain learning rates; set it to constant where an lr has its own")
        return self

    def rate(self, player: PlayerConfig, steps: int) -> float | Schedule:
        """The learning rate of a player in a run of so many steps."""
        if self.schedule == "constant" or isinstance(player.lr, Schedule):
            return player.lr
        decay = max(1, steps - self.decay_from)
        return Schedule(shape="linear", start=player.lr, end=0, delay=self.decay_from, steps=decay)


class EMAConfig(Section):
    start: NonNegative = Field(0, description="until this step the average is a copy of G")
    half_life: Rate | None = Field(
        6931, description="in G steps, or a schedule: 6931 is a decay of 0.9999; null: no averaging"
    )


class TrainConfig(Section):
    steps: Positive = Field(100_000, description="how often the phases are run through (G steps)")
    hours: float | None = Field(
        None,
        gt=0,
        description="end after so much time, if not by steps; schedules then follow the clock; null: no limit",
    )
    batch_size: Positive = 64
    accumulate: Positive = Field(1, description="micro-batches per phase; batch_size stays the whole batch")
    phases: tuple[Literal["D", "G"], ...] = Field(("D", "G"), min_length=1, description="order of updates in a step")
    seed: NonNegative = 0
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, mps")
    threads: Positive | None = Field(None, description="of torch on a CPU; null: as many as torch takes")
    channels_last: bool = Field(True, description="memory format of images and kernels; never changes the result")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="of networks while they train; auto: bfloat16 where the device has units for it"
    )
    tf32: bool = Field(True, description="let NVIDIA GPUs round float32 products to 10 bits")
    autotune: bool = Field(
        True, description="let cuDNN time its convolutions and take the quickest; a resumed run may take others"
    )
    fold: bool = Field(True, description="fold resampling into the convolution beside it; never changes the result")
    winograd: bool = Field(
        True, description="on a CPU, 3×3 convolutions of many channels with fewer products; the same but for rounding"
    )
    compile: bool = Field(False, description="compile the networks where nothing is differentiated twice")
    cuda_graphs: bool = Field(False, description="record each phase once as a CUDA graph, then replay it")
    recompute: bool = Field(
        False, description="keep only the inputs of blocks for the backward pass: less memory, one more forward pass"
    )
    ema: EMAConfig = EMAConfig()
    init_from: str | None = Field(None, description="a run or checkpoint whose networks this run starts from")
    freeze_critic: NonNegative = Field(0, description="how many of D's first blocks stay as they are in init_from")
    adapt: Literal["all", "scale-shift"] = Field("all", description="what of G learns; scale-shift: what scales maps")
    collapse: Literal["stop", "rollback", "continue"] = Field("stop", description="what to do when training collapses")
    instruments_every: NonNegative = Field(0, description="singular values and gradient norms of each weight; 0: never")
    log_every: Positive = 50
    sample_every: Positive = 1000
    sample_first: NonNegative = Field(0, description="also grids at step 0, here and at each doubling of it; 0: none")
    checkpoint_every: Positive = 5000
    keep_checkpoints: Positive = Field(2, description="how many of the newest checkpoints stay (the best always does)")
    collective_timeout: float = Field(
        600, gt=0, description="several processes: seconds after which one that does not answer is lost, and all end"
    )

    @model_validator(mode="after")
    def _check(self) -> TrainConfig:
        if self.batch_size % self.accumulate:
            raise ValueError(f"accumulate must divide batch_size ({self.batch_size})")
        if self.compile and self.recompute:
            raise ValueError("compile and recompute exclude each other; set one of them to false")
        if missing := {"D", "G"} - set(self.phases):
            raise ValueError(f"phases must update both players; {missing.pop()} is missing")
        if self.init_from is None and (self.freeze_critic or self.adapt != "all"):
            raise ValueError("freeze_critic and adapt keep what another run has learnt; set init_from to that run")
        return self


class EvalConfig(Section):
    metrics: tuple[str, ...] = Field((), description="metrics besides the protocol's own; module:NAME for yours")
    protocol: str | None = Field(None, description="named protocol; null: the one made for the data, if any")
    every: NonNegative | None = Field(
        None, description="score every so many steps; 0: only at the end; null: as often as takes 3 % of the time"
    )
    num_fake: Annotated[int, Field(ge=2)] | None = Field(
        None, description="fakes of a score in training; null: the protocol's, as `steadygan evaluate` always takes"
    )
    patience: Positive | None = Field(
        None, description="end the run after so many scores in a row that were no better than the best; null: never"
    )
    reals: str | None = Field(None, description="the test images of protocols that score against them: a folder or zip")


class Config(Section):
    name: str = "run"
    about: About = About()
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    augment: AugmentConfig = AugmentConfig()
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig()
    eval: EvalConfig = EvalConfig()

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=110)


def load(source: str | Path, overrides: Sequence[str] = ()) -> Config:
    """The configuration named by a preset, a YAML file or a run directory, with `key.path=value` overrides applied."""
    name, tree = _read(str(source), ())
    tree.setdefault("name", name)
    mistakes = []
    for override in overrides:
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


def validate(tree: Mapping[str, Any]) -> Config:
    """A `Config` from nested mappings; every mistake is named by its dotted key."""
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise UserError("\n".join(_explain(item) for item in error.errors())) from None


def preset_names() -> list[str]:
    """The presets in the package, by name."""
    return sorted(Path(entry.name).stem for entry in _presets().iterdir() if entry.name.endswith(".yaml"))


def preset_text(name: str) -> str:
    """The YAML of one preset, as written."""
    if name not in preset_names():
        raise UserError(f"unknown preset {name!r}; {nearest(name, preset_names())}")
    return _presets().joinpath(f"{name}.yaml").read_text(encoding="utf-8")


def _presets() -> Any:
    return resources.files("steadygan").joinpath("presets")


def _read(source: str, chain: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
    """The nested mapping behind a source, with what it extends merged underneath."""
    if source in chain:
        raise UserError(f"{source}: extends itself through {' → '.join((*chain, source))}")
    path = Path(source)
    if path.is_dir():
        path = path / "config.yaml"
        if not path.is_file():
            raise UserError(f"{source} is not a run directory: it has no config.yaml")
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise UserError(f"{source}: no such file")
        name, text = (
            path.parent.name if path.name == "config.yaml" else path.stem,
            read_text(path),
        )
    elif source in preset_names():
        name, text = source, preset_text(source)
    else:
        raise UserError(
            f"{source!r} is neither a preset, a YAML file nor a run directory; {nearest(source, preset_names())} "
            "(`steadygan presets` lists them)"
        )
    try:
        tree = yaml.load(text, YAML) or {}
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{source}: not valid YAML: {str(error)[:500]}") from error
    if not isinstance(tree, dict):
        raise UserError(f"{source}: expected a mapping of sections, found {type(tree).__name__}")
    base = tree.pop("extends", None)
    if base is None:
        return name, tree
    sibling = path.parent / str(base)
    _, below = _read(str(sibling) if path.suffix and sibling.is_file() else str(base), (*chain, source))
    below.pop("name", None)
    return name, _merge(below, tree)


def _merge(base: dict[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in top.items():
        below = merged.get(key)
        merged[key] = _merge(below, value) if isinstance(below, dict) and isinstance(value, Mapping) else value
    return merged


def _set(tree: dict[str, Any], keys: Sequence[str], value: Any) -> None:
    for key in keys[:-1]:
        if not isinstance(tree.get(key), dict):
            tree[key] = {}
        tree = tree[key]
    tree[keys[-1]] = value


def _explain(item: Any) -> str:
    location = [str(part) for part in item["loc"]]
    key = ".".join(location) or "configuration"
    if item["type"] == "extra_forbidden":
        section: Any = Config
        for part in location[:-1]:
            section = section.model_fields[part].annotation
        return f"unknown key {key}; {nearest(location[-1], section.model_fields)}"
    return f"{key}: {item['msg'].removeprefix('Value error, ')}, got {item['input']!r}"[:500]
