"""From images to training batches: order, ranks, resuming, flips, streaming, bad files."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from steadygan.data import loader
from steadygan.data.decoding import UnreadableImage
from steadygan.data.images import ImageSet, load_images
from steadygan.data.loader import Loader
from steadygan.data.source import Source, open_source
from steadygan.errors import UserError
from steadygan.pictures.pixels import to_float, to_uint8

COUNT = 23


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """COUNT 8×8 images in two class folders; the first red pixel is the image's number in sorted order."""
    for number in range(COUNT):
        pixels = np.random.default_rng(number).integers(256, size=(8, 8, 3), dtype=np.uint8)
        pixels[0, 0, 0] = pixels[0, 7, 0] = number
        path = tmp_path / "images" / ("odd" if number >= 12 else "even") / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return tmp_path / "images"


def load(folder: Path, *, streamed: bool = False) -> ImageSet:
    images = load_images(
        open_source(str(folder), size=8), range(COUNT), memory_limit=0 if streamed else None, threads=3
    )
    assert images.streamed is streamed
    return images


def numbers(x: Tensor) -> list[int]:
    return to_uint8(x)[:, 0, 0, 0].tolist()


def draw(batches: Loader, count: int) -> list[tuple[Tensor, Tensor]]:
    drawn = []
    for _ in range(count):
        x, y = batches.next()
        assert y is not None
        drawn.append((x, y))
    return drawn


def assert_same(left: list[tuple[Tensor, Tensor]], right: list[tuple[Tensor, Tensor]]) -> None:
    assert len(left) == len(right)
    for (x, y), (x2, y2) in zip(left, right, strict=True):
        assert torch.equal(x, x2)
        assert torch.equal(y, y2)


def test_every_byte_survives_normalisation() -> None:
    every = torch.arange(256, dtype=torch.uint8)
    x = to_float(every)
    assert (x.dtype, x[0].item(), x[-1].item()) == (torch.float32, -1, 1)
    assert torch.equal(x, torch.arange(256.0) / 127.5 - 1)
    assert torch.equal(to_uint8(x), every)
    assert to_uint8(torch.tensor([-3.0, 3.0])).tolist() == [0, 255]
    assert torch.equal(to_uint8(x.bfloat16().float()), to_uint8(x.bfloat16()))


def test_loading_keeps_order_labels_and_pixels(folder: Path) -> None:
    source = open_source(str(folder), size=8)
    images = load_images(source, [20, 3, 5])
    assert torch.equal(images.take(range(3)), torch.from_numpy(np.stack([source.read(i) for i in (20, 3, 5)])))
    assert images.labels is not None
    assert images.labels.tolist() == [1, 0, 0]
    assert (images.class_names, images.size, images.channels, len(images)) == (("even", "odd"), 8, 3, 3)


def test_memory_limit_decides_between_memory_and_streaming(folder: Path) -> None:
    source, size = open_source(str(folder), size=8), COUNT * 3 * 8 * 8
    assert not load_images(source, range(COUNT), memory_limit=size).streamed
    assert load_images(source, range(COUNT), memory_limit=size - 1).streamed


def test_progress_is_reported_to_the_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steadygan.data.images.CHUNK", 10)
    told: list[tuple[int, int]] = []
    load_images(open_source(str(folder), size=8), range(COUNT), progress=lambda *done: told.append(done))
    assert told == [(10, COUNT), (20, COUNT), (23, COUNT)]


def test_the_fingerprint_does_not_depend_on_streaming_but_on_the_labels(folder: Path) -> None:
    images = load(folder)
    assert load(folder, streamed=True).fingerprint == images.fingerprint
    (folder / "even" / "11.png").rename(folder / "odd" / "11.png")
    assert load(folder).fingerprint != images.fingerprint


def test_every_epoch_shows_every_image_once_in_a_new_order(folder: Path) -> None:
    batches = Loader(load(folder), batch_size=5, seed=0)
    stream = [n for x, _ in draw(batches, COUNT) for n in numbers(x)]  # COUNT batches of 5 are 5 epochs
    epochs = [stream[i : i + COUNT] for i in range(0, len(stream), COUNT)]
    assert all(sorted(epoch) == list(range(COUNT)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 5


def test_labels_follow_their_images(folder: Path) -> None:
    for x, y in draw(Loader(load(folder), batch_size=5, seed=0), 6):
        assert y.dtype == torch.int64
        assert y.tolist() == [int(n >= 12) for n in numbers(x)]


def test_unlabelled_images_have_no_labels() -> None:
    images = load_images(open_source("stacked-digits", size=8), range(10))
    assert images.labels is None
    assert Loader(images, batch_size=4, seed=0).next()[1] is None


def test_the_order_depends_on_the_seed_but_not_on_the_batch_size(folder: Path) -> None:
    images = load(folder)

    def stream(batch_size: int, seed: int) -> list[int]:
        return [
            n for x, _ in draw(Loader(images, batch_size=batch_size, seed=seed), 60 // batch_size) for n in numbers(x)
        ]

    assert stream(4, 0) == stream(10, 0) == stream(20, 0)
    assert stream(4, 0) != stream(4, 1)


@pytest.mark.parametrize("streamed", [False, True])
def test_the_slices_of_all_ranks_make_the_global_batch(folder: Path, streamed: bool) -> None:
    images = load(folder, streamed=streamed)
    whole = draw(Loader(images, batch_size=6, seed=4, flip=True), 9)
    halves = [draw(Loader(images, batch_size=6, seed=4, flip=True, rank=r, world_size=2), 9) for r in (0, 1)]
    joined = [(torch.cat([a, b]), torch.cat([ya, yb])) for (a, ya), (b, yb) in zip(*halves, strict=True)]
    assert_same(joined, whole)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("saved_after", [0, 3, 7])
def test_resuming_equals_not_having_stopped(folder: Path, streamed: bool, saved_after: int) -> None:
    images = load(folder, streamed=streamed)
    uninterrupted = Loader(images, batch_size=7, seed=1, flip=True)
    draw(uninterrupted, saved_after)
    state = uninterrupted.state_dict()
    resumed = Loader(load(folder, streamed=streamed), batch_size=7, seed=1, flip=True)
    draw(resumed, 2)  # What it did before loading the state must not matter.
    resumed.load_state_dict(state)
    assert_same(draw(resumed, 8), draw(uninterrupted, 8))
    assert resumed.state_dict() == uninterrupted.state_dict() == {
        "position": 7 * (saved_after + 8),
        "seed": 1,
        "size": COUNT,
    }  # fmt: skip


def test_streamed_equals_in_memory_bit_for_bit(folder: Path) -> None:
    left, right = (Loader(load(folder, streamed=s), batch_size=9, seed=2, flip=True) for s in (False, True))
    assert_same(draw(left, 12), draw(right, 12))
    assert torch.equal(left.images.take([4, 4, 0]), right.images.take([4, 4, 0]))
    assert right.images.take([]).shape == (0, 3, 8, 8)


def test_flips_are_per_sample_fair_and_whole_mirrors() -> None:
    images = load_images(open_source("digits", size=8), range(500))
    straight, mirrored = (Loader(images, batch_size=500, seed=0, flip=flip) for flip in (False, True))
    for _ in range(2):
        (x, _), (x2, _) = straight.next(), mirrored.next()
        same, flipped = (x2 == x).all(dim=(1, 2, 3)), (x2 == x.flip(3)).all(dim=(1, 2, 3))
        assert (same | flipped).all()
        assert 200 < (flipped & ~same).sum() < 300


def test_flips_differ_between_epochs() -> None:
    images = load_images(open_source("digits", size=8), [7])
    batches = Loader(images, batch_size=1, seed=0, flip=True)
    assert len({batches.next()[0].numpy().tobytes() for _ in range(20)}) == 2


def test_a_state_of_other_data_is_refused(folder: Path) -> None:
    images = load(folder)
    batches = Loader(images, batch_size=4, seed=0)
    with pytest.raises(UserError, match=r"the data changed: the number of images was 99 .* 23 now"):
        batches.load_state_dict({"position": 8, "seed": 0, "size": 99})
    with pytest.raises(UserError, match="the data changed: the seed was 5"):
        batches.load_state_dict({"position": 8, "seed": 5, "size": COUNT})
    assert batches.position == 0


def test_a_batch_larger_than_the_set_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match=r"24 is larger than the 23 images.*train\.batch_size"):
        Loader(load(folder), batch_size=24, seed=0)
    Loader(load(folder), batch_size=23, seed=0).next()


def test_a_batch_must_divide_among_the_processes(folder: Path) -> None:
    with pytest.raises(UserError, match="not divisible by the 2 processes"):
        Loader(load(folder), batch_size=5, seed=0, world_size=2)


def test_damage_is_dropped_alike_in_memory_and_streamed(tmp_path: Path) -> None:
    for number in range(210):
        Image.new("L", (8, 8), number).save(tmp_path / f"{number:03}.png")
    (tmp_path / "100.png").write_bytes(b"")
    source = open_source(str(tmp_path), size=8)
    held, streamed = (load_images(source, range(210), memory_limit=limit) for limit in (None, 0))
    assert held.skipped == streamed.skipped == ["100.png"]
    assert held.fingerprint == streamed.fingerprint
    left, right = (Loader(images, batch_size=209, seed=0).next()[0] for images in (held, streamed))
    assert torch.equal(left, right)
    assert sorted(numbers(left)) == [n for n in range(210) if n != 100]


def test_a_file_lost_while_streaming_is_an_error_that_names_it_and_loses_no_batch(folder: Path) -> None:
    batches = Loader(load(folder, streamed=True), batch_size=COUNT, seed=0)
    batches.next()
    batches.close()
    lost = folder / "even" / "03.png"
    content = lost.read_bytes()
    lost.unlink()
    for _ in range(2):
        with pytest.raises(UnreadableImage, match=r"even/03\.png"):
            batches.next()
    assert batches.position == COUNT
    batches.close()
    lost.write_bytes(content)
    assert sorted(numbers(batches.next()[0])) == list(range(COUNT))


def test_batches_are_decoded_before_they_are_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding overlaps with a step; the order of threads does not affect the random draws."""
    images = load(folder, streamed=True)
    read: list[int] = []
    decode = Source.read

    def watched(source: Source, index: int) -> np.ndarray:
        if source is images.source:  # threads of an earlier test's loader may still read ahead
            read.append(int(index))
        return decode(source, index)

    monkeypatch.setattr(Source, "read", watched)
    with Loader(images, batch_size=2, seed=0) as batches:
        batches.next()
        for _, _, parts in batches._ahead:
            for part in parts:
                part.result()
        assert len(read) == 2 * (1 + loader.PREFETCHED_BATCHES)
        waiting = set(read)
        for _ in range(loader.PREFETCHED_BATCHES):
            assert set(numbers(batches.next()[0])) <= waiting


def test_closing_leaves_no_thread_behind(folder: Path) -> None:
    before = set(threading.enumerate())
    images = load(folder, streamed=True)
    with Loader(images, batch_size=5, seed=0) as batches:
        first = batches.next()[0]
        assert set(threading.enumerate()) - before
    batches.load_state_dict(batches.state_dict() | {"position": 0})
    assert torch.equal(batches.next()[0], first)
    batches.close()
    images.close()
    assert not set(threading.enumerate()) - before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("streamed", [False, True])
def test_batches_on_the_gpu_equal_those_on_the_cpu(folder: Path, streamed: bool) -> None:
    source = open_source(str(folder), size=8)
    on_gpu = load_images(source, range(COUNT), device="cuda", memory_limit=0 if streamed else None)
    drawn = draw(Loader(on_gpu, batch_size=9, seed=2, flip=True), 12)
    assert all(x.is_cuda and y.is_cuda for x, y in drawn)
    assert_same(
        [(x.cpu(), y.cpu()) for x, y in drawn],
        draw(Loader(load(folder), batch_size=9, seed=2, flip=True), 12),
    )
