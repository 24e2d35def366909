"""The images that a run is scored against, and scores of two sets without a run."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import tiny_run
from PIL import Image
from torch import Tensor

import steadygan
from steadygan.data.digits import digits
from steadygan.errors import UserError
from steadygan.metrics.protocol import PROTOCOLS, Protocol
from steadygan.pretrained.squeezenet import SqueezeNet
from steadygan.runs.checkpoint import read_weights

TINY = tiny_run("data.size=32", "data.heldout=0.02", "train.steps=2")
SMALL = Protocol("small", "digits", 20, labels="random")


@pytest.fixture(autouse=True)
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEADYGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(PROTOCOLS, "digits", SMALL)
    for name in ("heldout", "all", "test"):
        monkeypatch.setitem(PROTOCOLS, f"small-{name}", replace(SMALL, name=f"small-{name}", split=name))
    monkeypatch.setitem(PROTOCOLS, "small-batch", replace(SMALL, name="small-batch", batch_norm="batch"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEADYGAN_CACHE", str(root / "cache"))
        patch.setitem(PROTOCOLS, "digits", SMALL)
        return steadygan.train("digits", TINY, out=root / "digits").path


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained, tmp_path / "run")


def folder(path: Path, images: Tensor | np.ndarray) -> Path:
    path.mkdir()
    for i, image in enumerate(np.asarray(images)):
        Image.fromarray(image[0]).save(path / f"{i:03d}.png")
    return path


def test_each_split_is_other_reals(run: Path, tmp_path: Path) -> None:
    test = folder(tmp_path / "test", digits()[0][:40])
    counts = {}
    for split, reals in (("heldout", None), ("all", None), ("test", test)):
        record = steadygan.evaluate(run, protocol=f"small-{split}", reals=reals)
        counts[record["protocol"]["split"]] = record["protocol"]["num_real"]
    assert counts == {"heldout": 36, "all": 1797, "test": 40}


def test_a_test_protocol_without_its_images_is_refused_in_evaluation_and_before_training(
    run: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"'small-test' scores against a test set.*--reals PATH.*eval\.reals"):
        steadygan.evaluate(run, protocol="small-test")
    with pytest.raises(UserError, match=r"eval\.reals"):
        steadygan.train("digits", [*TINY, "eval.protocol=small-test"], out=tmp_path / "new")
    assert not (tmp_path / "new").exists()
    test = folder(tmp_path / "test", digits()[0][:40])
    new = steadygan.train("digits", [*TINY, "eval.protocol=small-test", f"eval.reals={test}"], out=tmp_path / "new")
    assert new.scores["protocol"]["num_real"] == 40
    assert steadygan.evaluate(new.path)["protocol"] == new.scores["protocol"]


def test_absent_weights_stop_a_run_before_its_first_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STEADYGAN_SQUEEZENET_WEIGHTS", raising=False)
    with pytest.raises(UserError, match="STEADYGAN_SQUEEZENET_WEIGHTS"):
        steadygan.train("digits", [*TINY, "eval.protocol=squeezenet"], out=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_batch_statistics_are_used_recorded_and_leave_nothing_behind(run: Path) -> None:
    before = read_weights(next((run / "checkpoints").glob("step-*")))
    stored = steadygan.evaluate(run)
    by_batch = steadygan.evaluate(run, protocol="small-batch")
    assert stored["protocol"]["batch_norm"] == "standing"
    assert by_batch["protocol"]["batch_norm"] == "batch"
    assert by_batch["FD-digits"] != pytest.approx(stored["FD-digits"], rel=1e-3)
    after = read_weights(next((run / "checkpoints").glob("step-*")))
    assert all(torch.equal(after[name], before[name]) for name in before)
    generator = steadygan.load(run)
    first = generator.sample(6)
    with generator.batch_statistics():
        assert not torch.equal(generator.sample(6), first)
    assert torch.equal(generator.sample(6), first)


def test_parts_of_a_sample_are_the_sample(run: Path) -> None:
    generator = steadygan.load(run)
    whole = generator.sample(10, seed=3, truncation=0.7)
    parts = [generator.sample(10, seed=3, truncation=0.7, part=slice(i, i + 4)) for i in (0, 4, 8)]
    assert [len(part) for part in parts] == [4, 4, 2]
    assert (torch.cat(parts).int() - whole.int()).abs().max() <= 1


def test_a_record_holds_all_that_makes_a_score(run: Path) -> None:
    record = json.loads(json.dumps(steadygan.evaluate(run, truncation=0.8)))
    assert {"schema": 1, **record} == json.loads((run / "scores.jsonl").read_text().splitlines()[-1])
    protocol = record["protocol"]
    keys = {"extractor", "extractor_sha256", "extractor_resize", "resize", "rounding", "num_real", "split"}
    keys |= {"reals_sha256", "num_fake", "labels", "weights", "batch_norm", "seed", "scores"}
    assert keys <= protocol.keys()
    assert (protocol["truncation"], protocol["num_fake"], protocol["weights"]) == (0.8, 20, "ema")


@pytest.mark.parametrize(
    ("name", "fakes", "reals", "split", "splits"),
    [
        ("compare_gan-cifar10", 10_000, 10_000, "test", 1),
        ("biggan-pytorch", 50_000, None, "train", 10),
        ("diffaugment-cifar", 10_000, 10_000, "test", 10),
        ("diffaugment-lowshot", 5_000, None, "train", None),
        ("fid50k_full", 50_000, None, "all", None),
        ("studiogan", 50_000, None, "train", 1),
    ],
)
def test_named_protocols_are_the_papers(
    name: str, fakes: int, reals: int | None, split: str, splits: int | None
) -> None:
    protocol = PROTOCOLS[name]
    assert (protocol.num_fake, protocol.num_real, protocol.split) == (fakes, reals, split)
    assert protocol.extractor.startswith("inception")
    assert (protocol.is_splits if "is" in protocol.scores else None) == splits
    assert protocol.labels == "random"


def test_images_against_themselves_score_zero_and_order_and_format_do_not_matter(tmp_path: Path) -> None:
    images = digits()[0][:60]
    a, b = folder(tmp_path / "a", images), folder(tmp_path / "b", images[::-1])
    packed = Path(shutil.make_archive(str(tmp_path / "b"), "zip", b))
    record = steadygan.evaluate_images(a, packed, features="digits")
    assert record["FD-digits"] == pytest.approx(0, abs=1e-8)
    assert (record["precision"], record["recall"], record["coverage"]) == (1, 1, 1)
    assert "IS-digits" not in record
    protocol = record["protocol"]
    assert (protocol["num_fake"], protocol["num_real"], protocol["size"]) == (60, 60, 32)
    assert len(protocol["fakes_sha256"]) == 64 == len(protocol["reals_sha256"])
    worse = steadygan.evaluate_images(folder(tmp_path / "c", 255 - images), packed, features="digits")
    assert worse["FD-digits"] > 1
    assert worse["precision"] < 0.5


def test_the_inception_score_of_another_network_is_not_called_is(tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(SqueezeNet().state_dict(), tmp_path / "squeezenet.pth")
    a, b = folder(tmp_path / "a", digits()[0][:10]), folder(tmp_path / "b", digits()[0][10:20])
    weights = {"squeezenet": tmp_path / "squeezenet.pth"}
    record = steadygan.evaluate_images(a, b, features="squeezenet", extractor_weights=weights)
    names = {"FD-squeezenet", "KD-squeezenet", "KD-squeezenet_std", "IS-squeezenet", "IS-squeezenet_std"}
    assert record.keys() == names | {"precision", "recall", "density", "coverage", "protocol"}
    assert record["protocol"]["kd_subset_size"] == 10, "as few as there are, and it is on record"


def test_images_of_several_sizes_are_compared_only_at_a_size_that_was_chosen(tmp_path: Path) -> None:
    images = digits()[0][:12]
    a, b = folder(tmp_path / "a", images), folder(tmp_path / "b", images[:, :, :30, :30].copy())
    with pytest.raises(UserError, match=r"not squares of one size \(32×32 in .*a, 30×30 in .*b\).*--size"):
        steadygan.evaluate_images(a, b, features="digits")
    wide = folder(tmp_path / "wide", images[:, :, :16].repeat(2, axis=3))  # 64×16: the area of 32×32
    with pytest.raises(UserError, match=r"not squares of one size"):
        steadygan.evaluate_images(a, wide, features="digits")
    with pytest.raises(UserError, match=r"--size is the side of the images in pixels, 1 or more, not 0"):
        steadygan.evaluate_images(a, b, features="digits", size=0)
    assert steadygan.evaluate_images(a, b, features="digits", size=32)["protocol"]["size"] == 32
    with pytest.raises(UserError, match=r"5 fakes and 12 reals are too few for .*needs 6"):
        steadygan.evaluate_images(folder(tmp_path / "few", images[:5]), a, features="digits")


def test_one_image_is_refused_by_the_name_of_its_folder(tmp_path: Path) -> None:
    images = digits()[0][:7]
    a, one = folder(tmp_path / "a", images), folder(tmp_path / "one", images[:1])
    for sides in ((a, one), (one, a)):
        with pytest.raises(UserError, match=r"one holds one image that can be read; a distance needs at least 2"):
            steadygan.evaluate_images(*sides, features="digits")


def test_colour_is_never_dropped_to_suit_an_extractor_of_grey(tmp_path: Path) -> None:
    a = folder(tmp_path / "a", digits()[0][:12])
    (tmp_path / "colour").mkdir()
    for i in range(12):
        Image.new("RGB", (32, 32), (20 * i, 0, 100)).save(tmp_path / "colour" / f"{i}.png")
    with pytest.raises(UserError, match=r"reads digits: greyscale.*these images have 3 channels"):
        steadygan.evaluate_images(tmp_path / "colour", a, features="digits")


def test_images_that_cannot_be_read_are_named_when_the_score_is_taken_without_them(tmp_path: Path) -> None:
    images = digits()[0][:201]
    a, b = folder(tmp_path / "a", images), folder(tmp_path / "b", images)
    (b / "007.png").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"b: skipped, as they cannot be read \(1 of 201\): 007\.png"):
        record = steadygan.evaluate_images(a, b, features="digits")
    assert (record["protocol"]["num_fake"], record["protocol"]["num_real"]) == (201, 200)
    with pytest.raises(UserError, match=r"1 of 201 .*--max-unreadable"):
        steadygan.evaluate_images(a, b, features="digits", max_unreadable=0)


def test_how_many_unreadable_test_images_are_too_many_is_asked_for_or_the_run_s(run: Path, tmp_path: Path) -> None:
    test = folder(tmp_path / "test", digits()[0][:40])
    (test / "007.png").write_bytes(b"")

    def reals_scored(**options: float) -> int:
        with pytest.warns(UserWarning, match=r"1 of 40"):
            record = steadygan.evaluate(run, protocol="small-test", reals=test, **options)
        return record["protocol"]["num_real"]

    with pytest.raises(UserError, match=r"1 of 40 .*--max-unreadable.*\n  007\.png"):
        steadygan.evaluate(run, protocol="small-test", reals=test)
    assert reals_scored(max_unreadable=0.05) == 39
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("max_unreadable: 0.01", "max_unreadable: 0.05"))
    assert reals_scored() == 39
    with pytest.raises(UserError, match=r"under 2 % are skipped"):
        steadygan.evaluate(run, protocol="small-test", reals=test, max_unreadable=0.02)
