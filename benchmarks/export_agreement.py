"""Does a peer's own code load our exports, and make the same images?

For each form that `steadygan export` writes in another program's layout, a generator of ours with random weights is
exported; the peer's own classes load the file, every key of it, and generate from the same inputs. A difference is the
largest absolute one of the images, divided by the largest absolute value of the peer's: in float32, and with both
networks in float64.

    python benchmarks/export_agreement.py --peers FOLDER [--only FORM …] [--out results/export-agreement.csv]

FOLDER: see `import_agreement.py`. Each case runs in a forked process, since the peers' modules share names.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import multiprocessing
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from import_agreement import BOUNDS, commit, difference
from peers.table import update
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from exporting.made import checkpoint

import steadygan

COLUMNS = ("form", "peer", "case", "dtype", "value", "bound", "within", "seconds", "commit")
BATCH = 3
Pair = tuple[str, nn.Module, nn.Module, Callable[[torch.dtype], Tensor], Callable[[torch.dtype], Tensor]]
"""What is compared, our network and theirs, and what each makes in a type of numbers."""


def rosinality(checkout: Path, folder: Path, case: str) -> list[Pair]:
    import torch.utils.cpp_extension

    with mock.patch.object(torch.utils.cpp_extension, "load", mock.MagicMock()):
        model = importlib.import_module("model")  # on a CPU its own kernels are not used
    size = int(case)
    options = {"w_dim": 512, "mapping_layers": 8, "fmap_max": 512}
    path = checkpoint("stylegan2", folder, classes=0, size=size, latent=512, width=64, options=options)
    saved = torch.load(steadygan.export(path, "rosinality", folder / "g.pt"), weights_only=True)
    theirs = model.Generator(size, 512, 8)
    theirs.load_state_dict(saved["g_ema"])
    ours = steadygan.load(path, device="cpu").module
    z, average = torch.randn(BATCH, 512), saved["latent_avg"][None]

    def call(truncation: float, dtype: torch.dtype) -> Tensor:
        latent = average.to(dtype) if truncation < 1 else None
        out = theirs([z.to(dtype)], truncation=truncation, truncation_latent=latent, randomize_noise=False)[0]
        return Tensor(out)

    return [
        (
            f"truncation {psi:g}",
            ours,
            theirs,
            functools.partial(lambda psi, dtype: ours(z.to(dtype), None, psi), psi),
            functools.partial(call, psi),
        )
        for psi in (1.0, 0.6)
    ]


def nvidia(module: str, checkout: Path, folder: Path, case: str) -> list[Pair]:
    networks = importlib.import_module(module)
    classes = 3 if case.startswith("conditional") else 0
    clamp = 0.5 if case.endswith("clamp") else None
    options = {"raw_eps": True, "w_dim": 24, "mapping_layers": 2, "conv_clamp": clamp, "noise": case != "no-noise"}
    path = checkpoint("stylegan2", folder, classes=classes, size=32, latent=16, width=2, options=options)
    saved = torch.load(steadygan.export(path, "stylegan2-ada", folder / "g.pt"), weights_only=True)
    arguments = dict(saved["init_kwargs"])
    if module.endswith("stylegan2"):  # stylegan3's takes them one by one
        arguments |= arguments.pop("synthesis_kwargs")
    theirs = networks.Generator(**arguments)
    theirs.load_state_dict(saved["state_dict"])
    ours = steadygan.load(path, device="cpu").module
    z, y = torch.randn(BATCH, 16), torch.arange(BATCH) % 3 if classes else None

    def call(psi: float, dtype: torch.dtype) -> Tensor:
        c = torch.zeros(BATCH, 0) if y is None else torch.nn.functional.one_hot(y, classes)
        noise = {} if case == "no-noise" else {"noise_mode": "const"}
        with mock.patch.object(torch, "float32", dtype):  # which the code casts to by name at several places
            return Tensor(theirs(z.to(dtype), c.to(dtype), truncation_psi=psi, force_fp32=True, **noise))

    return [
        (
            f"truncation {psi:g}",
            ours,
            theirs,
            functools.partial(lambda psi, dtype: ours(z.to(dtype), y, psi), psi),
            functools.partial(call, psi),
        )
        for psi in (1.0, 0.6)
    ]


TRANSLATIONS: dict[str, tuple[str, int, dict[str, Any], list[str]]] = {
    "resnet_9blocks": ("translate", 64, {"blocks": 9}, ["a2b", "b2a"]),
    "resnet_6blocks": ("translate", 64, {"blocks": 6, "norm": "batch"}, ["a2b", "b2a"]),
    "unet_256": ("unet-translate", 256, {"norm": "batch"}, ["a2b"]),
}


def cyclegan(checkout: Path, folder: Path, case: str) -> list[Pair]:
    """By its own BaseModel.load_networks, which reads and patches `CHECKPOINTS/NAME/latest_net_G_A.pth`."""
    base, networks = (importlib.import_module(f"models.{name}") for name in ("base_model", "networks"))
    kind, size, options, directions = TRANSLATIONS[case]
    path = checkpoint(kind, folder, size=size, width=8, options=options, directions=directions)
    place = Path(steadygan.export(path, "cyclegan", folder / "checkpoints" / "ours"))
    names = ["G_A", "G_B"] if len(directions) == 2 else ["G"]
    settings = {"gpu_ids": [], "isTrain": False, "checkpoints_dir": str(place.parent), "name": place.name}
    kind_of_model = type("Model", (base.BaseModel,), {})
    kind_of_model.__abstractmethods__ = frozenset()  # only its loading is used
    model = kind_of_model(SimpleNamespace(**settings, preprocess="none"))
    model.model_names = names
    for name in names:
        made = networks.define_G(3, 3, 8, case, options.get("norm", "instance"), False)
        setattr(model, f"net{name}", made)
    model.load_networks("latest")
    model.eval()
    x = torch.rand(BATCH, 3, size, size) * 2 - 1
    ours = steadygan.load_translator(path, device="cpu").nets

    def call(net: nn.Module, dtype: torch.dtype) -> Tensor:
        return Tensor(net(x.to(dtype)))

    pairs: list[Pair] = []
    for direction, name in zip(directions, names, strict=True):
        mine, theirs = ours[f"G_{direction[0]}{direction[2]}"], getattr(model, f"net{name}")
        pairs.append((direction, mine, theirs, functools.partial(call, mine), functools.partial(call, theirs)))
    return pairs


FORMS: dict[str, tuple[str, str, Callable[[Path, Path, str], list[Pair]], tuple[str, ...]]] = {
    "rosinality": ("rosinality", "rosinality-stylegan2-pytorch", rosinality, ("16", "32")),
    "stylegan2-ada": (
        "stylegan2-ada",
        "stylegan2-ada-pytorch",
        functools.partial(nvidia, "training.networks"),
        ("unconditional", "conditional", "conditional-clamp", "no-noise"),
    ),
    "stylegan2-ada in stylegan3": (
        "stylegan2-ada",
        "stylegan3",
        functools.partial(nvidia, "training.networks_stylegan2"),
        ("unconditional", "conditional"),
    ),
    "cyclegan": ("cyclegan", "pytorch-CycleGAN-and-pix2pix", cyclegan, tuple(TRANSLATIONS)),
}


@torch.no_grad()
def compare(name: str, case: str, checkout: Path, out: Path) -> None:
    form, peer, make, _ = FORMS[name]
    sys.path[:0] = [str(checkout)]
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        for what, mine, theirs, ours, peers in make(checkout, Path(folder), case):
            for dtype in (torch.float32, torch.float64):
                mine.to(dtype).eval()
                theirs.to(dtype).eval()
                apart, kind = difference(ours(dtype), peers(dtype)), str(dtype).removeprefix("torch.")
                row = (form, peer, f"{case}, {what}", kind, f"{apart:.1e}", f"{BOUNDS[kind]:g}", apart <= BOUNDS[kind])
                rows.append((*row, f"{time.monotonic() - began:.1f}", commit()))
                began = time.monotonic()
            mine.float()
            theirs.float()
    torch.save(rows, out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, required=True)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name, (_, peer, _, cases) in FORMS.items():
        if (options.only and name not in options.only) or not (options.peers / peer).is_dir():
            print(f"{name}: skipped")
            continue
        for case in cases:
            with tempfile.TemporaryDirectory() as folder:
                out = Path(folder) / "rows.pt"
                arguments = (name, case, options.peers / peer, out)
                process = multiprocessing.get_context("fork").Process(target=compare, args=arguments)
                process.start()
                process.join()
                if process.exitcode:
                    raise SystemExit(f"{name} {case}: the peer failed, as said above")
                rows = torch.load(out, weights_only=True)
                for row in rows:
                    print(*row, flush=True)
                if options.out:
                    update(options.out, COLUMNS, 4, [dict(zip(COLUMNS, row, strict=True)) for row in rows])


if __name__ == "__main__":
    main()
