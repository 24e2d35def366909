"""Memory predicted without allocating it, against an allocator's records."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from steadygan import build, config
from steadygan.config import Config
from steadygan.data.images import ImageSet, load_images
from steadygan.data.source import Source
from steadygan.errors import UserError
from steadygan.estimate import ROOM, Arithmetic, LiveBytes, estimate_cost, fit_batch
from steadygan.kernels.winograd import convolve as winograd
from steadygan.tasks.choice import task_of
from steadygan.training.step import train_step

CPU = torch.device("cpu")
SMALL = ("train.batch_size=8", "train.precision=float32", "train.phases=[D,G]")
CASES = {
    "cifar10-biggan-icr": ("model.width=8",),
    "cifar10-resnet-gp": ("model.width=8", "train.accumulate=2"),
    "celeba128-unet": ("data.size=32", "model.width=8", "train.recompute=true"),
    "cifar10-stylegan2": ("model.width=4", "model.generator.fmap_max=16", "model.critic.fmap_max=16"),
    "digits": ("model.width=8",),
}


MANY = 1 << 23
"""More images than any machine can train on at once, even by small networks."""


def case(preset: str, *overrides: str) -> tuple[Config, ImageSet]:
    cfg = build.resolve(config.load(preset, [*SMALL, *overrides]))
    size, channels = cfg.data.size, cfg.data.channels or 1
    rng = np.random.default_rng(0)
    count = max(16, cfg.train.batch_size)
    pixels = rng.integers(256, size=(count, channels, size, size), dtype=np.uint8)
    source = Source("noise", size, channels, tuple("abc"), rng.integers(3, size=count), images=pixels)
    return cfg, load_images(source, np.arange(count))


def allocated(cfg: Config, images: ImageSet) -> int:
    """The most bytes alive between the first allocation of the networks and the end of the second step."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        state = build.build_state(task_of(cfg), images, CPU)
        for _ in range(2):
            state.counts.clear()
            train_step(state)
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    return int(np.cumsum([event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]).max())


@pytest.mark.filterwarnings("ignore:.*Profiler")
@pytest.mark.parametrize("preset", CASES)
def test_the_peak_is_predicted_within_fifteen_percent(preset: str) -> None:
    cfg, images = case(preset, *CASES[preset])
    predicted, measured = estimate_cost(cfg, images, CPU), allocated(cfg, images)
    assert predicted.peak - predicted.images == pytest.approx(measured, rel=0.15)


@pytest.mark.filterwarnings("ignore:.*Profiler")
def test_the_peak_with_fewer_products_is_predicted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is another one; and so is the arithmetic."""
    monkeypatch.setattr(winograd, "LEAST_CHANNELS", 16)
    cfg, images = case("cifar10-biggan-icr", "model.width=16")
    predicted = estimate_cost(cfg, images, CPU)
    assert predicted.peak - predicted.images == pytest.approx(allocated(cfg, images), rel=0.05)
    plain = estimate_cost(case("cifar10-biggan-icr", "model.width=16", "train.winograd=false")[0], images, CPU)
    assert predicted.peak > 1.1 * plain.peak
    assert predicted.flop < 0.6 * plain.flop


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("preset", CASES)
def test_the_peak_on_a_gpu_is_predicted_within_fifteen_percent(preset: str) -> None:
    """With tensors so large that cuDNN's own memory is small in comparison."""
    cfg, images = case(preset, *CASES[preset], "model.width=32", "train.batch_size=64")
    device = torch.device("cuda")
    images = load_images(images.source, np.arange(64), device=device)
    predicted = estimate_cost(cfg, images, device)
    gc.collect()
    torch.cuda.reset_peak_memory_stats()
    state = build.build_state(task_of(cfg), images, device)
    for _ in range(2):
        state.counts.clear()
        train_step(state)
    assert predicted.peak == pytest.approx(torch.cuda.max_memory_allocated(), rel=0.15)


def test_a_run_that_no_machine_could_hold_is_predicted_all_the_same() -> None:
    """And recomputing blocks takes less."""
    cfg, images = case("cifar10-biggan-icr", "model.width=8")
    plain, recomputing = (
        estimate_cost(
            cfg.model_copy(update={"train": cfg.train.model_copy(update={"batch_size": MANY, "recompute": again})}),
            load_many(images),
            CPU,
        )
        for again in (False, True)
    )
    assert plain.peak > 2**42
    assert recomputing.peak < 0.9 * plain.peak


def load_many(images: ImageSet) -> ImageSet:
    """As many images as such a batch needs; nothing reads them."""
    many = np.zeros(MANY, np.int64)
    return ImageSet(images.source, many, pixels=images.pixels, device=CPU, skipped=[], fingerprint="", threads=1)


def test_weights_moments_and_images_are_told_apart() -> None:
    cfg, images = case("cifar10-biggan-icr", "model.width=8")
    memory = estimate_cost(cfg, images, CPU)
    state = build.build_state(task_of(cfg), images, CPU)
    train_step(state)
    assert memory.weights == sum(tensor.nbytes for tensor in state.weights().values())
    moments = [value for o in state.optimizers.values() for entry in o.state.values() for value in entry.values()]
    assert memory.optimisers == sum(tensor.nbytes for tensor in moments)
    assert memory.images == images.pixels.nbytes


def test_bytes_are_counted_while_something_holds_them() -> None:
    with LiveBytes() as live:
        a = torch.zeros(1000)
        view = a[:10]
        del a
        assert live.now == 4000
        b = torch.zeros(500)
        assert live.now == 6000
        del view, b
    assert (live.now, live.peak) == (0, 6000)


def test_arithmetic_is_that_of_the_formulas() -> None:
    """A product of (m, k) and (k, n) is 2mkn; the two gradients of a convolution cost one forward pass each."""
    x, kernel = torch.randn(2, 3, 8, 8, requires_grad=True), torch.randn(5, 3, 3, 3, requires_grad=True)
    with Arithmetic() as products:
        torch.ones(3, 4) @ torch.ones(4, 5)
    assert products.flop == 2 * 3 * 4 * 5
    with Arithmetic() as convolution:
        torch.conv2d(x, kernel, padding=1).sum().backward()
    assert convolution.flop == 3 * 2 * (2 * 5 * 8 * 8) * (3 * 3 * 3)


def test_the_predicted_arithmetic_is_that_of_a_step() -> None:
    cfg, images = case("cifar10-resnet-gp", "model.width=4")
    state = build.build_state(task_of(cfg), images, CPU)
    with Arithmetic() as counted:
        train_step(state)
    assert estimate_cost(cfg, images, CPU).flop == counted.flop


def auto_case(count: int, *overrides: str) -> tuple[Config, ImageSet]:
    cfg, images = case("digits", "model.width=4", *overrides)
    train = cfg.train.model_copy(update={"batch_size": "auto"})
    rows = np.arange(count) % len(images)
    many = ImageSet(images.source, rows, pixels=images.pixels, device=CPU, skipped=[], fingerprint="", threads=1)
    return cfg.model_copy(update={"train": train}), many


def peak(cfg: Config, images: ImageSet, size: int) -> int:
    train = cfg.train.model_copy(update={"batch_size": size})
    cost = estimate_cost(cfg.model_copy(update={"train": train}), images, CPU)
    return cost.peak - cost.images


def test_auto_is_the_largest_power_of_two_that_is_predicted_to_fit() -> None:
    cfg, images = auto_case(5000, "train.batch_size=9", "train.accumulate=3")
    free = round(peak(cfg, images, 3 * 32) / ROOM * 1.2)
    assert ROOM * free < peak(cfg, images, 3 * 64)
    task, why = fit_batch(task_of(cfg), images, CPU, free)
    assert task.config.train.batch == 96
    assert task.config == cfg.model_copy(update={"train": cfg.train.model_copy(update={"batch_size": 96})})
    assert why.startswith(f"train.batch_size=96: a step takes {peak(cfg, images, 96) / 2**20:,.0f} of the ")
    assert "twice as many would take about" in why


def test_auto_is_never_more_than_the_images() -> None:
    cfg, images = auto_case(21)
    task, why = fit_batch(task_of(cfg), images, CPU, 1 << 40)
    assert task.config.train.batch == 16
    assert why.endswith("there are 21 images")


def test_where_nothing_fits_auto_says_what_the_least_would_take() -> None:
    cfg, images = auto_case(21)
    with pytest.raises(UserError, match=r"auto: a step with 2 images takes \d+ MiB, and 0 MiB are free on cpu"):
        fit_batch(task_of(cfg), images, CPU, 1)
    cfg, images = auto_case(1)
    with pytest.raises(UserError, match="1 images are too few"):
        fit_batch(task_of(cfg), images, CPU, 1 << 40)
    with pytest.raises(UserError, match="auto is chosen by one process"):
        fit_batch(task_of(cfg), images, CPU, 1 << 40, processes=2)


def test_a_number_stays_what_it_is() -> None:
    cfg, images = case("digits", "model.width=4")
    task = task_of(cfg)
    assert fit_batch(task, images, CPU, 1) == (task, "")
