"""The names that a pickle may contain, and their inert values. Any other name is refused."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from steadygan.importing.values import (
    MOST_NAME,
    STORAGES,
    Array,
    Budget,
    Made,
    Refused,
    Span,
    Storage,
    checked_array,
    possible,
)


class Machine(Protocol):
    """The interface of calls to their reader.

    Attributes:
        legacy: reads a torch file embedded in the file; None where none is allowed.
    """

    budget: Budget
    legacy: Callable[[memoryview, Budget], Any] | None


MOST_DEVICE = 32
"""Maximum length of a device name."""
SIMPLE_KEYS = (str, int, float, bool, type(None))

STUBS = ("torch.nn.parameter.Parameter", "torch.Size", "torch.device", "builtins.set", "__builtin__.set")
OBJECTS = {"argparse.Namespace": "argparse.Namespace"}
DICTIONARIES = ("collections.OrderedDict", "dnnlib.util.EasyDict", "dnnlib.EasyDict")
PERSISTENT = "torch_utils.persistence._reconstruct_persistent_obj"
NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray")
NUMPY_TYPES = {
    "f2": torch.float16,
    "f4": torch.float32,
    "f8": torch.float64,
    "i1": torch.int8,
    "i2": torch.int16,
    "i4": torch.int32,
    "i8": torch.int64,
    "u1": torch.uint8,
    "b1": torch.bool,
}
LEGACY_TENSORFLOW = ("dnnlib.tflib.network.Network", "dnnlib.tflib.network._Network")


def known(module: str, name: str) -> bool:
    """Whether a file may name `module.name`. The match is exact: no dots within the name."""
    if "." in name:
        return False
    full = f"{module}.{name}"
    if full in CALLS or full in OBJECTS or full in DICTIONARIES or full in STUBS:
        return True
    if module in ("torch", "torch.cuda", "torch.storage"):
        return name in STORAGES or (module == "torch" and isinstance(getattr(torch, name, None), torch.dtype))
    return full == "numpy.ndarray"


def set_item(target: Any, key: Any, value: Any) -> None:
    """Sets an entry of a dictionary. Only simple keys are allowed: hashing and comparing others might never end.

    Raises:
        Refused: the target is not a dictionary, or the key not simple.
    """
    if not isinstance(target, dict):
        raise Refused("an entry of something that is not a dictionary")
    if type(key) not in SIMPLE_KEYS and not (isinstance(key, tuple) and all(type(k) in SIMPLE_KEYS for k in key)):
        raise Refused(f"a dictionary with a key of type {type(key).__name__}")
    target[key] = value


# -------------------------------------------------------------------- what names stand for
@dataclass
class NumpyType:
    """A numpy dtype by its code, such as f4."""

    code: str

    def order(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", "|", "="):
            raise Refused("numbers in another byte order, or of a compound type")

    @property
    def dtype(self) -> torch.dtype:
        return NUMPY_TYPES[self.code]


class NumpyArray:
    """A numpy array before its state has been set."""

    def __init__(self) -> None:
        self.array: Array | None = None

    def fill(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[2], NumpyType):
            raise Refused("a numpy array in no known form")
        _, shape, kind, fortran, raw = state
        span = as_span(raw)
        if not possible(shape):
            raise Refused("a numpy array of an impossible shape")
        numel = math.prod(shape)
        if numel * kind.dtype.itemsize != span.length:
            raise Refused(f"a numpy array of shape {shape} with {span.length} bytes")
        sides = shape if fortran is True else shape[::-1]
        steps = [math.prod(sides[:place]) for place in range(len(sides))]
        stride = tuple(steps if fortran is True else steps[::-1])
        self.array = checked_array(Storage(kind.dtype, numel, span), 0, shape, stride)


def as_span(raw: Any) -> Span:
    if isinstance(raw, Span):
        return raw
    if isinstance(raw, bytes):
        return Span(memoryview(raw), 0, len(raw))
    raise Refused("bytes are expected where the file has something else")


def _numpy_type(machine: Machine, code: Any, *rest: Any) -> NumpyType:
    if not isinstance(code, str) or code.lstrip("<|=") not in NUMPY_TYPES:
        raise Refused(
            f"numbers of a type of numpy's that is not plain{f': {code!r:.40}' if isinstance(code, str) else ''}"
        )
    return NumpyType(code.lstrip("<|="))


def _numpy_scalar(machine: Machine, kind: Any, raw: Any = b"") -> Any:
    span = as_span(raw)
    if not isinstance(kind, NumpyType) or span.length != kind.dtype.itemsize:
        raise Refused("a numpy number in no known form")
    return Array(Storage(kind.dtype, 1, span), 0, (), ()).tensor().item()


def _numpy_reconstruct(machine: Machine, *arguments: Any) -> NumpyArray:
    return NumpyArray()


def _encode(machine: Machine, text: Any, encoding: Any = "utf-8") -> bytes:
    """The encoding of bytes in pickle protocol 2."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise Refused("_codecs.encode of anything but latin1")
    machine.budget.spend(len(text))
    try:
        return text.encode("latin1")
    except UnicodeEncodeError as error:
        raise Refused("invalid bytes: the file is damaged") from error


def _tensor(
    machine: Machine, storage: Any = None, offset: Any = 0, shape: Any = (), stride: Any = (), *_: Any
) -> Array:
    return checked_array(storage, offset, shape, stride)


def _parameter(machine: Machine, data: Any = None, *_: Any) -> Array:
    if not isinstance(data, Array):
        raise Refused("a parameter that is not a tensor")
    return data


def _storage_bytes(machine: Machine, raw: Any = None) -> Any:
    """A storage embedded as a file of its own, as in plain pickles of tensors."""
    if not isinstance(raw, Span) or machine.legacy is None:
        raise Refused("a storage that has no bytes")
    value = machine.legacy(raw.read(), machine.budget)
    if not isinstance(value, Storage):
        raise Refused("the bytes of a storage hold something else")
    return value


def _persistent(machine: Machine, meta: Any = None) -> Made:
    """An object of NVIDIA's `torch_utils.persistence`: class name and state. The embedded source code is ignored."""
    name = meta.get("class_name") if isinstance(meta, dict) and meta.get("type") == "class" else None
    if type(name) is not str or len(name) > MOST_NAME:
        raise Refused("a persistent object in no known form")
    if not isinstance(meta.get("state"), dict):
        raise Refused("a persistent object without a state")
    return Made(name, meta["state"])


def simple_set(machine: Machine, items: Any = ()) -> set[Any]:
    """A set of simple values.

    Raises:
        Refused: a value is not simple.
    """
    if not isinstance(items, list | tuple) or any(type(item) not in SIMPLE_KEYS for item in items):
        raise Refused("a set of anything but simple values")
    machine.budget.spend(len(items))
    return set(items)


def _device(machine: Machine, kind: Any = "", index: Any = None) -> str:
    if type(kind) is not str or len(kind) > MOST_DEVICE or type(index) not in (int, type(None)):
        raise Refused("a device in no known form")
    return kind if index is None else f"{kind}:{index}"


def _size(machine: Machine, sides: Any = ()) -> tuple[Any, ...]:
    if not isinstance(sides, list | tuple):
        raise Refused("an invalid size")
    machine.budget.spend(len(sides))
    return tuple(sides)


CALLS: Mapping[str, Callable[..., Any]] = {
    PERSISTENT: _persistent,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch.storage._load_from_bytes": _storage_bytes,
    "_codecs.encode": _encode,
    "numpy.dtype": _numpy_type,
    "torch.Size": _size,
    "torch.device": _device,
    "builtins.set": simple_set,
    "__builtin__.set": simple_set,
    **{f"{module}.scalar": _numpy_scalar for module in NUMPY},
    **{f"{module}._reconstruct": _numpy_reconstruct for module in NUMPY},
}
