"""Damaged and hostile images: never a crash, never a hang, never a write; skipped, counted, named."""

from __future__ import annotations

import io
import struct
import tarfile
import time
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from steadygan.data.decoding import MAX_SCANS, UnreadableImage, open_image, square
from steadygan.data.describe import describe
from steadygan.data.images import load_images
from steadygan.data.source import open_source
from steadygan.errors import UserError

MUTANTS = 1000


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def originals() -> dict[str, bytes]:
    """A small image in every format the reader takes, in several of their kinds."""
    generator = np.random.default_rng(0)
    rgb = Image.fromarray(generator.integers(256, size=(24, 20, 3), dtype=np.uint8))
    grey, wide = rgb.convert("L"), Image.fromarray(generator.integers(65536, size=(24, 20)).astype(np.uint16))
    frames = [rgb.quantize(16), rgb.rotate(90).quantize(16)]
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "rgb.png": encoded(rgb, "PNG", exif=exif),
        "palette.png": encoded(frames[0], "PNG", transparency=3),
        "wide.png": encoded(wide, "PNG"),
        "animated.png": encoded(rgb, "PNG", save_all=True, append_images=[rgb.rotate(180)]),
        "rgb.jpg": encoded(rgb, "JPEG", exif=exif),
        "progressive.jpg": encoded(rgb, "JPEG", progressive=True),
        "cmyk.jpg": encoded(rgb.convert("CMYK"), "JPEG"),
        "lossy.webp": encoded(rgb, "WEBP"),
        "lossless.webp": encoded(rgb, "WEBP", lossless=True),
        "animated.webp": encoded(rgb, "WEBP", save_all=True, append_images=[rgb.rotate(180)]),
        "rgb.bmp": encoded(rgb, "BMP"),
        "palette.bmp": encoded(frames[0], "BMP"),
        "animated.gif": encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "raw.tif": encoded(rgb, "TIFF"),
        "deflate.tif": encoded(rgb, "TIFF", compression="tiff_adobe_deflate"),
        "lzw.tif": encoded(grey, "TIFF", compression="tiff_lzw"),
        "jpeg.tif": encoded(rgb, "TIFF", compression="jpeg"),
        "fax.tif": encoded(rgb.convert("1"), "TIFF", compression="group4"),
        "rgb.ppm": encoded(rgb, "PPM"),
        "plain.pgm": b"P2 4 4 255 " + b"7 " * 16,
    }


def mutants(count: int) -> Iterator[tuple[str, bytes]]:
    """Flipped bits, cut ends, overwritten heads, gigantic sizes, other formats' first bytes, joined halves."""
    generator, files = np.random.default_rng(1), originals()
    names = list(files)
    for number in range(count):
        name = names[number % len(names)]
        data = bytearray(files[name])
        match int(generator.integers(6)):
            case 0:
                for place in generator.integers(len(data), size=generator.integers(1, 9)):
                    data[place] ^= 1 << int(generator.integers(8))
            case 1:
                del data[int(generator.integers(len(data))) :]
            case 2:
                length = min(len(data), int(generator.integers(1, 64)))
                data[:length] = generator.bytes(length)
            case 3:  # in the header, where sizes, offsets and counts are
                place = int(generator.integers(min(len(data), 120)))
                data[place : place + 4] = [b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", bytes(4)][number % 4]
            case 4:
                other = files[names[int(generator.integers(len(names)))]]
                data[:12] = other[:12]
            case _:
                other = files[names[int(generator.integers(len(names)))]]
                data = data[: len(data) // 2] + other[len(other) // 2 :]
        yield f"{number:04}.{name.partition('.')[2]}", bytes(data)


def test_a_thousand_mutated_images_cannot_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a zip and in a tar: each one is decoded or refused, at its first use and at every other."""
    files, inner = dict(mutants(MUTANTS)), tmp_path / "inner"
    inner.mkdir()
    monkeypatch.chdir(inner)
    with zipfile.ZipFile(inner / "a.zip", "w") as archive, tarfile.open(inner / "a.tar", "w") as tape:
        for name, data in files.items():
            archive.writestr(name, data)
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tape.addfile(entry, io.BytesIO(data))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    outcomes: Counter[str] = Counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of damaged metadata
        zipped = open_source("a.zip", size=16, channels=3)
        taped = open_source("a.tar", size=16, channels=3)
        for index in range(len(zipped)):
            began = time.process_time()
            entry = zipped.try_read(index)
            again = taped.try_read(index)
            assert time.process_time() - began < 10, zipped.names[index]
            if isinstance(entry, UnreadableImage):
                assert isinstance(again, UnreadableImage)
                assert entry.name == again.name == zipped.names[index]
                outcomes["refused"] += 1
            else:
                assert isinstance(again, np.ndarray)
                assert (entry.shape, entry.dtype) == ((3, 16, 16), np.uint8)
                outcomes["decoded"] += 1
        assert (len(zipped), len(taped)) == (MUTANTS, MUTANTS)
        with pytest.raises(UserError, match=r"too many images cannot be read.*data\.max_unreadable"):
            load_images(zipped, range(MUTANTS))
    assert min(outcomes["refused"], outcomes["decoded"]) > MUTANTS / 20
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_every_original_is_readable() -> None:
    for name, data in originals().items():
        assert square(open_image(data), size=8, channels=3).shape == (3, 8, 8), name


@pytest.mark.parametrize("suffix", ["zip", "tar", "tar.gz", "parquet"])
def test_a_mutated_archive_cannot_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    """The archive itself damaged anywhere, seeded: an error for the user, or images that are read or refused."""
    monkeypatch.setenv("STEADYGAN_CACHE", str(tmp_path / "cache"))
    image = originals()["rgb.png"]
    path = tmp_path / f"a.{suffix}"
    if suffix == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for number in range(4):
                archive.writestr(f"{number}.png", image)
    elif suffix == "parquet":
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        pq.write_table(pa.table({"image": [{"bytes": image, "path": None}] * 4, "label": [0, 1, 0, 1]}), path)
    else:
        with tarfile.open(path, "w:gz" if suffix == "tar.gz" else "w") as tape:
            for number in range(4):
                entry = tarfile.TarInfo(f"{number}.png")
                entry.size = len(image)
                tape.addfile(entry, io.BytesIO(image))
    good, generator = path.read_bytes(), np.random.default_rng(2)
    outcomes: Counter[str] = Counter()
    for _ in range(60):
        data = bytearray(good)
        if generator.integers(4) == 0:
            del data[int(generator.integers(len(data))) :]
        for place in generator.integers(len(data), size=5) if data else ():
            data[place] ^= 1 << int(generator.integers(8))
        path.write_bytes(data)
        try:
            source = open_source(str(path), size=8, channels=3)
        except UserError:
            outcomes["refused"] += 1
            continue
        outcomes["opened"] += 1
        for index in range(len(source)):
            source.try_read(index)
    assert outcomes["refused"]
    assert sorted(entry.name for entry in tmp_path.iterdir()) in (
        [path.name],
        [path.name, "cache"][::-1],
        ["a.tar.gz", "cache"],
    )


# Gigantic declarations


def png_of(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


GIGANTIC = {
    "a.png": png_of(50_000, 50_000),
    "b.png": png_of(2**31 - 1, 2**31 - 1),
    "c.bmp": originals()["rgb.bmp"][:18] + struct.pack("<ii", 60_000, 60_000) + originals()["rgb.bmp"][26:],
    "d.gif": b"GIF89a\xff\xff\xff\xff\x80\0\0" + bytes(6) + b",\0\0\0\0\xff\xff\xff\xff\0\x02\x02D\x01\0;",
    "e.ppm": b"P6 99999 99999 255\n" + bytes(100),
    "f.pgm": b"P2 99999 99999 255 7 7 7",
    "g.gif": b"GIF89a\x04\0\x04\0\x80\0\0" + bytes(6) + b",\0\0\0\0\xff\xff\xff\xff\0\x02\x02D\x01\0;",
}  # fmt: skip


@pytest.mark.parametrize("name", GIGANTIC)
def test_gigantic_declared_sizes_are_refused_before_any_pixel(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(GIGANTIC[name])
    source = open_source(str(tmp_path), size=8, channels=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with pytest.raises(UnreadableImage, match=r"limit|exceed|decompression bomb"):
            source.read(0)


def test_a_jpeg_of_endless_scans_is_refused() -> None:
    data = originals()["progressive.jpg"]
    scan = data.rindex(b"\xff\xda")
    last = data[scan:-2]
    open_image(data[:scan] + last * 3 + data[-2:])
    with pytest.raises(ValueError, match="scans"):
        open_image(data[:scan] + last * MAX_SCANS + data[-2:])


# Messages about bad input


def test_a_wrong_extension_is_no_complaint_if_the_content_is_an_image(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(originals()["rgb.jpg"])
    assert describe(str(tmp_path))["unreadable"] == {}


def test_the_limit_on_unreadable_images_can_be_set(tmp_path: Path) -> None:
    for number in range(10):
        (tmp_path / f"{number}.png").write_bytes(originals()["rgb.png"] if number else b"")
    source = open_source(str(tmp_path), size=8)
    assert load_images(source, range(10), max_unreadable=0.11).skipped == ["0.png"]
    for share in (0.1, 0.0):
        with pytest.raises(UserError, match=r"1 of 10 .*data\.max_unreadable.*\n  0\.png: not an image"):
            load_images(source, range(10), max_unreadable=share)


def test_the_limit_is_a_share_of_all_images_of_a_run(tmp_path: Path) -> None:
    """One bad file among 10 held-out images is one of all 200."""
    for number in range(10):
        (tmp_path / f"{number}.png").write_bytes(originals()["rgb.png"] if number else b"")
    source = open_source(str(tmp_path), size=8)
    assert load_images(source, range(10), total=200).skipped == ["0.png"]
    with pytest.raises(UserError, match="1 of 10 "):
        load_images(source, range(10))
