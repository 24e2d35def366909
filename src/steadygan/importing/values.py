"""Inert values read from a file of weights; nothing in the file can execute code."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from steadygan.errors import UserError

STORAGES: Mapping[str, torch.dtype] = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
"""Torch storage types by their pickled names."""

MOST_NODES, MOST_DEPTH, MOST_LETTERS = 20_000, 16, 1 << 20
"""Bounds on arguments kept as plain values; repeated text counts repeatedly."""
MOST_TENSORS, MOST_NAME = 20_000, 256
"""Bounds on the number of tensors of a network and the length of their names."""


class Refused(UserError):
    """The file contains something that weights do not need. Nothing of it was executed."""


@dataclass(frozen=True)
class Global:
    """The name of a class or function in a file; never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(frozen=True)
class Span:
    """A range of bytes in the file."""

    data: memoryview
    start: int
    length: int

    def read(self, start: int = 0, length: int | None = None) -> memoryview:
        """`length` bytes (by default the rest) from `start`, relative to the span.

        Raises:
            Refused: the bytes are outside the file.
        """
        length = self.length - start if length is None else length
        if start < 0 or length < 0 or start + length > self.length:
            raise Refused("a tensor is outside the file: it is truncated or damaged")
        return self.data[self.start + start : self.start + start + length]


@dataclass
class Storage:
    """Numbers of one type in the file. In a legacy file `span` is set later, as places follow after all tensors."""

    dtype: torch.dtype
    numel: int
    span: Span | None = None


@dataclass(frozen=True)
class Array:
    """An unread tensor: a strided view of a storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def dtype(self) -> torch.dtype:
        return self.storage.dtype

    @property
    def numel(self) -> int:
        return math.prod(self.shape)

    def tensor(self) -> Tensor:
        """The numbers in a new tensor.

        Raises:
            Refused: the numbers are not in the file.
        """
        if self.storage.span is None:
            raise Refused("a tensor's numbers are not in the file: it is truncated or damaged")
        if self.numel == 0:
            return torch.empty(self.shape, dtype=self.dtype)
        size = self.dtype.itemsize
        reach = 1 + sum((side - 1) * step for side, step in zip(self.shape, self.stride, strict=True))
        raw = bytearray(self.storage.span.read(self.offset * size, reach * size))
        flat = torch.frombuffer(raw, dtype=self.dtype)
        return flat.as_strided(self.shape, self.stride).contiguous()


@dataclass
class Made:
    """An object of a known but uninstantiated class: class name and attributes."""

    name: str
    state: dict[Any, Any] = field(default_factory=dict)


def possible(sides: Any) -> bool:
    """Whether `sides` is a valid shape: a tuple of at most eight sizes."""
    return isinstance(sides, tuple) and len(sides) <= 8 and all(type(n) is int and 0 <= n < 1 << 40 for n in sides)


def checked_array(storage: Any, offset: Any, shape: Any, stride: Any) -> Array:
    """A tensor as described in a file.

    Args:
        storage: its numbers.
        offset: of the first number in the storage.
        shape: sides of the tensor.
        stride: steps in the storage, one per side.

    Raises:
        Refused: the description is invalid or exceeds the storage.
    """
    if not isinstance(storage, Storage) or not possible(shape) or not possible(stride) or not possible((offset,)):
        raise Refused("a tensor has an invalid description: the file is damaged")
    if len(shape) != len(stride):
        raise Refused(f"a tensor of shape {shape} with strides {stride}")
    numel = math.prod(shape)
    reach = 1 + sum((side - 1) * step for side, step in zip(shape, stride, strict=True)) if numel else 0
    if offset + reach > storage.numel or numel > storage.numel:
        raise Refused(f"a tensor of shape {shape} exceeds its storage of {storage.numel} numbers")
    return Array(storage, offset, shape, stride)


def plain(value: Any, where: str = "arguments") -> Any:
    """Converts `value` to JSON types, for a manifest. Raises Refused for any other content."""
    left = {"nodes": MOST_NODES, "letters": MOST_LETTERS}

    def spend(what: str, amount: int) -> None:
        left[what] -= amount
        if left[what] < 0:
            raise Refused(f"{where}: too large or too deeply nested")

    def copy(node: Any, depth: int) -> Any:
        spend("nodes", 1 if depth <= MOST_DEPTH else MOST_NODES + 1)
        if isinstance(node, str):
            spend("letters", len(node))
        if node is None or type(node) in (bool, int, float, str):
            return node
        if isinstance(node, list | tuple):
            return [copy(part, depth + 1) for part in node]
        if isinstance(node, dict):
            spend("letters", sum(len(str(key)) for key in node))
            return {str(key): copy(part, depth + 1) for key, part in node.items()}
        if isinstance(node, Made):
            return copy(node.state, depth + 1)
        if isinstance(node, Global):
            return copy(str(node), depth)
        raise Refused(f"{where}: a {type(node).__name__} where a plain value is expected")

    return copy(value, 0)


MOST_OPCODES = 1_000_000


@dataclass
class Budget:
    """The remaining budget of opcodes, and of entries they copy, for a file with all its pickles."""

    opcodes: int = MOST_OPCODES

    def spend(self, amount: int = 1) -> None:
        self.opcodes -= amount
        if self.opcodes < 0:
            raise Refused(
                "it takes more steps to read than any file of weights needs: it repeats its parts over and over"
            )
