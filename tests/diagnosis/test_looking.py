"""The alarm of a discriminator that does not look at the image."""

from __future__ import annotations

from typing import Any

import pytest

from steadygan.diagnosis.looking import CHANCE, LABEL, LEAST_SPREAD, LINES, STEPS, not_looking

EVERY = STEPS // (LINES - 1)


def line(step: int, **values: float) -> dict[str, Any]:
    return {"step": step, "D_auc_fake": 0.51, "D_spread_within": 0.007, "D_spread_between": 1.2, **values}


def lines(count: int = LINES, **values: float) -> list[dict[str, Any]]:
    return [line((i + 1) * EVERY, **values) for i in range(count)]


SEES = {"D_auc_fake": 0.8, "D_spread_within": 0.5, "D_spread_between": 0.2}


def test_a_discriminator_that_reads_the_label_is_told_and_so_is_what_to_set() -> None:
    found = not_looking(lines())
    assert found is not None
    assert (found.step, found.since, found.reads_label) == (LINES * EVERY, 0, True)
    assert "51% of the time" in found.symptom
    assert "0.007 within a class" in found.symptom
    assert "1.2 between classes" in found.symptom
    assert found.remedy.startswith("try model.fake_labels=data")
    assert "objective.terms" not in found.remedy, "there is no consistency term"


def test_without_classes_the_label_is_not_spoken_of() -> None:
    rows = [{key: value for key, value in row.items() if key != "D_spread_between"} for row in lines()]
    found = not_looking(rows)
    assert found is not None
    assert not found.reads_label
    assert "label" not in found.symptom + found.remedy


def test_consistency_terms_are_named_where_there_are_some() -> None:
    found = not_looking(lines(**{"D/bcr_real": 1e-4}))
    assert found is not None
    assert "objective.terms.bcr.real={shape: linear" in found.remedy


@pytest.mark.parametrize(
    "sees",
    [
        SEES,
        {"D_auc_fake": 0.5 + 1.01 * CHANCE},
        {"D_auc_fake": 0.5 - 1.01 * CHANCE},
        {"D_spread_within": 1.01 * LEAST_SPREAD, "D_spread_between": LABEL * LEAST_SPREAD},
    ],
)
def test_one_line_in_which_it_looks_is_enough(sees: dict[str, float]) -> None:
    assert not_looking([*lines()[:-1], line(LINES * EVERY, **sees)]) is None


def test_it_must_show_in_enough_lines_and_for_enough_steps() -> None:
    assert not_looking(lines(LINES - 1)) is None
    assert not_looking([line(step) for step in range(1, STEPS)]) is None
    assert not_looking([]) is None


def test_what_came_before_it_looked_is_forgotten() -> None:
    rows = [*lines(), line((LINES + 1) * EVERY, **SEES)]
    rows += [line((LINES + 2 + i) * EVERY) for i in range(LINES)]
    found = not_looking(rows)
    assert found is not None
    assert found.since == (LINES + 1) * EVERY


def test_lines_without_the_instruments_change_nothing() -> None:
    rows = lines()
    events = [{"step": row["step"], "event": "rolled back"} for row in rows]
    assert not_looking([row for pair in zip(rows, events, strict=True) for row in pair]) == not_looking(rows)
    assert not_looking(events) is None
    assert not_looking([line(row["step"], D_auc_fake=None) for row in rows]) is None  # type: ignore[arg-type]


# D_auc_fake, D_spread_within, D_spread_between in lines of runs: benchmarks/looking.py, `steadygan train digits`.
BLIND = [  # SN-DCGAN of width 16 at a learning rate of 1e-3 on imbalanced CIFAR-10, without and with ICR
    *((0.4173, 0.0057, 0.0622), (0.5399, 0.0037, 0.0068), (0.3536, 0.0104, 0.2276), (0.414, 0.0014, 0.3351)),
    *((0.4981, 0.005, 0.0952), (0.5989, 0.0074, 0.0509), (0.5283, 0.0008, 0.0106), (0.5347, 0.0039, 0.0176)),
    (0.5085, 0.0071, 1.199),  # at 3e-4 with ICR and uniform labels: it reads the label
]
SEEING = [  # with sn_gain 2; then digits with ICR, whose terms keep the logit small
    *((0.6612, 0.1489, 0.0691), (0.5317, 0.1434, 0.5811), (0.6666, 0.3002, 0.3271), (0.6172, 0.6394, 0.3439)),
    *((0.8176, 0.0528, 0.0727), (0.6558, 0.042, 0.171), (0.6852, 0.035, 0.1696), (0.8161, 0.0944, 0.21)),
]


@pytest.mark.parametrize(("recorded", "blind"), [*((r, True) for r in BLIND), *((r, False) for r in SEEING)])
def test_recorded_runs_that_went_blind_are_told_from_those_that_learnt(
    recorded: tuple[float, float, float], blind: bool
) -> None:
    values = dict(zip(("D_auc_fake", "D_spread_within", "D_spread_between"), recorded, strict=True))
    assert (not_looking(lines(**values)) is not None) is blind
