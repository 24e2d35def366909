from __future__ import annotations

import pytest
import torch
from torch import Tensor

from steadygan.metrics.prdc import prdc, radii


def normal(n: int, features: int = 6, seed: int = 0) -> Tensor:
    return torch.randn(n, features, generator=torch.Generator().manual_seed(seed))


def naive(reals: Tensor, fakes: Tensor, k: int) -> tuple[float, float, float, float]:
    """The definitions of both papers, one distance at a time in float64."""
    real, fake = reals.double().tolist(), fakes.double().tolist()

    def distance(a: list[float], b: list[float]) -> float:
        return sum((p - q) ** 2 for p, q in zip(a, b, strict=True)) ** 0.5

    def reach(side: list[list[float]]) -> list[float]:
        return [sorted(distance(a, b) for j, b in enumerate(side) if j != i)[k - 1] for i, a in enumerate(side)]

    real_reach, fake_reach = reach(real), reach(fake)
    inside = [[distance(x, y) <= r for x, r in zip(real, real_reach, strict=True)] for y in fake]
    return (
        sum(any(row) for row in inside) / len(fake),
        sum(any(distance(x, y) <= r for y, r in zip(fake, fake_reach, strict=True)) for x in real) / len(real),
        sum(map(sum, inside)) / (k * len(fake)),
        sum(any(row[i] for row in inside) for i in range(len(real))) / len(real),
    )


@pytest.mark.parametrize("k", [1, 3, 5])
def test_all_four_are_those_of_the_definitions(k: int) -> None:
    reals, fakes = normal(40), 0.8 * normal(31, seed=1) + 0.3
    found = prdc(reals, fakes, k, chunk=7)
    assert found == pytest.approx(naive(reals, fakes, k))
    assert 0 < found.recall < 1
    assert 0 < found.precision < 1


def test_precision_and_recall_are_those_of_torch_fidelity() -> None:
    from torch_fidelity import metric_prc  # takes seconds

    reals, fakes = normal(120, 16), 0.9 * normal(90, 16, seed=1)
    theirs = metric_prc.prc_features_to_metric(fakes, reals, prc_neighborhood=3, verbose=False)
    found = prdc(reals, fakes, 3)
    assert (found.precision, found.recall) == pytest.approx((theirs["precision"], theirs["recall"]))


def test_chunks_change_nothing_and_bound_the_distances_held(monkeypatch: pytest.MonkeyPatch) -> None:
    reals, fakes = normal(200), normal(150, seed=1)
    whole = prdc(reals, fakes, 5)
    largest = 0
    cdist = torch.cdist

    def watched(a: Tensor, b: Tensor) -> Tensor:
        nonlocal largest
        largest = max(largest, len(a) * len(b))
        return cdist(a, b)

    monkeypatch.setattr(torch, "cdist", watched)
    assert prdc(reals, fakes, 5, chunk=16) == whole
    assert largest == 16 * 200


def test_collapse_costs_recall_and_coverage_and_outliers_cost_precision() -> None:
    reals = normal(200)
    same = prdc(reals, normal(200, seed=1))
    collapsed = prdc(reals, reals[:1] + 0.01 * normal(200, seed=1))
    far = prdc(reals, normal(200, seed=1) + 100)
    assert collapsed.precision == 1
    assert collapsed.recall < 0.1 < 0.6 < same.recall
    assert collapsed.coverage < 0.3 < 0.8 < same.coverage
    assert far == (0, 0, 0, 0)


def test_distances_survive_a_large_common_offset() -> None:
    """Features of one network share a large mean; its square must not cancel the differences."""
    reals, fakes = normal(60), normal(60, seed=1)
    assert prdc(reals + 3000, fakes + 3000, 3) == pytest.approx(prdc(reals, fakes, 3), abs=0.05)


def test_a_radius_is_to_the_kth_other_point() -> None:
    line = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    assert radii(line, 1).tolist() == [1, 1, 2, 4]
    assert radii(line, 2).tolist() == [3, 2, 3, 6]


def test_too_few_points_are_refused() -> None:
    with pytest.raises(ValueError, match="N, M > 5"):
        prdc(normal(5), normal(9), 5)
    with pytest.raises(ValueError, match="must be"):
        prdc(normal(9), normal(9, 7), 5)
