"""A trained generator, from its checkpoint alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from numbers import Integral
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steadygan.errors import UserError, nearest
from steadygan.generators.description import build_generator, refuse_oversized
from steadygan.generators.interpolation import Between, interpolate
from steadygan.generators.prior import Prior
from steadygan.generators.sampling import batch_statistics, choose_labels, standing_statistics
from steadygan.generators.sampling import sample as draw
from steadygan.generators.seeds import Moves, between, latents_of, moved
from steadygan.kernels.winograd.layer import pays, set_winograd
from steadygan.nets.batch_norm import has_batch_statistics
from steadygan.nets.protocols import Mapped
from steadygan.pictures.grid import save_grid
from steadygan.pictures.pixels import to_float, to_uint8
from steadygan.runs.checkpoint import (
    fill,
    licence,
    manifest_step,
    read_networks,
    read_statistics,
)

Classes = int | str | Sequence[int | str] | None


class Generator:
    """A trained generator, from its checkpoint alone: no data set, no configuration file.

    Attributes:
        size: side of the images in pixels.
        channels: 1 or 3.
        classes: number of classes, 0 if unconditional.
        class_names: their names.
        latent: dimension of z.
        step: training step of the checkpoint.
        path: the checkpoint.
        licence: of imported weights, where known.
    """

    def __init__(
        self, path: Path, device: torch.device, weights: Literal["ema", "raw"] = "ema", *, winograd: bool = True
    ) -> None:
        network = "G_ema" if weights == "ema" else "G"
        manifest, tensors = read_networks(path, (network,))
        try:
            description, self.step = manifest["generator"], manifest_step(path, manifest)
            refuse_oversized(path, description)
            self._net, self._prior = build_generator(description)
            self.class_names: tuple[str, ...] = tuple(map(str, description["class_names"]))
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
        except (KeyError, TypeError, ValueError, RuntimeError, MemoryError, OverflowError) as error:
            raise UserError(f"{path}: the manifest's description of the generator is damaged: {error}") from error
        tensors = {key.removeprefix(f"{network}."): value for key, value in tensors.items()}
        try:
            fill(self._net, tensors)
        except (RuntimeError, ValueError) as error:
            raise UserError(f"{path}: the weights don't fit the generator the manifest describes: {error}") from error
        self._net.to(device).eval().requires_grad_(False)
        set_winograd(self._net, winograd and pays(device))
        self._trained_statistics = {key: value for key, value in tensors.items() if "running_" in key}
        self._statistics: float | None = None
        self._tabulated = {key: table.to(device) for key, table in read_statistics(path).items()}
        self.licence = licence(path, manifest)
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
        """Generates images.

        Args:
            num: how many.
            classes: a class number or name, or several that are used in turn; None: all classes in turn.
            seed: the same seed gives the same images, whatever the batch size.
            truncation: elements of z beyond ±truncation are redrawn (BigGAN, §3.1), or w is pulled towards its average
                by ψ = truncation (StyleGAN2). Smaller is cleaner and less varied; None is off.
            output: uint8, or float for float32 in [-1, 1].
            batch_size: images generated at a time.
            part: return only this slice of them.

        Returns:
            Images (num, C, H, W) on the CPU.

        Raises:
            UserError: an unknown class, or a value out of range.
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
        """Generates paths between latents, classes or both; how they are joined: `generators.interpolation`.

        Args:
            rows: number of paths.
            steps: images of a path, both ends included.
            between: latents, classes (one latent, two classes; conditional generators only) or both.
            classes: numbers or names in turn; path i has class i, or leads from class i to class i + 1.
            seed: of the latents.
            truncation: as for `sample`.

        Returns:
            Images (rows, steps, C, H, W) uint8 on the CPU.

        Raises:
            UserError: an unknown class, or a value out of range.
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

    @torch.no_grad()
    def from_seeds(
        self,
        seeds: Sequence[int],
        *,
        classes: Classes = None,
        truncation: float | None = None,
        moves: Moves = (),
        batch_size: int = 64,
    ) -> Tensor:
        """Generates one image per seed: image i is that of `sample(1, seed=seeds[i])`.

        Args:
            seeds: one for each image.
            classes: as for `sample`, used in turn.
            truncation: as for `sample`.
            moves: pairs (seed of a direction, how far), see `generators.seeds.moved`.
            batch_size: images generated at a time.

        Returns:
            Images (len(seeds), C, H, W) uint8 on the CPU.

        Raises:
            UserError: an unknown class, or a value out of range.
        """
        labels = choose_labels(len(seeds), self._class_numbers(classes), self.classes)
        self.prepare(truncation)
        in_w = isinstance(self._net, Mapped) and truncation is not None
        z = latents_of(self._prior, seeds, truncation=None if in_w else truncation)
        z = moved(self._prior, z, moves)
        inside = {"truncation": truncation} if in_w else {}
        device = next(self._net.parameters()).device
        images = []
        for start in range(0, len(z), batch_size):
            y = None if labels is None else labels[start : start + batch_size].to(device)
            images.append(to_uint8(self._net(z[start : start + batch_size].to(device), y, **inside)).cpu())
        return torch.cat(images)

    @torch.no_grad()
    def walk(
        self,
        seeds: Sequence[int],
        steps: int = 8,
        *,
        classes: Classes = None,
        truncation: float | None = None,
        batch_size: int = 64,
    ) -> Tensor:
        """Generates a path through seeds; image i · steps is that of seed i.

        Where neighbouring seeds have different classes, the class condition is mixed as well.

        Args:
            seeds: two or more.
            steps: images from one seed to the next.
            classes: as for `sample`, used in turn.
            truncation: as for `sample`.
            batch_size: images generated at a time.

        Returns:
            Images ((len(seeds) − 1) · steps + 1, C, H, W) uint8 on the CPU.

        Raises:
            UserError: fewer than two seeds, or less than one step.
        """
        if len(seeds) < 2 or steps < 1:
            raise UserError(f"a walk leads through two seeds at least, in one step or more; got {len(seeds)}, {steps}")
        labels = choose_labels(len(seeds), self._class_numbers(classes), self.classes)
        self.prepare(truncation)
        in_w = isinstance(self._net, Mapped) and truncation is not None
        corners = latents_of(self._prior, seeds, truncation=None if in_w else truncation)
        inside = {"truncation": truncation} if in_w else {}
        place = torch.arange((len(seeds) - 1) * steps + 1)
        start, t = (place // steps).clamp(max=len(seeds) - 2), place.float()[:, None] / steps
        t = t - start[:, None]
        z = between(self._prior, corners[start], corners[start + 1], t)
        y = None
        if labels is not None:
            kinds = F.one_hot(labels, self.classes).float()
            y = torch.lerp(kinds[start], kinds[start + 1], t)
        device = next(self._net.parameters()).device
        images = []
        for first in range(0, len(z), batch_size):
            part = None if y is None else y[first : first + batch_size].to(device)
            images.append(to_uint8(self._net(z[first : first + batch_size].to(device), part, **inside)).cpu())
        return torch.cat(images)

    @property
    def network(self) -> nn.Module:
        """The network itself, in evaluation mode."""
        return self._net

    @property
    def prior(self) -> Prior:
        """What its latents are drawn from."""
        return self._prior

    @property
    def tables(self) -> Mapping[str, Tensor]:
        """Batch norm statistics by truncation (see `at_truncation`), of generators that were published with them."""
        return self._tabulated

    @property
    def has_batch_norm(self) -> bool:
        """Whether its images depend on batch statistics."""
        return has_batch_statistics(self._net)

    def batch_statistics(self) -> AbstractContextManager[None]:
        """A context in which batch norms use the statistics of each batch, not the stored ones."""
        return batch_statistics(self._net)

    def save_grid(self, path: str | Path, num: int = 64, *, columns: int = 8, **options: Any) -> Path:
        """Writes a sheet of samples as PNG.

        Args:
            path: the file.
            num: how many images.
            columns: images in a row.
            options: those of `sample`.
        """
        return save_grid(self.sample(num, **options), Path(path), columns)

    def prepare(self, truncation: float | None) -> None:
        """Gathers the batch norms' standing statistics for a truncation, if they are not there yet."""
        if truncation is not None and not truncation > 0:
            raise UserError(f"truncation must be positive, got {truncation}")
        if self.has_batch_norm and truncation != self._statistics:
            if truncation is None:
                self._net.load_state_dict(self._trained_statistics, strict=False)
            elif self._tabulated:
                self._net.load_state_dict(at_truncation(self._tabulated, truncation), strict=False)
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
