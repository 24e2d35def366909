"""Every preset builds its networks as declared, trains one player at a time, and names the result it reproduces."""

from __future__ import annotations

import functools
import json
import re
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from steadygan import build, config
from steadygan.cli.training import facts_of
from steadygan.data.images import ImageSet, load_images
from steadygan.data.pair_images import PairSet
from steadygan.data.source import Source
from steadygan.nets.registry import TRANSLATORS, count_parameters
from steadygan.tasks.choice import task_of
from steadygan.tasks.images import Images
from steadygan.training.step import run_phase

CLASSES = 3
SIDE, DEEP_SIDE = 32, 64
"""Sides of the images that presets take a step with; the second for networks that need so many blocks."""
PRESETS = config.preset_names()

# D's last bias shifts all logits alike. While all are inside the hinge's margin, its gradients on reals and fakes are 1
# and -1, and no consistency term sees a shift. G's first bias may be taken away again by a batch norm.
MAY_REST = {
    "D": {"head.linear.bias", "plain.head.linear.bias", "heads.0.out.bias", "heads.1.out.bias"},
    "G": {"linear.bias"},
}


@functools.cache
def networks_on_paper(size: int, channels: int, domains: str | None, model: str) -> dict[str, int]:
    """Parameters of each network at its full width, without memory for them."""
    cfg = config.validate(
        {"model": json.loads(model), "data": {"size": size, "channels": channels, "domains": domains}}
    )
    description = {
        "size": size,
        "channels": channels,
        "classes": 1000 if cfg.model.conditional else 0,
        "options": dict(cfg.model.generator),
        **{key: getattr(cfg.model, key) for key in ("kind", "latent", "width", "prior")},
    }
    if cfg.model.kind in TRANSLATORS:
        description |= {"latent": 0, "directions": cfg.model.directions}
    with torch.device("meta"):
        nets = build.build_nets(task_of(cfg), description)
    return {name: count_parameters(net) for name, net in nets.items()}


@pytest.mark.parametrize("name", PRESETS)
def test_the_preset_builds_its_networks_at_full_size(name: str) -> None:
    cfg = config.load(name)
    counts = networks_on_paper(cfg.data.size, cfg.data.channels or 3, cfg.data.domains, cfg.model.model_dump_json())
    assert min(counts.values()) > 10_000


def test_presets_of_imagenet_are_the_published_size() -> None:
    """In millions, for 1,000 classes; docs/methods.md says where the small differences come from."""
    for name, millions in {
        "imagenet128-biggan-ortho": 70.43,
        "imagenet256-biggan": 82.10,
        "imagenet512-biggan": 82.47,
        "imagenet128-biggan-deep": 50.4,
        "imagenet256-biggan-deep": 55.9,
        "imagenet512-biggan-deep": 56.2,
    }.items():
        cfg = config.load(name)
        counts = networks_on_paper(cfg.data.size, 3, cfg.data.domains, cfg.model.model_dump_json())
        assert counts["G"] / 1e6 == pytest.approx(millions, rel=0.004), name


def shrunken(name: str) -> config.Config:
    """The preset with small networks, images and batches, attention at 8² and float32, and without its data.

    Everything else is as it is. `tests/nets` have networks of every size.
    """
    tree: dict[str, Any] = config.load(name).model_dump()
    for section in ("about", "name", "eval"):
        tree.pop(section, None)
    tree["data"] |= {"path": "noise", "max_images": None}
    kind = tree["model"]["kind"]
    # A bottleneck of one channel may be dead.
    tree["model"]["width"] = {"biggan-deep": 4, "fastgan": 8}.get(kind, 2)
    for network in (tree["model"]["generator"], tree["model"]["critic"]):
        if kind == "stylegan2":
            network["fmap_max"] = 4
            tree["model"]["latent"] = 8
        elif kind in ("biggan", "biggan-deep") and tree["data"]["size"] >= 128:
            network["attention"] = 8
        elif kind == "r3gan":
            network |= {"groups": 4}
    deep = kind == "fastgan" or tree["train"]["freeze_critic"]
    tree["data"]["size"] = min(tree["data"]["size"], DEEP_SIDE if deep else SIDE)
    tree["train"] |= {"batch_size": 2, "accumulate": 1, "precision": "float32"}
    if tree["train"]["g_batch_size"] is not None:
        tree["train"]["g_batch_size"] = 4
    return build.resolve(config.validate(tree))


def values(nets: dict[str, nn.Module]) -> dict[str, dict[str, Tensor]]:
    return {key: {name: p.detach().clone() for name, p in net.named_parameters()} for key, net in nets.items()}


def moved(before: dict[str, Tensor], after: nn.Module) -> set[str]:
    return {name for name, value in after.named_parameters() if not torch.equal(before[name], value)}


@pytest.mark.parametrize("name", PRESETS)
def test_the_preset_trains_one_player_at_a_time_with_finite_losses(name: str) -> None:
    train_one_player_at_a_time(shrunken(name).model_dump_json())


@functools.cache
def train_one_player_at_a_time(settings: str) -> None:
    """Once for presets that differ in their data alone."""
    cfg = config.validate(json.loads(settings))
    channels = cfg.data.channels or 3
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(4, channels, cfg.data.size, cfg.data.size), dtype=np.uint8)
    labels = rng.integers(CLASSES, size=4)
    source = Source("noise", cfg.data.size, channels, tuple("abc"), labels, images=images)
    loaded: ImageSet | PairSet = load_images(source, np.arange(4))
    if cfg.data.domains is not None:
        source = Source("noise", cfg.data.size, channels, images=images[::-1].copy())
        aligned = cfg.data.domains == "paired"
        loaded = PairSet(loaded, load_images(source, np.arange(4)), size=cfg.data.size, aligned=aligned)
    torch.manual_seed(0)
    state = build.build_state(task_of(cfg), loaded, torch.device("cpu"))
    assert any("adversarial" in line for line in facts_of(state, Images(loaded, None)))
    # Half-way through, where warm-ups are over.
    state.step = cfg.train.steps // 2
    start = values(state.nets)
    for player, other in (("D", "G"), ("G", "D")) * 2:
        before = values(state.nets)
        mine = [term for term in state.objective.terms if term.player == player]
        live = {f"{player}/{term.name}" for term in mine if term.live(state.counts[player])}
        losses = run_phase(state, player)
        assert live < losses.keys()
        assert all(loss.isfinite() for loss in losses.values()), losses
        for net in state.objective.players[player]:
            trained = {n for n, p in state.nets[net].named_parameters() if p.grad is not None and p.grad.any()}
            assert not {f"{net}.{name}" for name in trained} & state.objective.frozen
            assert moved(before[net], state.nets[net]) >= trained
        assert not any(moved(before[net], state.nets[net]) for net in state.objective.players[other])
    assert int(state.skipped) == 0
    for player, names in state.objective.players.items():
        for net in names:
            frozen = {name.removeprefix(f"{net}.") for name in state.objective.frozen if name.startswith(f"{net}.")}
            rested = start[net].keys() - moved(start[net], state.nets[net])
            assert frozen <= rested <= frozen | MAY_REST[player]


@pytest.mark.parametrize("name", PRESETS)
def test_the_preset_says_where_it_comes_from(name: str) -> None:
    about = config.load(name).about
    assert about.paper
    assert about.table
    assert about.score
    assert about.protocol


@pytest.mark.parametrize("name", [name for name in PRESETS if config.load(name).about.score != "none published"])
def test_the_header_names_the_published_score(name: str) -> None:
    header, score = config.preset_text(name).splitlines()[0], config.load(name).about.score
    assert header.startswith("# ")
    if score == "UNCONFIRMED":
        assert "UNCONFIRMED" in header
    else:
        assert set(score.split(", ")) == set(re.findall(r"(?:IS|FID) [\d.]*\d", header.partition("Published")[2]))


LOW_DATA = [f"{data}-{net}" for data in ("cifar10", "cifar100") for net in ("biggan", "crbiggan", "stylegan2")]
SUBSETS = {"ffhq256": ("70k", "30k", "10k", "5k", "1k"), "lsuncat256": ("30k", "10k", "5k", "1k")}
FEW = ("obama", "grumpycat", "panda", "animalfacecat", "animalfacedog")
TABLES = {
    "ICR, unconditional": [
        f"{backbone}-{method}"
        for backbone in ("cifar10-dcgan", "cifar10-resnet", "celeba-dcgan")
        for method in ("none", "gp", "dragan", "jsreg", "cr", "icr")
    ],
    "ICR, conditional": [
        f"{data}-{method}"
        for data in ("cifar10", "imagenet128")
        for method in ("sngan", "biggan", "biggan-cr", "biggan-bcr", "biggan-zcr", "biggan-icr")
    ],
    "BigGAN": [f"imagenet{size}-biggan{deep}" for size in (128, 256, 512) for deep in ("", "-deep")],
    "SAGAN, LOGAN": ["imagenet128-sagan", "imagenet128-logan", "cifar10-logan"],
    "U-Net GAN": ["ffhq256-unet", "celeba128-unet", "cocoanimals128-unet"],
    "DiffAugment, CIFAR": [f"{model}-diffaugment{share}" for model in LOW_DATA for share in (100, 20, 10)],
    "DiffAugment, FFHQ and LSUN": [
        f"{data}-stylegan2-{row}{size}"
        for data, sizes in SUBSETS.items()
        for size in sizes
        for row in ("", "diffaugment")
    ],
    "DiffAugment, ImageNet": [
        f"imagenet128-biggan-{row}" for share in (100, 50, 25) for row in (f"{share}pct", f"diffaugment{share}")
    ],
    "R3GAN": [f"{data}-r3gan" for data in ("cifar10", "imagenet32", "imagenet64", "ffhq64", "ffhq256")],
    "DiffAugment, low-shot": [f"{data}256-stylegan2{row}" for data in FEW for row in ("", "-diffaugment")],
}


@pytest.mark.parametrize("table", TABLES)
def test_every_row_of_the_table_has_its_preset(table: str) -> None:
    assert set(TABLES[table]) <= set(PRESETS)


def test_no_two_presets_are_of_one_row() -> None:
    rows = Counter((about.paper, about.table) for about in (config.load(name).about for name in PRESETS))
    assert [row for row, count in rows.items() if count > 1] == []
