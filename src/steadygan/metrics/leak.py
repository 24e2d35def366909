"""The leak meter: the fraction of a generator's images that show an augmentation which reals do not have.

An augmentation of D's inputs can leak into G's images (Karras et al., "Training GANs with limited data", 2020, §2.2;
Zhao et al., "Improved consistency regularization", 2021, Fig. 5 by eye). A small classifier, the reader, learns on real
images to detect a run's augmentations. An image counts if it shows one at least as clearly as half of the augmented
held-out reals do; the leak is the rate in fakes, corrected by the rates in held-out reals with and without each
augmentation. A lower bar would count bad images: at the reader's own decision, two thirds of a half-trained
generator's faces were "shifted" in a run that never shifted any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steadygan.errors import UserError
from steadygan.metrics.intervals import Count, Estimate, adjusted

Augmentation = Callable[[Tensor, torch.Generator], Tensor]
"""(images (N, C, H, W) in [-1, 1], generator) → images of that shape, augmented independently."""

READER = 2
"""Version of the reader, part of a record's protocol; 1 had seen no flaws, and counted by its own decision."""
STEPS, BATCH, LR = 600, 64, 2e-3
LARGEST = 64
"""Images are reduced to this side, in pixels, after augmentation."""
DRAWS = 4
"""Augmented versions of each held-out image, of which half count as clear."""
FEWEST = 20
"""With fewer held-out reals the reader's error rates are too uncertain."""


class Reader(nn.Module):
    """Classifier of augmentations: logits (N, outputs) for images (N, channels, H, W) in [-1, 1].

    The last feature map keeps 4 × 4 positions, because augmentations show at the border; the last layer also gets
    extremes and means of the channels.
    """

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()

        def block(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
            conv = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
            return [conv, nn.BatchNorm2d(outputs), nn.ReLU()]

        self.body = nn.Sequential(
            *block(channels, 24, stride=2), *block(24, 48, stride=2), *block(48, 64, stride=2), *block(64, 64, stride=1)
        )
        self.head = nn.Linear(64 * 18, outputs)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.body(x)
        summary = [F.adaptive_avg_pool2d(maps, 4).flatten(1), maps.amax((2, 3)), maps.mean((2, 3))]
        logits: Tensor = self.head(torch.cat(summary, 1))
        return logits


@dataclass(frozen=True)
class Leak:
    """The reader's measurement of one augmentation.

    Attributes:
        leak: fraction of fakes that show it; None if the reader cannot detect it.
        found, false, true: clear cases in fakes, in held-out reals without it, and in held-out reals with it.
    """

    leak: Estimate | None
    found: Count
    false: Count
    true: Count


class LeakMeter:
    """Trains a reader of one run's augmentations on its reals, and measures any fakes of that run.

    Args:
        train: real images, uint8 (N, C, H, W), on which the reader is trained.
        held_out: real images, uint8 (M, C, H, W), that neither the reader nor, if possible, the run was trained on.
        augmentations: the run's augmentations by name.
        seed: seed of the reader's weights and all sampling.
        steps: training steps of the reader.

    Raises:
        UserError: there are no augmentations, or fewer than 20 held-out images.
    """

    def __init__(
        self,
        train: Tensor,
        held_out: Tensor,
        augmentations: Mapping[str, Augmentation],
        *,
        seed: int = 0,
        steps: int | None = None,
    ) -> None:
        if not augmentations:
            raise UserError("nothing can leak: the run has no augmentation")
        if len(held_out) < FEWEST:
            raise UserError(
                f"measuring a leak needs {FEWEST} held-out images or more; "
                f"there are {len(held_out)}: raise data.heldout in a new run"
            )
        self.names = tuple(augmentations)
        self._apply = tuple(augmentations.values())
        self._generator = torch.Generator().manual_seed(seed)
        with _seeded(seed):
            self._reader = Reader(train.shape[1], len(self.names))
        self._learn(train, STEPS if steps is None else steps)
        self._least, self._false, self._true = self._calibrated(_float(held_out))

    def measure(self, fakes: Tensor) -> dict[str, Leak]:
        """The leak of each augmentation into `fakes`, uint8 (N, C, H, W)."""
        found = self._hits(self._logits(prepared(_float(fakes))))
        return {
            name: Leak(adjusted(count, false, true), count, false, true)
            for name, count, false, true in zip(self.names, found, self._false, self._true, strict=True)
        }

    def _learn(self, train: Tensor, steps: int) -> None:
        optimiser = torch.optim.AdamW(self._reader.parameters(), lr=LR, weight_decay=1e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=LR, total_steps=steps)
        for _ in range(steps):
            chosen = torch.randint(len(train), (BATCH,), generator=self._generator)
            x, shown = self._mixed(_float(train[chosen]))
            loss = F.binary_cross_entropy_with_logits(self._reader(x), shown.float())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        self._reader.eval()

    def _mixed(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Applies each augmentation to a random half of the images, then flaws to a half.

        Returns the images, and which augmentations were applied, (N, K).
        """
        shown = torch.rand(len(x), len(self._apply), generator=self._generator) < 0.5
        for augment, chosen in zip(self._apply, shown.T, strict=True):
            x = torch.where(chosen[:, None, None, None], augment(x, self._generator), x)
        flawed = torch.rand(len(x), 1, 1, 1, generator=self._generator) < 0.5
        x = prepared(x)
        return torch.where(flawed, with_flaws(x, self._generator), x), shown

    def _calibrated(self, x: Tensor) -> tuple[Tensor, list[Count], list[Count]]:
        """The least logits that count, and how many held-out reals reach them without and with each augmentation."""

        def drawn(k: int) -> Tensor:
            return self._logits(prepared(self._apply[k](x, self._generator)))[:, k]

        shown = torch.stack([torch.cat([drawn(k) for _ in range(DRAWS)]) for k in range(len(self.names))], 1)
        least = shown.median(0).values
        return least, self._hits(self._logits(prepared(x)), least), self._hits(shown, least)

    def _hits(self, logits: Tensor, least: Tensor | None = None) -> list[Count]:
        """How many images show each augmentation clearly."""
        reached = logits >= (self._least if least is None else least)
        return [Count(int(hits), len(logits)) for hits in reached.sum(0)]

    @torch.no_grad()
    def _logits(self, x: Tensor) -> Tensor:
        return torch.cat([self._reader(part) for part in x.split(256)])


def prepared(x: Tensor) -> Tensor:
    """Clamps and rounds images to 8 bits, like fakes, and reduces larger ones to 64 pixels."""
    x = ((x.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1
    return F.interpolate(x, (LARGEST, LARGEST), mode="area") if x.shape[-1] > LARGEST else x


def with_flaws(x: Tensor, generator: torch.Generator) -> Tensor:
    """Images (N, C, H, W) with random amounts of blur, fine noise and coarse noise, rounded like fakes.

    G's images are less sharp and less clean than reals. A reader that has not seen such flaws takes them for
    augmentations.
    """

    def amount(most: float) -> Tensor:
        return most * torch.rand(len(x), 1, 1, 1, generator=generator)

    def resized(image: Tensor, size: Sequence[int]) -> Tensor:
        return F.interpolate(image, list(size), mode="bilinear", antialias=True)

    sides = x.shape[2:]
    soft = resized(resized(x, [max(1, side // 2) for side in sides]), sides)
    coarse = resized(torch.randn(*x.shape[:2], 8, 8, generator=generator), sides)
    noise = amount(0.2) * torch.randn(x.shape, generator=generator) + amount(0.3) * coarse
    return prepared(torch.lerp(x, soft, amount(1.0)) + noise)


def as_scores(leaks: Mapping[str, Leak]) -> dict[str, float]:
    """Scores `leak_NAME`, `leak_NAME_low` and `leak_NAME_high` of each detectable augmentation."""
    scores: dict[str, float] = {}
    for name, measured in leaks.items():
        if measured.leak is not None:
            value, low, high = (round(number, 4) for number in measured.leak)
            scores |= {f"leak_{name}": value, f"leak_{name}_low": low, f"leak_{name}_high": high}
    return scores


def untold(leaks: Mapping[str, Leak]) -> Sequence[str]:
    """The augmentations that the reader cannot detect."""
    return [name for name, measured in leaks.items() if measured.leak is None]


def _float(images: Tensor) -> Tensor:
    return images.float() / 127.5 - 1


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Context manager: seeds torch's global generator, from which layers are initialised, and restores it."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        yield
