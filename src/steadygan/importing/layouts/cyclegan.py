"""CycleGAN and pix2pix (junyanz/pytorch-CycleGAN-and-pix2pix), and CSGAN, which uses their networks.

Files are bare state dicts: `latest_net_G.pth`, or `latest_net_G_A.pth` with `…_G_B.pth`, `…_D_A.pth`, `…_D_B.pth`.
Only the file names tell them apart. G_A translates A to B, and D_A scores its output.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from steadygan.importing.layouts.common import Imported, Options, Sheet, is_state_dict, state_dict
from steadygan.importing.layouts.parts import Part
from steadygan.importing.values import Array, Refused

FAMILY = "CycleGAN and pix2pix (their PyTorch layout)"
STATISTICS = "statistics that instance norm does not use"
ROLE = re.compile(r"(?:^|_)(G|D)(?:_(A|B|AB|BA))?$")


def layers(tensors: Mapping[str, Array], pattern: str) -> list[int]:
    """The distinct numbers matched by the pattern's group in names, sorted."""
    found = {int(match[1]) for key in tensors if (match := re.fullmatch(pattern, key)) and len(match[1]) < 4}
    return sorted(found)


def _names(value: Any) -> Mapping[str, Array]:
    return state_dict(value, "") if is_state_dict(value) else {}


def is_resnet(names: Mapping[str, Array]) -> bool:
    return any(".conv_block." in key for key in names) and "model.1.weight" in names


def is_unet(names: Mapping[str, Array]) -> bool:
    return "model.model.0.weight" in names and any(".model.1.model.3.model." in key for key in names)


def is_critic(names: Mapping[str, Array]) -> bool:
    first = names.get("model.0.weight")
    return first is not None and first.shape[2:] == (4, 4) and not is_resnet(names)


def is_pixel_critic(names: Mapping[str, Array]) -> bool:
    first = names.get("net.0.weight")
    return first is not None and first.shape[2:] == (1, 1)


def matches(parts: Sequence[Part]) -> bool:
    tests = (is_resnet, is_unet, is_critic, is_pixel_critic)
    return all(any(test(_names(part.value)) for test in tests) for part in parts)


def convert(parts: Sequence[Part], options: Options) -> Imported:
    found: dict[str, tuple[dict[str, Any], dict[str, Tensor], list[str]]] = {}
    for part in parts:
        names = _names(part.value)
        if is_pixel_critic(names):
            raise Refused("a discriminator of single pixels (netD=pixel); ours score patches")
        kind = "D" if is_critic(names) else "G"
        name = _role(part, kind, alone=len([other for other in parts if is_critic(_names(other.value))]) <= 1)
        if name in found:
            raise Refused(f"two files of {name}: name them so that the direction is clear, such as latest_net_G_A.pth")
        read = critic if kind == "D" else unet if is_unet(names) else resnet
        found[name] = read(Sheet(names, name), options)
    generators = {name: entry for name, entry in found.items() if name.startswith("G")}
    critics = {name: entry for name, entry in found.items() if name.startswith("D")}
    if not generators:
        raise Refused("no generator among the files")
    for group in (generators, critics):
        described = [entry[0] for entry in group.values()]
        if any(other != described[0] for other in described):
            raise Refused("the networks of the two directions differ in their configuration; import them one by one")
    description = next(iter(generators.values()))[0]
    description["directions"] = [f"{name[2]}2{name[3]}" for name in sorted(generators)]
    result = Imported(FAMILY, description, {})
    result.licence = "the code is BSD; the weights are of those who trained them"
    if critics:
        result.critic = next(iter(critics.values()))[0] | {"size": description["size"]}
        images, channels = result.critic["channels"], description["channels"]
        if images not in (channels, 2 * channels):
            raise Refused(f"D scores {images} channels, G makes {channels}")
        result.critic["channels"] = channels
        result.critic["options"]["images"] = images // channels
    for name, (_, tensors, left) in found.items():
        result.networks[name] = tensors
        result.left_out += left
    return result


def _role(part: Part, kind: str, *, alone: bool) -> str:
    """Our name of a network: G_ab, G_ba, D_b or D_a."""
    match = ROLE.search(part.path.stem)
    way = (match[2] if match and match[1] == kind else None) or ""
    back = way in ("B", "BA")
    if not match and not alone and kind == "D":
        raise Refused(f"{part.path.name} is a discriminator, but its name does not say which (…_D_A.pth or …_D_B.pth)")
    if kind == "D":
        return "D_a" if back else "D_b"
    return "G_ba" if back else "G_ab"


def _norm_of(sheet: Sheet, convolution: str, behind: str) -> str:
    """The norm after a convolution: only batch norm has parameters, and only instance norm comes with a bias."""
    if sheet.has(f"{behind}.weight"):
        return "batch"
    return "instance" if sheet.has(f"{convolution}.bias") else "none"


def _convolution(sheet: Sheet, name: str, key: str, *, bias: bool = True, outputs: int = 0) -> None:
    """Moves a convolution; a bias that the file lacks, because a batch norm follows, becomes 0."""
    sheet.copy(f"{name}.weight", f"{key}.weight")
    if sheet.has(f"{key}.bias"):
        sheet.copy(f"{name}.bias", f"{key}.bias")
    elif bias:
        weight = sheet.out[f"{name}.weight"]
        sheet.put(f"{name}.bias", weight.new_zeros(weight.shape[outputs]))


def _batch_norm(sheet: Sheet, name: str, key: str) -> None:
    if sheet.has(f"{key}.weight"):
        sheet.dense(name, key)
        sheet.statistics(name, f"{key}.running_mean", f"{key}.running_var")


def _finish(sheet: Sheet) -> tuple[dict[str, Tensor], list[str]]:
    statistics = {"*.running_mean": STATISTICS, "*.running_var": STATISTICS, "*.num_batches_tracked": "a count"}
    return sheet.finish(statistics)


def _describe(sheet: Sheet, kind: str, first: str, last: str, axis: int, size: int, width: int) -> dict[str, Any]:
    channels = sheet.side(first, 1)
    if sheet.side(last, axis) != channels:
        raise Refused(
            f"{sheet.what} maps {channels} channels to {sheet.side(last, axis)}; ours keep the number of channels"
        )
    sizes = {"size": size, "channels": channels, "classes": 0, "latent": 0, "width": width}
    return {"kind": kind, **sizes, "prior": "normal"}


def resnet(sheet: Sheet, options: Options) -> tuple[dict[str, Any], dict[str, Tensor], list[str]]:
    blocks = layers(sheet.tensors, r"model\.(\d+)\.conv_block\.\d+\.weight")
    convolutions = [
        n for n in layers(sheet.tensors, r"model\.(\d+)\.weight") if len(sheet.shape(f"model.{n}.weight")) == 4
    ]
    down = [n for n in convolutions if n < blocks[0]]
    up = [n for n in convolutions if n > blocks[-1]]
    sides = [sheet.side(f"model.{n}.weight", 2) for n in (*down, *up)]
    if sides != [7, 3, 3, 3, 3, 7]:
        raise Refused(
            f"{sheet.what} has kernels of sides {sides} around its blocks; CycleGAN's has 7, 3, 3 and 3, 3, 7"
        )
    if sheet.side(f"model.{up[0]}.weight", 0) != sheet.side(f"model.{down[2]}.weight", 0):
        raise Refused(f"{sheet.what} resizes and convolves on the way up, where ours has transposed convolutions")
    size = options.whole("size", 256, what="pixels of the images it was trained on", least=8)
    description = _describe(
        sheet,
        "translate",
        f"model.{down[0]}.weight",
        f"model.{up[-1]}.weight",
        0,
        size,
        sheet.side("model.1.weight", 0),
    )
    norm = _norm_of(sheet, f"model.{down[0]}", f"model.{down[0] + 1}")
    description["options"] = {"blocks": len(blocks), "norm": norm}
    at, step = 0, 2 if norm == "none" else 3
    for n in down:
        _convolution(sheet, f"layers.{at}", f"model.{n}")
        _batch_norm(sheet, f"layers.{at + 1}", f"model.{n + 1}")
        at += step
    for n in blocks:
        inner = layers(sheet.tensors, rf"model\.{n}\.conv_block\.(\d+)\.weight")
        inner = [k for k in inner if len(sheet.shape(f"model.{n}.conv_block.{k}.weight")) == 4]
        if len(inner) != 2:
            raise Refused(f"{sheet.what}: a block of {len(inner)} convolutions, where ours has 2")
        for place, k in zip((0, step), inner, strict=True):
            _convolution(sheet, f"layers.{at}.body.{place}", f"model.{n}.conv_block.{k}")
            _batch_norm(sheet, f"layers.{at}.body.{place + 1}", f"model.{n}.conv_block.{k + 1}")
        at += 1
    for place, n in enumerate(up):
        _convolution(sheet, f"layers.{at}", f"model.{n}", outputs=1 if place < 2 else 0)
        if place < 2:
            _batch_norm(sheet, f"layers.{at + 1}", f"model.{n + 1}")
        at += step
    return description, *_finish(sheet)


def unet(sheet: Sheet, options: Options) -> tuple[dict[str, Any], dict[str, Tensor], list[str]]:
    """Nested blocks: model.model = [down, block, relu, up], and each block.model = [relu, down, norm, block, …].

    Raises:
        Refused: the number of levels is not supported.
    """
    prefixes = ["model.model"]
    while sheet.has(f"{(inner := prefixes[-1] + ('.1' if len(prefixes) == 1 else '.3') + '.model')}.1.weight"):
        prefixes.append(inner)
        if len(prefixes) > 16:
            raise Refused(f"{sheet.what} is a U-Net of more than 16 levels")
    depth = len(prefixes)
    if depth < 3:
        raise Refused(f"{sheet.what} is a U-Net of {depth} levels")
    size = 1 << depth
    description = _describe(
        sheet,
        "unet-translate",
        "model.model.0.weight",
        "model.model.3.weight",
        1,
        size,
        sheet.side("model.model.0.weight", 0),
    )
    norm = _norm_of(sheet, f"{prefixes[1]}.1", f"{prefixes[1]}.2")
    description["options"] = {"depth": depth, "norm": norm}
    for level, prefix in enumerate(prefixes):
        first, last = level == 0, level == depth - 1
        own = norm != "batch"
        down, up = (0, 3) if first else (1, 3) if last else (1, 5)
        _convolution(sheet, f"down.{level}.{0 if first else 1}", f"{prefix}.{down}", bias=own)
        _convolution(sheet, f"up.{depth - 1 - level}.1", f"{prefix}.{up}", bias=own or first, outputs=1)
        if not first and not last:
            _batch_norm(sheet, f"down.{level}.2", f"{prefix}.2")
        if not first:
            _batch_norm(sheet, f"up.{depth - 1 - level}.2", f"{prefix}.{up + 1}")
    return description, *_finish(sheet)


def critic(sheet: Sheet, options: Options) -> tuple[dict[str, Any], dict[str, Tensor], list[str]]:
    numbers = layers(sheet.tensors, r"model\.(\d+)\.weight")
    convolutions = [n for n in numbers if len(sheet.shape(f"model.{n}.weight")) == 4]
    if any(sheet.side(f"model.{n}.weight", 2) != 4 for n in convolutions) or len(convolutions) < 3:
        raise Refused(f"{sheet.what} is not a PatchGAN of 4×4 convolutions")
    norm = _norm_of(sheet, f"model.{convolutions[1]}", f"model.{convolutions[1] + 1}")
    description = {
        "kind": "translate",
        "channels": sheet.side("model.0.weight", 1),
        "classes": 0,
        "width": sheet.side("model.0.weight", 0),
        "options": {"layers": len(convolutions) - 2, "norm": norm},
    }
    for place, n in enumerate(convolutions[:-1]):
        at = 0 if place == 0 else 2 + (2 if norm == "none" else 3) * (place - 1)
        _convolution(sheet, f"body.{at}", f"model.{n}")
        if place:
            _batch_norm(sheet, f"body.{at + 1}", f"model.{n + 1}")
    _convolution(sheet, "head", f"model.{convolutions[-1]}")
    return description, *_finish(sheet)
