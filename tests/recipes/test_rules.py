"""The table of rules."""

from __future__ import annotations

import pytest

from steadygan.nets.registry import create_critic, create_generator
from steadygan.recipes.rules import Network, rules


@pytest.mark.parametrize("row", rules().networks, ids=lambda row: f"{row.size}-{row.kind}-{row.width}")
def test_every_network_in_the_table_can_be_built(row: Network) -> None:
    import torch

    with torch.device("meta"):
        shape = {"size": row.size, "channels": 3, "classes": 3}
        create_generator(row.kind, latent=row.latent, width=row.width, **shape)
        gain = {} if row.gain == 1 else {"sn_gain": row.gain}  # BigGAN's critic has none
        critic = create_critic(row.kind, width=row.width, **gain, **shape)
    assert critic.size == row.size


def test_networks_go_from_little_work_to_much() -> None:
    rows = rules().networks
    assert list(rows) == sorted(rows, key=lambda row: (row.size, row.width))
    for classes in (True, False):
        alike = [row for row in rows if row.width == 16 and row.classes == classes]
        needs = [row.needs for row in alike if row.needs is not None]
        assert needs == sorted(needs)
        assert needs[0] == 0, "something is trained in any time"


def test_every_row_says_what_it_rests_on() -> None:
    table = rules()
    rows = [*table.networks, *table.batches, *table.hours.values(), table.features, table.augment, table.augment.colour]
    rows += [table.augment.grey, table.classes, table.held_out, table.flip, table.regulariser, table.optimiser]
    rows += [table.schedule, table.average]
    assert all(row.source for row in rows)
