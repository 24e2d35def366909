"""The leak meter and memorisation on photographs, where there are some; the other tests have digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from steadygan.data.source import open_source
from steadygan.metrics.leak import LeakMeter, prepared
from steadygan.metrics.memorisation import memorised
from steadygan.pretrained.registry import get_extractor
from steadygan.transforms.consistency import Consistency
from steadygan.transforms.diffaugment import POLICIES

FACES = Path(__file__).parents[2].parent / "shared" / "data" / "celeba10k.zip"
AUGMENTATIONS = {
    "cutout": Consistency(flip=0, shift=0, cutout=0.5),
    "translation": POLICIES["translation"],
    "color": POLICIES["color"],
}
SHARES = [0.0, 0.05, 0.2, 1.0]

pytestmark = pytest.mark.skipif(not FACES.is_file(), reason=f"{FACES} is not there")


@pytest.fixture(scope="module")
def faces() -> tuple[Tensor, Tensor, Tensor]:
    """Faces at 32 px, shuffled: to train on, to be held out, and to make the fakes of."""
    source = open_source(str(FACES), size=32)
    images = torch.from_numpy(np.stack([source.read(index) for index in range(0, len(source), 5)]))
    images = images[torch.randperm(len(images), generator=torch.Generator().manual_seed(0))]
    return images[:1200], images[1200:1600], images[1600:]


@pytest.fixture(scope="module")
def meter(faces: tuple[Tensor, Tensor, Tensor]) -> LeakMeter:
    return LeakMeter(faces[0], faces[1], AUGMENTATIONS, steps=150)


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("share", SHARES)
def test_a_known_share_of_augmented_faces_lies_in_the_interval(
    faces: tuple[Tensor, Tensor, Tensor], meter: LeakMeter, name: str, share: float
) -> None:
    x = faces[2].float() / 127.5 - 1
    if count := round(share * len(x)):
        x[:count] = prepared(AUGMENTATIONS[name](x[:count], torch.Generator().manual_seed(1)))
    leak = meter.measure(((x + 1) * 127.5).round().to(torch.uint8))[name].leak
    assert leak is not None
    assert leak.low <= share <= leak.high
    assert leak.high - leak.low < 0.25


@pytest.mark.parametrize("planted", SHARES)
def test_planted_copies_of_faces_are_found(faces: tuple[Tensor, Tensor, Tensor], planted: float) -> None:
    train, samples = faces[0], faces[2].clone()
    count = round(planted * len(samples))
    noise = torch.randint(-3, 4, samples[:count].shape, generator=torch.Generator().manual_seed(1))
    samples[:count] = (train[:count] + noise).clamp(0, 255).to(torch.uint8)
    extractor = get_extractor("tiny")
    found = memorised(extractor(samples).features, extractor(train).features)
    assert found.share.low <= planted <= found.share.high
    assert {pair[0] for pair in found.copies.tolist()} >= set(range(count))
