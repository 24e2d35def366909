"""The trained generators of a translation, from their checkpoint alone."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from steadygan.errors import UserError, nearest
from steadygan.generators.description import build_generator, described, refuse_oversized
from steadygan.generators.translation import translate, translate_tiled
from steadygan.nets.translate import generator_name
from steadygan.runs.checkpoint import fill, licence, manifest_step, read_manifest, read_networks


class Translator:
    """The trained generators of a translation, from their checkpoint alone: no data set, no configuration file.

    Attributes:
        directions: the trained directions, such as a2b.
        size: side of the training images in pixels.
        channels: 1 or 3.
        step: training step of the checkpoint.
        path: the checkpoint.
        licence: of imported weights, if known.
    """

    def __init__(self, path: Path, device: torch.device, weights: Literal["ema", "raw"] = "ema") -> None:
        manifest = read_manifest(path, ())
        with described(path, "the manifest's description of the generators is damaged"):
            description, self.step = manifest["generator"], manifest_step(path, manifest)
            refuse_oversized(path, description)
            nets, _ = build_generator(description)
            self.directions: tuple[str, ...] = tuple(map(str, description["directions"]))
            self.size, self.channels = int(description["size"]), int(description["channels"])
        assert isinstance(nets, nn.ModuleDict)
        prefix = "G_ema." if weights == "ema" else ""
        _, tensors = read_networks(path, ("G_ema",) if weights == "ema" else tuple(nets))
        with described(path, "the weights don't fit the generators the manifest describes"):
            fill(nets, {key.removeprefix(prefix): value for key, value in tensors.items()})
        self.nets, self.path = nets.to(device).eval().requires_grad_(False), path
        self.licence = licence(path, manifest)

    def translate(
        self, images: Tensor | np.ndarray, direction: str = "a2b", *, tile: int = 1024, overlap: int = 128
    ) -> Tensor:
        """Translates images to the other domain.

        Args:
            images: uint8 (N, C, H, W) or (C, H, W), of any size supported by the network.
            direction: a2b or b2a.
            tile: larger images are processed in overlapping tiles of this side (`translate_tiled`).
            overlap: overlap of adjacent tiles, in pixels.

        Returns:
            The translated images, same shape, uint8 on the CPU.

        Raises:
            UserError: a direction that was not trained, or images with other channels.
        """
        if direction not in self.directions:
            raise UserError(
                f"{self.path} was not trained for direction {direction!r}; {nearest(direction, self.directions)}"
            )
        images = torch.as_tensor(images)
        if images.dtype != torch.uint8 or images.dim() not in (3, 4) or images.shape[-3] != self.channels:
            raise UserError(
                f"translate takes uint8 images of {self.channels} channels, (N, C, H, W) or (C, H, W), "
                f"not {images.dtype} {tuple(images.shape)}"
            )
        net = self.nets[generator_name(direction)]
        if images.dim() == 3:
            return translate_tiled(net, images, tile=tile, overlap=overlap)
        if max(images.shape[2:]) <= tile:
            return translate(net, images)
        return torch.stack([translate_tiled(net, image, tile=tile, overlap=overlap) for image in images])


def is_translation(checkpoint: Path) -> bool:
    """Whether a checkpoint is a translation's."""
    try:
        return bool(read_manifest(checkpoint, ())["generator"].get("directions"))
    except (UserError, KeyError, AttributeError):
        return False  # loading reports the error
