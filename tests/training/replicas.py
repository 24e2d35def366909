"""What the processes of `test_distributed.py` do: roles, each a function of strings that writes what came of it.

`runpy` runs this file in a process of its own, with `ENVIRONMENT`, `SAID`, `ROLE` and `ARGUMENTS` set.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist
from torch import Tensor, nn

from steadygan.data.loader import Loader
from steadygan.errors import LostProcess, UserError
from steadygan.generators.prior import Prior
from steadygan.nets.batch_norm import BatchNorm2d
from steadygan.nets.registry import create_critic, create_generator
from steadygan.objective.terms import Term
from steadygan.objective.views import Real
from steadygan.parallel.processes import joined
from steadygan.parallel.replicas import Replicas
from steadygan.parallel.share import Share, stream
from steadygan.training.state import TrainState
from steadygan.training.step import run_phase, train_step
from steadygan.transforms.diffaugment import DiffAugment

BATCH, STEPS = 8, 2
STYLEGAN2 = {"size": 16, "channels": 1, "classes": 3, "width": 1, "mapping_layers": 1}
AUGMENTED = DiffAugment(("color", "translation", "cutout"))


def combinations() -> Any:
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "combinations.py"
    spec = importlib.util.spec_from_file_location("combinations", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["combinations"] = module
    spec.loader.exec_module(module)
    return module


class Float64Loader(Loader):
    def next(self) -> tuple[Tensor, Tensor | None]:
        x, y = super().next()
        return x.double(), None if y is None else y % 3


def cases(tiny: Any) -> dict[str, tuple[Mapping[str, Any], dict[str, Any]]]:
    """Terms and options by what they are called: every method there is, every loss, and what looks at a whole batch."""
    found: dict[str, tuple[Mapping[str, Any], dict[str, Any]]] = {
        name: (terms, {"pre_d": AUGMENTED} if name == "diffaugment" else {}) for name, terms in tiny.METHODS.items()
    }
    found |= {loss: ({}, {"loss": loss}) for loss in ("hinge", "wasserstein", "least-squares")}
    every = {name: options for terms in tiny.METHODS.values() for name, options in terms.items() if name != "cr"}
    found["all at once"] = (every, {"pre_d": AUGMENTED})
    found["all, accumulated"] = (every, {"pre_d": AUGMENTED, "accumulate": 2})
    found["icr, accumulated"] = ({"bcr": {}, "zcr": {}}, {"accumulate": 4})
    found["bare and through"] = ({"cr": {"target": "bare"}, "r1": {"through": True}}, {"pre_d": AUGMENTED})
    found["critic of batches"] = ({"bcr": {}, "gp": {}}, {"nets": "batch norm critic"})
    found["stylegan2"] = ({"r1": {}, "path_length": {"every": 1}, "zcr": {}}, {"nets": "stylegan2"})
    found["conditional"] = ({"bcr": {}, "zcr": {}, "logan": {}}, {"nets": "conditional"})
    return found


def nets_of(kind: str, tiny: Any) -> dict[str, nn.Module]:
    torch.manual_seed(0)
    if kind == "stylegan2":
        G = create_generator("stylegan2", latent=tiny.LATENT, **STYLEGAN2)
        for name, parameter in G.named_parameters():
            if name.endswith("strength"):
                parameter.data.fill_(0.3)  # noise that is seen
        return {"G": G, "D": create_critic("stylegan2", mbstd_group=3, **STYLEGAN2)}
    if kind == "conditional":
        sizes = {"size": 32, "channels": 1, "classes": 3, "width": 1}
        return {"G": create_generator("resnet", latent=tiny.LATENT, **sizes), "D": create_critic("resnet", **sizes)}
    critic = tiny.Critic()
    critic.conv = nn.Sequential(critic.conv, BatchNorm2d(tiny.CHANNELS))
    return {"G": tiny.Generator(), "D": critic}


def state_of(tiny: Any, terms: Mapping[str, Any], options: Mapping[str, Any], share: Share) -> TrainState:
    options = dict(options)
    accumulate = options.get("accumulate", 1)
    images = tiny.images()
    if kind := options.pop("nets", None):
        options["nets"] = nets_of(kind, tiny)
        classes = getattr(options["nets"]["G"], "classes", 0)
        options["prior"] = Prior(tiny.LATENT, "uniform", torch.arange(classes) if classes else None)
        options["joint"] = kind == "conditional"
        images = tiny.load_images(tiny.open_source("digits", size=getattr(options["nets"]["G"], "size", 8)), range(32))
    state = tiny.tiny_state(terms, **options)
    loader = Float64Loader(
        images, batch_size=BATCH, seed=0, rank=share.rank, world_size=share.size, parts=accumulate, flip=True
    )
    torch.manual_seed(5)  # what networks draw from
    return replace(state, loader=loader, generator=stream(torch.device("cpu"), share).manual_seed(0))


def left(state: TrainState, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A run's complete state after some steps."""
    memories = {f"{k}.{name}": v for k, m in state.memories.items() for name, v in m.state_dict().items()}
    draws = {"generator": state.generator.get_state(), "torch": torch.get_rng_state()}
    kept = {**state.weights(), **memories, **draws, **{f"value of {name}": value for name, value in values.items()}}
    return {name: tensor.detach().clone() for name, tensor in kept.items()}


def trained(tiny: Any, name: str, share: Share) -> dict[str, Tensor]:
    terms, options = cases(tiny)[name]
    state = state_of(tiny, terms, options, share)
    for _ in range(STEPS):
        values = train_step(state)
    assert not int(state.skipped)
    return left(state, {key: share.mean(value) for key, value in values.items()})


def train_everything(out: str) -> None:
    """Role: every case, and what a phase does that is broken in one process alone."""
    torch.set_default_dtype(torch.float64)
    tiny = combinations()
    with joined() as replicas:
        replicas.connect(torch.device("cpu"), 60)
        results = {name: trained(tiny, name, replicas.share) for name in cases(tiny)}

        state = state_of(tiny, {"lecam": {"start": 0}}, {}, replicas.share)
        factor = float("nan") if replicas.rank == 1 else 0.0
        broken = Term("broken", "D", lambda b: factor * b.D(Real()).logit.mean(), score=(Real(),))
        state.objective.terms += (broken,)
        before = state.nets["D"].linear.weight.detach().clone()
        train_step(state)
        results["broken in one"] = {
            "skipped": state.skipped,
            "moved": (state.nets["D"].linear.weight - before).abs().sum().detach(),
            **left(state, {}),
        }

        state = state_of(tiny, {"bcr": {}, "zcr": {}}, {}, replicas.share)
        results["exchanges"] = {player: torch.tensor(exchanges(partial(run_phase, state, player))) for player in "DG"}
    torch.save(results, f"{out}/{replicas.rank}.pt")


def exchanges(act: Callable[[], object]) -> tuple[int, int]:
    """How often tensors are gathered, and how often added up."""
    counts = dict.fromkeys(("all_gather_into_tensor", "all_reduce"), 0)
    with ExitStack() as stack:
        for name in counts:
            plain = getattr(dist, name)

            def counted(*args: Any, name: str = name, plain: Any = plain, **options: Any) -> Any:
                counts[name] += 1
                return plain(*args, **options)

            stack.enter_context(mock.patch.object(dist, name, counted))
        act()
    return counts["all_gather_into_tensor"], counts["all_reduce"]


def wait_and_agree(out: str) -> None:
    """Role: messages between the processes of a run."""
    said: dict[str, Any] = {}
    with joined() as replicas:
        rank = replicas.rank
        replicas.connect(torch.device("cpu"), 3)
        said["any"] = [replicas.any(rank == 1), replicas.any(False)]
        said["mean"] = replicas.mean({"a": torch.tensor(float(rank)), "b": torch.tensor(3.0)})

        beats, tell = threading.Semaphore(0), replicas._broadcast
        replicas._broadcast = lambda message: (beats.release(), tell(message))[1]  # type: ignore[method-assign]
        # As many signs of life as take longer than the time after which a silent process is lost.
        said["lead"] = replicas.lead(lambda: [beats.acquire(timeout=60) for _ in range(5)] and "done")
        replicas.helper = lambda num, labels, seed, index: (index + seed)[:, None, None, None].to(torch.uint8)
        said["fakes"] = replicas.lead(lambda: replicas.fakes(5, None, 10, slice(0, 5)).flatten().tolist())
        said["copied"] = torch.full((2,), float(rank))
        replicas.copy_first([said["copied"]])

        def fail() -> None:
            raise UserError("the disk is full")

        for name, act in {
            "failed": lambda: replicas.lead(fail),
            "differs": lambda: replicas.agree({"version": "1", "checkpoint": f"step-{rank}"}),
            "together": lambda: in_block(replicas, "no such file" if rank == 1 else None),
            "all": lambda: in_block(replicas, "unknown preset"),
        }.items():
            try:
                act()
            except UserError as error:
                said[name] = (type(error).__name__, str(error))

        if rank == 1:  # falls silent, until the other ends
            with suppress(RuntimeError):
                dist.recv(torch.zeros(1), src=0)
        else:
            try:
                replicas.any(False)
            except LostProcess as error:
                said["silent"] = str(error)
    torch.save(said, f"{out}/{rank}.pt")


def in_block(replicas: Replicas, message: str | None) -> None:
    with replicas.together():
        if message is not None:
            raise UserError(message)


def command_line(*arguments: str) -> None:
    """Role: `steadygan …` with a small score; its output goes to a file."""
    from steadygan.cli import main
    from steadygan.metrics.protocol import PROTOCOLS, Protocol

    PROTOCOLS["digits"] = Protocol("digits", extractor="digits", num_fake=41)
    sys.argv = ["steadygan", *arguments]
    main()


ROLES = {role.__name__: role for role in (train_everything, wait_and_agree, command_line)}


if __name__ == "__main__":
    given = globals()
    os.environ.update(given["ENVIRONMENT"])
    torch.set_num_threads(1)
    with open(given["SAID"], "w", buffering=1) as file:
        sys.stdout = sys.stderr = file
        ROLES[given["ROLE"]](*given["ARGUMENTS"])
