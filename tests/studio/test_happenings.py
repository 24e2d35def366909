"""The marks at a run's curves."""

from __future__ import annotations

from typing import Any

import pytest

from steadygan.studio.happenings import happenings


def events(*rows: dict[str, Any], last: int = 1000, config: Any = None, **provenance: Any) -> list[tuple[int, str]]:
    return [(one["step"], one["event"]) for one in happenings(rows, provenance, config or {}, last)]


def test_collapses_and_rollbacks_are_told_in_the_order_of_their_steps() -> None:
    rows = [
        {"step": 50, "event": "collapse", "symptom": "all alike"},
        {"step": 20, "event": "rollback", "from": 40, "reason": "not finite"},
    ]
    found = happenings(rows, {}, {}, 100)
    assert [(one["step"], one["text"]) for one in found] == [
        (20, "rolled back from step 40: not finite"),
        (50, "all alike"),
    ]


def test_a_resume_says_what_it_changed_and_a_changed_learning_rate_is_marked() -> None:
    changed = {"optim.g.lr": [2e-4, 1e-4], "train.steps": [100, 200]}
    found = happenings([], {"resumes": [{"step": 100, "changed": changed}]}, {}, 150)
    assert [(one["event"], one["text"]) for one in found] == [
        ("resume", "resumed; optim.g.lr from 0.0002 to 0.0001; train.steps from 100 to 200"),
        ("learning rate", "G: optim.g.lr from 0.0002 to 0.0001"),
    ]


def test_a_branch_is_marked_where_it_left() -> None:
    assert events(branched_from={"run": "/runs/first", "step": 30}) == [(30, "branch")]


def test_a_schedule_of_a_learning_rate_is_marked_where_it_begins_and_ends_as_far_as_the_run_is() -> None:
    rate = {"shape": "cosine", "start": 2e-4, "end": 0.0, "delay": 100, "steps": 400}
    config = {"optim": {"g": {"lr": rate}, "d": {"lr": 2e-4}, "schedule": "constant", "decay_from": 0}}
    assert events(config=config) == [(100, "learning rate"), (500, "learning rate")]
    assert events(config=config, last=499) == [(100, "learning rate")]
    linear = {"optim": {"schedule": "linear", "decay_from": 70}}
    assert events(config=linear) == [(70, "learning rate")]


@pytest.mark.parametrize(
    "provenance",
    [
        {"resumes": "often"},
        {"resumes": [7, {"step": "x"}, {"step": None, "changed": {}}]},
        {"branched_from": {"step": "x"}},
        {"branched_from": 3},
    ],
)
def test_what_is_damaged_is_left_out(provenance: dict[str, Any]) -> None:
    assert happenings([], provenance, {"optim": {"g": {"lr": {"end": 1}}, "d": 3}}, 10) == []
    assert happenings([], {"resumes": [{"step": 1, "changed": {"a": 3}}]}, {"optim": 4}, 10)[0]["text"] == "resumed"
