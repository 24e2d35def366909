"""The library in a few calls: `train`, `evaluate`, `load`, `sample`, `load_translator`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from steadygan import config as configuration
from steadygan.build import build_generator, build_images, choose_device
from steadygan.data import to_float
from steadygan.data.grid import save_grid
from steadygan.errors import UserError, nearest
from steadygan.metrics import Protocol, Shard, choose_protocol, score
from steadygan.metrics.protocol import BatchNorm
from steadygan.nets.interpolation import Between, interpolate
from steadygan.nets.layers import has_batch_statistics
from steadygan.nets.sampling import batch_statistics, choose_labels, standing_statistics
from steadygan.nets.sampling import sample as draw
from steadygan.nets.winograd.layer import set_winograd
from steadygan.run import Trained, check_same_data, train_run
from steadygan.scoring import evaluate_images as evaluate_images
from steadygan.scoring import protocol_for, real_images
from steadygan.training.checkpoint import find_checkpoint, read_manifest, read_weights
from steadygan.training.distributed import joined
from steadygan.training.rundir import RunDirectory
from steadygan.translation import Translator as Translator
from steadygan.translation import evaluate_translation, is_translation

Classes = int | str | Sequence[int | str] | None


class Generator:
    """A trained generator, from its checkpoint alone: no data set, no configuration file.

    Attributes: size (pixels), channels (1 or 3), classes (0: unconditional), class_names, latent, step, path.
    """

    def __init__(self, path: Path, device: torch.device, weights: Literal["ema", "raw"] = "ema") -> None:
        manifest = read_manifest(path)
        try:
            description, self.step = manifest["generator"], int(manifest["step"])
            self._net, self._prior = build_generator(description)
            self.class_names: tuple[str, ...] = tuple(map(str, description["class_names"]))
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
        except (KeyError, TypeError, ValueError, RuntimeError, MemoryError) as error:
            raise UserError(f"{path}: the manifest's description of the generator is damaged: {error}") from error
        prefix = "G_ema." if weights == "ema" else "G."
        tensors = {k.removeprefix(prefix): v for k, v in read_weights(path).items() if k.startswith(prefix)}
        try:
            self._net.load_state_dict(tensors)
        except RuntimeError as error:
            raise UserError(f"{path}: the weights don't fit the generator the manifest describes") from error
        self._net.to(device).eval().requires_grad_(False)
        set_winograd(self._net, device.type == "cpu")
        self._trained_statistics = {key: value for key, value in tensors.items() if "running_" in key}
        self._statistics: float | None = None
        self.path = path
        self.size, self.channels = int(description["size"]), int(description["channels"])
        self.classes, self.latent = int(description["classes"]), int(description["latent"])

    def sample(
        self,
        num: int = 16,
        *,
        classes: Classes = None,
        seed: int = 0,
        truncation: float | None = None,
        output: Literal["uint8", "float"] = "uint8",
        batch_size: int = 64,
        part: slice = slice(None),
    ) -> Tensor:
        """`num` images (num, C, H, W) on the CPU: uint8, or float32 in [-1, 1]; with `part` only these of them.

        classes: a class number or name, or several taken in turn; None takes all in turn. seed: the same seed gives
        the same images, whatever the batch size. truncation: elements of z beyond ±truncation are redrawn (BigGAN,
        §3.1), or w is pulled towards its average by ψ = truncation (StyleGAN2): smaller is cleaner and less varied.
        Raises `UserError` for a class or value that makes no sense.
        """
        if output not in ("uint8", "float"):
            raise UserError(f"output must be 'uint8' or 'float', not {output!r}")
        labels = choose_labels(num, self._class_numbers(classes), self.classes)
        self.prepare(truncation)
        images = draw(
            self._net,
            self._prior,
            num,
            labels=labels,
            seed=seed,
            truncation=truncation,
            batch_size=batch_size,
            part=part,
        )
        return images if output == "uint8" else to_float(images)

    def interpolate(
        self,
        rows: int = 4,
        steps: int = 8,
        *,
        between: Between = "latents",
        classes: Classes = None,
        seed: int = 0,
        truncation: float | None = None,
    ) -> Tensor:
        """Images (rows, steps, C, H, W) uint8 on the CPU: `rows` paths of `steps` images, both ends included.

        between: "latents", "classes" (one latent, two classes; conditional generators) or "both"; how each is
        joined: `nets.interpolation`. classes: numbers or names in turn; path i has class i, or leads from class i to
        class i + 1. Raises `UserError` for what makes no sense.
        """
        chosen = self._class_numbers(classes)
        self.prepare(truncation)
        return interpolate(
            self._net,
            self._prior,
            between=between,
            rows=rows,
            steps=steps,
            classes=chosen,
            total=self.classes,
            seed=seed,
            truncation=truncation,
        )

    @property
    def has_batch_norm(self) -> bool:
        """Whether what it makes depends on batch statistics, stored or of the batch."""
        return has_batch_statistics(self._net)

    def batch_statistics(self) -> AbstractContextManager[None]:
        """Within, its batch norms use the statistics of each batch instead of those stored."""
        return batch_statistics(self._net)

    def save_grid(self, path: str | Path, num: int = 64, *, columns: int = 8, **options: Any) -> Path:
        """A sheet of samples as PNG; options are those of `sample`."""
        return save_grid(self.sample(num, **options), Path(path), columns)

    def prepare(self, truncation: float | None) -> None:
        """Gathers the batch norms' statistics for this truncation, if those there are of another."""
        if truncation is not None and not truncation > 0:
            raise UserError(f"truncation must be positive, got {truncation}")
        if self.has_batch_norm and truncation != self._statistics:
            if truncation is None:
                self._net.load_state_dict(self._trained_statistics, strict=False)
            else:
                standing_statistics(self._net, self._prior, truncation=truncation)
            self._statistics = truncation

    def _class_numbers(self, classes: Classes) -> int | list[int] | None:
        if classes is None:
            return None
        if isinstance(classes, (int, str, Integral)):
            return self._class_number(classes)
        return [self._class_number(entry) for entry in classes]

    def _class_number(self, entry: int | str | Integral) -> int:
        if isinstance(entry, str) and entry in self.class_names:
            return self.class_names.index(entry)
        try:
            return int(entry)
        except (TypeError, ValueError):
            known = self.class_names or ["none: the generator is unconditional"]
            raise UserError(f"there is no class {entry!r}; {nearest(str(entry), known)}") from None


def load(path: str | Path, *, device: str = "auto", weights: Literal["ema", "raw"] = "ema") -> Generator:
    """The generator of a checkpoint, or of a run's best checkpoint (its newest when none has been scored).

    weights: the averaged ones, or those training left. Raises `UserError` when there is none, it is damaged, or it is
    of a translation (`load_translator`).
    """
    checkpoint = find_checkpoint(Path(path))
    if is_translation(checkpoint):
        raise UserError(f"{path} makes images of images: use `steadygan translate`, or load_translator in Python")
    return Generator(checkpoint, choose_device(device), weights)


def load_translator(path: str | Path, *, device: str = "auto", weights: Literal["ema", "raw"] = "ema") -> Translator:
    """The generators of a translation's checkpoint, or of a run's best one; arguments and errors as for `load`."""
    checkpoint = find_checkpoint(Path(path))
    if not is_translation(checkpoint):
        raise UserError(f"{path} is not of a translation: use `steadygan sample`, or load in Python")
    return Translator(checkpoint, choose_device(device), weights)


def sample(path: str | Path, num: int = 16, **options: Any) -> Tensor:
    """`load(path).sample(num, …)`."""
    return load(path).sample(num, **options)


def train(
    source: str | Path,
    overrides: Sequence[str] = (),
    *,
    out: str | Path | None = None,
    resume: bool = False,
    on_step: Callable[[Any], None] | None = None,
) -> Trained:
    """Trains what a preset, a YAML file or (with `resume`) a run directory describes; the same as `steadygan train`.

    overrides: `key.path=value` strings. out: the run directory, `runs/NAME` by default. on_step: called with a
    `Progress` after each step. Returns the run's directory, last scores and newest sample grid. In a script that
    torchrun starts in several processes, each calls this, and they train one run together.
    """
    with joined() as replicas:
        with replicas.together():
            config = None if resume else configuration.load(source, overrides)
        path = Path(source) if config is None else Path("runs") / config.name if out is None else Path(out)
        return train_run(config, path, overrides=overrides, replicas=replicas, on_step=on_step)


def evaluate(
    path: str | Path,
    *,
    protocol: str | None = None,
    weights: Literal["ema", "raw"] = "ema",
    device: str = "auto",
    reals: str | Path | None = None,
    max_unreadable: float | None = None,
    truncation: float | None = None,
    extractor_weights: Mapping[str, Path] | None = None,
    shard: Shard | None = None,
    lpips: Path | None = None,
) -> dict[str, Any]:
    """Scores a run's best (else newest) checkpoint, and records the scores with their protocol.

    protocol: a name from `metrics.PROTOCOLS`; the one made for the data by default. reals: the test images of
    protocols that compare with them, a folder or zip; else `eval.reals`. max_unreadable: share of unreadable images
    from which on they are an error; else the run's `data.max_unreadable`. truncation: of the latent, see
    `Generator.sample`; else the protocol's. extractor_weights: files by extractor name, before those of the
    environment. shard: of several processes that evaluate together (`metrics.processes`); the first appends to the
    run's scores.jsonl, all return the record. Raises `UserError` when no extractor suits the data, or weights or
    reals are absent.

    A translation is scored on its test pairs instead, with LPIPS where `lpips` names AlexNet's weights; a sheet of the
    first ones goes to the run's samples.
    """
    path = _run_directory(path)
    if is_translation(find_checkpoint(path)):
        return _evaluate_translation(path, weights, device, lpips, max_unreadable)
    (record,) = truncation_curve(
        path,
        None if truncation is None else (truncation,),
        protocol=protocol,
        weights=weights,
        device=device,
        reals=reals,
        max_unreadable=max_unreadable,
        extractor_weights=extractor_weights,
        shard=shard,
    )
    return record


def _run_directory(path: str | Path) -> Path:
    path = Path(path)
    if not (path / "config.yaml").is_file():
        raise UserError(f"{path} is not a run directory: it has no config.yaml")
    return path


def _configuration(path: Path, max_unreadable: float | None) -> configuration.Config:
    """A run's, with another `data.max_unreadable` if one is given."""
    return configuration.load(path, [] if max_unreadable is None else [f"data.max_unreadable={max_unreadable}"])


def _evaluate_translation(
    path: Path, weights: Literal["ema", "raw"], device: str, lpips: Path | None, max_unreadable: float | None
) -> dict[str, Any]:
    config = _configuration(path, max_unreadable)
    images = build_images(config, torch.device("cpu"))
    check_same_data(path, images)
    translator = load_translator(path, device=device, weights=weights)
    return evaluate_translation(translator, images.heldout, config, path, weights=weights, lpips=lpips)


def truncation_curve(
    path: str | Path,
    truncations: Sequence[float | None] | None,
    *,
    protocol: str | None = None,
    num_fake: int | None = None,
    weights: Literal["ema", "raw"] = "ema",
    device: str = "auto",
    reals: str | Path | None = None,
    max_unreadable: float | None = None,
    extractor_weights: Mapping[str, Path] | None = None,
    shard: Shard | None = None,
) -> list[dict[str, Any]]:
    """The scores of `evaluate` at each truncation, recorded in this order; the images are read once.

    truncations: None among them is off, None in their place the protocol's own.
    Batch norms have standing statistics of each truncation's own (Brock et al., BigGAN, ICLR 2019, §3.1 and Fig. 2).
    num_fake: fakes a score, where not the protocol's. Other arguments and errors are those of `evaluate`.
    """
    path, shard = _run_directory(path), shard or Shard()
    generator = load(path, device=device, weights=weights)
    config = _configuration(path, max_unreadable)
    asked = {"protocol": protocol, "reals": None if reals is None else str(reals)}
    asked = {key: value for key, value in asked.items() if value is not None}
    config = config.model_copy(update={"eval": config.eval.model_copy(update=asked)})
    images = build_images(config, torch.device("cpu"))
    chosen = protocol_for(config, images)
    if chosen is None:
        chosen = choose_protocol(config.data.path, images.train.channels, images.train.size)
    check_same_data(path, images)
    by_batch = chosen.batch_norm == "batch" and generator.has_batch_norm
    chosen = replace(chosen, weights=weights, num_fake=num_fake or chosen.num_fake)

    images_of_split = real_images(chosen, config, images)
    records = []
    for truncation in (chosen.truncation,) if truncations is None else truncations:
        generator.prepare(truncation)
        # The averaged weights are stored with statistics of their own, the others with those of training.
        stored: BatchNorm = "running" if weights == "raw" and truncation is None else "standing"
        now = replace(chosen, truncation=truncation, batch_norm="batch" if by_batch else stored)

        def generate(num: int, labels: Tensor | None, seed: int, part: slice, now: Protocol = now) -> Tensor:
            classes = None if labels is None else labels.tolist()
            return generator.sample(num, classes=classes, seed=seed, truncation=now.truncation, part=part)

        with generator.batch_statistics() if by_batch else nullcontext():
            scores = score(
                generate,
                images_of_split,
                None,
                now,
                classes=generator.classes,
                fingerprint=images.train.fingerprint,
                device=choose_device(device),
                extractor_weights=extractor_weights,
                shard=shard,
            )
        records.append({"step": generator.step, **scores})
        if shard.rank == 0:
            RunDirectory(path).append("scores.jsonl", records[-1])
    return records
