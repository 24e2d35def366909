"""A game: one generator against one discriminator. Terms are built from games."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from steadygan.generators.prior import Prior
from steadygan.objective.adversarial import LOSSES, AdversarialLoss, find_loss
from steadygan.objective.batch import ScoredBatch, Transform, View
from steadygan.objective.terms import Term
from steadygan.objective.views import Beside, Gen, Latent, Pool, Real


@dataclass(frozen=True)
class Game:
    """The inputs of a term builder: a generator, a discriminator, their inputs, and the adversarial loss.

    Attributes:
        real: the training images.
        fake: the generator's images; `fake.source` is the latent, or the input image of a translation.
        loss: the adversarial loss.
        d_weight: weight of D's adversarial term.
        g_weight: weight of G's adversarial term.
        augment: the augmentation T of consistency terms; None if it does nothing.
        pre_d: the augmentation of all inputs of D (DiffAugment); None if there is none.
        nets: the run's networks, for checks; None: no checks.
        prior: the run's distribution of latents and labels; None: no labels.
        critic: name of the network that scores.
        suffix: suffix of the terms' names, if there are several games.
        deception: view that replaces D's reals (`adaptive.Deceived`); None: the reals.
    """

    real: Real
    fake: Gen
    loss: AdversarialLoss = LOSSES["hinge"]
    d_weight: float = 1.0
    g_weight: float = 1.0
    augment: Transform | None = None
    pre_d: Transform | None = None
    nets: Mapping[str, nn.Module] | None = None
    prior: Prior | None = None
    critic: str = "D"
    suffix: str = ""
    deception: View | None = None

    @classmethod
    def of(
        cls,
        augment: Transform | None = None,
        *,
        loss: str | AdversarialLoss = "hinge",
        pre_d: Transform | None = None,
        nets: Mapping[str, nn.Module] | None = None,
        prior: Prior | None = None,
    ) -> Game:
        """The game of reals against network `G`'s images of a latent.

        Args:
            augment: the augmentation T of consistency terms; None: none.
            loss: the adversarial loss, by name or itself.
            pre_d: the augmentation of all inputs of D; None: none.
            nets: the run's networks, for checks; None: no checks.
            prior: the run's distribution of latents and labels; None: no labels.
        """
        loss = find_loss(loss) if isinstance(loss, str) else loss
        return cls(Real(), Gen("G", Latent()), loss, augment=augment, pre_d=pre_d, nets=nets, prior=prior)

    @property
    def critic_sees_real(self) -> View:
        """The reals as D's input, in both phases."""
        return self.real if self.deception is None else self.deception

    @property
    def critic_sees_fake(self) -> View:
        """The fakes as D's input in D's phase."""
        return self.generator_is_judged_on

    @property
    def generator_is_judged_on(self) -> View:
        """The fakes as D's input in G's phase."""
        return self.fake

    @property
    def conditional(self) -> bool:
        """Whether images have labels."""
        return self.prior is not None and self.prior.label_pool is not None


@dataclass(frozen=True)
class TranslationGame(Game):
    """One direction of a translation: images of one domain, `fake.source`, become images of the other, `real`.

    Attributes:
        inverse: the generator of the opposite direction, if there is one.
        history: size of the buffer of earlier fakes for D's phase; 0: only this batch's.
        critic_sees_input: whether D's input is the image concatenated with its source (pix2pix).
        aligned: whether the two domains' images in a batch form pairs.
    """

    inverse: str | None = None
    history: int = 50
    critic_sees_input: bool = False
    aligned: bool = True

    @property
    def critic_sees_real(self) -> View:
        return Beside(self.fake.source, self.real) if self.critic_sees_input else self.real

    @property
    def generator_is_judged_on(self) -> View:
        return Beside(self.fake.source, self.fake) if self.critic_sees_input else self.fake

    @property
    def critic_sees_fake(self) -> View:
        judged = self.generator_is_judged_on
        return Pool(judged, self.history) if self.history else judged

    @staticmethod
    def weights(loss: AdversarialLoss) -> tuple[float, float]:
        """(d_weight, g_weight) of the public code of CycleGAN, pix2pix and CSGAN, which halves D's loss and not G's."""
        share = 1.0 if loss.halved else 0.5
        return share, 2 * share


def adversarial(game: Game) -> tuple[Term, ...]:
    """The adversarial pair: a term for D over reals and fakes, and one for G over fakes, and reals if the loss needs
    them."""
    loss = game.loss
    x, g, judged = game.critic_sees_real, game.critic_sees_fake, game.generator_is_judged_on

    def critic_loss(b: ScoredBatch) -> Tensor:
        return loss.critic(b.D(x).logit, b.D(g).logit)

    def generator_loss(b: ScoredBatch) -> Tensor:
        return loss.generator(b.D(judged).logit, b.D(x).logit if loss.needs_reals else None)

    seen = (judged, x) if loss.needs_reals else (judged,)
    return (
        Term("adversarial", "D", critic_loss, score=(x, g), weight=game.d_weight),
        Term("adversarial", "G", generator_loss, score=seen, weight=game.g_weight),
    )
