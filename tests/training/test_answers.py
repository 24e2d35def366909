"""Measurements of D besides its losses: ranking, and the causes of its logit's variation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from helpers import tiny_run
from torch import Tensor, nn

import steadygan
from steadygan.nets.layers import Score
from steadygan.training.answers import answers, auc, balanced_draw, wrong_labels


def test_auc_is_the_share_of_pairs_in_order_with_ties_halved() -> None:
    assert auc(torch.tensor([1.0, 2.0]), torch.tensor([0.0])) == 1
    assert auc(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 3.0])) == (0.5 + 0 + 1 + 0) / 4
    assert auc(torch.zeros(3), torch.zeros(5)) == 0.5


def test_a_balanced_draw_takes_as_many_of_each_class_as_there_are() -> None:
    labels = torch.tensor([0] * 50 + [1] * 5 + [2] * 20)
    drawn = balanced_draw(labels, len(labels), 30, seed=0)
    assert labels[drawn].bincount().tolist() == [13, 5, 12] or labels[drawn].bincount().tolist() == [12, 5, 13]
    assert len(set(drawn.tolist())) == 30
    assert torch.equal(drawn, balanced_draw(labels, len(labels), 30, seed=0))
    assert not torch.equal(drawn, balanced_draw(labels, len(labels), 30, seed=1))
    assert labels[drawn[:9]].unique().numel() == 3, "the first of them are of every class too"


def test_without_labels_any_images_are_drawn_and_never_more_than_there_are() -> None:
    drawn = balanced_draw(None, 1000, 100, seed=0)
    assert len(drawn.unique()) == 100
    assert drawn.max() > 500, "not the first ones"
    assert balanced_draw(None, 7, 100, seed=0).sort().values.tolist() == list(range(7))


@pytest.mark.parametrize("y", [[0, 1, 2, 0, 1, 2], [5, 5, 5, 1, 2, 3], [0, 1]])
def test_no_image_keeps_its_label_where_no_class_has_the_majority(y: list[int]) -> None:
    labels = torch.tensor(y)
    wrong = wrong_labels(labels)
    assert (wrong != labels).all()
    assert wrong.sort().values.tolist() == sorted(y), "dealt out, not made up"


class Critic(nn.Module):
    """A logit of the image's first pixel and of the label."""

    def __init__(self, image: float, label: float) -> None:
        super().__init__()
        self.image, self.label = image, label

    def forward(self, x: Tensor, y: Tensor | None = None) -> Score:
        logit = self.image * x[:, 0, 0, 0]
        return Score(logit if y is None else logit + self.label * y)


LABELS = torch.arange(4).repeat(16)
REALS = 2 + 0.1 * torch.randn(64, 3, 4, 4, generator=torch.Generator().manual_seed(3))  # noise is below 1


def ask(critic: Critic, labels: Tensor | None) -> dict[str, float]:
    return answers(critic, REALS, labels, critic(REALS, labels).logit)


def test_a_critic_that_sees_the_image_ranks_it_above_noise_and_varies_within_a_class() -> None:
    found = ask(Critic(1, 0), LABELS)
    assert found["D_auc_noise"] == 1
    assert found["D_auc_shuffled"] == 0.5, "it doesn't look at the label"
    first = REALS[:, 0, 0, 0]
    classes = torch.stack([first[c == LABELS] for c in range(4)])
    assert found["D_spread_within"] == pytest.approx(float(classes.std(1, correction=0).mean()))
    assert found["D_spread_between"] == pytest.approx(float(classes.mean(1).std(correction=0)))


def test_a_critic_that_reads_the_label_alone_is_at_chance_and_has_no_spread_within_a_class() -> None:
    found = ask(Critic(0, 1), LABELS)
    assert found["D_auc_noise"] == 0.5, "noise has the reals' labels"
    assert found["D_spread_within"] == 0
    assert found["D_spread_between"] == pytest.approx(1.25**0.5)


def test_a_critic_without_labels_is_asked_about_noise_alone() -> None:
    assert ask(Critic(1, 0), None).keys() == {"D_auc_noise", "D_spread_within"}


def test_with_one_class_there_is_no_wrong_label() -> None:
    found = ask(Critic(1, 0), torch.zeros(64, dtype=torch.int64))
    assert "D_auc_shuffled" not in found
    assert found["D_spread_between"] == 0


@pytest.mark.parametrize(("conditional", "shuffled"), [("true", True), ("false", False)])
def test_every_line_of_a_run_has_the_answers(tmp_path: Path, conditional: str, shuffled: bool) -> None:
    options = tiny_run("data.channels=3", "train.steps=2", "train.log_every=1", f"model.conditional={conditional}")
    run = steadygan.train("digits", options, out=tmp_path / "run").path
    for line in (run / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        assert 0 <= row["D_auc_noise"] <= 1
        assert 0 <= row["D_auc_fake"] <= 1
        assert row["D_spread_within"] > 0
        assert ("D_auc_shuffled" in row) is ("D_spread_between" in row) is shuffled


def test_a_run_says_once_that_its_critic_does_not_look_at_the_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"CHANCE": 1.0, "LEAST_SPREAD": 1e9, "LINES": 2, "STEPS": 2}.items():
        monkeypatch.setattr(f"steadygan.diagnosis.looking.{name}", value)
    notices = {}
    steadygan.train(
        "digits",
        tiny_run("data.channels=3", "train.steps=4", "train.log_every=1"),
        out=tmp_path / "run",
        on_step=lambda progress: notices.update({progress.step: progress.notice}),
    )
    assert notices[1] == ""
    assert notices[2].startswith("D ignores the image")
    assert "sn_gain" in notices[2]
    assert notices[3] == notices[4] == ""
