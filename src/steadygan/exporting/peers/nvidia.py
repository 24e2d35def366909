"""NVIDIA's stylegan2-ada-pytorch, and stylegan3 (`training/networks_stylegan2.py`): the state dict of its Generator.

Their pickles contain code; this file contains tensors and the constructor's arguments:

    saved = torch.load("generator.pt", weights_only=True)
    G = Generator(**saved["init_kwargs"]); G.load_state_dict(saved["state_dict"])

The inverse of `importing.layouts.nvidia`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from steadygan.errors import UserError
from steadygan.exporting.peers.style import State, Writer, count, filter_kernel
from steadygan.exporting.state_dict import save
from steadygan.exporting.subject import Subject
from steadygan.nets.stylegan2 import Generator


def write(subject: Subject, out: Path) -> None:
    subject.need_kind("stylegan2", "stylegan2-ada")
    net = subject.made.module if not subject.translates else None  # type: ignore[union-attr]
    assert isinstance(net, Generator)
    save({"state_dict": state(subject.tensors()), "init_kwargs": arguments(net)}, out)


def arguments(net: Generator) -> dict[str, Any]:
    """The arguments of their Generator's constructor.

    Raises:
        UserError: their constructor cannot build this network.
    """
    maps = [
        len(net.first.conv.weight),
        *(len(net.get_parameter(f"layers.{i}.conv.weight")) for i in range(len(net.layers))),
    ]
    most = max(maps)
    base = [m * (4 << i) for i, m in enumerate(maps) if m < most]
    if len(set(base)) > 1:
        raise UserError(f"--to stylegan2-ada: feature maps of {maps} are not min(channel_base / side, channel_max)")
    synthesis = {
        "channel_base": base[0] if base else most * net.size,
        "channel_max": most,
        "num_fp16_res": 0,
        "conv_clamp": net.conv_clamp,
        **({} if net.first.strength is not None else {"use_noise": False}),
    }
    mapping = {"num_layers": len(net.mapping.layers), "w_avg_beta": net.w_avg_beta}
    sizes = {"z_dim": net.latent, "c_dim": net.classes, "w_dim": net.w_dim}
    sizes |= {"img_resolution": net.size, "img_channels": net.channels}
    return {**sizes, "mapping_kwargs": mapping, "synthesis_kwargs": synthesis}


def state(tensors: dict[str, Tensor]) -> State:
    """Their state dict from our generator's tensors."""
    writer = Writer(tensors)

    def modulated(key: str, name: str) -> None:
        writer.dense(key, name)
        writer.dense(f"{key}.affine", f"{name}.affine")

    def layer(key: str, name: str) -> None:
        modulated(key, f"{name}.conv")
        writer.out[f"{key}.resample_filter"] = filter_kernel()
        if writer.has(f"{name}.strength"):
            writer.move(f"{key}.noise_strength", f"{name}.strength")
            writer.move(f"{key}.noise_const", f"{name}.noise", lambda value: value[0, 0])

    if writer.has("mapping.embedding"):
        writer.move("mapping.embed.weight", "mapping.embedding", torch.t)
        writer.move("mapping.embed.bias", "mapping.embedding_bias")
    for place in range(count(tensors, "mapping.layers.{}.weight")):
        writer.dense(f"mapping.fc{place}", f"mapping.layers.{place}")
    writer.move("mapping.w_avg", "w_avg")
    writer.move("synthesis.b4.const", "constant", lambda value: value[0])
    layer("synthesis.b4.conv1", "first")
    for place in range(count(tensors, "to_rgb.{}.weight")):
        block = f"synthesis.b{4 << place}"
        writer.out[f"{block}.resample_filter"] = filter_kernel()
        modulated(f"{block}.torgb", f"to_rgb.{place}")
        if place:
            layer(f"{block}.conv0", f"ups.{place - 1}")
            layer(f"{block}.conv1", f"layers.{place - 1}")
    return writer.finish()
