"""What `import_agreement.py` compares with: each peer's own code makes a file and says what its networks compute.

    python benchmarks/import_cases.py FAMILY CASE CHECKOUT FOLDER

Nothing of the peers is in here: CHECKOUT is theirs, and its modules are imported from there.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

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
    expected = Expected(networks.save(place), networks.options)
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
    "diffaugment-stylegan2": Peer("data-efficient-gans/DiffAugment-stylegan2-pytorch", nvidia, ("low_shot",)),
}


def main() -> None:
    family, case, checkout, folder = sys.argv[1:]
    sys.path[:1] = [checkout]
    torch.set_num_threads(1)
    torch.manual_seed(0)
    networks = PEERS[family].make(Path(checkout), case)
    record(networks, Path(folder) / "float32", torch.float32)
    if networks.double:
        record(networks, Path(folder) / "float64", torch.float64)


if __name__ == "__main__":
    main()
