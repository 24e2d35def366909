"""How long `steadygan.load` takes in a fresh process, against `import torch`, in turn.

    python benchmarks/cold_load.py RUN [--rounds 9]

Prints a CSV row: medians of the processor time of both, in seconds, which other work on the machine disturbs less than
the clock, the median of the rounds' ratios, and the same by the clock.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

import steadygan

TORCH = "import torch"
LOAD = "import steadygan, sys; steadygan.load(sys.argv[1], device='cpu')"


def measure(code: str, run: Path) -> tuple[float, float]:
    """Seconds of processor time and by the clock of one fresh process."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-c", code, str(run)], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    measure(LOAD, options.run)  # files come from the cache from here on, and modules are compiled
    rounds = [(measure(TORCH, options.run), measure(LOAD, options.run)) for _ in range(options.rounds)]
    print("import_torch_s,load_s,ratio,import_torch_clock_s,load_clock_s,clock_ratio,rounds,torch,steadygan")
    values: list[str] = []
    for kind in (0, 1):
        torch_s, load_s = ([round_[side][kind] for round_ in rounds] for side in (0, 1))
        ratio = statistics.median(b / a for a, b in zip(torch_s, load_s, strict=True))
        values += [f"{statistics.median(torch_s):.2f}", f"{statistics.median(load_s):.2f}", f"{ratio:.2f}"]
    print(",".join([*values, str(options.rounds), torch.__version__, steadygan.__version__]))


if __name__ == "__main__":
    main()
