"""The command line: the only place that talks to the terminal. torch is imported inside the commands that need it."""

from __future__ import annotations

import json
import re
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from steadygan.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from steadygan.build import Images
    from steadygan.config import Config
    from steadygan.training.loop import Progress
    from steadygan.training.state import TrainState

app = typer.Typer(
    name="steadygan",
    help="GAN training with consistency regularisation: from a folder of images to a trained, scored generator.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich help pages would cost half a second before the first word
)
data_app = typer.Typer(help="Look at data before training on it.", no_args_is_help=True)
app.add_typer(data_app, name="data")

Overrides = Annotated[list[str] | None, typer.Argument(help="key.path=value …", show_default=False)]
LOGGED_LINES = 20
"""How often progress is reported where there is no terminal to draw a bar on."""
RunOrCheckpoint = Annotated[Path, typer.Argument(help="a run directory or a checkpoint", show_default=False)]


def main() -> NoReturn:
    """Runs the command line; a `UserError` becomes a message and exit status 2."""
    try:
        app()
    except UserError as error:
        _console(stderr=True).print(f"[bold red]error:[/] {_escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)


@app.command()
def train(
    source: Annotated[str, typer.Argument(help="a preset, a YAML file, or with --resume a run directory")],
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(help="the run directory  [default: runs/NAME]")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with the run in SOURCE")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show sizes and a time estimate, then stop")] = False,
) -> None:
    """Train a GAN: `steadygan train digits`, or `steadygan train PRESET data.path=FOLDER`."""
    from steadygan import config as configuration

    if resume and (out is not None or dry_run):
        raise UserError("--resume goes on in SOURCE itself: leave --out and --dry-run away")
    config = None if resume else configuration.load(source, overrides or [])
    if dry_run and config is not None:
        _dry_run(config)
        return
    path = Path(source) if config is None else out or Path("runs") / config.name
    _train(config, path, overrides or [])


def _train(config: Config | None, path: Path, overrides: list[str]) -> None:
    from rich import progress as bars

    from steadygan.run import train_run

    console = _console()
    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(bar_width=None),
        bars.MofNCompleteColumn(),
        bars.TextColumn("{task.fields[note]}"),
    )
    with bars.Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        loading = bar.add_task("reading images", total=None, note="", visible=False)
        training = bar.add_task("training", total=None, note="", visible=False)

        def on_load(done: int, total: int) -> None:
            bar.update(loading, completed=done, total=total, visible=done < total)

        def on_ready(state: TrainState, images: Images) -> None:
            bar.remove_task(loading)
            for line in _facts(state, images):
                console.print(line, highlight=False, soft_wrap=True)

        def on_step(now: Progress) -> None:
            losses = "  ".join(
                f"{name[0]} {now.values[name]:.2f}" for name in ("D/adversarial", "G/adversarial") if name in now.values
            )
            note = f"{now.images_per_s:.0f} images/s  {_duration(now.seconds_left)} left  {losses}"
            bar.update(training, completed=now.step, total=now.steps, note=note, visible=True)
            if bar.disable and (now.step * LOGGED_LINES) // now.steps > ((now.step - 1) * LOGGED_LINES) // now.steps:
                typer.echo(f"step        {now.step}/{now.steps}  {note}".rstrip())

        result = train_run(config, path, overrides=overrides, on_load=on_load, on_ready=on_ready, on_step=on_step)
    if not result.finished:
        command = f"steadygan train {_escape(str(result.path))} --resume"
        console.print(f"stopped; go on with [bold]{command}[/]", highlight=False, soft_wrap=True)
        raise typer.Exit(130)
    _print_scores(console, result.scores)
    typer.echo(f"samples     {result.grid}")
    typer.echo(f"generator   {result.path / 'checkpoints'}")
    typer.echo(f"more        steadygan sample {result.path} --num 64")


def _facts(state: TrainState, images: Images) -> list[str]:
    """What is about to be trained, in a few lines."""
    from steadygan.nets import count_parameters

    train = images.train
    shape = f"{train.channels}×{train.size}×{train.size}"
    heldout = f", {len(images.heldout)} held out" if images.heldout is not None else ""
    classes = f", {len(train.class_names)} classes" if state.prior.label_pool is not None else ""
    skipped = f" [yellow]({len(train.skipped)} unreadable, skipped)[/]" if train.skipped else ""
    place = "streamed" if train.streamed else f"in memory ({state.device})"
    players = [
        f"{player}: " + " + ".join(f"{t.weight:g}·{t.name}" if t.weight != 1 else t.name for t in terms)
        for player in state.players
        if (terms := [term for term in state.terms if term.player == player])
    ]
    precision = "float32"
    if state.autocast is not None:
        precision = f"{str(state.autocast).removeprefix('torch.')} networks, float32 losses and penalties"
    return [
        f"data        {len(train)} images of {shape}{classes}{heldout}, {place}{skipped}",
        f"networks    G {count_parameters(state.nets['G']):,} parameters, D {count_parameters(state.nets['D']):,}",
        f"objective   {';  '.join(players)}",
        f"phases      {' '.join(state.phases)}, batches of {state.loader.batch_size}",
        f"precision   {precision}{', compiled where nothing is differentiated twice' if state.compiled else ''}",
    ]


def _dry_run(config: Config) -> None:
    from steadygan.build import build_images, build_state, choose_device, resolve
    from steadygan.machine import keep_freed_memory
    from steadygan.run import seconds_per_step

    console = _console()
    config = resolve(config)
    device = choose_device(config.train.device)
    if device.type == "cpu":
        keep_freed_memory()
    images = build_images(config, device)
    state = build_state(config, images.train, device)
    for line in _facts(state, images):
        console.print(line, highlight=False, soft_wrap=True)
    weights = sum(tensor.numel() * tensor.element_size() for tensor in state.weights().values())
    seconds = seconds_per_step(state)
    peak = _peak_memory(device)
    console.print(
        f"memory      {weights / 2**20:.1f} MiB of weights, {peak / 2**20:.0f} MiB at the peak",
        highlight=False,
    )
    total = _duration(seconds * config.train.steps)
    console.print(f"time        {seconds:.2f} s a step, {total} for {config.train.steps:,} steps", highlight=False)


def _peak_memory(device: Any) -> float:
    """Bytes at the peak so far: of the accelerator's memory, or of this process."""
    import resource

    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@app.command()
def sample(
    path: RunOrCheckpoint,
    num: Annotated[int, typer.Option(help="how many images")] = 64,
    classes: Annotated[str | None, typer.Option(help="numbers or names, taken in turn: 3 or cat,dog")] = None,
    seed: Annotated[int, typer.Option(help="the same seed gives the same images")] = 0,
    truncation: Annotated[float | None, typer.Option(help="smaller is cleaner and less varied, e.g. 0.5")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="a .png for one sheet, else a folder  [default: samples.png in PATH]"),
    ] = None,
    weights: Annotated[str, typer.Option(help="ema or raw")] = "ema",
) -> None:
    """Make images with a trained generator, from its checkpoint alone."""
    from steadygan.data.grid import save_grid, to_pil
    from steadygan.files import write_whole
    from steadygan.hub import load

    if weights not in ("ema", "raw"):
        raise UserError(f"--weights must be ema or raw, not {weights!r}")
    generator = load(path, weights=weights)  # type: ignore[arg-type]
    chosen = None if classes is None else [entry.strip() for entry in classes.split(",")]
    images = generator.sample(num, classes=chosen, seed=seed, truncation=truncation)
    out = out or path / "samples.png"
    if out.is_file() and out.suffix.lower() != ".png":
        raise UserError(f"--out {out} is a file: name a .png for one sheet, or a folder")
    if out.suffix.lower() == ".png":
        out.parent.mkdir(parents=True, exist_ok=True)
        every = len(chosen) if chosen else generator.classes
        columns = every if 4 <= every <= 16 else round(num**0.5) or 1
        save_grid(images, out, min(columns, num))
    else:
        out.mkdir(parents=True, exist_ok=True)
        for index, image in enumerate(images):
            write_whole(out / f"{index:06d}.png", partial(to_pil(image).save, format="PNG"))
    typer.echo(f"{num} images   {out}")


@app.command()
def evaluate(
    path: Annotated[Path, typer.Argument(help="a run directory", show_default=False)],
    protocol: Annotated[str | None, typer.Option(help="a named protocol  [default: the one for the data]")] = None,
    weights: Annotated[str, typer.Option(help="ema or raw")] = "ema",
) -> None:
    """Score a run's best (else newest) checkpoint, and record the score with its protocol."""
    from steadygan.hub import evaluate as evaluate_run

    if weights not in ("ema", "raw"):
        raise UserError(f"--weights must be ema or raw, not {weights!r}")
    _print_scores(_console(), evaluate_run(path, protocol=protocol, weights=weights))  # type: ignore[arg-type]


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="run directories", show_default=False)],
    out: Annotated[Path, typer.Option(help="where the curves go")] = Path("compare.png"),
    form: Annotated[str, typer.Option("--format", help="table, markdown or csv")] = "table",
) -> None:
    """Put runs side by side: a table here, loss and score curves in a PNG."""
    from steadygan.metrics import compare as comparison

    rows = comparison.table(runs)
    console = _console()
    if form == "markdown":
        typer.echo(comparison.markdown(rows), nl=False)
    elif form == "csv":
        typer.echo(comparison.csv(rows), nl=False)
    elif form == "table":
        from rich.table import Table

        # A run a column: there are more quantities than fit side by side, and their names are long.
        sheet = Table("run", box=None)
        for row in rows:
            sheet.add_column(_escape(row["run"]), justify="right", overflow="fold")
        for key in list(rows[0])[1:]:
            sheet.add_row(_escape(key), *(_cell(row[key]) for row in rows))
        console.print(sheet)
    else:
        raise UserError(f"--format must be table, markdown or csv, not {form!r}")
    comparison.plot(runs, out)
    if form == "table":
        typer.echo(f"curves   {out}")


@app.command()
def presets(
    name: Annotated[
        str | None, typer.Argument(help="print this one's YAML, or list those with this in their row")
    ] = None,
) -> None:
    """List the presets with the paper, table row and published score they reproduce."""
    from steadygan import config as configuration

    names = configuration.preset_names()
    if name in names:
        typer.echo(configuration.preset_text(name), nl=False)
        return
    known = {preset: configuration.load(preset).about for preset in sorted(names, key=_numerically)}
    if name is not None:
        wanted = name.casefold()
        known = {
            preset: about
            for preset, about in known.items()
            if wanted in f"{preset}\n{about.paper}\n{about.table}".casefold()
        }
        if not known:
            configuration.preset_text(name)  # says what is nearest
    width, scores = (max(map(len, column)) for column in (known, [about.score for about in known.values()]))
    for paper in dict.fromkeys(about.paper for about in known.values()):
        typer.echo(f"\n{paper}")
        for preset, about in known.items():
            if about.paper == paper:
                typer.echo(f"  {preset:<{width}}  {about.score:<{scores}}  {about.table}")
    typer.echo(f"\n{len(known)} presets; `steadygan presets WORD` lists some, `steadygan presets NAME` prints one")


def _numerically(name: str) -> list[str]:
    """A key that sorts 5k before 10k."""
    return [part.zfill(9) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


@data_app.command("info")
def data_info(path: Annotated[str, typer.Argument(help="digits, stacked-digits, a folder or a zip")]) -> None:
    """Count, sizes, classes, channels, and every unreadable file by name."""
    from steadygan.data import describe

    found = describe(path)
    typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
    if found["unreadable"]:
        raise typer.Exit(1)


@app.command()
def doctor() -> None:
    """Say what this machine has, and what that means for training."""
    from rich.table import Table

    from steadygan.machine import examine

    findings = examine()
    sheet = Table("", "what", "found", "which means", box=None)
    for finding in findings:
        sheet.add_row("[green]✓[/]" if finding.ok else "[yellow]![/]", *(_escape(text) for text in finding[:3]))
    _console().print(sheet)


def _print_scores(console: Console, record: dict[str, Any]) -> None:
    protocol = record.get("protocol", {})
    scores = {k: v for k, v in record.items() if isinstance(v, int | float) and k != "step"}
    if scores:
        console.print(
            "scores      " + "  ".join(f"{name} {_cell(value)}" for name, value in scores.items()),
            highlight=False,
        )
        console.print(
            f"protocol    {protocol.get('name')}: {protocol.get('num_fake')} fakes against {protocol.get('num_real')} "
            f"{protocol.get('split')} reals, {protocol.get('weights')} weights, step {record.get('step')}",
            highlight=False,
        )


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _duration(seconds: float) -> str:
    if seconds == float("inf"):
        return "?"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes}:{rest:02d}"


def _console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr, emoji=False)  # `module:x:` is a term, not a picture


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)
