"""Runs that generate images from latents: data, networks, monitoring and scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from steadygan.config import Config
from steadygan.data.balance import fakes_follow_data
from steadygan.data.images import ImageSet, load_images
from steadygan.data.loader import Loader
from steadygan.data.source import open_source
from steadygan.data.split import split
from steadygan.generators.description import build_generator
from steadygan.generators.sampling import choose_labels, sample, standing_statistics
from steadygan.metrics.evaluation import headline, score
from steadygan.nets.adapt import all_but_scale_and_shift, lower_blocks
from steadygan.objective.game import Game
from steadygan.parallel.replicas import Replicas
from steadygan.parallel.share import Share, unshared
from steadygan.pictures.pixels import to_float
from steadygan.pretrained.registry import extractor_type
from steadygan.tasks.critic import build_critic
from steadygan.tasks.images import Images, Notify, Scorer, cache_folder, refuse_batch, refuse_unlabelled
from steadygan.tasks.protocols import protocol_for, real_images
from steadygan.training.answers import answers, balanced_draw
from steadygan.training.instruments import look_at_fakes, spread
from steadygan.training.state import TrainState

ROWS, MOST_COLUMNS = 8, 10
"""Rows of a grid."""
BATCHES_AT_FIRST = 2
"""Batches for the batch-norm statistics of the first sheet; later ones are from 16."""
PROBE_IMAGES = 256
"""Number of training and held-out images for D's accuracy."""


class SynthesisMonitor:
    """The monitor of a generator from latents.

    Args:
        train: the training images.
        heldout: the held-out images, if any.
        generator: its description for checkpoints.
        seed: seed of the preview's latents.
    """

    scores_itself = True

    def __init__(self, train: ImageSet, heldout: ImageSet | None, generator: Mapping[str, Any], seed: int) -> None:
        self.train, self.heldout, self.generator, self.seed = train, heldout, generator, seed
        self._refreshed: list[int] | None = None

    def refresh_average(self, state: TrainState) -> None:
        """Recomputes the averaged generator's batch-norm statistics, unless nothing was written since the last time.

        Before the first step from few images, as those of an untrained generator are worth no time.
        """
        if state.step == 0:
            standing_statistics(state.ema.net, state.objective.prior, batches=BATCHES_AT_FIRST)
        elif self._refreshed != versions_of(state.ema.net):
            standing_statistics(state.ema.net, state.objective.prior)
            self._refreshed = versions_of(state.ema.net)

    def preview(self, state: TrainState) -> tuple[Tensor, int]:
        """Eight rows; with classes, each column is one class, up to ten."""
        num, shown = self.call()["num"], self.call()["classes"]
        labels = choose_labels(num, shown, self.generator["classes"])
        return sample(state.ema.net, state.objective.prior, num, labels=labels, seed=self.seed), num // ROWS

    def call(self) -> dict[str, Any]:
        """The number of images, their classes in turn, and the seed."""
        classes = self.generator["classes"]
        if not classes:
            return {"num": 8 * ROWS, "classes": None, "seed": self.seed}
        known = range(classes) if self.train.labels is None else self.train.labels.unique().tolist()
        shown = list(known)[:MOST_COLUMNS]
        return {"num": len(shown) * ROWS, "classes": shown, "seed": self.seed}

    def probe(self, state: TrainState, boundary: float | None) -> dict[str, float]:
        """`D_accuracy_train`, `D_accuracy_heldout` (Zhao et al., DiffAugment, NeurIPS 2020, Fig. 1), and of fakes.

        The fraction of training and held-out images that D classifies as real: a gap means that D memorises its data.
        The images are a fixed random sample, balanced over classes if conditional. For fakes see `look_at_fakes`; for
        whether D uses the image see `answers`.
        """
        drawn = {name: self._drawn(images, state) for name, images in self._sets() if images is not None}
        reals, labels = drawn["train"]
        logits = {name: self._logits(state, *images) for name, images in drawn.items()}
        accuracy = {}
        if boundary is not None:
            for name, logit in logits.items():
                accuracy[f"D_accuracy_{name}"] = float((logit > boundary).float().mean())
        fakes = look_at_fakes(
            state, seed=self.seed, boundary=boundary, reals_spread=spread(reals), labels=labels, real=logits["train"]
        )
        return accuracy | fakes | answers(state.nets["D"], reals, labels, logits["train"])

    def _sets(self) -> tuple[tuple[str, ImageSet | None], ...]:
        return ("train", self.train), (
            "heldout",
            self.heldout if self.heldout is not None and len(self.heldout) else None,
        )

    def _drawn(self, images: ImageSet, state: TrainState) -> tuple[Tensor, Tensor | None]:
        """The sampled images of a set as D's input, and their labels if D is conditional."""
        labels = images.labels if state.objective.prior.label_pool is not None else None
        index = balanced_draw(labels, len(images), PROBE_IMAGES, seed=0)
        return to_float(images.take(index)), None if labels is None else labels[index.to(labels.device)]

    @torch.no_grad()
    def _logits(self, state: TrainState, x: Tensor, y: Tensor | None) -> Tensor:
        with unshared(state.nets["D"]):
            return state.nets["D"](x, y).logit


def versions_of(net: nn.Module) -> list[int]:
    """How often each parameter and buffer has been written: equal lists mean equal contents."""
    return [tensor._version for tensor in (*net.parameters(), *net.buffers())]


class Synthesis:
    """A run of one generator and one discriminator, "G" and "D", described by `config`."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def load(self, device: torch.device, notify: Notify | None = None) -> Images:
        """Opens, splits and loads the data.

        Raises:
            UserError: labels are required but missing.
        """
        config, data = self.config, self.config.data
        source = open_source(data.path, size=data.size, channels=data.channels, root=data.root, bits=data.bits)
        refuse_unlabelled(config, labelled=source.labels is not None)
        train, heldout = split(len(source), data.heldout, data.fraction, data.seed, data.max_images, source.labels)
        refuse_batch(config, len(train))
        load = partial(
            load_images,
            source,
            device=device,
            cache=cache_folder(data),
            max_unreadable=data.max_unreadable,
            total=len(train) + len(heldout),
        )
        return Images(load(train, progress=notify), load(heldout) if len(heldout) else None)

    def describe(self, images: ImageSet) -> dict[str, Any]:
        """The description from which the generator can be rebuilt, as plain JSON values; saved in every checkpoint."""
        model = self.config.model
        classes = len(images.class_names) if model.conditional else 0
        trained = [] if images.labels is None else images.labels.unique().tolist()
        some_empty = {"trained_classes": trained} if 0 < len(trained) < classes else {}
        return {
            "kind": model.kind,
            "size": images.size,
            "channels": images.channels,
            "classes": classes,
            "latent": model.latent,
            "width": model.width,
            "options": dict(model.generator),
            "prior": model.prior,
            "class_names": list(images.class_names) if classes else [],
            **some_empty,
        }

    def networks(self, description: Mapping[str, Any]) -> dict[str, nn.Module]:
        """The networks by name, with fresh weights."""
        generator, _ = build_generator(description)
        return {"G": generator, "D": build_critic(self.config.model, description)}

    def games(self, game: Game) -> tuple[Game, ...]:
        """The games from which terms are built."""
        return (game,)

    def labels(self, images: ImageSet, classes: int, device: torch.device) -> Tensor | None:
        """The pool from which labels of fakes are sampled; None without classes."""
        if not classes:
            return None
        if fakes_follow_data(self.config.model.fake_labels, images.source.labels, classes):
            return images.labels
        # Otherwise G would generate a class that D never sees.
        return torch.arange(classes, device=device) if images.labels is None else images.labels.unique().to(device)

    def loader(self, images: ImageSet, share: Share) -> Loader:
        """The loader of this process's part of training batches."""
        train, flip = self.config.train, self.config.data.flip
        part: dict[str, Any] = {"rank": share.rank, "world_size": share.size, "parts": train.accumulate}
        return Loader(images, batch_size=train.batch, seed=train.seed, flip=flip, **part)

    def frozen(self, nets: Mapping[str, nn.Module]) -> frozenset[str]:
        """The parameters that stay frozen, as `network.parameter`."""
        train = self.config.train
        resting = {"D": lower_blocks(self.config.model.kind, nets["D"], train.freeze_critic)}
        if train.adapt == "scale-shift":
            resting["G"] = all_but_scale_and_shift(nets["G"])
        return frozenset(f"{net}.{name}" for net, names in resting.items() for name in names)

    def monitor(self, images: Images) -> SynthesisMonitor:
        """The monitor of the training loop: grids and instruments."""
        train, heldout = images.train, images.heldout
        assert isinstance(train, ImageSet)
        assert heldout is None or isinstance(heldout, ImageSet)
        return SynthesisMonitor(train, heldout, self.describe(train), self.config.train.seed)

    def scorer(self, images: Images, replicas: Replicas) -> Scorer | None:
        """The function that scores the averaged weights in training, or None.

        Raises:
            UserError: the weights of the protocol's extractor are missing; raised before training starts.
        """
        protocol = protocol_for(self.config, images)
        if protocol is None:
            return None
        extractor_type(protocol.extractor).find(None)
        reals = real_images(protocol, self.config, images)
        # Averaged weights have standing statistics when scored.
        num_fake = self.config.eval.num_fake or protocol.num_fake
        protocol = replace(protocol, batch_norm="standing", num_fake=num_fake)

        def score_average(state: TrainState) -> tuple[dict[str, Any], float]:
            """Does not change any training state. Rank 0 calls it; each process generates its part of the fakes."""
            record = score(
                replicas.fakes,
                reals,
                None,
                protocol,
                classes=len(images.train.class_names) if state.objective.prior.label_pool is not None else 0,
                fingerprint=images.train.fingerprint,
                trained=[] if images.train.labels is None else images.train.labels.unique().tolist(),
                device=state.device,
            )
            return record, headline(record)

        return score_average


def fakes(state: TrainState, num: int, labels: Tensor | None, seed: int, part: Tensor) -> Tensor:
    """Images `part` of `num` images of the averaged generator of a run in training.

    Args:
        state: the run.
        num: number of images determined by the seed.
        labels: (num,) classes; None: unconditional.
        seed: seed of the latents.
        part: indices of the images to generate.

    Returns:
        uint8 (P, C, H, W).
    """
    return sample(state.ema.net, state.objective.prior, num, labels=labels, seed=seed, part=part)
