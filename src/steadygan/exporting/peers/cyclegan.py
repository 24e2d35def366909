"""pytorch-CycleGAN-and-pix2pix: a folder with latest_net_G_A.pth and …_B.pth, or latest_net_G.pth of one direction.

For its test.py with `--netG resnet_9blocks` (or 6) or `unet_256`, depending on the generator. The inverse of
`importing.layouts.cyclegan`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from steadygan.errors import UserError
from steadygan.exporting.peers.style import State
from steadygan.exporting.subject import Subject
from steadygan.files import whole_directory
from steadygan.nets.translate import generator_name

FILES = {"a2b": "latest_net_G_A.pth", "b2a": "latest_net_G_B.pth"}
ALONE = "latest_net_G.pth"
NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def write(subject: Subject, out: Path) -> None:
    kind = subject.description["kind"]
    makers = {"translate": residual, "unet-translate": unet}
    if kind not in makers:
        raise UserError(
            f"--to cyclegan is for translations (model.kind={' or '.join(makers)}); {subject.path} is a {kind}"
        )
    if subject.description["options"].get("norm") == "none":
        raise UserError(
            "--to cyclegan: generators of that repository have no biases if they have no norms; this one has"
        )
    directions = subject.description["directions"]
    tensors = subject.tensors()
    with whole_directory(out) as temporary:
        for direction in directions:
            prefix = f"{generator_name(direction)}."
            own = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
            name = ALONE if len(directions) == 1 else FILES[direction]
            torch.save(makers[kind](own), temporary / name)


def _layer(out: State, own: Mapping[str, Tensor], key: str, name: str, norm: tuple[str, str] | None = None) -> None:
    """A convolution with its norm. Before a batch norm theirs has no bias; ours is folded into the norm's mean."""
    out[f"{key}.weight"] = own[f"{name}.weight"]
    bias = own.get(f"{name}.bias")
    batch = norm is not None and f"{norm[1]}.running_mean" in own
    if bias is not None and not batch:
        out[f"{key}.bias"] = bias
    if norm is not None and batch:
        for part in NORM:
            out[f"{norm[0]}.{part}"] = own[f"{norm[1]}.{part}"]
        if bias is not None and bool(bias.any()):
            out[f"{norm[0]}.running_mean"] = out[f"{norm[0]}.running_mean"] - bias


def residual(own: Mapping[str, Tensor]) -> State:
    """Maps a ResNet generator. Theirs has separate padding modules at both ends, and an identity module if there is no
    norm."""
    out = State()
    blocks = sorted({int(name.split(".")[1]) for name in own if ".body." in name})
    inner = sorted({int(name.split(".")[3]) for name in own if name.endswith(".weight") and ".body." in name})
    inner = [place for place in inner if own[f"layers.{blocks[0]}.body.{place}.weight"].dim() == 4] if blocks else []
    outer = sorted({int(name.split(".")[1]) for name in own if ".body." not in name and own[name].dim() == 4})
    down, up = outer[:3], outer[3:]
    for place, at in enumerate(down):
        key = 1 + 3 * place
        _layer(out, own, f"model.{key}", f"layers.{at}", (f"model.{key + 1}", f"layers.{at + 1}"))
    for place, at in enumerate(blocks):
        for key, k in zip((1, 5), inner, strict=True):
            block, ours = f"model.{10 + place}.conv_block", f"layers.{at}.body"
            _layer(out, own, f"{block}.{key}", f"{ours}.{k}", (f"{block}.{key + 1}", f"{ours}.{k + 1}"))
    for place, at in enumerate(up):
        key = 10 + len(blocks) + 3 * place
        if place < 2:
            _layer(out, own, f"model.{key}", f"layers.{at}", (f"model.{key + 1}", f"layers.{at + 1}"))
        else:
            _layer(out, own, f"model.{key + 1}", f"layers.{at}")
    return out


def unet(own: Mapping[str, Tensor]) -> State:
    """Maps a U-Net generator. Theirs nests levels: model.model = [down, …, up], with the inner level third in its
    block."""
    out = State()
    depth = len({name.split(".")[1] for name in own if name.startswith("down.")})
    prefix = "model.model"
    for level in range(depth):
        first, last = level == 0, level == depth - 1
        down, up = (0, 3) if first else (1, 3) if last else (1, 5)
        ours, theirs = f"up.{depth - 1 - level}", f"{prefix}.{up}"
        inside = None if first or last else (f"{prefix}.2", f"down.{level}.2")
        _layer(out, own, f"{prefix}.{down}", f"down.{level}.{0 if first else 1}", inside)
        _layer(out, own, theirs, f"{ours}.1", None if first else (f"{prefix}.{up + 1}", f"{ours}.2"))
        prefix += ".1.model" if first else ".3.model"
    return out
