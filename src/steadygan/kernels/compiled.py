"""Compiled C libraries: built once, cached, and loaded only if unmodified.

Libraries run with the rights of the process, so they are never loaded from a folder or file that another user can
write. The bytes are read, compared with the SHA-256 in the file name, and loaded from a private copy in memory: later
changes of the file have no effect, and folders may be mounted noexec.

The compiler runs only within `building` (training). Elsewhere (sampling), torch's operators replace missing libraries.
STEADYGAN_COMPILED=0 switches compiled code off.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from pathlib import Path

from steadygan.files import cache_root

FLAGS = ("-O3", "-march=native", "-fopenmp", "-fPIC", "-Wno-psabi")  # vectors are not passed to other code
MOST = 64
"""Number of most recently used libraries to keep; a run needs about twenty."""
LEFT_OVER = 86400
"""Seconds after which files of an unfinished build are removed."""

_building: ContextVar[bool] = ContextVar("building", default=False)
_loaded: dict[str, ctypes.CDLL] = {}


class BuildError(Exception):
    """Kernels cannot be compiled; the message has the reason."""


class NotBuiltError(BuildError):
    """The library has not been compiled yet: training compiles it."""


class WrongCodeError(BuildError):
    """The compiled code gives wrong results."""


@contextmanager
def building() -> Iterator[None]:
    """Context manager: missing libraries are compiled in this thread, which takes seconds."""
    before = _building.set(True)
    try:
        yield
    finally:
        _building.reset(before)


def is_building() -> bool:
    """Whether the compiler may run in this thread."""
    return _building.get()


def library(source: str) -> ctypes.CDLL:
    """The library of C code: already loaded, cached, or compiled within `building`. Raises BuildError."""
    if os.environ.get("STEADYGAN_COMPILED") == "0":
        raise BuildError("switched off by STEADYGAN_COMPILED=0")
    if sys.platform != "linux":
        raise BuildError(f"not on {sys.platform}")
    command = compiler()
    key = hashlib.sha256("\0".join((source, *command, _identity(command), _processor(), *FLAGS)).encode()).hexdigest()
    if key not in _loaded:
        folder = _folder()
        code = None if folder is None else _kept(folder, key[:32])
        if code is None:
            if not is_building():
                raise NotBuiltError("not compiled yet (training does, and keeps it)")
            code = _compile(source, command, folder, key[:32])
        _loaded[key] = _load(code, key[:32])
    return _loaded[key]


def forget(source: str) -> None:
    """Deletes the cached library of C code that gave wrong results."""
    with suppress(BuildError):
        command = compiler()
        whole = "\0".join((source, *command, _identity(command), _processor(), *FLAGS))
        key = hashlib.sha256(whole.encode()).hexdigest()
        _loaded.pop(key, None)
        if folder := _folder():
            for path in folder.glob(f"{key[:32]}-*.so"):
                path.unlink(missing_ok=True)


def compiler() -> tuple[str, ...]:
    """The command that compiles C: CC, or cc. Raises BuildError."""
    command = shlex.split(os.environ.get("CC", "cc"))
    if not command or shutil.which(command[0]) is None:
        raise BuildError(f"no C compiler ({' '.join(command) or 'CC is empty'})")
    return tuple(command)


def _identity(command: tuple[str, ...]) -> str:
    """Path, size and time of the command's programs, which identify a compiler without running it."""
    paths = [Path(found).resolve() for word in command if (found := shutil.which(word))]
    return " ".join(f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in paths)


@cache
def _processor() -> str:
    """The properties of the machine that `-march=native` depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.machine()
    wanted = [line for line in lines if re.match(r"(vendor_id|cpu family|model|flags|Features|CPU part)\b", line)]
    return "\n".join((platform.machine(), *sorted(set(wanted))))


def _folder() -> Path | None:
    """The folder of compiled libraries; None if there is none, or if other users can write to it."""
    try:
        folder = cache_root() / "code"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder if _is_ours(folder.stat()) and os.access(folder, os.R_OK | os.X_OK) else None
    except (OSError, RuntimeError):  # the latter without a home directory
        return None


def _is_ours(status: os.stat_result) -> bool:
    """Whether no other user can write it."""
    return status.st_uid == os.getuid() and not status.st_mode & 0o022


def _kept(folder: Path, key: str) -> bytes | None:
    """The bytes of a cached library if they match their hash; a damaged one is deleted."""
    for path in folder.glob(f"{key}-*.so"):
        with suppress(OSError):
            # Non-blocking, as a pipe of that name would block.
            with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
                ours, code = _is_ours(os.fstat(file.fileno())), file.read()
            if ours and path.stem == f"{key}-{_digest(code)}":
                with suppress(OSError):
                    os.utime(path)  # keep the most recently used
                return code
            path.unlink()
    return None


def _digest(code: bytes) -> str:
    return hashlib.sha256(code).hexdigest()


def _compile(source: str, command: tuple[str, ...], folder: Path | None, key: str) -> bytes:
    """Compiles a library in a private folder next to the cache, caches it if possible, and returns its bytes."""
    for place in (folder, None):
        with suppress(OSError), tempfile.TemporaryDirectory(prefix=".build-", dir=place) as name:
            made = Path(name) / "code.so"
            made.with_suffix(".c").write_text(source)
            _run([*command, *FLAGS, "-c", str(made.with_suffix(".c")), "-o", str(made.with_suffix(".o"))])
            # Linked without -fopenmp: torch has loaded an OpenMP, and a second one would start its own threads.
            _run([*command, "-shared", str(made.with_suffix(".o")), "-o", str(made)])
            code = made.read_bytes()
            if place is not None:
                made.chmod(0o600)
                made.replace(place / f"{key}-{_digest(code)}.so")
                _tidy(place)
            return code
    raise BuildError("no writable folder to compile in; set STEADYGAN_CACHE or TMPDIR to one")


def _tidy(folder: Path) -> None:
    """Keeps the `MOST` most recently used libraries; deletes others and leftovers."""
    with suppress(OSError):
        kept = sorted(folder.glob("*.so"), key=lambda path: path.stat().st_mtime_ns)
        for path in kept[:-MOST]:
            path.unlink(missing_ok=True)
        for path in folder.glob(".build-*"):
            if time.time() - path.stat().st_mtime > LEFT_OVER:
                shutil.rmtree(path, ignore_errors=True)


def _load(code: bytes, key: str) -> ctypes.CDLL:
    """Loads bytes as a library, from memory."""
    try:
        descriptor = os.memfd_create(f"steadygan-{key}")
        with open(os.dup(descriptor), "wb") as file:
            file.write(code)
        # The descriptor stays open: a second library under the same path would be taken for the first.
        return ctypes.CDLL(f"/proc/self/fd/{descriptor}")
    except OSError as error:
        raise BuildError(f"the code cannot be loaded: {error}") from error


def _run(command: list[str]) -> None:
    try:
        subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines() or ["no message"]
        reason = next((line for line in lines if "error" in line), lines[0])
        raise BuildError(f"{command[0]} failed: {reason}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"{command[0]}: {error}") from error
