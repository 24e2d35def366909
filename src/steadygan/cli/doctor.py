"""`steadygan doctor`: a report on this machine."""

from __future__ import annotations

import os
import platform
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from steadygan.cli.terminal import escape, make_console

OPTIONAL = {
    "torch_fidelity": "FID, IS and KID with the TF-2015 Inception",
    "imageio_ffmpeg": "interpolations as MP4",
}
WEIGHTS = {
    "Inception": (
        "STEADYGAN_INCEPTION_WEIGHTS",
        "FID, IS and KID; if absent, torch-fidelity downloads them at first use",
    ),
    "SqueezeNet": ("STEADYGAN_SQUEEZENET_WEIGHTS", "FD-squeezenet, for machines without the Inception weights"),
    "DINOv2": ("STEADYGAN_DINOV2_WEIGHTS", "FD-dinov2"),
}
"""Environment variables of extractors' weights, and their purpose."""


APPLE = (
    "not available: float64, several processes, train.cuda_graphs; a missing operator ends the run unless "
    "PYTORCH_ENABLE_MPS_FALLBACK=1 moves it to the CPU"
)
"""From torch's documentation of its Apple GPU backend, on which steadygan has not been tested."""


class Finding(NamedTuple):
    """One line of `steadygan doctor`: subject, finding, consequence; ok False marks a problem."""

    subject: str
    found: str
    meaning: str
    ok: bool | None = True
    """True: fine; False: a problem; None: absent, but optional."""


def examine() -> list[Finding]:
    """Checks the properties of this machine that affect training."""
    import torch

    import steadygan

    findings = [
        Finding(
            "steadygan",
            steadygan.__version__,
            f"Python {platform.python_version()}, torch {torch.__version__}",
        ),
        Finding(
            "processor",
            f"{os.cpu_count()} cores, {torch.get_num_threads()} torch threads",
            "set OMP_NUM_THREADS to use more threads"
            if torch.get_num_threads() < (os.cpu_count() or 1)
            else "all cores in use",
        ),
        _memory(),
    ]
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            findings.append(
                Finding(
                    f"cuda:{index}",
                    f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB",
                    "used by auto",
                )
            )
    elif torch.backends.mps.is_available():
        findings.append(Finding("mps", "available", f"used by train.device=auto; {APPLE}"))
    else:
        findings.append(
            Finding("accelerator", "none", "training runs on the CPU: fine for digits and small 32 px models", None)
        )
    findings.append(_bfloat16())
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    findings.append(
        Finding("disk", f"{free:.0f} GiB free here", "checkpoints fit" if free > 5 else "may fill up", free > 5)
    )
    findings.extend(
        Finding(module, "installed" if there else "not installed", f"optional: {purpose}", there or None)
        for module, purpose in OPTIONAL.items()
        for there in [find_spec(module) is not None]
    )
    findings.extend(_weights(name, variable, purpose) for name, (variable, purpose) in WEIGHTS.items())
    return findings


def _weights(name: str, variable: str, purpose: str) -> Finding:
    named = os.environ.get(variable)
    missing = bool(named) and not Path(named or "").expanduser().is_file()
    found = f"{named} is not a file" if missing else named or "absent"
    return Finding(f"{name} weights", found, f"{variable}: {purpose}", None if named is None else not missing)


def _memory() -> Finding:
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf; other systems may lack these names
        return Finding("memory", "unknown", "unknown on this system; --dry-run shows what a run needs")
    return Finding("memory", f"{total:.0f} GiB", "data sets of up to a quarter of the free memory stay in memory")


def _bfloat16() -> Finding:
    import torch

    from steadygan.machine import has_bfloat16

    native = has_bfloat16("cuda" if torch.cuda.is_available() else "cpu")
    if native:
        return Finding("bfloat16", "in hardware", "train.precision=auto rounds networks to it; penalties stay float32")
    faster = "; train.precision=float16 takes half the memory for activations" if torch.cuda.is_available() else ""
    return Finding("bfloat16", "not in hardware", f"train.precision=auto trains in float32{faster}", None)


def doctor() -> None:
    """Check this machine, and what it means for training."""
    from rich.table import Table

    from steadygan.kernels.compiled import building
    from steadygan.kernels.winograd.native import obstacle

    findings = examine()
    with building():
        reason = obstacle()
    if reason:
        meaning = "convolutions on the CPU are slower (train.winograd is off); set CC to a compiler"
        findings.append(Finding("C compiler", reason, meaning, None))
    else:
        findings.append(Finding("C compiler", "works", "train.winograd uses compiled kernels"))
    sheet = Table("", "subject", "found", "meaning", box=None)
    for finding in findings:
        mark = {True: "[green]✓[/]", False: "[yellow]![/]", None: "[dim]–[/]"}[finding.ok]
        sheet.add_row(mark, *(escape(text) for text in finding[:3]))
    make_console().print(sheet)
