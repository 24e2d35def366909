"""BigGAN in the layouts of BigGAN-PyTorch, Hugging Face and StudioGAN."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import torch
from importing.writing import Rules, State, Written, make, one_buffer, renamed, torch_norm
from torch import nn

BIGGAN_G: Rules = (
    (r"(linear\..*)", r"\1"),
    (r"embedding\.(.*)", r"shared.\1"),
    (r"blocks\.(\d)\.shortcut\.(.*)", r"blocks.\1.0.conv_sc.\2"),
    (r"blocks\.(\d)\.(conv\d\..*)", r"blocks.\1.0.\2"),
    (r"blocks\.(\d)\.norm(\d)\.gain\.(.*)", r"blocks.\1.0.bn\2.gain.\3"),
    (r"blocks\.(\d)\.norm(\d)\.shift\.(.*)", r"blocks.\1.0.bn\2.bias.\3"),
    (r"blocks\.(\d)\.norm(\d)\.gamma", r"blocks.\1.0.bn\2.gain.weight"),
    (r"blocks\.(\d)\.norm(\d)\.beta", r"blocks.\1.0.bn\2.bias.weight"),
    (r"blocks\.(\d)\.norm(\d)\.running_(.*)", r"blocks.\1.0.bn\2.stored_\3"),
    (r"attention\.(\d)\.gamma", r"blocks.\1.1.gamma"),
    *((rf"attention\.(\d)\.{a}\.(.*)", rf"blocks.\1.1.{b}.\2") for a, b in zip("qkvo", "qkvo", strict=True)),
    (r"attention\.(\d)\.query\.(.*)", r"blocks.\1.1.theta.\2"),
    (r"attention\.(\d)\.key\.(.*)", r"blocks.\1.1.phi.\2"),
    (r"attention\.(\d)\.value\.(.*)", r"blocks.\1.1.g.\2"),
    (r"attention\.(\d)\.out\.(.*)", r"blocks.\1.1.o.\2"),
    (r"norm\.weight", "output_layer.0.gain"),
    (r"norm\.bias", "output_layer.0.bias"),
    (r"norm\.running_(.*)", r"output_layer.0.stored_\1"),
    (r"out\.(.*)", r"output_layer.2.\1"),
)
BIGGAN_D: Rules = (
    *BIGGAN_G[2:4],
    *BIGGAN_G[9:15],
    (r"head\.linear\.(.*)", r"linear.\1"),
    (r"head\.embedding\.(.*)", r"embed.\1"),
)


def biggan(folder: Path, *, shared: bool = True) -> Written:
    g_options = {"shared": shared, "skip_z": shared, "attention": 16, "class_embedding": 6}
    g, d = make(
        "biggan",
        size=32,
        classes=3,
        latent=8,
        g={"width": 2, **g_options},
        d={"width": 2, "attention": 0},
    )
    state = renamed(one_buffer(g), BIGGAN_G)
    for key in list(state):
        if key.endswith("gain.weight") and not shared:
            state[key] = state[key] - 1
        if key.endswith("u0"):
            state[key.replace("u0", "sv0")] = torch.ones(1)
    torch.save(state, folder / "G_ema.pth")
    torch.save(renamed(one_buffer(d), BIGGAN_D), folder / "D.pth")
    config = {"BN_eps": 1e-5, "SN_eps": 1e-8, "G_nl": "relu", "D_nl": "inplace_relu", "dim_z": 8, "norm_style": "bn"}
    torch.save({"itr": 3, "best_IS": np.float64(8.5), "config": config}, folder / "state_dict.pth")
    return Written(
        [folder / name for name in ("G_ema.pth", "D.pth", "state_dict.pth")], {"G_ema": g, "D": d}, exact=False
    )


def huggingface(folder: Path) -> Written:
    torch.manual_seed(0)
    (g,) = make(
        "biggan-deep",
        size=128,
        classes=3,
        latent=4,
        g={"width": 1, "class_embedding": 4, "sn_out": False, "bn_eps": 1e-4, "sn_eps": 1e-4},
        d=None,
    )
    state = torch_norm(g.state_dict())
    at = next(place for place, part in enumerate(g.attention) if not isinstance(part, nn.Identity))

    def layer(match: re.Match[str]) -> str:
        place = int(match[1])
        return f"generator.layers.{place + (1 if place > at else 0)}.{match[2]}"

    names = {"query": "theta", "key": "phi", "value": "g", "out": "o_conv"}
    file: State = {}
    for key, value in state.items():
        name = re.sub(r"blocks\.(\d)\.(.*)", layer, key)
        name = re.sub(r"attention\.(\d)\.(query|key|value|out)", lambda m: f"{int(m[1]) + 1}/{names[m[2]]}", name)
        name = re.sub(r"(\d)/(\w+)", r"generator.layers.\1.snconv1x1_\2", name)
        name = re.sub(r"attention\.(\d)\.gamma", lambda m: f"generator.layers.{int(m[1]) + 1}.gamma", name)
        name = re.sub(r"convs\.(\d)", r"conv_\1", re.sub(r"norms\.(\d)", r"bn_\1", name))
        name = name.replace(".gain.", ".scale.").replace(".shift.", ".offset.")
        name = re.sub(r"^norm\.", "generator.bn.", name)
        if "running_" in name:
            name, value = f"{name}s", torch.lerp(value[None], value[None] + 1, torch.linspace(1, 0, 51)[:, None])
        file[name] = value
    rows = torch.arange(16 * 16).view(4, 4, 16).permute(2, 0, 1).flatten()
    for part in ("weight_orig", "weight_u", "bias"):
        value = file.pop(f"linear.{part}")
        file[f"generator.gen_z.{part}"] = torch.empty_like(value).index_copy_(0, rows, value)
    file["generator.gen_z.weight_v"] = file.pop("linear.weight_v")
    file["embeddings.weight"] = file.pop("embedding.weight").t()
    weight, bias = file.pop("out.weight"), file.pop("out.bias")
    u = torch.nn.functional.normalize(torch.randn(3), dim=0)
    v = torch.nn.functional.normalize(weight.flatten(1).t() @ u, dim=0)
    file |= {
        "generator.conv_to_rgb.weight_orig": weight * (1 / (u @ weight.flatten(1) @ v)),
        "generator.conv_to_rgb.bias": bias,
    }
    file |= {"generator.conv_to_rgb.weight_u": u, "generator.conv_to_rgb.weight_v": v}
    file["generator.conv_to_rgb.weight_orig"] = weight
    scale = u @ weight.flatten(1) @ v
    with torch.no_grad():
        g.out.weight.div_(scale)
    file = {key: value for key, value in file.items() if not key.endswith("num_batches_tracked")}
    torch.save(file, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    layers = [[False, 16, 16], [True, 16, 16]] * 5
    content = {"output_dim": 128, "channel_width": 1, "eps": 1e-4, "layers": layers, "attention_layer_position": 8}
    (folder / "config.json").write_text(json.dumps(content))
    return Written([folder / "pytorch_model.bin"], {"G_ema": g}, exact=False)


def studiogan(folder: Path) -> Written:
    common = {"sn_eps": 1e-6, "attention": 16}
    g, d = make(
        "biggan",
        size=32,
        classes=3,
        latent=8,
        g={"width": 2, "class_embedding": 6, "bn_eps": 1e-4, **common},
        d={"width": 2, **common},
    )
    g_at, d_at = 1, 0

    def place(number: str, at: int) -> int:
        return int(number) + (1 if int(number) > at else 0)

    def name(key: str, at: int) -> str:
        key = re.sub(r"^blocks\.(\d)\.", lambda m: f"blocks.{place(m[1], at)}.0.", key)
        key = re.sub(r"^attention\.(\d)\.gamma", lambda m: f"blocks.{int(m[1]) + 1}.0.sigma", key)
        for ours, theirs in (("query", "theta"), ("key", "phi"), ("value", "g"), ("out", "attn")):
            key = re.sub(
                rf"^attention\.(\d)\.{ours}\.", lambda m, t=theirs: f"blocks.{int(m[1]) + 1}.0.conv1x1_{t}.", key
            )
        for ours, theirs in (("conv1", "conv2d1"), ("conv2", "conv2d2"), ("shortcut", "conv2d0")):
            key = key.replace(f".0.{ours}.", f".0.{theirs}.")
        key = re.sub(r"\.norm(\d)\.(running|num)", r".bn\1.bn.\2", key)
        key = re.sub(r"\.norm(\d)\.gain", r".bn\1.gain", re.sub(r"\.norm(\d)\.shift", r".bn\1.bias", key))
        for ours, theirs in (
            ("linear.", "linear0."),
            ("embedding.", "shared."),
            ("norm.", "bn4."),
            ("out.", "conv2d5."),
        ):
            key = theirs + key.removeprefix(ours) if key.startswith(ours) else key
        return key.replace("head.linear.", "linear1.").replace("head.embedding.", "embedding.")

    g_state = {name(key, g_at): value for key, value in torch_norm(g.state_dict()).items()}
    d_state = {name(key, d_at): value for key, value in torch_norm(d.state_dict()).items()}
    for key in [key for key in g_state if key.endswith("sigma")]:
        g_state[key] = g_state[key][None]
    files = [folder / f"model={net}-best-weights-step=7.pth" for net in ("G_ema", "D")]
    torch.save({"state_dict": g_state}, files[0])
    torch.save({"state_dict": d_state, "seed": 1, "step": 7, "best_fid": np.float64(4.5), "optimizer": {}}, files[1])
    return Written(files, {"G_ema": g, "D": d})
