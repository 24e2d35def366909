"""BigGAN-deep of BigGAN-PyTorch (`--model BigGANdeep`), whose condition is [class embedding, latent], the reverse of
ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from steadygan.importing.layouts import biggan
from steadygan.importing.layouts.common import Imported, Options, Sheet, count, is_state_dict, state_dict
from steadygan.importing.layouts.parts import Part
from steadygan.importing.values import Array, Refused
from steadygan.nets.biggan_deep import CRITIC_WIDTHS, GENERATOR_WIDTHS
from steadygan.nets.resnet import SEED

DEPTH = 2


def is_generator(value: Any) -> bool:
    return biggan.is_deep(value) and "output_layer.0.gain" in state_dict(value, "")


def is_critic(value: Any) -> bool:
    return biggan.is_deep(value) and is_state_dict(value) and "input_conv.weight" in state_dict(value, "")


def matches(parts: Sequence[Part]) -> bool:
    known = (is_generator, is_critic, biggan.is_arguments, biggan.is_optimiser)
    return any(biggan.is_deep(part.value) for part in parts) and all(
        any(test(part.value) for test in known) for part in parts
    )


def convert(parts: Sequence[Part], options: Options) -> Imported:
    run = next((biggan.arguments_of(part.value) for part in parts if biggan.is_arguments(part.value)), {})
    return biggan.collect(parts, run, options, is_generator, Reader(run, options))


class Reader(biggan.Reader):
    family = "BigGAN-deep (BigGAN-PyTorch's layout)"

    def generator(self, tensors: Mapping[str, Array], what: str) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
        sheet = Sheet(tensors, what, style="u0", eps=self.sn_eps)
        blocks = count(tensors, "blocks.")
        if blocks % DEPTH:
            raise Refused(f"{what} has {blocks} blocks, which is not {DEPTH} for each doubling (G_depth)")
        size = SEED << blocks // DEPTH
        maps = [sheet.side(f"blocks.{i}.0.conv4.weight", 0) for i in range(blocks)]
        first = sheet.side("blocks.0.0.conv1.weight", 1)
        width = biggan.base_width(GENERATOR_WIDTHS, size, [first, *maps], what)
        classes, embedding = sheet.side("shared.weight", 0), sheet.side("shared.weight", 1)
        latent = sheet.side("linear.weight", 1) - embedding
        if latent < 1:
            raise Refused(f"{what}: its first layer has fewer inputs than the class embedding has numbers")
        columns = torch.cat([torch.arange(embedding, embedding + latent), torch.arange(embedding)])
        there = [sheet.has(f"blocks.{i}.1.gamma") for i in range(blocks)]
        sides = [SEED << (i + 1) // 2 for i in range(blocks)]
        description = {
            "kind": "biggan-deep",
            "size": size,
            "channels": sheet.side("output_layer.2.weight", 0),
            "classes": classes,
            "latent": latent,
            "width": width,
            "options": {
                "class_embedding": embedding,
                "attention": biggan.attention_sides(what, there, sides),
                "sn_generator": sheet.has("linear.u0"),
                "bn_eps": self.bn_eps,
                "sn_eps": self.sn_eps,
            },
            "prior": "normal",
        }
        sheet.layer("linear", "linear", columns=columns)
        sheet.layer("embedding", "shared")
        for i in range(blocks):
            for k in range(4):
                key, name = f"blocks.{i}.0", f"blocks.{i}.norms.{k}"
                sheet.layer(f"blocks.{i}.convs.{k}", f"{key}.conv{k + 1}")
                biggan.stored(sheet, name, f"{key}.bn{k + 1}")
                sheet.layer(f"{name}.gain", f"{key}.bn{k + 1}.gain", columns=columns)
                sheet.layer(f"{name}.shift", f"{key}.bn{k + 1}.bias", columns=columns)
            biggan.attention(sheet, f"attention.{i}", f"blocks.{i}.1")
        biggan.last_norm(sheet)
        return description, *sheet.finish(biggan.UNUSED)

    def critic(self, tensors: Mapping[str, Array]) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
        sheet = Sheet(tensors, "D", style="u0", eps=self.sn_eps)
        stages, depth = _depth(sheet)
        maps = [sheet.side("input_conv.weight", 0)]
        maps += [sheet.side(f"blocks.{i // depth}.{i % depth}.conv4.weight", 0) for i in range(stages * depth)]
        size = SEED << stages
        if size == 32:
            raise Refused(
                "D is its BigGAN-deep discriminator of 32 pixels, whose last stage does not halve the side as ours does"
            )
        width = biggan.base_width(CRITIC_WIDTHS, size, maps, "D")
        has = [sheet.has(f"blocks.{i}.{depth}.gamma") for i in range(stages)]
        there = [place % depth == depth - 1 and has[place // depth] for place in range(stages * depth)]
        sides = [size >> i // 2 + 1 for i in range(stages * depth)]
        description = {
            "kind": "biggan-deep",
            "size": size,
            "channels": sheet.side("input_conv.weight", 1),
            "classes": sheet.side("embed.weight", 0),
            "width": width,
            "options": {
                "attention": biggan.attention_sides("D", there, sides, last=True),
                "sn_critic": True,
                "sn_eps": self.sn_eps,
            },
        }
        sheet.layer("stem", "input_conv")
        for i in range(stages * depth):
            key = f"blocks.{i // depth}.{i % depth}"
            for k in range(4):
                sheet.layer(f"blocks.{i}.convs.{k}", f"{key}.conv{k + 1}")
            if sheet.has(f"{key}.conv_sc.weight"):
                sheet.layer(f"blocks.{i}.more", f"{key}.conv_sc")
            if there[i]:
                biggan.attention(sheet, f"attention.{i}", f"blocks.{i // depth}.{depth}")
        sheet.layer("head.linear", "linear")
        sheet.layer("head.embedding", "embed")
        return description, *sheet.finish(biggan.UNUSED)


def _depth(sheet: Sheet) -> tuple[int, int]:
    """The number of stages of a network, and of blocks per stage."""
    stages = count(sheet.tensors, "blocks.")
    depth = 0
    while sheet.has(f"blocks.0.{depth}.conv1.weight"):
        depth += 1
    if depth != DEPTH:
        raise Refused(f"{sheet.what} has {depth} blocks a stage (D_depth); ours has {DEPTH}")
    return stages, depth
