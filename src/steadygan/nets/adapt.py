"""The parameters that stay frozen in fine-tuning: FreezeD and scale/shift, for every family."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from steadygan.errors import UserError
from steadygan.nets.protocols import Scaled, Staged


def lower_blocks(kind: str, critic: nn.Module, count: int) -> frozenset[str]:
    """Names of the parameters of a discriminator's first `count` blocks, those nearest to the image.

    Mo et al., Freeze the Discriminator, 2020 (FreezeD). Layers after the blocks (StyleGAN2's 4×4 convolution and dense
    layers, U-Net GAN's decoder, the projection) are never frozen. Raises UserError for more blocks than the network
    has, and for a discriminator that is not `Staged`.
    """
    if not count:
        return frozenset()
    if not isinstance(critic, Staged):
        raise UserError(
            f"train.freeze_critic: the discriminator of model.kind={kind} has no blocks to freeze; set it to 0"
        )
    stages = critic.stages()
    if count > len(stages):
        raise UserError(f"train.freeze_critic: the discriminator has {len(stages)} blocks at this size, not {count}")
    resting = [parameter for stage in stages[:count] for module in stage for parameter in module.parameters()]
    return _names(critic, resting)


def all_but_scale_and_shift(generator: nn.Module) -> frozenset[str]:
    """Names of all generator parameters except gains and biases of its normalisations.

    Noguchi and Harada, Image Generation from Small Datasets via Batch Statistics Adaptation, ICCV 2019. Gains and
    biases are a batch norm's γ and β: two vectors, per-class tables, or the layers that project a condition to them.
    StyleGAN2 has no batch norms; its counterparts are the affine layers that map w to styles, as FreezeD's code for
    this baseline trains StyleGAN's AdaIN layers. Layers declare them with `Scaled`.

    Raises:
        UserError: the generator has no normalisations.
    """
    layers = [module for module in generator.modules() if isinstance(module, Scaled)]
    learning = [parameter for layer in layers for parameter in layer.scale_and_shift()]
    if not learning:
        raise UserError("train.adapt=scale-shift: this generator has no normalisations; set train.adapt=all")
    return frozenset(name for name, _ in generator.named_parameters()) - _names(generator, learning)


def _names(net: nn.Module, parameters: Iterable[nn.Parameter]) -> frozenset[str]:
    chosen = set(map(id, parameters))
    return frozenset(name for name, parameter in net.named_parameters() if id(parameter) in chosen)
