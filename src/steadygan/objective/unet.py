"""U-Net GAN: D also scores every pixel (Schönfeld et al., CVPR 2020; code: boschresearch/unetgan)."""

from __future__ import annotations

from dataclasses import replace

import torch.nn.functional as F
from torch import Tensor

from steadygan.objective.batch import ScoredBatch, View
from steadygan.objective.declarations import needs, rewrites
from steadygan.objective.game import Game
from steadygan.objective.terms import Term
from steadygan.objective.views import CutMix, Gen, Mask, Relabel
from steadygan.schedules import Weight


def _weigh(game: Game, *, encoder: float, decoder: float) -> Game:
    return replace(game, d_weight=encoder, g_weight=encoder)


@needs("image_logit", "pixels")
@rewrites(_weigh)
def unet(game: Game, *, encoder: float = 0.5, decoder: float = 0.5) -> tuple[Term, ...]:
    """½·(the game on whole images) + ½·(the same game on each pixel, averaged over pixels), for both players.

    `encoder` replaces the weight of the adversarial pair, `decoder` is that of the pixels (the paper adds the two; the
    halves are from the authors' code, whose loss is non-saturating).

    Args:
        encoder: weight of the loss on whole images, in place of 1.
        decoder: weight of the loss on pixels.
    """
    loss = game.loss
    x, g = game.critic_sees_real, game.fake

    def critic_loss(b: ScoredBatch) -> Tensor:
        return loss.critic(_pixels(b, x), _pixels(b, g))

    def generator_loss(b: ScoredBatch) -> Tensor:
        return loss.generator(_pixels(b, g), _pixels(b, x) if loss.needs_reals else None)

    return (
        Term("unet", "D", critic_loss, score=(x, g), weight=decoder),
        Term("unet", "G", generator_loss, score=(g, x) if loss.needs_reals else (g,), weight=decoder),
    )


@needs("image_logit", "pixels", "separate_sides")
def cutmix(game: Game, *, weight: Weight = 1.0, augment: Weight = 1.0, warmup: int = 0) -> tuple[Term, ...]:
    """CutMix images of reals and fakes for a discriminator with pixels; the mask M is 1 on the real.

    Three terms for D. Encoder (`augment`): the mix as a whole is a fake. Decoder (`augment`): each pixel is real or
    fake according to M. Consistency (`weight`): ‖dec(mix) - [M·dec(x) + (1 - M)·dec(g)]‖² on logits, averaged over
    pixels, nothing detached. In the authors' code all weights are 1 and mixed fakes have the labels of their reals, as
    here.

    `warmup` > 0: during these training steps the weights grow as r/(1 - r), r = ½·min(1, step/warmup). This is their
    average strength relative to the ordinary losses in the authors' full-batch mode, where a step is a CutMix step with
    probability r and otherwise an ordinary one.

    Args:
        weight: weight of the consistency term.
        augment: weight of the encoder's and the decoder's adversarial terms on mixed images.
        warmup: training steps over which the three terms grow to full strength; 0: full from the start.
    """
    assert game.loss.sides is not None
    real, fake = game.loss.sides
    x, g = game.critic_sees_real, game.fake
    if game.conditional:
        g = Gen(g.net, Relabel(g.source, x))
    mask = Mask(x)
    mix = CutMix(x, g, mask)

    def encoder_loss(b: ScoredBatch) -> Tensor:
        return fake(b.D(mix).logit).mean()

    def decoder_loss(b: ScoredBatch) -> Tensor:
        pixels, m = _pixels(b, mix), b[mask]
        return (m * real(pixels) + (1 - m) * fake(pixels)).mean()

    def consistency(b: ScoredBatch) -> Tensor:
        return F.mse_loss(_pixels(b, mix), b[mask] * _pixels(b, x) + (1 - b[mask]) * _pixels(b, g))

    def warming(step: int) -> float:
        r = 0.5 * min(1.0, step / warmup)
        return r / (1 - r)

    schedule = warming if warmup > 0 else None
    return (
        Term("cutmix_encoder", "D", encoder_loss, score=(mix,), weight=augment, schedule=schedule),
        Term("cutmix_decoder", "D", decoder_loss, score=(mix,), views=(mask,), weight=augment, schedule=schedule),
        Term("cutmix", "D", consistency, score=(mix, x, g), views=(mask,), weight=weight, schedule=schedule),
    )


def _pixels(b: ScoredBatch, view: View) -> Tensor:
    pixels = b.D(view).pixels
    assert pixels is not None
    return pixels
