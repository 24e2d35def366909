"""Do imported weights compute what they computed in the program they come from?

For each family that `steadygan import` reads, the family's own public code makes networks with random weights, writes
them in its own format and evaluates them; the files are imported, and the outputs of generator and discriminator and
their derivatives with respect to latent and image are compared, in float32 (after the whole way to a checkpoint) and,
where the peer's code can, in float64 (after the layout's mapping alone). A difference is the largest absolute one,
divided by the largest absolute value of the peer's.

A float32 gradient is not continuous: where rounding moves a rectifier's input past 0, or another pixel to a pool's
maximum, it jumps, in the peer's program as in ours. So each float32 gradient is also compared with the same network's
own in float64, from the same float32 weights and inputs: `peer_jump` is the peer's float32 gradient against the peer's
float64 one, `our_jump` ours against ours, `peer_turned` and `our_turned` how many rectifiers and pools decided
otherwise, of how many. `exact` is what is left when rounding is taken away: our float64 gradient against the peer's,
from the float32 weights. A float32 row is within its bound if the value and `exact` are; a float64 row if the value and
the gradient are. (Peers that cannot compute in float64 have no jump of their own, and `exact` is against float32.)

    python benchmarks/import_agreement.py --peers FOLDER [--only FAMILY …] [--case CASE] [--out TABLE.csv]

FOLDER holds checkouts of the peers under the names of `import_cases.PEERS`; those that are missing are skipped. Each
case runs in a process of its own (forked), since the peers' modules share names. Rows of the table that are measured
anew are replaced; each names its commit, and those from before 3eca5c1 have no jumps.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from import_cases import PEERS, write_case
from peers.import_base import Expected
from peers.import_rounding import decisions, turned
from peers.table import update
from torch import Tensor, nn

from steadygan.files import whole_directory
from steadygan.importing import import_files
from steadygan.importing.families import read_files
from steadygan.nets import create_critic, create_generator
from steadygan.runs.checkpoint import read_weights

BOUNDS = {"float32": 1e-5, "float64": 1e-10}
COLUMNS = (
    "family",
    "case",
    "network",
    "dtype",
    "value",
    "gradient",
    "exact",
    "bound",
    "within",
    "peer_jump",
    "our_jump",
)
COLUMNS += ("peer_turned", "our_turned", "left_out", "seconds", "commit")


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
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        peer = multiprocessing.get_context("fork").Process(target=write_case, args=(name, case, checkout, Path(folder)))
        peer.start()
        peer.join()
        if peer.exitcode:
            raise SystemExit(f"{name} {case}: the peer failed, as said above")
        for dtype in ("float32", "float64"):
            place = Path(folder) / dtype
            if (place / "expected.pt").is_file():
                expected = Expected(**torch.load(place / "expected.pt", weights_only=True))
                rows += agreement(expected, place, getattr(torch, dtype), {"family": name, "case": case})
    return rows


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
    g = "G_ab" if translates else "G_ema" if "G_ema" in imported.networks else "G"
    for net, make, description in (
        (g, create_generator, imported.generator),
        ("D_b" if translates else "D", create_critic, imported.critic),
    ):
        there = expected.generator if net == g else expected.critic
        if there is None:
            continue
        assert description is not None, f"{net} was not imported"
        keys = ("kind", "size", "channels", "classes", "width") + (("latent",) if net == g else ())
        network = make(**{key: description[key] for key in keys}, **description["options"]).to(dtype).eval()
        prefix = f"{net}."
        network.load_state_dict({key.removeprefix(prefix): v for key, v in weights.items() if key.startswith(prefix)})
        if expected.truncation is not None:
            for key, table in imported.statistics.items():
                network.get_buffer(key).copy_(table[round(expected.truncation * (len(table) - 1))])
        start = time.monotonic()
        value, gradient, noted = evaluate(network, there["input"], expected.labels, there["cotangent"])
        seconds = time.monotonic() - start
        apart = difference(value, there["value"])
        row = {**row, "network": net[0], "dtype": str(dtype).removeprefix("torch."), "value": f"{apart:.1e}"}
        row |= {"gradient": f"{difference(gradient, there['gradient']):.1e}"}
        bound = BOUNDS[row["dtype"]]
        exact = difference(gradient, there["gradient"])
        if dtype == torch.float32:
            wide = {name: part.double() for name, part in there["cotangent"].items()}
            _, ours, decided = evaluate(network.double(), there["input"].double(), expected.labels, wide)
            exact = difference(ours, there.get("wide", there["gradient"]))
            row |= {"our_jump": f"{difference(gradient, ours):.1e}", "our_turned": turned(noted, decided)}
            if "wide" in there:
                jump = difference(there["gradient"], there["wide"])
                row |= {"peer_jump": f"{jump:.1e}", "peer_turned": there["turned"]}
        row |= {"exact": f"{exact:.1e}", "bound": f"{bound:g}", "within": apart <= bound and exact <= bound}
        rows.append({**row, "left_out": len(imported.left_out), "seconds": f"{seconds:.3f}", "commit": commit()})
    return rows


@functools.cache
def commit() -> str:
    """Of this checkout; with a plus where it has changes."""
    here = ["git", "-C", str(Path(__file__).parent)]
    head = subprocess.run([*here, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True).stdout
    changed = subprocess.run(
        [*here, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True
    ).stdout
    return head.strip() + ("+" if changed.strip() else "")


def evaluate(
    network: nn.Module, x: Tensor, y: Tensor | None, cotangent: dict[str, Tensor]
) -> tuple[Any, Tensor, list[Tensor]]:
    """The network's outputs by name, the gradient of their product with the cotangent, and `decisions`."""
    x = x.detach().clone().requires_grad_()
    with decisions() as noted:
        out = network(x, y)
    parts = {"image": out} if isinstance(out, Tensor) else {"logit": out.logit, "pixels": out.pixels}
    parts = {name: value for name, value in parts.items() if name in cotangent}
    total = sum((parts[name].reshape(-1) * cotangent[name].reshape(-1)).sum() for name in cotangent)
    (gradient,) = torch.autograd.grad(total, x)
    return {name: value.detach() for name, value in parts.items()}, gradient, noted


def difference(ours: Any, theirs: Any) -> float:
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys()
        return max(difference(ours[name], theirs[name]) for name in ours)
    assert ours.numel() == theirs.numel()
    return float((ours.reshape(-1) - theirs.reshape(-1)).abs().max() / theirs.abs().max())


if __name__ == "__main__":
    main()
