"""What several test files share and no fixture can hand them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from steadygan.cli import main

SMALLEST = [
    "data.size=16",
    "data.max_images=24",
    "model.width=2",
    "model.latent=4",
    "train.batch_size=8",
    "train.device=cpu",
]


def tiny_run(*overrides: str) -> list[str]:
    """Settings of the smallest run of digits, with more of them or others in their place."""
    return [*SMALLEST, *overrides]


class Result(NamedTuple):
    status: int
    out: str
    err: str


Run = Callable[..., Result]


def command(*arguments: str | Path) -> int:
    """Runs `steadygan` with these arguments, in this process; its exit status."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["steadygan", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
    return int(caught.value.code or 0)
