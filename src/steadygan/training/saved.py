"""Checks a checkpoint's content against the state it will restore, before any of it is used.

A file may be damaged or hostile, and fused optimisers access memory without checks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

MOMENTS = ("exp_avg", "exp_avg_sq")
COUNTS = ("step", "images", "skipped")
LARGEST = 1 << 62


def fitted(optimizer: torch.optim.Optimizer, saved: Any) -> dict[str, Any]:
    """Checks an Adam optimiser's saved state and returns it in the memory layout of its parameters.

    Raises:
        ValueError: keys, shapes or types do not match these parameters.
    """
    if not isinstance(saved, dict) or set(saved) != {"state", "param_groups"}:
        raise ValueError("the optimiser's state is not one")
    own = optimizer.state_dict()["param_groups"]
    groups = saved["param_groups"]
    if not isinstance(groups, list) or len(groups) != len(own):
        raise ValueError(f"the optimiser has {len(own)} parameter groups here")
    placed = [_group(mine, theirs) for mine, theirs in zip(own, groups, strict=True)]
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if not isinstance(saved["state"], dict):
        raise ValueError("the optimiser's state is not one")
    state = {}
    for index, moments in saved["state"].items():
        if type(index) is not int or not 0 <= index < len(parameters):
            raise ValueError(f"the optimiser has no parameter {index!r}")
        state[index] = _moments(parameters[index], moments, index)
    return {"state": state, "param_groups": placed}


def _group(mine: Mapping[str, Any], theirs: Any) -> dict[str, Any]:
    """Entries of a saved parameter group that this optimiser has; they vary between versions of torch."""
    if not isinstance(theirs, dict) or theirs.get("params") != mine["params"]:
        raise ValueError("the optimiser's parameter groups do not match these networks")
    for key, value in mine.items():
        found = theirs.get(key, value)
        if key in ("params", "lr", "capturable"):  # replaced by this run's
            continue
        if key == "betas":
            fits = isinstance(found, tuple | list) and len(found) == 2 and all(map(_number, found))
        elif isinstance(value, bool) or value is None:
            fits = found is value
        else:
            fits = _number(found)
        if not fits:
            raise ValueError(f"the optimiser's {key} is {found!r}, and {value!r} here")
    return {key: theirs.get(key, value) for key, value in mine.items()}


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _moments(parameter: Tensor, saved: Any, index: int) -> dict[str, Tensor]:
    if not isinstance(saved, dict) or saved.keys() != {"step", *MOMENTS}:
        raise ValueError(f"what Adam keeps of parameter {index} is not step, {', '.join(MOMENTS)}")
    placed = {"step": _plain(saved["step"], torch.Size(()), torch.float32, f"the step of parameter {index}")}
    if not 0 <= float(placed["step"]) < LARGEST:
        raise ValueError(f"the step of parameter {index} is {float(placed['step'])}")
    for name in MOMENTS:
        value = _plain(saved[name], parameter.shape, parameter.dtype, f"{name} of parameter {index}")
        # Fused Adam iterates over both by address: they need the same layout, whichever the file has.
        placed[name] = torch.empty_like(parameter, requires_grad=False).copy_(value)
    return placed


def _plain(value: Any, shape: torch.Size, dtype: torch.dtype, what: str) -> Tensor:
    """Checks that a value is an ordinary tensor of this shape and type."""
    if (
        type(value) not in (Tensor, nn.Parameter)
        or value.layout is not torch.strided
        or value.is_quantized
        or value.is_meta
    ):
        raise ValueError(f"{what} is not an ordinary tensor")
    if value.shape != shape or value.dtype != dtype:
        raise ValueError(f"{what} is {value.dtype} {list(value.shape)}, and must be {dtype} {list(shape)}")
    return value.detach()


def check_saved(saved: Mapping[str, Any], mine: Mapping[str, Any]) -> None:
    """Checks a state, except for its optimisers (`fitted`), against a state of the same run.

    Args:
        saved: as read from the file.
        mine: `TrainState.state_dict()` of the state to be restored.

    Raises:
        ValueError: an entry is missing, or has another kind, shape or type.
    """
    if not isinstance(saved, dict) or (missing := sorted(mine.keys() - saved.keys() - {"scales"})):
        raise ValueError(f"the training state lacks {', '.join(missing) if isinstance(saved, dict) else 'everything'}")
    for name in COUNTS:
        _check_count(saved[name], name)
    if not isinstance(saved["counts"], dict) or not saved["counts"].keys() <= {"D", "G"}:
        raise ValueError(f"counts is {saved['counts']!r}")
    for name, count in saved["counts"].items():
        _check_count(count, f"counts.{name}")
    _check_counts(saved["loader"], mine["loader"], "loader")
    for name in ("seconds", "best_score"):
        if not isinstance(saved[name], int | float) or math.isnan(saved[name]):
            raise ValueError(f"{name} is {saved[name]!r}")
    for name in ("generator", "torch_rng", "cuda_rng"):
        _check_random_state(saved[name], mine[name], name)
    scales = saved.get("scales", {})
    if not isinstance(scales, dict) or not scales.keys() <= {"D", "G"} or not all(map(_is_dict, scales.values())):
        raise ValueError(f"the loss scales are {scales!r}")
    memories = saved["memories"]
    if not isinstance(memories, dict) or memories.keys() != mine["memories"].keys():
        raise ValueError(f"the memories are those of {sorted(mine['memories'])} here")
    for name, memory in memories.items():
        if not isinstance(memory, dict):
            raise ValueError(f"the memory of {name} is {type(memory).__name__}")
        for key, value in memory.items():
            own = mine["memories"][name].get(key)
            if torch.is_tensor(own) and own.numel():
                _plain(value, own.shape, own.dtype, f"{name} {key}")
    if not isinstance(saved["optimizers"], dict) or saved["optimizers"].keys() != mine["optimizers"].keys():
        raise ValueError(f"the optimisers are those of {sorted(mine['optimizers'])} here")


def _is_dict(value: Any) -> bool:
    return isinstance(value, dict)


def _check_count(value: Any, name: str) -> None:
    if type(value) is not int or not 0 <= value < LARGEST:
        raise ValueError(f"{name} is {value!r}")


def _check_counts(saved: Any, mine: Mapping[str, Any], name: str) -> None:
    """Checks that counts have the same names and nesting."""
    if not isinstance(saved, dict) or saved.keys() != mine.keys():
        raise ValueError(f"{name} is {saved!r}")
    for key, value in mine.items():
        if isinstance(value, Mapping):
            _check_counts(saved[key], value, f"{name}.{key}")
        else:
            _check_count(saved[key], f"{name}.{key}")


def _check_random_state(saved: Any, mine: Tensor | None, name: str) -> None:
    if saved is None and name == "cuda_rng":
        return
    expected = saved.shape if mine is None and torch.is_tensor(saved) else mine.shape if mine is not None else None
    if expected is None or saved is None:
        raise ValueError(f"{name} is absent")
    _plain(saved, expected, torch.uint8, name)
