"""StudioGAN's deep_conv (DCGAN): fixed at 32 pixels, with 64 to 512 feature maps."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from steadygan.importing.layouts.common import Options, Sheet
from steadygan.importing.values import Refused

BN_EPS, SN_EPS = 1e-4, 1e-6
BLOCKS = 3
SIZE = 32
UNUSED = {"*.num_batches_tracked": "a count"}


def generator(sheet: Sheet, options: Options) -> tuple[dict[str, Any], dict[str, Tensor], list[str]]:
    if sheet.has("linear0.weight_orig"):
        raise Refused("a DCGAN generator with spectral norm, which ours lacks (transposed convolutions)")
    if any(".conv1x1_theta." in key for key in sheet.tensors):
        raise Refused("a DCGAN with attention, which ours lacks")
    conditional = sheet.has("blocks.0.0.bn0.gain.weight")
    description = {
        "kind": "dcgan",
        "size": SIZE,
        "channels": sheet.side("conv4.weight", 0),
        "classes": sheet.side("blocks.0.0.bn0.gain.weight", 1) if conditional else 0,
        "latent": sheet.side("linear0.weight", 1),
        "width": sheet.side("conv4.weight", 1),
        "options": {"first_norm": False, "bn_eps": BN_EPS},
        "prior": "normal",
    }
    sheet.layer("linear", "linear0")
    for place in range(BLOCKS):
        key, name = f"blocks.{place}.0", f"norms.{place}"
        sheet.layer(f"up.{place}", f"{key}.deconv0")
        if conditional:
            sheet.statistics(name, f"{key}.bn0.bn.running_mean", f"{key}.bn0.bn.running_var")
            sheet.put(f"{name}.gamma", 1 + sheet.take(f"{key}.bn0.gain.weight").t())
            sheet.put(f"{name}.beta", sheet.take(f"{key}.bn0.bias.weight").t())
        else:
            sheet.dense(name, f"{key}.bn0")
            sheet.statistics(name, f"{key}.bn0.running_mean", f"{key}.bn0.running_var")
    # A convolution of stride 1 equals the transposed one with its kernel rotated by 180°, inputs and outputs swapped.
    sheet.put("out.weight", sheet.take("conv4.weight").flip(2, 3).transpose(0, 1))
    sheet.copy("out.bias", "conv4.bias")
    return description, *sheet.finish(UNUSED)


def critic(sheet: Sheet, options: Options) -> tuple[dict[str, Any], dict[str, Tensor], list[str]]:
    if any(".conv1x1_theta." in key for key in sheet.tensors):
        raise Refused("a DCGAN with attention, which ours lacks")
    spectral = sheet.has("linear1.weight_orig")
    suffix = "weight_orig" if spectral else "weight"
    classes = sheet.side(f"embedding.{suffix}", 0) if sheet.has(f"embedding.{suffix}") else 0
    description = {
        "kind": "dcgan",
        "size": SIZE,
        "channels": sheet.side(f"blocks.0.0.conv0.{suffix}", 1),
        "classes": classes,
        "width": sheet.side(f"blocks.0.0.conv0.{suffix}", 0),
        "options": {
            "paired": True,
            "pooled": True,
            "slope": 0.0,
            "bn_eps": None if spectral else BN_EPS,
            "sn_critic": spectral,
            "sn_eps": SN_EPS,
        },
    }
    names = [(f"blocks.{place}.0.conv{k}", f"blocks.{place}.0.bn{k}") for place in range(BLOCKS) for k in (0, 1)]
    for place, (convolution, norm) in enumerate([*names, ("conv1", "bn1")]):
        sheet.layer(f"convs.{place}", convolution)
        if not spectral:
            sheet.dense(f"norms.{place}", norm)
            sheet.statistics(f"norms.{place}", f"{norm}.running_mean", f"{norm}.running_var")
    sheet.layer("head.linear", "linear1")
    if classes:
        sheet.layer("head.embedding", "embedding")
    return description, *sheet.finish(UNUSED)
