"""The library in a few calls: `train`, `evaluate`, `load`, `sample`, `load_translator`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from steadygan import config as configuration
from steadygan.parallel.processes import joined
from steadygan.run import Trained, refuse_run, train_run


def train(
    source: str | Path,
    overrides: Sequence[str] = (),
    *,
    out: str | Path | None = None,
    resume: bool = False,
    accept_config: bool = False,
    on_step: Callable[[Any], None] | None = None,
) -> Trained:
    """Trains a preset, a YAML file or (with `resume`) a run directory, like `steadygan train`.

    Random states, TF32 and cuDNN settings of the process are restored. On a CPU, a script that does nothing else trains
    up to a third faster after `steadygan.machine.keep_freed_memory()`, which the command line calls. Under torchrun,
    all processes call this function and train one run together.

    Args:
        source: name of a preset, a YAML file, or a run directory.
        overrides: settings as `key.path=value` strings.
        out: the run directory, `runs/NAME` by default.
        resume: continue the run in `source`.
        accept_config: with `resume`, use a config.yaml that was edited.
        on_step: called with a `Progress` after every step.

    Returns:
        The run's directory, its last scores and its newest sample grid.

    Raises:
        UserError: a setting, file or combination is invalid.
    """
    with joined() as replicas:
        with replicas.together():
            if not resume:
                refuse_run(source)
            config = None if resume else configuration.load(source, overrides)
        path = Path(source) if config is None else Path("runs") / config.name if out is None else Path(out)
        return train_run(
            config, path, overrides=overrides, replicas=replicas, accept_config=accept_config, on_step=on_step
        )
