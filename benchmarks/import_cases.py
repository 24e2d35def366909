"""What `import_agreement.py` compares with: each peer's own code makes a file and says what its networks compute.

Nothing of the peers is in here: their modules are imported from their checkouts.
"""

from __future__ import annotations

import contextlib
import io
import pickle
import sys
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy
import torch
from torch import Tensor, nn

BATCH = 4


@dataclass
class Expected:
    """Files that a peer wrote, options for the import, and input, value, cotangent and gradient of its networks."""

    files: list[str]
    options: dict[str, str] = field(default_factory=dict)
    labels: Tensor | None = None
    generator: dict[str, Any] | None = None
    critic: dict[str, Any] | None = None
    truncation: float | None = None


@dataclass
class Networks:
    """A peer's networks as functions of (z or x, y), and how it writes them. double: whether it computes in float64."""

    save: Callable[[Path], list[str]]
    generate: Callable[[Tensor, Tensor | None], Tensor] | None
    judge: Callable[[Tensor, Tensor | None], Tensor | tuple[Tensor, Tensor]] | None
    modules: list[nn.Module]
    latent: tuple[int, ...]
    image: tuple[int, ...]
    classes: int = 0
    options: dict[str, str] = field(default_factory=dict)
    double: bool = True
    truncation: float | None = None
    within: Callable[[], Any] = nullcontext


@dataclass
class Peer:
    folder: str
    make: Callable[[Path, str], Networks]
    cases: tuple[str, ...]


def randomise(*networks: nn.Module, scale: float = 0.3) -> None:
    """Gives biases, gains, statistics and strengths, which start at 0 or 1, values of their own."""
    for network in networks:
        for name, value in [*network.named_parameters(), *network.named_buffers()]:
            last = name.rsplit(".", 1)[-1]
            with torch.no_grad():
                if last in ("running_var", "stored_var", "running_vars"):
                    value.copy_(0.5 + torch.rand_like(value))
                elif (
                    value.dim() < 2
                    and value.is_floating_point()
                    and last[:2] not in ("u0", "sv")
                    and last
                    not in (
                        "weight_u",
                        "weight_v",
                    )
                ):
                    value.add_(scale * torch.randn_like(value))


def record(networks: Networks, place: Path, dtype: torch.dtype) -> None:
    """Writes the peer's files and `expected.pt`."""
    place.mkdir()
    for module in networks.modules:
        module.to(dtype).eval().requires_grad_(False)
    expected = Expected(networks.save(place), networks.options, truncation=networks.truncation)
    if networks.classes:
        expected.labels = torch.randint(networks.classes, (BATCH,))
    shapes = {"generator": networks.latent, "critic": networks.image}
    for name, network in (("generator", networks.generate), ("critic", networks.judge)):
        if network is not None:
            x = torch.randn(BATCH, *shapes[name], dtype=dtype).requires_grad_()
            with networks.within() if dtype == torch.float64 else nullcontext():
                out = network(x, expected.labels)
                outs = out if isinstance(out, tuple) else (out,)
                names = ("image",) if name == "generator" else ("logit", "pixels")
                cotangent = {key: torch.randn_like(part) for key, part in zip(names, outs, strict=False)}
                total = sum((part * cotangent[key]).sum() for key, part in zip(names, outs, strict=False))
                (gradient,) = torch.autograd.grad(total, x)
            value = {key: part.detach() for key, part in zip(names, outs, strict=False)}
            setattr(expected, name, {"input": x.detach(), "value": value, "cotangent": cotangent, "gradient": gradient})
    torch.save(asdict(expected), place / "expected.pt")


# -------------------------------------------------------------------- NVIDIA
SPECIFICATIONS = {
    # base of the feature maps / 16, mapping layers, minibatch standard deviation, architecture
    "auto": (1024, 2, 4, "resnet"),
    "stylegan2": (2048, 8, 4, "resnet"),
    "paper256": (1024, 8, 8, "resnet"),
    "cifar": (2048, 2, 32, "orig"),
    "low_shot": (2048, 2, 4, "resnet"),
    "fp32": (1024, 2, 4, "resnet"),
}


def nvidia(checkout: Path, case: str, module: str = "training.networks") -> Networks:
    import importlib

    import dnnlib

    networks = importlib.import_module(module)
    name, _, conditional = case.partition("-")
    base, layers, group, architecture = SPECIFICATIONS[name]
    easy, third = dnnlib.EasyDict, module.endswith("stylegan2")
    classes = 3 if conditional else 0
    clamp = {} if third and name != "fp32" else {"conv_clamp": None if name == "fp32" else 256}
    clamp |= {} if third else {"num_fp16_res": 4}
    synthesis = easy(channel_base=base, channel_max=32, **clamp)
    common = {"c_dim": classes, "img_resolution": 32, "img_channels": 3}
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
        (3, 32, 32),
        classes,
        # The code casts to float32 by name at several places.
        within=lambda: mock.patch.object(torch, "float32", torch.float64),
    )


# -------------------------------------------------------------------- BigGAN-PyTorch and its successors
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
    "128-unconditional": {"resolution": 128, "G_shared": False, "hier": True, "dim_z": 20, "unconditional": True},
    "256-unconditional": {"resolution": 256, "G_shared": False, "hier": True, "dim_z": 20, "unconditional": True},
    "128-classes": {"resolution": 128, "G_shared": True, "hier": True, "dim_z": 120, "shared_dim": 128},
}


def biggan(checkout: Path, case: str) -> Networks:
    import importlib

    for name in ("inception_tf", "inception_utils"):
        sys.modules.setdefault(name, mock.MagicMock())
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
    d = None if size == 512 else (code.Unet_Discriminator if unet else code.Discriminator)(**config, **relu)
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


# -------------------------------------------------------------------- rosinality
def rosinality(checkout: Path, case: str) -> Networks:
    import argparse
    import importlib

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
    )


# -------------------------------------------------------------------- Hugging Face
def huggingface(checkout: Path, case: str) -> Networks:
    import importlib
    import json

    model = importlib.import_module("pytorch_pretrained_biggan.model")
    config = importlib.import_module("pytorch_pretrained_biggan.config")
    size, _, truncation = case.partition("-")
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
    randomise(g)
    with torch.no_grad():
        for name, value in g.named_buffers():
            if name.endswith("running_means"):
                value.normal_()
        # Once in training mode, so that the vectors of spectral norm are those of the weights.
        g.train()(torch.randn(2, 128), torch.eye(5)[:2], 1.0)

    def save(place: Path) -> list[str]:
        torch.save(g.state_dict(), place / "pytorch_model.bin")
        (place / "config.json").write_text(json.dumps(content))
        return ["pytorch_model.bin"]

    return Networks(
        save,
        lambda z, y: g(z, torch.nn.functional.one_hot(y, 5).to(z.dtype), float(truncation)),
        None,
        [g],
        (128,),
        (3, int(size), int(size)),
        5,
        truncation=float(truncation),
    )


# -------------------------------------------------------------------- CycleGAN, pix2pix, CSGAN
TRANSLATIONS = {
    # generator, its norm, dropout, size, images that D sees, D's layers
    "resnet_9blocks": ("resnet_9blocks", "instance", False, 64, 1, 3),
    "resnet_6blocks-old": ("resnet_6blocks", "instance", False, 64, 1, 3),
    "resnet_6blocks-batch-dropout": ("resnet_6blocks", "batch", True, 64, 2, 3),
    "resnet_6blocks-none": ("resnet_6blocks", "none", False, 64, 1, 2),
    "unet_256": ("unet_256", "batch", True, 256, 2, 3),
    "unet_256-instance": ("unet_256", "instance", False, 256, 2, 4),
    "unet_128": ("unet_128", "batch", False, 128, 2, 3),
}


def translation(checkout: Path, case: str) -> Networks:
    import importlib.util

    specification = importlib.util.spec_from_file_location("networks", checkout / "models" / "networks.py")
    assert specification is not None
    assert specification.loader is not None
    networks = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(networks)
    kind, norm, dropout, size, images, layers = TRANSLATIONS[case]
    g = networks.define_G(3, 3, 8, kind, norm, dropout)
    d = networks.define_D(3 * images, 8, "n_layers", layers, norm)
    randomise(g, d)

    def save(place: Path) -> list[str]:
        for name, net in (("G", g), ("D", d)):
            state = net.state_dict()
            if case.endswith("old"):  # as torch 0.3 kept statistics that it did not use
                for key in [key for key in state if key.endswith("weight")]:
                    state[key.replace("weight", "running_mean").replace("model.1.", "model.2.")] = torch.zeros(8)
            torch.save(state, place / f"latest_net_{name}.pth")
        return ["latest_net_G.pth", "latest_net_D.pth"]

    options = {"size": str(size)} if kind.startswith("resnet") else {}
    shapes = (3, size, size), (3 * images, size, size)
    return Networks(save, lambda x, y: g(x), lambda x, y: d(x), [g, d], *shapes, options=options)


# -------------------------------------------------------------------- PyTorch-StudioGAN
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


def studiogan(checkout: Path, case: str) -> Networks:
    import importlib
    import types

    sys.path[:0] = [str(checkout / "src")]
    for name in ("wandb", "h5py", "tensorflow", "seaborn", "kornia"):
        sys.modules.setdefault(name, mock.MagicMock(__spec__=None))
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
        within=lambda: mock.patch.object(torch, "float32", torch.float64),
    )


NVIDIA_CASES = (
    "auto",
    "auto-conditional",
    "stylegan2",
    "paper256",
    "paper256-conditional",
    "cifar",
    "cifar-conditional",
)
PEERS = {
    "stylegan2-ada": Peer("stylegan2-ada-pytorch", nvidia, (*NVIDIA_CASES, "fp32")),
    "stylegan3-stylegan2": Peer(
        "stylegan3",
        lambda checkout, case: nvidia(checkout, case, "training.networks_stylegan2"),
        ("stylegan2", "stylegan2-conditional", "fp32"),
    ),
    "biggan-pytorch": Peer("BigGAN-PyTorch", biggan, tuple(name for name in BIGGAN if "cond" not in name)[:-1]),
    "diffaugment-biggan": Peer("data-efficient-gans/DiffAugment-biggan-cifar", biggan, ("cifar",)),
    "unetgan": Peer("unetgan", biggan, ("128-unconditional", "256-unconditional", "128-classes")),
    "rosinality": Peer("rosinality-stylegan2-pytorch", rosinality, ("16", "64-narrow", "32-converted")),
    "huggingface": Peer("pytorch-pretrained-BigGAN", huggingface, ("128-1.0", "128-0.4", "256-0.02", "512-0.5")),
    "cyclegan-pix2pix": Peer("pytorch-CycleGAN-and-pix2pix", translation, tuple(TRANSLATIONS)),
    "studiogan": Peer("PyTorch-StudioGAN", studiogan, tuple(name for name in STUDIOGAN if "style" not in name)),
    "studiogan-stylegan2": Peer("PyTorch-StudioGAN", studiogan, ("stylegan2", "stylegan2-unconditional")),
    "diffaugment-stylegan2": Peer("data-efficient-gans/DiffAugment-stylegan2-pytorch", nvidia, ("low_shot",)),
}


def write_case(family: str, case: str, checkout: Path, folder: Path, seed: int) -> None:
    """The files and `expected.pt` of one case, in `folder`/float32 and, where the peer can, `folder`/float64."""
    sys.path[:0] = [str(checkout)]
    torch.manual_seed(seed)
    warnings.simplefilter("ignore")
    with contextlib.redirect_stdout(io.StringIO()):
        networks = PEERS[family].make(checkout, case)
        record(networks, folder / "float32", torch.float32)
        if networks.double:
            record(networks, folder / "float64", torch.float64)
