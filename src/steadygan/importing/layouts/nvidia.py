"""NVIDIA's pickles: StyleGAN2-ADA (PyTorch), StyleGAN3's stylegan2 configuration, DiffAugment-stylegan2-pytorch.

Files hold whole modules. Their configuration is read from each module's pickled attributes, since argument defaults
differ between the repositories; the embedded source code is ignored.
"""

from __future__ import annotations

from typing import Any

import torch

from steadygan.importing.layouts.common import NVIDIA, Imported, Options, Sheet, module_tensors, power_of_two
from steadygan.importing.values import Made, Refused, plain
from steadygan.nets.modulated import Resample

FAMILY = "StyleGAN2 (NVIDIA's PyTorch pickle)"
LAYERS = "lrelu"
UNUSED = {"*resample_filter": "the filter [1, 3, 3, 1], which ours has built in"}


def matches(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("G_ema"), Made)


def convert(value: dict[Any, Any], options: Options) -> Imported:
    made = value["G_ema"]
    if made.name != "Generator":
        raise Refused(f"its G_ema is a {made.name}, not a StyleGAN2 generator")
    generator = describe_generator(made)
    result = Imported(FAMILY, generator, {}, licence=NVIDIA, arguments={"G": arguments(made)})
    for name in ("G", "G_ema"):
        if isinstance(network := value.get(name), Made):
            if describe_generator(network) != generator:
                raise Refused("G and G_ema are not of the same configuration")
            result.networks[name], left = generator_tensors(network, name)
            result.left_out += left
    if isinstance(critic := value.get("D"), Made):
        result.critic = describe_critic(critic)
        result.arguments["D"] = arguments(critic)
        result.networks["D"], left = critic_tensors(critic)
        result.left_out += left
    if value.get("augment_pipe") is not None:
        result.left_out.append("augment_pipe: the augmentation's state; ours is chosen with augment.…")
    if (data := value.get("training_set_kwargs")) is not None:
        result.arguments["training_set"] = plain(data)
    result.assumed.append("float32 throughout, where the original computes its largest layers in float16 on a GPU")
    return result


def arguments(module: Made) -> Any:
    """The arguments that the network was built with."""
    return plain({"args": module.state.get("_init_args", ()), **_dictionary(module.state.get("_init_kwargs", {}))})


def _dictionary(value: Any) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise Refused("its arguments are not a dictionary")
    return value


def child(module: Made, *path: str) -> Made:
    for name in path:
        inner = module.state.get("_modules")
        if not isinstance(inner, dict) or not isinstance(inner.get(name), Made):
            raise Refused(f"a {module.name} without {name}: StyleGAN3 proper, or another network that is not StyleGAN2")
        module = inner[name]
    return module


def has_child(module: Made, name: str) -> bool:
    inner = module.state.get("_modules")
    return isinstance(inner, dict) and isinstance(inner.get(name), Made)


def whole(module: Made, name: str, least: int = 1) -> int:
    value = module.state.get(name)
    if type(value) is not int or not least <= value <= 1 << 16:
        raise Refused(f"{name} of {module.name} is {_shown(value)}")
    return value


def expect(module: Made, **expected: Any) -> None:
    """Raises Refused, naming the attribute, if a module is configured differently from ours."""
    for name, wanted in expected.items():
        value = module.state.get(name)
        if type(value) not in (type(wanted), int, float) or value != wanted:
            raise Refused(f"{name} of {module.name} is {_shown(value)}, where ours is always {wanted!r}")


def _shown(value: Any) -> str:
    return f"{value!r:.40}" if value is None or isinstance(value, str | int | float) else f"a {type(value).__name__}"


def clamp(module: Made) -> float | None:
    value = module.state.get("conv_clamp")
    if value is not None and (type(value) not in (int, float) or not 0 < value < 1e9):
        raise Refused(f"conv_clamp of {module.name} is {_shown(value)}")
    return None if value is None else float(value)


def resolution(module: Made) -> list[int]:
    size = whole(module, "img_resolution")
    if not power_of_two(size) or not 16 <= size <= 1024:
        raise Refused(f"images of {size} pixels; ours has sides of 16 to 1024, powers of two")
    return [2**power for power in range(2, size.bit_length())]


def widths(maps: dict[int, int], what: str) -> tuple[int, int]:
    """(width, fmap_max) of ours with these feature maps by side: min(512·width / side, fmap_max).

    Raises:
        Refused: there are none.
    """
    most, last = max(maps.values()), max(maps)
    bases = {side * count for side, count in maps.items() if count < most}
    if len(bases) > 1 or any(base % 512 for base in bases) or maps[4] != most:
        raise Refused(f"{what} has {maps} feature maps by side, which are not a multiple of 512 divided by the side")
    base = bases.pop() if bases else -(-most * last // 512) * 512
    return base // 512, most


def describe_generator(module: Made) -> dict[str, Any]:
    sides = resolution(module)
    synthesis, mapping = child(module, "synthesis"), child(module, "mapping")
    if not has_child(synthesis, "b4"):
        raise Refused("a StyleGAN3 generator (cfg stylegan3-t or -r), which is another network than StyleGAN2")
    clamps, noises, maps = set(), set(), {}
    tensors = module_tensors(module, "G")
    for side in sides:
        block = child(synthesis, f"b{side}")
        expect(block, architecture="skip")
        for layer in ("conv1",) if side == 4 else ("conv0", "conv1"):
            part = child(block, layer)
            expect(part, activation=LAYERS, up=2 if layer == "conv0" else 1)
            clamps.add(clamp(part))
            noises.add(f"synthesis.b{side}.{layer}.noise_strength" in tensors)
        clamps.add(clamp(child(block, "torgb")))
        maps[side] = Sheet(tensors, "G").side(f"synthesis.b{side}.conv1.weight", 0)
    if len(clamps) > 1 or len(noises) > 1:
        raise Refused("its layers differ in conv_clamp or noise")
    layers = whole(mapping, "num_layers")
    for place in range(layers):
        dense(child(mapping, f"fc{place}"), lr_multiplier=0.01, activation=LAYERS)
    width, fmap_max = widths(maps, "G")
    beta = mapping.state.get("w_avg_beta")
    if type(beta) is not float or not 0 <= beta <= 1:
        raise Refused(f"w_avg_beta is {_shown(beta)}")
    return {
        "kind": "stylegan2",
        "size": sides[-1],
        "channels": whole(module, "img_channels"),
        "classes": whole(module, "c_dim", 0),
        "latent": whole(module, "z_dim"),
        "width": width,
        "options": {
            "fmap_max": fmap_max,
            "mapping_layers": layers,
            "w_dim": whole(module, "w_dim"),
            "noise": noises.pop(),
            "w_avg_beta": beta,
            "conv_clamp": clamps.pop(),
            "raw_eps": True,
        },
        "prior": "normal",
    }


def dense(module: Made, *, lr_multiplier: float, activation: str) -> None:
    """Raises Refused unless a dense layer is configured like ours."""
    expect(module, activation=activation)
    gain = module.state.get("bias_gain")
    if type(gain) not in (int, float) or gain != lr_multiplier:
        raise Refused(f"a dense layer's learning rate multiplier is {_shown(gain)}, where ours is {lr_multiplier}")


def describe_critic(module: Made) -> dict[str, Any]:
    if module.name != "Discriminator":
        raise Refused(f"its D is a {module.name}, not a StyleGAN2 discriminator")
    sides, classes = resolution(module)[::-1], whole(module, "c_dim", 0)
    tensors, last = module_tensors(module, "D"), child(module, "b4")
    sheet = Sheet(tensors, "D")
    kinds, clamps = {last.state.get("architecture")}, {clamp(child(last, "conv"))}
    expect(child(last, "conv"), activation=LAYERS)
    dense(child(last, "fc"), lr_multiplier=1, activation=LAYERS)
    dense(child(last, "out"), lr_multiplier=1, activation="linear")
    maps = {4: sheet.side("b4.conv.weight", 0)}
    for side in sides[:-1]:
        block = child(module, f"b{side}")
        kinds.add(block.state.get("architecture"))
        for layer, down in (("conv0", 1), ("conv1", 2)):
            expect(child(block, layer), activation=LAYERS, down=down, up=1)
            clamps.add(clamp(child(block, layer)))
        maps[side] = sheet.side(f"b{side}.conv0.weight", 0)
    clamps.add(clamp(child(module, f"b{sides[0]}", "fromrgb")))
    if kinds not in ({"resnet"}, {"orig"}) or len(clamps) > 1:
        raise Refused("a discriminator of architecture 'skip', or of blocks that differ; ours are 'resnet' and 'orig'")
    group, layers = 0, 8
    if has_child(last, "mbstd"):
        group = whole(child(last, "mbstd"), "group_size", 2)
        expect(child(last, "mbstd"), num_channels=1)
    if classes:
        mapping = child(module, "mapping")
        layers = whole(mapping, "num_layers")
        if whole(last, "cmap_dim") != maps[4]:
            raise Refused(f"cmap_dim {last.state['cmap_dim']} is not the discriminator's {maps[4]} last features")
        for place in range(layers):
            dense(child(mapping, f"fc{place}"), lr_multiplier=0.01, activation=LAYERS)
    width, fmap_max = widths(maps, "D")
    return {
        "kind": "stylegan2",
        "size": sides[0],
        "channels": whole(module, "img_channels"),
        "classes": classes,
        "width": width,
        "options": {
            "fmap_max": fmap_max,
            "residual": kinds == {"resnet"},
            "mbstd_group": group,
            "mapping_layers": layers,
            "conv_clamp": clamps.pop(),
        },
    }


def mapping_tensors(sheet: Sheet, name: str, key: str) -> None:
    if sheet.has(f"{key}.embed.weight"):
        sheet.put(f"{name}.embedding", sheet.take(f"{key}.embed.weight").t())
        sheet.copy(f"{name}.embedding_bias", f"{key}.embed.bias")
    place = 0
    while sheet.has(f"{key}.fc{place}.weight"):
        sheet.dense(f"{name}.layers.{place}", f"{key}.fc{place}")
        place += 1


def _modulated(sheet: Sheet, name: str, key: str) -> None:
    sheet.dense(name, key)
    sheet.dense(f"{name}.affine", f"{key}.affine")


def _layer(sheet: Sheet, name: str, key: str) -> None:
    _modulated(sheet, f"{name}.conv", key)
    if sheet.has(f"{key}.noise_strength"):
        sheet.copy(f"{name}.strength", f"{key}.noise_strength")
        sheet.put(f"{name}.noise", sheet.take(f"{key}.noise_const")[None, None])


def generator_tensors(module: Made, what: str) -> tuple[dict[str, torch.Tensor], list[str]]:
    sheet = Sheet(module_tensors(module, what), what)
    generator_of(sheet, resolution(module))
    return finish(sheet)


def generator_of(sheet: Sheet, sides: list[int]) -> None:
    """Moves a generator's tensors. sides: of its feature maps, from the smallest."""
    mapping_tensors(sheet, "mapping", "mapping")
    sheet.copy("w_avg", "mapping.w_avg")
    sheet.put("constant", sheet.take("synthesis.b4.const")[None])
    _layer(sheet, "first", "synthesis.b4.conv1")
    for place, side in enumerate(sides):
        block = f"synthesis.b{side}"
        _modulated(sheet, f"to_rgb.{place}", f"{block}.torgb")
        if place:
            _layer(sheet, f"ups.{place - 1}", f"{block}.conv0")
            _layer(sheet, f"layers.{place - 1}", f"{block}.conv1")


def critic_tensors(module: Made) -> tuple[dict[str, torch.Tensor], list[str]]:
    sheet = Sheet(module_tensors(module, "D"), "D")
    critic_of(sheet, resolution(module)[::-1], "b4.out")
    return finish(sheet)


def critic_of(sheet: Sheet, sides: list[int], out: str) -> None:
    """Moves a discriminator's tensors.

    Args:
        sides: of its feature maps, from the largest.
        out: the name of its last layer.
    """
    sheet.dense("from_rgb", f"b{sides[0]}.fromrgb")
    for place, side in enumerate(sides[:-1]):
        sheet.dense(f"blocks.{place}.conv1", f"b{side}.conv0")
        sheet.dense(f"blocks.{place}.conv2", f"b{side}.conv1")
        if sheet.has(f"b{side}.skip.weight"):
            sheet.copy(f"blocks.{place}.shortcut.weight", f"b{side}.skip.weight")
    sheet.dense("conv", "b4.conv")
    sheet.dense("dense", "b4.fc")
    sheet.dense("head.linear", out)
    mapping_tensors(sheet, "head.mapping", "mapping")


def finish(sheet: Sheet) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Drops the filters after checking that they equal our built-in one.

    Raises:
        Refused: a filter is another one, or a tensor was not used.
    """
    filters = {name for name in sheet.tensors if name.endswith("resample_filter")}
    usual = Resample().kernel[0, 0]
    for name in filters:
        if sheet.shape(name) != (4, 4) or not torch.allclose(sheet.take(name).float(), usual):
            raise Refused(f"{sheet.what}.{name} is not the filter [1, 3, 3, 1]")
    sheet.used -= filters
    tensors, left = sheet.finish(UNUSED)
    return tensors, [f"{sheet.what}: {len(left)} copies of {UNUSED['*resample_filter']}"] if left else []
