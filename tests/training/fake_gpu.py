"""Runs steps of presets on a device that is not there: `python fake_gpu.py` exits with 0 if all of it stays on it.

Tensors have a device, a shape and no numbers, and operators refuse those of two devices, as a GPU's would. It is a
process of its own, because registering a device in torch affects other tests.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from conftest import build_state
from objectives import OBJECTIVES, SMALL
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import backend_registration
from torch.utils._pytree import tree_map_only

from steadygan.training.state import TrainState
from steadygan.training.step import train_step

backend_registration._setup_privateuseone_for_python_backend("toy")
torch.toy.get_amp_supported_dtype = lambda: [torch.bfloat16]  # type: ignore[attr-defined]
DEVICE = torch.device("toy")


class Generator(torch.Generator):
    """Claims to be on the device."""

    device = DEVICE


def moved(x: Any) -> Any:
    """The tensors in x, on the device."""

    def move(tensor: Tensor) -> Tensor:
        there = torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device=DEVICE)
        return nn.Parameter(there) if isinstance(tensor, nn.Parameter) else there

    return tree_map_only(Tensor, move, x)


def move(state: TrainState) -> None:
    """Puts a run on the device; its optimisers, which have no operators there, stay as they are and do nothing."""
    for net in (*state.nets.values(), state.ema.net, *state.memories.values()):
        for module in net.modules():
            for table in (module._parameters, module._buffers):
                table.update(moved(dict(table)))
    for optimizer in state.optimizers.values():
        optimizer.step = lambda: None  # type: ignore[method-assign]
        optimizer.zero_grad = lambda set_to_none=True: None  # type: ignore[method-assign]
    if state.objective.prior.label_pool is not None:
        state.objective.prior = replace(state.objective.prior, label_pool=moved(state.objective.prior.label_pool))
    state.skipped, state.generator = moved(state.skipped), Generator()
    batch = moved(state.loader.batch())
    state.loader.batch = lambda: batch  # type: ignore[method-assign]


def main() -> None:
    for preset, more in OBJECTIVES.items():
        state = build_state(preset, *SMALL, *more, "train.winograd=false")
        with FakeTensorMode(allow_non_fake_inputs=True):
            move(state)
            values = train_step(state)
            assert {value.device.type for value in values.values()} == {"toy"}, values
        print(preset)


if __name__ == "__main__":
    main()
