"""The Inception of random weights: no download, and the same scores as three other packages."""

from __future__ import annotations

import importlib.util
import inspect
import io
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor

from steadygan.errors import UserError
from steadygan.pretrained import inception as ours
from steadygan.pretrained.extractor import Features
from steadygan.pretrained.registry import get_extractor

N = 4
"""Images a side: a forward pass takes a third of a second each."""
F = 1024
"""Features of which pytorch-fid's distance is taken: its matrix square root of all 2,048 takes half a minute."""


@pytest.fixture(scope="module")
def agreement() -> ModuleType:
    """`benchmarks/inception_agreement.py`: it calls the other packages as their users do."""
    path = Path(__file__).parents[2] / "benchmarks" / "inception_agreement.py"
    spec = importlib.util.spec_from_file_location("inception_agreement", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def weights(agreement: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("inception") / "inception.pth"
    torch.save(agreement.random_state(), path)
    return path


@pytest.fixture(scope="module")
def images(agreement: ModuleType) -> tuple[Tensor, Tensor]:
    """Fakes and reals."""
    return agreement.image_sets(N)


@pytest.fixture(scope="module")
def read(weights: Path, images: tuple[Tensor, Tensor]) -> tuple[Features, Features]:
    extractor = get_extractor("inception", weights={"inception": weights})
    return extractor(images[0]), extractor(images[1])


@pytest.fixture(scope="module")
def fid(agreement: ModuleType, read: tuple[Features, Features]) -> float:
    """Ours, of all 2,048 features."""
    return agreement.our_fid(read[0].features, read[1].features)


def test_scores_are_those_of_torch_fidelity(
    agreement: ModuleType, weights: Path, images: tuple[Tensor, Tensor], read: tuple[Features, Features], fid: float
) -> None:
    rows = list(agreement.torch_fidelity_rows(weights, *images, read, fid, splits=2))
    assert [row.score.split()[0] for row in rows] == ["FID", "IS", "IS_std", "KID", "KID_std"]
    for row in rows:
        assert row.ours == pytest.approx(row.theirs, rel=1e-4), row
    assert rows[1].theirs > 1.02, "a score of 1 would prove nothing"


def test_features_and_scores_are_those_of_torchmetrics(
    agreement: ModuleType, weights: Path, images: tuple[Tensor, Tensor], read: tuple[Features, Features], fid: float
) -> None:
    rows = list(agreement.torchmetrics_rows(weights, *images, read, fid))
    assert [row.score for row in rows] == ["features", "FID", "IS", "KID"]
    for row in rows:
        assert row.relative_difference < 1e-4, row


@pytest.mark.filterwarnings("ignore:The `disp` argument:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:Matrix is (singular|ill-conditioned)")  # fewer images than features
def test_features_and_distance_are_those_of_pytorch_fid(
    agreement: ModuleType, weights: Path, images: tuple[Tensor, Tensor]
) -> None:
    from pytorch_fid.fid_score import calculate_frechet_distance  # imports for two seconds
    from scipy.linalg import sqrtm

    extractor = get_extractor("inception-pytorch", weights={"inception-pytorch": weights})
    ours = [extractor(side).features for side in images]
    theirs = [agreement.pytorch_fid_features(weights, side) for side in images]
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    if "disp" not in inspect.signature(sqrtm).parameters:
        pytest.skip("pytorch-fid's distance needs a SciPy before 1.18; its features are compared")
    statistics = [
        array for side in theirs for array in (side[:, :F].numpy().mean(0), np.cov(side[:, :F].numpy(), rowvar=False))
    ]
    expected = calculate_frechet_distance(*statistics)
    assert agreement.our_fid(*(side[:, :F] for side in ours)) == pytest.approx(expected, rel=1e-4)


def test_other_weights_never_give_a_score_called_fid(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extractor = get_extractor("inception", weights={"inception": weights})
    name = f"inception-{extractor.sha256[:8]}"
    assert extractor.name == name
    assert [extractor.score_name(kind) for kind in ("FD", "KD", "IS")] == [f"FD-{name}", f"KD-{name}", f"IS-{name}"]
    monkeypatch.setattr(ours, "SHA256", extractor.sha256)
    extractor = get_extractor("inception", weights={"inception": weights})
    assert [extractor.score_name(kind) for kind in ("FD", "KD", "IS")] == ["FID", "KID", "IS"]
    assert extractor.name == "inception"


def test_absent_weights_are_an_error_that_says_where_they_are_and_what_works_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(url: str, *args: object, **options: object) -> None:
        raise OSError("no network")

    monkeypatch.delenv("STEADYGAN_INCEPTION_WEIGHTS", raising=False)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    message = r"weights-inception-2015-12-05-6726825d\.pth.*STEADYGAN_INCEPTION_WEIGHTS.*without: 'digits'"
    with pytest.raises(UserError, match=message):
        get_extractor("inception")
    monkeypatch.setenv("STEADYGAN_INCEPTION_WEIGHTS", str(tmp_path / "nowhere.pth"))
    with pytest.raises(UserError, match=r"nowhere.pth \(from STEADYGAN_INCEPTION_WEIGHTS\) is not a file"):
        get_extractor("inception")


def test_a_damaged_download_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STEADYGAN_INCEPTION_WEIGHTS", raising=False)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    path = tmp_path / "checkpoints" / "weights-inception-2015-12-05-6726825d.pth"
    path.parent.mkdir()
    path.write_bytes(b"half a file")
    with pytest.raises(UserError, match="is damaged: its SHA-256"):
        get_extractor("inception")


class Bomb:
    """Unpickled, it would raise: the file must be refused before."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return pytest.fail, ("code in a weights file was run",)


@pytest.mark.parametrize("content", ["bomb", "text", "another network"])
def test_files_that_are_no_inception_weights_are_refused_and_never_run(tmp_path: Path, content: str) -> None:
    path = tmp_path / "weights.pth"
    if content == "text":
        path.write_text("<html>not found</html>")
    else:
        file = io.BytesIO()
        torch.save({"fc.weight": Bomb() if content == "bomb" else torch.zeros(2)}, file)
        path.write_bytes(file.getvalue())
    with pytest.raises(UserError, match=r"weights\.pth"):
        get_extractor("inception", weights={"inception": path})
