"""SSIM, PSNR, MSE and LPIPS of pairs against naive formulas and an independent implementation."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from steadygan.errors import UserError
from steadygan.metrics.pairs import LPIPS, PairProtocol, pair_record, score_pairs


def images(count: int = 3, side: int = 20, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, 3, side, side), generator=rng, dtype=torch.uint8)


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Wang et al., 2004, eq. 13, for one channel: the window of 11×11 around every pixel, edges mirrored."""
    a, b = np.pad(a, 5, mode="reflect"), np.pad(b, 5, mode="reflect")
    line = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = []
    for top in range(a.shape[0] - 10):
        for left in range(a.shape[1] - 10):
            x, y = (part[top : top + 11, left : left + 11] for part in (a, b))
            mx, my = (window * x).sum(), (window * y).sum()
            vx, vy = (window * x * x).sum() - mx**2, (window * y * y).sum() - my**2
            cov = (window * x * y).sum() - mx * my
            values.append((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    return float(np.mean(values))


def test_ssim_is_the_papers_formula() -> None:
    a = images(2)
    b = (a.float() * 0.7 + images(2, seed=1).float() * 0.3).to(torch.uint8)
    naive = np.mean(
        [ssim(x.double().numpy(), y.double().numpy()) for x, y in zip(a.flatten(0, 1), b.flatten(0, 1), strict=True)]
    )
    assert score_pairs(b, a)["SSIM"] == pytest.approx(naive, abs=2e-4)


def test_mse_and_psnr_are_means_over_images_of_8_bit_values() -> None:
    a = torch.full((2, 3, 12, 12), 100, dtype=torch.uint8)
    b = a.clone()
    b[0] += 10
    b[1] += 20
    scores = score_pairs(b, a)
    assert scores["MSE"] == pytest.approx((100 + 400) / 2)
    assert scores["PSNR"] == pytest.approx((10 * math.log10(255**2 / 100) + 10 * math.log10(255**2 / 400)) / 2)


def test_scores_do_not_depend_on_how_images_are_batched() -> None:
    a, b = images(19), images(19, seed=1)
    one_by_one = [score_pairs(x[None], y[None]) for x, y in zip(a, b, strict=True)]
    for name, value in score_pairs(a, b).items():
        assert value == pytest.approx(np.mean([scores[name] for scores in one_by_one]), rel=1e-5)


def test_equal_images_have_the_best_scores() -> None:
    scores = score_pairs(images(), images())
    assert (scores["SSIM"], scores["MSE"]) == (pytest.approx(1), 0)
    assert scores["PSNR"] == float("inf")


def test_images_smaller_than_the_window_are_refused() -> None:
    with pytest.raises(UserError, match="11×11"):
        score_pairs(images(side=10), images(side=10))


def test_a_record_says_how_its_scores_were_taken() -> None:
    protocol = PairProtocol("test", 20, "squash")
    record = pair_record({"SSIM_a2b": 0.5, "MSE_a2b": 1.0}, images(), protocol, fingerprint="f")
    assert record["SSIM_a2b"] == 0.5
    assert record["protocol"]["definitions"].keys() == {"SSIM", "MSE"}
    assert {"num_real", "split", "weights", "torchmetrics", "reals_sha256", "data_fingerprint"} <= record[
        "protocol"
    ].keys()
    other = pair_record({}, images(seed=9), protocol, fingerprint="f")
    assert record["protocol"]["reals_sha256"] != other["protocol"]["reals_sha256"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file like torchvision's, of random weights."""
    from torchvision.models import alexnet

    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = alexnet(weights=None)
    path = tmp_path_factory.mktemp("lpips") / "alexnet.pth"
    torch.save(net.state_dict(), path)
    return path


def test_lpips_is_the_reference_implementations(weights: Path) -> None:
    from torchmetrics.functional.image import lpips as _  # noqa: F401
    from torchmetrics.functional.image.lpips import _LPIPS
    from torchvision.models import alexnet

    reference = _LPIPS(pretrained=True, net="alex", pnet_rand=True)
    net = alexnet(weights=None)
    net.load_state_dict(torch.load(weights, weights_only=True))
    for name, tensor in net.features.state_dict().items():
        (place,) = [key for key in reference.net.state_dict() if key.endswith(f".{name}")]
        reference.net.state_dict()[place].copy_(tensor)
    a, b = images(2, 64).float(), images(2, 64, seed=1).float()
    expected = reference(a / 127.5 - 1, b / 127.5 - 1).flatten()
    torch.testing.assert_close(LPIPS(weights)(a, b), expected, rtol=1e-4, atol=1e-6)


def test_lpips_of_grey_images_is_that_of_their_rgb_and_zero_for_equal_ones(weights: Path) -> None:
    lpips = LPIPS(weights)
    grey, other = images(1, 64).float()[:, :1], images(1, 64, seed=1).float()[:, :1]
    assert torch.equal(lpips(grey, other), lpips(grey.expand(-1, 3, -1, -1), other.expand(-1, 3, -1, -1)))
    assert float(lpips(grey, grey)) == 0
    assert score_pairs(images(1, 64), images(1, 64, seed=1), lpips=lpips)["LPIPS"] > 0


@pytest.mark.parametrize("content", [None, b"not weights"])
def test_weights_that_are_not_there_or_something_else_are_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "alexnet.pth"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"alexnet\.pth"):
        LPIPS(path)
