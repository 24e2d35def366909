"""FID, IS and KID of the same images by the same Inception, of random weights, in other packages and in ours.

    OMP_NUM_THREADS=1 python benchmarks/inception_agreement.py --out results/inception-agreement.csv

torch-fidelity, pytorch-fid and torchmetrics are called as their users call them, but for the weights: no download is
needed. All 2,048 features; one CSV row each. Of features `theirs` and `ours` are norms, and the relative difference is
that of the norm of the difference. With fewer images than features S₁S₂ is singular, and the others' √ of its rounded
zeros is what is left of the difference of FIDs; scipy's warning is in `note`. 64 and 64 images take 5 minutes of
one CPU core.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from subprocess import run
from unittest import mock

import pytorch_fid.fid_score
import pytorch_fid.inception
import scipy.linalg
import torch
import torch.nn.functional as F
import torch_fidelity
import torchmetrics.image.fid
import torchmetrics.image.inception
import torchmetrics.image.kid
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from steadygan.metrics.frechet import Moments, frechet_distance
from steadygan.metrics.inception_score import inception_score
from steadygan.metrics.kid import kernel_distance
from steadygan.pretrained.extractor import Features
from steadygan.pretrained.registry import get_extractor

BATCH = 4


def random_state() -> dict[str, Tensor]:
    """Weights by the official names: features of the trained ones' size, that differ from image to image."""
    net = pytorch_fid.inception._inception_v3(num_classes=1008, aux_logits=False, weights=None, init_weights=False)
    generator = torch.Generator().manual_seed(0)
    state = net.state_dict()
    for name, tensor in state.items():
        normal = torch.randn(tensor.shape, generator=generator)
        if name.endswith("conv.weight"):
            state[name] = 0.96 * normal * (2 / tensor[0].numel()) ** 0.5
        elif name.endswith(("bn.weight", "running_var")):
            state[name] = 0.5 + torch.rand(tensor.shape, generator=generator)
        elif name.endswith(("bn.bias", "running_mean")):
            state[name] = 0.05 * normal
    state["fc.weight"] = 0.5 * torch.randn(state["fc.weight"].shape, generator=generator)
    return state


def image_sets(count: int) -> tuple[Tensor, Tensor]:
    """Fakes and reals, uint8 (count, 3, 32, 32), of two kinds of smooth colour patches of growing contrast.

    A network of random weights hardly distinguishes images of white noise.
    """
    return _patches(count, cells=4, mildest=0.1, seed=0), _patches(count, cells=6, mildest=0.5, seed=1)


def _patches(count: int, *, cells: int, mildest: float, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    contrast = torch.linspace(mildest, 1, count).view(-1, 1, 1, 1)
    coarse = contrast * torch.randn(count, 3, cells, cells, generator=generator)
    colour = 0.5 * torch.randn(count, 3, 1, 1, generator=generator)
    smooth = F.interpolate(coarse + colour, (32, 32), mode="bicubic")
    return (64 * smooth + 128).clamp(0, 255).to(torch.uint8)


@dataclass(frozen=True)
class Row:
    """One quantity by another package and by ours."""

    package: str
    score: str
    theirs: float
    ours: float
    relative_difference: float
    note: str = ""


def row(package: str, score: str, theirs: float, ours: float, note: str = "") -> Row:
    return Row(package, score, theirs, ours, abs(ours - theirs) / abs(theirs), note)


def features_row(package: str, theirs: Tensor, ours: Tensor) -> Row:
    difference = (ours - theirs).norm() / theirs.norm()
    return Row(package, "features", theirs.norm().item(), ours.norm().item(), difference.item())


def our_fid(fakes: Tensor, reals: Tensor) -> float:
    """From features (N, F)."""
    a, b = Moments().update(fakes), Moments().update(reals)
    return frechet_distance(a.mean, a.cov, b.mean, b.cov)


class Images(Dataset[Tensor]):
    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]


def torch_fidelity_rows(
    weights: Path, fakes: Tensor, reals: Tensor, ours: tuple[Features, Features], fid: float, splits: int
) -> Iterator[Row]:
    """`torch_fidelity.calculate_metrics`: the IS and KID over parts and subsets, which both packages draw alike."""
    sizes = {"kid_subsets": 10, "kid_subset_size": len(fakes) - 1}
    theirs = torch_fidelity.calculate_metrics(
        input1=Images(fakes),
        input2=Images(reals),
        fid=True,
        isc=True,
        kid=True,
        isc_splits=splits,
        feature_extractor_weights_path=str(weights),
        batch_size=BATCH,
        cuda=False,
        cache=False,
        save_cpu_ram=True,
        verbose=False,
        **sizes,
    )
    isc = inception_score(ours[0].logits, splits)
    kid = kernel_distance(ours[0].features, ours[1].features, *sizes.values())
    yield row("torch-fidelity", "FID", theirs["frechet_inception_distance"], fid)
    yield row("torch-fidelity", f"IS in {splits} splits", theirs["inception_score_mean"], isc[0])
    yield row("torch-fidelity", f"IS_std in {splits} splits", theirs["inception_score_std"], isc[1])
    yield row("torch-fidelity", "KID of 10 subsets", theirs["kernel_inception_distance_mean"], kid[0])
    yield row("torch-fidelity", "KID_std of 10 subsets", theirs["kernel_inception_distance_std"], kid[1])


def torchmetrics_rows(
    weights: Path, fakes: Tensor, reals: Tensor, ours: tuple[Features, Features], fid: float
) -> Iterator[Row]:
    """torchmetrics' three classes; the IS and KID of all images at once, as each package draws parts its own way."""
    pool, logits = (
        torchmetrics.image.fid.NoTrainInceptionV3("inception-v3-compat", [name], str(weights), antialias=False)
        for name in ("2048", "logits_unbiased")
    )
    theirs = torchmetrics.image.fid.FrechetInceptionDistance(
        feature=2048, feature_extractor_weights_path=str(weights), antialias=False
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Metric `.*` will save all extracted features")
        warnings.filterwarnings("ignore", message=r"std\(\): degrees of freedom is <= 0")
        kid = torchmetrics.image.kid.KernelInceptionDistance(feature=pool, subsets=1, subset_size=len(fakes))
        isc = torchmetrics.image.inception.InceptionScore(feature=logits, splits=1)
        for images, real in ((fakes, False), (reals, True)):
            for batch in images.split(BATCH):
                theirs.update(batch, real=real)
                kid.update(batch, real=real)
                if not real:
                    isc.update(batch)
        scores = theirs.compute().item(), isc.compute()[0].item(), kid.compute()[0].item()
    yield features_row("torchmetrics", torch.cat(kid.fake_features), ours[0].features)
    yield row("torchmetrics", "FID", scores[0], fid)
    yield row("torchmetrics", "IS", scores[1], inception_score(ours[0].logits, 1)[0])
    our_kid, _ = kernel_distance(ours[0].features, ours[1].features, 1, len(fakes))
    yield row("torchmetrics", "KID", scores[2], our_kid)


@contextlib.contextmanager
def pytorch_fid_with(weights: Path) -> Iterator[None]:
    """pytorch-fid takes no file: its download is what must be exchanged. It also prints its progress."""
    state = torch.load(weights, weights_only=True)
    with (
        mock.patch.object(pytorch_fid.inception, "load_state_dict_from_url", return_value=state),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        yield


def pytorch_fid_features(weights: Path, images: Tensor) -> Tensor:
    """(N, 2048) of uint8 images, by its network at its default settings, fed as `ToTensor` feeds it."""
    with pytorch_fid_with(weights), torch.no_grad():
        net = pytorch_fid.inception.InceptionV3([3]).eval()
        return torch.cat([net(batch.float() / 255)[0].flatten(1) for batch in images.split(BATCH)])


def pytorch_fid_rows(weights: Path, fakes: Tensor, reals: Tensor) -> Iterator[Row]:
    """`python -m pytorch_fid A B` of two folders of PNG, against the extractor of its resize."""
    read = get_extractor("inception-pytorch", weights={"inception-pytorch": weights})
    ours = tuple(read(images, BATCH).features for images in (fakes, reals))
    yield features_row("pytorch-fid", pytorch_fid_features(weights, fakes), ours[0])
    with tempfile.TemporaryDirectory() as folder, pytorch_fid_with(weights):
        paths = Path(folder, "fakes"), Path(folder, "reals")
        for path, images in zip(paths, (fakes, reals), strict=True):
            path.mkdir()
            for i, image in enumerate(images.permute(0, 2, 3, 1).numpy()):
                Image.fromarray(image).save(path / f"{i:05}.png")
        with warnings.catch_warnings(record=True) as doubts:
            warnings.simplefilter("always", scipy.linalg.LinAlgWarning)
            fid = pytorch_fid.fid_score.calculate_fid_given_paths([str(p) for p in paths], BATCH, "cpu", 2048, 0)
    note = "; ".join(str(doubt.message) for doubt in doubts if issubclass(doubt.category, scipy.linalg.LinAlgWarning))
    yield row("pytorch-fid", "FID", float(fid), our_fid(*ours), note and f"scipy: {note}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64, help="a side")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    commit = run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=True).stdout.strip()
    fakes, reals = image_sets(arguments.images)
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder, "inception.pth")
        torch.save(random_state(), weights)
        read = get_extractor("inception", weights={"inception": weights})
        ours = read(fakes), read(reals)
        fid = our_fid(ours[0].features, ours[1].features)
        rows = [
            *torch_fidelity_rows(weights, fakes, reals, ours, fid, splits=10),
            *torchmetrics_rows(weights, fakes, reals, ours, fid),
            *pytorch_fid_rows(weights, fakes, reals),
        ]
    protocol = {
        "images": f"{len(fakes)}+{len(reals)}",
        "features": 2048,
        "torch": torch.__version__,
        "commit": commit,
        "command": f"python benchmarks/inception_agreement.py --images {arguments.images}",
    }
    records = [
        {"package": found.package, "version": version(found.package), **asdict(found), **protocol} for found in rows
    ]
    with arguments.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, records[0])
        writer.writeheader()
        writer.writerows(records)


if __name__ == "__main__":
    main()
