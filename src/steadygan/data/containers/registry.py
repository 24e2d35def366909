"""Where images are kept: one class for each kind of place, chosen by `open_container`."""

from __future__ import annotations

import glob
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from steadygan.data.containers import hub, tar, vision
from steadygan.data.containers.base import EXTENSIONS, Container
from steadygan.data.containers.folder import Folder
from steadygan.data.containers.parquet import Parquet, check_one_split
from steadygan.data.containers.tar import Tar
from steadygan.data.containers.zip import Zip
from steadygan.data.digits import EMBEDDED
from steadygan.data.places import data_root
from steadygan.errors import UserError

PARQUET = (".parquet",)


def is_name(path: str) -> bool:
    """Whether `path` names a data set (embedded, torchvision's, the Hub's) rather than a place on disk."""
    return path in EMBEDDED or path.startswith((vision.PREFIX, hub.PREFIX))


def open_container(path: str, root: str | None = None) -> Container:
    """What `path` stands for: a folder, zip, tar or parquet file, shards by glob or folder, or a data set's name.

    `root` is where torchvision's data sets lie (see `places.data_root`). Raises UserError.
    """
    if path.startswith(vision.PREFIX):
        return vision.open_vision(path, data_root(root))
    if path.startswith(hub.PREFIX):
        return hub.open_hub(path)
    place = Path(path).expanduser()
    if place.is_dir():
        return _open_folder(place)
    if place.exists():
        return _open_file(place)
    if glob.has_magic(path):
        return _open_shards(sorted(Path(entry) for entry in glob.glob(str(place), recursive=True)), path)
    raise UserError(
        f"{path} does not exist: give a folder, zip, tar or parquet file of images, torchvision:NAME, hf:USER/NAME, "
        f"or {' or '.join(EMBEDDED)}"
    )


def _open_folder(place: Path) -> Container:
    """A folder of images; or, where there are none, of tar or parquet shards."""
    folder = Folder(place)
    names = [name for name in folder.names() if not Path(name).name.startswith(".")]
    if not any(name.lower().endswith(EXTENSIONS) for name in names):
        for suffixes in (tar.SUFFIXES, PARQUET):
            if shards := [place / name for name in sorted(names) if name.lower().endswith(suffixes)]:
                if suffixes == PARQUET:
                    check_one_split(shards)
                return _open_shards(shards, str(place))
    return folder


def _open_shards(shards: Sequence[Path], path: str) -> Container:
    for suffixes, kind in ((tar.SUFFIXES, Tar), (PARQUET, Parquet)):
        if shards and all(shard.name.lower().endswith(suffixes) for shard in shards):
            return kind(shards)
    found = f"matches {shards[0]}" if shards else "matches nothing"
    raise UserError(f"{path} {found}: shards are files ending in {' '.join((*tar.SUFFIXES, *PARQUET))}")


def _open_file(place: Path) -> Container:
    try:
        with place.open("rb") as file:
            magic = file.read(4)
        if magic == b"PAR1":
            return Parquet([place])
        if place.name.lower().endswith(tar.SUFFIXES) or (not zipfile.is_zipfile(place) and tarfile.is_tarfile(place)):
            return Tar([place])
        return Zip(place)
    except UserError:
        raise
    except Exception as error:  # zipfile and tarfile raise nearly anything on damaged bytes.
        raise UserError(
            f"{place} is neither a folder nor a sound zip, tar or parquet file ({error}): give one of them"
        ) from None
