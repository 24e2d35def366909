"""Attacks on the importer: many changed and all malicious files of each format, and their outcome.

    python benchmarks/import_attack.py [--count 300] [--out results/import-attack.csv]

Uses the writers and the malicious pickles of tests/importing. Each malicious pickle is tried as a plain pickle, inside
torch's zip format and inside its legacy format; and (but for those that only cost time) hidden in a whole file of each
family, in front of its content. `executed` counts programs, imports, code and files written while a
file was read (by Python's audit events); `peak_mib` is the most memory Python held, `seconds` the slowest file.
"""

from __future__ import annotations

import argparse
import io
import pickle
import pickletools
import random
import sys
import tempfile
import time
import tracemalloc
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from importing.malicious import GREEDY, MALICIOUS
from importing.mutation import mutated
from importing.watching import watched
from importing.writers import FAMILIES
from peers.table import update

from steadygan.errors import UserError
from steadygan.importing import import_files
from steadygan.importing.files import LEGACY_VERSION, MAGIC


class Tally:
    """The outcome of one format's files."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.peak, self.slowest = 0, 0.0

    def attempt(self, files: Sequence[Path], out: Path, options: dict[str, str]) -> None:
        tracemalloc.start()
        began = time.perf_counter()
        with watched() as noted:
            try:
                import_files(files, out, options)
                outcome = "imported"
            except UserError:
                outcome = "refused"
            except Exception as error:
                outcome = f"crashed: {type(error).__name__}: {error}"
        self.slowest = max(self.slowest, time.perf_counter() - began)
        self.peak = max(self.peak, tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        self.counts[outcome] += 1
        own = (
            ("os.mkdir", "os.rename", "os.rmdir", "shutil.rmtree") if outcome == "imported" else ()
        )  # of the checkpoint
        opened = [line for line in noted if line.startswith("open")]
        self.counts["executed"] += len([line for line in noted if line not in opened and not line.startswith(own)])
        self.counts["written"] += len([line for line in opened if out.name not in line])
        self.counts["written"] += out.exists() and outcome != "imported"

    def row(self, what: str, attack: str) -> dict[str, object]:
        crashed = {key: count for key, count in self.counts.items() if key.startswith("crashed")}
        return {
            "format": what,
            "attack": attack,
            "files": sum(self.counts[key] for key in ("imported", "refused")) + sum(crashed.values()),
            "refused": self.counts["refused"],
            "imported": self.counts["imported"],
            "crashed": "; ".join(crashed) or 0,
            "executed": self.counts["executed"],
            "written": self.counts["written"],
            "peak_mib": round(self.peak / 2**20),
            "seconds": round(self.slowest, 2),
        }


def changed(family: str, folder: Path, count: int) -> dict[str, object]:
    source, target = folder / "source", folder / "target"
    source.mkdir()
    target.mkdir()
    written = FAMILIES[family](source)
    for file in source.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    import_files(written.files, folder / "whole", written.options)
    tally, rng = Tally(), random.Random(1)
    for number in range(count):
        victim = rng.choice(sorted(source.iterdir()))  # config.json too
        (target / victim.name).write_bytes(mutated(victim.read_bytes(), rng))
        tally.attempt([target / path.name for path in written.files], folder / f"out-{number}", written.options)
        (target / victim.name).write_bytes(victim.read_bytes())
    return tally.row(family, "changed bytes")


def as_zip(data: bytes, path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/version", "3\n")


def as_legacy(data: bytes, path: Path) -> None:
    system = {"protocol_version": LEGACY_VERSION, "little_endian": True, "type_sizes": {}}
    head = b"".join(pickle.dumps(value, 2) for value in (MAGIC, LEGACY_VERSION, system))
    path.write_bytes(head + data + pickle.dumps([], 2))


def harmful(what: str, folder: Path, count: int) -> dict[str, object]:
    tally = Tally()
    write = {"pickle": lambda data, path: path.write_bytes(data), "zip": as_zip, "legacy": as_legacy}[what]
    write(pickle.dumps({}), folder / "harmless.pth")
    tally.attempt([folder / "harmless.pth"], folder / "out", {})  # what Python loads once is loaded
    tally = Tally()
    for number, data in enumerate((*MALICIOUS.values(), *GREEDY.values())):
        path = folder / f"{number}.pth"
        write(data, path)
        tally.attempt([path], folder / f"out-{number}", {})
    return tally.row(what, "malicious")


def hidden(family: str, folder: Path, count: int) -> dict[str, object]:
    """Each malicious pickle in front of the content of a whole file, whose first value is thrown away again."""
    written = FAMILIES[family](folder)
    import_files(written.files, folder / "whole", written.options)
    victim = written.files[0]
    data = victim.read_bytes()
    victim.write_bytes(infected(data, pickle.dumps({})))
    Tally().attempt(written.files, folder / "harmless", written.options)  # what Python loads once is loaded
    tally = Tally()
    for number, payload in enumerate(MALICIOUS.values()):
        victim.write_bytes(infected(data, payload))
        tally.attempt(written.files, folder / f"out-{number}", written.options)
    return tally.row(family, "malicious, hidden in a whole file")


def infected(data: bytes, payload: bytes) -> bytes:
    """A file with the opcodes of `payload` at the start of its pickle."""
    if not data.startswith(b"PK"):
        return _in_front(data, payload, _main_pickle(data))
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(made, "w") as out:
        for info in archive.infolist():
            content = archive.read(info)
            out.writestr(
                info.filename, _in_front(content, payload, 0) if info.filename.endswith("data.pkl") else content
            )
    return made.getvalue()


def _main_pickle(data: bytes) -> int:
    """Where the pickle with the content starts: in torch's legacy format after three others."""
    stream = io.BytesIO(data)
    for _ in range(3 if data.startswith(pickle.dumps(MAGIC, 2)) else 0):
        for _ in pickletools.genops(stream):
            pass
    return stream.tell()


def _in_front(data: bytes, payload: bytes, start: int) -> bytes:
    """The payload's opcodes after the protocol of the pickle at `start`, and its value dropped."""
    body = payload[2:] if payload.startswith(b"\x80") else payload
    return data[: start + 2] + body.removesuffix(b".") + b"0" + data[start + 2 :]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--only", nargs="*", help="pickle, zip, legacy or families")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.only or ("pickle", "zip", "legacy", *FAMILIES):
        rows = []
        for attack in (changed, hidden) if name in FAMILIES else (harmful,):
            with tempfile.TemporaryDirectory() as folder:
                rows.append(attack(name, Path(folder), options.count))
            print(*rows[-1].values(), flush=True)
        if options.out:
            update(options.out, list(rows[0]), 2, rows)


if __name__ == "__main__":
    main()
