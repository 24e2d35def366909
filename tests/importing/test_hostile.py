"""Files with changed bytes: each is refused, or read as values without side effects."""

from __future__ import annotations

import random
import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from importing.mutation import mutated
from importing.watching import watched
from importing.writers import FAMILIES

import steadygan
from steadygan.errors import UserError
from steadygan.importing import Refused, import_files

MUTATIONS = 12
"""For each family; `benchmarks/import_attack.py` makes more of them."""


@pytest.mark.parametrize("family", FAMILIES)
def test_a_file_with_changed_bytes_does_nothing(family: str, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    written = FAMILIES[family](source)
    for file in source.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    rng = random.Random(0)
    import_files(written.files, tmp_path / "whole", written.options)  # what is loaded once is loaded
    largest = sum(path.stat().st_size for path in written.files)
    refused = 0
    for attempt in range(MUTATIONS):
        victim = rng.choice(written.files)
        (target / victim.name).write_bytes(mutated(victim.read_bytes(), rng))
        files, out = [target / path.name for path in written.files], tmp_path / f"out-{attempt}"
        tracemalloc.start()
        try:
            with watched() as noted:
                import_files(files, out, written.options)
        except UserError:
            refused += 1
            assert not out.exists()
            assert [line for line in noted if "open" not in line] == []
            assert not [line for line in noted if "out-" in line]
        finally:
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            (target / victim.name).write_bytes(victim.read_bytes())
        assert peak < 20 * largest + (50 << 20)
    assert refused > MUTATIONS / 4


def saved(folder: Path, value: object = None) -> Path:
    torch.save({"w": torch.arange(6.0)} if value is None else value, folder / "file.pth")
    return folder / "file.pth"


def rewritten(path: Path, change: dict[str, bytes | None], *, compression: int = zipfile.ZIP_STORED) -> Path:
    """The same zip with some entries replaced, added (or left out: None)."""
    with zipfile.ZipFile(path) as archive:
        entries = {info.filename: archive.read(info) for info in archive.infolist()}
    root = next(iter(entries)).split("/", 1)[0]
    entries |= {f"{root}/{name}": data for name, data in change.items() if data is not None}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in entries.items():
            if change.get(name.split("/", 1)[1], b"") is not None:
                archive.writestr(name, data)
    return path


def test_a_compressed_zip_is_refused_before_anything_is_unpacked(tmp_path: Path) -> None:
    path = rewritten(saved(tmp_path), {"data/1": b"\0" * (64 << 20)}, compression=zipfile.ZIP_DEFLATED)
    tracemalloc.start()
    try:
        with pytest.raises(Refused, match="compressed"):
            import_files([path], tmp_path / "out")
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_numbers_that_are_missing_or_changed_are_noticed(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="missing or have another size"):
        import_files([rewritten(saved(tmp_path), {"data/0": None})], tmp_path / "out")
    with pytest.raises(Refused, match="missing or have another size"):
        import_files([rewritten(saved(tmp_path), {"data/0": b"\0" * 4})], tmp_path / "out")
    path = saved(tmp_path)
    place = path.read_bytes().find(torch.arange(6.0).numpy().tobytes())
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(Refused, match="checksum"):
        import_files([path], tmp_path / "out")


def test_entries_that_lie_upon_each_other_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path)
    with zipfile.ZipFile(path, "a") as archive:
        info = next(info for info in archive.infolist() if info.filename.endswith("data/0"))
        for number in range(200):
            twin = zipfile.ZipInfo(info.filename.replace("data/0", f"data/{number + 1}"))
            twin.header_offset, twin.file_size, twin.compress_size = info.header_offset, 1 << 12, 1 << 12
            twin.CRC = info.CRC
            archive.filelist.append(twin)
        archive._didModify = True
    with pytest.raises(Refused, match="more bytes than the file has"):
        import_files([path], tmp_path / "out")


@pytest.mark.parametrize("leaf", [torch.zeros(1), 1, {}])
def test_dictionaries_that_name_each_other_are_not_followed_every_way(leaf: object, tmp_path: Path) -> None:
    """A billion entries by name, of a file with three thousand."""
    inner: Any = leaf
    for _ in range(3):
        inner = dict.fromkeys((f"d{number}" for number in range(1000)), inner)
    with pytest.raises(Refused, match=r"file\.pth: .*repeats its parts over and over"):
        import_files([saved(tmp_path, inner)], tmp_path / "out")


@pytest.mark.parametrize("name", ["file.pth", "file.zip"])
def test_a_zip_of_very_many_files_is_refused_before_they_are_listed(name: str, tmp_path: Path) -> None:
    """Python makes an object of some 600 bytes of each, from a list that takes 47."""
    number, place = 200_000, 31
    entry = b"PK\x01\x02" + struct.pack("<HHHHHHIIIHHHHHII", 20, 20, *[0] * 7, 1, *[0] * 6) + b"a"
    listed = len(entry) * number
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    end = struct.pack("<4sIQI", b"PK\x06\x07", 0, place + listed, 1) + end
    end = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, number, number, listed, place) + end
    local = b"PK\x03\x04" + struct.pack("<HHHHHIIIHH", 20, *[0] * 7, 1, 0) + b"a"
    (tmp_path / name).write_bytes(local + entry * number + end)
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=r"file\.(pth|zip): .*lists more files than a zip of weights"):
            steadygan.load(tmp_path / name)
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


def test_a_network_whose_tensors_all_lie_in_one_memory_is_refused(tmp_path: Path) -> None:
    written = FAMILIES["biggan"](tmp_path)
    state = torch.load(written.files[0], weights_only=True)
    memory = torch.zeros(max(value.numel() for value in state.values()))
    torch.save({key: memory[: value.numel()].view(value.shape) for key, value in state.items()}, written.files[0])
    with pytest.raises(Refused, match="share memory"):
        import_files(written.files[:1], tmp_path / "out", written.options)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_programs_of_torchscript_are_refused(compression: int, tmp_path: Path) -> None:
    """torch compresses their code."""
    code = {"code/module.py": b"import os", "constants.pkl": b"\x80\x02)."}
    with pytest.raises(Refused, match="TorchScript"):
        import_files([rewritten(saved(tmp_path), dict(code), compression=compression)], tmp_path / "out")


def test_another_byte_order_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="byte order"):
        import_files([rewritten(saved(tmp_path), {"byteorder": b"big"})], tmp_path / "out")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x89PNG\r\n", b"\x80", b"hello", b"."])
def test_what_is_no_file_of_weights_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file.pkl").write_bytes(content)
    with pytest.raises(UserError, match=r"file\.pkl"):
        import_files([tmp_path / "file.pkl"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file"):
        import_files([tmp_path], tmp_path / "out")
    with pytest.raises(UserError, match="cannot be read"):
        import_files([tmp_path / "absent.pkl"], tmp_path / "out")
