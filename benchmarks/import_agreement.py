"""Do imported weights compute the same as in the program they come from?

For each family that `steadygan import` reads, the family's own public code makes networks with random weights, writes
them in its own format and evaluates them; the files are imported, and the outputs of generator and discriminator and
their derivatives with respect to latent and image are compared, in float32 (after the whole way to a checkpoint) and,
where the peer's code can, in float64 (after the layout's mapping alone). A difference is the largest absolute one,
divided by the largest absolute value of the peer's.

A derivative is not continuous: where rounding moves a rectifier's input past 0, or another pixel to a pool's maximum,
it jumps, in the peer's program as in ours. So the signs and the places of maxima are noted in both: `gradient` is over
the whole batch, `gradient_same` over those images for which all of them are the same, and `images` says how many those
are, of how many. Where a network looks at several images at once (StyleGAN2's discriminators), all count or none.
A row is within its bound if the value is and the gradient is, or, where that jumps, `gradient_same`. Where it jumps for
all images, weights and inputs are drawn anew: `seed`.

    python benchmarks/import_agreement.py --peers FOLDER [--only FAMILY …] [--case CASE] [--out TABLE.csv]

FOLDER holds checkouts of the peers under the names of `import_cases.PEERS`; those that are missing are skipped. Each
case runs in a process of its own (forked), since the peers' modules share names. Rows of the table that are measured
anew are replaced; each names its commit.
"""

from __future__ import annotations

import argparse
import functools
import math
import multiprocessing
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from import_cases import PEERS, write_case
from peers.import_base import Expected
from peers.import_rounding import alike, decisions
from peers.table import update
from torch import Tensor, nn
from torch.func import functional_call

from steadygan.files import whole_directory
from steadygan.importing import import_files
from steadygan.importing.families import read_files
from steadygan.nets import create_critic, create_generator
from steadygan.runs.checkpoint import read_weights

BOUNDS = {"float32": 1e-5, "float64": 1e-10}
COLUMNS = ("family", "case", "network", "dtype", "value", "gradient", "gradient_same", "images", "bound", "within")
COLUMNS += ("seed", "left_out", "seconds", "commit")
MOST_SEEDS = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, required=True)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--case")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name, peer in PEERS.items():
        checkout = options.peers / peer.folder
        if (options.only and name not in options.only) or not checkout.is_dir():
            print(f"{name}: skipped")
            continue
        for case in peer.cases:
            if options.case in (None, case):
                rows = compare(name, case, checkout)
                for row in rows:
                    print(*(str(row.get(name, ""))[:60] for name in COLUMNS), flush=True)
                if options.out:
                    update(options.out, COLUMNS, 4, rows)


def compare(name: str, case: str, checkout: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for dtype in ("float32", "float64"):
        for seed in range(MOST_SEEDS):
            measured = [{**row, "seed": seed} for row in attempt(name, case, checkout, dtype, seed)]
            if all(row["gradient_same"] or float(row["gradient"]) <= float(row["bound"]) for row in measured):
                break
        rows += measured
    return rows


def attempt(name: str, case: str, checkout: Path, dtype: str, seed: int) -> list[dict[str, Any]]:
    """Rows of one draw of weights and inputs; none where the peer does not compute in this type."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = (name, case, checkout, Path(folder), dtype, seed)
        peer = multiprocessing.get_context("fork").Process(target=write_case, args=arguments)
        peer.start()
        peer.join()
        if peer.exitcode:
            raise SystemExit(f"{name} {case}: the peer failed, as said above")
        if not (Path(folder) / dtype / "expected.pt").is_file():
            return []
        expected = Expected(**torch.load(Path(folder) / dtype / "expected.pt", weights_only=True))
        return agreement(expected, Path(folder) / dtype, getattr(torch, dtype), {"family": name, "case": case})


def agreement(expected: Expected, place: Path, dtype: torch.dtype, row: dict[str, Any]) -> list[dict[str, Any]]:
    files = [place / name for name in expected.files]
    if dtype == torch.float32:
        with whole_directory(place / "imported"):
            pass
        (place / "imported").rmdir()
        imported = import_files(files, place / "imported", expected.options)
        weights = read_weights(place / "imported")
    else:
        imported = read_files(files, expected.options)
        weights = {f"{net}.{key}": value for net, every in imported.networks.items() for key, value in every.items()}
    rows = []
    translates = "directions" in imported.generator
    g = f"G_{expected.direction}" if translates else "G_ema" if "G_ema" in imported.networks else "G"
    for net, make, description in (
        (g, create_generator, imported.generator),
        (f"D_{expected.direction[1]}" if translates else "D", create_critic, imported.critic),
    ):
        there = expected.generator if net == g else expected.critic
        if there is None:
            continue
        assert description is not None, f"{net} was not imported"
        keys = ("kind", "size", "channels", "classes", "width") + (("latent",) if net == g else ())
        network = make(**{key: description[key] for key in keys}, **description["options"]).to(dtype).eval()
        prefix = f"{net}."
        network.load_state_dict({key.removeprefix(prefix): v for key, v in weights.items() if key.startswith(prefix)})
        tables = [
            {key: table[round(value * (len(table) - 1))].to(dtype) for key, table in imported.statistics.items()}
            for value in expected.truncations
        ]
        start = time.monotonic()
        value, gradient, noted = evaluate(network, there["input"], expected.labels, there["cotangent"], tables)
        seconds = time.monotonic() - start
        same = alike(noted, there["noted"], len(gradient))
        if expected.joint and net != g and not same.all():
            same[:] = False
        apart = difference(value, there["value"])
        jumping, scale = difference(gradient, there["gradient"]), there["gradient"].abs().max()
        close = float((gradient - there["gradient"])[same].abs().max() / scale) if any(same) else math.inf
        bound = BOUNDS[str(dtype).removeprefix("torch.")]
        rows.append(
            {
                **row,
                "network": net[0],
                "dtype": str(dtype).removeprefix("torch."),
                "value": f"{apart:.1e}",
                "gradient": f"{jumping:.1e}",
                "gradient_same": f"{close:.1e}" if any(same) else "",
                "images": f"{int(same.sum())} of {len(same)}",
                "bound": f"{bound:g}",
                "within": apart <= bound and min(jumping, close) <= bound,
                "left_out": len(imported.left_out),
                "seconds": f"{seconds:.3f}",
                "commit": commit(),
            }
        )
    return rows


@functools.cache
def commit() -> str:
    """The commit of this checkout, with a plus if it has changes."""
    here = ["git", "-C", str(Path(__file__).parent)]
    head = subprocess.run([*here, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True).stdout
    changed = subprocess.run(
        [*here, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True
    ).stdout
    return head.strip() + ("+" if changed.strip() else "")


def evaluate(
    network: nn.Module,
    x: Tensor,
    y: Tensor | None,
    cotangent: dict[str, Tensor],
    tables: Sequence[Mapping[str, Tensor]] = (),
) -> tuple[Any, Tensor, list[Tensor]]:
    """The network's outputs by name, the gradient of their product with the cotangent, and `decisions`.

    tables: buffers in place of the network's own, each for a part of the batch.
    """
    x = x.detach().clone().requires_grad_()
    with decisions() as noted:
        if tables:
            parts = [[None] * len(tables) if part is None else part.chunk(len(tables)) for part in (x, y)]
            out = torch.cat(
                [functional_call(network, table, tuple(part)) for table, *part in zip(tables, *parts, strict=True)]
            )
        else:
            out = network(x, y)
    found = {"image": out} if isinstance(out, Tensor) else {"logit": out.logit, "pixels": out.pixels}
    found = {name: value for name, value in found.items() if name in cotangent}
    total = sum((found[name].reshape(-1) * cotangent[name].reshape(-1)).sum() for name in cotangent)
    (gradient,) = torch.autograd.grad(total, x)
    return {name: value.detach() for name, value in found.items()}, gradient, noted


def difference(ours: Any, theirs: Any) -> float:
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys()
        return max(difference(ours[name], theirs[name]) for name in ours)
    assert ours.numel() == theirs.numel()
    return float((ours.reshape(-1) - theirs.reshape(-1)).abs().max() / theirs.abs().max())


if __name__ == "__main__":
    main()
