"""A discriminator with heads on the features of a frozen network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from helpers import tiny_run
from safetensors import safe_open
from torch import nn

import steadygan
from steadygan.errors import UserError
from steadygan.nets import Shape, create_critic
from steadygan.nets.protocols import Staged
from steadygan.pretrained.critic import FeatureCritic
from steadygan.pretrained.extractor import load_state
from steadygan.pretrained.tiny import MAPS, TinyMaps, Trunk


def featured(size: int = 32, channels: int = 3, classes: int = 0, kind: str = "dcgan") -> FeatureCritic:
    torch.manual_seed(0)
    plain = create_critic(kind, size=size, channels=channels, classes=classes, width=4)
    return FeatureCritic(Shape(size, channels, classes, width=4), plain, "tiny")


@pytest.mark.parametrize(("size", "factor"), [(32, 1), (48, 1), (64, 2), (128, 4)])
def test_maps_are_the_networks_own_on_the_image_averaged_below_64_pixels(size: int, factor: int) -> None:
    x = torch.randn(2, 3, size, size)
    maps = TinyMaps(size)
    net = load_state(Trunk(), MAPS).eval()
    with torch.no_grad():
        expected = net(F.avg_pool2d(x, factor))[-1]
        found = maps(x)
    assert [tuple(m.shape[1:]) for m in found] == [(c, s, s) for c, s in zip(maps.channels, maps.sides, strict=True)]
    torch.testing.assert_close(found[-1], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("channels", "classes"), [(3, 0), (1, 0), (3, 4)])
def test_half_of_the_logits_are_the_plain_critics(channels: int, classes: int) -> None:
    critic = featured(channels=channels, classes=classes).eval()
    x = torch.randn(5, channels, 32, 32, requires_grad=True)
    y = torch.arange(5) % classes if classes else None
    score = critic(x, y)
    plain = critic.plain(x, y)
    assert score.logit.shape == (5, 1, 2, 32)
    torch.testing.assert_close(score.logit[:, 0, 0], plain.logit[:, None].expand(5, 32))
    torch.testing.assert_close(score.features, plain.features)
    score.logit[:, 0, 1].sum().backward()
    assert x.grad is not None
    assert x.grad.abs().min(0).values.max() > 0, "heads pass a gradient on to the image"


def test_a_label_changes_what_heads_say() -> None:
    critic = featured(classes=3).eval()
    x = torch.randn(1, 3, 32, 32)
    logits = [critic(x, torch.tensor([label])).logit[0, 0, 1] for label in range(3)]
    assert not torch.equal(logits[0], logits[1])
    assert not torch.equal(logits[1], logits[2])


def test_the_pretrained_network_never_learns_and_is_in_no_checkpoint() -> None:
    critic = featured()
    frozen = sum(p.numel() for p in critic.pretrained.network.parameters())
    assert frozen > 200_000
    assert not any(name.startswith("pretrained") for name in critic.state_dict())
    assert not any(name.startswith("pretrained") for name, _ in critic.named_parameters())
    assert not critic.train().pretrained.network.training


def test_blocks_to_freeze_are_the_plain_critics() -> None:
    assert isinstance(featured(kind="resnet"), Staged)
    assert featured(kind="resnet").stages()[0][0] is not None
    plain = nn.Linear(1, 1)
    assert not isinstance(FeatureCritic(Shape(32, 3), plain, "tiny"), Staged)


def test_what_does_not_go_together_is_refused() -> None:
    with pytest.raises(UserError, match="32 pixels or more"):
        TinyMaps(16)
    with pytest.raises(UserError, match=r"model\.features"):
        FeatureCritic(Shape(32, 3), nn.Identity(), "tony")
    patches = create_critic("fastgan", size=64, channels=3, classes=0, width=2)
    with pytest.raises(UserError, match=r"model\.features needs a discriminator with one logit per image"):
        FeatureCritic(Shape(64, 3, width=2), patches, "tiny")(torch.randn(2, 3, 64, 64))


def test_a_run_trains_resumes_and_keeps_only_what_it_learns(tmp_path: Path) -> None:
    settings = tiny_run("data.size=32", "model.features=tiny", "train.steps=4", "train.checkpoint_every=2")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    steadygan.train("digits-none", settings, out=whole)
    steadygan.train("digits-none", [*settings, "train.steps=2"], out=parts)
    steadygan.train(parts, ["train.steps=4"], resume=True)

    def weights(run: Path) -> dict[str, torch.Tensor]:
        with safe_open(run / "checkpoints/step-00000004/weights.safetensors", "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118

    first, second = weights(whole), weights(parts)
    assert any("heads" in name for name in first)
    assert not any("pretrained" in name for name in first)
    assert all(torch.equal(first[name], second[name]) for name in first)
    row = json.loads((whole / "metrics.jsonl").read_text().splitlines()[-1])
    assert 0 <= row["D_auc_fake"] <= 1
