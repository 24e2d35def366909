"""The model card of a shared generator: description, training, scores and licence."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from steadygan.errors import UserError
from steadygan.exporting.subject import Subject
from steadygan.files import parse_yaml, read_text
from steadygan.generators.generator import Generator
from steadygan.runs.checkpoint import weights_digest
from steadygan.runs.following import read_records
from steadygan.runs.provenance import read_provenance
from steadygan.runs.reading import number, score_names
from steadygan.runs.shared import SHEET
from steadygan.runs.words import objective_in_words

UNKNOWN = "unknown (not recorded)"


def card(subject: Subject, samples: int) -> str:
    """The card in Markdown. samples: number of images in the sample sheet; 0: no sheet."""
    config, provenance = _records(subject.run)
    parts = [
        _front(subject),
        f"# {subject.name}",
        *([f"![{samples} samples]({SHEET})", _sheet(subject, samples)] if samples else []),
        _facts(subject, config, provenance),
        "## Scores",
        _scores(subject),
        "## Licence",
        _licence(subject),
        "## Use",
        _use(subject),
    ]
    return "\n\n".join(parts) + "\n"


def _records(run: Path | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """config.yaml and provenance.json of the run; empty if missing."""
    config: Any = {}
    provenance: dict[str, Any] = {}
    if run is not None:
        with suppress(UserError):
            config = parse_yaml(read_text(run / "config.yaml"), run / "config.yaml")
        with suppress(UserError):
            provenance = read_provenance(run)
    return config if isinstance(config, dict) else {}, provenance


def _front(subject: Subject) -> str:
    """The card's metadata for the Hub."""
    kind = "image-to-image" if subject.translates else "unconditional-image-generation"
    lines = ["---", "library_name: steadygan", f"pipeline_tag: {kind}", "tags:", "- gan", "license: other", "---"]
    return "\n".join(lines)


def _sheet(subject: Subject, samples: int) -> str:
    classes = ", the classes in turn" if subject.description["classes"] else ""
    return f"Seeds 0 to {samples - 1}{classes}, row by row, without truncation."


def _facts(subject: Subject, config: Mapping[str, Any], provenance: Mapping[str, Any]) -> str:
    made = subject.description
    if subject.translates:
        noun = f"translates images of {made['size']}² pixels, {made['channels']} channels: " + ", ".join(
            made["directions"]
        )
    else:
        classes = f", {made['classes']} classes" if made["classes"] else ""
        noun = f"{made['channels']}×{made['size']}×{made['size']} of a latent of {made['latent']} numbers{classes}"
    count = sum(value.numel() for value in subject.tensors().values())
    data = provenance.get("data")
    data = data if isinstance(data, dict) else {}
    told = f"{data['train']:,}" if isinstance(data.get("train"), int) else UNKNOWN
    held = f", and {data['heldout']:,} held out" if isinstance(data.get("heldout"), int) and data["heldout"] else ""
    print_ = f"; fingerprint of their content `{data['fingerprint']}`" if data.get("fingerprint") else ""
    seen = f", {subject.manifest['images']:,} images shown" if subject.manifest.get("images") else ""
    lines = [
        f"- makes: {noun}",
        f"- network: {made['kind']}, {count:,} numbers, the moving average of training's weights",
        f"- training images: {told}{held}{print_}",
        f"- objective: {objective_in_words(dict(config)) or UNKNOWN}",
        f"- step {subject.made.step:,}{seen}; seed {provenance.get('seed', 'unknown')}",
        f"- source weights: SHA-256 `{weights_digest(subject.path)}`",
    ]
    start = provenance.get("init_from")
    if isinstance(start, dict) and isinstance(start.get("weights_sha256"), str):
        lines.append(f"- training started from the weights with SHA-256 `{start['weights_sha256']}`")
    return "\n".join(lines)


def _scores(subject: Subject) -> str:
    """The scores of this step, each with its protocol."""
    rows = [] if subject.run is None else read_records(subject.run / "scores.jsonl")
    lines = []
    for row in rows:
        protocol = row.get("protocol")
        if row.get("step") != subject.made.step or not isinstance(protocol, dict):
            continue
        told = f"{protocol.get('name')}: {protocol.get('num_fake')} fakes against {protocol.get('num_real')} "
        told += f"{protocol.get('split')} reals, {protocol.get('weights')} weights, truncation "
        told += str(protocol.get("truncation") or "none")
        names = [name for name in score_names(row) if isinstance(row[name], int | float)]
        lines += [f"| {name} | {number(row[name]):.4g} | {told} |" for name in names]
    if not lines:
        return "These weights have not been scored."
    return "\n".join(["| score | value | protocol |", "|---|---|---|", *dict.fromkeys(lines)])


def _licence(subject: Subject) -> str:
    origin = subject.manifest.get("origin")
    lines = []
    if isinstance(origin, dict) and origin.get("family"):
        files = ", ".join(f"{file['name']} (SHA-256 `{file['sha256']}`)" for file in origin.get("files", ()))
        lines.append(f"- imported from {origin['family']}: {files}")
    if subject.made.licence:
        lines.append(f"- licence of the source weights, which applies to these too: {subject.made.licence}")
    given = (
        subject.options.licence
        or "not stated by the exporter; ask before you use it, and mind the licence of the images"
    )
    lines.append(f"- licence: {given}")
    return "\n".join(lines)


def _use(subject: Subject) -> str:
    if isinstance(subject.made, Generator):
        lines = ['generator = steadygan.load("FOLDER")  # or the .zip, or hub:USER/NAME']
        lines += ["images = generator.sample(16, seed=1)  # uint8 (16, C, H, W)"]
        lines += ['generator.save_grid("samples.png", 64)']
    else:
        lines = ['translator = steadygan.load_translator("FOLDER")  # or the .zip, or hub:USER/NAME']
        lines += [f'made = translator.translate(images, "{subject.made.directions[0]}")  # uint8 (N, C, H, W)']
    return "\n".join(["```python", "import steadygan", *lines, "```"])
