"""StudioGAN's own training step, driven from here: its networks, losses, worker methods and optimisers, unchanged.

Needs a checkout of POSTECH-CVLab/PyTorch-StudioGAN (nothing of it is copied here). Left out is all
that does not affect a step: logging services, evaluation, its data loader (batches are in memory, as for us). See
benchmarks/peer.md.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import itertools
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import torch
from packaging.version import parse

UNUSED = ("wandb", "h5py", "tensorflow", "seaborn", "kornia")
"""What StudioGAN imports and a step never calls: absent ones are replaced by empty modules."""


class _Empty(types.ModuleType):
    """A module whose every attribute exists and does nothing."""

    __path__ = ()  # makes it a package

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return MagicMock()


class _EmptyLoader(importlib.abc.Loader):
    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _Empty(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        return


class _EmptyFinder(importlib.abc.MetaPathFinder):
    """Comes last, and so finds only what is not installed."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> Any:
        if name.partition(".")[0] not in UNUSED:
            return None
        return importlib.machinery.ModuleSpec(name, _EmptyLoader(), is_package=True)


def studiogan_step(
    source: Path, config: str, *, batch: int, device: str, amp: bool = False
) -> tuple[Callable[[], None], Callable[[], None], int]:
    """StudioGAN's D updates of one iteration and its G update, to be called in turn, and its number of D updates.

    See `studiogan_worker`; the images are random.
    """
    job = studiogan_worker(source, config, batch=batch, device=device, amp=amp)
    updates, size = job.OPTIMIZATION.d_updates_per_step, job.DATA.img_size
    images = torch.rand(updates, batch, 3, size, size) * 2 - 1
    labels = torch.randint(job.DATA.num_classes, (updates, batch))
    job.sample_data_basket = lambda: (list(images), list(labels))
    d_steps, g_steps = itertools.count(), itertools.count()
    return (
        lambda: job.train_discriminator(next(d_steps)),
        lambda: job.train_generator(next(g_steps)),
        updates,
    )


def studiogan_worker(
    source: Path, config: str, *, batch: int, device: str, amp: bool = False, width: int | None = None
) -> Any:
    """StudioGAN's worker with its networks, losses and optimisers; without `sample_data_basket`, its source of images.

    Args:
        source: the checkout.
        config: a file below src/configs, e.g. CIFAR10/BigGAN-ICR.yaml.
        batch: images a D update.
        device: where it trains.
        amp: its `--mixed_precision`.
        width: in place of the configuration's, of both networks.
    """
    root = source / "src"
    sys.path.insert(0, str(root))
    sys.meta_path.append(_EmptyFinder())
    if importlib.util.find_spec("pkg_resources") is None:  # removed in setuptools 81; only this function is used
        module = types.ModuleType("pkg_resources")
        module.parse_version = parse  # type: ignore[attr-defined]
        sys.modules["pkg_resources"] = module
    configuration, models, worker = (importlib.import_module(name) for name in ("config", "models.model", "worker"))
    losses = importlib.import_module("utils.losses")
    misc = importlib.import_module("utils.misc")
    cfgs = configuration.Configurations(str(root / "configs" / config))
    if width is not None:
        cfgs.MODEL.g_conv_dim = cfgs.MODEL.d_conv_dim = width
    cfgs.OPTIMIZATION.batch_size, cfgs.OPTIMIZATION.world_size = batch, 1
    for key, value in {"mixed_precision": amp, "distributed_data_parallel": False, "synchronized_bn": False}.items():
        setattr(cfgs.RUN, key, value)
    for name in ("batch_statistics", "empty_cache"):
        setattr(cfgs.RUN, name, False)
    torch.backends.cudnn.benchmark = True  # as its loader.py does
    cfgs.RUN.freezeD = -1
    cfgs.define_modules()
    cfgs.define_augments(device)
    cfgs.define_losses()
    nets = models.load_generator_discriminator(
        DATA=cfgs.DATA,
        OPTIMIZATION=cfgs.OPTIMIZATION,
        MODEL=cfgs.MODEL,
        STYLEGAN=cfgs.STYLEGAN,
        MODULES=cfgs.MODULES,
        RUN=cfgs.RUN,
        device=device,
        logger=MagicMock(),
    )
    names = ("Gen", "Gen_mapping", "Gen_synthesis", "Dis", "Gen_ema", "Gen_ema_mapping", "Gen_ema_synthesis", "ema")
    nets = dict(zip(names, nets, strict=True))
    cfgs.define_optimizer(nets["Gen"], nets["Dis"])

    job = worker.WORKER.__new__(worker.WORKER)
    vars(job).update(nets)
    for section in ("DATA", "MODEL", "LOSS", "STYLEGAN", "OPTIMIZATION", "PRE", "AUG", "RUN", "MISC"):
        setattr(job, section, getattr(cfgs, section))
    job.cfgs, job.local_rank, job.global_rank, job.DDP = cfgs, device, 0, False
    job.is_stylegan = cfgs.MODEL.backbone in ("stylegan2", "stylegan3")
    job.blur_init_sigma, job.adc_fake, job.effective_batch_size = "N/A", False, batch
    job.l2_loss, job.ce_loss = torch.nn.MSELoss(), torch.nn.CrossEntropyLoss()
    if amp:
        job.scaler = torch.amp.GradScaler("cuda")
    job.aa_p, job.aa_target, job.aa_interval = 0.0, None, 1
    job.pl_reg = losses.PathLengthRegularizer(device=device, pl_weight=cfgs.STYLEGAN.pl_weight, pl_no_weight_grad=True)
    misc.make_GAN_trainable(job.Gen, job.Gen_ema, job.Dis)
    return job
