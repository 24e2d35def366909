"""The reference of `import_agreement.py`: each peer's own code writes a file and evaluates its networks.

No code of the peers is copied here: their modules are imported from their checkouts.
"""

from __future__ import annotations

import contextlib
import io
import sys
import warnings
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from peers.import_base import Expected, Networks, Peer
from peers.import_residual import BIGGAN, biggan, huggingface
from peers.import_rounding import decisions
from peers.import_studiogan import STUDIOGAN, studiogan
from peers.import_styles import nvidia, rosinality
from peers.import_translation import TRANSLATIONS, translation


def record(networks: Networks, place: Path, dtype: torch.dtype) -> None:
    """Writes the peer's files and `expected.pt`."""
    place.mkdir()
    for module in networks.modules:
        module.to(dtype).eval().requires_grad_(False)
    expected = Expected(networks.save(place), networks.options, joint=networks.joint, direction=networks.direction)
    expected.truncations = list(networks.truncations)
    if networks.classes:
        expected.labels = torch.randint(networks.classes, (networks.batch,))
    shapes = {"generator": networks.latent, "critic": networks.image}
    for name, network in (("generator", networks.generate), ("critic", networks.judge)):
        if network is None:
            continue
        x = torch.randn(networks.batch, *shapes[name], dtype=dtype, requires_grad=True)
        names = ("image",) if name == "generator" else ("logit", "pixels")
        with networks.within() if dtype == torch.float64 else nullcontext(), decisions() as noted:
            out = network(x, expected.labels)
        outs = dict(zip(names, out if isinstance(out, tuple) else (out,), strict=False))
        cotangent = {key: torch.randn_like(part) for key, part in outs.items()}
        total = sum((part * cotangent[key]).sum() for key, part in outs.items())
        found: dict[str, Any] = {"input": x.detach(), "cotangent": cotangent, "noted": noted}
        found["gradient"] = torch.autograd.grad(total, x)[0]
        found["value"] = {key: part.detach() for key, part in outs.items()}
        setattr(expected, name, found)
    torch.save(asdict(expected), place / "expected.pt")


NVIDIA_CASES = (
    "auto",
    "auto-conditional",
    "stylegan2",
    "stylegan2-conditional",
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
    "rosinality": Peer("rosinality-stylegan2-pytorch", rosinality, ("16", "32-narrow", "32-converted")),
    "huggingface": Peer("pytorch-pretrained-BigGAN", huggingface, ("128-every", "256-1.0", "512-0.5")),
    "cyclegan-pix2pix": Peer("pytorch-CycleGAN-and-pix2pix", translation, tuple(TRANSLATIONS)),
    # CSGAN's repository is one file, `csgan.py`, next to CycleGAN's: the networks and their files are CycleGAN's.
    "csgan": Peer("pytorch-CycleGAN-and-pix2pix", translation, ("ab", "ba")),
    "studiogan": Peer("PyTorch-StudioGAN", studiogan, tuple(name for name in STUDIOGAN if "style" not in name)),
    "studiogan-stylegan2": Peer("PyTorch-StudioGAN", studiogan, ("stylegan2", "stylegan2-unconditional")),
    "diffaugment-stylegan2": Peer(
        "data-efficient-gans/DiffAugment-stylegan2-pytorch", nvidia, ("low_shot", "low_shot-conditional")
    ),
}


def write_case(family: str, case: str, checkout: Path, folder: Path, dtype: str, seed: int) -> None:
    """The files and `expected.pt` of one case in `folder`/`dtype`, if the peer computes in it."""
    sys.path[:0] = [str(checkout)]
    torch.manual_seed(seed)
    warnings.simplefilter("ignore")
    with contextlib.redirect_stdout(io.StringIO()):
        networks = PEERS[family].make(checkout, case)
        if networks.double or dtype == "float32":
            record(networks, folder / dtype, getattr(torch, dtype))
