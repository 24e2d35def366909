"""DINOv2: a self-supervised vision transformer, from a local file of its official weights."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steadygan.errors import UserError
from steadygan.pretrained.extractor import Extractor, Features, read_state

PATCH = 14
HEAD_WIDTH = 64
IMAGENET = [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]
"""Mean and standard deviation of ImageNet's channels, for values in [0, 1]."""


class LayerScale(nn.Module):
    """x · γ, a learned gain for each feature."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class Attention(nn.Module):
    """Multi-head self-attention of (N, T, width), heads 64 wide."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, width = x.shape
        q, k, v = self.qkv(x).reshape(n, tokens, 3, width // HEAD_WIDTH, HEAD_WIDTH).permute(2, 0, 3, 1, 4)
        heads = F.scaled_dot_product_attention(q, k, v)
        mixed: Tensor = self.proj(heads.transpose(1, 2).reshape(n, tokens, width))
        return mixed


class Mlp(nn.Module):
    """Two linear layers with a GELU in between, four times as wide inside."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        mapped: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return mapped


class Block(nn.Module):
    """A pre-norm transformer block with a scale on each branch."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn, self.mlp = Attention(width), Mlp(width)
        self.ls1, self.ls2 = LayerScale(width), LayerScale(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class PatchEmbed(nn.Module):
    """(N, 3, H, W) → (N, H/14 · W/14, width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, PATCH, stride=PATCH)

    def forward(self, x: Tensor) -> Tensor:
        patches: Tensor = self.proj(x)
        return patches.flatten(2).mT


class DinoV2(nn.Module):
    """ViT-S/B/L-14 of Oquab et al. 2023 (DINOv2), without registers; the state dict is the official one's.

    Input (N, 3, H, W) float, sides multiples of 14, normalised by ImageNet's mean and deviation; the features
    are the normalised class token. `grid` is the side in patches for which the position embedding was trained
    (37: 518 pixels); for other sides it is interpolated.
    """

    def __init__(self, width: int, depth: int, grid: int) -> None:
        super().__init__()
        self.grid = grid
        self.patch_embed = PatchEmbed(width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.mask_token = nn.Parameter(torch.zeros(1, width))  # used in training only, but part of the official file
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + grid * grid, width))
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def positions(self, height: int, width: int) -> Tensor:
        """(1, 1 + height·width, F): the embedding for that many patches."""
        if height == width == self.grid:
            return self.pos_embed
        first, rest = self.pos_embed[:, :1], self.pos_embed[:, 1:]
        image = rest.unflatten(1, (self.grid, self.grid)).permute(0, 3, 1, 2)
        # The offset of a tenth of a patch is the authors'; it shifts every sample slightly, so it must be kept.
        scale = ((height + 0.1) / self.grid, (width + 0.1) / self.grid)
        image = F.interpolate(image, scale_factor=scale, mode="bicubic")
        return torch.cat([first, image.flatten(2).mT], dim=1)

    def forward(self, x: Tensor) -> Features:
        sides = x.shape[2] // PATCH, x.shape[3] // PATCH
        tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), self.patch_embed(x)], dim=1)
        tokens = tokens + self.positions(*sides)
        for block in self.blocks:
            tokens = block(tokens)
        features: Tensor = self.norm(tokens[:, 0])
        return Features(features, features[:, :0])


class Dino(Extractor):
    """`DinoV2` at 224 pixels, as Stein et al. (NeurIPS 2023, "Exposing flaws…") use it for FD-DINOv2."""

    name = "dinov2"
    input = "RGB uint8 images (N, 3, H, W)"
    resize = "bicubic 224, antialiased"
    variable = "STEADYGAN_DINOV2_WEIGHTS"
    where = "download the authors' dinov2_vits14_pretrain.pth, dinov2_vitb14_pretrain.pth or dinov2_vitl14_pretrain.pth"

    def build(self, path: Path | None) -> nn.Module:
        assert path is not None
        state = read_state(path)
        try:
            width = state["cls_token"].shape[-1]
            depth = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("blocks."))
            network = DinoV2(width, depth, grid=round((state["pos_embed"].shape[1] - 1) ** 0.5))
            network.load_state_dict(state)
        except (KeyError, ValueError, IndexError, RuntimeError):
            raise UserError(f"{path} does not hold a DINOv2 ViT-S, B or L/14 without registers") from None
        return network

    def prepare(self, images: Tensor) -> Tensor:
        x = F.interpolate(images.float(), (224, 224), mode="bicubic", antialias=True).clamp(0, 255) / 255
        mean, deviation = torch.tensor(IMAGENET, device=x.device)[:, :, None, None]
        return (x - mean) / deviation
