"""How much memory this machine has left, and what would not fit into it."""

from __future__ import annotations

from pathlib import Path

from steadygan.errors import UserError

ASSUMED_FREE_BYTES = 8 << 30
"""Where the system does not tell."""


def free_bytes() -> int:
    """Bytes of the machine's memory that may be taken; only Linux tells, elsewhere it is assumed."""
    meminfo, cgroup = Path("/proc/meminfo"), Path("/sys/fs/cgroup/memory.max")
    if not meminfo.exists():
        return ASSUMED_FREE_BYTES
    available = dict(line.split(":") for line in meminfo.read_text().splitlines())["MemAvailable"]
    limit = cgroup.read_text().strip() if cgroup.exists() else "max"
    free = int(available.split()[0]) * 1024
    return min(free, int(limit)) if limit.isdigit() else free


def check_room(needed: int, what: str, remedy: str, free: int | None = None) -> None:
    """Checks that something fits into memory.

    Args:
        needed: bytes that it takes.
        what: its name, for the message.
        remedy: what to do instead, for the message.
        free: bytes that are free; None: in the machine's memory.

    Raises:
        UserError: it does not fit; the message has both figures.
    """
    free = free_bytes() if free is None else free
    if needed > free:
        raise UserError(
            f"{what} would take {needed / 2**30:,.1f} GiB of memory, and {free / 2**30:,.1f} GiB are free: {remedy}"
        )
