"""Shared by all layouts: bookkeeping of tensors by name, user settings, and the result of an import."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from steadygan.errors import UserError, nearest
from steadygan.importing.values import MOST_NAME, MOST_TENSORS, Array, Made, Refused

NVIDIA = (
    "NVIDIA Source Code License: for research or evaluation only, not commercially; derived works, such as fine-tuned "
    "weights, included"
)
MOST_MODULES = 10_000


@dataclass
class Imported:
    """The converted networks, ready to be written.

    Attributes:
        family: name of the source program.
        generator, critic: arguments of `nets.create_generator` and `create_critic`, and the prior.
        networks: tensors of "G", "G_ema" and "D" by our names, as far as in the file.
        arguments: the file's own, as plain values.
        left_out: unused tensors of the file, with the reason.
        assumed: settings that the file lacks.
        licence: of the weights, if known.
        statistics: batch-norm statistics by truncation, see `huggingface`.
    """

    family: str
    generator: dict[str, Any]
    networks: dict[str, dict[str, Tensor]]
    critic: dict[str, Any] | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    assumed: list[str] = field(default_factory=list)
    licence: str = ""
    statistics: dict[str, Tensor] = field(default_factory=dict)


class Unsaid(UserError):
    """The file lacks a setting that the user must give.

    Attributes:
        name: of the setting.
        what: the message, without instructions.
    """

    def __init__(self, name: str, what: str) -> None:
        super().__init__(f"{what}: add --set {name}=…")
        self.name, self.what = name, what


class Options:
    """User settings for what a file lacks. Each family takes its own; unknown ones are an error."""

    def __init__(self, given: Mapping[str, str]) -> None:
        self._given = dict(given)
        self._known: set[str] = set()
        self.assumed: list[str] = []

    def number(self, name: str, default: float | None, *, what: str, least: float = 0.0) -> float:
        """A number; required if there is no default.

        Args:
            name: the setting's name.
            default: its default; None: required.
            what: description for messages.
            least: its minimum.

        Raises:
            Unsaid: it is required and was not given.
            UserError: it is not a number, or below the minimum.
        """
        text = self._take(name, default is None, what)
        if text is None:
            assert default is not None
            self.assumed.append(f"{name}={default:g} ({what}; not in the file, change it with --set {name}=…)")
            return default
        try:
            value = float(text)
        except ValueError:
            value = least - 1
        if not least <= value < 1e9:
            raise UserError(f"--set {name}={text}: {what} must be a number of at least {least:g}")
        return value

    def whole(self, name: str, default: int | None, *, what: str, least: int = 1) -> int:
        """Like `number`, for a whole number.

        Args:
            name: the setting's name.
            default: its default; None: required.
            what: description for messages.
            least: its minimum.

        Raises:
            Unsaid: it is required and was not given.
            UserError: it is not a whole number, or below the minimum.
        """
        value = self.number(name, default, what=what, least=least)
        if value != int(value):
            raise UserError(f"--set {name}={value:g}: {what} must be a whole number")
        return int(value)

    def choice(self, name: str, choices: Sequence[str], default: str | None, *, what: str) -> str:
        """One of several words.

        Args:
            name: the setting's name.
            choices: the words.
            default: one of them; None: required.
            what: description for messages.

        Raises:
            Unsaid: it is required and was not given.
            UserError: it is another word.
        """
        text = self._take(name, default is None, f"{what}: {' or '.join(choices)}")
        if text is None:
            assert default is not None
            self.assumed.append(f"{name}={default} ({what}; not in the file, change it with --set {name}=…)")
            return default
        if text not in choices:
            raise UserError(f"--set {name}={text}: {what} must be {' or '.join(choices)}")
        return text

    def _take(self, name: str, needed: bool, what: str) -> str | None:
        self._known.add(name)
        if needed and name not in self._given:
            raise Unsaid(name, f"the file does not contain its {what}")
        return self._given.get(name)

    def finish(self) -> None:
        """Raises UserError for settings that this family does not have."""
        for name in self._given.keys() - self._known:
            hint = nearest(name, self._known) if self._known else "it has none"
            raise UserError(f"--set {name}: not an option of this kind of file; {hint}")


class Sheet:
    """Moves the tensors of one network of a file, one by one, to our names.

    Args:
        tensors: the file's tensors by name.
        what: the network's name, for messages.
        style: the storage of spectral norm: "torch" (weight_orig, weight_u, weight_v), or the name of the buffer that
            holds only u, which the source program updates before every pass.
        eps: ε of spectral norm.
    """

    def __init__(self, tensors: Mapping[str, Array], what: str, *, style: str = "torch", eps: float = 1e-12) -> None:
        self.tensors, self.what, self.style, self.eps = tensors, what, style, eps
        self.out: dict[str, Tensor] = {}
        self.used: set[str] = set()
        storages = {id(array.storage): array.storage.numel for array in tensors.values()}
        self._left = 2 * sum(storages.values())

    def has(self, key: str) -> bool:
        return key in self.tensors

    def shape(self, key: str) -> tuple[int, ...]:
        if key not in self.tensors:
            raise Refused(f"{self.what} has no tensor {key}, which this family's files have")
        return self.tensors[key].shape

    def side(self, key: str, axis: int) -> int:
        """The size of one dimension of a tensor, without reading it.

        Raises:
            Refused: the tensor is missing or has fewer dimensions.
        """
        shape = self.shape(key)
        if axis >= len(shape):
            raise Refused(f"{self.what}: {key} has {len(shape)} dimensions, which this family's files have more of")
        return shape[axis]

    def take(self, key: str) -> Tensor:
        """Takes a tensor; lower-precision floating-point types become float32.

        Raises:
            Refused: it is missing, or tensors share memory.
        """
        self.shape(key)
        self._left -= self.tensors[key].numel
        if self._left < 0:
            raise Refused(f"{self.what}: its tensors share memory, so that it would be far larger than its file")
        self.used.add(key)
        value = self.tensors[key].tensor()
        return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value

    def put(self, name: str, value: Tensor) -> None:
        assert name not in self.out, name
        self.out[name] = value.contiguous()

    def copy(self, name: str, key: str) -> None:
        self.put(name, self.take(key))

    def dense(self, name: str, key: str) -> None:
        """A weight with its bias, if it has one, without spectral norm."""
        self.copy(f"{name}.weight", f"{key}.weight")
        if self.has(f"{key}.bias"):
            self.copy(f"{name}.bias", f"{key}.bias")

    def layer(self, name: str, key: str, *, rows: Tensor | None = None, columns: Tensor | None = None) -> None:
        """Moves a convolution, linear layer or embedding, with or without spectral norm.

        Args:
            name: our prefix.
            key: the file's prefix.
            rows: permutation of the rows (outputs,); None: unchanged.
            columns: permutation of the columns (inputs,); None: unchanged.
        """
        u = v = None
        if self.has(f"{key}.weight_orig"):
            weight, u, v = (self.take(f"{key}.{part}") for part in ("weight_orig", "weight_u", "weight_v"))
        elif self.has(f"{key}.parametrizations.weight.original"):
            weight = self.take(f"{key}.parametrizations.weight.original")
            u, v = (self.take(f"{key}.parametrizations.weight.0._{part}") for part in "uv")
        else:
            weight = self.take(f"{key}.weight")
            if self.has(f"{key}.{self.style}"):
                u, v = power_iteration(weight, self.take(f"{key}.{self.style}"), self.eps)
        bias = self.take(f"{key}.bias") if self.has(f"{key}.bias") else None
        if rows is not None:
            weight, u, bias = weight[rows], None if u is None else u[rows], None if bias is None else bias[rows]
        if columns is not None:
            weight, v = weight[:, columns], None if v is None else v[columns]
        for part, value in (("weight", weight), ("bias", bias), ("u", u), ("v", v)):
            if value is not None:
                self.put(f"{name}.{part}", value)

    def statistics(self, name: str, mean: str, var: str) -> None:
        """A batch norm's running statistics."""
        self.copy(f"{name}.running_mean", mean)
        self.copy(f"{name}.running_var", var)
        counted = f"{mean.rsplit('.', 1)[0]}.num_batches_tracked"
        tracked = self.take(counted) if self.has(counted) else torch.zeros((), dtype=torch.int64)
        self.put(f"{name}.num_batches_tracked", tracked)

    def finish(self, unused: Mapping[str, str]) -> tuple[dict[str, Tensor], list[str]]:
        """Returns our tensors, and the file's unused tensors with reasons.

        Args:
            unused: reasons by name pattern.

        Raises:
            Refused: any other tensor was not used.
        """
        left = []
        for key in sorted(self.tensors.keys() - self.used):
            reason = next((why for pattern, why in unused.items() if fnmatch.fnmatchcase(key, pattern)), None)
            if reason is None:
                raise Refused(
                    f"{self.what}: there is no counterpart for its tensor {key}, of shape {self.tensors[key].shape}"
                )
            left.append(f"{self.what}.{key}: {reason}")
        return self.out, left


def power_iteration(weight: Tensor, u: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """(u, v) after one power iteration, as in programs that store only u and update it before every pass.

    Raises:
        Refused: the sizes do not match.
    """
    matrix, u = weight.flatten(1), u.flatten()
    if len(u) != len(matrix):
        raise Refused(f"a vector of spectral norm has {len(u)} numbers, its weight {len(matrix)} rows")
    v = F.normalize(matrix.t() @ u, dim=0, eps=eps)
    return F.normalize(matrix @ v, dim=0, eps=eps), v


def state_dict(value: Any, what: str) -> dict[str, Array]:
    """The tensors of a state dict in a file, without the prefix `module.` of DataParallel.

    Raises:
        Refused: the value is not a state dict.
    """
    if not isinstance(value, dict) or not value:
        raise Refused(f"{what} is not a state dict")
    for key, tensor in value.items():
        if type(key) is not str or not isinstance(tensor, Array):
            raise Refused(f"{what} holds something other than tensors by name")
    check_names(value, what)
    if all(key.startswith("module.") for key in value):
        return {key.removeprefix("module."): tensor for key, tensor in value.items()}
    return dict(value)


def check_names(names: Collection[str], what: str) -> None:
    """Raises Refused for more tensors or longer names than any network has, as names are copied many times."""
    if len(names) > MOST_TENSORS:
        raise Refused(f"{what} has more than {MOST_TENSORS:,} entries")
    if any(len(name) > MOST_NAME for name in names):
        raise Refused(f"{what} has a name of more than {MOST_NAME} letters")


def is_state_dict(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and bool(value)
        and all(type(key) is str and isinstance(tensor, Array) for key, tensor in value.items())
    )


def module_tensors(module: Any, what: str) -> dict[str, Array]:
    """The parameters and buffers of a pickled module (`Made`, with torch's attributes), by dotted name.

    Raises:
        Refused: it is not a network, or too large.
    """
    found: dict[str, Array] = {}
    waiting: list[tuple[str, Any, int]] = [("", module, 0)]
    for _ in range(MOST_MODULES):
        if not waiting:
            return found
        prefix, node, depth = waiting.pop()
        if not isinstance(node, Made) or depth > 16:
            raise Refused(f"{what}: {prefix or 'it'} is not a network")
        for kind in ("_parameters", "_buffers"):
            for name, value in _entries(node, kind):
                if value is not None:
                    if not isinstance(value, Array):
                        raise Refused(f"{what}.{prefix}{name} is not a tensor")
                    if len(found) >= MOST_TENSORS:
                        raise Refused(f"{what} has more than {MOST_TENSORS:,} tensors")
                    found[f"{prefix}{name}"] = value
        waiting += [
            (f"{prefix}{name}.", part, depth + 1) for name, part in _entries(node, "_modules") if part is not None
        ]
    raise Refused(f"{what} has more than {MOST_MODULES:,} modules")


def _entries(node: Made, kind: str) -> Iterable[tuple[str, Any]]:
    entries = node.state.get(kind, {})
    if not isinstance(entries, dict) or any(type(name) is not str for name in entries):
        raise Refused(f"{kind} of {node.name} is not a dictionary")
    check_names(entries, f"{kind} of {node.name}")
    return entries.items()


def count(names: Iterable[str], prefix: str) -> int:
    """The number of `prefix`0.…, `prefix`1.…: one more than the highest index, at most 64.

    Raises:
        Refused: there would be more than 64.
    """
    numbers = [name.removeprefix(prefix).split(".", 1)[0] for name in names if name.startswith(prefix)]
    highest = max((int(number) for number in numbers if number.isdecimal() and len(number) < 4), default=-1)
    if highest >= 64:
        raise Refused(f"{highest + 1} blocks")
    return highest + 1


def power_of_two(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0
