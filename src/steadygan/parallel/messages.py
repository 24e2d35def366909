"""Messages between processes: plain values and tensors, read by torch's restricted reader, which executes no code.

`torch.distributed` would unpickle objects, which executes arbitrary code from other processes or an impostor.
"""

from __future__ import annotations

import io
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from steadygan.errors import UserError


def encode(value: Any) -> Tensor:
    """Encodes a message as uint8 (bytes,): None, numbers, text, tensors, and lists, tuples and dictionaries of them."""
    file = io.BytesIO()
    torch.save(value, file)
    return torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8)


def decode(data: Tensor) -> Any:
    """Decodes a message from `encode`. Raises `UserError` for anything else."""
    try:
        return torch.load(io.BytesIO(data.numpy().tobytes()), map_location="cpu", weights_only=True)
    except Exception as error:  # from zip, pickle, torch
        raise UserError(
            f"another process sent something that is not a message of steadygan ({type(error).__name__})"
        ) from None


def gather(value: Any, group: dist.ProcessGroup | None = None) -> list[Any]:
    """Returns the messages of all processes, by rank; all must call it."""
    device = _device(group)
    mine = encode(value)
    lengths = [torch.zeros(1, dtype=torch.int64, device=device) for _ in range(dist.get_world_size(group))]
    dist.all_gather(lengths, torch.tensor([len(mine)], device=device), group=group)
    longest = max(int(length) for length in lengths)
    padded = torch.zeros(longest, dtype=torch.uint8, device=device)
    padded[: len(mine)] = mine.to(device)
    everyone = [torch.empty_like(padded) for _ in lengths]
    dist.all_gather(everyone, padded, group=group)
    return [decode(data[: int(length)].cpu()) for data, length in zip(everyone, lengths, strict=True)]


def broadcast(value: Any, group: dist.ProcessGroup | None = None) -> Any:
    """Returns the message of process 0 in all processes; other processes' values are ignored."""
    device = _device(group)
    mine = encode(value) if dist.get_rank(group) == 0 else torch.zeros(0, dtype=torch.uint8)
    length = torch.tensor([len(mine)], device=device)
    dist.broadcast(length, 0, group=group)
    data = mine.to(device) if len(mine) else torch.zeros(int(length), dtype=torch.uint8, device=device)
    dist.broadcast(data, 0, group=group)
    return decode(data.cpu())


def _device(group: dist.ProcessGroup | None) -> torch.device:
    """The device on which this group exchanges tensors."""
    return (
        torch.device("cuda", torch.cuda.current_device()) if dist.get_backend(group) == "nccl" else torch.device("cpu")
    )
