"""Real images, in the process that generates images: nearest neighbours, and reports on folders."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from steadygan import config as configuration
from steadygan.data.describe import describe
from steadygan.data.images import ImageSet
from steadygan.errors import UserError
from steadygan.generators.generator import Generator
from steadygan.metrics.extraction import read
from steadygan.metrics.neighbours import nearest
from steadygan.pictures.pixels import to_float, to_uint8
from steadygan.pretrained.registry import get_extractor
from steadygan.runs.located import load_located
from steadygan.runs.provenance import check_same_data
from steadygan.tasks.choice import build_images
from steadygan.tasks.protocols import protocol_for
from steadygan.transforms.consistency import Consistency
from steadygan.transforms.diffaugment import DiffAugment

Answer = tuple[dict[str, Any], bytes]

CHUNK_BYTES = 64 << 20
AMONG_REALS = 200
"""Number of training images whose nearest neighbour is measured for comparison."""


class Training:
    """The training images of a run, and their distances from each other.

    Raises:
        UserError: the run is a translation.
    """

    def __init__(self, run: Path, device: torch.device) -> None:
        config = load_located(run)
        images = build_images(config, torch.device("cpu"))
        check_same_data(run, images.train.fingerprint)
        if not isinstance(images.train, ImageSet):
            raise UserError("a translation's images have no nearest training images")
        self.images = images.train
        self.spaces: dict[str, Any] = {"pixels": lambda x: x.flatten(1).float() / (x[0].numel() ** 0.5)}
        try:
            protocol = protocol_for(config, images)
            if protocol is not None:
                extractor, chosen = get_extractor(protocol.extractor, device), protocol
                self.spaces[extractor.name] = lambda x: read(extractor, x, chosen).features
        except UserError:
            # Without the extractor's weights, only pixel distances.
            self.spaces = {"pixels": self.spaces["pixels"]}
        self._own: dict[str, Tensor] = {}

    def parts(self) -> Iterator[Tensor]:
        size = max(1, CHUNK_BYTES // (4 * self.images.channels * self.images.size**2))
        for start in range(0, len(self.images), size):
            yield self.images.take(np.arange(start, min(start + size, len(self.images)))).cpu()

    def among_themselves(self, space: str) -> Tensor:
        """Sorted distances (up to `AMONG_REALS`) from training images to their nearest other one."""
        if space not in self._own:
            look = self.spaces[space]
            count = len(self.images)
            picked = np.linspace(0, count - 1, min(AMONG_REALS, count)).round().astype(np.int64)
            found = nearest(look(self.images.take(picked).cpu()), (look(part) for part in self.parts()), 2)
            self._own[space] = found.distances[:, 1].sort().values
        return self._own[space]


class Reals:
    """Caches the training images of the two most recently used runs."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._training: OrderedDict[str, Training] = OrderedDict()

    def training(self, run: str) -> Training:
        if run not in self._training:
            while len(self._training) >= 2:
                self._training.popitem(last=False)
            self._training[run] = Training(Path(run), self.device)
        self._training.move_to_end(run)
        return self._training[run]

    def neighbours(
        self,
        generator: Generator,
        run: str,
        seeds: Sequence[int],
        classes: Sequence[int] | None = None,
        truncation: float | None = None,
        k: int = 5,
    ) -> Answer:
        """The samples of these seeds, then, for each space, the k nearest training images of each, as raw bytes.

        `spaces`: name, distances (seeds × k), indices, and closer (the fraction of training images whose nearest other
        image is closer than this sample's: 0.05 means closer than most reals are to each other), with quartiles of the
        reals' distances. Pixel distances are root mean squares in grey levels.

        Args:
            generator: of the samples.
            run: the run directory.
            seeds: one per sample.
            classes: numbers, used in turn; None: all in turn.
            truncation: see `Generator.sample`.
            k: neighbours per sample.
        """
        samples = generator.from_seeds(
            seeds, classes=classes if generator.classes else None, truncation=truncation, batch_size=64
        )
        training = self.training(run)
        k = min(k, len(training.images) - 1)
        raw, spaces = [samples], []
        for name, look in training.spaces.items():
            found = nearest(look(samples), (look(part) for part in training.parts()), k)
            own = training.among_themselves(name)
            raw.append(training.images.take(found.indices.flatten()).cpu())
            first = found.distances[:, 0].contiguous()
            spaces.append(
                {
                    "name": name,
                    "distances": [[round(float(x), 4) for x in row] for row in found.distances],
                    "indices": found.indices.tolist(),
                    "closer": (torch.searchsorted(own, first) / len(own)).tolist(),
                    "among_reals": own.quantile(torch.tensor([0.05, 0.5, 0.95])).tolist(),
                }
            )
        data = b"".join(x.permute(0, 2, 3, 1).contiguous().numpy().tobytes() for x in raw)
        size = {"height": samples.shape[2], "width": samples.shape[3], "channels": samples.shape[1]}
        return {**size, "count": len(samples), "k": k, "spaces": spaces, "images": len(training.images)}, data

    def folder(self, path: str) -> Answer:
        """The report of `steadygan data info`, with at most 50 names of unreadable files."""
        found = describe(path)
        unreadable = found.pop("unreadable")
        found["unreadable_count"], found["unreadable"] = len(unreadable), dict(list(unreadable.items())[:50])
        return found, b""

    def preview(self, source: str, overrides: Sequence[str], num: int = 8) -> Answer:
        """Three rows of raw images: cropped, as D's input, and after the augmentation of consistency terms.

        Raises:
            UserError: the run would be a translation.
        """
        config = configuration.load(
            source, [*overrides, f"data.max_images={num}", "data.heldout=0", "model.conditional=false"]
        )
        config = config.model_copy(update={"train": config.train.model_copy(update={"batch_size": 1, "accumulate": 1})})
        images = build_images(config, torch.device("cpu")).train
        if not isinstance(images, ImageSet):
            raise UserError("a translation's images cannot be previewed yet")
        cut = images.take(np.arange(min(num, len(images)))).cpu()
        x, draw = to_float(cut), torch.Generator().manual_seed(0)
        seen = DiffAugment(tuple(config.augment.diffaugment.policy))(x, draw)
        shifted = Consistency(**config.augment.consistency.model_dump())(x, draw)
        rows = torch.cat([cut, to_uint8(seen.clamp(-1, 1)), to_uint8(shifted)])
        data = rows.permute(0, 2, 3, 1).contiguous().numpy().tobytes()
        return {
            "count": len(cut),
            "height": rows.shape[2],
            "width": rows.shape[3],
            "channels": rows.shape[1],
            "policy": list(config.augment.diffaugment.policy),
            "consistent": bool({"cr", "bcr"} & config.objective.terms.keys()),
            "terms": list(config.objective.terms),
        }, data
