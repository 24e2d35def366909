"""From a path to images: layouts, pixel modes, geometry, damage, splits, fingerprints."""

from __future__ import annotations

import io
import json
import os
import warnings
import zipfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from steadygan.data.content import fingerprint
from steadygan.data.decoding import UnreadableImage, open_image, square
from steadygan.data.digits import digits
from steadygan.data.images import load_images
from steadygan.data.source import open_source
from steadygan.data.split import split
from steadygan.errors import UserError

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def decode(data: bytes, *, size: int, channels: int) -> np.ndarray:
    return square(open_image(data), size=size, channels=channels)


def noise(seed: int, height: int = 8, width: int = 8, channels: int = 3) -> np.ndarray:
    shape = (height, width, 3) if channels == 3 else (height, width)
    return np.random.default_rng(seed).integers(256, size=shape, dtype=np.uint8)


def png(seed: int, **shape: int) -> bytes:
    return encoded(Image.fromarray(noise(seed, **shape)))


def as_folder(root: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        (root / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "data" / name).write_bytes(data)
    return root / "data"


def as_zip(root: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(root / "data.zip", "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return root / "data.zip"


Packing = Callable[[Path, Mapping[str, bytes]], Path]
packings = pytest.mark.parametrize("pack", [as_folder, as_zip])


def colour(data: bytes, channels: int = 3) -> list[int]:
    pixels = decode(data, size=4, channels=channels)
    assert pixels.shape == (channels, 4, 4)
    assert pixels.dtype == np.uint8
    assert (pixels == pixels[:, :1, :1]).all()
    return pixels[:, 0, 0].tolist()


def plain(mode: str, value: object) -> Image.Image:
    return Image.new(mode, (4, 4), value)  # type: ignore[arg-type]


def sixteen(value: int) -> Image.Image:
    return Image.fromarray(np.full((4, 4), value, np.uint16))


# Pixel modes


@pytest.mark.parametrize(
    ("data", "rgb"),
    [
        (encoded(plain("RGB", (10, 20, 30))), [10, 20, 30]),
        (encoded(plain("L", 77)), [77] * 3),
        (encoded(plain("1", 1)), [255] * 3),
        (encoded(plain("P", 0).quantize(2)), [0] * 3),
        (encoded(plain("RGB", (10, 20, 30)).quantize(4)), [10, 20, 30]),
        (encoded(plain("RGBA", (10, 20, 30, 255))), [10, 20, 30]),
        (encoded(plain("RGBA", (10, 20, 30, 0))), [255] * 3),
        (encoded(plain("RGBA", (0, 255, 0, 51))), [204, 255, 204]),
        (encoded(plain("LA", (100, 255))), [100] * 3),
        (encoded(plain("LA", (0, 51))), [204] * 3),
        (encoded(plain("L", 7), transparency=7), [255] * 3),
        (encoded(plain("RGB", (1, 2, 3)), transparency=(1, 2, 3)), [255] * 3),
        (encoded(sixteen(0x8000)), [0x80] * 3),
        (encoded(sixteen(0xFFFF)), [255] * 3),
        (encoded(sixteen(0x1234), "TIFF"), [0x12] * 3),
        (b"P5 4 4 65535 " + b"\x80\xff" * 16, [0x80] * 3),
        (encoded(plain("CMYK", (255, 0, 0, 0)), "TIFF"), [0, 255, 255]),
        (encoded(plain("RGB", (10, 20, 30)), "BMP"), [10, 20, 30]),
        (encoded(plain("RGB", (10, 20, 30)), "WEBP", lossless=True), [10, 20, 30]),
        (encoded(plain("RGB", (10, 20, 30)), "PPM"), [10, 20, 30]),
    ],
)
def test_every_pixel_mode_becomes_rgb(data: bytes, rgb: list[int]) -> None:
    assert colour(data) == rgb


def test_cmyk_jpeg_is_converted() -> None:
    red = colour(encoded(plain("CMYK", (0, 255, 255, 0)), "JPEG", quality=100))
    assert np.abs(np.subtract(red, [255, 0, 0])).max() <= 3


def test_one_channel_is_the_luma_and_composites_on_white() -> None:
    assert colour(encoded(plain("RGB", (255, 0, 0))), channels=1) == [76]
    assert colour(encoded(plain("LA", (90, 255))), channels=1) == [90]
    assert colour(encoded(plain("LA", (90, 0))), channels=1) == [255]


def test_transparent_palette_is_composited_on_white() -> None:
    image = plain("P", 1)
    image.putpalette([10, 20, 30, 40, 50, 60])
    assert colour(encoded(image, transparency=1)) == [255] * 3
    assert colour(encoded(image, transparency=bytes([255, 0]))) == [255] * 3
    assert colour(encoded(image, transparency=0)) == [40, 50, 60]


@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF"])
def test_an_animation_gives_its_first_frame(kind: str) -> None:
    frames = [plain("RGB", c).quantize(2) if kind == "GIF" else plain("RGB", c) for c in ((200, 0, 0), (0, 0, 9))]
    assert colour(encoded(frames[0], kind, save_all=True, append_images=frames[1:])) == [200, 0, 0]


def test_floating_point_images_are_refused_with_a_reason(tmp_path: Path) -> None:
    source = open_source(str(as_folder(tmp_path, {"a.tif": encoded(plain("F", 0.5), "TIFF")})), size=4)
    with pytest.raises(UnreadableImage, match=r"a\.tif.*floating-point"):
        source.read(0)


# Geometry


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    upright = noise(0)
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.swapaxes(0, 1), 6: np.rot90(upright), 7: np.rot90(upright, 2).swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(np.ascontiguousarray(stored)), exif=exif)
    np.testing.assert_array_equal(decode(data, size=8, channels=3), upright.transpose(2, 0, 1))


@pytest.mark.parametrize("block", [b"garbage!", b"II*\0\x08\0\0", b"II*\0\xff\xff\xff\xff"])
def test_damaged_exif_does_not_cost_the_image(block: bytes) -> None:
    data = encoded(Image.fromarray(noise(0)), exif=b"Exif\0\0" + block)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pixels = decode(data, size=8, channels=3)
    np.testing.assert_array_equal(pixels, noise(0).transpose(2, 0, 1))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP"])
def test_a_lossless_image_of_the_right_size_is_bit_exact(kind: str) -> None:
    data = encoded(Image.fromarray(noise(1)), kind, **({"lossless": True} if kind == "WEBP" else {}))
    np.testing.assert_array_equal(decode(data, size=8, channels=3), noise(1).transpose(2, 0, 1))


@pytest.mark.parametrize(("height", "width", "top", "left"), [(8, 13, 0, 2), (12, 8, 2, 0)])
def test_the_centre_square_is_kept(height: int, width: int, top: int, left: int) -> None:
    pixels = decode(png(2, height=height, width=width), size=8, channels=3)
    crop = noise(2, height, width)[top : top + 8, left : left + 8]
    np.testing.assert_array_equal(pixels, crop.transpose(2, 0, 1))


@pytest.mark.parametrize(("size", "kernel"), [(4, Image.Resampling.LANCZOS), (16, Image.Resampling.BICUBIC)])
def test_lanczos_shrinks_and_bicubic_enlarges(size: int, kernel: Image.Resampling) -> None:
    expected = np.asarray(Image.fromarray(noise(3)).resize((size, size), kernel))
    np.testing.assert_array_equal(decode(png(3), size=size, channels=3), expected.transpose(2, 0, 1))


# Layouts


@packings
def test_a_flat_collection_is_sorted_and_unlabelled(tmp_path: Path, pack: Packing) -> None:
    files = {"b.PNG": png(1), "a.png": png(0), "notes.txt": b"-", ".c.png": b"-", "__MACOSX/._a.png": b"-"}
    source = open_source(str(pack(tmp_path, files)), size=8)
    assert source.name == "data"
    assert source.names == ("a.png", "b.PNG")
    assert source.ignored == 3
    assert source.labels is None
    assert source.class_names == ()
    assert (len(source), source.size, source.channels) == (2, 8, 3)
    np.testing.assert_array_equal(source.read(1), noise(1).transpose(2, 0, 1))


@packings
@pytest.mark.parametrize("wrapper", ["", "set/"])
def test_class_folders_give_labels_in_sorted_order(tmp_path: Path, pack: Packing, wrapper: str) -> None:
    files = {f"{wrapper}{name}": png(0) for name in ("dog/1.png", "cat/2.png", "dog/0.png", "ant/x.png")}
    source = open_source(str(pack(tmp_path, files)), size=8)
    assert source.class_names == ("ant", "cat", "dog")
    assert source.labels is not None
    assert source.labels.dtype == np.int64
    assert [(n.removeprefix(wrapper), k) for n, k in zip(source.names, source.labels, strict=True)] == [
        ("ant/x.png", 0),
        ("cat/2.png", 1),
        ("dog/0.png", 2),
        ("dog/1.png", 2),
    ]


@packings
@pytest.mark.parametrize("names", [["one/a.png", "one/b.png"], ["a.png", "k/b.png"], ["k/l/a.png", "m/b.png"]])
def test_other_folders_are_read_whole_and_unlabelled(tmp_path: Path, pack: Packing, names: list[str]) -> None:
    source = open_source(str(pack(tmp_path, {name: png(0) for name in names})), size=8)
    assert source.names == tuple(names)
    assert source.labels is None


@pytest.mark.filterwarnings("ignore:.*classes have no image")
@packings
@pytest.mark.parametrize("wrapper", ["", "set/"])
def test_dataset_json_gives_labels(tmp_path: Path, pack: Packing, wrapper: str) -> None:
    manifest = {"labels": [["0/b.png", 0], ["0/a.png", 2]], "classes": ["x", "y", "z"]}
    files = {"0/a.png": png(0), "0/b.png": png(1), "dataset.json": json.dumps(manifest).encode()}
    source = open_source(str(pack(tmp_path, {wrapper + name: data for name, data in files.items()})), size=8)
    assert source.names == (f"{wrapper}0/a.png", f"{wrapper}0/b.png")
    assert source.labels is not None
    assert source.labels.tolist() == [2, 0]
    assert source.class_names == ("x", "y", "z")
    assert source.ignored == 0


@packings
def test_dataset_json_without_classes_numbers_them(tmp_path: Path, pack: Packing) -> None:
    files = {"a.png": png(0), "dataset.json": b'{"labels": [["a.png", 2]]}'}
    with pytest.warns(UserWarning, match="2 of 3 classes have no image, 0, 1"):
        assert open_source(str(pack(tmp_path, files)), size=8).class_names == ("0", "1", "2")


def test_labels_from_one_are_noticed(tmp_path: Path) -> None:
    labels = json.dumps({"labels": [["./a.png", 1], ["b.png", 2]]}).encode()
    with pytest.warns(UserWarning, match="1 of 3 classes have no image, 0: .*do its labels start at 1"):
        open_source(str(as_folder(tmp_path, {"a.png": png(0), "b.png": png(1), "dataset.json": labels})), size=8)


@packings
def test_dataset_json_with_null_labels_is_unlabelled_whatever_the_folders(tmp_path: Path, pack: Packing) -> None:
    files = {"0/a.png": png(0), "1/a.png": png(1), "dataset.json": b'{"labels": null}'}
    source = open_source(str(pack(tmp_path, files)), size=8)
    assert len(source) == 2
    assert source.labels is None


@pytest.mark.parametrize(
    ("manifest", "complaint"),
    [
        ('{"labels": [["a.png", 0], ["gone.png", 1]]}', r"names 1 files that are not there.*gone\.png"),
        ('{"labels": []}', r"no label for 1 images, such as a\.png"),
        ('{"labels": [["a.png", 2]], "classes": ["x"]}', "class number 2 but names only 1"),
        ('{"labels": [["a.png", -1]]}', "entry 1 .*gives a.png the label -1: class numbers start at 0"),
        ('{"labels": [["a.png", 0.5]]}', "entry 1 .*gives a.png the label 0.5: class numbers"),
        ('{"labels": [["a.png", 0], ["./a.png", 1]]}', "entry 2 .*names ./a.png a second time"),
        ('{"labels": [["a.png", 0], 7]}', "entry 2 .*is 7; expected"),
        ('{"labels": {"a.png": 0}}', '"labels" is a object; expected'),
        ('{"labels": [["a.png", 0]], "classes": 1}', '"classes" is a 1; expected'),
        ("[]", "it holds a list; expected"),
        ("{", "line 1, column 2: expecting property name"),
        (
            '{"labels": [["a.png", 0],\n],}',
            "line 1, column 25: illegal trailing comma|line 2, column 1: expecting value",
        ),
        ("[" * 100_000, "nested too deep|line 1, column"),
    ],
)
def test_a_wrong_dataset_json_is_explained(tmp_path: Path, manifest: str, complaint: str) -> None:
    path = as_folder(tmp_path, {"a.png": png(0), "dataset.json": manifest.encode()})
    with pytest.raises(UserError, match=complaint):
        open_source(str(path), size=8)


@packings
def test_one_stray_file_costs_no_label(tmp_path: Path, pack: Packing) -> None:
    files = {f"{kind}/{index}.png": png(index) for kind in ("cat", "dog") for index in range(5)}
    path = pack(tmp_path, files | {"logo.png": png(99)})
    with pytest.warns(UserWarning, match=r"1 images are left out, .*none of the 2 class folders, logo\.png"):
        source = open_source(str(path), size=8)
    assert source.labels is not None
    assert (source.class_names, source.labels.tolist(), source.ignored) == (("cat", "dog"), [0] * 5 + [1] * 5, 1)


@packings
@pytest.mark.parametrize("wrapper", ["", "set/"])
@pytest.mark.parametrize("kinds", [("",), ("cat/", "dog/")])
def test_only_the_training_part_is_read(tmp_path: Path, pack: Packing, wrapper: str, kinds: tuple[str, ...]) -> None:
    files = {
        f"{wrapper}{part}/{kind}{index}.png": png(index)
        for part in ("train", "val")
        for kind in kinds
        for index in range(2)
    }
    with pytest.warns(UserWarning, match=f"holds train/ and val/: only the {2 * len(kinds)} images of train/ are used"):
        source = open_source(str(pack(tmp_path, files)), size=8)
    assert all(name.startswith(f"{wrapper}train/") for name in source.names)
    assert len(source) == source.ignored == 2 * len(kinds)
    assert source.class_names == tuple(kind.rstrip("/") for kind in kinds if kind)


def test_images_of_kinds_that_are_not_read_are_named(tmp_path: Path) -> None:
    files = {"a.png": png(0), **{f"IMG_{index}.HEIC": b"?" for index in range(3)}}
    with pytest.warns(UserWarning, match=r"3 images are left out, next to 1 .*IMG_0\.HEIC, IMG_1\.HEIC, IMG_2"):
        open_source(str(as_folder(tmp_path, files)), size=8)
    (tmp_path / "data/a.png").unlink()
    with pytest.raises(UserError, match=r"3 of them images of kinds that are not read, IMG_0\.HEIC"):
        open_source(str(tmp_path / "data"), size=8)


def test_two_data_sets_side_by_side_are_refused(tmp_path: Path) -> None:
    files = {f"{part}/{name}": data for part in ("test", "train") for name, data in
             {"a.png": png(0), "dataset.json": b'{"labels": [["a.png", 0]]}'}.items()}  # fmt: skip
    with pytest.raises(UserError, match=r"test/dataset\.json and train/dataset\.json"):
        open_source(str(as_folder(tmp_path, files)), size=8)


def test_linked_folders_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    root = as_folder(tmp_path, {"a/1.png": png(0)})
    try:
        os.symlink(root / "a", root / "b")
        os.symlink(root, root / "a" / "up")
    except OSError:
        pytest.skip("this system makes no symbolic links")
    assert open_source(str(root), size=8).names == ("a/1.png", "b/1.png")


@pytest.mark.parametrize(("low", "high"), [(82, 155), (-5, 0), (0, 70_000)])
def test_integers_of_32_bits_are_refused_with_their_range(tmp_path: Path, low: int, high: int) -> None:
    pixels = np.full((8, 8), low, np.int32)
    pixels[0, 0] = high
    path = as_folder(tmp_path, {"a.tif": encoded(Image.fromarray(pixels), "TIFF")})
    with pytest.raises(UnreadableImage, match=f"a.tif: 32-bit integers .from {low} to {high}."):
        open_source(str(path), size=8).read(0)


@pytest.mark.parametrize(("brightest", "warned"), [(4095, True), (16_383, True), (16_384, False), (65_535, False)])
@pytest.mark.parametrize("channels", [None, 3])
def test_few_bits_in_sixteen_are_warned_of(tmp_path: Path, brightest: int, warned: bool, channels: int | None) -> None:
    pixels = np.zeros((8, 8), np.uint16)
    pixels[0, 0] = brightest
    path = as_folder(tmp_path, {"a.png": encoded(Image.fromarray(pixels))})
    if warned:
        with pytest.warns(UserWarning, match=f"{brightest} of 65535.*multiply .* by {65_535 // brightest}"):
            open_source(str(path), size=8, channels=channels)
    else:
        assert open_source(str(path), size=8, channels=channels).read(0).max() == brightest // 256


@pytest.mark.parametrize("place", [70, 199])
def test_colour_after_many_grey_images_is_not_dropped(tmp_path: Path, place: int) -> None:
    files = {f"{i:03}.png": encoded(Image.new("L", (8, 8), i)) for i in range(200)}
    path = as_folder(tmp_path, files | {f"{place:03}.png": png(0)})
    try:
        source = open_source(str(path), size=8)
        load_images(source, range(200))
    except UserError as error:
        assert f"{place:03}.png is in colour" in str(error)  # noqa: PT017 - found by the probe, or else on reading
        assert "data.channels=3" in str(error)  # noqa: PT017
    else:
        assert source.channels == 3
    assert open_source(str(path), size=8, channels=1).read(place).shape == (1, 8, 8)


@pytest.mark.parametrize(("modes", "channels"), [(["L", "LA", "1"], 1), (["L", "RGB"], 3), (["P"], 3)])
def test_channels_are_one_only_if_all_are_greyscale(tmp_path: Path, modes: list[str], channels: int) -> None:
    files = {f"{i}.png": encoded(Image.new(mode, (8, 8))) for i, mode in enumerate(modes)}
    source = open_source(str(as_folder(tmp_path, files | {"16.png": encoded(sixteen(0x9000))})), size=8)
    assert source.channels == channels
    assert source.read(0).shape == (channels, 8, 8)


def test_channels_can_be_asked_for(tmp_path: Path) -> None:
    path = str(as_folder(tmp_path, {"a.png": png(0)}))
    assert open_source(path, size=8, channels=1).read(0).shape == (1, 8, 8)


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere does not exist.*stacked-digits"):
        open_source(str(tmp_path / "nowhere"), size=8)


def test_a_file_that_is_no_zip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK but not really")
    with pytest.raises(UserError, match="neither a folder nor a sound zip"):
        open_source(str(tmp_path / "a.zip"), size=8)


@packings
def test_no_images_is_refused(tmp_path: Path, pack: Packing) -> None:
    with pytest.raises(UserError, match=r"no images in .*1 other files.*\.png"):
        open_source(str(pack(tmp_path, {"readme.txt": b"-"})), size=8)


def test_a_zip_is_read_from_many_threads(tmp_path: Path) -> None:
    source = open_source(str(as_zip(tmp_path, {f"{i:03}.png": png(i) for i in range(60)})), size=8)
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(source.read, list(range(60)) * 5))
    assert all((image == noise(i % 60).transpose(2, 0, 1)).all() for i, image in enumerate(read))


# The embedded data


def test_digits_is_labelled_by_digit() -> None:
    source = open_source("digits", size=16)
    images, labels = digits(16)
    assert source.class_names == tuple("0123456789")
    assert source.labels is not None
    np.testing.assert_array_equal(source.labels, labels)
    np.testing.assert_array_equal(source.read(5), images[5])
    assert open_source("digits", size=16, channels=3).read(5).shape == (3, 16, 16)


def test_stacked_digits_has_modes_for_scoring_but_no_labels() -> None:
    source = open_source("stacked-digits", size=8)
    assert (source.labels, source.class_names, source.channels) == (None, (), 3)
    assert source.modes is not None
    assert source.modes.shape == (len(source),)
    assert set(source.modes.tolist()) <= set(range(1000))
    with pytest.raises(UserError, match=r"data\.channels"):
        open_source("stacked-digits", size=8, channels=1)


# Damage


DAMAGED = {
    "truncated.png": png(0, height=64, width=64)[:-2000],
    "truncated.jpg": encoded(Image.fromarray(noise(0, 64, 64)), "JPEG")[:-900],
    "zero.png": b"",
    "text.jpg": b"this is no image",
    "flipped.png": png(0)[:60] + b"\xff" * 20 + png(0)[80:],
}


@packings
def test_damaged_images_are_read_as_unreadable(tmp_path: Path, pack: Packing) -> None:
    source = open_source(str(pack(tmp_path, DAMAGED)), size=8)
    for index, name in enumerate(source.names):
        with pytest.raises(UnreadableImage, match=name):
            source.read(index)


def test_a_damaged_zip_member_is_unreadable(tmp_path: Path) -> None:
    path = as_zip(tmp_path, {"a.png": png(0), "b.png": png(1)})
    content = bytearray(path.read_bytes())
    content[60] ^= 0xFF
    path.write_bytes(content)
    source = open_source(str(path), size=8)
    with pytest.raises(UnreadableImage, match=r"a\.png"):
        source.read(0)
    np.testing.assert_array_equal(source.read(1), noise(1).transpose(2, 0, 1))


@pytest.mark.parametrize("side", [20, 100])  # Pillow warns over its limit and refuses over twice its limit.
def test_a_decompression_bomb_is_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: int) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)
    source = open_source(str(as_folder(tmp_path, {"a.png": png(0, height=side, width=side)})), size=8, channels=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with pytest.raises(UnreadableImage, match="limit"):
            source.read(0)


@packings
def test_under_one_per_cent_of_damage_is_skipped(tmp_path: Path, pack: Packing) -> None:
    good = {f"{i % 2}/{i:03}.png": png(i) for i in range(150)}
    source = open_source(str(pack(tmp_path, good | {"0/0000.png": b"damaged"})), size=8)
    images = load_images(source, range(len(source)))
    assert images.skipped == ["0/0000.png"]
    assert len(images) == 150
    assert images.labels is not None
    assert images.labels.tolist() == [0] * 75 + [1] * 75
    np.testing.assert_array_equal(images.take([0])[0].numpy(), noise(0).transpose(2, 0, 1))


def test_more_damage_is_an_error_naming_five(tmp_path: Path) -> None:
    files = {f"good{i:02}.png": png(i) for i in range(90)} | {f"bad{i}.png": b"" for i in range(7)}
    source = open_source(str(as_folder(tmp_path, files)), size=8)
    with pytest.raises(UserError, match="at least 7 of 97") as caught:
        load_images(source, range(len(source)))
    assert [f"bad{i}.png" in str(caught.value) for i in range(7)] == [True] * 5 + [False] * 2


def test_exactly_one_per_cent_is_too_much(tmp_path: Path) -> None:
    files = {f"{i:02}.png": png(0) for i in range(99)} | {"bad.png": b""}
    source = open_source(str(as_folder(tmp_path, files)), size=8)
    with pytest.raises(UserError, match=r"bad\.png: not an image"):
        load_images(source, range(100))


# Split


def test_the_split_is_disjoint_sorted_and_complete() -> None:
    train, heldout = split(103, 0.1, 1.0, seed=0)
    assert len(heldout) == 10
    np.testing.assert_array_equal(np.sort(np.concatenate([train, heldout])), np.arange(103))
    assert (np.diff(train) > 0).all()
    assert (np.diff(heldout) > 0).all()


def test_the_heldout_images_do_not_depend_on_the_fraction() -> None:
    whole, heldout = split(1000, 100, 1.0, seed=3)
    for fraction in (0.5, 0.1):
        train, again = split(1000, 100, fraction, seed=3)
        np.testing.assert_array_equal(again, heldout)
        assert len(train) == 900 * fraction
        assert set(train) < set(whole)
        whole = train


def test_the_only_image_of_a_class_is_never_held_out() -> None:
    labels = np.array([0] * 50 + [1] * 50 + list(range(2, 12)))
    for seed in range(20):
        train, heldout = split(len(labels), 0.3, seed=seed, labels=labels)
        assert set(labels[train]) == set(range(12))
        assert len(heldout) == 33
        np.testing.assert_array_equal(np.sort(np.concatenate([train, heldout])), np.arange(len(labels)))


def test_labels_change_no_split_that_leaves_every_class_an_image() -> None:
    labels = np.arange(1000) % 10
    for ours, theirs in zip(split(1000, 0.1, 0.5, 3, labels=labels), split(1000, 0.1, 0.5, 3), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_class_of_one_for_every_image_is_split_all_the_same() -> None:
    train, heldout = split(10, 0.2, labels=np.arange(10))
    assert (len(train), len(heldout)) == (8, 2)


def test_the_split_depends_on_the_seed_and_nothing_else() -> None:
    assert all((a == b).all() for a, b in zip(split(50, 5, 0.5, 1), split(50, 5, 0.5, 1), strict=True))
    assert not np.array_equal(split(50, 5, 0.5, 1)[1], split(50, 5, 0.5, 2)[1])


def test_max_images_caps_the_training_images() -> None:
    assert len(split(100, 0, 0.5, 0, max_images=7)[0]) == 7
    assert len(split(100, 0, 0.5, 0, max_images=70)[0]) == 50
    assert len(split(100, 0)[1]) == 0


@pytest.mark.parametrize(
    ("heldout", "fraction", "key"),
    [
        (10, 1.0, "data.heldout"),
        (1.0, 1.0, "data.heldout"),
        (-1, 1.0, "data.heldout"),
        (0, 0.0, "data.fraction"),
        (0, 1.5, "data.fraction"),
        (0, 0.01, "data.fraction"),
    ],
)
def test_an_impossible_split_names_the_key(heldout: float, fraction: float, key: str) -> None:
    with pytest.raises(UserError, match=key):
        split(10, heldout, fraction)


# Fingerprint


def test_the_fingerprint_is_of_the_content() -> None:
    images = np.stack([noise(i) for i in range(4)])
    base = fingerprint(images)
    assert fingerprint(iter(images.copy())) == base
    changed = images.copy()
    changed[3, 0, 0, 0] ^= 1
    reshaped = [images.reshape(4, 8, 24, 1), images.reshape(8, 4, 8, 3)]
    prints = [fingerprint(other) for other in [changed, images[::-1], images[:3], *reshaped]]
    prints += [fingerprint(images, np.arange(4)), fingerprint(images, np.arange(4)[::-1])]
    assert len({base, *prints}) == 8


def test_the_fingerprint_ignores_names_and_packing(tmp_path: Path) -> None:
    folder = as_folder(tmp_path, {"x/a.png": png(0), "y/b.png": png(1)})
    packed = as_zip(tmp_path, {"cat/1.png": png(0), "dog/2.png": encoded(Image.fromarray(noise(1)), "TIFF")})
    prints = [load_images(open_source(str(path), size=8), [0, 1]).fingerprint for path in (folder, packed)]
    assert prints[0] == prints[1]


# Real data, where it is at hand


def shared(name: str) -> str:
    if not (SHARED / name).exists():
        pytest.skip(f"{name} is not in the shared data folder")
    return str(SHARED / name)


def test_cifar10_is_read_bit_exactly_with_its_classes() -> None:
    source = open_source(shared("cifar10_test.zip"), size=32)
    assert (len(source), source.channels) == (10_000, 3)
    assert source.class_names[0] == "airplane"
    assert source.labels is not None
    assert np.bincount(source.labels).tolist() == [1000] * 10
    with zipfile.ZipFile(SHARED / "cifar10_test.zip") as archive, archive.open(source.names[7]) as file:
        np.testing.assert_array_equal(source.read(7), np.asarray(Image.open(file)).transpose(2, 0, 1))


def test_celeba_is_cropped_square() -> None:
    source = open_source(shared("celeba10k.zip"), size=64)
    assert (len(source), source.labels) == (10_000, None)
    assert source.read(0).shape == (3, 64, 64)


def test_imagenette_folders_are_classes() -> None:
    source = open_source(shared("imagenette128.zip"), size=128)
    assert source.labels is not None
    assert len(source.class_names) == 10
    assert len(np.unique(source.labels)) == 10
