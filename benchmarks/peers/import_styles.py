"""StyleGAN2 by NVIDIA and by rosinality, from checkouts of theirs: see `import_agreement.py`."""

from __future__ import annotations

import importlib
import pickle
from pathlib import Path
from unittest import mock

import torch
from peers.import_base import Networks, randomise, setuptools_of_old
from torch import Tensor

SPECIFICATIONS = {
    # size, base of the feature maps / 16, mapping layers, group of the minibatch standard deviation, architecture
    "auto": (64, 1024, 2, 4, "resnet"),
    "stylegan2": (64, 2048, 8, 4, "resnet"),
    "paper256": (64, 1024, 8, 8, "resnet"),
    "cifar": (32, 2048, 2, 32, "orig"),
    "low_shot": (64, 2048, 2, 4, "resnet"),
    "fp32": (64, 1024, 2, 4, "resnet"),
}


def nvidia(checkout: Path, case: str, module: str = "training.networks") -> Networks:
    setuptools_of_old()
    import dnnlib

    networks = importlib.import_module(module)
    name, _, conditional = case.partition("-")
    size, base, layers, group, architecture = SPECIFICATIONS[name]
    easy, third = dnnlib.EasyDict, module.endswith("stylegan2")
    classes = 3 if conditional else 0
    clamp = {} if third and name != "fp32" else {"conv_clamp": None if name == "fp32" else 256}
    clamp |= {} if third else {"num_fp16_res": 4}
    synthesis = easy(channel_base=base, channel_max=32, **clamp)
    common = {"c_dim": classes, "img_resolution": size, "img_channels": 3}
    g = networks.Generator(
        z_dim=64,
        w_dim=48,
        mapping_kwargs=easy(num_layers=layers),
        **(synthesis if third else {"synthesis_kwargs": synthesis}),
        **common,
    )
    d = networks.Discriminator(
        architecture=architecture, epilogue_kwargs=easy(mbstd_group_size=group), **synthesis, **common
    )
    randomise(g, d)

    def one_hot(y: Tensor | None, like: Tensor) -> Tensor:
        return torch.zeros(len(like), 0) if y is None else torch.nn.functional.one_hot(y, classes).to(like.dtype)

    def save(place: Path) -> list[str]:
        content = {"training_set_kwargs": easy(path="x"), "G": g, "D": d, "G_ema": g, "augment_pipe": None}
        with (place / "network-snapshot.pkl").open("wb") as file:
            pickle.dump(content, file)
        return ["network-snapshot.pkl"]

    return Networks(
        save,
        lambda z, y: g(z, one_hot(y, z), noise_mode="const", force_fp32=True),
        lambda x, y: d(x, one_hot(y, x), force_fp32=True),
        [g, d],
        (64,),
        (3, size, size),
        classes,
        batch=32,  # so that every group is whole: another would give another value
        joint=True,
        # The code casts to float32 by name at several places.
        within=lambda: mock.patch.object(torch, "float32", torch.float64),
    )


def rosinality(checkout: Path, case: str) -> Networks:
    import argparse

    import torch.utils.cpp_extension

    with mock.patch.object(torch.utils.cpp_extension, "load", mock.MagicMock()):
        model = importlib.import_module("model")  # on a CPU its own kernels are not used
    size, multiplier, layers = int(case.split("-")[0]), 1 if case.endswith("narrow") else 2, 3
    g = model.Generator(size, 512, layers, channel_multiplier=multiplier)
    d = model.Discriminator(size, channel_multiplier=multiplier)
    randomise(g, d)
    with torch.no_grad():
        for name, value in g.named_parameters():
            if name.endswith("noise.weight"):
                value.normal_()

    def save(place: Path) -> list[str]:
        content = {"g": g.state_dict(), "d": d.state_dict(), "g_ema": g.state_dict()}
        if case.endswith("converted"):
            content["latent_avg"] = torch.randn(512, dtype=g.input.input.dtype)
        else:
            content |= {"args": argparse.Namespace(size=size, latent=512), "ada_aug_p": 0.0, "d_optim": {"state": {}}}
        torch.save(content, place / "000000.pt")
        return ["000000.pt"]

    return Networks(
        save,
        lambda z, y: g([z], randomize_noise=False)[0],
        lambda x, y: d(x),
        [g, d],
        (512,),
        (3, size, size),
        joint=True,
    )
