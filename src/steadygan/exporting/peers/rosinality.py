"""rosinality/stylegan2-pytorch: `torch.load("generator.pt")["g_ema"]` for its generate.py, projector.py, closed_form.

The inverse of `importing.layouts.rosinality`.
"""

from __future__ import annotations

import warnings
from pathlib import Path

from torch import Tensor

from steadygan.errors import UserError
from steadygan.exporting.peers.style import State, Writer, count, filter_kernel
from steadygan.exporting.state_dict import save
from steadygan.exporting.subject import Subject

MAPS = (512, 512, 512, 512)
"""Feature maps of its generator at 4² to 32²; above, 512·multiplier/2, halved at each doubling, multiplier 1 or 2."""


def write(subject: Subject, out: Path) -> None:
    subject.need_kind("stylegan2", "rosinality")
    description, tensors = subject.description, subject.tensors()
    if description["classes"]:
        raise UserError("--to rosinality: its generator is unconditional; this one has classes")
    w_dim = len(tensors["w_avg"])
    if w_dim != description["latent"]:
        raise UserError(
            f"--to rosinality: its z and w have one dimension; here they have {description['latent']} and {w_dim}"
        )
    average = tensors.pop("w_avg")
    maps = _maps(tensors)
    if maps not in [_theirs(len(maps), multiplier) for multiplier in (1, 2)]:
        warnings.warn(
            f"rosinality's model.py has other feature maps than {maps}: change its table `channels` before you load "
            "this file with it",
            stacklevel=2,
        )
    save({"g_ema": state(tensors), "latent_avg": average}, out)


def _maps(tensors: dict[str, Tensor]) -> list[int]:
    return [len(tensors["first.conv.weight"])] + [
        len(tensors[f"layers.{i}.conv.weight"]) for i in range(count(tensors, "layers.{}.conv.weight"))
    ]


def _theirs(stages: int, multiplier: int) -> list[int]:
    beyond = [256 * multiplier >> step for step in range(max(0, stages - len(MAPS)))]
    return [*MAPS, *beyond][:stages]


def state(tensors: dict[str, Tensor]) -> State:
    """Their state dict from our generator's tensors, without w_avg."""
    writer = Writer(tensors)

    def modulated(key: str, bias: str, name: str, shape: tuple[int, ...]) -> None:
        writer.move(f"{key}.weight", f"{name}.weight", lambda value: value[None])
        writer.move(bias, f"{name}.bias", lambda value: value.reshape(shape))
        writer.dense(f"{key}.modulation", f"{name}.affine")

    def layer(key: str, name: str, noise: int, side: int) -> None:
        modulated(f"{key}.conv", f"{key}.activate.bias", f"{name}.conv", (-1,))
        weight = writer.out[f"{key}.activate.bias"]
        if writer.has(f"{name}.strength"):
            writer.move(f"{key}.noise.weight", f"{name}.strength", lambda value: value.reshape(1))
            writer.move(f"noises.noise_{noise}", f"{name}.noise")
        else:  # its layers always have noise; here with zero strength
            writer.out[f"{key}.noise.weight"] = weight.new_zeros(1)
            writer.out[f"noises.noise_{noise}"] = weight.new_zeros(1, 1, side, side)

    def rgb(key: str, name: str) -> None:
        modulated(f"{key}.conv", f"{key}.bias", name, (1, -1, 1, 1))

    for place in range(count(tensors, "mapping.layers.{}.weight")):
        writer.dense(f"style.{place + 1}", f"mapping.layers.{place}")
    writer.move("input.input", "constant")
    layer("conv1", "first", 0, 4)
    rgb("to_rgb1", "to_rgb.0")
    for place in range(count(tensors, "ups.{}.conv.weight")):
        side = 8 << place
        layer(f"convs.{2 * place}", f"ups.{place}", 2 * place + 1, side)
        writer.out[f"convs.{2 * place}.conv.blur.kernel"] = filter_kernel(4)
        layer(f"convs.{2 * place + 1}", f"layers.{place}", 2 * place + 2, side)
        writer.out[f"to_rgbs.{place}.upsample.kernel"] = filter_kernel(4)
        rgb(f"to_rgbs.{place}", f"to_rgb.{place + 1}")
    return writer.finish()
