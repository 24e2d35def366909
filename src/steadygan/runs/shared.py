"""Shared generators: a folder, a zip file of it, or a repository on the Hugging Face Hub.

model.safetensors       the averaged generator alone
config.json             describes the generator like a checkpoint's manifest: digests, source of imported weights
README.md               a model card; samples.png: its sample sheet
statistics.safetensors  only for imported generators published with batch-norm statistics per truncation

These files are untrusted, like images: nothing is executed, other file names are refused, and claimed sizes are not
trusted.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path, PurePosixPath

from steadygan.errors import UserError, require
from steadygan.files import SHARED_FILES, cache_root, sha256, whole_directory, zip_of_weights

CONFIG, MODEL = SHARED_FILES
CARD, SHEET = "README.md", "samples.png"
STATISTICS = "statistics.safetensors"
NAMES = (MODEL, CONFIG, CARD, SHEET, STATISTICS)
HUB = "hub:"
HUGGING_FACE = "pytorch_model.bin"
"""Names of weights files that Hugging Face writes next to a config.json."""
OURS = (".zip", ".safetensors", ".onnx", ".pt2", ".json", ".yaml", ".yml")
"""Suffixes of files that are not another program's weights."""
MOST_CONFIG = 16 << 20
"""Maximum size of config.json in bytes."""
MOST_RATIO, SPARE = 4, 1 << 20
"""Limit of a zip's unpacked size: a multiple of its own size plus a constant. Weights hardly compress."""
BLOCK = 1 << 20


def is_shared(path: Path) -> bool:
    """Whether a folder contains a shared generator."""
    return (path / CONFIG).is_file() and (path / MODEL).is_file()


def is_foreign(path: Path) -> bool:
    """Whether a path names another program's weights: a file such as .pkl, .pt or .pth, or a folder of them."""
    other = path.is_file() and path.suffix.lower() not in OURS and not _is_zip(path)
    return (path / HUGGING_FACE).is_file() or other


def is_elsewhere(path: Path) -> bool:
    """Whether a path names a zip file or a Hub repository instead of a folder."""
    return str(path).startswith(HUB) or _is_zip(path)


def _is_zip(path: Path) -> bool:
    """Whether a file is a zip of a shared generator: by its suffix, else by the files it lists."""
    if not path.is_file() or path.suffix.lower() in OURS:
        return path.is_file() and path.suffix.lower() == ".zip"
    try:
        with zip_of_weights(path) as archive:
            return {MODEL, CONFIG} <= {PurePosixPath(name).name for name in archive.namelist()}
    except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError, OSError):
        return False


def opened(path: Path) -> Path:
    """The folder of a shared generator: unpacks a zip, downloads `hub:USER/NAME`, returns other paths unchanged.

    Raises:
        UserError: the zip does not hold a shared generator, or the download fails.
    """
    if str(path).startswith(HUB):
        return fetched(path.as_posix())
    return unpacked(path) if is_elsewhere(path) else path


def unpacked(path: Path) -> Path:
    """Unpacks a zip into the cache, keyed by its SHA-256. Raises `UserError` if it does not hold a shared generator."""
    try:
        folder = cache_root() / "shared" / sha256(path)
        if is_shared(folder):
            return folder
        with zip_of_weights(path) as archive:
            entries = _entries(path, archive)
            with whole_directory(folder) as temporary:
                for name, entry in entries.items():
                    _extract(path, archive, entry, temporary / name)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, EOFError) as error:
        raise UserError(f"{path}: not a readable zip file: {error}") from error
    except (RuntimeError, OSError) as error:  # encrypted, or damaged compression
        raise UserError(f"{path}: cannot be read: {error}") from error
    return folder


def _entries(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The files of a shared generator in a zip, at the top level or in one folder, checked by name and size."""
    files = [entry for entry in archive.infolist() if not entry.is_dir()]
    places = {PurePosixPath(entry.filename).parent for entry in files}
    found = {PurePosixPath(entry.filename).name: entry for entry in files}
    if len(places) != 1 or len(found) != len(files) or len(next(iter(places)).parts) > 1:
        raise UserError(f"{path}: not a zip of a shared generator, whose files are all in one place")
    if wrong := sorted(set(found) - set(NAMES)):
        raise UserError(f"{path}: holds {wrong[0][:80]!r}, not a file of a shared generator ({', '.join(NAMES)})")
    if lacking := {MODEL, CONFIG} - found.keys():
        raise UserError(f"{path}: not a zip of a shared generator: it has no {min(lacking)}")
    if sum(entry.file_size for entry in files) > MOST_RATIO * path.stat().st_size + SPARE:
        raise UserError(f"{path}: would unpack to far more bytes than weights can; nothing was unpacked")
    return found


def _extract(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path) -> None:
    """Extracts one file, up to the size that the zip declares."""
    left = entry.file_size
    with archive.open(entry) as source, target.open("xb") as out:
        while block := source.read(BLOCK):
            left -= len(block)
            if left < 0:
                raise UserError(f"{path}: {entry.filename[:80]!r} is longer than the zip says")
            out.write(block)


def hub_name(text: str) -> tuple[str, str | None]:
    """(USER/NAME, revision) of `hub:USER/NAME` or `hub:USER/NAME@REVISION`. Raises `UserError` for anything else."""
    match = re.fullmatch(r"hub:([\w.-]{1,96}/[\w.-]{1,96})(?:@([\w./-]+))?", text)
    if match is None:
        raise UserError(f"{text} is invalid: give hub:USER/NAME, or hub:USER/NAME@REVISION")
    return match[1], match[2]


def fetched(text: str) -> Path:
    """Downloads the files of a shared generator from a Hub repository into the Hub's cache.

    Raises:
        UserError: huggingface_hub is not installed, the repository does not exist or has no generator, or there is no
        network.
    """
    name, revision = hub_name(text)
    require("huggingface_hub", "hf", text)
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=list(NAMES)))
    except Exception as error:  # huggingface_hub raises errors of several HTTP libraries.
        raise UserError(f"{text} cannot be fetched: {(str(error).splitlines() or [type(error).__name__])[0]}") from None
    if not is_shared(folder):
        raise UserError(f"{text} is not a generator that steadygan exported: it has no {CONFIG} with {MODEL}")
    return folder
