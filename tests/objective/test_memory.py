"""The history buffer: size, probability, and restoring from a checkpoint."""

from __future__ import annotations

import pytest
import torch

from steadygan.generators.prior import Prior
from steadygan.objective.bundle import Bundle
from steadygan.objective.memory import History
from steadygan.objective.views import Pool, Real


def numbers(start: int, count: int) -> torch.Tensor:
    """Images (count, 1, 1, 1) that are told apart by their only pixel."""
    return torch.arange(start, start + count).float().view(-1, 1, 1, 1)


def test_images_are_handed_on_unchanged_until_the_history_is_full() -> None:
    history, rng = History(5), torch.Generator().manual_seed(0)
    for start in range(0, 4, 2):
        assert torch.equal(history(numbers(start, 2), rng), numbers(start, 2))
    assert history(numbers(4, 2), rng)[0] == 4
    assert int(history.count) == 5


def test_half_of_the_images_are_exchanged_for_a_uniformly_drawn_earlier_one() -> None:
    size, rounds = 10, 4000
    history, rng = History(size), torch.Generator().manual_seed(1)
    history(numbers(0, size), rng)
    before, places, swapped = history.images.clone().flatten(), torch.zeros(size), 0
    for value in range(size, size + rounds):
        (out,) = history(numbers(value, 1), rng).flatten()
        after = history.images.flatten()
        changed = (before != after).nonzero().flatten()
        if out == value:
            assert len(changed) == 0
        else:
            assert changed.tolist() == (before == out).nonzero().flatten().tolist()
            assert after[changed] == value
            swapped += 1
            places[changed] += 1
        before = after.clone()
    # Four standard deviations of a binomial.
    assert abs(swapped - rounds / 2) < 4 * (rounds / 4) ** 0.5
    assert (places - swapped / size).abs().max() < 4 * (swapped / size) ** 0.5


def test_images_of_one_batch_go_in_one_after_the_other() -> None:
    whole, parts = History(3), History(3)
    rngs = torch.Generator().manual_seed(2), torch.Generator().manual_seed(2)
    x = numbers(0, 12)
    assert torch.equal(whole(x, rngs[0]), torch.cat([parts(part, rngs[1]) for part in x.split(1)]))


def test_nothing_but_what_was_put_in_ever_comes_out_and_nothing_twice() -> None:
    history, rng = History(4), torch.Generator().manual_seed(3)
    out = torch.cat([history(numbers(start, 5), rng) for start in range(0, 100, 5)]).flatten()
    stored = history.images.flatten()
    first = numbers(0, 4).flatten()  # returned when they were stored, and once more when exchanged
    later = out[4:]
    assert len(set(later.tolist())) == len(later)
    assert set(later.tolist()) | set(stored.tolist()) == set(numbers(0, 100).flatten().tolist()) | set(
        first[torch.isin(first, stored)].tolist()
    )


def test_an_image_that_is_not_finite_is_handed_on_and_not_kept() -> None:
    history, rng = History(2), torch.Generator().manual_seed(4)
    assert history(torch.full((1, 1, 1, 1), float("nan")), rng).isnan().all()
    assert int(history.count) == 0
    history(numbers(0, 2), rng)
    for _ in range(20):
        history(torch.full((1, 1, 1, 1), float("inf")), rng)
    assert history.images.isfinite().all()


def test_what_comes_out_has_no_graph() -> None:
    assert not History(2)(numbers(0, 2).requires_grad_(), torch.Generator()).requires_grad


def test_a_history_goes_on_from_its_state_as_if_never_stopped(tmp_path: pytest.TempPathFactory) -> None:
    history, rng = History(4), torch.Generator().manual_seed(5)
    history(numbers(0, 6), rng)
    torch.save(history.state_dict(), f"{tmp_path}/state.pt")
    again, rng2 = History(4), torch.Generator()
    again.load_state_dict(torch.load(f"{tmp_path}/state.pt", weights_only=True))
    rng2.set_state(rng.get_state())
    assert torch.equal(again(numbers(6, 20), rng2), history(numbers(6, 20), rng))


def test_a_history_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="had 4 images and now has 5"):
        History(5).load_state_dict(History(4).state_dict())


def test_the_view_asks_its_memory_once_a_batch_and_keeps_no_labels() -> None:
    x = Real("x")
    pool = Pool(x, 2)
    memories = {pool: pool.memory()}
    b = Bundle({}, Prior(0), torch.Generator(), size=2, given={x: (numbers(0, 2), None)}, memories=memories)
    assert torch.equal(b[pool], b[pool])
    assert int(memories[pool].count) == 2
    assert b.labels(pool) is None
    labelled = Bundle({}, Prior(0), torch.Generator(), size=1, given={x: (numbers(0, 1), torch.zeros(1))})
    with pytest.raises(ValueError, match="labels"):
        labelled.labels(pool)
