"""Atomic writing and bounded reading of files; locks between processes."""

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
# libyaml's loader, if available, reads presets in a third of the time.
YAML: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
LONGEST_YAML, DEEPEST_YAML, MOST_YAML = 1 << 20, 100, 100_000
PROBE_BYTES = 4 << 20
MOST_LIST = 4 << 20
"""Maximum bytes of the file list in a zip of weights, which takes about a hundred bytes per file."""
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".pdf", ".svg", ".mp4")
CHECKPOINT_FILES = ("manifest.json", "weights.safetensors")
"""Files by which a folder is recognised as a checkpoint."""
SHARED_FILES = ("config.json", "model.safetensors")
"""Files by which a folder is recognised as a shared generator."""


def write_whole(path: Path, write: Callable[[Path], object], *, durable: bool = True) -> None:
    """Calls `write` on a temporary file next to `path`, then syncs it and renames it into place.

    Args:
        path: the file, which gets the permissions of the process's umask.
        write: called with the temporary path; writes the file.
        durable: sync to disk. If False, readers still never see a partial file, but a power failure may restore the old
            one.

    Raises:
        UserError: the file cannot be written.
    """
    temporary = path.with_name(f".{path.stem}-{secrets.token_hex(4)}{path.suffix}")
    with _explained(path):
        try:
            temporary.touch(exist_ok=False)
            mode = temporary.stat().st_mode
            write(temporary)
            temporary.chmod(mode)  # a library that renames its own temporary file into place changes the inode
            if durable:
                _sync(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Writes UTF-8 text with `write_whole`, without converting line ends."""
    write_whole(path, lambda file: file.write_bytes(text.encode()), durable=durable)


@contextmanager
def whole_directory(path: Path) -> Iterator[Path]:
    """Context manager: a temporary directory that becomes `path` at exit, or is removed after an error.

    It and its files get the permissions of the process's umask. A replaced directory is kept as `.NAME-…-old` until the
    new one is in place.
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
    """A zip entry with fixed permissions and time, so that equal contents give equal zips.

    name: path with "/" between folders.
    """
    entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    entry.create_system, entry.external_attr = 3, 0o644 << 16
    return entry


def cache_root() -> Path:
    """The cache folder: STEADYGAN_CACHE, or a folder in the home directory."""
    return Path(os.environ.get("STEADYGAN_CACHE") or "~/.cache/steadygan").expanduser()


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Careful(io.BufferedReader):
    """A zip of weights; refuses zips with more files than weights can have."""

    def read(self, size: int | None = -1, /) -> bytes:
        whole = size is None or size < 0
        data = super().read(MOST_LIST + 1 if whole else min(size or 0, MOST_LIST + 1))
        if len(data) > MOST_LIST:
            raise zipfile.BadZipFile("it lists more files than a zip of weights has")
        return data


@contextmanager
def zip_of_weights(path: Path) -> Iterator[zipfile.ZipFile]:
    """Opens an untrusted zip. Python lists all files of a zip when opening it, so the list's size is bounded first.

    Raises:
        zipfile.BadZipFile, OSError: the file is not a zip, or lists too many files.
    """
    with _Careful(io.FileIO(path)) as file, zipfile.ZipFile(file) as archive:
        yield archive


def read_text(path: Path) -> str:
    """Reads a UTF-8 file. Raises `UserError` if it is missing or cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start}); is it damaged, or another file?") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error


def read_json(path: Path) -> dict[str, Any]:
    """Reads the object in a JSON file. Raises `UserError` if it is missing, damaged, or not an object."""
    try:
        found = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: damaged: {str(error)[:200]}") from None
    if not isinstance(found, dict):
        raise UserError(f"{path}: damaged: a {type(found).__name__} where an object is expected")
    return found


def key_given_twice(text: str) -> str:
    """Which key a YAML text gives twice in one table, of which YAML would keep the last; empty where there is none.

    Raises yaml.YAMLError where it is no YAML.
    """
    root = yaml.compose(text, YAML)
    rest, seen = [] if root is None else [(root, "")], set[int]()
    while rest:
        node, path = rest.pop()
        if id(node) in seen:  # an alias
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            rest += [(child, path) for child in node.value]
        elif isinstance(node, yaml.MappingNode):
            lines: dict[tuple[str, str], int] = {}
            for key, value in node.value:
                place, line = (key.tag, str(key.value)), key.start_mark.line + 1
                name = f"{path}.{key.value}" if path else str(key.value)
                if isinstance(key, yaml.ScalarNode) and key.value != "<<" and place in lines:
                    where = f"lines {lines[place]} and {line}" if lines[place] != line else f"line {line}"
                    return f"{name} is given twice, in {where}"
                lines[place] = line
                rest.append((value, name))
    return ""


def parse_yaml(text: str, source: object) -> Any:
    """Parses YAML.

    Raises:
        UserError: it is not valid YAML, gives a key twice, or is longer or deeper than any configuration, which could
            take minutes to parse.
    """
    depth = deepest = 0
    for bracket in re.findall(r"[\[{}\]]", text[:LONGEST_YAML]):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    if len(text) > LONGEST_YAML or deepest > DEEPEST_YAML:
        what = f"over {LONGEST_YAML >> 20} MiB" if len(text) > LONGEST_YAML else f"brackets nested {deepest} deep"
        raise UserError(f"{source}: {what}: not a configuration; is it the wrong file, or damaged?")
    try:
        if twice := key_given_twice(text):
            raise UserError(f"{source}: {twice}: keep one of them")
        tree = yaml.load(text, YAML)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{source}: not valid YAML: {_place(error)}; correct it") from error
    # Nested aliases can expand beyond any memory, or refer to themselves.
    rest, seen = [(tree, 0)], 0
    while rest:
        (node, depth), seen = rest.pop(), seen + 1
        if depth > DEEPEST_YAML or seen > MOST_YAML:
            raise UserError(
                f"{source}: its aliases (*name) expand to more than a configuration can hold; write it without them"
            )
        if isinstance(node, dict | list):
            rest += [(child, depth + 1) for child in (node.values() if isinstance(node, dict) else node)]
    return tree


def _place(error: Exception) -> str:
    """What is wrong with a YAML text, and where, in one line."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None or problem is None:
        return (str(error).splitlines() or [type(error).__name__])[0][:200]
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"


def check_folder(folder: Path, out: Path, *, option: str = "--out") -> None:
    """Checks, before any work, that a folder exists or can be created, and is writable.

    Args:
        folder: the output folder.
        out: the option's value, for messages.
        option: the name of the command-line option.

    Raises:
        UserError: it is not writable, or is a checkpoint, whose files must not change.
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
        raise UserError(f"{option} {out}: cannot be created: {nearest} {reason}; name another place with {option}")


def check_picture(out: Path, known: Sequence[str] = (".png",)) -> None:
    """Checks that the path of an output folder does not have the suffix of an image file.

    Args:
        out: the option's value.
        known: suffixes of supported single images.

    Raises:
        UserError: it has the suffix of another image format.
    """
    if out.suffix.lower() in PICTURES and out.suffix.lower() not in known:
        written = f"a {' or '.join(known)} for one sheet, or " if known else ""
        raise UserError(f"--out {out}: no {out.suffix} is written here; name {written}a folder, for PNG files")


def check_apart(out: Path, taken: Path, why: str, *, option: str = "--out") -> None:
    """Checks that an output path does not overlap an input.

    Args:
        out: the file or folder to write.
        taken: the input, a file or folder.
        why: description of the conflict, for the message: "the input, which …".
        option: the name of the command-line option.

    Raises:
        UserError: `out` is `taken`, or lies inside it, links followed.
    """
    ours, theirs = out.expanduser().resolve(), taken.expanduser().resolve()
    if ours == theirs or theirs in ours.parents:
        place = "is" if ours == theirs else f"lies inside {taken},"
        raise UserError(f"{option} {out}: {place} {why}; name another place")


def make_folder(folder: Path, out: Path) -> None:
    """Creates a folder and its parents. Raises `UserError` that names `out`, the value of --out."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {out}: the folder {folder} cannot be created: {error.strerror or error}") from error


def lock(path: Path, *, seconds: float = 0) -> FileLock | None:
    """Takes a lock on `path`, released at the latest when this process ends; None if another process holds it.

    Args:
        path: a lock file, created if missing.
        seconds: maximum time to wait.

    Raises:
        UserError: the file cannot be written, or its file system does not support locks.
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
                f"{path}: no locks on this file system ({getattr(error, 'strerror', None) or error}), so that two "
                "writers would not notice each other; use a folder on another file system"
            ) from error
        raise UserError(f"{path.parent}: cannot be written: {error.strerror or error}") from error
    return found


def write_failure(folder: Path) -> str | None:
    """The system's reason why nothing can be written into a folder; None if it is writable.

    Libraries that write files report a full disk with unclear messages.
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
    if os.name != "posix" and path.is_dir():  # only POSIX can open directories
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
        raise UserError(f"{path}: cannot be written: {error.strerror or error}; the old file is unchanged") from error
