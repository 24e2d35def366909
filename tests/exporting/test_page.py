"""The example page: it fits the generator next to it, and sends no requests to other hosts."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "onnx"
TEXT = (PAGE / "index.html").read_text(encoding="utf-8")


def test_the_generator_next_to_the_page_makes_what_the_page_draws() -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    constants = re.search(r"CLASSES = (\d+), LATENT = (\d+), SIDE = (\d+);", TEXT)
    assert constants is not None
    classes, latent, side = map(int, constants.groups())
    session = onnxruntime.InferenceSession(PAGE / "digits.onnx")
    z = np.random.default_rng(0).standard_normal((classes, latent), dtype=np.float32)
    (images,) = session.run(["image"], {"z": z, "y": np.arange(classes)})
    assert images.shape == (classes, 1, side, side)
    assert images.min() < -0.9 < 0.9 < images.max()
    assert json.loads(session.get_modelmeta().custom_metadata_map["classes"]) == classes


def test_every_digit_is_read_as_the_class_it_was_made_of() -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(PAGE / "digits.onnx")
    y = np.arange(200) % 10
    z = np.random.default_rng(1).standard_normal((200, 64), dtype=np.float32)
    (images,) = session.run(["image"], {"z": z, "y": y})
    from steadygan.data.digits import digits

    real, labels = digits(32)
    reals = real[:, 0].reshape(len(real), -1) / 127.5 - 1
    means = np.stack([reals[labels == label].mean(0) for label in range(10)])
    nearest = ((images.reshape(200, 1, -1) - means) ** 2).sum(2).argmin(1)
    assert (nearest == y).mean() > 0.7


def test_the_page_asks_nothing_of_another_host() -> None:
    assert "//" not in TEXT.replace("  // ", "")
    assert set(re.findall(r'src="([^"]+)"', TEXT)) == {"ort.wasm.min.js"}
