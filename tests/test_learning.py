"""The default run learns: not that it runs, but that its digits are digits. The slowest test; about 80 s on 2 cores."""

from __future__ import annotations

from pathlib import Path

import steadygan


def test_the_default_run_learns_to_write_the_digit_that_is_asked_for(tmp_path: Path) -> None:
    """`steadygan train digits`, 600 of its 1,000 steps. Untrained: agreement 0.1, distance 57; so many reals: 0.3."""
    options = ["train.steps=600", "optim.decay_from=300", "train.device=cpu", "train.checkpoint_every=600"]
    run = steadygan.train("digits", [*options, "train.sample_every=600", "eval.every=0"], out=tmp_path / "run")
    assert run.finished
    assert run.scores["class_agreement"] > 0.6
    assert run.scores["FD-digits"] < 6
    assert run.scores["diversity"] > 0.3
