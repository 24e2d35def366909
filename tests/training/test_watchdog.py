"""When skipping phases is not enough."""

from __future__ import annotations

from steadygan.training.watchdog import Watchdog


def test_a_few_skipped_phases_are_no_reason_to_roll_back() -> None:
    watchdog = Watchdog()
    assert not watchdog.must_roll_back(skipped=25, step=50)
    assert not watchdog.must_roll_back(skipped=50, step=100)


def test_more_skipped_phases_than_half_the_steps_are() -> None:
    assert Watchdog().must_roll_back(skipped=26, step=50)


def test_one_player_standing_still_is_enough_however_many_phases_the_other_has() -> None:
    """With phases D D D D D G a broken generator skips one phase in six, which is one a step."""
    assert Watchdog().must_roll_back(skipped=50, step=50)


def test_only_what_happened_since_the_last_look_counts() -> None:
    watchdog = Watchdog()
    watchdog.must_roll_back(skipped=0, step=10_000)
    assert watchdog.must_roll_back(skipped=50, step=10_050)
    assert not watchdog.must_roll_back(skipped=50, step=10_100)


def test_looks_a_step_apart_are_put_together() -> None:
    watchdog = Watchdog(window=10)
    looks = [watchdog.must_roll_back(skipped=1, step=step) for step in range(1, 31)]
    assert not any(looks)
    looks = [watchdog.must_roll_back(skipped=1 + step, step=30 + step) for step in range(1, 11)]
    assert looks == [False] * 9 + [True]


def test_a_resumed_run_starts_counting_where_it_resumes() -> None:
    watchdog = Watchdog()
    watchdog.begin(skipped=900, step=1000)
    assert not watchdog.must_roll_back(skipped=900, step=1050)
