"""The Inception of random weights: no download, and the same scores as three other packages."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import pytorch_fid.fid_score
import pytorch_fid.inception
import torch
import torch_fidelity.metric_fid
import torch_fidelity.metric_isc
import torch_fidelity.metric_kid
import torchmetrics.image.fid
import torchmetrics.image.kid
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from steadygan.errors import UserError
from steadygan.metrics import Features, Moments, frechet_distance, get_extractor, inception_score, kernel_distance
from steadygan.metrics import features_inception as ours

N = 5
"""Images a side: a forward pass takes a third of a second each."""
F = 8
"""Features of which Fréchet distances are taken: all 2,048 take the other packages a minute each."""


def random_state() -> dict[str, Tensor]:
    """Weights by the official names, He-initialised so that features differ from image to image."""
    net = pytorch_fid.inception._inception_v3(num_classes=1008, aux_logits=False, weights=None, init_weights=False)
    generator = torch.Generator().manual_seed(0)
    state = net.state_dict()
    for name, tensor in state.items():
        if name.endswith("conv.weight"):
            state[name] = torch.randn(tensor.shape, generator=generator) * (2 / tensor[0].numel()) ** 0.5
    state["fc.weight"] = torch.randn(state["fc.weight"].shape, generator=generator) * 0.5
    return state


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("inception") / "inception.pth"
    torch.save(random_state(), path)
    return path


@pytest.fixture(scope="module")
def images() -> Tensor:
    """2N images: smooth ones, for a network of random weights tells white noise images hardly apart."""
    coarse = torch.rand(2 * N, 3, 4, 4, generator=torch.Generator().manual_seed(1)) * 255
    return torch.nn.functional.interpolate(coarse, (32, 32), mode="bicubic").clamp(0, 255).to(torch.uint8)


@pytest.fixture(scope="module")
def read(weights: Path, images: Tensor) -> Features:
    return get_extractor("inception", weights={"inception": weights})(images)


def gaussian(features: Tensor) -> tuple[Tensor, Tensor]:
    moments = Moments().update(features[:, :F])
    return moments.mean, moments.cov


def test_scores_are_those_of_torch_fidelity(weights: Path, images: Tensor, read: Features) -> None:
    theirs = FeatureExtractorInceptionV3("inception-v3-compat", ["2048", "logits_unbiased"], str(weights))
    features, logits = theirs(images)
    torch.testing.assert_close(read.features, features, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(read.logits, logits, rtol=1e-4, atol=1e-4)

    a, b = features[:N], features[N:]
    stats = [torch_fidelity.metric_fid.fid_features_to_statistics(side[:, :F]) for side in (a, b)]
    fid = torch_fidelity.metric_fid.fid_statistics_to_metric(*stats, verbose=False)
    mine = frechet_distance(*gaussian(read.features[:N]), *gaussian(read.features[N:]))
    assert mine == pytest.approx(fid["frechet_inception_distance"], rel=1e-4)

    isc = torch_fidelity.metric_isc.isc_features_to_metric(logits, splits=2)
    mine = inception_score(read.logits, splits=2)
    assert mine == pytest.approx((isc["inception_score_mean"], isc["inception_score_std"]), rel=1e-4)
    assert isc["inception_score_mean"] > 1.02, "a score of 1 would prove nothing"

    sizes = {"kid_subsets": 4, "kid_subset_size": N - 1}
    kid = torch_fidelity.metric_kid.kid_features_to_metric(a.double(), b.double(), **sizes, verbose=False)
    mine = kernel_distance(read.features[:N], read.features[N:], subsets=4, subset_size=N - 1)
    # In float64, as in float32 the means of kernels, near 1, cancel to a thousandth.
    theirs = (kid["kernel_inception_distance_mean"], kid["kernel_inception_distance_std"])
    assert mine == pytest.approx(theirs, rel=1e-4)


@pytest.mark.filterwarnings("ignore:The `disp` argument:DeprecationWarning")
def test_features_and_distance_are_those_of_pytorch_fid_on_the_same_resized_images(
    weights: Path, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        pytorch_fid.inception, "load_state_dict_from_url", lambda url, progress: torch.load(weights, weights_only=True)
    )
    theirs = pytorch_fid.inception.InceptionV3([3], resize_input=True, normalize_input=True).eval()
    with torch.no_grad():
        expected = theirs(images.float() / 255)[0].flatten(1)
    extractor = get_extractor("inception-pytorch", weights={"inception-pytorch": weights})
    features = extractor(images).features
    torch.testing.assert_close(features, expected, rtol=1e-3, atol=1e-4)

    def stats(side: Tensor) -> tuple[Tensor, Tensor]:
        return side[:, :F].double().mean(0), side[:, :F].double().T.cov()

    fid = pytorch_fid.fid_score.calculate_frechet_distance(
        *(array.numpy() for side in (expected[:N], expected[N:]) for array in stats(side))
    )
    assert frechet_distance(*gaussian(features[:N]), *gaussian(features[N:])) == pytest.approx(fid, rel=1e-4)


def test_scores_are_those_of_torchmetrics(weights: Path, images: Tensor, read: Features) -> None:
    theirs = torchmetrics.image.fid.NoTrainInceptionV3("inception-v3-compat", ["2048"], str(weights), antialias=False)
    features = theirs(images)
    torch.testing.assert_close(read.features, features, rtol=1e-4, atol=1e-5)
    a, b = features[:N].double(), features[N:].double()
    fid = torchmetrics.image.fid._compute_fid(
        a[:, :F].mean(0), a[:, :F].T.cov(), b[:, :F].mean(0), b[:, :F].T.cov()
    ).item()
    assert frechet_distance(*gaussian(read.features[:N]), *gaussian(read.features[N:])) == pytest.approx(fid, rel=1e-4)
    kid = torchmetrics.image.kid.poly_mmd(a, b).item()
    mine, _ = kernel_distance(read.features[:N], read.features[N:], subsets=1, subset_size=N)
    assert mine == pytest.approx(kid, rel=1e-4)


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
