"""PyTorch-StudioGAN: `model=G-best-weights-step=N.pth`, and G_ema and D by the same pattern, in one folder.

Backbones resnet (SNGAN, SAGAN, …), big_resnet (BigGAN), deep_conv (DCGAN) and stylegan2. The files lack the run's yaml,
so settings are inferred from shapes; activations are ReLU in all of its configurations of these backbones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from steadygan.importing.layouts import nvidia, studiogan_dcgan
from steadygan.importing.layouts.biggan import attention, attention_sides, base_width
from steadygan.importing.layouts.common import NVIDIA, Imported, Options, Sheet, count, is_state_dict, state_dict
from steadygan.importing.layouts.parts import Part
from steadygan.importing.values import Array, Refused
from steadygan.nets.biggan import CRITIC_WIDTHS, GENERATOR_WIDTHS, NARROW_WIDTHS
from steadygan.nets.resnet import SEED

FAMILY = "PyTorch-StudioGAN"
BN_EPS, SN_EPS = 1e-4, 1e-6
NAMES = {"query": "conv1x1_theta", "key": "conv1x1_phi", "value": "conv1x1_g", "out": "conv1x1_attn"}
UNUSED = {"*.num_batches_tracked": "a count"}
Network = tuple[dict[str, Any], dict[str, Tensor], list[str]]


def tensors_of(part: Part) -> Mapping[str, Array]:
    value = part.value.get("state_dict") if isinstance(part.value, dict) else None
    return state_dict(value, part.path.name) if is_state_dict(value) else {}


def is_generator(names: Mapping[str, Array]) -> bool:
    return "synthesis.b4.const" in names or any(key.startswith("linear0.") for key in names)


def is_critic(names: Mapping[str, Array]) -> bool:
    return any(key.startswith("linear1.") for key in names)


def matches(parts: Sequence[Part]) -> bool:
    return all(is_generator(names) or is_critic(names) for names in map(tensors_of, parts))


def convert(parts: Sequence[Part], options: Options) -> Imported:
    found: dict[str, Network] = {}
    arguments: dict[str, Any] = {}
    left_out: list[str] = []
    for part in parts:
        names = tensors_of(part)
        name = "D" if not is_generator(names) else "G_ema" if "ema" in part.path.name.lower() else "G"
        if name in found:
            raise Refused(f"two files of {name}; an averaged generator has 'ema' in its file's name")
        sheet = Sheet(names, name)
        found[name] = critic(sheet, options) if name == "D" else generator(sheet, options)
        for key, value in part.value.items():
            if isinstance(value, str | int | float) or value is None:
                arguments[str(key)] = value
            elif key != "state_dict":
                left_out.append(f"{name}: {key!s:.40} of its training")
    generators = [found[name] for name in ("G_ema", "G") if name in found]
    if not generators:
        raise Refused("no generator among the files")
    if any(network[0] != generators[0][0] for network in generators):
        raise Refused("G and G_ema are not of the same configuration")
    result = Imported(FAMILY, generators[0][0], {}, arguments=arguments, left_out=left_out)
    if result.generator["kind"] == "stylegan2":
        result.licence = NVIDIA
    else:
        options.assumed.append("ReLU everywhere, as in all of its configurations of this backbone; the yaml says so")
    for name, (description, tensors, left) in found.items():
        result.networks[name] = tensors
        result.left_out += left
        if name == "D":
            result.critic = description
            if (description["size"], description["classes"]) != (result.generator["size"], result.generator["classes"]):
                raise Refused("G and D are not of the same size or number of classes")
    return result


def generator(sheet: Sheet, options: Options) -> Network:
    if sheet.has("synthesis.b4.const"):
        return style_generator(sheet, options)
    if _named(sheet, "blocks.0.0.deconv0."):
        return studiogan_dcgan.generator(sheet, options)
    return residual_generator(sheet, options)


def critic(sheet: Sheet, options: Options) -> Network:
    if sheet.has("b4.fc.weight"):
        return style_critic(sheet, options)
    if _named(sheet, "blocks.0.0.conv0."):
        return studiogan_dcgan.critic(sheet, options)
    return residual_critic(sheet, options)


def _named(sheet: Sheet, prefix: str) -> bool:
    return any(key.startswith(prefix) for key in sheet.tensors)


def weight(sheet: Sheet, key: str) -> str:
    """The name of a layer's weight, with or without spectral norm."""
    return f"{key}.weight_orig" if sheet.has(f"{key}.weight_orig") else f"{key}.weight"


def stages(sheet: Sheet) -> tuple[list[int], list[bool]]:
    """The indices of residual blocks in `blocks`, and whether attention, which has its own index, follows each."""
    total = count(sheet.tensors, "blocks.")
    attends = [_named(sheet, f"blocks.{place}.0.conv1x1_theta.") for place in range(total)]
    places = [place for place in range(total) if not attends[place]]
    return places, [place + 1 < total and attends[place + 1] for place in places]


def residual_generator(sheet: Sheet, options: Options) -> Network:
    places, there = stages(sheet)
    blocks = len(places)
    size = SEED << blocks
    maps = [sheet.side(weight(sheet, f"blocks.{place}.0.conv2d1"), 0) for place in places]
    maps = [sheet.side(weight(sheet, "blocks.0.0.conv2d1"), 1), *maps]
    width = base_width(NARROW_WIDTHS, size, maps, sheet.what)
    seed = sheet.side(weight(sheet, "linear0"), 1)
    narrow = {"narrow": True} if NARROW_WIDTHS[size] != GENERATOR_WIDTHS[size] else {}
    chosen: dict[str, Any] = {"sn_generator": sheet.has("linear0.weight_orig"), "bn_eps": BN_EPS, "sn_eps": SN_EPS}
    chosen |= {"attention": attention_sides(sheet.what, there, [SEED << i + 1 for i in range(blocks)]), **narrow}
    description = {
        "kind": "sagan",
        "size": size,
        "channels": sheet.side(weight(sheet, "conv2d5"), 0),
        "classes": 0,
        "latent": seed,
        "width": width,
        "options": chosen,
        "prior": "normal",
    }
    condition = weight(sheet, "blocks.0.0.bn1.gain")
    shared = sheet.has("shared.weight")
    if shared:
        description["kind"], description["classes"] = "biggan", sheet.side("shared.weight", 0)
        description["latent"] = seed * (blocks + 1)
        chosen |= {"class_embedding": sheet.side("shared.weight", 1)}
        if sheet.side(condition, 1) != sheet.side("shared.weight", 1) + seed:
            raise Refused("its batch norms get more than the class and a chunk of the latent (InfoGAN's codes?)")
        sheet.layer("embedding", "shared")
    elif sheet.has(condition):
        what = "backbone in its yaml, as batch norms may see classes or chunks of the latent, equally many of both"
        ambiguous = seed == sheet.side(condition, 1)
        if ambiguous and options.choice("backbone", ("resnet", "big_resnet"), None, what=what) == "big_resnet":
            raise Refused("an unconditional BigGAN, whose batch norms get chunks of the latent only; ours do not")
        description["classes"] = sheet.side(condition, 1)
        if sheet.has("blocks.0.0.bn1.gain.weight_orig"):
            options.assumed.append(
                "per-class gains and biases are divided by their singular value once, not at every training step"
            )
    sheet.layer("linear", "linear0")
    for i, place in enumerate(places):
        key = f"blocks.{place}.0"
        for ours, theirs in (("conv1", "conv2d1"), ("conv2", "conv2d2"), ("shortcut", "conv2d0")):
            sheet.layer(f"blocks.{i}.{ours}", f"{key}.{theirs}")
        for k in (1, 2):
            norm(sheet, f"blocks.{i}.norm{k}", f"{key}.bn{k}", shared=shared)
        attention(sheet, f"attention.{i}", f"blocks.{place + 1}.0", NAMES, "sigma")
    sheet.dense("norm", "bn4")
    sheet.statistics("norm", "bn4.running_mean", "bn4.running_var")
    sheet.layer("out", "conv2d5")
    return description, *sheet.finish(UNUSED)


def norm(sheet: Sheet, name: str, key: str, *, shared: bool) -> None:
    """Moves a batch norm: plain, or with gains and biases from linear layers of the condition or the one-hot label.

    Args:
        sheet: the network's tensors.
        name: our prefix.
        key: the file's prefix.
        shared: whether its condition is a shared class embedding rather than the one-hot label.
    """
    if sheet.has(f"{key}.running_mean"):
        sheet.dense(name, key)
        sheet.statistics(name, f"{key}.running_mean", f"{key}.running_var")
        return
    sheet.statistics(name, f"{key}.bn.running_mean", f"{key}.bn.running_var")
    if shared:
        sheet.layer(f"{name}.gain", f"{key}.gain")
        sheet.layer(f"{name}.shift", f"{key}.bias")
    else:
        sheet.put(f"{name}.gamma", 1 + table(sheet, f"{key}.gain"))
        sheet.put(f"{name}.beta", table(sheet, f"{key}.bias"))


def table(sheet: Sheet, key: str) -> Tensor:
    """The per-class rows of a linear layer of one-hot labels."""
    if not sheet.has(f"{key}.weight_orig"):
        return sheet.take(f"{key}.weight").t()
    matrix, u, v = (sheet.take(f"{key}.{part}") for part in ("weight_orig", "weight_u", "weight_v"))
    return (matrix / u.dot(matrix @ v)).t()


def residual_critic(sheet: Sheet, options: Options) -> Network:
    places, there = stages(sheet)
    if not sheet.has("linear1.weight_orig"):
        raise Refused("a discriminator without spectral norm, which has batch norms in this code; ours has none")
    sizes = {len(multiples): size for size, (multiples, _) in CRITIC_WIDTHS.items()}
    if len(places) not in sizes:
        raise Refused(f"D has {len(places)} blocks, ours {', '.join(map(str, sorted(sizes)))}")
    size = sizes[len(places)]
    multiples, downs = CRITIC_WIDTHS[size]
    maps = [sheet.side(f"blocks.{place}.0.conv2d2.weight_orig", 0) for place in places]
    sides = [size >> min(i + 1, downs) for i in range(len(places))]
    classes = sheet.side("embedding.weight_orig", 0) if sheet.has("embedding.weight_orig") else 0
    description = {
        "kind": "biggan",
        "size": size,
        "channels": sheet.side("blocks.0.0.conv2d1.weight_orig", 1),
        "classes": classes,
        "width": base_width({size: multiples}, size, maps, "D"),
        "options": {"attention": attention_sides("D", there, sides), "sn_critic": True, "sn_eps": SN_EPS},
    }
    for i, place in enumerate(places):
        key = f"blocks.{place}.0"
        for ours, theirs in (("conv1", "conv2d1"), ("conv2", "conv2d2"), ("shortcut", "conv2d0")):
            if ours != "shortcut" or sheet.has(f"{key}.conv2d0.weight_orig"):
                sheet.layer(f"blocks.{i}.{ours}", f"{key}.{theirs}")
        attention(sheet, f"attention.{i}", f"blocks.{place + 1}.0", NAMES, "sigma")
    sheet.layer("head.linear", "linear1")
    if classes:
        sheet.layer("head.embedding", "embedding")
    return description, *sheet.finish(UNUSED)


def conv_clamp(options: Options) -> float | None:
    what = "bound of activations: 256 for a run with mixed precision (-mpc), else 0"
    return options.number("conv_clamp", None, what=what) or None


def _sides(sheet: Sheet, pattern: str) -> list[int]:
    sides = [4]
    while sheet.has(pattern.format(2 * sides[-1])):
        sides.append(2 * sides[-1])
    if not 16 <= sides[-1] <= 1024:
        raise Refused(f"{sheet.what} is for images of {sides[-1]} pixels; ours has sides of 16 to 1024")
    return sides


def _mapping(sheet: Sheet) -> tuple[int, int, int]:
    """Number of classes, number of layers, and width of a mapping network."""
    layers = count(sheet.tensors, "mapping.fc")
    classes = sheet.side("mapping.embed.weight", 1) if sheet.has("mapping.embed.weight") else 0
    return classes, layers, sheet.side(f"mapping.fc{layers - 1}.weight", 0) if layers else 0


def style_generator(sheet: Sheet, options: Options) -> Network:
    sides = _sides(sheet, "synthesis.b{}.conv1.weight")
    maps = {side: sheet.side(f"synthesis.b{side}.conv1.weight", 0) for side in sides}
    width, fmap_max = nvidia.widths(maps, sheet.what)
    classes, layers, w_dim = _mapping(sheet)
    embedding = sheet.side("mapping.embed.weight", 0) if classes else 0
    description = {
        "kind": "stylegan2",
        "size": sides[-1],
        "channels": sheet.side("synthesis.b4.torgb.weight", 0),
        "classes": classes,
        "latent": sheet.side("mapping.fc0.weight", 1) - embedding,
        "width": width,
        "options": {
            "fmap_max": fmap_max,
            "mapping_layers": layers,
            "w_dim": w_dim,
            "noise": sheet.has("synthesis.b4.conv1.noise_strength"),
            "conv_clamp": conv_clamp(options),
            "raw_eps": True,
        },
        "prior": "normal",
    }
    nvidia.generator_of(sheet, sides)
    return description, *nvidia.finish(sheet)


def style_critic(sheet: Sheet, options: Options) -> Network:
    sides = _sides(sheet, "b{}.conv0.weight")[::-1]
    maps = {side: sheet.side(f"b{side}.conv0.weight", 0) for side in sides[:-1]} | {4: sheet.side("b4.conv.weight", 0)}
    width, fmap_max = nvidia.widths(maps, "D")
    classes, layers, _ = _mapping(sheet)
    spare = sheet.side("b4.conv.weight", 1) - maps[4]
    if spare not in (0, 1):
        raise Refused(f"D has {spare} maps of minibatch standard deviation; ours has one")
    what = "group size of the minibatch standard deviation (d_epilogue_mbstd_group_size in its yaml)"
    description = {
        "kind": "stylegan2",
        "size": sides[0],
        "channels": sheet.side(f"b{sides[0]}.fromrgb.weight", 1),
        "classes": classes,
        "width": width,
        "options": {
            "fmap_max": fmap_max,
            "residual": sheet.has(f"b{sides[0]}.skip.weight"),
            "mbstd_group": options.whole("mbstd_group", None, what=what, least=2) if spare else 0,
            **({"mapping_layers": layers} if classes else {}),
            "conv_clamp": conv_clamp(options),
        },
    }
    nvidia.critic_of(sheet, sides, "linear1")
    return description, *nvidia.finish(sheet)
