"""Run directories written by hand, for tests of their readers."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CONFIG = """\
name: {name}
data: {{path: digits, size: 8}}
model: {{kind: dcgan, conditional: true}}
objective: {{loss: hinge, terms: {{bcr: {{real: 10}}}}}}
train: {{steps: 100, seed: {seed}, checkpoint_every: 50}}
"""
Open = Callable[..., Any]
"""Opens a studio on a directory and returns a client of it."""
PROTOCOL = {"name": "digits", "num_fake": 10, "num_real": 20, "weights": "ema"}


def write_run(path: Path, *, steps: int = 10, seed: int = 0) -> Path:
    """A run of `steps` log lines with two sheets and two scores, but no checkpoint."""
    (path / "samples").mkdir(parents=True)
    (path / "checkpoints").mkdir()
    (path / "config.yaml").write_text(CONFIG.format(name=path.name, seed=seed))
    (path / "provenance.json").write_text(json.dumps({"started": "2026-01-02T03:04:05+00:00", "seed": seed}))
    rows = [{"step": s, "images": 8 * s, "images_per_s": 40.0, "D/adversarial": 1 / s} for s in range(1, steps + 1)]
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    scores = [{"step": s, "FD-digits": 50.0 / s, "protocol": PROTOCOL} for s in (5, 10)]
    (path / "scores.jsonl").write_text("".join(json.dumps(row) + "\n" for row in scores))
    for step, grey in ((5, 50), (10, 200)):
        sheet = Image.new("L", (3 * 10 + 2, 2 * 10 + 2), "white")
        for tile in range(6):
            place = (tile % 3 * 10 + 2, tile // 3 * 10 + 2)
            sheet.paste(grey + tile, (*place, place[0] + 8, place[1] + 8))
        sheet.save(path / "samples" / f"step-{step:08d}.png")
    return path


def id_of(client: Any, name: str) -> str:
    """The id by which the studio behind `client` knows a run."""
    (found,) = [run["id"] for run in client.get("/api/runs").json()["runs"] if run["name"] == name]
    return str(found)


def unpacked(content: bytes) -> tuple[dict[str, Any], np.ndarray]:
    """The head and the images (N, H, W, C) of an answer."""
    (length,) = struct.unpack("<I", content[:4])
    head = json.loads(content[4 : 4 + length])
    pixels = np.frombuffer(content[4 + length :], np.uint8)
    return head, pixels.reshape(-1, head["height"], head["width"], head["channels"])
