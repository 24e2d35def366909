"""CycleGAN and pix2pix in their layout."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from importing.writing import State, Written, make, renamed


def cyclegan(folder: Path) -> Written:
    g, d = make(
        "translate",
        size=16,
        classes=0,
        latent=0,
        g={"width": 2, "blocks": 2, "norm": "instance"},
        d={"width": 2, "layers": 1, "norm": "instance"},
    )
    # Reflection has modules of its own there, so that numbers differ.
    g_rules = (
        *((rf"layers\.{ours}\.(.*)", rf"model.{theirs}.\1") for ours, theirs in ((0, 1), (3, 4), (6, 7))),
        *((rf"layers\.{9 + i}\.body\.0\.(.*)", rf"model.{10 + i}.conv_block.1.\1") for i in range(2)),
        *((rf"layers\.{9 + i}\.body\.3\.(.*)", rf"model.{10 + i}.conv_block.5.\1") for i in range(2)),
        *((rf"layers\.{ours}\.(.*)", rf"model.{theirs}.\1") for ours, theirs in ((11, 12), (14, 15), (17, 19))),
    )
    d_rules = ((r"body\.0\.(.*)", r"model.0.\1"), (r"body\.2\.(.*)", r"model.2.\1"), (r"head\.(.*)", r"model.5.\1"))
    for name in ("A", "B"):
        torch.save(renamed(g.state_dict(), g_rules), folder / f"latest_net_G_{name}.pth")
        torch.save(renamed(d.state_dict(), d_rules), folder / f"latest_net_D_{name}.pth")
    files = [folder / f"latest_net_{net}_{way}.pth" for net in "GD" for way in "AB"]
    return Written(files, {"G_ab": g, "G_ba": g, "D_b": d, "D_a": d}, {"size": "16"})


def pix2pix(folder: Path) -> Written:
    g, d = make(
        "unet-translate",
        size=32,
        classes=0,
        latent=0,
        g={"width": 2, "norm": "batch"},
        d={"width": 2, "layers": 2, "norm": "batch", "images": 2, "kind": "translate"},
    )
    file: State = {}
    for key, value in g.state_dict().items():
        way, level, place, last = key.split(".")
        depth = int(level) if way == "down" else 4 - int(level)
        prefix = "model.model" + ".1.model" * (depth > 0) + ".3.model" * max(depth - 1, 0)
        if way == "down":
            number = 0 if depth == 0 else int(place)
        else:
            number = int(place) + (2 if depth == 0 else 2 if depth == 4 else 4)
        file[f"{prefix}.{number}.{last}"] = value
    torch.save(file, folder / "latest_net_G.pth")
    d_state = {key: value for key, value in d.state_dict().items() if not re.fullmatch(r"body\.[25]\.bias", key)}
    for key, value in d.state_dict().items():
        if re.fullmatch(r"body\.[25]\.bias", key):
            value.zero_()  # there is none before a batch norm
    rules = ((r"body\.(.*)", r"model.\1"), (r"head\.(.*)", r"model.8.\1"))
    torch.save(renamed(d_state, rules), folder / "latest_net_D.pth")
    return Written([folder / "latest_net_G.pth", folder / "latest_net_D.pth"], {"G_ab": g, "D_b": d})
