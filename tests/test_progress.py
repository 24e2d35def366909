"""Progress is reported to its listeners."""

from __future__ import annotations

import torch

from steadygan.data.images import load_images
from steadygan.data.source import open_source
from steadygan.generators.prior import Prior
from steadygan.generators.sampling import sample
from steadygan.nets.registry import build_network
from steadygan.nets.shape import Shape
from steadygan.progress import listening, tell


def test_nobody_hears_what_nobody_listens_to() -> None:
    told: list[tuple[str, int, int]] = []
    tell("before", 1, 2)
    with listening(lambda *what: told.append(what)):
        tell("within", 1, 2)
    tell("after", 1, 2)
    assert told == [("within", 1, 2)]


def test_making_and_loading_images_count_to_the_end() -> None:
    torch.manual_seed(0)
    net = build_network("generator", "dcgan", Shape(16, 1, 0, 4, 2), {}).eval()
    told: list[tuple[str, int, int]] = []
    with listening(lambda *what: told.append(what)):
        sample(net, Prior(4), 5, batch_size=2)
        load_images(open_source("digits", size=8), range(300))
    assert told == [
        *(("making images", done, 5) for done in (2, 4, 5)),
        ("loading images", 256, 300),
        ("loading images", 300, 300),
    ]
