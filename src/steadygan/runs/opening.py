"""The two ways to open a run: create a new one, or resume one.

Both classes have the same methods, called in the order of definition.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from steadygan.config import Config
from steadygan.errors import UserError, command_line, no_run
from steadygan.runs.checkpoint import manifest_step, read_manifest
from steadygan.runs.directory import RunDirectory, Writer, refuse_existing
from steadygan.runs.located import load_located
from steadygan.runs.outputs import check_data
from steadygan.runs.provenance import (
    changed_circumstances,
    check_config,
    check_same_data,
    check_unchanged,
    provenance,
    read_provenance,
    resumed,
)


class Facts(NamedTuple):
    """For provenance.json: the step, facts about the images, machine and software, and the fine-tuned source."""

    step: int
    images: Mapping[str, Any]
    circumstances: Mapping[str, Any]
    origin: Mapping[str, Any]


class NewRun:
    """A run that starts at step 0, as does one with the same settings that was stopped before its first checkpoint."""

    checkpoint: Path | None = None

    def __init__(self, path: Path, config: Config) -> None:
        self.path, self.config = path, config
        self.run = RunDirectory(path)

    def open(self, resolve: Callable[[Config], Config], *, write: bool) -> Config:
        """Resolves the configuration and checks the directory.

        Args:
            resolve: fills in all options of a configuration.
            write: whether this process writes.

        Returns:
            The resolved configuration.

        Raises:
            UserError: the directory holds another run or the training images.
        """
        config = resolve(self.config)
        check_data(self.path, config.data.path)
        refuse_existing(self.path, None if config.train.batch_size == "auto" else config.to_yaml())
        return config

    def check_images(self, fingerprint: str) -> None:
        """Accepts any images."""

    def begin(self, config: Config, facts: Facts, *, write: bool) -> tuple[RunDirectory, str]:
        """Creates the directory.

        Args:
            config: the resolved configuration.
            facts: for provenance.json.
            write: whether this process writes the run.

        Returns:
            The directory, and a notice for the user; empty if there is none.
        """
        if not write:
            return self.run, ""
        text = config.to_yaml()
        said = provenance(
            seed=config.train.seed, config_yaml=text, data=facts.images, circumstances=facts.circumstances
        )
        self.run = Writer.create(self.path, text, {**facts.origin, **said})
        return self.run, ""

    def close(self) -> None:
        """Gives the lock back."""
        self.run.close()


class ResumedRun:
    """An existing run, resumed.

    Args:
        path: the run directory.
        overrides: settings as `key=value` strings.
        accept: accept a config.yaml that was edited.
    """

    checkpoint: Path | None = None

    def __init__(self, path: Path, overrides: Sequence[str], *, accept: bool) -> None:
        self.path, self.overrides, self.accept = path, overrides, accept
        self.run = RunDirectory(path)

    def open(self, resolve: Callable[[Config], Config], *, write: bool) -> Config:
        """Locks the directory and finds the checkpoint to resume from.

        Args:
            resolve: completes the stored configuration, with the overrides.
            write: whether this process writes the run.

        Returns:
            The resolved configuration.

        Raises:
            UserError: there is no run, its configuration is invalid, or settings contradict the checkpoint.
        """
        if not (self.path / "config.yaml").is_file():
            raise UserError(no_run(self.path))
        if not self.accept:
            check_config(self.path)
        config = resolve(load_located(self.path, self.overrides))
        if write:
            self.run = _locked(self.path)
        self.checkpoint = self.run.newest_checkpoint()
        if self.checkpoint is None:
            return config
        check_unchanged(self.path, config.to_yaml())
        step = manifest_step(self.checkpoint, read_manifest(self.checkpoint))
        if step >= config.train.steps:
            raise UserError(
                f"{self.path} has already reached step {step}; to continue, raise train.steps, e.g. "
                f"`{command_line('train', self.path, '--resume', f'train.steps={2 * step}')}`"
            )
        return config

    def check_images(self, fingerprint: str) -> None:
        """Raises `UserError` if the images differ from those the run started with."""
        check_same_data(self.path, fingerprint)

    def begin(self, config: Config, facts: Facts, *, write: bool) -> tuple[RunDirectory, str]:
        """Drops records from after `step` and adds this resume to the provenance; see `NewRun.begin`."""
        run, text = self.run, config.to_yaml()
        if not isinstance(run, Writer):
            return run, ""
        before = read_provenance(self.path)
        run.forget_after(facts.step)
        run.make_folders()
        # config.yaml is written second: provenance.json knows both versions if a kill comes in between.
        run.write_provenance(
            resumed(
                before,
                step=facts.step,
                config_yaml=text,
                overrides=self.overrides,
                circumstances=facts.circumstances,
            )
            | dict(facts.origin)
        )
        run.write_config(text)
        return run, changed_circumstances(before, facts.circumstances)

    def close(self) -> None:
        """Gives the lock back."""
        self.run.close()


def _locked(path: Path) -> Writer:
    run = Writer(path)
    run.lock()
    try:
        run.tidy()
    except BaseException:
        run.close()
        raise
    return run
