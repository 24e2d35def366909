"""Scores images against their targets: SSIM, PSNR and MSE by torchmetrics, LPIPS with weights from a file."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steadygan._version import __version__
from steadygan.data.content import fingerprint as content_fingerprint
from steadygan.errors import UserError, require
from steadygan.files import sha256

BATCH = 16
DEFINITIONS = {
    "SSIM": "mean over images; 11×11 Gaussian window, σ 1.5, around every pixel, edges mirrored; range 255",
    "PSNR": "mean over images of 10·log10(255² / MSE)",
    "MSE": "mean over images, channels and pixels of squared differences of 8-bit values",
    "LPIPS": "AlexNet, v0.1, images in [-1, 1] (Zhang et al., CVPR 2018)",
}


@dataclass(frozen=True)
class PairProtocol:
    """How outputs were compared with their targets.

    Attributes:
        split: "test", or "heldout" from the training split.
        size: side of the images in pixels.
        fit: how they became square.
        weights: "ema" or "raw".
    """

    split: str
    size: int
    fit: str
    weights: str = "ema"
    name: str = "pairs"


def score_pairs(outputs: Tensor, targets: Tensor, *, lpips: LPIPS | None = None) -> dict[str, float]:
    """Scores uint8 images (N, C, H, W), at least 11 pixels wide and high, against their targets; returns scores by
    name.

    Higher is better for SSIM (at most 1) and PSNR (dB), lower for MSE (of 8-bit values) and LPIPS. Equal images have
    infinite PSNR. Raises `UserError` for images smaller than SSIM's window.

    Raises:
        ValueError: outputs and targets differ in shape, or are not uint8.
    """
    require("torchmetrics", "pairs", "scoring a translation (SSIM, PSNR)")
    from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

    if outputs.dtype != torch.uint8 or outputs.shape != targets.shape:
        raise ValueError(f"expected uint8 images of one shape, got {tuple(outputs.shape)} and {tuple(targets.shape)}")
    if min(outputs.shape[2:]) < 11:
        raise UserError(f"SSIM needs images of 11×11 pixels or more; these are {tuple(outputs.shape[2:])}")
    sums: dict[str, float] = {}
    for made, wanted in zip(outputs.float().split(BATCH), targets.float().split(BATCH), strict=True):
        values = {
            "SSIM": structural_similarity_index_measure(made, wanted, data_range=255.0, reduction="sum"),
            "PSNR": peak_signal_noise_ratio(made, wanted, data_range=255.0, reduction="sum", dim=(1, 2, 3)),
            "MSE": (made - wanted).square().flatten(1).mean(1).sum(),
        }
        if lpips is not None:
            values["LPIPS"] = lpips(made, wanted).sum()
        for name, value in values.items():
            assert isinstance(value, Tensor)
            sums[name] = sums.get(name, 0.0) + float(value)
    return {name: total / len(outputs) for name, total in sums.items()}


def pair_record(
    scores: dict[str, float], targets: Tensor, protocol: PairProtocol, *, fingerprint: str, lpips: LPIPS | None = None
) -> dict[str, Any]:
    """One flat record of paired scores.

    Args:
        scores: by name.
        targets: uint8 (N, C, H, W), the outputs' targets.
        protocol: everything the scores depend on.
        fingerprint: hash of the training data's content.
        lpips: the LPIPS network; None if LPIPS was not measured.

    Returns:
        The scores by name, and under "protocol" everything they depend on.
    """
    kinds = {name.partition("_")[0] for name in scores}
    record = asdict(protocol) | {
        "num_fake": len(targets),
        "num_real": len(targets),
        "definitions": {name: text for name, text in DEFINITIONS.items() if name in kinds},
        "torchmetrics": version("torchmetrics"),
        "reals_sha256": content_fingerprint(targets.numpy()),
        "data_fingerprint": fingerprint,
        "steadygan": __version__,
        "torch": str(torch.__version__),
    }
    return {**scores, "protocol": record | ({"lpips_sha256": lpips.sha256} if lpips is not None else {})}


class LPIPS(nn.Module):
    """Learned perceptual distance of images, 0 for equal ones (Zhang et al., CVPR 2018, eq. 1), AlexNet version 0.1.

    The channel weights of the five layers come with torchmetrics.

    Args:
        path: torchvision's ImageNet weights of AlexNet (`alexnet-owt-7be5be79.pth`), loaded without executing code.

    Raises:
        UserError: the file is not these weights.
    """

    MEAN, STD = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
    TAPS = (1, 4, 7, 9, 11)
    """AlexNet's layers after which features are compared: its five ReLUs."""

    def __init__(self, path: Path) -> None:
        require("torchvision", "pairs", "LPIPS")
        require("torchmetrics", "pairs", "LPIPS")
        from torchvision.models import alexnet

        super().__init__()
        if not path.is_file():
            raise UserError(
                f"{path}: no such file; LPIPS needs torchvision's AlexNet weights, "
                "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth"
            )
        network = alexnet(weights=None)
        try:
            network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        except Exception as error:  # torch raises many kinds of errors for other files.
            raise UserError(f"{path}: not torchvision's AlexNet weights; nothing in it was executed") from error
        self.layers = network.features
        folder = files("torchmetrics.functional.image") / "lpips_models"
        with (folder / "alex.pth").open("rb") as file:
            linear = torch.load(file, map_location="cpu", weights_only=True)
        self.channel_weights = [linear[f"lin{index}.model.1.weight"] for index in range(len(self.TAPS))]
        self.sha256 = sha256(path)
        self.eval().requires_grad_(False)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """a, b: float (N, C, H, W) in [0, 255], C = 1 or 3, at least 31 pixels wide and high. Returns (N,)."""
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (self.MEAN, self.STD))
        h = torch.cat([((x / 127.5 - 1).expand(-1, 3, -1, -1) - mean) / std for x in (a, b)])
        distance, weights = torch.zeros(len(a)), iter(self.channel_weights)
        for index, layer in enumerate(self.layers):
            h = layer(h)
            if index in self.TAPS:
                ours, theirs = F.normalize(h, dim=1, eps=1e-10).chunk(2)
                distance = distance + ((ours - theirs).square() * next(weights)).sum(1).mean((1, 2))
        return distance
