"""What `import_agreement.py` compares with: each peer's own code makes a file and says what its networks compute.

Nothing of the peers is in here: their modules are imported from their checkouts.
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
from peers.import_base import BATCH, Expected, Networks, Peer
from peers.import_residual import BIGGAN, biggan, huggingface
from peers.import_rounding import decisions, turned
from peers.import_studiogan import STUDIOGAN, studiogan
from peers.import_styles import nvidia, rosinality
from peers.import_translation import TRANSLATIONS, translation
from torch import Tensor


def record(networks: Networks, place: Path, dtype: torch.dtype) -> None:
    """Writes the peer's files and `expected.pt`: in float32 with the peer's float64 gradient, if it can."""
    place.mkdir()
    _cast(networks, dtype)
    expected = Expected(networks.save(place), networks.options, truncation=networks.truncation)
    if networks.classes:
        expected.labels = torch.randint(networks.classes, (BATCH,))
    shapes = {"generator": networks.latent, "critic": networks.image}
    for name, network in (("generator", networks.generate), ("critic", networks.judge)):
        if network is not None:
            x = torch.randn(BATCH, *shapes[name], dtype=dtype)
            names = ("image",) if name == "generator" else ("logit", "pixels")

            def passed(
                x: Tensor, cotangent: dict[str, Tensor], network: Any = network, names: tuple[str, ...] = names
            ) -> tuple[dict[str, Tensor], Tensor, list[Tensor]]:
                x = x.detach().clone().requires_grad_()
                with networks.within() if x.dtype == torch.float64 else nullcontext(), decisions() as noted:
                    out = network(x, expected.labels)
                outs = dict(zip(names, out if isinstance(out, tuple) else (out,), strict=False))
                for key, part in outs.items():
                    cotangent.setdefault(key, torch.randn_like(part))
                total = sum((part * cotangent[key].to(x.dtype)).sum() for key, part in outs.items())
                return {key: part.detach() for key, part in outs.items()}, torch.autograd.grad(total, x)[0], noted

            cotangent: dict[str, Tensor] = {}
            value, gradient, noted = passed(x, cotangent)
            found = {"input": x, "value": value, "cotangent": cotangent, "gradient": gradient}
            if dtype == torch.float32 and networks.double:
                _cast(networks, torch.float64)
                _, found["wide"], wide = passed(x.double(), cotangent)
                found["turned"] = turned(noted, wide)
                _cast(networks, dtype)
            setattr(expected, name, found)
    torch.save(asdict(expected), place / "expected.pt")


def _cast(networks: Networks, dtype: torch.dtype) -> None:
    for module in networks.modules:
        module.to(dtype).eval().requires_grad_(False)


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
    "rosinality": Peer("rosinality-stylegan2-pytorch", rosinality, ("16", "32-narrow", "32-converted")),
    "huggingface": Peer("pytorch-pretrained-BigGAN", huggingface, ("128-1.0", "128-0.4", "256-1.0", "512-0.5")),
    "cyclegan-pix2pix": Peer("pytorch-CycleGAN-and-pix2pix", translation, tuple(TRANSLATIONS)),
    "studiogan": Peer("PyTorch-StudioGAN", studiogan, tuple(name for name in STUDIOGAN if "style" not in name)),
    "studiogan-stylegan2": Peer("PyTorch-StudioGAN", studiogan, ("stylegan2", "stylegan2-unconditional")),
    "diffaugment-stylegan2": Peer("data-efficient-gans/DiffAugment-stylegan2-pytorch", nvidia, ("low_shot",)),
}


def write_case(family: str, case: str, checkout: Path, folder: Path) -> None:
    """The files and `expected.pt` of one case, in `folder`/float32 and, where the peer can, `folder`/float64."""
    sys.path[:0] = [str(checkout)]
    torch.manual_seed(0)
    warnings.simplefilter("ignore")
    with contextlib.redirect_stdout(io.StringIO()):
        networks = PEERS[family].make(checkout, case)
        record(networks, folder / "float32", torch.float32)
        if networks.double:
            record(networks, folder / "float64", torch.float64)
