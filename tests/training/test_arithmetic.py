"""A step's cost in machine-independent counts: network calls, arithmetic, operators; and the effect of rounding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from training.objectives import NARROW

from steadygan.estimate import Arithmetic
from steadygan.kernels.winograd import convolve as winograd
from steadygan.nets import attention
from steadygan.objective.bundle import Bundle
from steadygan.training.state import TrainState
from steadygan.training.step import run_phase, train_step

BATCH = 4
StateOf = Callable[..., TrainState]


def flop(state: TrainState) -> int:
    with Arithmetic() as counted:
        train_step(state)
    return counted.flop


FACTS = (
    ("digits-icr", (), 543, 38.4),
    ("cifar10-biggan-icr", (), 937, 194.9),
    ("cifar10-biggan-icr", ("train.recompute=true",), 1027, 249.8),
    ("cifar10-biggan-icr", ("train.phases=[D,D,D,D,G]",), 2179, 541.2),
    ("cifar10-sngan", ("train.g_batch_size=null",), 613, 59.4),
    ("cifar10-logan", (), 2444, 217.3),
    ("celeba128-unet", ("data.size=32",), 1177, 70.6),
    ("cifar10-stylegan2", NARROW, 1786, 758.2),
    ("cifar10-stylegan2", (*NARROW, "objective.terms.r1.every=16"), 1407, 549.2),  # a step without R1
)


class Operators(TorchDispatchMode):
    """Counts operators that are no views: each is a kernel launch or more on a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("preset", "critic", "generator"),
    [
        ("cifar10-biggan-icr", 1, 1),
        ("cifar10-biggan", 1, 1),
        ("cifar10-resnet-gp", 2, 1),
        ("cifar10-logan", 2, 2),
        ("celeba128-unet", 1, 1),
    ],
)
def test_a_phase_of_the_critic_calls_each_network_as_seldom_as_its_terms_allow(
    preset: str, critic: int, generator: int, state_of: StateOf
) -> None:
    """Once each; one more for a gradient that is differentiated again."""
    state = state_of(preset, "model.width=2")
    calls: Counter[str] = Counter()
    for name, net in state.nets.items():
        net.register_forward_hook(lambda *_, name=name: calls.update([name]))
    run_phase(state, "D")
    assert calls == {"D": critic, "G": generator}


def test_folding_saves_the_arithmetic_it_should(state_of: StateOf) -> None:
    """Of StudioGAN's BigGAN-ICR step a third."""
    preset = ("cifar10-biggan-icr", "model.width=16", "train.phases=[D,G]", "train.winograd=false")
    folded, plain = (flop(state_of(*preset, f"train.fold={fold}")) for fold in ("true", "false"))
    assert folded < 0.70 * plain


def test_winograd_saves_the_arithmetic_it_should(state_of: StateOf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all convolutions are wide enough, less than half of the folded step's."""
    monkeypatch.setattr(winograd, "LEAST_CHANNELS", 8)
    monkeypatch.setattr(winograd, "LEAST_PIXELS", 1)
    monkeypatch.setattr("steadygan.machine.has_bfloat16", lambda device: True)
    preset = ("cifar10-biggan-icr", "model.width=16", "train.phases=[D,G]")
    plain = flop(state_of(*preset, "train.winograd=false"))
    for precision in ("float32", "bfloat16"):
        assert flop(state_of(*preset, f"train.precision={precision}")) < 0.5 * plain


def test_one_joint_critic_call_costs_what_its_images_cost(state_of: StateOf) -> None:
    """D's phase of ICR scores five batches where hinge alone scores two, and makes two where hinge makes one."""
    hinge, icr = (
        state_of(preset, "model.width=8", "train.phases=[D,G]") for preset in ("cifar10-biggan", "cifar10-biggan-icr")
    )
    for state in (hinge, icr):
        state.objective.phases = ("D",)
    made = flop_of_generator(hinge)
    assert flop(icr) - 2 * made == pytest.approx(2.5 * (flop(hinge) - made), rel=0.02)


def flop_of_generator(state: TrainState) -> int:
    z, y = state.objective.prior.latents(BATCH, state.generator), state.objective.prior.labels(BATCH, state.generator)
    with Arithmetic() as counted, torch.no_grad():
        state.nets["G"](z, y)
    return counted.flop


@pytest.mark.parametrize(("preset", "more", "operators", "mflop"), FACTS)
def test_a_step_costs_no_more_than_it_did(
    preset: str, more: tuple[str, ...], operators: int, mflop: float, state_of: StateOf
) -> None:
    """At most what was counted when this was written, and a twentieth; raise it only for a reason."""
    state = state_of(preset, "model.width=2", "train.phases=[D,G]", *more)
    train_step(state)
    with Operators() as launched, Arithmetic() as counted:
        train_step(state)
    assert launched.count < 1.05 * operators
    assert counted.flop == pytest.approx(1e6 * mflop, rel=0.01)


def test_recomputing_costs_less_than_one_more_forward_pass(state_of: StateOf) -> None:
    preset = ("cifar10-biggan-icr", "model.width=8", "train.phases=[D,G]")
    plain, recomputing = (flop(state_of(*preset, f"train.recompute={again}")) for again in ("false", "true"))
    assert 1.1 * plain < recomputing < 4 / 3 * plain


def test_rounding_keeps_the_gradient_close_and_penalties_exact(
    state_of: StateOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    preset = ("cifar10-biggan-icr", "model.width=8", "objective.terms.gp={}", "train.phases=[D,G]")
    exact, rounded = state_of(*preset), state_of(*preset)
    rounded.execution.autocast = torch.bfloat16
    seen: dict[str, list[torch.dtype]] = {"images": [], "logits": [], "gradients": []}
    inside: list[tuple[bool, bool, torch.dtype]] = []
    convolution = rounded.nets["D"].blocks[0].conv2  # type: ignore[union-attr]
    convolution.register_forward_hook(  # type: ignore[union-attr]
        lambda module, inputs, output: inside.append(
            (torch.is_autocast_enabled("cpu"), attention._once.get(), output.dtype)
        )
    )
    prepare = Bundle.prepare

    def watch(self: Bundle, terms: Any) -> None:
        prepare(self, terms)
        seen["images"] += [value.dtype for value in self._values.values()]
        seen["logits"] += [score.logit.dtype for score in self._scores.values()]
        seen["gradients"] += [value.dtype for value in self._gradients.values()]

    monkeypatch.setattr(Bundle, "prepare", watch)
    run_phase(rounded, "D")
    run_phase(exact, "D")
    assert all(set(kinds) == {torch.float32} for kinds in seen.values())
    # The joint pass, then the penalty's own, which is differentiated again.
    assert inside == [(True, True, torch.bfloat16), (False, False, torch.float32)]

    def gradient(net: nn.Module) -> Tensor:
        return torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])

    ours, theirs = gradient(rounded.nets["D"]), gradient(exact.nets["D"])
    assert 0 < (ours - theirs).norm() < 0.1 * theirs.norm()


def test_a_player_that_stands_still_runs_without_derivatives_where_none_pass_through_it(state_of: StateOf) -> None:
    """Said by the grad mode, which every compiler looks at; torch 2.11's does not at what parameters require."""
    state = state_of("cifar10-biggan-icr", "model.width=2", "train.phases=[D,G]")
    modes: list[tuple[str, bool]] = []
    for name, net in state.nets.items():
        net.register_forward_pre_hook(lambda *_, name=name: modes.append((name, torch.is_grad_enabled())))
    for player in "DG":
        run_phase(state, player)
    assert modes == [("G", False), ("D", True), ("G", True), ("D", True)]


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # of torch while it traces
def test_compiled_networks_train_alike_and_penalties_stay_eager(
    state_of: StateOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same losses to rounding, through tracing and a compiler's functional graph; a gradient penalty is eager."""
    preset = ("cifar10-biggan-icr", "model.width=2", "objective.terms.gp={}", "train.phases=[D,G]")
    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda net: compile_(net, backend="aot_eager"))
    eager, compiled = state_of(*preset), state_of(*preset, "train.compile=true")
    assert set(compiled.execution.compiled) == {"D", "G"}
    assert not eager.execution.compiled
    for _ in range(2):
        ours, theirs = train_step(compiled), train_step(eager)
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
