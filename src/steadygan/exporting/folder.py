"""Exports a folder or zip from which `steadygan.load` generates the checkpoint's images, bit for bit."""

from __future__ import annotations

import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from steadygan._version import __version__
from steadygan.exporting.card import card
from steadygan.exporting.subject import Subject
from steadygan.files import sha256, whole_directory, write_whole, zip_entry
from steadygan.generators.generator import Generator
from steadygan.pictures.grid import save_grid
from steadygan.runs.checkpoint import AVERAGED, FORMAT, network_digests, read_statistics, weights_digest
from steadygan.runs.shared import CARD, CONFIG, MODEL, SHEET, STATISTICS

SAMPLES, COLUMNS = 32, 8


def write(subject: Subject, out: Path) -> None:
    with whole_directory(out) as temporary:
        fill(subject, temporary)


def write_zip(subject: Subject, out: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        fill(subject, Path(folder))
        write_whole(out, lambda file: pack(Path(folder), file))


def pack(folder: Path, out: Path) -> None:
    """Packs the files of a folder into a zip, uncompressed, as weights hardly compress."""
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(folder.iterdir()):
            with (
                archive.open(zip_entry(file.name), "w", force_zip64=True) as entry,
                file.open("rb") as source,
            ):
                while block := source.read(1 << 20):
                    entry.write(block)


def fill(subject: Subject, folder: Path) -> None:
    """Writes the files of a shared generator (`runs.shared`) into an empty folder."""
    tensors = subject.tensors()
    save_file(tensors, folder / MODEL, {"format": "pt"})
    written = [MODEL]
    if statistics := read_statistics(subject.path):
        save_file(statistics, folder / STATISTICS)
        written.append(STATISTICS)
    samples = isinstance(subject.made, Generator)
    if isinstance(subject.made, Generator):
        save_grid(subject.made.from_seeds(list(range(SAMPLES)), batch_size=1), folder / SHEET, COLUMNS)
    digests = network_digests({f"{AVERAGED}.{name}": value for name, value in tensors.items()})
    config: dict[str, Any] = {
        "format": FORMAT,
        "steadygan": __version__,
        "torch": torch.__version__,
        "name": subject.name,
        "step": subject.made.step,
        "images": subject.manifest.get("images", 0),
        "generator": subject.description,
        "exported_from": weights_digest(subject.path),
        **_origin(subject),
        "sha256": {name: sha256(folder / name) for name in written},
        "networks": digests,
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / CARD).write_text(card(subject, SAMPLES if samples else 0), encoding="utf-8")


def _origin(subject: Subject) -> dict[str, Any]:
    """The origin of imported weights; for weights fine-tuned from such, their licence."""
    if (origin := subject.manifest.get("origin")) is not None:
        return {"origin": origin}
    return {"origin": {"licence": subject.made.licence}} if subject.made.licence else {}
