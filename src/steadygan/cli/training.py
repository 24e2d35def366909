"""`steadygan train`."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from steadygan.cli.planning import Hours, Size
from steadygan.cli.terminal import Device, Overrides, duration, escape, make_console, print_scores
from steadygan.errors import UserError, command_line

if TYPE_CHECKING:
    from steadygan.config import Config
    from steadygan.parallel.replicas import Replicas
    from steadygan.tasks.images import Images
    from steadygan.training.loop import Progress
    from steadygan.training.state import TrainState

LOGGED_LINES = 20
"""Number of progress lines if there is no terminal for a progress bar."""


def train(
    source: Annotated[str, typer.Argument(help="your images, a preset, a YAML file; with --resume a run directory")],
    overrides: Overrides = None,
    hours: Hours = None,
    size: Size = None,
    device: Device = "auto",
    out: Annotated[Path | None, typer.Option(help="the run directory  [default: runs/NAME]")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="resume the run in SOURCE")] = False,
    accept_config: Annotated[
        bool, typer.Option("--accept-config", help="with --resume: use a config.yaml that was edited")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="print parameters, memory and a time estimate, then stop")
    ] = False,
) -> None:
    """Train a GAN. With your images every setting is chosen; with a preset or YAML file you decide.

    \b
    The settings used most, written key=value behind the source:
      data.path=PATH          a folder, zip, tar, parquet, torchvision:NAME, …
      train.steps=N           training steps
      train.batch_size=N      images of a batch
      train.device=NAME       auto, cpu, cuda, cuda:1 or mps
      train.seed=N            random seed

    The command `settings [WORD]` lists all settings with type, default and meaning.
    """
    from steadygan import config as configuration
    from steadygan.cli import planning
    from steadygan.parallel.processes import joined, restarted

    if accept_config and not resume:
        raise UserError("--accept-config is for --resume: a new run always takes its settings from SOURCE")
    if resume and (out is not None or dry_run):
        raise UserError("--resume continues the run in SOURCE: leave out --out and --dry-run")
    config: Config | None
    overrides = [*planning.on_device(device), *(overrides or [])]
    with joined() as replicas:
        with replicas.together():
            if dry_run and replicas.size > 1:
                raise UserError("--dry-run runs in one process; call it without torchrun")
            if not resume:
                _refuse_run(source)
                if replicas.first:
                    planning.tell_of_folder(source, "preset", configuration.preset_names())
            own = not resume and planning.is_images(source)
            start = source_of(overrides or []) if own else None
            if own and not start and replicas.size > 1:
                raise UserError(
                    f"{source} are images: choose settings first with "
                    f"`{command_line('plan', source, '--out', 'FILE.yaml')}`, then train FILE.yaml with torchrun"
                )
            if own and start:
                from steadygan.recipes.finetune import fine_tuning
                from steadygan.recipes.plan import own_directory

                config = fine_tuning(source, start, [*(overrides or []), *_as_overrides(hours, size)])
                out = out or own_directory(config.name, restarted=restarted())
            elif own:
                from steadygan.recipes.plan import own_directory
                from steadygan.runs.directory import refuse_existing

                if out is not None and not dry_run and not restarted():
                    refuse_existing(out)
                made = planning.make(source, overrides, hours, size)
                config, out = made.config, out or own_directory(made.name, restarted=restarted())
            else:
                overrides = [*overrides, *_as_overrides(hours, size)]
                config = None if resume else configuration.load(source, overrides)
        if dry_run and config is not None:
            _dry_run(config)
            return
        path = Path(source) if config is None else out or Path("runs") / config.name
        if config is not None and restarted() and (path / "config.yaml").is_file():
            config = None  # the overrides are already part of the run
        _train(config, path, overrides, replicas, accept_config)


def source_of(overrides: list[str]) -> str | None:
    """The value of `train.init_from` among overrides, if given."""
    values = [
        value for key, _, value in (override.partition("=") for override in overrides) if key == "train.init_from"
    ]
    return values[-1] or None if values else None


def _as_overrides(hours: float | None, size: int | None) -> list[str]:
    """--hours and --size as overrides of a preset."""
    given = {"train.hours": hours, "data.size": size}
    return [f"{key}={value}" for key, value in given.items() if value is not None]


def _refuse_run(source: str) -> None:
    if (Path(source) / "config.yaml").is_file():
        # `run` imports torch: only where there is a mistake to explain.
        from steadygan.run import refuse_run

        refuse_run(source)


def _train(config: Config | None, path: Path, overrides: list[str], replicas: Replicas, accept_config: bool) -> None:
    from steadygan.cli import planning
    from steadygan.cli.progress import TrainingBars
    from steadygan.recipes.pictures import save_reals
    from steadygan.run import train_run

    shown = [0]
    console = make_console(quiet=not replicas.first)
    with TrainingBars(console) as bar:
        loading = bar.add_task("reading images", total=None, count="", note="", visible=False)
        training = bar.add_task("training", total=None, count="", note="", visible=False)

        def on_load(done: int, total: int) -> None:
            bar.update(loading, completed=done, total=total, count=f"{done}/{total}", visible=done < total)

        def on_ready(state: TrainState, images: Images) -> None:
            bar.remove_task(loading)
            for line in facts_of(state, images):
                console.print(line, highlight=False, soft_wrap=True)
            if config is not None and planning.own(config) and replicas.first:
                for picture in save_reals(path, state, images):
                    console.print(f"{picture.stem:<11} {escape(str(picture))}", highlight=False, soft_wrap=True)

        def on_step(now: Progress) -> None:
            with suppress(OSError):  # continue if the terminal was closed
                show(now)

        def show(now: Progress) -> None:
            if now.notice:
                console.print(f"[yellow]notice[/]      {escape(now.notice)}", highlight=False, soft_wrap=True)
            losses = "  ".join(
                f"{name[0]} {value:.2f}"
                for name, value in sorted(now.values.items())
                if name.startswith(("D/adversarial", "G/adversarial"))
            )
            speed = f"{now.images_per_s:.{0 if now.images_per_s >= 10 else 1}f}"
            note = f"{speed} images/s  {duration(now.seconds_left)} left  {losses}"
            # If the run ends by time, the number of steps is not shown.
            count = f"{now.step}/{now.steps}" if now.moment == now.step else f"{now.step}"
            bar.newest = f"samples     {now.grid}" if now.grid else ""
            bar.update(training, completed=now.moment, total=now.steps, count=count, note=note, visible=True)
            line = now.moment * LOGGED_LINES // now.steps
            if bar.disable and line > shown[-1]:
                shown.append(line)
                typer.echo(f"step        {count}  {note}  {now.grid or ''}".rstrip())

        result = train_run(
            config,
            path,
            overrides=overrides,
            replicas=replicas,
            accept_config=accept_config,
            own_process=True,
            on_load=on_load,
            on_ready=on_ready,
            on_step=on_step if replicas.first else None,
        )
    if not result.finished:
        again = escape(command_line("train", result.path, "--resume"))
        console.print(f"stopped; resume with [bold]{again}[/]", highlight=False, soft_wrap=True)
        raise typer.Exit(130)
    if not replicas.first:
        return
    print_scores(console, result.scores)
    if result.grid is not None:
        typer.echo(f"samples     {result.grid}")
    from steadygan import config as configuration

    with suppress(UserError):  # training is complete even if config.yaml was damaged meanwhile
        if planning.own(configuration.load(result.path)):
            planning.verdict(result.path)
    typer.echo(f"generator   {result.path / 'checkpoints'}")
    more: tuple[object, ...] = ("translate", result.path, "--input", "FOLDER", "--out", "FOLDER")
    more = more if result.translates else ("sample", result.path, "--num", 64)
    typer.echo(f"more        {command_line(*more)}")


def facts_of(state: TrainState, images: Images) -> list[str]:
    """A summary of the run: data, networks, objective, phases, precision, execution."""
    import torch

    train = images.train
    shape = f"{train.channels}×{train.size}×{train.size}"
    heldout = f", {len(images.heldout)} held out" if images.heldout is not None else ""
    classes = f", {len(train.class_names)} classes" if state.objective.prior.label_pool is not None else ""
    skipped = f" [yellow]({len(train.skipped)} unreadable, skipped)[/]" if train.skipped else ""
    players = [
        f"{player}: " + " + ".join(f"{t.weight:g}·{t.name}" if t.weight != 1 else t.name for t in terms)
        for player in state.objective.players
        if (terms := [term for term in state.objective.terms if term.player == player and term.weight != 0])
    ]
    sizes = [f"{name} {_size(state, name)}" for name in state.nets]
    networks = ", ".join([f"{sizes[0]} parameters", *sizes[1:]])
    precision = "float32"
    if state.execution.autocast is not None:
        precision = f"{str(state.execution.autocast).removeprefix('torch.')} networks, float32 losses and penalties"
        if state.execution.autocast is torch.float16:
            precision += ", losses scaled"
    return [
        f"data        {len(train)} {train.noun} of {shape}{classes}{heldout}, {train.place}{skipped}",
        f"networks    {networks}",
        f"objective   {';  '.join(players)}",
        f"phases      {' '.join(state.objective.phases)}, batches of {state.loader.batch_size}"
        + (f" over {state.share.size} processes" if state.share.size > 1 else ""),
        f"precision   {precision}",
        f"execution   {state.execution.mode}",
    ]


def _size(state: TrainState, net: str) -> str:
    """The number of parameters of a network, and of frozen ones."""
    from steadygan.nets.frozen import frozen_parameters
    from steadygan.nets.registry import count_parameters

    names = [name.removeprefix(f"{net}.") for name in state.objective.frozen if name.startswith(f"{net}.")]
    hidden = sum(parameter.numel() for parameter in frozen_parameters(state.nets[net]))
    resting = sum(state.nets[net].get_parameter(name).numel() for name in names) + hidden
    return f"{count_parameters(state.nets[net]) + hidden:,}" + (f" ({resting:,} frozen)" if resting else "")


def _dry_run(config: Config) -> None:
    import torch

    from steadygan.build import build_state, resolve
    from steadygan.data.images import free_memory
    from steadygan.estimate import estimate_cost, fit_batch, seconds_per_step
    from steadygan.machine import choose_device, prepare
    from steadygan.parallel.replicas import Replicas
    from steadygan.tasks.choice import task_of
    from steadygan.trackers import clients
    from steadygan.training.transfer import start_from

    console = make_console()
    task = task_of(resolve(config))
    train = task.config.train
    clients.check(train.report)
    device = choose_device(train.device)
    prepare(device, tf32=train.tf32, autotune=train.autotune)
    images, free = task.load(device), free_memory(device)
    task, choice = fit_batch(task, images.train, device, free)
    if choice:
        console.print(f"batch       {escape(choice)}", highlight=False, soft_wrap=True)
    cost = estimate_cost(task.config, images.train, device)
    state = build_state(task, images.train, device)
    if train.init_from is not None:
        start_from(state, Path(train.init_from).expanduser(), task.describe(images.train))
    for line in facts_of(state, images):
        console.print(line, highlight=False, soft_wrap=True)
    mib = [f"{size / 2**20:,.0f}" for size in (cost.peak, cost.weights, cost.optimisers, cost.images)]
    console.print(
        f"memory      {mib[0]} MiB at the peak of a step: weights {mib[1]}, Adam {mib[2]}, images {mib[3]}, "
        f"the rest activations and gradients; {free / 2**20:,.0f} MiB are free",
        highlight=False,
        soft_wrap=True,
    )
    if cost.peak - cost.images > free:
        raise UserError(
            f"a step would not fit into the memory of {device}: raise train.accumulate, set train.recompute=true or "
            "lower train.batch_size"
        )
    console.print(f"arithmetic  {cost.flop / 1e9:,.1f} GFLOP a step", highlight=False)
    seconds = seconds_per_step(state)
    if device.type == "cuda":
        measured = torch.cuda.max_memory_allocated(device) / 2**20
        console.print(f"measured    {measured:,.0f} MiB at the peak", highlight=False)
    hours = train.hours
    length = f"{duration(seconds * train.steps)} for {train.steps:,} steps"
    if hours is not None and 3600 * hours < seconds * train.steps:
        length = f"about {max(1, int(3600 * hours / seconds)):,} steps in the {hours:g} hours of train.hours"
    console.print(f"time        {seconds:.2f} s a step, {length}", highlight=False)
    task.scorer(images, Replicas())  # refuse protocols that training would refuse
