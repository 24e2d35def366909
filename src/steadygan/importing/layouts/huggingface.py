"""Hugging Face's BigGAN-deep (pytorch-pretrained-BigGAN): `pytorch_model.bin` with `config.json` in its folder.

It has only the averaged generator, with batch-norm statistics at 51 truncations, which the import keeps.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from steadygan.importing.layouts.biggan import attention, attention_sides, base_width
from steadygan.importing.layouts.common import Imported, Options, Sheet, count, is_state_dict, state_dict
from steadygan.importing.layouts.parts import Part
from steadygan.importing.values import Refused, plain
from steadygan.nets.biggan_deep import GENERATOR_WIDTHS
from steadygan.nets.resnet import SEED

FAMILY = "BigGAN-deep (Hugging Face's layout)"
NAMES = {"query": "snconv1x1_theta", "key": "snconv1x1_phi", "value": "snconv1x1_g", "out": "snconv1x1_o_conv"}
CHANNELS = 3
MOST_JSON = 1 << 20


def matches(parts: Sequence[Part]) -> bool:
    return len(parts) == 1 and is_state_dict(parts[0].value) and "generator.gen_z.weight_orig" in parts[0].value


def read_config(path: Path) -> dict[str, Any]:
    try:
        text = path.read_bytes()[: MOST_JSON + 1]
        config = json.loads(text) if len(text) <= MOST_JSON else None
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise Refused(f"{path.name} next to it is not readable JSON") from error
    if not isinstance(config, dict):
        raise Refused(f"{path.name} next to it is not a configuration")
    return dict(plain(config, path.name))


def convert(parts: Sequence[Part], options: Options) -> Imported:
    config = read_config(parts[0].path.with_name("config.json"))
    eps = config.get("eps")
    if not isinstance(eps, float) or not 0 < eps < 1:
        eps = options.number("eps", 1e-4, what="ε of batch and spectral norms, in config.json")
    sheet = Sheet(state_dict(parts[0].value, "G"), "G", eps=eps)
    layers = count(sheet.tensors, "generator.layers.")
    kinds = [sheet.has(f"generator.layers.{i}.gamma") for i in range(layers)]
    blocks = [i for i in range(layers) if not kinds[i]]
    there = [i + 1 < layers and kinds[i + 1] for i in blocks]
    size = SEED << len(blocks) // 2
    maps = [sheet.side(f"generator.layers.{i}.conv_3.weight_orig", 0) for i in blocks]
    first = sheet.side("generator.layers.0.conv_0.weight_orig", 1)
    width = base_width(GENERATOR_WIDTHS, size, [first, *maps], "G")
    embedding, classes = sheet.shape("embeddings.weight")
    latent = sheet.side("generator.gen_z.weight_orig", 1) - embedding
    if config and (config.get("output_dim", size), config.get("channel_width", width)) != (size, width):
        raise Refused("config.json does not describe the weights next to it")
    _check_ups(config, len(blocks))
    generator = {
        "kind": "biggan-deep",
        "size": size,
        "channels": CHANNELS,
        "classes": classes,
        "latent": latent,
        "width": width,
        "options": {
            "class_embedding": embedding,
            "attention": attention_sides("G", there, [SEED << (i + 1) // 2 for i in range(len(blocks))]),
            "sn_out": False,
            "sn_eps": eps,
            "bn_eps": eps,
        },
        "prior": "truncated",
    }
    result = Imported(FAMILY, generator, {}, arguments=config)
    result.licence = "the code is MIT; the weights are DeepMind's BigGAN-deep, see the terms where you got the file"
    _tensors(sheet, blocks, there, result)
    result.networks["G_ema"], left = sheet.finish({"*.num_batches_tracked": "a count"})
    result.left_out += left
    return result


def _check_ups(config: Mapping[str, Any], blocks: int) -> None:
    """Checks that every second block doubles the side, as in all released configurations; the weights do not show
    it."""
    layers = config.get("layers")
    if isinstance(layers, list):
        ups = [bool(layer[0]) if isinstance(layer, list) and layer else None for layer in layers]
        if ups != [place % 2 == 1 for place in range(blocks)]:
            raise Refused("config.json: not every second block doubles the side")


def _tensors(sheet: Sheet, blocks: Sequence[int], there: Sequence[bool], result: Imported) -> None:
    sheet.put("embedding.weight", sheet.take("embeddings.weight").t())
    features = sheet.side("generator.layers.0.conv_0.weight_orig", 1)
    # Its first feature map is (height, width, channels), ours (channels, height, width).
    rows = torch.arange(SEED * SEED * features).view(SEED, SEED, features).permute(2, 0, 1).flatten()
    sheet.layer("linear", "generator.gen_z", rows=rows)
    for place, layer in enumerate(blocks):
        key = f"generator.layers.{layer}"
        for k in range(4):
            name = f"blocks.{place}.norms.{k}"
            _statistics(sheet, name, f"{key}.bn_{k}", result)
            sheet.layer(f"{name}.gain", f"{key}.bn_{k}.scale")
            sheet.layer(f"{name}.shift", f"{key}.bn_{k}.offset")
            sheet.layer(f"blocks.{place}.convs.{k}", f"{key}.conv_{k}")
        if there[place]:
            attention(sheet, f"attention.{place}", f"generator.layers.{layer + 1}", NAMES)
    sheet.copy("norm.weight", "generator.bn.weight")
    sheet.copy("norm.bias", "generator.bn.bias")
    _statistics(sheet, "norm", "generator.bn", result)
    # Its last layer has as many channels as the width, of which three are used, divided by the singular value of all.
    key = "generator.conv_to_rgb"
    weight, u, v, bias = (sheet.take(f"{key}.{part}") for part in ("weight_orig", "weight_u", "weight_v", "bias"))
    sheet.put("out.weight", (weight / u.dot(weight.flatten(1) @ v))[:CHANNELS])
    sheet.put("out.bias", bias[:CHANNELS])
    result.left_out.append(f"G.{key}: the channels after the third, which are never used")


def _statistics(sheet: Sheet, name: str, key: str, result: Imported) -> None:
    """Keeps all statistics for truncated sampling; the last, for no truncation, become the network's own."""
    for ours, theirs in (("running_mean", "running_means"), ("running_var", "running_vars")):
        values = sheet.take(f"{key}.{theirs}")
        if values.dim() != 2 or len(values) < 2:
            raise Refused(f"{key}.{theirs} is not a table of statistics by truncation")
        result.statistics[f"{name}.{ours}"] = values
        sheet.put(f"{name}.{ours}", values[-1])
    sheet.put(f"{name}.num_batches_tracked", torch.zeros((), dtype=torch.int64))
