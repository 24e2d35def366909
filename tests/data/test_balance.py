"""Labels of fakes: drawn with the data's frequencies if classes are imbalanced."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from steadygan import build, config
from steadygan.data.balance import MOST_IMBALANCE, fakes_follow_data, imbalance
from steadygan.tasks.choice import build_images, task_of


@pytest.mark.parametrize(("counts", "share"), [([5, 5, 5], 0), ([1, 3], 0.25), ([0, 4], 0.5), ([10, 30, 100], 8 / 21)])
def test_imbalance_is_the_share_of_images_to_move(counts: list[int], share: float) -> None:
    assert imbalance(np.array(counts)) == pytest.approx(share)


def labels(*counts: int) -> np.ndarray:
    return np.repeat(np.arange(len(counts)), counts)


def test_an_imbalanced_folder_gives_fakes_its_own_labels_and_a_balanced_one_uniform_ones() -> None:
    flowers = labels(733, 984, 1052, 764, 898)
    assert imbalance(np.bincount(flowers)) > MOST_IMBALANCE
    assert fakes_follow_data("auto", flowers, 5)
    assert not fakes_follow_data("auto", labels(5000, 5000, 5000), 3)
    assert not fakes_follow_data("auto", labels(*[1300] * 895, *[1110] * 105), 1000), "about ImageNet's classes"
    assert fakes_follow_data("auto", labels(10, 10), 3), "a class without an image"


def test_what_is_asked_for_is_done() -> None:
    assert fakes_follow_data("data", labels(5, 5), 2)
    assert not fakes_follow_data("uniform", labels(1, 9), 2)


@pytest.mark.parametrize("options", [[], ["data.fraction=0.1"], ["data.max_images=40"]])
def test_the_digits_are_balanced_whatever_part_of_them_is_trained_on(options: list[str]) -> None:
    cfg = build.resolve(config.load("digits", ["model.width=4", *options]))
    images = build_images(cfg, torch.device("cpu")).train
    state = build.build_state(task_of(cfg), images, torch.device("cpu"))
    assert state.objective.prior.label_pool.tolist() == list(range(10))
