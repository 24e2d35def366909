"""Writing files so that they are there whole, or not at all; reading them; locks between processes."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import re
import secrets
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from steadygan.errors import UserError

if TYPE_CHECKING:
    from filelock import FileLock

NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}
"""Errors of file systems without locks."""
# libyaml's, where it is there, reads all presets in a third of the time.
YAML: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
LONGEST_YAML, DEEPEST_YAML, MOST_YAML = 1 << 20, 100, 100_000
PROBE_BYTES = 4 << 20
MOST_LIST = 4 << 20
"""Bytes of the list of files in a zip of weights, of which each file takes about a hundred."""
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".pdf", ".svg", ".mp4")
CHECKPOINT_FILES = ("manifest.json", "weights.safetensors")
"""The files that make a folder a checkpoint."""
SHARED_FILES = ("config.json", "model.safetensors")
"""What makes a folder a generator that was given away."""


def write_whole(path: Path, write: Callable[[Path], object], *, durable: bool = True) -> None:
    """Calls `write` on a temporary file next to `path`, then syncs it and renames it into place.

    Args:
        path: the file; it has the permissions that the process's umask leaves.
        write: fills the file whose path it gets.
        durable: waits until the disk has it; without, the file is whole for every reader, but a power cut may bring
            the old one back.

    Raises:
        UserError: it cannot be written.
    """
    temporary = path.with_name(f".{path.stem}-{secrets.token_hex(4)}{path.suffix}")
    with _explained(path):
        try:
            temporary.touch(exist_ok=False)
            mode = temporary.stat().st_mode
            write(temporary)
            temporary.chmod(mode)  # a library that renames its own temporary file into place has another
            if durable:
                _sync(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """`write_whole` of UTF-8 text, with the line ends it has."""
    write_whole(path, lambda file: file.write_bytes(text.encode()), durable=durable)


@contextmanager
def whole_directory(path: Path) -> Iterator[Path]:
    """A temporary directory that becomes `path` when the block ends without an error, and is removed otherwise.

    It and its files have the permissions that the process's umask leaves. A directory that is replaced stays, as
    `.NAME-…-old`, until the new one is in its place.
    """
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
        temporary.mkdir()
        try:
            yield temporary
            mode = temporary.stat().st_mode & 0o666
            for file in temporary.iterdir():
                if file.is_file():
                    file.chmod(mode)
                _sync(file)
            _sync(temporary)
            if path.exists():
                aside = path.replace(temporary.with_name(f"{temporary.name}-old"))
                temporary.replace(path)
                shutil.rmtree(aside)
            else:
                temporary.replace(path)
            _sync(path.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def zip_entry(name: str) -> zipfile.ZipInfo:
    """A file in a zip: everyone who unpacks it can read it, and equal contents make equal zips.

    name: with "/" between folders.
    """
    entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    entry.create_system, entry.external_attr = 3, 0o644 << 16
    return entry


def cache_root() -> Path:
    """Where what can be made again is kept: STEADYGAN_CACHE, or a folder in the home directory."""
    return Path(os.environ.get("STEADYGAN_CACHE") or "~/.cache/steadygan").expanduser()


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Careful(io.BufferedReader):
    """A zip of weights, in which nothing is read that has a longer list of files than such zips have."""

    def read(self, size: int | None = -1, /) -> bytes:
        whole = size is None or size < 0
        data = super().read(MOST_LIST + 1 if whole else min(size or 0, MOST_LIST + 1))
        if len(data) > MOST_LIST:
            raise zipfile.BadZipFile("it lists more files than a zip of weights has")
        return data


@contextmanager
def zip_of_weights(path: Path) -> Iterator[zipfile.ZipFile]:
    """A stranger's zip, to be read. Python lists a zip's files before anybody can ask how many there are.

    Raises:
        zipfile.BadZipFile, OSError: what is no zip, or one of very many files.
    """
    with _Careful(io.FileIO(path)) as file, zipfile.ZipFile(file) as archive:
        yield archive


def read_text(path: Path) -> str:
    """A UTF-8 file. Raises `UserError` if it cannot be read or is missing."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start}); is it damaged, or another file?") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises `UserError` where there is none, or it cannot be read."""
    try:
        found = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: damaged: {str(error)[:200]}") from None
    if not isinstance(found, dict):
        raise UserError(f"{path}: damaged: a {type(found).__name__} where an object is expected")
    return found


def parse_yaml(text: str, source: object) -> Any:
    """What a YAML text says.

    Raises:
        UserError: it is no YAML, or longer or deeper than any configuration: a parser would take minutes for it.
    """
    depth = deepest = 0
    for bracket in re.findall(r"[\[{}\]]", text[:LONGEST_YAML]):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    if len(text) > LONGEST_YAML or deepest > DEEPEST_YAML:
        what = f"over {LONGEST_YAML >> 20} MiB" if len(text) > LONGEST_YAML else f"brackets nested {deepest} deep"
        raise UserError(f"{source}: {what}: that is no configuration; is the file damaged, or another one?")
    try:
        tree = yaml.load(text, YAML)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{source}: not valid YAML: {str(error)[:500]}") from error
    # A few aliases of aliases stand for more than any memory holds, or for themselves.
    rest, seen = [(tree, 0)], 0
    while rest:
        (node, depth), seen = rest.pop(), seen + 1
        if depth > DEEPEST_YAML or seen > MOST_YAML:
            raise UserError(f"{source}: its aliases (*name) stand for more than a configuration holds; write it out")
        if isinstance(node, dict | list):
            rest += [(child, depth + 1) for child in (node.values() if isinstance(node, dict) else node)]
    return tree


def check_folder(folder: Path, out: Path, *, option: str = "--out") -> None:
    """Checks, before the work is done, that a folder is there or can be made, and that it can be written.

    Args:
        folder: where files will be.
        out: the option's value, for messages.
        option: how the command line calls `out`.

    Raises:
        UserError: not so, or it is a checkpoint, whose files are hashed.
    """
    for parent in (folder, *folder.absolute().parents):
        if any(all((parent / name).is_file() for name in files) for files in (CHECKPOINT_FILES, SHARED_FILES)):
            raise UserError(
                f"{option} {out}: {parent} is a checkpoint, which holds its own files only; name another place"
            )
    if folder.name == "checkpoints" and (folder.parent / "config.yaml").is_file():
        raise UserError(f"{option} {out}: {folder} is for the checkpoints of a run alone; name another place")
    nearest = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        reason = "cannot be written (permission denied)" if nearest.is_dir() else "is no folder"
        raise UserError(f"{option} {out}: cannot be made: {nearest} {reason}; name another place with {option}")


def check_picture(out: Path, known: Sequence[str] = (".png",)) -> None:
    """Checks that an output which is to be a folder is not called like a picture.

    Args:
        out: the option's value.
        known: the endings of single pictures that can be written.

    Raises:
        UserError: it ends like a picture of another kind.
    """
    if out.suffix.lower() in PICTURES and out.suffix.lower() not in known:
        written = f"a {' or '.join(known)} for one sheet, or " if known else ""
        raise UserError(f"--out {out}: no {out.suffix} is written here; name {written}a folder, for PNG files")


def check_apart(out: Path, taken: Path, why: str, *, option: str = "--out") -> None:
    """Checks that an output does not lie where something else is read from.

    Args:
        out: the file or folder to write.
        taken: what must not change, a file or a folder.
        why: what it is, and what would happen, for the message: "the input, which …".
        option: how the command line calls `out`.

    Raises:
        UserError: `out` is `taken`, or lies inside it, links followed.
    """
    ours, theirs = out.expanduser().resolve(), taken.expanduser().resolve()
    if ours == theirs or theirs in ours.parents:
        place = "is" if ours == theirs else f"lies inside {taken},"
        raise UserError(f"{option} {out}: {place} {why}; name another place")


def make_folder(folder: Path, out: Path) -> None:
    """Makes a folder, with those above it. Raises `UserError` naming `out`, the value of --out."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {out}: the folder {folder} cannot be made: {error.strerror or error}") from error


def lock(path: Path, *, seconds: float = 0) -> FileLock | None:
    """A lock on `path`, which ends with this process at the latest; None while another holder has it.

    Args:
        path: a separate file for the lock, created if missing.
        seconds: how long to wait for the other holder.

    Raises:
        UserError: the file cannot be written, or its file system has no locks.
    """
    from filelock import FileLock, Timeout  # imports asyncio and sqlite

    found = FileLock(path, timeout=seconds, thread_local=False)
    try:
        found.acquire()
    except Timeout:
        return None
    except (OSError, NotImplementedError) as error:
        if isinstance(error, NotImplementedError) or error.errno in NO_LOCKS:
            raise UserError(
                f"{path}: this file system has no locks ({getattr(error, 'strerror', None) or error}), so that two "
                "writers would not notice each other; use a folder on another file system"
            ) from error
        raise UserError(f"{path.parent}: cannot be written: {error.strerror or error}") from error
    return found


def write_failure(folder: Path) -> str | None:
    """Why nothing more can be written into a folder, in the system's words; None when something can.

    Libraries that write files themselves report a full disk with unclear messages.
    """
    probe = folder / f".probe-{secrets.token_hex(4)}"
    try:
        with probe.open("xb") as file:
            file.write(bytes(PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.strerror or str(error)
    finally:
        probe.unlink(missing_ok=True)
    return None


def _sync(path: Path) -> None:
    if os.name != "posix" and path.is_dir():  # only POSIX opens directories
        return
    descriptor = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}; what was there is untouched") from error
