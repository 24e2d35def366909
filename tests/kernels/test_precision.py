"""Networks under a GPU's autocast, whose list of float32 operators is longer than a CPU's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

from steadygan.nets.registry import create_critic, create_generator

KINDS = ("dcgan", "resnet", "sagan", "biggan", "biggan-deep", "stylegan2", "unet")


class GPUAutocast(TorchFunctionMode):
    """Within, a CPU's autocast makes float32 of what a GPU's would (ATen/autocast_mode.h, AT_FORALL_FP32…)."""

    NAMES = (
        *("interpolate", "softmax", "log_softmax", "softplus", "exp", "expm1", "log", "log1p", "logsumexp", "pow"),
        *("reciprocal", "rsqrt", "layer_norm", "group_norm", "rms_norm", "sum", "prod", "cumsum", "norm"),
        *("vector_norm", "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "kl_div", "cosine_similarity"),
        *("binary_cross_entropy_with_logits", "cdist"),
    )

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in self.NAMES and torch.is_autocast_enabled("cpu"):
            args, kwargs = tree_map_only(Tensor, widened, (args, kwargs))
        return func(*args, **kwargs)


def widened(x: Tensor) -> Tensor:
    return x.float() if x.dtype is torch.bfloat16 else x


@pytest.mark.parametrize("kind", KINDS)
def test_no_feature_map_becomes_float32_on_a_gpu(kind: str) -> None:
    torch.manual_seed(0)
    size = 128 if kind in ("sagan", "biggan", "biggan-deep", "unet") else 32
    shape = {"size": size, "channels": 3, "classes": 2, "width": 16 if kind != "biggan-deep" else 32}
    generator, critic = create_generator(kind, **shape, latent=24), create_critic(kind, **shape)
    wide: list[str] = []

    def look(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            # Colours, logits and latents stay exact; what is large has many channels.
            if isinstance(output, Tensor) and output.ndim == 4 and output.shape[1] > 4 and output.shape[2] > 4:
                seen.append(name)
                if output.dtype is not torch.bfloat16:
                    wide.append(name)

        return hook

    seen: list[str] = []
    for name, module in (*generator.named_modules(prefix="G"), *critic.named_modules(prefix="D")):
        module.register_forward_hook(look(name))
    y = torch.tensor([0, 1])
    with torch.autocast("cpu", torch.bfloat16), GPUAutocast():
        images = generator(torch.randn(2, 24), y)
        critic(images.float(), y)
    assert not wide
    assert len(seen) > 10


def test_a_gpus_rules_are_in_force_inside() -> None:
    x = torch.ones(1, 8, 4, 4, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16), GPUAutocast():
        assert nn.functional.interpolate(x, scale_factor=2).dtype is torch.float32
        assert x.softmax(1).dtype is torch.float32
        assert nn.functional.avg_pool2d(x, 2).dtype is torch.bfloat16
