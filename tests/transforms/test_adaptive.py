"""The controller of ADA and APA: when it adjusts, by how much, in which direction."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from steadygan.schedules import Schedule
from steadygan.transforms import Controller

CERTAIN, UNDECIDED = torch.tensor([3.0, 0.1, 2.0, 5.0]), torch.tensor([3.0, -0.1, 2.0, -5.0])


def observe(controller: Controller, margin: Tensor) -> None:
    controller.observe(margin, -margin, margin)


def after(controller: Controller, margins: Sequence[Tensor]) -> list[float]:
    values = []
    for margin in margins:
        observe(controller, margin)
        values.append(round(float(controller.p), 6))
    return values


def test_p_rises_by_the_images_seen_over_the_speed_when_enough_were_seen() -> None:
    controller = Controller(kimg=0.1, interval=8)
    assert after(controller, [CERTAIN] * 5) == [0, 0.08, 0.08, 0.16, 0.16]
    assert float(controller.r) == 1


def test_p_falls_below_the_target_and_stays_in_its_range() -> None:
    controller = Controller(kimg=0.016, interval=4)
    assert after(controller, [CERTAIN] * 5) == [0.25, 0.5, 0.75, 1, 1]
    assert after(controller, [UNDECIDED] * 5) == [0.75, 0.5, 0.25, 0, 0]
    assert float(controller.r) == 0


def test_r_is_the_mean_sign_over_the_images_since_the_last_adjustment() -> None:
    controller = Controller(interval=8)
    after(controller, [UNDECIDED, UNDECIDED, CERTAIN, UNDECIDED])
    assert float(controller.r) == 0.5
    assert float(controller.seen) == 0


def test_at_the_target_p_rests() -> None:
    controller = Controller(target=0.5, interval=4, kimg=1)
    observe(controller, torch.tensor([1.0, 1.0, 1.0, -1.0]))
    assert float(controller.p) == 0


def test_patches_of_an_image_count_as_one_and_what_is_no_number_as_undecided() -> None:
    controller = Controller(target=0.4, interval=2)
    observe(controller, torch.tensor([1.0, 2, 3, -4]).view(1, 1, 2, 2).expand(2, -1, -1, -1))
    assert float(controller.r) == 0.5
    observe(controller, torch.tensor([float("nan"), 1.0]))
    assert float(controller.r) == 0.5
    assert float(controller.p) > 0


def test_what_is_fixed_or_scheduled_does_not_adapt() -> None:
    fixed = Controller(p=0.3, interval=4)
    assert after(fixed, [CERTAIN] * 3) == [0.3] * 3
    scheduled = Controller(p=Schedule(start=0, end=0.5, steps=10), interval=4)
    scheduled.follow(5)
    assert after(scheduled, [CERTAIN]) == [0.25]
    assert float(scheduled.r) == 1


def test_its_state_comes_back() -> None:
    controller, other = Controller(interval=8), Controller(interval=8)
    after(controller, [CERTAIN] * 3)
    other.load_state_dict(controller.state_dict())
    assert after(other, [UNDECIDED] * 3) == after(controller, [UNDECIDED] * 3)


@pytest.mark.parametrize("step", [0, 99])
def test_an_adaptive_one_follows_no_step(step: int) -> None:
    controller = Controller(interval=4, kimg=0.01)
    observe(controller, CERTAIN)
    controller.follow(step)
    assert float(controller.p) == pytest.approx(0.4)
