"""StyleGAN2 in the layouts of NVIDIA and rosinality."""

from __future__ import annotations

import argparse
import importlib.machinery
import pickle
import re
import sys
import types
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from importing.writing import State, Written, make, renamed
from torch import nn

from steadygan.exporting.peers.nvidia import arguments, state
from steadygan.nets.stylegan2 import Generator


class Persistent:
    """Pickles itself as `torch_utils.persistence` does. `attributes` is a module's `__dict__`."""

    def __init__(self, name: str, attributes: dict[str, Any]) -> None:
        self.name, self.attributes = name, attributes

    def __reduce__(self) -> Any:
        meta = {
            "type": "class",
            "version": 6,
            "module_src": "raise SystemExit('this must never run')",
            "class_name": self.name,
            "state": self.attributes,
        }
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (meta,)


@contextmanager
def nvidia_modules() -> Iterator[None]:
    """Stand-ins under the names by which NVIDIA's pickles know their functions."""

    def _reconstruct_persistent_obj(meta: Any) -> Any:
        raise AssertionError("never called when a file is written")

    _reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    easy = type("EasyDict", (dict,), {"__module__": "dnnlib.util"})
    modules = {}
    for name, content in {
        "torch_utils": {},
        "torch_utils.persistence": {"_reconstruct_persistent_obj": _reconstruct_persistent_obj},
        "dnnlib": {},
        "dnnlib.util": {"EasyDict": easy},
    }.items():
        modules[name] = types.ModuleType(name)
        modules[name].__spec__ = importlib.machinery.ModuleSpec(name, None)
        vars(modules[name]).update(content)
    with mock.patch.dict(sys.modules, modules):
        yield


def module(name: str, parts: Mapping[str, Any], **attributes: Any) -> Persistent:
    """A pickled module with parameters, buffers and inner modules, told apart by what they are."""
    content: dict[str, Any] = {"training": False, "_parameters": OrderedDict(), "_buffers": OrderedDict()}
    content |= {"_modules": OrderedDict(), "_backward_hooks": OrderedDict(), "_non_persistent_buffers_set": set()}
    for key, part in parts.items():
        kind = "_modules" if isinstance(part, Persistent) else "_parameters"
        value = part if isinstance(part, Persistent) else nn.Parameter(part.detach().clone(), requires_grad=False)
        content[kind][key] = value
    return Persistent(name, {**content, **attributes, "_init_args": (), "_init_kwargs": {"of": name}})


FILTER = torch.outer(torch.tensor([1.0, 3, 3, 1]), torch.tensor([1.0, 3, 3, 1])) / 64


def dense(state: State, key: str, multiplier: float = 1, activation: str = "lrelu") -> Persistent:
    parts = {name: state[f"{key}.{name}"] for name in ("weight", "bias")}
    return module("FullyConnectedLayer", parts, activation=activation, bias_gain=multiplier, weight_gain=np.float64(1))


def mapping(state: State, key: str, **attributes: Any) -> Persistent:
    parts: dict[str, Any] = {}
    if f"{key}.embedding" in state:
        embed = {"weight": state[f"{key}.embedding"].t(), "bias": state[f"{key}.embedding_bias"]}
        parts["embed"] = module("FullyConnectedLayer", embed, activation="linear", bias_gain=1)
    layers = len([name for name in state if re.fullmatch(rf"{key}\.layers\.\d+\.weight", name)])
    for place in range(layers):
        parts[f"fc{place}"] = dense(state, f"{key}.layers.{place}", 0.01)
    if "w_avg" in state:
        parts["w_avg"] = state["w_avg"]
    return module("MappingNetwork", parts, num_layers=layers, **attributes)


def style_layer(state: State, key: str, up: int, clamp: float | None) -> Persistent:
    inner = f"{key}.conv"
    parts = {name: state[f"{inner}.{name}"] for name in ("weight", "bias")}
    parts |= {"affine": dense(state, f"{inner}.affine", activation="linear"), "resample_filter": FILTER}
    parts |= {"noise_strength": state[f"{key}.strength"], "noise_const": state[f"{key}.noise"][0, 0]}
    return module("SynthesisLayer", parts, up=up, activation="lrelu", conv_clamp=clamp)


def style_generator(net: nn.Module, clamp: float | None) -> Persistent:
    state, blocks, side, place = net.state_dict(), {}, 4, 0
    while f"to_rgb.{place}.weight" in state:
        parts: dict[str, Any] = {"resample_filter": FILTER}
        if place:
            parts["conv0"] = style_layer(state, f"ups.{place - 1}", 2, clamp)
            parts["conv1"] = style_layer(state, f"layers.{place - 1}", 1, clamp)
        else:
            parts |= {"const": state["constant"][0], "conv1": style_layer(state, "first", 1, clamp)}
        rgb = {name: state[f"to_rgb.{place}.{name}"] for name in ("weight", "bias")}
        rgb["affine"] = dense(state, f"to_rgb.{place}.affine", activation="linear")
        parts["torgb"] = module("ToRGBLayer", rgb, conv_clamp=clamp)
        blocks[f"b{side}"] = module("SynthesisBlock", parts, architecture="skip")
        side, place = 2 * side, place + 1
    parts = {"synthesis": module("SynthesisNetwork", blocks), "mapping": mapping(state, "mapping", w_avg_beta=0.995)}
    attributes = {"z_dim": net.latent, "c_dim": net.classes, "w_dim": net.w_dim, "img_resolution": net.size}
    return module("Generator", parts, img_channels=3, **attributes)


def style_critic(net: nn.Module, clamp: float | None, group: int) -> Persistent:
    state, blocks, side, place = net.state_dict(), {}, net.size, 0
    residual = "blocks.0.shortcut.weight" in state
    attributes = {"architecture": "resnet" if residual else "orig"}

    def convolution(key: str, down: int = 1) -> Persistent:
        parts = {name: state[f"{key}.{name}"] for name in ("weight", "bias") if f"{key}.{name}" in state}
        return module("Conv2dLayer", parts, activation="lrelu", conv_clamp=clamp, up=1, down=down)

    while side > 4:
        parts: dict[str, Any] = {"resample_filter": FILTER} | ({} if place else {"fromrgb": convolution("from_rgb")})
        parts["conv0"] = convolution(f"blocks.{place}.conv1")
        parts["conv1"] = convolution(f"blocks.{place}.conv2", 2)
        if residual:
            parts["skip"] = convolution(f"blocks.{place}.shortcut", 2)
        blocks[f"b{side}"] = module("DiscriminatorBlock", parts, **attributes)
        side, place = side // 2, place + 1
    last = {"conv": convolution("conv"), "fc": dense(state, "dense"), "out": dense(state, "head.linear", 1, "linear")}
    last["mbstd"] = module("MinibatchStdLayer", {}, group_size=group, num_channels=1)
    blocks["b4"] = module("DiscriminatorEpilogue", last, cmap_dim=len(state["dense.bias"]), **attributes)
    if net.classes:
        blocks["mapping"] = mapping(state, "head.mapping")
    sizes = {"c_dim": net.classes, "img_resolution": net.size, "img_channels": 3}
    return module("Discriminator", blocks, **sizes)


def stylegan2_ada(
    folder: Path, *, classes: int = 3, clamp: float | None = 256.0, residual: bool = True, edit: Callable[..., Any] = id
) -> Written:
    """edit: changes the pickled content, for files unlike ours."""
    options: dict[str, Any] = {"fmap_max": 6, "conv_clamp": clamp}
    g, d = make(
        "stylegan2",
        size=16,
        classes=classes,
        latent=5,
        g={"width": 1, **options, "mapping_layers": 2, "w_dim": 4},
        d={"width": 1, **options, "residual": residual, "mapping_layers": 3},
    )
    with nvidia_modules():
        generator, critic = style_generator(g, clamp), style_critic(d, clamp, 4)
        easy = sys.modules["dnnlib.util"].EasyDict
        content = {"training_set_kwargs": easy(path="data", sizes=[1, 2]), "G": generator, "D": critic}
        content |= {"G_ema": generator, "augment_pipe": module("AugmentPipe", {"p": torch.zeros(())})}
        edit(content)
        (folder / "network-snapshot.pkl").write_bytes(pickle.dumps(content))
    return Written([folder / "network-snapshot.pkl"], {"G": g, "G_ema": g, "D": d})


def rosinality(folder: Path) -> Written:
    g, d = make(
        "stylegan2",
        size=16,
        classes=0,
        latent=5,
        g={"width": 1, "fmap_max": 6, "mapping_layers": 2, "w_dim": 5},
        d={"width": 1, "fmap_max": 6},
    )
    state, file = g.state_dict(), {}

    def modulated(key: str, conv: str, bias: str, shape: tuple[int, ...]) -> None:
        file[f"{conv}.weight"], file[bias] = state[f"{key}.weight"][None], state[f"{key}.bias"].reshape(shape)
        for name in ("weight", "bias"):
            file[f"{conv}.modulation.{name}"] = state[f"{key}.affine.{name}"]

    def layer(key: str, name: str, noise: int) -> None:
        modulated(f"{key}.conv", f"{name}.conv", f"{name}.activate.bias", (-1,))
        file[f"{name}.noise.weight"], file[f"noises.noise_{noise}"] = (
            state[f"{key}.strength"][None],
            state[f"{key}.noise"],
        )

    file["input.input"] = state["constant"]
    for place in range(2):
        for name in ("weight", "bias"):
            file[f"style.{place + 1}.{name}"] = state[f"mapping.layers.{place}.{name}"]
        layer(f"ups.{place}", f"convs.{2 * place}", 2 * place + 1)
        file[f"convs.{2 * place}.conv.blur.kernel"] = 4 * FILTER
        layer(f"layers.{place}", f"convs.{2 * place + 1}", 2 * place + 2)
        modulated(f"to_rgb.{place + 1}", f"to_rgbs.{place}.conv", f"to_rgbs.{place}.bias", (1, 3, 1, 1))
    layer("first", "conv1", 0)
    modulated("to_rgb.0", "to_rgb1.conv", "to_rgb1.bias", (1, 3, 1, 1))
    rules = (
        (r"from_rgb\.weight", "convs.0.0.weight"),
        (r"from_rgb\.bias", "convs.0.1.bias"),
        *((rf"blocks\.{i}\.conv1\.weight", f"convs.{i + 1}.conv1.0.weight") for i in range(2)),
        *((rf"blocks\.{i}\.conv1\.bias", f"convs.{i + 1}.conv1.1.bias") for i in range(2)),
        *((rf"blocks\.{i}\.conv2\.weight", f"convs.{i + 1}.conv2.1.weight") for i in range(2)),
        *((rf"blocks\.{i}\.conv2\.bias", f"convs.{i + 1}.conv2.2.bias") for i in range(2)),
        *((rf"blocks\.{i}\.shortcut\.weight", f"convs.{i + 1}.skip.1.weight") for i in range(2)),
        (r"conv\.weight", "final_conv.0.weight"),
        (r"conv\.bias", "final_conv.1.bias"),
        (r"dense\.(.*)", r"final_linear.0.\1"),
        (r"head\.linear\.(.*)", r"final_linear.1.\1"),
    )
    content = {"g": file, "g_ema": file, "d": renamed(d.state_dict(), rules), "latent_avg": state["w_avg"]}
    content |= {"args": argparse.Namespace(size=16, path="data"), "g_optim": {"state": {}, "param_groups": []}}
    torch.save(content, folder / "550000.pt")
    return Written([folder / "550000.pt"], {"G": g, "G_ema": g, "D": d})


def stylegan2_state(folder: Path) -> Written:
    """By our own exporter, whose file it is."""
    options = {"width": 1, "fmap_max": 8, "mapping_layers": 2, "w_dim": 4, "raw_eps": True}
    (g,) = make("stylegan2", size=16, classes=3, latent=5, g=options, d=None)
    assert isinstance(g, Generator)
    tensors = {key: value.detach() for key, value in g.state_dict().items()}
    torch.save({"state_dict": state(tensors), "init_kwargs": arguments(g)}, folder / "generator.pt")
    return Written([folder / "generator.pt"], {"G_ema": g})
