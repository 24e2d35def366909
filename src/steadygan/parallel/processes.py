"""Joining the processes of torchrun."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

from steadygan.errors import SaidElsewhere, UserError
from steadygan.parallel.replicas import START_SECONDS, Replicas


@contextmanager
def joined() -> Iterator[Replicas]:
    """Context manager: joins the processes that torchrun started; without torchrun, this process alone.

    An existing process group is used and kept. One process reports an error; the others raise `SaidElsewhere` after it
    has exited, or after a few seconds.

    Raises:
        UserError: the processes did not connect.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Replicas()
        return
    import torch
    import torch.distributed as dist

    mine = not dist.is_initialized()
    if mine:
        try:
            dist.init_process_group("gloo", timeout=timedelta(seconds=START_SECONDS))
        except (RuntimeError, ValueError) as error:
            raise UserError(
                f"the {os.environ['WORLD_SIZE']} processes of this run (WORLD_SIZE) did not meet: "
                f"{str(error).splitlines()[0]}; start them with torchrun"
            ) from error
    try:
        yield Replicas(dist.get_rank(), dist.get_world_size())
    except SaidElsewhere as error:
        # torchrun ends all processes when one exits. The reporting process should exit first: this wait receives
        # nothing, but fails when that process has exited.
        with suppress(RuntimeError):
            if end := dist.irecv(torch.zeros(1), src=error.speaker):
                end.wait(timedelta(seconds=5))
        raise
    # Not after an error, when others may never get here.
    if mine:
        dist.destroy_process_group()


def restarted() -> bool:
    """Whether torchrun (--max-restarts) restarted this command after a process was lost."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0
