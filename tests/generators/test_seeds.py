"""Latents by seed, and moving them."""

from __future__ import annotations

import pytest
import torch

from steadygan.errors import UserError
from steadygan.generators.prior import Prior
from steadygan.generators.seeds import latents_of, moved, parse_seeds

NORMAL, UNIFORM = Prior(24), Prior(24, "uniform")


@pytest.mark.parametrize("prior", [NORMAL, UNIFORM])
def test_a_seed_stands_for_the_first_latent_it_draws(prior: Prior) -> None:
    z = latents_of(prior, [5, 9, 5])
    torch.testing.assert_close(z[1:2], prior.latents(1, torch.Generator().manual_seed(9)), rtol=0, atol=0)
    assert torch.equal(z[0], z[2])
    assert not torch.equal(z[0], z[1])


def test_a_move_keeps_the_norm_and_a_right_angle_ends_at_the_direction() -> None:
    z, direction = latents_of(NORMAL, [1]), latents_of(NORMAL, [2])
    half = moved(NORMAL, z, [(2, 0.5)])
    torch.testing.assert_close(half.norm(), z.norm())
    end = moved(NORMAL, z, [(2, 1.0)])
    torch.testing.assert_close((end @ z.T).squeeze(), torch.tensor(0.0), atol=1e-4, rtol=0)
    assert (end * direction).sum() > 0.9 * end.norm() * direction.norm()
    torch.testing.assert_close(moved(NORMAL, z, [(2, 2.0)]), -z, atol=1e-5, rtol=0)
    torch.testing.assert_close(moved(NORMAL, z, [(2, 0.0)]), z, atol=1e-6, rtol=0)


def test_uniform_latents_stay_in_their_cube() -> None:
    z = moved(UNIFORM, latents_of(UNIFORM, [1, 2]), [(3, 0.5), (4, -2.0)])
    assert z.abs().max() <= 1


def test_seeds_are_numbers_and_ranges() -> None:
    assert parse_seeds("3, 17,100-103") == [3, 17, 100, 101, 102, 103]


@pytest.mark.parametrize("text", ["", "a", "3,,4", "-3", "5-3", "1-2-3", "0-1000000", "1.5"])
def test_what_is_no_list_of_seeds_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="seeds"):
        parse_seeds(text)


def test_seeds_out_of_range_are_refused() -> None:
    with pytest.raises(UserError, match="not -1"):
        latents_of(NORMAL, [-1])
    with pytest.raises(UserError, match="at least one"):
        latents_of(NORMAL, [])
