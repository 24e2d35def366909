"""Verdicts on recorded runs that really went wrong, and on made-up records at the edges of each rule."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from steadygan.config import load
from steadygan.diagnosis import KINDS, Verdict, diagnose
from steadygan.diagnosis.reading import diagnose_run
from steadygan.diagnosis.records import UNDECIDED
from steadygan.errors import UserError
from steadygan.objective.adversarial import LOSSES

RUNS = Path(__file__).with_name("runs")
REALLY = {
    "fine": "fine",
    "caught-up": "fine",  # 188 portraits by `train FOLDER`, first scored near its end
    "memorises": "memorises",
    "modes": "mode collapse",
    "asleep": "nothing is learnt",
    "won": "diverging",
    "crushed": "nothing is learnt",
    "diverges": "diverging",
    "turns": "diverging",
    "leaks": "augmentations leak",
    "blind": "ignores images",
}


@pytest.mark.parametrize(("name", "kind"), REALLY.items())
def test_a_run_that_went_wrong_is_recognised(name: str, kind: str) -> None:
    verdict = diagnose_run(RUNS / name)
    assert verdict.kind == kind
    assert verdict.kind in KINDS
    assert verdict.numbers
    assert all(isinstance(value, int | float) for value in verdict.numbers.values())


@pytest.mark.parametrize("name", [name for name, kind in REALLY.items() if kind != "fine"])
def test_what_is_advised_is_a_change_that_the_configuration_takes(name: str) -> None:
    verdict = diagnose_run(RUNS / name)
    assert verdict.advice
    before = load(RUNS / name)
    for advice in verdict.advice:
        assert load(RUNS / name, [advice.override()]) != before, advice


def test_advice_names_what_the_run_was_provoked_by() -> None:
    keys = {name: [advice.key for advice in diagnose_run(RUNS / name).advice] for name in REALLY}
    assert keys["memorises"][0] == "augment.diffaugment.policy"
    assert "train.phases" in keys["modes"]
    assert keys["asleep"][:2] == ["optim.d.lr", "optim.g.lr"]
    assert "objective.terms.bcr.real" in keys["crushed"]
    assert keys["won"][0] == "optim.d.lr"
    assert {"optim.g.lr", "optim.d.lr", "model.critic.sn_critic"} == set(keys["diverges"])
    assert keys["turns"][0] == "optim.g.lr"
    assert keys["leaks"] == ["augment.diffaugment.placement"]
    assert not keys["fine"]


def test_fixtures_stay_small() -> None:
    for name in REALLY:
        assert sum(file.stat().st_size for file in (RUNS / name).iterdir()) < 100_000
        assert {file.name for file in (RUNS / name).iterdir()} == {"config.yaml", "metrics.jsonl", "scores.jsonl"}


HEALTHY = {
    "D/adversarial": 1.5,
    "G/adversarial": 0.6,
    "D_accuracy_train": 0.8,
    "D_accuracy_heldout": 0.78,
    "D_accuracy_fake": 0.7,
    "G_diversity": 0.9,
    "skipped": 0,
}


def rows(count: int = 20, **changed: Any) -> list[dict[str, Any]]:
    """Lines of a healthy run, every ten steps, with other values: one for all lines, or a function of the place."""
    lines = []
    for place in range(count):
        values = {name: value(place) if callable(value) else value for name, value in changed.items()}
        lines.append({"step": 10 * (place + 1)} | HEALTHY | values)
    return lines


def scores(*values: float, name: str = "FD-digits", **more: float) -> list[dict[str, Any]]:
    protocol = {"name": "digits", "num_fake": 300}
    return [{"step": 50 * (k + 1), name: value, "protocol": protocol} | more for k, value in enumerate(values)]


def verdict_on(lines: list[dict[str, Any]], scored: list[dict[str, Any]] | None = None, **config: Any) -> Verdict:
    return diagnose(lines, scored or [], config={key.replace("__", "."): value for key, value in config.items()})


def test_a_healthy_run_is_fine_with_scores_and_without() -> None:
    assert verdict_on(rows()).kind == "fine"
    found = verdict_on(rows(), scores(40, 20, 12))
    assert found.kind == "fine"
    assert found.numbers == {"first": 40, "last": 12, "best": 12}
    assert found.since_step == 150


def test_what_an_undecided_discriminator_pays_is_what_the_losses_say() -> None:
    assert {name: loss.undecided for name, loss in LOSSES.items() if loss.undecided is not None} == UNDECIDED


def test_a_run_without_a_line_is_a_young_run(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("name: young\n")
    assert diagnose_run(tmp_path).kind == "cannot tell"
    with pytest.raises(UserError, match="is not a run directory"):
        diagnose_run(tmp_path / "nowhere")


def test_few_lines_cannot_tell() -> None:
    found = diagnose(rows(3), [], "running")
    assert found.kind == "cannot tell"
    assert "look again later" in found.sentence
    assert verdict_on([]).kind == "cannot tell"
    assert "lower train.log_every, or train longer" in verdict_on(rows(3)).sentence
    assert "needed; train longer" in verdict_on(rows(3), train__log_every=1).sentence


def test_scores_that_stand_still_beside_a_discriminator_at_work_cannot_tell() -> None:
    found = verdict_on(rows(D_accuracy_train=0.5), scores(20, 19, 20))
    assert found.kind == "cannot tell"
    assert not found.advice


def test_a_loss_that_is_no_number_is_diverging_since_it_was() -> None:
    found = verdict_on(
        rows(**{"D/adversarial": lambda k: None if k >= 12 else 1.5, "skipped": lambda k: 9 * (k >= 12)})
    )
    assert found.kind == "diverging"
    assert found.since_step == 130


def test_rollbacks_for_what_is_not_finite_are_diverging() -> None:
    event = {"step": 100, "event": "rollback", "reason": "no longer finite is the gradient", "number": 1}
    assert verdict_on([*rows(10), event, *rows(20)[10:]]).kind == "diverging"


def test_an_exploding_loss_is_told_by_what_an_undecided_discriminator_pays() -> None:
    exploding = rows(**{"D/adversarial": lambda k: 1.5 * 3.0**k})
    assert verdict_on(exploding).kind == "diverging"
    assert verdict_on(exploding, objective__loss="wasserstein").kind != "diverging"


@pytest.mark.parametrize(
    ("bad", "first"),
    [
        (range(8, 20), 90),  # to the end
        (range(8, 18), 90),  # the last lines fall to 0: most of the last quarter still shows it
        ([*range(8, 13), *range(14, 20)], 90),  # one line in ten is no end
        ([*range(4, 8), *range(12, 20)], 130),  # it had recovered
        ([3, *range(17, 20)], 180),
    ],
)
def test_a_verdict_on_the_last_lines_says_since_when_they_are_so(bad: Sequence[int], first: int) -> None:
    found = verdict_on(rows(**{"D/adversarial": lambda k: 1e5 if k in bad else 0.0}))
    assert found.kind == "diverging"
    assert found.since_step == first


def test_a_loss_that_exploded_and_fell_back_to_chance_has_diverged() -> None:
    """As recorded on three classes of CIFAR-10: hinge, rates of 0.1, no spectral norm; 1882 at step 90, then 2.000."""
    losses = [1.98, 1.93, 0, 0, 0.17, 0, 0, 0, 1881.85, *[2.0] * 13]
    spreads = [0.07, 0.09, 0.08, 0.08, 0.11, 0.11, 0.15, 0.2, 0.14, *[0.01] * 13]
    lines = rows(22, **{"D/adversarial": lambda k: losses[k], "G_diversity": lambda k: spreads[k]})
    found = verdict_on(lines)
    assert (found.kind, found.since_step) == ("diverging", 90)
    assert "1.88e+03 at step 90" in found.sentence
    assert found.advice[0].key == "optim.d.lr"
    losses[8] = 3.0  # nothing exploded; D was ahead and G never had any diversity
    calm = rows(22, **{"D/adversarial": lambda k: losses[k], "G_diversity": lambda k: spreads[k]})
    assert verdict_on(calm).kind == "nothing is learnt"
    lively = rows(22, **{"D/adversarial": lambda k: [1881.85, *[2.0] * 21][k], "G_diversity": 0.9})
    assert verdict_on(lively).kind != "diverging", "it has recovered"


def test_a_discriminator_that_has_won_is_diverging() -> None:
    won = rows(**{"D/adversarial": 0.001, "D_accuracy_train": 1, "D_accuracy_heldout": 1, "D_accuracy_fake": 1})
    found = verdict_on(won)
    assert found.kind == "diverging"
    assert "D has won" in found.sentence
    assert found.advice[0].key == "optim.d.lr"


def test_memorising_is_a_lasting_gap_and_says_since_when() -> None:
    found = verdict_on(rows(D_accuracy_heldout=lambda k: 0.78 if k < 8 else 0.2))
    assert found.kind == "memorises"
    assert found.since_step == 90
    assert verdict_on(rows(D_accuracy_heldout=lambda k: 0.2 if k == 12 else 0.78)).kind == "fine"


def test_copies_in_a_score_are_memorising() -> None:
    copied = scores(30, 10, copies=0.4, copies_low=0.36, copies_high=0.44)
    found = verdict_on(rows(), copied)
    assert found.kind == "memorises"
    assert found.numbers["copies"] == 0.4
    assert verdict_on(rows(), scores(30, 10, copies=0.02, copies_low=0.0, copies_high=0.04)).kind == "fine"


def test_a_leak_counts_only_when_its_whole_interval_does() -> None:
    sure = scores(30, 10, leak_cutout=0.2, leak_cutout_low=0.16, leak_cutout_high=0.25)
    found = verdict_on(rows(), sure, objective__terms__cr__weight=10)
    assert found.kind == "augmentations leak"
    assert [advice.override() for advice in found.advice] == [
        "objective.terms.cr=null",
        "objective.terms.bcr.real=10",
        "augment.consistency.cutout=0",
    ]
    unsure = scores(30, 10, leak_cutout=0.1, leak_cutout_low=0.0, leak_cutout_high=0.25)
    assert verdict_on(rows(), unsure).kind == "fine"


def test_modes_are_going_by_the_spread_of_images_and_by_scores() -> None:
    found = verdict_on(rows(G_diversity=lambda k: 0.9 if k < 10 else 0.3))
    assert found.kind == "mode collapse"
    assert found.since_step == 110
    falling = [{**row, "recall": 0.5 - 0.15 * k} for k, row in enumerate(scores(30, 20, 19, 18))]
    assert verdict_on(rows(), falling).kind == "mode collapse"


def test_a_network_that_has_not_learnt_yet_is_not_losing_modes() -> None:
    """An untrained generator is uniform, too."""
    asleep = rows(**{"D/adversarial": 2.0, "G_diversity": 0.21, "D_accuracy_train": 0.5, "D_accuracy_heldout": 0.5})
    assert verdict_on(asleep).kind == "nothing is learnt"


def test_a_discriminator_at_chance_beside_improving_scores_has_learnt() -> None:
    chance = rows(**{"D/adversarial": 2.0, "D_accuracy_train": 0.5})
    assert verdict_on(chance, scores(50, 30, 20)).kind == "fine"


def test_a_score_that_turned_is_told_with_its_best_step() -> None:
    found = verdict_on(rows(), scores(30, 10, 25, 28))
    assert found.kind == "diverging"
    assert found.since_step == 100
    assert verdict_on(rows(), scores(30, 10, 25, 11)).kind == "fine"


def test_verdicts_depend_on_the_records_alone_and_are_json() -> None:
    first, second = (diagnose_run(RUNS / "memorises") for _ in range(2))
    assert first == second
    assert json.loads(json.dumps(first.as_json()))["advice"][0]["override"] == first.advice[0].override()


def test_a_discriminator_that_reads_the_label_ignores_images_since_it_did() -> None:
    def blind(place: int) -> float:
        return 0.5 if place >= 4 else 0.9

    lines = [
        {**row, "step": 100 * (k + 1), "D_auc_fake": blind(k), "D_spread_within": 0.002, "D_spread_between": 1.04}
        for k, row in enumerate(rows())
    ]
    found = verdict_on(lines, model__kind="dcgan")
    assert found.kind == "ignores images"
    assert found.since_step == 400
    assert found.numbers["D_spread_between"] == 1.04
    assert [advice.key for advice in found.advice] == ["model.fake_labels", "model.critic.sn_gain", "model.kind"]


def test_a_run_whose_discriminator_has_gone_blind_has_not_caught_up() -> None:
    """As recorded on three classes of CIFAR-10, narrow SN-DCGAN at 1e-3: D saw at first, and nothing from then on."""
    seeing = {"D_auc_fake": 0.74, "D_spread_within": 0.46, "D/adversarial": 1.5}
    blind = {"D_auc_fake": 0.46, "D_spread_within": 0.01, "D/adversarial": 2.0}
    flicker = {"D_auc_fake": 0.46, "D_spread_within": 0.0245, "D/adversarial": 2.0}
    lines = [row | (seeing if k < 10 else blind) for k, row in enumerate(rows(24))]
    early = verdict_on(lines)
    assert (early.kind, early.numbers["D_spread_within"]) == ("cannot tell", 0.01)
    assert "if that lasts for 200 steps, D ignores the image" in early.sentence
    longer = [row | (seeing if k < 10 else flicker if k == 20 else blind) for k, row in enumerate(rows(42))]
    found = verdict_on(longer)
    assert (found.kind, found.since_step) == ("ignores images", 100)


@pytest.mark.parametrize("name", ["fine", "caught-up"])
def test_a_healthy_run_is_never_called_ill_however_early_one_looks(name: str) -> None:
    rows = [json.loads(line) for line in (RUNS / name / "metrics.jsonl").read_text().splitlines()]
    scores = [json.loads(line) for line in (RUNS / name / "scores.jsonl").read_text().splitlines()]
    for seen in range(1, len(rows) + 1):
        step = rows[seen - 1]["step"]
        verdict = diagnose(rows[:seen], [row for row in scores if row["step"] <= step], "running")
        assert verdict.kind in ("fine", "cannot tell"), (step, verdict.sentence)


def test_the_first_steps_say_nothing_even_if_each_has_a_line() -> None:
    rows = [{**HEALTHY, "step": step, "D/adversarial": 2.0, "G_diversity": 0.02} for step in range(1, 9)]
    verdict = diagnose(rows, [], "running")
    assert verdict.kind == "cannot tell"
    assert "step 8" in verdict.sentence
    assert "look again later" in verdict.sentence
    later = [{**row, "step": 50 * row["step"]} for row in rows]
    assert diagnose(later, [], "running").kind == "nothing is learnt"


def test_eleven_steps_are_not_called_fine() -> None:
    rows = [{**HEALTHY, "step": k, "D/adversarial": 1.9 if k > 8 else 1.2, "G_diversity": 0.9} for k in range(1, 12)]
    scores = [{"step": 11, "FD-tiny": 4.938, "protocol": {"name": "tiny"}}]
    assert diagnose(rows, scores, "finished").kind == "cannot tell"
    later = [{**row, "step": 50 * row["step"]} for row in rows]
    assert diagnose(later, [{**scores[0], "step": 550}], "finished").sentence.startswith(
        "As far as can be seen from one score, D could tell fakes at first"
    )


def test_a_young_run_is_not_called_fine_and_it_is_said_when_to_ask_again() -> None:
    for told in ([], scores(40, 20, 12)):
        young = diagnose(rows(19), told, "running")
        assert young.kind == "cannot tell"
        assert "at step 190" in young.sentence
        assert "shows from step 200 on; look again later" in young.sentence
        assert diagnose(rows(20), told).kind == "fine"
