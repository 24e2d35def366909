"""The memory-mapped cache: contents, key, damage."""

from __future__ import annotations

import os
import shutil
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from steadygan import config
from steadygan.data import cache
from steadygan.data.cache import cache_key
from steadygan.data.images import ImageSet, load_images
from steadygan.data.loader import Loader
from steadygan.data.source import open_source
from steadygan.errors import UserError
from steadygan.files import cache_root
from steadygan.tasks.choice import build_images
from steadygan.tasks.images import Images

COUNT = 150


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(COUNT):
        path = tmp_path / "data" / "ab"[number % 2] / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(256, size=(8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return tmp_path / "data"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def mapped(folder: Path, root: Path, indices: Any = range(COUNT), **options: Any) -> ImageSet:
    images = load_images(open_source(str(folder), size=8), indices, memory_limit=0, cache=root, **options)
    assert images.streamed
    assert images.mapped is not None
    return images


def caches(root: Path) -> list[Path]:
    return [path for path in root.iterdir() if path.is_dir()]


def test_mapped_equals_in_memory_and_decoded(folder: Path, root: Path) -> None:
    source = open_source(str(folder), size=8)
    indices = np.random.default_rng(0).permutation(COUNT)[:100]
    kinds = [
        load_images(source, indices),
        load_images(source, indices, memory_limit=0),
        mapped(folder, root, indices),
    ]
    assert [images.place for images in kinds] == ["in memory (cpu)", "decoded at each use", "in a memory-mapped file"]
    assert len({images.fingerprint for images in kinds}) == 1
    batches = [[Loader(images, batch_size=16, seed=3, flip=True).next() for _ in range(15)] for images in kinds]
    for others in zip(*batches, strict=True):
        for x, y in others[1:]:
            assert torch.equal(x, others[0][0])
            assert torch.equal(y, others[0][1])


def test_a_stream_goes_on_from_one_place_to_the_other(folder: Path, root: Path) -> None:
    whole = Loader(load_images(open_source(str(folder), size=8), range(COUNT)), batch_size=16, seed=3)
    for _ in range(5):
        whole.next()
    resumed = Loader(mapped(folder, root), batch_size=16, seed=3)
    resumed.load_state_dict(whole.state_dict())
    for _ in range(12):
        assert torch.equal(resumed.next()[0], whole.next()[0])


def test_the_cache_is_built_once_for_every_split(folder: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[tuple[int, int]] = []
    first = mapped(folder, root, range(70), progress=lambda *done: built.append(done))
    assert built == [(64, COUNT), (128, COUNT), (COUNT, COUNT)]
    monkeypatch.setattr(cache, "_build", None)
    assert mapped(folder, root, range(70)).fingerprint == first.fingerprint
    assert torch.equal(mapped(folder, root, [149, 3]).take([1]), first.take([3]))
    assert len(caches(root)) == 1


def test_moving_or_touching_the_data_keeps_its_cache(folder: Path, root: Path, tmp_path: Path) -> None:
    key = cache_key(open_source(str(folder), size=8))
    os.utime(folder / "a" / "000.png", (0, 0))
    shutil.copytree(folder, tmp_path / "elsewhere")
    assert (
        cache_key(open_source(str(folder), size=8))
        == cache_key(open_source(str(tmp_path / "elsewhere"), size=8))
        == key
    )


def test_every_change_that_could_change_a_pixel_is_another_cache(folder: Path, tmp_path: Path) -> None:
    keys = [cache_key(open_source(str(folder), size=size, channels=c)) for size, c in ((8, 3), (8, 1), (4, 3))]
    changed = folder / "a" / "000.png"
    status, content = changed.stat(), changed.read_bytes()
    changed.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(changed, ns=(status.st_atime_ns, status.st_mtime_ns))  # of the same name, size and time
    keys.append(cache_key(open_source(str(folder), size=8)))
    changed.write_bytes(content)
    (folder / "a" / "000.png").rename(folder / "a" / "zzz.png")  # another order
    keys.append(cache_key(open_source(str(folder), size=8)))
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "checksums", "unreadable"])
def test_a_damaged_cache_is_noticed_and_built_again(folder: Path, root: Path, damage: str) -> None:
    good = mapped(folder, root)
    expected = good.take(range(COUNT)).clone()
    (path,) = caches(root)
    file = path / {"checksums": cache.CHECKSUMS, "unreadable": cache.UNREADABLE}.get(damage, cache.PIXELS)
    content = bytearray(file.read_bytes())
    if damage == "flip":
        content[-700] ^= 1
    file.write_bytes(
        b"" if damage in ("empty", "checksums", "unreadable") else content[: -100 if damage == "truncate" else None]
    )
    again = mapped(folder, root)
    assert again.fingerprint == good.fingerprint
    assert torch.equal(again.take(range(COUNT)), expected)


def test_a_cache_cut_short_while_in_use_is_an_error(folder: Path, root: Path) -> None:
    images = mapped(folder, root)
    os.truncate(next(root.glob("*/" + cache.PIXELS)), 100)
    with pytest.raises(UserError, match="was truncated while in use"):
        images.take([COUNT - 1])


def test_a_disk_that_keeps_nothing_is_an_error(folder: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counter = count()
    monkeypatch.setattr(cache, "zlib", SimpleNamespace(crc32=lambda _: next(counter)))
    with pytest.raises(UserError, match="returns other bytes than were written"):
        mapped(folder, root)


def test_unreadable_images_are_skipped_alike(folder: Path, root: Path) -> None:
    (folder / "a" / "100.png").write_bytes(b"")
    held = load_images(open_source(str(folder), size=8), range(COUNT))
    for _ in range(2):
        images = mapped(folder, root)
        assert images.skipped == held.skipped == ["a/100.png"]
        assert images.fingerprint == held.fingerprint
        assert images.indices.tolist() == held.indices.tolist()


def test_too_many_unreadable_images_fail_and_leave_no_cache(folder: Path, root: Path) -> None:
    for number in (0, 2):
        (folder / "a" / f"{number:03}.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"a/000\.png"):
        mapped(folder, root)
    assert caches(root) == []
    assert len(mapped(folder, root, max_unreadable=0.05)) == COUNT - 2
    with pytest.raises(UserError, match=r"a/000\.png"):  # a cache made under a looser limit
        mapped(folder, root)


def test_a_crash_while_building_leaves_no_cache(folder: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mapped(folder, root, progress=crash)
    assert caches(root) == []


def test_a_full_disk_is_told_before_it_is_filled(folder: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, 1000))  # type: ignore[attr-defined]
    with pytest.raises(UserError, match=r"STEADYGAN_CACHE.*data\.cache=false"):
        mapped(folder, root)


def test_a_place_that_cannot_be_written_is_told(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("-")
    with pytest.raises(UserError, match=r"cannot be written.*STEADYGAN_CACHE"):
        mapped(folder, tmp_path / "file" / "cache")


def test_the_cache_lies_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STEADYGAN_CACHE", str(tmp_path))
    assert cache_root() == tmp_path
    monkeypatch.delenv("STEADYGAN_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_root() == tmp_path / ".cache" / "steadygan"


def test_data_in_memory_need_no_cache(root: Path) -> None:
    images = load_images(open_source("digits", size=8), range(20), memory_limit=0, cache=root)
    assert images.streamed
    assert not root.exists()


def test_a_killed_builder_s_remains_are_removed(folder: Path, root: Path) -> None:
    first = mapped(folder, root)
    (path,) = caches(root)
    path.rename(root / f".{path.name}-k1ll3d")
    assert mapped(folder, root).fingerprint == first.fingerprint
    assert caches(root) == [path]


def test_a_run_is_told_how_to_read_by_its_configuration(
    folder: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEADYGAN_CACHE", str(root))
    monkeypatch.setattr("steadygan.data.images.free_memory", lambda _: 0)
    (folder / "a" / "100.png").write_bytes(b"")
    overrides = [f"data.path={folder}", "data.size=8", "train.batch_size=8", "data.heldout=0.5"]

    def images(*more: str) -> Images:
        return build_images(config.load("digits", [*overrides, *more]), torch.device("cpu"))

    built, anew = images(), images("data.cache=false")
    assert (built.train.place, anew.train.place) == ("in a memory-mapped file", "decoded at each use")
    assert len(caches(root / "images")) == 1
    assert built.train.fingerprint == anew.train.fingerprint
    assert built.heldout is not None
    assert built.train.skipped + built.heldout.skipped == ["a/100.png"]  # one of 150, of 75 it would be too many
    with pytest.raises(UserError, match=r"data\.max_unreadable"):
        images("data.max_unreadable=0")
