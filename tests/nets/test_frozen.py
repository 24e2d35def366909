"""A backbone of a module outside the package, whose discriminator uses frozen pretrained features."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import pytest
import their_backbone
import torch
from safetensors.torch import load_file
from their_backbone import Critic, pretrained
from torch import nn

import steadygan
from steadygan.errors import UserError
from steadygan.nets.adapt import lower_blocks
from steadygan.nets.frozen import Frozen, frozen_parameters
from steadygan.nets.registry import create_critic
from steadygan.nets.shape import Shape

OVERRIDES = [
    "model.kind=their_backbone:FAMILY",
    "model.generator.gain='2'",
    "model.critic.hidden='true'",
    "data.max_images=64",
    "train.steps=2",
    "train.batch_size=4",
    "train.sample_every=2",
    "train.checkpoint_every=2",
    "train.device=cpu",
    "eval.every=0",
    "eval.num_fake=20",
]


def source() -> dict[str, torch.Tensor]:
    return pretrained(1).state_dict()


def test_a_frozen_part_is_hidden_from_whoever_walks_over_the_network() -> None:
    net = Critic(Shape(8, 1))
    net.train().requires_grad_(True).double()
    features = net.features.network
    assert not any("features" in name for name in (*net.state_dict(), *dict(net.named_parameters())))
    assert not any(layer.training or p.requires_grad for layer in features.modules() for p in layer.parameters())
    assert [p.dtype for p in frozen_parameters(net)] == 4 * [torch.float64]
    assert not list(frozen_parameters(nn.Linear(1, 1)))


def test_gradients_pass_through_it() -> None:
    layer = Frozen(nn.Linear(3, 1))
    x = torch.ones(2, 3, requires_grad=True)
    layer(x).sum().backward()
    torch.testing.assert_close(x.grad, layer.network.weight.detach().expand(2, 3))
    assert layer.network.weight.grad is None


def test_a_copy_has_a_frozen_part_of_its_own() -> None:
    layer = Frozen(nn.Linear(3, 1))
    other = copy.deepcopy(layer)
    assert other.network is not layer.network
    assert torch.equal(other.network.weight, layer.network.weight)


def test_a_run_trains_scores_and_loads_it_and_keeps_no_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    features: list[nn.Module] = []

    def watched(channels: int) -> nn.Module:
        features.append(pretrained(channels))
        return features[-1]

    monkeypatch.setattr(their_backbone, "pretrained", watched)
    steadygan.train("digits", OVERRIDES, out=tmp_path / "run")
    (checkpoint,) = (tmp_path / "run/checkpoints").glob("step-*")
    kept = load_file(checkpoint / "weights.safetensors")
    names = {name.removeprefix("D.") for name in kept if name.startswith("D.")}
    assert names == {"body.0.weight", "body.0.bias", "head.weight", "head.bias"}
    steadygan.train(tmp_path / "run", ["train.steps=3", "train.checkpoint_every=1"], resume=True)
    after = load_file(tmp_path / "run/checkpoints/step-00000003/weights.safetensors")
    assert not torch.equal(after["D.head.weight"], kept["D.head.weight"])
    assert len(features) == 2
    assert all(torch.equal(value, source()[name]) for net in features for name, value in net.state_dict().items())
    assert steadygan.load(tmp_path / "run").sample(2).shape[:2] == (2, 1)


def test_a_checkpoint_alone_imports_no_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steadygan.train("digits", OVERRIDES, out=tmp_path / "run")
    module = sys.modules["their_backbone"]
    monkeypatch.delitem(sys.modules, "their_backbone")
    with pytest.raises(UserError, match=r"their_backbone:FAMILY, which is not part of.*import their_backbone"):
        steadygan.load(tmp_path / "run")
    assert "their_backbone" not in sys.modules
    monkeypatch.setenv("STEADYGAN_MODULES", "other,their_backbone")
    assert steadygan.load(tmp_path / "run").channels == 1
    monkeypatch.setitem(sys.modules, "their_backbone", module)


def test_its_options_are_typed_and_its_blocks_can_rest() -> None:
    sizes = {"size": 8, "channels": 1, "classes": 0, "width": 4}
    with pytest.raises(UserError, match=r"model\.critic\.hidden: must be true or false.*got 'perhaps'"):
        create_critic("their_backbone:FAMILY", **sizes, hidden="perhaps")
    with pytest.raises(UserError, match=r"model\.critic\.hiden: unknown option; .*'hidden'"):
        create_critic("their_backbone:FAMILY", **sizes, hiden=True)
    net = create_critic("their_backbone:FAMILY", **sizes, hidden=True)
    assert lower_blocks("theirs", net, 1) == {"body.0.weight", "body.0.bias"}
