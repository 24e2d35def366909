"""A trained generator, from its checkpoint alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steadygan.errors import UserError
from steadygan.generators.classes import Classes, class_numbers
from steadygan.generators.description import build_generator, described, refuse_oversized, trained_classes
from steadygan.generators.interpolation import Between, interpolate
from steadygan.generators.prior import Prior, Truncation, read_truncation
from steadygan.generators.sampling import batch_statistics, check_call, choose_labels
from steadygan.generators.sampling import sample as draw
from steadygan.generators.seeds import Moves, between, latents_of, moved
from steadygan.generators.truncations import Truncations
from steadygan.kernels.winograd.layer import pays, set_winograd
from steadygan.machine import choose_device
from steadygan.nets.batch_norm import has_batch_statistics
from steadygan.nets.protocols import Mapped
from steadygan.pictures.grid import save_grid
from steadygan.pictures.pixels import to_float, to_uint8
from steadygan.progress import tell
from steadygan.runs.checkpoint import fill, licence, manifest_step, read_networks, read_statistics


class Generator:
    """A trained generator, from its checkpoint alone: no data set, no configuration file.

    `sample`, `from_seeds`, `walk` and `interpolate` return images. `generator(z, y)`, `latents`, `map` and `synthesise`
    return tensors with a graph. All are thread-safe, except `to` and `batch_statistics`.

    Attributes:
        module: the network, in evaluation mode, its parameters without gradients.
        kind: the network family, such as "biggan".
        size: side of the images in pixels.
        channels: 1 or 3.
        classes: number of classes; 0: unconditional.
        class_names: their names, if known.
        trained_classes: indices of classes with training images.
        latent: the dimension of z.
        step, path: of the checkpoint.
        licence: of imported weights, if known.
    """

    def __init__(
        self, path: Path, device: torch.device, weights: Literal["ema", "raw"] = "ema", *, winograd: bool = True
    ) -> None:
        """Reads a checkpoint; `load` finds one and chooses the device.

        Args:
            path: the checkpoint.
            device: the network's device.
            weights: "ema" for the averaged generator, "raw" for the trained one.
            winograd: use Winograd convolutions on a CPU, if compiled kernels are available.
        """
        network = "G_ema" if weights == "ema" else "G"
        manifest, tensors = read_networks(path, (network,))
        with described(path, "the manifest's description of the generator is damaged"):
            description, self.step = manifest["generator"], manifest_step(path, manifest)
            refuse_oversized(path, description)
            self.module, self._prior = build_generator(description)
            self.kind = str(description["kind"])
            self.class_names: tuple[str, ...] = tuple(map(str, description["class_names"]))
            self.trained_classes = trained_classes(description)
        with described(path, "the weights don't fit the generator the manifest describes"):
            fill(self.module, {key.removeprefix(f"{network}."): value for key, value in tensors.items()})
        self.module.eval().requires_grad_(False)
        self._winograd = winograd
        self.network = Truncations(self.module, self._prior, read_statistics(path))
        self.to(device)
        self.licence = licence(path, manifest)
        self.path = path
        self.size, self.channels = int(description["size"]), int(description["channels"])
        self.classes, self.latent = int(description["classes"]), int(description["latent"])

    def __repr__(self) -> str:
        classes = f"{self.classes} classes" if self.classes else "no classes"
        shape = f"{self.channels}×{self.size}×{self.size}"
        return f"Generator({self.kind}, {shape}, {classes}, step {self.step} of {self.run}, on {self.device})"

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device

    @property
    def run(self) -> str:
        """The name of the run, or of the checkpoint's folder if it belongs to no run."""
        return self.path.parent.parent.name if self.path.parent.name == "checkpoints" else self.path.name

    def to(self, device: str | torch.device) -> Generator:
        """Moves the generator, in place as `nn.Module.to` does.

        Args:
            device: such as "cpu" or "cuda:1".

        Returns:
            The generator itself.

        Raises:
            UserError: the device cannot be used here.
        """
        device = choose_device(str(device))
        self.module.to(device)
        set_winograd(self.module, self._winograd and pays(device))
        self.network.forget()
        return self

    def __call__(self, z: Tensor, y: Tensor | None = None, *, truncation: Truncation | None = None) -> Tensor:
        """Generates images with a graph.

        Args:
            z: latents (N, latent).
            y: labels (N,) int64, or weights of the classes (N, classes); None: unconditional.
            truncation: see `sample`; if it applies to z, `latents` truncates, and this call selects matching batch-norm
                statistics.

        Returns:
            Images (N, C, H, W) float32, about in [-1, 1], differentiable in z and in weights of classes.

        Raises:
            UserError: z or y of another shape.
        """
        return self._made(self.network(truncation), z, y, truncation)

    def latents(self, seeds: Sequence[int], *, truncation: Truncation | None = None) -> Tensor:
        """Draws latents from seeds.

        Args:
            seeds: one for each latent; row i is what `sample(1, seed=seeds[i])` draws.
            truncation: see `sample`; applied only if it is of z.

        Returns:
            z (len(seeds), latent) on the generator's device.
        """
        return latents_of(self._prior, seeds, truncation=self._of_z(truncation)).to(self.device)

    def map(self, z: Tensor, y: Tensor | None = None, *, truncation: float | None = None) -> Tensor:
        """Maps z to the intermediate latent w, for `synthesise`.

        Args:
            z: latents (N, latent).
            y: as for a call.
            truncation: moves w towards its average; None: no truncation.

        Returns:
            w (N, layers, w_dim).

        Raises:
            UserError: the network has no w.
        """
        net = self._mapped()
        return net.truncate(net.map(*self._checked(z, y)), truncation)

    def synthesise(self, w: Tensor) -> Tensor:
        """Generates images of w (N, layers, w_dim), with a graph.

        Returns:
            Images (N, C, H, W) float32, about in [-1, 1], differentiable in w.

        Raises:
            UserError: the network has no w.
        """
        return self._mapped().synthesise(w.to(self.device))

    def sample(
        self,
        num: int = 16,
        *,
        classes: Classes = None,
        seed: int = 0,
        truncation: Truncation | None = None,
        output: Literal["uint8", "float"] = "uint8",
        batch_size: int = 64,
        part: slice = slice(None),
    ) -> Tensor:
        """Generates images.

        Args:
            num: number of images.
            classes: a class number or name, or several, repeated in turn; None: all trained
                classes in turn.
            seed: the same seed gives the same images for any batch size.
            truncation: elements of z beyond ±truncation are redrawn (BigGAN, §3.1), or w is moved towards its average
                by ψ = truncation (StyleGAN2). "scaled:0.5" is the distribution of BigGAN's released generators, see
                `Prior.latents`. Smaller values trade diversity for quality; None: off.
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
        check_call(num, seed)
        labels = choose_labels(num, class_numbers(classes, self), self.classes)
        images = draw(
            self.network(truncation),
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
        truncation: Truncation | None = None,
    ) -> Tensor:
        """Generates paths between latents, classes or both; see `generators.interpolation`.

        Args:
            rows: number of paths.
            steps: images per path, both ends included.
            between: latents, classes (one latent, two classes; conditional generators only) or both.
            classes: numbers or names, repeated in turn; path i has class i, or leads from class i to class i + 1.
            seed: of the latents.
            truncation: as for `sample`.

        Returns:
            Images (rows, steps, C, H, W) uint8 on the CPU.

        Raises:
            UserError: an unknown class, or a value out of range.
        """
        chosen = class_numbers(classes, self)
        return interpolate(
            self.network(truncation),
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
        truncation: Truncation | None = None,
        moves: Moves = (),
        batch_size: int = 64,
        draft: bool = False,
    ) -> Tensor:
        """Generates one image per seed: image i is that of `sample(1, seed=seeds[i])`.

        Args:
            seeds: one for each image.
            classes: as for `sample`, used in turn.
            truncation: as for `sample`.
            moves: pairs (seed of a direction, how far), see `generators.seeds.moved`.
            batch_size: images generated at a time.
            draft: for a new truncation, use the batch-norm statistics of the nearest known one instead of gathering its
                own.

        Returns:
            Images (len(seeds), C, H, W) uint8 on the CPU.

        Raises:
            UserError: an unknown class, or a value out of range.
        """
        labels = choose_labels(len(seeds), class_numbers(classes, self), self.classes)
        z = moved(self._prior, latents_of(self._prior, seeds, truncation=self._of_z(truncation)), moves)
        return self._images(z, labels, truncation, batch_size, draft)

    @torch.no_grad()
    def walk(
        self,
        seeds: Sequence[int],
        steps: int = 8,
        *,
        classes: Classes = None,
        truncation: Truncation | None = None,
        batch_size: int = 64,
    ) -> Tensor:
        """Generates a path through seeds; image i · steps is that of seed i.

        Between seeds of different classes, the class condition is interpolated as well.

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
            raise UserError(f"a walk needs two seeds and one step at least; got {len(seeds)}, {steps}")
        labels = choose_labels(len(seeds), class_numbers(classes, self), self.classes)
        corners = latents_of(self._prior, seeds, truncation=self._of_z(truncation))
        place = torch.arange((len(seeds) - 1) * steps + 1)
        start, t = (place // steps).clamp(max=len(seeds) - 2), place.float()[:, None] / steps
        t = t - start[:, None]
        z = between(self._prior, corners[start], corners[start + 1], t)
        y = None
        if labels is not None:
            kinds = F.one_hot(labels, self.classes).float()
            y = torch.lerp(kinds[start], kinds[start + 1], t)
        return self._images(z, y, truncation, batch_size)

    @property
    def prior(self) -> Prior:
        """The distribution of latents."""
        return self._prior

    @property
    def tables(self) -> Mapping[str, Tensor]:
        """Batch-norm statistics by truncation (see `at_truncation`), for generators published with them."""
        return self.network.tables

    @property
    def has_batch_norm(self) -> bool:
        """Whether the network has batch norms."""
        return has_batch_statistics(self.module)

    def batch_statistics(self, truncation: Truncation | None = None) -> AbstractContextManager[None]:
        """Context manager: images of this truncation are normalised by batch statistics instead of stored ones."""
        return batch_statistics(self.network(truncation))

    def save_grid(self, path: str | Path, num: int = 64, *, columns: int = 8, **options: Any) -> Path:
        """Writes a grid of samples as PNG.

        Args:
            path: the file.
            num: number of images.
            columns: images per row.
            options: see `sample`.
        """
        return save_grid(self.sample(num, **options), Path(path), columns)

    def _made(self, net: nn.Module, z: Tensor, y: Tensor | None, truncation: Truncation | None) -> Tensor:
        inside = {}
        if truncation is not None and isinstance(net, Mapped):
            inside["truncation"] = read_truncation(truncation).threshold
        images: Tensor = net(*self._checked(z, y), **inside)
        return images

    def _images(
        self, z: Tensor, y: Tensor | None, truncation: Truncation | None, batch_size: int, draft: bool = False
    ) -> Tensor:
        """Images, uint8 on the CPU, from latents (N, latent) and labels or class weights."""
        net = self.network.nearest(truncation) if draft else self.network(truncation)
        labels = [None] * len(z) if y is None else y.split(batch_size)
        images: list[Tensor] = []
        for part, y in zip(z.split(batch_size), labels, strict=False):
            images.append(to_uint8(self._made(net, part, y, truncation)).cpu())
            tell("making images", sum(map(len, images)), len(z))
        return torch.cat(images)

    def _mapped(self) -> Mapped:
        if isinstance(self.module, Mapped):
            return self.module
        raise UserError(f"{self.kind} has no intermediate latent w; use sample or __call__")

    def _truncates_w(self, truncation: Truncation | None) -> bool:
        return truncation is not None and isinstance(self.module, Mapped)

    def _of_z(self, truncation: Truncation | None) -> Truncation | None:
        """The truncation that applies to z, if any."""
        return None if self._truncates_w(truncation) else truncation

    def _checked(self, z: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor | None]:
        if z.dim() != 2 or z.shape[1] != self.latent:
            raise UserError(f"z must be (N, {self.latent}), not {tuple(z.shape)}")
        if (y is None) != (self.classes == 0):
            wanted = f"(N,) or (N, {self.classes})" if self.classes else "None, as it is unconditional"
            raise UserError(f"y must be {wanted}, not {y if y is None else tuple(y.shape)}")
        if y is not None and tuple(y.shape) not in ((len(z),), (len(z), self.classes)):
            raise UserError(f"y must be ({len(z)},) or ({len(z)}, {self.classes}), not {tuple(y.shape)}")
        return z.to(self.device), None if y is None else y.to(self.device)
