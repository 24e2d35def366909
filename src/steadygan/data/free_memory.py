"""Free memory of this machine, and checks against it."""

from __future__ import annotations

from pathlib import Path

from steadygan.errors import UserError

ASSUMED_FREE_BYTES = 8 << 30
"""Assumed if the system does not report it."""


def free_bytes() -> int:
    """Available memory in bytes, as reported by Linux; elsewhere a constant is assumed."""
    meminfo, cgroup = Path("/proc/meminfo"), Path("/sys/fs/cgroup/memory.max")
    if not meminfo.exists():
        return ASSUMED_FREE_BYTES
    available = dict(line.split(":") for line in meminfo.read_text().splitlines())["MemAvailable"]
    limit = cgroup.read_text().strip() if cgroup.exists() else "max"
    free = int(available.split()[0]) * 1024
    return min(free, int(limit)) if limit.isdigit() else free


def check_room(needed: int, what: str, remedy: str, free: int | None = None) -> None:
    """Checks that an allocation fits into memory.

    Args:
        needed: size in bytes.
        what: the object's name, for the message.
        remedy: what to do instead, for the message.
        free: free bytes; None: of the machine's memory.

    Raises:
        UserError: it does not fit; the message gives both sizes.
    """
    free = free_bytes() if free is None else free
    if needed > free:
        raise UserError(
            f"{what} would take {needed / 2**30:,.1f} GiB of memory, and {free / 2**30:,.1f} GiB are free: {remedy}"
        )
