"""The data sets of published experiments, and how to get them."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from steadygan.data.containers.base import PART_BYTES
from steadygan.data.containers.registry import open_container
from steadygan.data.image_files import image_names
from steadygan.data.pack import pack
from steadygan.data.source import open_source
from steadygan.errors import UserError, nearest
from steadygan.files import make_folder, write_whole

Progress = Callable[[int, int], None]
TIMEOUT = 60
"""Download timeout in seconds."""


@dataclass(frozen=True)
class File:
    """One file of a data set.

    Attributes:
        source: a named `data.path` (torchvision, Hub), which is packed, or a URL (https://…), which is downloaded
            unchanged.
        images: the required number of images.
        size: side of the packed images in pixels; None: not packed.
    """

    source: str
    images: int
    size: int | None = None


@dataclass(frozen=True)
class Published:
    """A data set as named by presets: its files, and instructions for those that cannot be downloaded automatically."""

    files: Mapping[str, File]
    by_hand: str = ""


def _imagenet(size: int) -> Published:
    # The Hub requires a login and consent to ImageNet's terms; its client reports this.
    return Published({f"imagenet{size}.zip": File("hf:ILSVRC/imagenet-1k/train", 1_281_167, size)})


def _few(name: str, images: int) -> Published:
    return Published({f"{name}.zip": File(f"https://data-efficient-gans.mit.edu/datasets/{name}.zip", images)})


SETS: dict[str, Published] = {
    "cifar10": Published(
        {
            "cifar10_train.zip": File("torchvision:CIFAR10/train", 50_000, 32),
            "cifar10_test.zip": File("torchvision:CIFAR10/test", 10_000, 32),
        }
    ),
    "cifar100": Published(
        {
            "cifar100_train.zip": File("torchvision:CIFAR100/train", 50_000, 32),
            "cifar100_test.zip": File("torchvision:CIFAR100/test", 10_000, 32),
        }
    ),
    "celeba": Published({"celeba.zip": File("torchvision:CelebA/all", 202_599, 178)}),
    **{f"imagenet{size}": _imagenet(size) for size in (32, 64, 128, 256, 512)},
    **{f"100-shot-{name}": _few(f"100-shot-{name}", 100) for name in ("obama", "grumpy_cat", "panda")},
    "AnimalFace-cat": _few("AnimalFace-cat", 160),
    "AnimalFace-dog": _few("AnimalFace-dog", 389),
    "facades": Published(
        {"facades.tar.gz": File("https://efrosgans.eecs.berkeley.edu/pix2pix/datasets/facades.tar.gz", 606)}
    ),
    "ffhq256": Published({}, "FFHQ: github.com/NVlabs/ffhq-dataset has the images; pack the 70,000 with --size 256"),
    "ffhq64": Published({}, "FFHQ: github.com/NVlabs/ffhq-dataset has the images; pack the 70,000 with --size 64"),
    "lsuncat256": Published(
        {}, "LSUN cat: github.com/fyu/lsun downloads an LMDB; export its images, pack with --size 256"
    ),
    "celebahq": Published({}, "CelebA-HQ: github.com/tkarras/progressive_growing_of_gans says how its images are made"),
    "coco-animals": Published({}, "COCO animals: the images of COCO (cocodataset.org) with one of its ten animals"),
    "cufs_pairs": Published({}, "CUHK faces: mmlab.ie.cuhk.edu.hk, on request; sketches go to A/, photos to B/"),
}


def find_set(name: str) -> Published:
    """Finds a data set by its name, or by a file that presets name (`data/cifar10_train.zip`).

    Raises:
        UserError: it is unknown, or cannot be downloaded; the message says where to get it.
    """
    stem = Path(name).name
    known = [key for key, found in SETS.items() if key == name or stem in found.files or Path(stem).stem == key]
    if not known:
        raise UserError(f"no data set {name!r} is known; {nearest(name, SETS)}")
    found = SETS[known[0]]
    if not found.files:
        raise UserError(f"{known[0]} cannot be fetched by a command. {found.by_hand}")
    return found


def get(
    found: Published,
    folder: Path,
    *,
    root: str | None = None,
    progress: Callable[[str], Progress] = lambda name: lambda done, total: None,
) -> Iterator[tuple[Path, int, bool]]:
    """Downloads and packs the files of a data set that `folder` lacks.

    Args:
        found: the data set.
        folder: the output folder.
        root: torchvision's download folder (`data.root`).
        progress: returns, for a file's name, a callback for (done, total) in images or downloaded bytes.

    Yields:
        (file, number of images, whether it existed already).

    Raises:
        UserError: the download fails, the data set is gone, or the number of images is wrong.
    """
    make_folder(folder, folder)
    for name, file in found.files.items():
        out, there = folder / name, (folder / name).exists()
        if not there and file.size is None:
            write_whole(out, lambda target, file=file, name=name: _download(file.source, target, progress(name)))  # type: ignore[misc]
        elif not there:
            pack(open_source(file.source, size=file.size or 0, root=root), out, progress=progress(name))
        images = len(image_names(open_container(str(out))))
        if images != file.images:
            raise UserError(
                f"{out} has {images:,} images, and the papers' data {file.images:,}: remove it to fetch it again, or "
                "check whether its source has changed"
            )
        yield out, images, there


def _download(address: str, target: Path, progress: Progress) -> None:
    """Downloads a URL into a file."""
    try:
        with urllib.request.urlopen(address, timeout=TIMEOUT) as answer, target.open("wb") as out:
            total = int(answer.headers.get("Content-Length") or 0)
            _copy(answer, out, total, progress)
    except (urllib.error.URLError, TimeoutError, ConnectionError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise UserError(f"{address} cannot be fetched: {reason}") from None


def _copy(answer: IO[bytes], out: IO[bytes], total: int, progress: Progress) -> None:
    done = 0
    while part := answer.read(PART_BYTES):
        out.write(part)
        done += len(part)
        progress(done, max(done, total))
    if done < total:
        raise ConnectionError(f"it ended after {done:,} of {total:,} bytes")
