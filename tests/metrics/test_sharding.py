"""One process and several take the same scores."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing
from torch import Tensor

from steadygan.data.digits import digits
from steadygan.metrics import sharding
from steadygan.metrics.evaluation import score
from steadygan.metrics.protocol import Protocol
from steadygan.metrics.sharding import Shard, interleave, processes

PROTOCOL = Protocol("digits", "digits", 150, scores=("fd", "kd", "prdc", "classes"), labels="random")


def generate(number: int, labels: Tensor | None, seed: int, part: slice) -> Tensor:
    """Noise on reals; all of it drawn from the seed before the part is taken, as a generator's latents are."""
    images = torch.from_numpy(digits()[0][:number]).int()
    noise = torch.randint(-60, 60, images.shape, generator=torch.Generator().manual_seed(seed))
    return (images + noise).clamp(0, 255).to(torch.uint8)[part]


def scored(cache: Path, shard: Shard) -> dict[str, Any]:
    images, labels = (torch.from_numpy(array[:400]) for array in digits())
    return score(generate, images, labels, PROTOCOL, classes=10, fingerprint="f00d", cache_dir=cache, shard=shard)


def work(rank: int, port: int, folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharding, "CHUNK", 32)
        for name, value in {"RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}.items():
            patch.setenv(name, str(value))
        torch.set_num_threads(1)
        with processes() as shard:
            record = scored(folder / "cache", shard)
        (folder / f"{rank}.json").write_text(json.dumps(record))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_two_processes_take_the_scores_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharding, "CHUNK", 32)
    alone = scored(tmp_path / "alone", Shard())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.start_processes(work, (port, tmp_path), nprocs=2, start_method="fork")
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert first == second
    assert first.pop("protocol") == alone.pop("protocol")
    assert first == pytest.approx(alone, rel=1e-9)
    assert len(list((tmp_path / "cache").iterdir())) == 1


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_shards_cover_every_image_once_by_the_same_chunks(monkeypatch: pytest.MonkeyPatch, world: int) -> None:
    monkeypatch.setattr(sharding, "CHUNK", 16)
    images = torch.arange(75)
    ranks = [[images[part] for part in Shard(rank, world).parts(len(images))] for rank in range(world)]
    assert torch.equal(interleave(ranks), images)
    chunks = sorted(tuple(chunk.tolist()) for chunks in ranks for chunk in chunks)
    assert chunks == sorted(tuple(chunk.tolist()) for chunk in images.split(16))


def test_without_torchrun_there_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with processes() as shard:
        assert shard == Shard(0, 1)
        assert shard.exchange("x") == ["x"]
