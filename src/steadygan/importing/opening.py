"""Other programs' files where a checkpoint is expected: imported into the cache at the first use, then read from
there."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path

from steadygan._version import __version__
from steadygan.errors import UserError, command_line
from steadygan.files import cache_root, sha256
from steadygan.importing.convert import import_files
from steadygan.importing.layouts.common import Unsaid
from steadygan.runs.checkpoint import MANIFEST, read_manifest
from steadygan.runs.shared import CONFIG, HUGGING_FACE, is_foreign

IMPORTED = "imported"
"""The folder in the cache; below it one for each import, and in that the checkpoint, which has the file's name."""


def as_checkpoint(path: Path) -> Path:
    """The checkpoint made of another program's file of weights (see `runs.shared.is_foreign`); other paths as they are.

    Nothing in the file is run. The import lies in the cache, by the SHA-256 of the file and our version. What the file
    does not say and was assumed is warned about at every use.

    Raises:
        UserError: the file is not understood, or needs a setting, with the command that gives it.
    """
    if not is_foreign(path):
        return path
    folder = cache_root() / IMPORTED / _key(path) / path.stem
    if not (folder / MANIFEST).is_file():
        try:
            import_files([path], folder)
        except Unsaid as error:
            command = _command(path, "--set", f"{error.name}=VALUE")
            raise UserError(f"{path}: {error.what}: {command}") from error
    assumed = read_manifest(folder, ())["origin"].get("assumed") or []
    if assumed:
        warnings.warn(f"{path}: assumed {'; '.join(map(str, assumed))}", stacklevel=2)
    return folder


def _key(path: Path) -> str:
    """Of all that decides what an import makes: the content, the name (is it G or G_ema?), our version."""
    file = path / HUGGING_FACE if path.is_dir() else path
    files = [file, file.with_name(CONFIG)] if file.name == HUGGING_FACE else [file]
    try:
        digests = [sha256(file) for file in files if file.is_file()]
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    return hashlib.sha256("\n".join([__version__, file.name, *digests]).encode()).hexdigest()


def _command(path: Path, *settings: str) -> str:
    """The command that imports the file with other settings, or with the other files that belong to it."""
    return f"`{command_line('import', path, *settings, '--out', 'FOLDER')}`, then use FOLDER"
