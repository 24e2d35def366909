"""Opens other programs' files as checkpoints: imports them into the cache at first use."""

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
"""The cache's subfolder; it has one folder per import, which contains the checkpoint, named after the file."""


def as_checkpoint(path: Path) -> Path:
    """Converts another program's weights (see `runs.shared.is_foreign`) to a checkpoint; returns other paths unchanged.

    Nothing in the file is executed. The import is cached by the file's SHA-256 and our version. A warning at every use
    lists assumed settings.

    Raises:
        UserError: the file is not recognised, or needs a setting; the message has the command that sets it.
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
    """Hash of everything an import depends on: the content, the file name (is it G or G_ema?), our version."""
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
