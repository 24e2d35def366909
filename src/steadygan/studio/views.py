"""The data of runs for pages: lists, details, curves, grids."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from steadygan.runs.reading import cost
from steadygan.studio import sheets
from steadygan.studio.answers import Missing, download, run_of, threaded, whole
from steadygan.studio.health import verdict
from steadygan.studio.run import RunFiles
from steadygan.studio.scores import curves
from steadygan.studio.words import flat

FRAMES = 600
"""Maximum number of grids in a film."""
UNREAD = 20
"""Maximum number of unreadable folders to list."""
CANDIDATES = 8
"""Number of newest grids that a card tries."""


def routes(studio: Any) -> list[Route]:
    """The routes of this module."""

    def runs(request: Request) -> Any:
        return {"runs": list(studio.pulse.now().values()), "unread": studio.catalogue.unread[:UNREAD]}

    def detail(request: Request) -> Any:
        run = run_of(studio, request)
        if run.checkpoints and not run.translates():
            studio.wake()
        return run.detail()

    def series(request: Request) -> Any:
        run, query = run_of(studio, request), request.query_params
        points = whole(query, "points", 500, 20, 4000)
        first = whole(query, "from", -(2**62), -(2**62), 2**62)
        last = whole(query, "to", 2**62, -(2**62), 2**62)
        names = query.getlist("name")[:64]
        run.columns.refresh()
        return {
            "columns": {name: run.columns.thin(name, first, last, points) for name in names},
            "exact": run.columns.exact,
            "version": run.columns.version,
            "span": run.columns.span,
        }

    def scores(request: Request) -> Any:
        return {"scores": curves(run_of(studio, request).scores)}

    def health(request: Request) -> Any:
        return verdict(run_of(studio, request))

    def sheet(request: Request) -> Response:
        run, step = run_of(studio, request), request.path_params["step"]
        path = run.sheets.get(step)
        if path is None:
            raise Missing(f"there is no sheet of step {step}")
        try:
            status = path.stat()
            tag = f'"{status.st_mtime_ns:x}-{status.st_size:x}"'
            if request.headers.get("if-none-match") == tag:
                return Response(status_code=304, headers={"etag": tag})
            data = path.read_bytes() if status.st_size < 256 << 20 else b""
        except OSError:
            raise Missing(f"the sheet of step {step} cannot be read") from None
        if not data.startswith(b"\x89PNG\r\n\x1a\n"):
            raise sheets.Damaged(f"the sheet of step {step} is damaged")
        if "plain" in request.query_params:  # at original size, for pages that cut out tiles
            data = studio.cache.get(("plain", str(path), tag), lambda: sheets.png(sheets.open_sheet(path)))
        return Response(data, media_type="image/png", headers={"etag": tag, "cache-control": "private, max-age=5"})

    def thumb(request: Request) -> Response:
        run = run_of(studio, request)
        for step in sorted(run.sheets, reverse=True)[:CANDIDATES]:
            with suppress(Missing, sheets.Damaged, OSError):
                data = card_picture(studio, run, step)
                return Response(data, media_type="image/webp", headers={"cache-control": "private, max-age=3600"})
        return Response(status_code=204, headers={"cache-control": "no-store"})

    def strip(request: Request) -> Response:
        run, query = run_of(studio, request), request.query_params
        frames = whole(query, "frames", 24, 1, 200)
        steps = sheets.picked(list(run.sheets), frames)
        data = _strip(run, steps, whole(query, "index", 0, 0, 10**6), whole(query, "across", 0, 0, 200))
        if "keep" in query:
            return download(data, "png", f"{run.name}-latent-{query.get('index', '0')}")
        headers = {"cache-control": "private, max-age=5"}
        return Response(data, media_type="image/png", headers=headers)

    def strip_steps(request: Request) -> Any:
        run = run_of(studio, request)
        return {"steps": sheets.picked(list(run.sheets), whole(request.query_params, "frames", 24, 1, 200))}

    def _strip(run: RunFiles, steps: list[int], index: int, across: int) -> bytes:
        layout, known = run.layout(), run.sheets
        if not layout["side"]:
            raise Missing("the sheets of this run are not made of tiles of one latent each")
        paths = [known[step] for step in steps if step in known]
        if not paths:
            raise Missing("there is no sheet yet")
        key = "strip", run.id, index, across, tuple((path.name, path.stat().st_mtime_ns) for path in paths)

        def make() -> bytes:
            film = sheets.strip(paths, index, layout["side"], layout["gap"], across=across or None)
            return sheets.png(film, sheets.film_stamp(paths, run.place, index))

        return studio.cache.get(key, make)

    def film(request: Request) -> Response:
        run, query = run_of(studio, request), request.query_params
        kind = query.get("kind", "gif")
        if kind not in ("gif", "webp", "mp4"):
            raise ValueError("a film is a gif, webp or mp4")
        first, last = whole(query, "from", 0, 0, 10**15), whole(query, "to", 10**15, 0, 10**15)
        known, layout = run.sheets, run.layout()
        steps = sheets.picked([step for step in known if first <= step <= last], whole(query, "frames", 60, 1, FRAMES))
        index = whole(query, "index", 0, 0, 10**6) if "index" in query else None
        if index is not None and not layout["side"]:
            raise Missing("the sheets of this run are not made of tiles of one latent each")
        _, data = studio.reader.ask(
            "sheets_film",
            seconds=180,
            paths=[str(known[step]) for step in steps],
            run=run.place,
            kind=kind,
            index=index,
            fps=whole(query, "fps", 8, 1, 30),
            **layout,
        )
        return download(data, kind, f"{run.name}-{'through-time' if index is None else f'latent-{index}'}")

    def compare(request: Request) -> Any:
        ids = list(dict.fromkeys(request.query_params.get("runs", "").split(",")))[:12]
        chosen = [run for run in (studio.catalogue.get(id) for id in ids) if run is not None]
        if not chosen:
            raise Missing("none of these runs is there (any more)")
        return comparison(chosen)

    return [
        Route("/api/runs", threaded(runs)),
        Route("/api/runs/{id}", threaded(detail)),
        Route("/api/runs/{id}/series", threaded(series)),
        Route("/api/runs/{id}/scores", threaded(scores)),
        Route("/api/runs/{id}/health", threaded(health)),
        Route("/api/runs/{id}/sheets/{step:int}", threaded(sheet)),
        Route("/api/runs/{id}/thumb", threaded(thumb)),
        Route("/api/runs/{id}/strip", threaded(strip)),
        Route("/api/runs/{id}/strip/steps", threaded(strip_steps)),
        Route("/api/runs/{id}/film", threaded(film)),
        Route("/api/compare", threaded(compare)),
    ]


def card_picture(studio: Any, run: RunFiles, step: int) -> bytes:
    """The thumbnail of a step's grid for a card, cached."""
    path, layout = run.sheets.get(step), run.layout()
    if path is None:
        raise Missing(f"there is no sheet of step {step}")
    key = "thumb", str(path), path.stat().st_mtime_ns
    return studio.cache.get(key, lambda: sheets.thumb(path, layout["side"], layout["gap"]))


def comparison(runs: list[RunFiles]) -> dict[str, Any]:
    """Compares runs: settings with different values, and a table of last and best scores.

    Each column of the table is one score with one protocol.
    """
    trees = [flat(run.config) for run in runs]
    keys = dict.fromkeys(key for tree in trees for key in tree)
    # A setting that an older version lacks counts as not set.
    different = [key for key in keys if any(_set(tree, key) != _set(trees[0], key) for tree in trees)]
    sections = {key for key in keys if any(tree.get(key) == {} for tree in trees)}
    kept = [key for key in different if key != "name" and not key.startswith("about.") and key not in sections]
    every = [curves(run.scores) for run in runs]
    columns: dict[tuple[str, str], dict[str, Any]] = {}
    for of_run in every:
        for curve in of_run:
            columns.setdefault(
                (curve["name"], curve["identity"]),
                {"name": curve["name"], "protocol": curve["protocol"], "better": curve["better"]},
            )
    table: list[list[dict[str, Any] | None]] = []
    for of_run in every:
        by_key = {(curve["name"], curve["identity"]): curve["points"] for curve in of_run}
        table.append([_cell(name, by_key.get((name, identity), [])) for name, identity in columns])
    for place, (name, _) in enumerate(columns):
        cells = [row[place] for row in table]
        rivals = [(bad, cell) for cell in cells if cell and (bad := cost(name, cell["last"][1])) is not None]
        if len(rivals) > 1:
            least = min(bad for bad, _ in rivals)
            for bad, cell in rivals:
                cell["wins"] = bad == least and any(other != least for other, _ in rivals)
    seedless = [{k: v for k, v in tree.items() if k != "train.seed" and k != "name"} for tree in trees]
    groups = [next(i for i, other in enumerate(seedless) if other == tree) for tree in seedless]
    return {
        "runs": [run.summary() | {"steps_of_sheets": list(run.sheets), "layout": run.layout()} for run in runs],
        "names": list(dict.fromkeys(name for run in runs for name in _names(run))),
        "spans": [run.columns.span for run in runs],
        "groups": groups,
        "different": [{"key": key, "values": [tree.get(key) for tree in trees]} for key in kept],
        "scores": every,
        "columns": list(columns.values()),
        "table": table,
    }


def _set(tree: dict[str, Any], key: str) -> Any:
    value = tree.get(key)
    return None if value in ([], {}) else value


def _cell(name: str, points: list[list[Any]]) -> dict[str, Any] | None:
    """The last and the best of a score's (step, value) points."""
    finite = [point for point in points if point[1] is not None]
    if not finite:
        return None
    known = [(bad, point) for point in finite if (bad := cost(name, point[1])) is not None]
    best = min(known, key=lambda pair: pair[0])[1] if known else None
    return {"last": finite[-1], "best": best, "wins": False}


def _names(run: RunFiles) -> list[str]:
    run.columns.refresh()
    return run.columns.names
