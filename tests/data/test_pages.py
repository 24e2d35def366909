"""A parquet file's memory is computed from its page headers before anything is unpacked."""

from __future__ import annotations

import random
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from steadygan.data.containers import pages
from steadygan.data.containers.pages import Damaged, Footer

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def table(sizes: list[int]) -> Any:
    """Rows of this many equal bytes, which compress to almost nothing."""
    images = [{"bytes": bytes(size), "path": f"{number}"} for number, size in enumerate(sizes)]
    return pa.table({"image": images, "label": list(range(len(sizes)))})


@pytest.mark.parametrize("compression", ["zstd", "snappy", "none"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_sound_files_pass_whatever_wrote_their_pages(tmp_path: Path, compression: str, version: str) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(table([300] * 50), path, row_group_size=20, compression=compression, data_page_version=version)
    footer = Footer(path)
    assert [chunk.column for chunk in footer.groups[0]] == [("image", "bytes"), ("image", "path"), ("label",)]
    assert len(footer.groups) == 3
    for group in range(3):
        footer.check(group, "image")
        footer.check(group, "label")


def test_what_unpacks_to_far_more_than_it_has_on_disk_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "UNBOUNDED_BYTES", 1 << 20)
    path = tmp_path / "a.parquet"
    pq.write_table(table([2 << 20]), path, compression="zstd", use_dictionary=False)
    assert path.stat().st_size < 10_000
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"image\.bytes takes over 1 MiB when unpacked, of \d+ bytes"):
            Footer(path).check(0, "image")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_source_names_the_image_of_such_a_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from steadygan.data.decoding import UnreadableImage
    from steadygan.data.source import open_source

    monkeypatch.setattr(pages, "UNBOUNDED_BYTES", 1 << 20)
    pq.write_table(table([2 << 20]), tmp_path / "a.parquet", compression="zstd", use_dictionary=False)
    source = open_source(str(tmp_path / "a.parquet"), size=8, channels=3)
    with pytest.raises(UnreadableImage, match="takes over 1 MiB when unpacked"):
        source.read(0)


def test_mutated_files_are_sound_or_refused(tmp_path: Path) -> None:
    path, rng = tmp_path / "a.parquet", random.Random(0)
    pq.write_table(table([30] * 20), path, row_group_size=10)
    sound = path.read_bytes()
    for _ in range(150):
        data = bytearray(sound)
        for _ in range(rng.randint(1, 3)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(data[: rng.choice([len(data), len(data), rng.randrange(len(data))])])
        try:
            footer = Footer(path)
            for group in range(len(footer.groups)):
                footer.check(group, "image")
        except ValueError:
            continue


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1PAR1", b"PAR1\xff\xff\xff\x7fPAR1", b"PAR1\x19\x01\0\0\0PAR1"])
def test_a_file_without_a_footer_is_none(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.parquet").write_bytes(data)
    with pytest.raises(Damaged):
        Footer(tmp_path / "a.parquet")
