"""U-Net GAN: a critic that also judges every pixel (Schönfeld et al., CVPR 2020; code: boschresearch/unetgan)."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from steadygan.errors import UserError
from steadygan.objective.adversarial import loss_by_name, sides_of
from steadygan.objective.bundle import Bundle
from steadygan.objective.terms import Parts, Term, rewrites
from steadygan.objective.views import CutMix, Gen, Mask, Relabel, View
from steadygan.schedules import Weight


def _weigh_the_game(parts: Parts, *, encoder: float, decoder: float) -> Parts:
    return replace(parts, game=encoder)


@rewrites(_weigh_the_game)
def unet(parts: Parts, *, encoder: float = 0.5, decoder: float = 0.5) -> tuple[Term, ...]:
    """½·(the game on whole images) + ½·(the same game on each pixel, averaged over pixels), for both players.

    `encoder` becomes the weight of the adversarial pair, `decoder` is that of the pixels' (the paper adds the two; the
    halves are those of the authors' code, whose loss is non-saturating). Raises UserError for a critic without pixels.
    """
    _refuse_without_pixels(parts, "unet")
    game = loss_by_name(parts.loss)
    x, g = parts.judged_real, parts.fake

    def critic_loss(b: Bundle) -> Tensor:
        return game.critic(_pixels(b, x), _pixels(b, g))

    def generator_loss(b: Bundle) -> Tensor:
        return game.generator(_pixels(b, g), _pixels(b, x) if game.needs_reals else None)

    return (
        Term("unet", "D", critic_loss, score=(x, g), weight=decoder),
        Term("unet", "G", generator_loss, score=(g, x) if game.needs_reals else (g,), weight=decoder),
    )


def cutmix(parts: Parts, *, weight: Weight = 1.0, augment: Weight = 1.0, warmup: int = 0) -> tuple[Term, ...]:
    """CutMix images of reals and fakes for a critic with pixels; the mask M is 1 on the real.

    Three terms for D. Encoder (`augment`): the mix is a fake as a whole. Decoder (`augment`): each of its pixels is
    what M says. Consistency (`weight`): ‖dec(mix) - [M·dec(x) + (1 - M)·dec(g)]‖² on logits, averaged over pixels,
    nothing detached. All weights are 1 in the authors' code. The fakes in the mix have the labels of their reals, as
    there.

    `warmup` > 0: during so many training steps the three grow as r/(1 - r), r = ½·min(1, step/warmup). That is how
    strong they are on average, beside the ordinary losses, in the authors' full-batch mode, in which a step is
    with probability r a CutMix step and otherwise an ordinary one.
    """
    _refuse_without_pixels(parts, "cutmix")
    real, fake = sides_of(parts.loss, "cutmix")
    x, g = parts.judged_real, parts.fake
    if parts.conditional:
        g = Gen(g.net, Relabel(g.source, x))
    mask = Mask(x)
    mix = CutMix(x, g, mask)

    def encoder_loss(b: Bundle) -> Tensor:
        return fake(b.D(mix).logit).mean()

    def decoder_loss(b: Bundle) -> Tensor:
        pixels, m = _pixels(b, mix), b[mask]
        return (m * real(pixels) + (1 - m) * fake(pixels)).mean()

    def consistency(b: Bundle) -> Tensor:
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


def _pixels(b: Bundle, view: View) -> Tensor:
    pixels = b.D(view).pixels
    assert pixels is not None
    return pixels


@torch.no_grad()
def _refuse_without_pixels(parts: Parts, term: str) -> None:
    """Asks the critic about one grey image, in evaluation mode, which changes nothing in it."""
    if parts.nets is None:
        return
    critic = parts.nets["D"]
    shape = [getattr(critic, name) for name in ("channels", "size", "size")]
    x = next(critic.parameters()).new_zeros(1, *shape)
    y = torch.zeros(1, dtype=torch.int64, device=x.device) if parts.conditional else None
    training = critic.training
    score = critic.eval()(x, y)
    critic.train(training)
    if score.pixels is None:
        raise UserError(
            f"objective.terms.{term} needs a critic that judges pixels, and this one judges whole images only; "
            "set model.kind=unet"
        )
