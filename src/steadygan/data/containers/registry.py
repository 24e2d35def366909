"""The registry of container kinds, tried in order by `open_container`; custom ones by module:NAME."""

from __future__ import annotations

import glob
import os
import re
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from steadygan.data.containers import hub, tar, vision
from steadygan.data.containers.base import EXTENSIONS, HEAD_BYTES, Container, image_format
from steadygan.data.containers.folder import Folder
from steadygan.data.containers.parquet import Parquet, check_one_split
from steadygan.data.containers.tar import Tar
from steadygan.data.containers.zip import Zip
from steadygan.data.digits import EMBEDDED
from steadygan.data.places import data_root
from steadygan.errors import UserError
from steadygan.names import not_text
from steadygan.options import check_takes, find

PARQUET = (".parquet",)
TORCHVISION = {
    _name.casefold(): _name
    for _name in ("CIFAR10", "CIFAR100", "MNIST", "FashionMNIST", "KMNIST", "EMNIST", "SVHN", "STL10", "CelebA", "LSUN")
}
"""Common torchvision data sets by lower-case name."""
OWN = re.compile(r"((?:\w+\.)*\w+:[A-Za-z_]\w*)(?::(.*))?", re.DOTALL)
"""`module:NAME` or `module:NAME:REST`: a custom container."""


@dataclass(frozen=True)
class Kind:
    """One kind of container.

    Attributes:
        name: for messages.
        recognises: whether a `data.path` is of this kind.
        open: opens such a path; `root` (`data.root`) is the folder of downloaded data sets. Raises UserError.
        named: whether paths are data set names rather than paths on disk.
    """

    name: str
    recognises: Callable[[str], bool]
    open: Callable[[str, str | None], Container]
    named: bool = False


def is_name(path: str) -> bool:
    """Whether `path` is a data set name (embedded, torchvision, Hub, custom) rather than a path on disk."""
    if path in EMBEDDED:
        return True
    kind = _kind(path)
    return kind is not None and kind.named


def open_container(path: str, root: str | None = None) -> Container:
    """Opens `path`: a folder, zip, tar or parquet file, shards by glob or folder, or a data set name.

    `root` is the folder of torchvision data sets (see `places.data_root`). Raises UserError.
    """
    if not path.strip():
        raise UserError("data.path is empty: give the images' path (. for the current directory)")
    kind = _kind(path)
    if kind is None:
        raise UserError(
            f"{path} does not exist{_meant(path)}: give a folder, zip, tar or parquet file of images, "
            f"torchvision:NAME, hf:USER/NAME, or {' or '.join(EMBEDDED)} (your own: module:NAME:PATH)"
        )
    if not kind.named and (strange := not_text(os.path.abspath(_place(path)))):
        raise UserError(f"the path {strange} is not valid UTF-8, so no run can record it: rename its folder or file")
    return kind.open(path, root)


def _meant(path: str) -> str:
    """A hint, in brackets, at the meaning of a path that does not exist; empty if there is none."""
    plain = path.strip().strip("'\"")
    if plain != path and (plain in EMBEDDED or _place(plain).exists()):
        return f" (it is {plain}, without quotes and spaces)"
    if "://" in path:
        return " (URLs are not supported: download the file and give its path)"
    if re.search(r"\$\w|\$\{|%\w+%", path):
        return " (its variable was not expanded: shells expand only outside single quotes)"
    if plain.casefold() in EMBEDDED or (close := get_close_matches(plain.casefold(), EMBEDDED, n=1, cutoff=0.8)):
        return f" (did you mean {plain.casefold() if plain.casefold() in EMBEDDED else close[0]!r}?)"
    prefix, colon, rest = path.partition(":")
    if colon and f"{prefix.casefold()}:" in (vision.PREFIX, hub.PREFIX):
        return f" (did you mean {prefix.casefold()}:{rest}?)"
    if _squashed(plain) in TORCHVISION:
        return f" (did you mean {vision.PREFIX}{TORCHVISION[_squashed(plain)]}?)"
    place = _place(plain)
    with suppress(OSError):
        beside = {entry.name.casefold(): entry for entry in place.parent.iterdir()}
        if found := get_close_matches(place.name.casefold(), beside, n=1, cutoff=0.75):
            return f" (did you mean {beside[found[0]]}?)"
    return ""


def _squashed(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.casefold())


def _kind(path: str) -> Kind | None:
    return next((kind for kind in KINDS if kind.recognises(path)), None)


def _place(path: str) -> Path:
    return Path(path).expanduser()


def _is_own(path: str) -> bool:
    # A single letter is a Windows drive; an existing file may have a colon in its name.
    match = OWN.fullmatch(path)
    return match is not None and len(match[1].partition(":")[0]) > 1 and not _place(path).exists()


def _open_own(path: str, root: str | None) -> Container:
    """`module:NAME:REST`: calls the module's NAME with the text REST; returns the container."""
    match = OWN.fullmatch(path)
    assert match is not None
    made = find(match[1], {}, where="data.path", noun="container")
    check_takes(made, "a path", where=f"data.path: {match[1]}")
    found = made(match[2] or "")
    if not isinstance(found, Container):
        raise UserError(
            f"data.path: {match[1]} must return a steadygan.data.containers.base.Container, not {found!r:.80}"
        )
    return found


def _open_glob(path: str, root: str | None) -> Container:
    return _open_shards(sorted(Path(entry) for entry in glob.glob(str(_place(path)), recursive=True)), path)


def _open_folder(place: Path) -> Container:
    """A folder of images or, if it has none, of tar or parquet shards."""
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
    except Exception as error:  # zipfile and tarfile can raise any exception on damaged bytes.
        seen = _seen(place) or error
        raise UserError(
            f"{place} is neither a folder nor a valid zip, tar or parquet file ({seen}): give one of them"
        ) from None


def _seen(place: Path) -> str:
    """Describes a file that is not a container, by its first bytes."""
    with suppress(OSError), place.open("rb") as file:
        head = file.read(HEAD_BYTES)
        if not head:
            return "it is empty"
        if head.startswith((b"Rar!", b"7z\xbc\xaf")):
            return "a rar or 7z archive: unpack it"
        if (format := image_format(head)) is not None:
            return f"one {format} image: give its folder"
    return ""


KINDS = (
    Kind(
        "torchvision",
        lambda path: path.startswith(vision.PREFIX),
        lambda path, root: vision.open_vision(path, data_root(root)),
        named=True,
    ),
    Kind(
        "Hugging Face Hub", lambda path: path.startswith(hub.PREFIX), lambda path, root: hub.open_hub(path), named=True
    ),
    Kind("folder", lambda path: _place(path).is_dir(), lambda path, root: _open_folder(_place(path))),
    Kind("file", lambda path: _place(path).exists(), lambda path, root: _open_file(_place(path))),
    Kind("your own", _is_own, _open_own, named=True),
    Kind("shards", glob.has_magic, _open_glob),
)
"""In the order in which they are tried."""
