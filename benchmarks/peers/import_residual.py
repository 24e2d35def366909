"""BigGAN-PyTorch, its successors and Hugging Face's BigGAN-deep, from their checkouts: see `import_agreement.py`."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any

import torch
from peers.import_base import BATCH, Networks, absent, randomise
from torch import Tensor

BIGGAN: dict[str, dict[str, Any]] = {
    "cifar": {"resolution": 32, "G_shared": False},
    "cifar-no-sn": {"resolution": 32, "G_shared": False, "G_param": "plain"},
    "32-shared": {"resolution": 32, "G_shared": True, "shared_dim": 24, "hier": True, "dim_z": 40},
    "64": {"resolution": 64, "G_shared": True, "shared_dim": 128, "hier": True, "dim_z": 100, "G_attn": "32"},
    "64-tables": {"resolution": 64, "G_shared": False},
    "128": {"resolution": 128, "G_shared": True, "shared_dim": 128, "hier": True, "dim_z": 120},
    "128-mybn": {"resolution": 128, "G_shared": True, "hier": True, "dim_z": 120, "mybn": True},
    "256": {"resolution": 256, "G_shared": True, "shared_dim": 128, "hier": True, "dim_z": 140, "G_attn": "128"},
    "512": {"resolution": 512, "G_shared": True, "shared_dim": 128, "hier": True, "dim_z": 160},
    "deep-64": {"resolution": 64, "G_shared": True, "shared_dim": 32, "hier": True, "dim_z": 16, "G_attn": "32"},
    "deep-128": {"resolution": 128, "G_shared": True, "shared_dim": 128, "hier": True, "dim_z": 128},
    "deep-256": {"resolution": 256, "G_shared": True, "shared_dim": 128, "hier": True, "dim_z": 128},
    "128-unconditional": {"resolution": 128, "G_shared": False, "hier": True, "dim_z": 20, "unconditional": True},
    "256-unconditional": {"resolution": 256, "G_shared": False, "hier": True, "dim_z": 20, "unconditional": True},
    "128-classes": {"resolution": 128, "G_shared": True, "hier": True, "dim_z": 120, "shared_dim": 128},
}


def biggan(checkout: Path, case: str) -> Networks:

    for name in ("inception_tf", "inception_utils", "h5py"):
        absent(name)
    code = importlib.import_module("BigGANdeep" if case.startswith("deep") else "BigGAN")
    chosen = BIGGAN[case]
    size, unconditional = chosen["resolution"], chosen.get("unconditional", False)
    config = {
        "G_ch": 8,
        "D_ch": 8,
        "dim_z": 16,
        "n_classes": 3,
        "G_attn": "0" if size < 128 else "64",
        "BN_eps": 1e-5,
        "D_attn": "0" if size < 128 else "64",
        "SN_eps": 1e-6,
        "G_init": "ortho",
        "unconditional": False,
        **chosen,
    }
    relu = {"G_activation": torch.nn.ReLU(), "D_activation": torch.nn.ReLU()}
    g = code.Generator(**config, **relu)
    unet = hasattr(code, "Unet_Discriminator")
    d = (
        None
        if case in ("512", "deep-64")
        else (code.Unet_Discriminator if unet else code.Discriminator)(**config, **relu)
    )
    networks = [net for net in (g, d) if net is not None]
    randomise(*networks)

    def save(place: Path) -> list[str]:
        torch.save(g.state_dict(), place / "G_ema.pth")
        torch.save({"itr": 1, "config": {**config, "G_nl": "relu"}}, place / "state_dict.pth")
        if d is None:
            return ["G_ema.pth", "state_dict.pth"]
        torch.save(d.state_dict(), place / "D.pth")
        return ["G_ema.pth", "state_dict.pth", "D.pth"]

    def judge(x: Tensor, y: Tensor | None) -> Any:
        assert d is not None
        out = d(x, y)
        return (out[1], out[0]) if unet else out

    return Networks(
        save,
        lambda z, y: g(z, None if y is None else g.shared(y)),
        None if d is None else judge,
        networks,
        (g.dim_z,),
        (3, size, size),
        0 if unconditional else 3,
    )


def tables() -> tuple[float, ...]:
    """The truncations of 0.02 to 1 at which their code takes one of its tables.

    Between two of them it interpolates the wrong way round, so that rounding may lead to the neighbour: at 0.58 always,
    and at 0 it refuses.
    """
    near = [(place, [place / 50, *(math.nextafter(place / 50, side) for side in (0, 1))]) for place in range(1, 51)]
    return tuple(values[0] for place, every in near if (values := [v for v in every if v / (1 / 50) == place]))


def huggingface(checkout: Path, case: str) -> Networks:
    import json

    for name in ("boto3", "botocore", "botocore.exceptions", "requests"):
        absent(name)
    model = importlib.import_module("pytorch_pretrained_biggan.model")
    config = importlib.import_module("pytorch_pretrained_biggan.config")
    size, _, which = case.partition("-")
    truncations = tables() if which == "every" else (float(which),)
    # Up, channels before and after: the released configurations.
    layers = [(0, 16, 16), (1, 16, 16), (0, 16, 16), (1, 16, 8)]
    layers += {
        "128": [(0, 8, 8), (1, 8, 4), (0, 4, 4), (1, 4, 2)],
        "256": [(0, 8, 8), (1, 8, 8), (0, 8, 8), (1, 8, 4), (0, 4, 4), (1, 4, 2)],
        "512": [(0, 8, 8), (1, 8, 8), (0, 8, 8), (1, 8, 4), (0, 4, 4), (1, 4, 2), (0, 2, 2), (1, 2, 1)],
    }[size]
    layers += {"512": [(0, 1, 1), (1, 1, 1)]}.get(size, [(0, 2, 2), (1, 2, 1)])
    content = {
        "output_dim": int(size),
        "z_dim": 128,
        "class_embed_dim": 128,
        "channel_width": 8,
        "num_classes": 5,
        "layers": [[bool(up), *maps] for up, *maps in layers],
        "eps": 1e-4,
        "n_stats": 51,
        "attention_layer_position": 8,
    }
    g = model.BigGAN(config.BigGANConfig.from_dict(content))
    for part in (g.generator.bn.weight, g.generator.bn.bias):  # which it leaves as memory was
        torch.nn.init.ones_(part)
    randomise(g)
    with torch.no_grad():
        for name, value in g.named_buffers():
            if name.endswith("running_means"):
                value.normal_(std=0.1)
            elif name.endswith("running_vars"):
                value.mul_(4)  # or tanh would saturate
        for _ in range(10):  # in training mode, so that the vectors of spectral norm are those of the weights
            g.train()(torch.randn(2, 128), torch.eye(5)[:2], 1.0)

    def save(place: Path) -> list[str]:
        torch.save(g.state_dict(), place / "pytorch_model.bin")
        (place / "config.json").write_text(json.dumps(content))
        return ["pytorch_model.bin"]

    def generate(z: Tensor, y: Tensor | None) -> Tensor:
        assert y is not None
        one_hot = torch.nn.functional.one_hot(y, 5).to(z.dtype)
        parts = [part.chunk(len(truncations)) for part in (z, one_hot)]
        return torch.cat([g(*part, at) for *part, at in zip(*parts, truncations, strict=True)])

    return Networks(
        save,
        generate,
        None,
        [g],
        (128,),
        (3, int(size), int(size)),
        5,
        truncations=truncations,
        batch=max(BATCH, len(truncations)),
    )
