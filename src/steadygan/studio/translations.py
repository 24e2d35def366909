"""Translation in the process that generates images: of uploaded images, or of held-out images of the run."""

from __future__ import annotations

import base64
from collections import OrderedDict
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from steadygan._version import __version__
from steadygan.data.decoding import eight_bit, open_image, planes, reason
from steadygan.data.pair_images import PairSet
from steadygan.errors import UserError
from steadygan.generators.translator import Translator
from steadygan.pictures.grid import to_pil
from steadygan.pictures.stamp import Stamp
from steadygan.runs.checkpoint import weights_digest
from steadygan.runs.located import load_located
from steadygan.runs.provenance import check_same_data
from steadygan.studio.sheets import png
from steadygan.tasks.choice import build_images

Answer = tuple[dict[str, Any], bytes]

LONGEST = 2048
"""Maximum longer side in pixels; larger images take minutes on a CPU and are for `steadygan translate`."""


class Translations:
    """Caches the most recently used translators, and the images of one run."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._translators: OrderedDict[tuple[str, str], Translator] = OrderedDict()
        self._images: tuple[str, PairSet] | None = None

    def translator(self, checkpoint: str, weights: str) -> Translator:
        key = checkpoint, weights
        if key not in self._translators:
            while len(self._translators) >= 2:
                self._translators.popitem(last=False)
            self._translators[key] = Translator(Path(checkpoint), self.device, cast(Any, weights))
        self._translators.move_to_end(key)
        return self._translators[key]

    def images(self, run: str) -> PairSet:
        """The held-out images of a run, or its training images if none were held out.

        Raises:
            UserError: the run has no domains.
        """
        if self._images is None or self._images[0] != run:
            images = build_images(load_located(Path(run)), torch.device("cpu"))
            check_same_data(Path(run), images.train.fingerprint)
            chosen = images.heldout or images.train
            if not isinstance(chosen, PairSet):
                raise UserError("this run has no two domains")
            self._images = run, chosen
        return self._images[1]

    def describe(self, checkpoint: str, weights: str) -> Answer:
        """The trained directions, and side and channels of the training images."""
        found = self.translator(checkpoint, weights)
        return {
            "directions": list(found.directions),
            "size": found.size,
            "channels": found.channels,
            "licence": found.licence,
            "device": str(self.device),
        }, b""

    def own(self, checkpoint: str, weights: str, run: str, direction: str, first: int, count: int) -> Answer:
        """Held-out images and their translations, raw: input, output, and the target for pairs.

        Args:
            checkpoint: its path.
            weights: "ema" or "raw".
            run: the run directory.
            direction: a2b or b2a.
            first: index of the first image.
            count: number of images.
        """
        translator, images = self.translator(checkpoint, weights), self.images(run)
        indices = [(first + i) % len(images) for i in range(min(count, len(images)))]
        domains = dict(zip("ab", images.take(indices), strict=True))
        source = domains[direction[0]].cpu()
        rows = [source, translator.translate(source, direction)]
        if images.aligned:
            rows.append(domains[direction[-1]].cpu())
        about = {"indices": indices, "of": len(images), "part": images.part, "aligned": images.aligned}
        shape, data = raw(torch.stack(rows, 1).flatten(0, 1))
        return {**about, **shape}, data

    def given(self, checkpoint: str, weights: str, run: str, direction: str, image: str, keep: bool = False) -> Answer:
        """An uploaded image file (base64) and its translation, raw; with `keep`, a stamped PNG of the latter.

        Args:
            checkpoint: its path.
            weights: "ema" or "raw".
            run: name of the run, for the stamp.
            direction: a2b or b2a.
            image: the file, as base64.
            keep: return a stamped PNG.

        Raises:
            UserError: it is not a readable image, or too large.
        """
        translator = self.translator(checkpoint, weights)
        try:
            picture = eight_bit(open_image(base64.b64decode(image)), translator.channels)
        except Exception as error:  # Decoders can raise any exception on damaged bytes.
            raise UserError(f"this file is not a readable image: {reason(error)}") from None
        if max(picture.size) > LONGEST:
            picture.thumbnail((LONGEST, LONGEST))
        pixels = torch.from_numpy(planes(picture).copy())
        made = translator.translate(pixels, direction)
        if not keep:
            return raw(torch.stack([pixels, made]))
        stamp = Stamp(
            steadygan=__version__,
            checkpoint=weights_digest(translator.path),
            run=run,
            step=translator.step,
            weights=weights,
            call="translate",
            arguments={"direction": direction},
        )
        return {}, png(to_pil(made), stamp)


def raw(images: Tensor) -> Answer:
    """The shape of images (N, C, H, W), and their bytes (N, H, W, C)."""
    n, channels, height, width = images.shape
    shape = {"count": n, "height": height, "width": width, "channels": channels}
    return shape, images.permute(0, 2, 3, 1).contiguous().numpy().tobytes()
