"""rosinality/stylegan2-pytorch: `.pt` files of its training (g, d, g_ema, args), and converted ones of NVIDIA's."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from steadygan.importing.layouts.common import NVIDIA, Imported, Options, Sheet, is_state_dict, power_of_two, state_dict
from steadygan.importing.layouts.nvidia import widths
from steadygan.importing.values import Array, Made, Refused, plain
from steadygan.nets.modulated import Resample
from steadygan.nets.stylegan2 import Mapping

FAMILY = "StyleGAN2 (rosinality's layout)"
LATENTS = 4096
UNUSED = {"*kernel": "the filter [1, 3, 3, 1], which ours has built in"}


def matches(value: Any) -> bool:
    return isinstance(value, dict) and is_state_dict(value.get("g_ema")) and "input.input" in value["g_ema"]


def convert(value: dict[Any, Any], options: Options) -> Imported:
    result = Imported(FAMILY, {}, {})
    for name, key in (("G_ema", "g_ema"), ("G", "g")):
        if is_state_dict(value.get(key)):
            sheet = Sheet(state_dict(value[key], key), key)
            description = describe_generator(sheet)
            if result.generator and description != result.generator:
                raise Refused("g and g_ema are not of the same size")
            result.generator = description
            result.networks[name], left = generator_tensors(sheet, description)
            result.left_out += left
    average = value.get("latent_avg")
    for name in result.networks:
        if isinstance(average, Array):
            result.networks[name]["w_avg"] = average.tensor().flatten()
        else:
            result.networks[name]["w_avg"] = mean_of_w(result.networks[name], result.generator)
    if isinstance(average, Array):
        result.licence = f"{NVIDIA} (if converted from one of NVIDIA's files, as files with latent_avg are)"
    else:
        options.assumed.append(f"w_avg: the mean of {LATENTS} mapped latents of seed 0, as the file has no average")
    if is_state_dict(value.get("d")):
        sheet = Sheet(state_dict(value["d"], "d"), "d")
        result.critic = describe_critic(sheet)
        result.networks["D"], left = critic_tensors(sheet)
        result.left_out += left
    if isinstance(value.get("args"), Made):
        result.arguments = plain(value["args"])
    known = {"g", "d", "g_ema", "args", "latent_avg"}
    result.left_out += [f"{key}: of its training" for key in value if isinstance(key, str) and key not in known]
    return result


def _side(sheet: Sheet, stages: int) -> int:
    size = 4 << stages
    if not power_of_two(size) or not 16 <= size <= 1024:
        raise Refused(f"{sheet.what} is for images of {size} pixels; ours has sides of 16 to 1024")
    return size


def describe_generator(sheet: Sheet) -> dict[str, Any]:
    stages = 0
    while sheet.has(f"convs.{2 * stages}.conv.weight"):
        stages += 1
    size = _side(sheet, stages)
    maps = {4: sheet.side("conv1.conv.weight", 1)}
    maps |= {4 << i + 1: sheet.side(f"convs.{2 * i}.conv.weight", 1) for i in range(stages)}
    width, fmap_max = widths(maps, sheet.what)
    layers = 0
    while sheet.has(f"style.{layers + 1}.weight"):
        layers += 1
    return {
        "kind": "stylegan2",
        "size": size,
        "channels": sheet.side("to_rgb1.conv.weight", 1),
        "classes": 0,
        "latent": sheet.side("style.1.weight", 1),
        "width": width,
        "options": {
            "fmap_max": fmap_max,
            "mapping_layers": layers,
            "w_dim": sheet.side(f"style.{layers}.weight", 0),
            "noise": True,
        },
        "prior": "normal",
    }


def describe_critic(sheet: Sheet) -> dict[str, Any]:
    stages = 0
    while sheet.has(f"convs.{stages + 1}.conv1.0.weight"):
        stages += 1
    size = _side(sheet, stages)
    maps = {size: sheet.side("convs.0.0.weight", 0)}
    maps |= {size >> i + 1: sheet.side(f"convs.{i + 1}.conv2.1.weight", 0) for i in range(stages)}
    width, fmap_max = widths(dict(sorted(maps.items())), sheet.what)
    return {
        "kind": "stylegan2",
        "size": size,
        "channels": sheet.side("convs.0.0.weight", 1),
        "classes": 0,
        "width": width,
        "options": {"fmap_max": fmap_max, "residual": True, "mbstd_group": 4},
    }


def generator_tensors(sheet: Sheet, description: dict[str, Any]) -> tuple[dict[str, Tensor], list[str]]:
    def modulated(name: str, conv: str, bias: str) -> None:
        sheet.put(f"{name}.weight", _first(sheet, f"{conv}.weight", 5))
        sheet.put(f"{name}.bias", sheet.take(bias).flatten())
        sheet.dense(f"{name}.affine", f"{conv}.modulation")

    def layer(name: str, key: str, noise: int) -> None:
        modulated(f"{name}.conv", f"{key}.conv", f"{key}.activate.bias")
        sheet.put(f"{name}.strength", sheet.take(f"{key}.noise.weight").reshape(()))
        sheet.copy(f"{name}.noise", f"noises.noise_{noise}")

    for place in range(description["options"]["mapping_layers"]):
        sheet.dense(f"mapping.layers.{place}", f"style.{place + 1}")
    sheet.copy("constant", "input.input")
    layer("first", "conv1", 0)
    modulated("to_rgb.0", "to_rgb1.conv", "to_rgb1.bias")
    place = 0
    while sheet.has(f"convs.{2 * place}.conv.weight"):
        layer(f"ups.{place}", f"convs.{2 * place}", 2 * place + 1)
        layer(f"layers.{place}", f"convs.{2 * place + 1}", 2 * place + 2)
        modulated(f"to_rgb.{place + 1}", f"to_rgbs.{place}.conv", f"to_rgbs.{place}.bias")
        place += 1
    return _finish(sheet)


def critic_tensors(sheet: Sheet) -> tuple[dict[str, Tensor], list[str]]:
    def activated(name: str, key: str, first: int) -> None:
        sheet.copy(f"{name}.weight", f"{key}.{first}.weight")
        sheet.copy(f"{name}.bias", f"{key}.{first + 1}.bias")

    activated("from_rgb", "convs.0", 0)
    place = 0
    while sheet.has(f"convs.{place + 1}.conv1.0.weight"):
        key = f"convs.{place + 1}"
        activated(f"blocks.{place}.conv1", f"{key}.conv1", 0)
        activated(f"blocks.{place}.conv2", f"{key}.conv2", 1)
        sheet.copy(f"blocks.{place}.shortcut.weight", f"{key}.skip.1.weight")
        place += 1
    activated("conv", "final_conv", 0)
    sheet.dense("dense", "final_linear.0")
    sheet.dense("head.linear", "final_linear.1")
    return _finish(sheet)


def _first(sheet: Sheet, key: str, dimensions: int) -> Tensor:
    value = sheet.take(key)
    if value.dim() != dimensions or len(value) != 1:
        raise Refused(f"{sheet.what}.{key} is of shape {list(value.shape)}, not (1, …)")
    return value[0]


def _finish(sheet: Sheet) -> tuple[dict[str, Tensor], list[str]]:
    filters = {name for name in sheet.tensors if name.endswith("kernel")}
    usual = Resample().kernel[0, 0]
    for name in filters:
        kernel = sheet.take(name).float() if sheet.shape(name) == (4, 4) else torch.zeros(4, 4)
        if not torch.allclose(kernel, usual) and not torch.allclose(kernel, 4 * usual):
            raise Refused(f"{sheet.what}.{name} is not the filter [1, 3, 3, 1]")
    sheet.used -= filters
    tensors, left = sheet.finish(UNUSED)
    return tensors, [f"{sheet.what}: {len(left)} copies of {UNUSED['*kernel']}"] if left else []


@torch.no_grad()
def mean_of_w(tensors: dict[str, Tensor], description: dict[str, Any]) -> Tensor:
    """The mean of w over `LATENTS` latents of seed 0, like the truncation target of the repository's own samples."""
    options = description["options"]
    mapping = Mapping(description["latent"], 0, options["w_dim"], options["mapping_layers"])
    prefix = "mapping."
    mapping.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    z = torch.randn(LATENTS, description["latent"], generator=torch.Generator().manual_seed(0))
    w: Tensor = mapping(z, None)
    return w.mean(0)
