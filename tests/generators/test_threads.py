"""One thread per network: two networks in two threads make the same images as each alone."""

from __future__ import annotations

import threading

import torch
from torch import Tensor

from steadygan.generators.prior import Prior
from steadygan.generators.sampling import sample
from steadygan.kernels.winograd import convolve
from steadygan.kernels.winograd.layer import set_winograd
from steadygan.nets import attention
from steadygan.nets.attention import differentiated_once
from steadygan.nets.registry import create_generator


def test_two_generators_in_two_threads_make_the_images_of_one() -> None:
    nets = [
        create_generator(
            "biggan", size=32, channels=1, classes=0, latent=8, width=16, rng=torch.Generator().manual_seed(seed)
        ).eval()
        for seed in (0, 1)
    ]
    for net in nets:
        set_winograd(net, True)
    prior = Prior(8)
    alone = [sample(net, prior, 12, seed=3, batch_size=4) for net in nets]
    together: dict[int, Tensor] = {}
    meet = threading.Barrier(2)

    def work(i: int) -> None:
        meet.wait()
        together[i] = sample(nets[i], prior, 12, seed=3, batch_size=4)

    threads = [threading.Thread(target=work, args=(i,)) for i in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(together[i], alone[i]) for i in (0, 1))
    assert not torch.equal(alone[0], alone[1])


def test_what_training_says_of_its_passes_is_not_heard_in_other_threads() -> None:
    seen: list[tuple[bool, float]] = []
    with differentiated_once():
        thread = threading.Thread(target=lambda: seen.append((attention._once.get(), convolve.stands_for())))
        thread.start()
        thread.join()
        assert attention._once.get()
    assert seen == [(False, 1)]
    assert not attention._once.get()
