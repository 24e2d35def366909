"""Several processes are the same experiment as one, and behave as one.

Two processes train every objective in one launch (`replicas.py`), in float64, on the same global batches; all that is
left after two steps is compared with what one process leaves.
"""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import os
import runpy
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import tiny_run
from safetensors.torch import load_file
from torch import Tensor

import steadygan
from steadygan.data.loader import Loader
from steadygan.errors import UserError
from steadygan.parallel import share
from steadygan.parallel.replicas import Replicas
from steadygan.parallel.share import WHOLE, Share
from steadygan.runs.checkpoint import checkpoints, read_manifest
from steadygan.training.loop import interruptible

SCRIPT = Path(__file__).with_name("replicas.py")


def load_script() -> Any:
    spec = importlib.util.spec_from_file_location("replicas", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


replicas = load_script()
tiny = replicas.combinations()

# Each process is forked from one that has imported torch and done nothing else, which saves importing it again.
FRESH = multiprocessing.get_context("forkserver")
FRESH.set_forkserver_preload(["torch._dynamo", "steadygan.run"])


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@contextmanager
def processes(folder: Path, role: str, *arguments: str, size: int = 2, mine: tuple[str, ...] = ()) -> Iterator[Any]:
    """`size` processes that torchrun might have started; process 1 has the arguments `mine` too. Ended with the block.

    What each says is in `folder`/said-RANK.
    """
    shared = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    started = []
    try:
        for rank in range(size):
            order = {
                "ENVIRONMENT": shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
                "SAID": str(folder / f"said-{rank}"),
                "ROLE": role,
                "ARGUMENTS": (*arguments, *(mine if rank == 1 else ())),
            }
            process = FRESH.Process(target=runpy.run_path, args=(str(SCRIPT), order, "__main__"))
            process.start()
            started.append(process)
        yield started
    finally:
        for process in started:
            process.kill()
            process.join()


def finish(started: Any) -> list[int]:
    for process in started:
        process.join(120)
    return [process.exitcode for process in started]


def said(folder: Path) -> list[str]:
    return [(folder / f"said-{rank}").read_text() for rank in range(2)]


def wait_for(started: Any, pattern: Path, count: int) -> None:
    """Until `count` files match `pattern`, while the processes live."""
    limit = time.monotonic() + 120
    while len(list(pattern.parent.glob(pattern.name))) < count:
        started[0].join(0.05)
        assert [process.exitcode for process in started] == [None] * len(started)
        assert time.monotonic() < limit


CASES = tuple(replicas.cases(tiny))


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[str, Tensor]]]:
    """The result of every case in each of two processes."""
    folder = tmp_path_factory.mktemp("two")
    with processes(folder, "train_everything", str(folder)) as started:
        assert finish(started) == [0, 0], said(folder)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.usefixtures("float64")
def test_two_processes_are_the_same_experiment_as_one(name: str, two: Any) -> None:
    alone = replicas.trained(tiny, name, WHOLE)
    first, second = (results[name] for results in two)
    assert alone.keys() == first.keys()
    for key, value in alone.items():
        torch.testing.assert_close(first[key], value, rtol=1e-7, atol=1e-9, msg=lambda text, key=key: f"{key}: {text}")
        assert torch.equal(first[key], second[key]), key


def test_a_phase_that_is_broken_in_one_process_is_skipped_by_both(two: Any) -> None:
    first, second = (results["broken in one"] for results in two)
    assert first["skipped"] == second["skipped"] == 1
    assert not first["moved"]
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_phase_exchanges_statistics_once_for_all_views_and_gradients_once(two: Any) -> None:
    """G has one batch norm; in its own phase the gradient of what was gathered goes back as well."""
    assert {player: counts.tolist() for player, counts in two[0]["exchanges"].items()} == {"D": [1, 1], "G": [1, 2]}


def test_processes_agree_wait_and_end_together(tmp_path: Path) -> None:
    with processes(tmp_path, "wait_and_agree", str(tmp_path)) as started:
        assert finish(started) == [0, 0], said(tmp_path)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=False) for rank in range(2))
    for each in (first, second):
        assert each["any"] == [True, False]
        assert each["mean"] == {"a": 0.5, "b": 3.0}
        assert each["lead"] == "done"
        assert each["fakes"] == [10, 11, 12, 13, 14]
        assert each["copied"].tolist() == [0.0, 0.0]
    assert (first["failed"], second["failed"]) == (
        ("UserError", "the disk is full"),
        ("SaidElsewhere", "the disk is full"),
    )
    assert "another process of this run ended or no longer answers" in first["silent"]
    assert first["differs"][0] == "SaidElsewhere"
    assert "the checkpoint of this process is step-1, that of process 0 is step-0" in second["differs"][1]
    assert first["together"] == ("SaidElsewhere", "no such file")
    assert second["together"][1].startswith("process 1 on ")
    assert (first["all"], second["all"]) == (("UserError", "unknown preset"), ("SaidElsewhere", "unknown preset"))


TINY = tiny_run(
    "data.max_images=28",
    "train.accumulate=2",
    "train.log_every=1",
    "train.sample_every=3",
    "train.precision=float32",
    # Where a gradient is zero but for rounding, Adam would make whole steps of what is rounded otherwise.
    "optim.g.eps=1e-3",
    "optim.d.eps=1e-3",
)


def test_a_run_goes_on_with_two_processes_then_one_then_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from steadygan.metrics.protocol import PROTOCOLS, Protocol

    monkeypatch.setitem(PROTOCOLS, "digits", Protocol("digits", extractor="digits", num_fake=41))
    whole, path = tmp_path / "whole", tmp_path / "run"
    steadygan.train("digits", [*TINY, "train.steps=6"], out=whole)
    with processes(tmp_path, "command_line", "train", "digits", "--out", str(path), *TINY, "train.steps=2") as started:
        assert finish(started) == [0, 0], said(tmp_path)
    assert "over 2 processes" in said(tmp_path)[0]
    assert said(tmp_path)[1] == ""
    assert json.loads((path / "provenance.json").read_text())["processes"] == 2
    steadygan.train(path, ["train.steps=4"], resume=True)
    with processes(tmp_path, "command_line", "train", str(path), "--resume", "train.steps=6") as started:
        assert finish(started) == [0, 0], said(tmp_path)

    a, b = (load_file(run / "checkpoints/step-00000006/weights.safetensors") for run in (whole, path))
    assert a.keys() == b.keys()
    for key, value in a.items():
        torch.testing.assert_close(b[key], value, rtol=1e-3, atol=1e-5, msg=lambda text, key=key: f"{key}: {text}")
    rows = [[json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()] for run in (whole, path)]
    assert [row["step"] for row in rows[1]] == list(range(1, 7))
    for one, other in zip(*rows, strict=True):
        timed = {"seconds", "images_per_s"}
        assert {k: v for k, v in other.items() if k not in timed} == pytest.approx(
            {k: v for k, v in one.items() if k not in timed}, rel=1e-3, abs=1e-5
        )
    # Scores of the fakes that each process made a part of: those of all fakes made by one.
    scores = [[json.loads(line) for line in (run / "scores.jsonl").read_text().splitlines()] for run in (whole, path)]
    assert [row["step"] for row in scores[1]] == [2, 4, 6]
    assert scores[1][-1]["FD-digits"] == pytest.approx(scores[0][-1]["FD-digits"], rel=1e-3)


@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_process_ends_the_other_with_a_message_and_the_run_goes_on(tmp_path: Path, lost: int) -> None:
    path = tmp_path / "run"
    options = [
        *TINY,
        "data.channels=3",
        "train.steps=1000000",
        "train.checkpoint_every=2",
        "train.collective_timeout=30",
    ]
    with processes(tmp_path, "command_line", "train", "digits", "--out", str(path), *options) as started:
        wait_for(started, path / "checkpoints/step-*", 2)
        os.kill(started[lost].pid, signal.SIGKILL)
        codes = finish(started)
    assert codes[lost] == -signal.SIGKILL
    assert codes[1 - lost] == 2
    message = said(tmp_path)[1 - lost]
    assert "another process of this run ended or no longer answers" in message
    newest = checkpoints(path / "checkpoints")[-1]
    assert f"train {path} --resume`, from {newest.name}" in message
    step = read_manifest(newest)["step"]
    assert steadygan.train(path, [f"train.steps={step + 1}"], resume=True).finished


def test_a_signal_to_one_process_stops_all_at_the_same_step_with_a_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "run"
    options = [*TINY, "data.channels=3", "train.steps=1000000", "train.checkpoint_every=1000000"]
    with processes(tmp_path, "command_line", "train", "digits", "--out", str(path), *options) as started:
        wait_for(started, path / "metrics.jsonl", 1)
        os.kill(started[1].pid, signal.SIGTERM)
        os.kill(started[1].pid, signal.SIGTERM)  # as a scheduler and a launcher both do
        assert finish(started) == [130, 130], said(tmp_path)
    (checkpoint,) = checkpoints(path / "checkpoints")
    last = json.loads((path / "metrics.jsonl").read_text().splitlines()[-1])
    assert read_manifest(checkpoint)["step"] == last["step"]
    assert ["stopped; resume with" in text for text in said(tmp_path)] == [True, False]


def test_a_command_that_torchrun_starts_anew_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from steadygan.cli.training import train

    options = [*TINY, "data.channels=3", "train.steps=1"]
    train("digits", options, out=tmp_path / "run")
    with pytest.raises(UserError, match="already holds a run"):
        train("digits", options, out=tmp_path / "run")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    train("digits", [*options, "train.steps=2"], out=tmp_path / "run")
    assert [path.name for path in checkpoints(tmp_path / "run/checkpoints")] == ["step-00000001", "step-00000002"]


def test_a_bad_command_is_told_once(tmp_path: Path) -> None:
    with processes(tmp_path, "command_line", "train", "digits", "train.stepz=1") as started:
        assert finish(started) == [2, 2]
    first, second = said(tmp_path)
    assert first.count("error:") == 1
    assert "unknown key train.stepz" in first
    assert second == ""


def test_what_only_one_machine_lacks_is_told_by_its_process(tmp_path: Path) -> None:
    arguments = ["train", "digits", "--out", str(tmp_path / "run"), *TINY, "train.steps=1"]
    missing = (f"data.path={tmp_path / 'nothing.zip'}",)
    with processes(tmp_path, "command_line", *arguments, mine=missing) as started:
        assert finish(started) == [2, 2]
    first, second = said(tmp_path)
    assert first == ""
    assert "process 1 on " in second
    assert "nothing.zip" in second
    assert not (tmp_path / "run").exists()


def test_a_batch_that_does_not_divide_is_refused(tmp_path: Path) -> None:
    options = [*TINY, "train.batch_size=6", "train.steps=1"]
    with processes(tmp_path, "command_line", "train", "digits", "--out", str(tmp_path / "run"), *options) as started:
        assert finish(started) == [2, 2]
    assert "train.batch_size 6 is not divisible by the 2 processes times train.accumulate 2" in said(tmp_path)[0]


@pytest.mark.parametrize("dim", [0, 1])
def test_the_rows_of_all_shares_are_the_draw_of_the_whole(dim: int) -> None:
    shape, full = [4, 3], [4, 3]
    full[dim] *= 3
    parts = [
        Share(rank, 3).rows(torch.rand, shape, dim=dim, generator=torch.Generator().manual_seed(1)) for rank in range(3)
    ]
    assert torch.equal(torch.cat(parts, dim), torch.rand(full, generator=torch.Generator().manual_seed(1)))


def test_a_share_of_several_views_has_its_rows_of_each() -> None:
    parts = [Share(rank, 2).rows(numbered, (6, 1), views=3).flatten().tolist() for rank in range(2)]
    assert parts == [[0, 1, 4, 5, 8, 9], [2, 3, 6, 7, 10, 11]]


def numbered(shape: tuple[int, ...]) -> Tensor:
    return torch.arange(shape[0])[:, None]


def test_micro_batches_of_all_ranks_are_those_of_one() -> None:
    images = tiny.images()
    whole = Loader(images, batch_size=12, seed=4, flip=True)
    ranks = [Loader(images, batch_size=12, seed=4, flip=True, rank=r, world_size=3, parts=2) for r in range(3)]
    for _ in range(4):  # past the end of an epoch of 32
        x, y = whole.next()
        assert y is not None
        shares = [loader.next() for loader in ranks]
        for part, (images_of_part, labels_of_part) in enumerate(zip(x.chunk(2), y.chunk(2), strict=True)):
            assert torch.equal(torch.cat([share[0].chunk(2)[part] for share in shares]), images_of_part)
            assert torch.equal(torch.cat([share[1].chunk(2)[part] for share in shares]), labels_of_part)


def test_only_the_first_signal_counts_where_several_are_sent() -> None:
    with interruptible(once=True) as flag:
        for _ in range(3):
            signal.raise_signal(signal.SIGTERM)
        assert flag


def test_gradients_travel_in_buckets_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(share, "BUCKET", 10)
    tensors = [torch.zeros(n) for n in (4, 5, 2, 30, 1)] + [torch.zeros(3, dtype=torch.float64)]
    assert [[len(tensor) for tensor in bucket] for bucket in share._buckets(tensors)] == [[4, 5], [2], [30], [1], [3]]


def test_alone_nothing_is_exchanged() -> None:
    replicas = Replicas()
    assert replicas.first
    assert replicas.share is WHOLE
    assert replicas.device_name("cuda:3") == "cuda:3"
    assert replicas.lead(lambda: 3) == 3
    assert replicas.any(True)
    with pytest.raises(UserError, match="as it is"), replicas.together():
        raise UserError("as it is")


def test_a_device_by_number_is_refused_for_several_processes() -> None:
    with pytest.raises(UserError, match="is one device for 2 processes"):
        Replicas(1, 2).device_name("cuda:1")


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two NVIDIA GPUs and NCCL")
def test_two_gpus_are_the_same_experiment_as_one(tmp_path: Path) -> None:
    options = [*(option for option in TINY if "device" not in option), "data.channels=3", "train.steps=4"]
    options += ["train.tf32=false", "model.width=8", "objective.terms.gp={}", "objective.terms.lecam={start: 0}"]
    steadygan.train("digits", [*options, "train.device=cuda"], out=tmp_path / "one")
    arguments = ["train", "digits", "--out", str(tmp_path / "two"), *options, "train.device=cuda"]
    with processes(tmp_path, "command_line", *arguments) as started:
        assert finish(started) == [0, 0], said(tmp_path)
    a, b = (load_file(tmp_path / run / "checkpoints/step-00000004/weights.safetensors") for run in ("one", "two"))
    for key, value in a.items():
        torch.testing.assert_close(b[key], value, rtol=1e-2, atol=1e-4, msg=lambda text, key=key: f"{key}: {text}")
