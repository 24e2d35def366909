"""Translations, images from images: data, networks, monitoring and scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from steadygan.config import Config
from steadygan.data.domains import open_domains
from steadygan.data.pair_images import PairSet, choose, load_domains
from steadygan.data.pair_loader import PairLoader
from steadygan.errors import UserError, require
from steadygan.generators.description import build_generator
from steadygan.generators.translation import translate
from steadygan.metrics.pairs import LPIPS, PairProtocol, pair_record, score_pairs
from steadygan.nets.translate import critic_name, generator_name
from steadygan.objective.game import Game, TranslationGame
from steadygan.objective.views import Gen, Real
from steadygan.parallel.replicas import Replicas
from steadygan.parallel.share import Share
from steadygan.pictures.pixels import to_float
from steadygan.tasks.critic import build_critic
from steadygan.tasks.images import Images, Notify, Scorer, cache_folder, refuse_batch
from steadygan.tasks.pair_sheet import by_name, sheet
from steadygan.training.state import TrainState

PREVIEWED = 6
"""Number of images per domain in a grid."""

PROBED = 32
"""Number of images per domain for D's accuracy."""


class TranslationMonitor:
    """The monitor of a translation's generators.

    Args:
        train: the training images of both domains.
        heldout: the held-out ones, if any.
        generator: the generators' description for checkpoints.
        directions: the trained directions, such as a2b.
        beside: whether discriminators also get the input.
    """

    scores_itself = False
    """False: a score of a few pairs cannot rank checkpoints. Scored at the end, and at multiples of `eval.every`."""

    def __init__(
        self,
        train: PairSet,
        heldout: PairSet | None,
        generator: Mapping[str, Any],
        directions: Sequence[str],
        beside: bool,
    ) -> None:
        self.train, self.heldout, self.generator = train, heldout, generator
        self.directions, self.beside = directions, beside

    def refresh_average(self, state: TrainState) -> None:
        """Does nothing: running batch-norm statistics are copied with the weights."""

    def preview(self, state: TrainState) -> tuple[Tensor, int]:
        """The grid of the first held-out images, else of the first training images."""
        assert isinstance(state.ema.net, nn.ModuleDict)
        return sheet(state.ema.net, self.heldout or self.train, self.directions, PREVIEWED)

    def call(self) -> dict[str, Any]:
        """Empty, as the grid shows images of the data."""
        return {}

    @torch.no_grad()
    def probe(self, state: TrainState, boundary: float | None) -> dict[str, float]:
        """The fraction of real images, or of their patches, that the discriminators classify as real."""
        accuracy: dict[str, float] = {}
        if boundary is None:
            return accuracy
        for name, images in (("train", self.train), ("heldout", self.heldout)):
            if images is not None and (images.aligned or not self.beside):
                domains = by_name(images, min(PROBED, len(images)))
                scores = []
                for direction in self.directions:
                    source, target = (to_float(domains[domain].to(state.device)) for domain in direction.split("2"))
                    seen = torch.cat([source, target], 1) if self.beside else target
                    scores += [state.nets[critic_name(direction)](part).logit for part in seen.split(16)]
                accuracy[f"D_accuracy_{name}"] = float((torch.cat(scores) > boundary).float().mean())
        return accuracy


class Translation:
    """A run of a generator and a discriminator for each direction between two domains, described by `config`.

    Raises:
        UserError: settings that do not fit such a run.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self._check()

    @property
    def aligned(self) -> bool:
        """Whether the two domains' images form pairs."""
        return self.config.data.domains == "paired"

    @property
    def sees_input(self) -> bool:
        """Whether discriminators score an image concatenated with its input (pix2pix)."""
        return bool(self.config.model.critic.get("images", 1) > 1)

    def _check(self) -> None:
        config, augment = self.config, self.config.augment
        if config.model.conditional:
            raise UserError("model.conditional: the images of a translation have no classes; set it to false")
        if config.train.freeze_critic or config.train.adapt != "all":
            raise UserError(
                "train.freeze_critic and train.adapt are not available for translations (data.domains); remove them"
            )
        if config.model.features is not None:
            raise UserError(
                "model.features is not available for translations (data.domains), whose D scores patches; remove it"
            )
        for name, section in (("ada", augment.ada), ("apa", augment.apa)):
            if section is not None:
                raise UserError(f"augment.{name} is not available for translations (data.domains); set it to null")
        if self.sees_input and not self.aligned:
            raise UserError("model.critic.images=2 scores an image together with its input; set data.domains=paired")

    def load(self, device: torch.device, notify: Notify | None = None) -> Images:
        """Opens and loads both domains; holds out the test split, or a part of the training images."""
        config, data, paired = self.config, self.config.data, self.aligned
        load_size = round(data.size * data.jitter)
        splits = open_domains(
            data.path,
            size=data.size,
            channels=data.channels,
            paired=paired,
            fit=data.fit,
            load_size=load_size,
            bits=data.bits,
        )
        share = 0.0 if "test" in splits else data.heldout
        train, heldout = choose(
            splits["train"], paired, heldout=share, fraction=data.fraction, seed=data.seed, max_images=data.max_images
        )
        refuse_batch(config, min(map(len, train.values())))
        rest, belong, part = splits["train"], paired, "heldout"
        if "test" in splits:
            rest, belong, part = splits["test"], splits["test"].aligned, "test"
            heldout = {"a": np.arange(len(rest.a)), "b": np.arange(len(rest.b))}
        load = partial(
            load_domains,
            size=data.size,
            device=device,
            cache=cache_folder(data),
            max_unreadable=data.max_unreadable,
            total={name: len(train[name]) + len(heldout[name]) for name in train},
        )
        together = load(splits["train"], train, paired=paired, progress=notify)
        if not all(map(len, heldout.values())):
            return Images(together, None)
        return Images(together, load(rest, heldout, paired=belong, part=part))

    def describe(self, images: PairSet) -> dict[str, Any]:
        """The description from which the generators can be rebuilt, as plain JSON values; saved in every checkpoint."""
        model = self.config.model
        return {
            "kind": model.kind,
            "size": images.size,
            "channels": images.channels,
            "classes": 0,
            "latent": 0,
            "width": model.width,
            "options": dict(model.generator),
            "prior": model.prior,
            "class_names": [],
            "directions": list(model.directions),
        }

    def networks(self, description: Mapping[str, Any]) -> dict[str, nn.Module]:
        """The networks by name, with fresh weights: the generators of all directions, then their discriminators."""
        model = self.config.model
        generators, _ = build_generator(description)
        assert isinstance(generators, nn.ModuleDict)
        critics = {critic_name(direction): build_critic(model, description) for direction in model.directions}
        return {**dict(generators.items()), **critics}

    def games(self, game: Game) -> tuple[Game, ...]:
        """The games from which terms are built, one per direction."""
        directions = self.config.model.directions
        d_weight, g_weight = TranslationGame.weights(game.loss)
        return tuple(
            TranslationGame(
                real=Real(direction[-1]),
                fake=Gen(generator_name(direction), Real(direction[0])),
                loss=game.loss,
                d_weight=d_weight,
                g_weight=g_weight,
                augment=game.augment,
                pre_d=game.pre_d,
                nets=game.nets,
                prior=game.prior,
                critic=critic_name(direction),
                suffix=f"_{direction}",
                inverse=generator_name(direction[::-1]) if direction[::-1] in directions else None,
                history=self.config.objective.history,
                critic_sees_input=self.sees_input,
                aligned=self.aligned,
            )
            for direction in directions
        )

    def labels(self, images: PairSet, classes: int, device: torch.device) -> Tensor | None:
        """None: images of a translation have no labels."""
        return None

    def loader(self, images: PairSet, share: Share) -> PairLoader:
        """The loader of batches of both domains.

        Raises:
            UserError: there are several processes; translations train in one.
        """
        if share.size > 1:
            raise UserError(
                f"a translation (data.domains) trains in one process; there are {share.size}; start it without torchrun"
            )
        train = self.config.train
        return PairLoader(images, batch_size=train.batch, seed=train.seed, flip=self.config.data.flip)

    def frozen(self, nets: Mapping[str, nn.Module]) -> frozenset[str]:
        """No parameters are frozen."""
        return frozenset()

    def monitor(self, images: Images) -> TranslationMonitor:
        """The monitor of the training loop: grids and instruments."""
        train, heldout = images.train, images.heldout
        assert isinstance(train, PairSet)
        assert heldout is None or isinstance(heldout, PairSet)
        return TranslationMonitor(train, heldout, self.describe(train), self.config.model.directions, self.sees_input)

    def scorer(self, images: Images, replicas: Replicas) -> Scorer | None:
        """The function that scores the averaged weights on aligned held-out pairs, or None without such pairs."""
        test = images.heldout
        if not isinstance(test, PairSet) or not test.aligned:
            return None
        require("torchmetrics", "pairs", "scoring a translation (SSIM, PSNR)")
        return lambda state: score_translation(state.ema.net, test, self.config)


def score_translation(
    nets: nn.Module, images: PairSet, config: Config, *, weights: str = "ema", lpips: LPIPS | None = None
) -> tuple[dict[str, Any], float]:
    """Scores every direction on aligned images: returns the record, and the mean MSE, which ranks checkpoints.

    Scores are named `SSIM_a2b` etc.

    Args:
        nets: the generators by name.
        images: aligned pairs.
        config: the run's configuration.
        weights: "ema" or "raw", for the record.
        lpips: the LPIPS network; None: LPIPS is not measured.
    """
    assert isinstance(nets, nn.ModuleDict)
    domains = by_name(images, len(images))
    scores: dict[str, float] = {}
    targets = []
    for direction in config.model.directions:
        source, target = (domains[domain] for domain in direction.split("2"))
        made = translate(nets[generator_name(direction)], source)
        scores |= {f"{name}_{direction}": value for name, value in score_pairs(made, target, lpips=lpips).items()}
        targets.append(target)
    protocol = PairProtocol(images.part, images.size, config.data.fit, weights)
    record = pair_record(scores, torch.cat(targets), protocol, fingerprint=images.fingerprint, lpips=lpips)
    errors = [value for name, value in scores.items() if name.startswith("MSE")]
    return record, sum(errors) / len(errors)
