"""The core works without any optional package; a feature that needs one names it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from steadygan.data.digits import digits
from steadygan.errors import UserError, require

WITHOUT = """
import sys

OPTIONAL = {"sklearn", "scipy", "torchvision", "matplotlib", "torchmetrics", "pyarrow", "starlette", "uvicorn",
            "huggingface_hub", "onnx", "onnxscript", "onnxruntime", "torch_fidelity", "imageio_ffmpeg"}

sys.modules.update(dict.fromkeys(OPTIONAL))  # importing one raises ImportError
import steadygan

run = steadygan.train("digits", ["train.steps=2", "train.batch_size=8", "data.max_images=40", "model.width=2",
                                 "eval.num_fake=20", "train.device=cpu"], out=sys.argv[1])
assert run.scores["FD-digits"] > 0
assert steadygan.load(run.path).sample(2).shape == (2, 1, 32, 32)
"""


def test_training_scoring_and_sampling_need_no_optional_package(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", WITHOUT, str(tmp_path / "run")], check=True, stdout=subprocess.DEVNULL)


def test_an_absent_package_is_named_with_its_extra() -> None:
    with pytest.raises(UserError, match=r"drawing curves needs no-such-package: `pip install no-such-package`.*'plot'"):
        require("no-such-package", "plot", "drawing curves")


def test_the_embedded_digits_are_those_of_scikit_learn() -> None:
    bunch = pytest.importorskip("sklearn.datasets").load_digits()
    images, labels = digits(8)
    assert np.array_equal(images[:, 0], np.rint(bunch.images * (255 / 16)).astype(np.uint8))
    assert np.array_equal(labels, bunch.target)
