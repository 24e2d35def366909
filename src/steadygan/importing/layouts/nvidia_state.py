"""A state dict of NVIDIA's StyleGAN2 with its constructor's arguments, as `steadygan export --to stylegan2-ada` writes.

{"state_dict": the tensors of Generator, "init_kwargs": its arguments}
"""

from __future__ import annotations

from typing import Any

from steadygan.importing.layouts.common import Imported, Options, Sheet, is_state_dict, power_of_two, state_dict
from steadygan.importing.layouts.nvidia import finish, generator_of, widths
from steadygan.importing.values import Refused, plain

FAMILY = "StyleGAN2 (a state dict in NVIDIA's layout)"


def matches(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and is_state_dict(value.get("state_dict"))
        and isinstance(value.get("init_kwargs"), dict)
    )


def convert(value: dict[Any, Any], options: Options) -> Imported:
    arguments = plain(value["init_kwargs"])
    sheet = Sheet(state_dict(value["state_dict"], "G_ema"), "G_ema")
    mapping, synthesis = (_section(arguments, name) for name in ("mapping_kwargs", "synthesis_kwargs"))
    size = _whole(arguments, "img_resolution")
    if not power_of_two(size) or not 16 <= size <= 1024:
        raise Refused(f"images of {size} pixels; ours has sides of 16 to 1024, powers of two")
    sides = [2**power for power in range(2, size.bit_length())]
    width, fmap_max = widths({side: sheet.side(f"synthesis.b{side}.conv1.weight", 0) for side in sides}, "G_ema")
    clamp, beta = synthesis.get("conv_clamp"), mapping.get("w_avg_beta", 0.995)
    generator = {
        "kind": "stylegan2",
        "size": size,
        "channels": _whole(arguments, "img_channels"),
        "classes": _whole(arguments, "c_dim", 0),
        "latent": _whole(arguments, "z_dim"),
        "width": width,
        "options": {
            "fmap_max": fmap_max,
            "mapping_layers": _whole(mapping, "num_layers"),
            "w_dim": _whole(arguments, "w_dim"),
            "noise": sheet.has("synthesis.b4.conv1.noise_strength"),
            "w_avg_beta": beta,
            "conv_clamp": clamp,
            "raw_eps": True,
        },
        "prior": "normal",
    }
    for name, number in (("w_avg_beta", beta), ("conv_clamp", clamp)):
        if number is not None and type(number) not in (int, float):
            raise Refused(f"{name} is {number!r:.40}")
    generator_of(sheet, sides)
    tensors, left = finish(sheet)
    return Imported(FAMILY, generator, {"G_ema": tensors}, arguments=arguments, left_out=left)


def _section(arguments: Any, name: str) -> dict[str, Any]:
    found = arguments.get(name)
    if not isinstance(found, dict):
        raise Refused(f"init_kwargs has no {name}")
    return found


def _whole(arguments: dict[str, Any], name: str, least: int = 1) -> int:
    value = arguments.get(name)
    if type(value) is not int or not least <= value <= 1 << 16:
        raise Refused(f"{name} is {value!r:.40}")
    return value
