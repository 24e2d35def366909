"""BigGAN-PyTorch (Brock et al.'s code), DiffAugment-biggan-cifar, U-Net GAN's code, and SAGAN and SNGAN made with it.

Files: `G.pth`, `G_ema.pth` and `D.pth` are state dicts; only `state_dict.pth` has the arguments of the run. Settings
are inferred from shapes if possible, else from these arguments or the code's defaults.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from steadygan.importing.layouts.common import Imported, Options, Sheet, count, is_state_dict, state_dict
from steadygan.importing.layouts.parts import Part
from steadygan.importing.values import Array, Refused, plain
from steadygan.nets.biggan import CRITIC_WIDTHS, GENERATOR_WIDTHS
from steadygan.nets.resnet import SEED
from steadygan.nets.unet import ENCODER_WIDTHS

FAMILY = "BigGAN (BigGAN-PyTorch's layout)"
ATTENTION = {"query": "theta", "key": "phi", "value": "g", "out": "o"}
UNUSED = {
    "*.sv0": "an estimate that is only logged",
    "*.accumulation_counter": "the number of batches in its statistics",
    "*.num_batches_tracked": "a count",
    "linear.*": "made but never used by U-Net GAN's discriminator",
}
SYNCHRONISED = (
    "gains multiply, as in its training; in evaluation its synchronised batch norm adds them, a bug in its code"
)
RELUS = ("relu", "inplace_relu")


def is_generator(value: Any) -> bool:
    return is_state_dict(value) and "output_layer.0.gain" in state_dict(value, "") and not is_deep(value)


def is_critic(value: Any) -> bool:
    names = state_dict(value, "") if is_state_dict(value) else {}
    plain_critic = (
        "blocks.0.0.conv1.weight" in names and "linear.weight" in names and "output_layer.0.gain" not in names
    )
    return plain_critic and not is_deep(value) and "blocks.0.0.conv1.u0" in names


def is_deep(value: Any) -> bool:
    names = state_dict(value, "") if is_state_dict(value) else {}
    return "blocks.0.0.conv4.weight" in names


def is_arguments(value: Any) -> bool:
    """`state_dict.pth`, which holds everything but a state dict."""
    return isinstance(value, dict) and isinstance(value.get("config"), dict)


def is_optimiser(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"state", "param_groups"}


def matches(parts: Sequence[Part]) -> bool:
    known = (is_generator, is_critic, is_arguments, is_optimiser)
    every = all(any(test(part.value) for test in known) for part in parts)
    return every and any(is_generator(part.value) or is_critic(part.value) for part in parts)


def convert(parts: Sequence[Part], options: Options) -> Imported:
    run = next((arguments_of(part.value) for part in parts if is_arguments(part.value)), {})
    return collect(parts, run, options, is_generator, Reader(run, options))


def arguments_of(value: Any) -> dict[str, Any]:
    return dict(plain(value["config"], "config"))


class Reader:
    """Converts a generator's and a discriminator's tensors.

    Args:
        run: the arguments of the run, if known.
        options: the user's settings.

    Raises:
        Refused: the run has a setting that our networks lack.
    """

    family = FAMILY

    def __init__(self, run: Mapping[str, Any], options: Options) -> None:
        self.run, self.assumed = run, options.assumed
        self.sn_eps = self.say("SN_eps", options, "sn_eps", 1e-8, "ε of spectral norm, for training")
        self.bn_eps = self.say("BN_eps", options, "bn_eps", 1e-5, "ε of the batch norms")
        if self.bn_eps != 1e-5:
            raise Refused(f"BN_eps is {self.bn_eps:g}, but its last batch norm always has 1e-05; ours has one for all")
        for name, allowed in (
            ("G_nl", RELUS),
            ("D_nl", RELUS),
            ("norm_style", ("bn",)),
            ("num_G_SV_itrs", (1,)),
            ("num_D_SV_itrs", (1,)),
        ):
            if name in run and run[name] not in allowed:
                raise Refused(f"{name} is {run[name]!r:.40}; ours is {' or '.join(map(str, allowed))}")
        if not run:
            options.assumed.append("ReLU everywhere, the default; give state_dict.pth as well to be sure")

    def say(self, name: str, options: Options, ours: str, default: float, what: str) -> float:
        """Takes a setting from the run's arguments, else from the user.

        Args:
            name: the argument's name.
            options: the user's settings.
            ours: our name of the setting.
            default: if neither has it.
            what: description for messages.
        """
        if isinstance(value := self.run.get(name), float) and 0 < value < 1:
            return value
        return options.number(ours, default, what=what)

    def generator(self, tensors: Mapping[str, Array], what: str) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
        sheet = Sheet(tensors, what, style="u0", eps=self.sn_eps)
        blocks = count(tensors, "blocks.")
        maps = [sheet.side(f"blocks.{i}.0.conv1.weight", 0) for i in range(blocks)]
        size = SEED << blocks
        width = base_width(GENERATOR_WIDTHS, size, [sheet.side("blocks.0.0.conv1.weight", 1), *maps], what)
        seed = sheet.side("linear.weight", 1)
        options: dict[str, Any] = {"bn_eps": self.bn_eps, "sn_eps": self.sn_eps}
        options["sn_generator"] = sheet.has("linear.u0")
        options["attention"] = attention_sides(
            what, [sheet.has(f"blocks.{i}.1.gamma") for i in range(blocks)], [SEED << i + 1 for i in range(blocks)]
        )
        condition = "blocks.0.0.bn1.gain"
        if sheet.has("shared.weight"):
            classes, embedding = sheet.side("shared.weight", 0), sheet.side("shared.weight", 1)
            chunk = sheet.side(f"{condition}.weight", 1) - embedding
            options |= {"shared": True, "skip_z": chunk > 0, "class_embedding": embedding}
            if chunk not in (0, seed):
                raise Refused(f"{what}: its batch norms get {chunk} numbers of the latent, its first layer {seed}")
            latent = seed * (blocks + 1 if chunk else 1)
        elif sheet.has(f"{condition}.0.weight"):
            classes, latent, options["skip_z"] = 0, seed, True
        else:
            classes, latent = sheet.side(f"{condition}.weight", 0), seed
            options |= {"shared": False, "skip_z": False}
        description = {
            "kind": "biggan",
            "size": size,
            "channels": sheet.side("output_layer.2.weight", 0),
            "classes": classes,
            "latent": latent,
            "width": width,
            "options": options,
            "prior": "normal",
        }
        if sheet.has("output_layer.0.bn.running_mean"):
            self.assumed.append(SYNCHRONISED)
        sheet.layer("linear", "linear")
        if sheet.has("shared.weight"):
            sheet.layer("embedding", "shared")
        for i in range(blocks):
            key = f"blocks.{i}.0"
            for k in (1, 2):
                sheet.layer(f"blocks.{i}.conv{k}", f"{key}.conv{k}")
                norm(sheet, f"blocks.{i}.norm{k}", f"{key}.bn{k}", shared=sheet.has("shared.weight"))
            sheet.layer(f"blocks.{i}.shortcut", f"{key}.conv_sc")
            attention(sheet, f"attention.{i}", f"blocks.{i}.1")
        last_norm(sheet)
        return description, *sheet.finish(UNUSED)

    def critic(self, tensors: Mapping[str, Array]) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
        if "linear_middle.weight" in tensors:
            return self.unet_critic(tensors)
        sheet = Sheet(tensors, "D", style="u0", eps=self.sn_eps)
        blocks = count(tensors, "blocks.")
        sizes = {len(multiples): size for size, (multiples, _) in CRITIC_WIDTHS.items()}
        if blocks not in sizes:
            raise Refused(f"D has {blocks} blocks, ours {', '.join(map(str, sorted(sizes)))}")
        size = sizes[blocks]
        maps = [sheet.side(f"blocks.{i}.0.conv2.weight", 0) for i in range(blocks)]
        table = {size: multiples for size, (multiples, _) in CRITIC_WIDTHS.items()}
        classes = sheet.side("embed.weight", 0) if sheet.has("embed.weight") else 0
        if sheet.side("blocks.0.0.conv1.weight", 0) != maps[0]:
            raise Refused(
                "D was made without D_wide: its first block squeezes images to their 3 channels, ours does not"
            )
        description = self.describe_critic(sheet, "biggan", size, base_width(table, size, maps, "D"), classes)
        downs = CRITIC_WIDTHS[size][1]
        description["options"]["attention"] = attention_sides(
            "D",
            [sheet.has(f"blocks.{i}.1.gamma") for i in range(blocks)],
            [size >> min(i + 1, downs) for i in range(blocks)],
        )
        for i in range(blocks):
            down_block(sheet, f"blocks.{i}", f"blocks.{i}.0")
            attention(sheet, f"attention.{i}", f"blocks.{i}.1")
        sheet.layer("head.linear", "linear")
        if classes:
            sheet.layer("head.embedding", "embed")
        return description, *sheet.finish(UNUSED)

    def unet_critic(self, tensors: Mapping[str, Array]) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
        sheet = Sheet(tensors, "D", style="u0", eps=self.sn_eps)
        blocks = (count(tensors, "blocks.") - 1) // 2
        size = {5: 128, 6: 256}.get(blocks)
        if size is None:
            raise Refused(f"D is a U-Net of {blocks} blocks down; those of U-Net GAN's code have 5 or 6")
        maps = [sheet.side(f"blocks.{i}.0.conv2.weight", 0) for i in range(blocks)]
        classes = sheet.side("embed_middle.weight", 0) if sheet.has("embed_middle.weight") else 0
        table = {size: ENCODER_WIDTHS.get(size, (1, 2, 4, 8, 16))}
        description = self.describe_critic(sheet, "unet", size, base_width(table, size, maps, "D"), classes)
        description["options"]["attention"] = attention_sides(
            "D",
            [sheet.has(f"blocks.{i}.1.gamma") for i in range(blocks)],
            [size >> i + 1 for i in range(blocks)],
        )
        for i in range(blocks):
            down_block(sheet, f"encoder.{i}", f"blocks.{i}.0")
            attention(sheet, f"attention.{i}", f"blocks.{i}.1")
            down_block(sheet, f"decoder.{i}", f"blocks.{blocks + i}.0")
        sheet.layer("out", f"blocks.{2 * blocks}")
        sheet.layer("head.linear", "linear_middle")
        if classes:
            sheet.layer("head.embedding", "embed_middle")
            sheet.layer("pixel_embedding", "embed")
        return description, *sheet.finish(UNUSED)

    def describe_critic(self, sheet: Sheet, kind: str, size: int, width: int, classes: int) -> dict[str, Any]:
        """The description of a discriminator.

        Args:
            sheet: its tensors.
            kind: our family.
            size: side of the images in pixels.
            width: our `model.width`.
            classes: number of classes; 0: unconditional.
        """
        return {
            "kind": kind,
            "size": size,
            "channels": sheet.side("blocks.0.0.conv1.weight", 1),
            "classes": classes,
            "width": width,
            "options": {"sn_critic": True, "sn_eps": self.sn_eps},
        }


def collect(parts: Sequence[Part], run: Mapping[str, Any], options: Options, is_g: Any, reader: Any) -> Imported:
    """Collects the content of all files: G, G_ema (by file name), D and the arguments, as far as given.

    Args:
        parts: the files.
        run: the arguments of the run, if known.
        options: the user's settings.
        is_g: whether a file's value is a generator.
        reader: converts G and D, see `Reader`.

    Returns:
        The networks, ready to be written.

    Raises:
        Refused: networks are missing, given twice, or do not fit together.
    """
    found: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {}
    for part in parts:
        if is_arguments(part.value) or is_optimiser(part.value):
            continue
        name = "D" if not is_g(part.value) else "G_ema" if "ema" in part.path.stem.lower() else "G"
        if name in found:
            raise Refused(f"two files of {name}; an averaged generator has 'ema' in its file's name")
        tensors = state_dict(part.value, name)
        found[name] = reader.critic(tensors) if name == "D" else reader.generator(tensors, name)
    generators = [found[name] for name in ("G_ema", "G") if name in found]
    if not generators:
        raise Refused("no generator among the files; give G.pth or G_ema.pth as well as D.pth")
    if any(generator[0] != generators[0][0] for generator in generators):
        raise Refused("G and G_ema are not of the same configuration")
    result = Imported(reader.family, generators[0][0], {}, arguments=dict(run))
    for name, (description, filled, left) in found.items():
        result.networks[name] = filled
        result.left_out += left
        if name == "D":
            result.critic = description
            if (description["size"], description["classes"]) != (result.generator["size"], result.generator["classes"]):
                raise Refused("G and D are not of the same size or number of classes")
            if description["kind"] == "unet":
                result.generator["kind"] = "unet"
    result.left_out += [f"{part.path.name}: an optimiser's state" for part in parts if is_optimiser(part.value)]
    return result


def base_width(table: Mapping[int, Sequence[int]], size: int, maps: Sequence[int], what: str) -> int:
    """Our `model.width` with these feature maps at this size. Raises Refused if there is none.

    Args:
        table: our multiples of the width, by side of the images in pixels.
        size: side of the images in pixels.
        maps: numbers of feature maps in the file.
        what: the network's name, for messages.
    """
    if size not in table:
        raise Refused(f"{what} makes images of {size} pixels; ours {', '.join(map(str, sorted(table)))}")
    width = maps[-1] // table[size][-1]
    if list(maps) != [multiple * width for multiple in table[size]]:
        raise Refused(f"{what} has {list(maps)} feature maps, which none of our networks has at {size} pixels")
    return width


def attention_sides(what: str, there: Sequence[bool], sides: Sequence[int], *, last: bool = False) -> list[int]:
    """The sides with attention.

    Args:
        what: the network's name, for messages.
        there: whether attention follows each block.
        sides: of the blocks' outputs in pixels.
        last: whether ours follows the last block of a side rather than the first.

    Raises:
        Refused: several attentions at one side, or one at another place than ours.
    """
    wanted = sorted({side for has, side in zip(there, sides, strict=True) if has})
    order = list(sides)
    places = {len(order) - 1 - order[::-1].index(side) if last else order.index(side) for side in wanted}
    if places != {place for place, has in enumerate(there) if has}:
        raise Refused(
            f"{what} has attention after blocks {[place + 1 for place, has in enumerate(there) if has]}; with maps of "
            f"sides {order}, ours has one for each side, which is another network"
        )
    return wanted


def attention(sheet: Sheet, name: str, key: str, names: Mapping[str, str] = ATTENTION, gamma: str = "gamma") -> None:
    """Moves self-attention, if present.

    Args:
        sheet: the network's tensors.
        name: prefix of our names.
        key: prefix of the file's names.
        names: the file's names of the layers, by ours.
        gamma: the file's name of γ.
    """
    if sheet.has(f"{key}.{gamma}"):
        for ours, theirs in names.items():
            sheet.layer(f"{name}.{ours}", f"{key}.{theirs}")
        sheet.put(f"{name}.gamma", sheet.take(f"{key}.{gamma}").reshape(()))


def stored(sheet: Sheet, name: str, key: str) -> None:
    """Running statistics of the code's batch norms: the plain one, `mybn`, or the synchronised one.

    Raises:
        Refused: there are no statistics.
    """
    for inner, mean, var in (
        ("", "stored_mean", "stored_var"),
        ("bn.", "stored_mean", "stored_var"),
        ("bn.", "running_mean", "running_var"),
    ):
        if sheet.has(f"{key}.{inner}{mean}"):
            sheet.statistics(name, f"{key}.{inner}{mean}", f"{key}.{inner}{var}")
            return
    raise Refused(f"{sheet.what}: {key} has no statistics, so it is no batch norm (norm_style)")


def norm(sheet: Sheet, name: str, key: str, *, shared: bool) -> None:
    """Moves a conditional batch norm.

    Args:
        sheet: the network's tensors.
        name: our prefix.
        key: the file's prefix.
        shared: whether its condition is a shared class embedding rather than a table.
    """
    stored(sheet, name, key)
    for ours, theirs in (("gain", "gain"), ("shift", "bias")):
        if sheet.has(f"{key}.{theirs}.0.weight"):
            for place in (0, 2):
                sheet.layer(f"{name}.{ours}.{place}", f"{key}.{theirs}.{place}")
        elif shared:
            sheet.layer(f"{name}.{ours}", f"{key}.{theirs}")
    if not shared and sheet.has(f"{key}.gain.weight"):
        sheet.put(f"{name}.gamma", 1 + sheet.take(f"{key}.gain.weight"))
        sheet.copy(f"{name}.beta", f"{key}.bias.weight")


def last_norm(sheet: Sheet) -> None:
    sheet.copy("norm.weight", "output_layer.0.gain")
    sheet.copy("norm.bias", "output_layer.0.bias")
    stored(sheet, "norm", "output_layer.0")
    sheet.layer("out", "output_layer.2")


def down_block(sheet: Sheet, name: str, key: str) -> None:
    for part in ("conv1", "conv2"):
        sheet.layer(f"{name}.{part}", f"{key}.{part}")
    if sheet.has(f"{key}.conv_sc.weight"):
        sheet.layer(f"{name}.shortcut", f"{key}.conv_sc")
