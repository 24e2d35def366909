"""PyTorch-StudioGAN, from a checkout of it: see `import_agreement.py`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import numpy
import torch
from peers.import_base import Networks, absent, randomise, setuptools_of_old
from torch import Tensor

STUDIOGAN: dict[str, dict[str, Any]] = {
    "dcgan": {"backbone": "deep_conv", "apply_d_sn": False},
    "dcgan-sn-conditional": {"backbone": "deep_conv", "g_cond_mtd": "cBN", "d_cond_mtd": "PD"},
    "sngan": {"backbone": "resnet"},
    "sngan-conditional": {"backbone": "resnet", "g_cond_mtd": "cBN", "d_cond_mtd": "PD"},
    "sagan": {"backbone": "resnet", "apply_g_sn": True, "g_cond_mtd": "cBN", "d_cond_mtd": "PD", "attention": (2, 1)},
    "sagan-64": {"backbone": "resnet", "apply_g_sn": True, "attention": (3, 1), "img_size": 64},
    "biggan": {"backbone": "big_resnet", "apply_g_sn": True, "attention": (2, 1), "z_dim": 40},
    "biggan-64": {"backbone": "big_resnet", "apply_g_sn": True, "img_size": 64, "attention": (4, 1), "z_dim": 50},
    "biggan-128": {"backbone": "big_resnet", "apply_g_sn": True, "img_size": 128, "attention": (4, 1), "z_dim": 60},
    "biggan-256": {"backbone": "big_resnet", "apply_g_sn": True, "img_size": 256, "z_dim": 70},
    "stylegan2": {"backbone": "stylegan2", "g_cond_mtd": "cAdaIN", "d_cond_mtd": "SPD", "clamp": 256},
    "stylegan2-unconditional": {"backbone": "stylegan2", "clamp": 0, "architecture": "orig"},
}


@torch.no_grad()
def settle(g: torch.nn.Module, d: torch.nn.Module, latent: int, size: int) -> None:
    """A few passes in training mode, so that the vectors of spectral norm are those of the weights."""
    label = torch.tensor([0, 1])
    for module, x in ((g, torch.randn(2, latent)), (d, torch.randn(2, 3, size, size))):
        if any("weight_u" in name for name, _ in module.named_buffers()):
            for _ in range(5):
                module.train()(x, label)


def studiogan(checkout: Path, case: str) -> Networks:
    import types

    sys.path[:0] = [str(checkout / "src")]
    for name in ("wandb", "h5py", "tensorflow", "seaborn", "kornia"):
        absent(name)
    setuptools_of_old()
    ops = importlib.import_module("utils.ops")
    chosen: dict[str, Any] = {"apply_g_sn": False, "apply_d_sn": True, "img_size": 32, "z_dim": 24, **STUDIOGAN[case]}
    big = chosen["backbone"] == "big_resnet"
    g_cond, d_cond = ("cBN" if big else "W/O"), ("PD" if big else "W/O")
    g_cond, d_cond = chosen.get("g_cond_mtd", g_cond), chosen.get("d_cond_mtd", d_cond)
    module, size = importlib.import_module(f"models.{chosen['backbone']}"), chosen["img_size"]
    model = types.SimpleNamespace(info_type="N/A", g_info_injection="N/A")
    conditional, options = g_cond != "W/O", {}
    if chosen["backbone"] == "stylegan2":
        clamp, maps = chosen["clamp"] or None, {"channel_base": 1024, "channel_max": 32}
        classes = 3 if conditional else 0
        style = {"conv_clamp": clamp, "num_fp16_res": 4 if clamp else 0, **maps}
        g = module.Generator(24, classes, 16, 32, 3, model, mapping_kwargs={"num_layers": 2}, synthesis_kwargs=style)
        d = module.Discriminator(
            classes,
            32,
            3,
            chosen.get("architecture", "resnet"),
            d_cond_mtd=d_cond,
            num_classes=3,
            epilogue_kwargs={"mbstd_group_size": 4},
            MODEL=model,
            **style,
        )
        options = {"conv_clamp": str(chosen["clamp"]), "mbstd_group": "4"}
    else:
        parts: dict[str, Any] = {"g_act_fn": torch.nn.ReLU(), "d_act_fn": torch.nn.ReLU(), "d_bn": ops.batchnorm_2d}
        for player in "gd":
            for layer in ("conv2d", "deconv2d", "linear"):
                parts[f"{player}_{layer}"] = getattr(ops, ("sn" if chosen[f"apply_{player}_sn"] else "") + layer)
            parts[f"{player}_embedding"] = ops.sn_embedding if chosen[f"apply_{player}_sn"] else ops.embedding
        parts["g_bn"] = ops.ConditionalBatchNorm2d if conditional or big else ops.batchnorm_2d
        modules, places = types.SimpleNamespace(**parts), chosen.get("attention", (0, 0))
        common: dict[str, Any] = {"apply_attn": "attention" in chosen, "num_classes": 3, "mixed_precision": False}
        common |= {"MODULES": modules, "MODEL": model, "img_size": size}
        g = module.Generator(
            z_dim=chosen["z_dim"],
            g_shared_dim=20,
            g_conv_dim=8,
            attn_g_loc=[places[0]],
            g_cond_mtd=g_cond,
            g_init="ortho",
            g_depth="N/A",
            **common,
        )
        d = module.Discriminator(
            d_conv_dim=8,
            apply_d_sn=chosen["apply_d_sn"],
            attn_d_loc=[places[1]],
            d_cond_mtd=d_cond,
            aux_cls_type="W/O",
            d_embed_dim="N/A",
            normalize_d_embed=False,
            d_init="ortho",
            d_depth="N/A",
            **common,
        )
    settle(g, d, chosen["z_dim"], size)
    randomise(g, d)

    def label(y: Tensor | None, x: Tensor) -> Tensor:
        return torch.zeros(len(x), dtype=torch.int64) if y is None else y

    def generate(z: Tensor, y: Tensor | None) -> Tensor:
        if chosen["backbone"] != "stylegan2":
            return g(z, label(y, z), eval=True)
        c = torch.nn.functional.one_hot(label(y, z), 3).to(z.dtype)[:, : 3 if conditional else 0]
        return g(z, c, noise_mode="const", force_fp32=True)

    def judge(x: Tensor, y: Tensor | None) -> Tensor:
        extra = {"force_fp32": True} if chosen["backbone"] == "stylegan2" else {}
        return d(x, label(y, x), eval=True, **extra)["adv_output"]

    def save(place: Path) -> list[str]:
        state = {"seed": 0, "run_name": "x", "step": 1, "topk": 1, "aa_p": None, "best_fid": numpy.float64(3.0)}
        files = {"G_ema": {"state_dict": g.state_dict()}, "D": {"state_dict": d.state_dict(), **state}}
        for name, content in files.items():
            torch.save(content, place / f"model={name}-best-weights-step=1.pth")
        return [f"model={name}-best-weights-step=1.pth" for name in files]

    return Networks(
        save,
        generate,
        judge,
        [g, d],
        (chosen["z_dim"],),
        (3, size, size),
        3 if conditional else 0,
        options,
        joint=chosen["backbone"] == "stylegan2",
        within=lambda: mock.patch.object(torch, "float32", torch.float64),
    )
