"""Which parameters of a network rest while the others adapt to new data: FreezeD and scale/shift, for every family."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from torch import nn

from steadygan.errors import UserError
from steadygan.nets.batch_norm import BatchNorm2d
from steadygan.nets.modulated import ModulatedConv2d


class Blocks(NamedTuple):
    """A critic's blocks in the order an image meets them: the modules of one list, each with the attention behind it.

    name: of the list; stem: the module before it, which belongs to the first block.
    """

    name: str
    stem: str | None = None


CRITIC_BLOCKS: Mapping[str, Blocks] = MappingProxyType(
    {
        "dcgan": Blocks("convs"),
        "resnet": Blocks("blocks"),
        "sagan": Blocks("blocks"),
        "biggan": Blocks("blocks"),
        "biggan-deep": Blocks("blocks", "stem"),
        "unet": Blocks("encoder"),
        "stylegan2": Blocks("blocks", "from_rgb"),
        "fastgan": Blocks("blocks", "stem"),
        "r3gan": Blocks("blocks", "from_rgb"),
    }
)


def lower_blocks(kind: str, critic: nn.Module, count: int) -> frozenset[str]:
    """Names of the parameters of a critic's first `count` blocks, those nearest to the image.

    Mo et al., Freeze the Discriminator, 2020 (FreezeD). What follows the blocks (StyleGAN2's 4×4 convolution and dense
    layers, U-Net GAN's decoder, the projection) always learns. Raises UserError for more blocks than there are, and for
    a family without blocks.
    """
    if not count:
        return frozenset()
    if kind not in CRITIC_BLOCKS:
        raise UserError(f"train.freeze_critic: the critic of model.kind={kind} has no blocks to freeze; set it to 0")
    name, stem = CRITIC_BLOCKS[kind]
    total = len(list(critic.get_submodule(name).children()))
    if count > total:
        raise UserError(f"train.freeze_critic: the critic has {total} blocks at this size, not {count}")
    prefixes = [f"{part}.{i}." for i in range(count) for part in (name, "attention")]
    prefixes += [f"{stem}."] if stem else []
    return frozenset(key for key, _ in critic.named_parameters() if key.startswith(tuple(prefixes)))


def all_but_scale_and_shift(generator: nn.Module) -> frozenset[str]:
    """Names of a generator's parameters that are not gains and biases of its normalisations.

    Noguchi and Harada, Image Generation from Small Datasets via Batch Statistics Adaptation, ICCV 2019. Gains and
    biases are a batch norm's γ and β: its two vectors, its table with a row for each class, or what projects the
    condition to them. StyleGAN2 has no batch norms; in their place are the affine layers that make styles of w, as in
    FreezeD's code for this baseline, which trains StyleGAN's AdaIN layers.
    """
    learning = [
        name if isinstance(module, BatchNorm2d) else f"{name}.affine"
        for name, module in generator.named_modules()
        if isinstance(module, BatchNorm2d | ModulatedConv2d)
    ]
    if not learning:
        raise UserError("train.adapt=scale-shift: this generator has no normalisations; set train.adapt=all")
    prefixes = tuple(f"{name}." for name in learning)
    return frozenset(key for key, _ in generator.named_parameters() if not key.startswith(prefixes))
