"""The authors' own steps of pix2pix and CSGAN, driven from here: their networks, losses and update order, unchanged.

Needs a folder with checkouts of junyanz/pytorch-CycleGAN-and-pix2pix and KishanKancharagunta/CSGAN under these names
(nothing of them is copied here). CSGAN's file is a model of the first in its state of 2018: it spells a keyword
`async`, which Python has taken since, and its networks come from the first in today's state.
"""

from __future__ import annotations

import importlib
import itertools
import sys
import types
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

WIDTH, POOL = 64, 50
ADAM: dict[str, Any] = {"lr": 2e-4, "betas": (0.5, 0.999)}


def translation_step(sources: Path, name: str, *, batch: int, size: int) -> Callable[[], None]:
    """One `optimize_parameters` on random images: a G update and a D update, of both directions in CSGAN.

    Networks are a ResNet of nine blocks with instance norm and the 70×70 PatchGAN, as in our presets of their names.
    """
    sys.path.insert(0, str(sources / "pytorch-CycleGAN-and-pix2pix"))
    networks = importlib.import_module("models.networks")
    model = _pix2pix() if name == "pix2pix" else _csgan(sources / "CSGAN" / "csgan.py", networks)
    images = [torch.rand(batch, 3, size, size) * 2 - 1 for _ in "ab"]
    model.real_A, model.real_B = model.input_A, model.input_B = images
    return model.optimize_parameters  # type: ignore[no-any-return]


def _pix2pix() -> Any:
    names = {"name": "timed", "checkpoints_dir": "", "preprocess": "none", "gpu_ids": [], "isTrain": True}
    g = {"netG": "resnet_9blocks", "ngf": WIDTH, "input_nc": 3, "output_nc": 3, "no_dropout": True, "norm": "instance"}
    d = {"netD": "basic", "ndf": WIDTH, "n_layers_D": 3, "init_type": "normal", "init_gain": 0.02}
    game = {"gan_mode": "vanilla", "pool_size": 0, "lr": ADAM["lr"], "beta1": ADAM["betas"][0], "lambda_L1": 100.0}
    return importlib.import_module("models.pix2pix_model").Pix2PixModel(Namespace(**names, **g, **d, **game))


def _csgan(place: Path, networks: Any) -> Any:
    module = types.ModuleType("models.csgan_model")
    module.__package__ = "models"
    exec(compile(place.read_text().replace("async=", "non_blocking="), str(place), "exec"), module.__dict__)
    model = object.__new__(module.CSGAN)
    model.opt = Namespace(lambda_A=10.0, lambda_B=10.0, lambda_identity=0.0)
    for side in "AB":
        setattr(model, f"netG_{side}", networks.define_G(3, 3, WIDTH, "resnet_9blocks", "instance"))
        setattr(model, f"netD_{side}", networks.define_D(3, WIDTH, "basic", 3, "instance"))
        setattr(model, f"fake_{side}_pool", module.ImagePool(POOL))
    model.criterionGAN = networks.GANLoss("lsgan")
    model.criterionCycle = model.criterionIdt = model.criterionCS = torch.nn.L1Loss()
    for player in "GD":
        nets = [getattr(model, f"net{player}_{side}") for side in "AB"]
        weights = itertools.chain(*(net.parameters() for net in nets))
        setattr(model, f"optimizer_{player}", torch.optim.Adam(weights, **ADAM))
    return model
