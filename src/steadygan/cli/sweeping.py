"""`steadygan sweep`: all experiments of a table with several seeds, and their comparison."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from steadygan.cli.planning import on_device
from steadygan.cli.terminal import Device, Overrides, escape, make_console
from steadygan.errors import UserError, command_line, nearest
from steadygan.files import check_folder, make_folder

State = Literal["finished", "begun", "new"]
LOOK_SECONDS = 0.2
TAIL_BYTES = 2000
STOPPED = 130
"""Exit status of a training that was stopped by request."""


@dataclass(frozen=True)
class Job:
    """One training of a sweep.

    Attributes:
        name: name of its directory.
    """

    name: str
    source: str
    overrides: tuple[str, ...]
    path: Path

    def arguments(self) -> list[str]:
        """Arguments of the command that starts or resumes it."""
        if self.state() == "new":
            return ["train", self.source, *self.overrides, "--out", str(self.path)]
        return ["train", str(self.path), "--resume"]

    def state(self) -> State:
        """Its state, from its directory alone."""
        from steadygan.runs.directory import RunDirectory
        from steadygan.runs.status import is_finished

        if not (self.path / "config.yaml").is_file() or RunDirectory(self.path).newest_checkpoint() is None:
            return "new"
        return "finished" if is_finished(self.path) else "begun"


def sweep(
    table: Annotated[str, typer.Argument(help='words of a row of `presets`, e.g. "Table 1", or presets: a,b,c')],
    overrides: Overrides = None,
    seeds: Annotated[int, typer.Option(min=1, help="runs of each, with train.seed from 0")] = 1,
    out: Annotated[Path | None, typer.Option(help="the directory of the runs  [default: runs/TABLE]")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="trainings at a time")] = 1,
    device: Device = "auto",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="list the runs and their progress, then stop")] = False,
) -> None:
    """Train all presets of a table with seeds, and compare them.

    The same command resumes a sweep that was stopped and skips finished runs. It may be started in several terminals or
    on machines that share the directory: each takes runs that no other is training.
    """
    names = choose(table)
    given = [override for override in overrides or [] if override.startswith("train.seed=")]
    if given:
        raise UserError(f"{given[0]}: a sweep gives its runs the seeds 0, 1, …; set their number with --seeds")
    out = out or Path("runs") / plain_name(table)
    check_folder(out, out)
    queue = plan(names, [*on_device(device), *(overrides or [])], seeds, out)
    console = make_console()
    for job in queue if dry_run else ():
        console.print(f"{job.state():<9} {escape(job.name)}", highlight=False, soft_wrap=True)
    if dry_run:
        return
    failed, busy = work(queue, jobs, say=lambda line: console.print(escape(line), highlight=False, soft_wrap=True))
    report(queue, out)
    if busy:
        console.print(f"elsewhere   {len(busy)} runs are trained by another process", highlight=False)
    if failed:
        names_of = ", ".join(job.name for job in failed)
        raise UserError(f"{len(failed)} of {len(queue)} runs failed: {names_of}; the reasons are in NAME.log")


def choose(table: str) -> list[str]:
    """The presets selected by a text: comma-separated names, or a text in their name, paper or table.

    Raises:
        UserError: there is no match, or tables of several papers match.
    """
    from steadygan import config as configuration

    known = configuration.preset_names()
    parts = [part.strip() for part in table.split(",") if part.strip()]
    if parts and all(part in known or Path(part).suffix in (".yaml", ".yml") for part in parts):
        return parts
    rows = {name: configuration.preset_about(name) for name in known}
    paper = next((row.paper for row in rows.values() if table.startswith(f"{row.paper}, ")), None)
    wanted = (table if paper is None else table.removeprefix(f"{paper}, ")).casefold()
    found = [
        name
        for name, row in rows.items()
        if paper in (None, row.paper) and wanted in f"{name}\n{row.paper}\n{row.table}".casefold()
    ]
    if not found:
        raise UserError(
            f"no preset has {table!r} in its name, paper or table; {nearest(table, known)} "
            f"(`{command_line('presets')}` lists all)"
        )
    papers = dict.fromkeys(rows[name].paper for name in found)
    if len(papers) > 1:
        lines = "\n".join("  " + command_line("sweep", f"{paper}, {table}") for paper in papers)
        raise UserError(f"{table!r} is in several papers; say which:\n{lines}")
    return found


def plain_name(table: str) -> str:
    """A directory name for a table, in safe characters."""
    letters = "".join(letter if letter.isalnum() else "-" for letter in table.casefold())
    return "-".join(part for part in letters.split("-") if part)[:80] or "sweep"


def plan(names: Sequence[str], overrides: Sequence[str], seeds: int, out: Path) -> list[Job]:
    """The runs of a sweep: all experiments with the first seed, then the second, and so on.

    Raises:
        UserError: the overrides do not fit an experiment; raised before the first run starts.
    """
    from steadygan import config as configuration

    for name in names:
        configuration.load(name, overrides)
    stems = [Path(name).stem if Path(name).suffix in (".yaml", ".yml") else name for name in names]
    return [
        Job(f"{stem}-seed{seed}", name, (*overrides, f"train.seed={seed}"), out / f"{stem}-seed{seed}")
        for seed in range(seeds)
        for stem, name in zip(stems, names, strict=True)
    ]


def work(queue: Sequence[Job], at_once: int, *, say: Callable[[str], None]) -> tuple[list[Job], list[Job]]:
    """Trains unfinished runs, `at_once` at a time; returns failed ones, and those trained by another process.

    A failed run does not stop others. Ctrl-C and SIGTERM end all with a checkpoint.
    """
    waiting, running = [job for job in queue if job.state() != "finished"], dict[Job, subprocess.Popen[bytes]]()
    failed: list[Job] = []
    busy: list[Job] = []
    say(f"queue       {len(queue)} runs, {len(queue) - len(waiting)} of them finished")
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                job = waiting.pop(0)
                if job.state() == "finished":  # meanwhile, by another process
                    continue
                running[job] = launch(job)
                say(f"training    {job.name}")
            for job, process in list(running.items()):
                status = process.poll()
                if status is None:
                    continue
                del running[job]
                if status == STOPPED:
                    raise KeyboardInterrupt
                if status == 0:
                    say(f"finished    {job.name}")
                elif "another process is training" in last_words(job):
                    busy.append(job)
                else:
                    failed.append(job)
                    say(f"failed      {job.name}: {last_words(job)}")
            time.sleep(LOOK_SECONDS)
    finally:
        for process in running.values():
            process.send_signal(signal.SIGTERM)
        for process in running.values():
            process.wait()
    return failed, busy


def launch(job: Job) -> subprocess.Popen[bytes]:
    """Starts or resumes a training in a subprocess with its output in NAME.log."""
    arguments = job.arguments()
    make_folder(job.path.parent, job.path.parent)
    with job.path.with_name(f"{job.name}.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "steadygan", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "COLUMNS": "120", "NO_COLOR": "1"},
            start_new_session=True,  # Ctrl-C reaches only the sweep, which then stops all
        )


def last_words(job: Job) -> str:
    """The last line of a training's output."""
    try:
        with job.path.with_name(f"{job.name}.log").open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - TAIL_BYTES))
            lines = log.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1] if lines else ""


def report(queue: Sequence[Job], out: Path) -> None:
    """Compares all runs with records, grouped by seeds: prints a table, writes compare.csv and compare.png."""
    from importlib.util import find_spec

    from steadygan.cli.compare import compare

    shown = [job.path for job in queue if job.state() != "new"]
    if not shown:
        return
    files = [out / "compare.md", out / "compare.csv"]
    files += [out / "compare.png"] if find_spec("matplotlib") else []
    compare(shown, files, "table", True, None, "last")
