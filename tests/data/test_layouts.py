"""From a path to images and labels: folders, class folders, dataset.json, zips, the embedded digits."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from data.making import (
    Packing,
    as_data_folder,
    as_data_tar,
    as_data_tgz,
    as_data_zip,
    as_folder,
    encoded,
    noise,
    packings,
    png,
)
from PIL import Image

from steadygan.data.decoding import UnreadableImage
from steadygan.data.digits import digits
from steadygan.data.source import open_source
from steadygan.errors import UserError


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
        open_source(str(as_data_folder(tmp_path, {"a.png": png(0), "b.png": png(1), "dataset.json": labels})), size=8)


@packings
def test_dataset_json_with_null_labels_is_unlabelled_whatever_the_folders(tmp_path: Path, pack: Packing) -> None:
    files = {"0/a.png": png(0), "1/a.png": png(1), "dataset.json": b'{"labels": null}'}
    source = open_source(str(pack(tmp_path, files)), size=8)
    assert len(source) == 2
    assert source.labels is None


@packings
def test_a_dataset_json_of_another_program_costs_no_classes(tmp_path: Path, pack: Packing) -> None:
    files = {"ant/a.png": png(0), "bee/b.png": png(1), "dataset.json": b'{"name": "insects", "licence": "CC0"}'}
    with pytest.warns(UserWarning, match=r'dataset\.json in .* is not read, as it has no "labels": if another program'):
        source = open_source(str(pack(tmp_path, files)), size=8)
    assert source.class_names == ("ant", "bee")
    assert source.labels is not None
    assert source.labels.tolist() == [0, 1]
    assert source.ignored == 1


@pytest.mark.parametrize(
    ("manifest", "complaint"),
    [
        ('{"labels": [["a.png", 0], ["gone.png", 1]]}', r"names 1 files that do not exist.*gone\.png"),
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
    path = as_data_folder(tmp_path, {"a.png": png(0), "dataset.json": manifest.encode()})
    with pytest.raises(UserError, match=complaint):
        open_source(str(path), size=8)


@packings
@pytest.mark.parametrize("made", ["@eaDir/1.png", "#recycle", "$RECYCLE.BIN", "lost+found", "__MACOSX", ".thumbnails"])
def test_what_systems_put_beside_images_is_not_trained_on(tmp_path: Path, pack: Packing, made: str) -> None:
    images = ("cat/1.png", "dog/2.png")
    files = {name: png(0) for name in (*images, f"{made}/thumb.png", f"cat/{made}/thumb.png")}
    source = open_source(str(pack(tmp_path, files)), size=8)
    assert (source.names, source.class_names, source.ignored) == (images, ("cat", "dog"), 2)


@packings
def test_one_stray_file_costs_no_label(tmp_path: Path, pack: Packing) -> None:
    files = {f"{kind}/{index}.png": png(index) for kind in ("cat", "dog") for index in range(5)}
    path = pack(tmp_path, files | {"logo.png": png(99)})
    with pytest.warns(UserWarning, match=r"1 images are skipped, .*none of the 2 class folders: logo\.png"):
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


@packings
def test_a_part_in_every_class_is_no_class(tmp_path: Path, pack: Packing) -> None:
    parts = ("train", "train", "val")
    files = {f"{kind}/{part}/{i}.png": png(i) for kind in ("cat", "dog") for i, part in enumerate(parts)}
    with pytest.warns(UserWarning, match=r"only the 4 images of \*/train/ are used, and 2 are left out$"):
        source = open_source(str(pack(tmp_path, files)), size=8)
    assert source.class_names == ("cat", "dog")
    assert all("/train/" in name for name in source.names)


@pytest.mark.parametrize(
    ("folders", "kept", "classes"),
    [
        (("train2017", "val2017"), ("train2017",), ()),
        (("train_images", "test_images"), ("train_images",), ()),
        (("set_train_HR", "set_valid_HR"), ("set_train_HR",), ()),
        (("cat_train", "cat_val", "dog_train", "dog_val"), ("cat_train", "dog_train"), ("cat", "dog")),
        (("trainA", "trainB", "testA", "testB"), ("trainA", "trainB"), ("A", "B")),
        (("train/cat/images", "train/dog/images", "val/images"), ("train/cat/images", "train/dog/images"),
         ("cat", "dog")),
        (("train/cat", "train/dog", "val/cat", "extra", "."), ("train/cat", "train/dog"), ("cat", "dog")),
    ],
)  # fmt: skip
def test_test_images_stay_out_however_folders_say_it(
    tmp_path: Path, folders: tuple[str, ...], kept: tuple[str, ...], classes: tuple[str, ...]
) -> None:
    path = as_data_folder(tmp_path, {f"{folder}/{i}.png": png(i) for folder in folders for i in range(2)})
    with pytest.warns(UserWarning, match=f"only the {2 * len(kept)} images of .* are used"):
        source = open_source(str(path), size=8)
    assert source.names == tuple(f"{folder}/{i}.png" for folder in kept for i in range(2))
    assert source.class_names == classes


@pytest.mark.parametrize("names", [("train_station", "test_tube"), ("car", "bus", "train"), ("bullet_train", "cat")])
def test_classes_that_sound_like_parts_are_classes(tmp_path: Path, names: tuple[str, ...]) -> None:
    path = as_data_folder(tmp_path, {f"{name}/{i}.png": png(i) for name in names for i in range(2)})
    assert open_source(str(path), size=8).class_names == tuple(sorted(names))


@packings
def test_one_folder_in_every_class_is_packaging(tmp_path: Path, pack: Packing) -> None:
    files = {f"set/{kind}/images/{i}.png": png(i) for kind in ("cat", "dog") for i in range(2)}
    source = open_source(str(pack(tmp_path, files)), size=8)
    assert source.labels is not None
    assert (source.class_names, source.labels.tolist()) == (("cat", "dog"), [0, 0, 1, 1])


def test_images_of_kinds_that_are_not_read_are_named(tmp_path: Path) -> None:
    files = {"a.png": png(0), **{f"IMG_{index}.HEIC": b"?" for index in range(3)}}
    with pytest.warns(UserWarning, match=r"3 images are skipped and 1 .*IMG_0\.HEIC, IMG_1\.HEIC, IMG_2"):
        open_source(str(as_data_folder(tmp_path, files)), size=8)
    (tmp_path / "data/a.png").unlink()
    with pytest.raises(UserError, match=r"3 of them images of unsupported formats, IMG_0\.HEIC"):
        open_source(str(tmp_path / "data"), size=8)


@pytest.mark.parametrize("wanted", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("pack", [as_data_folder, as_data_zip, as_data_tar, as_data_tgz])
def test_files_without_an_ending_are_known_by_their_content(tmp_path: Path, pack: Packing, wanted: str) -> None:
    files = {"b": encoded(Image.fromarray(noise(1)), wanted), "a.png": png(0), "README": b"of mine", "empty": b""}
    source = open_source(str(pack(tmp_path, files)), size=8)
    assert (source.names, source.ignored) == (("a.png", "b"), 2)
    assert source.read(1).shape == (3, 8, 8)


@packings
@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("a.zip", r"archives inside are not read, a\.zip: give one of them"),
        ("a.dat", r"but a\.dat is a PNG: name such"),
    ],
)
def test_where_no_image_is_seen_what_is_there_is_named(
    tmp_path: Path, pack: Packing, name: str, complaint: str
) -> None:
    with pytest.raises(UserError, match=complaint):
        open_source(str(pack(tmp_path, {name: png(0)})), size=8)


@packings
def test_archives_beside_images_are_warned_of(tmp_path: Path, pack: Packing) -> None:
    with pytest.warns(UserWarning, match=r"are not read, more/b\.zip: unpack them"):
        assert open_source(str(pack(tmp_path, {"a.png": png(0), "more/b.zip": b"?"})), size=8).names == ("a.png",)


def test_two_data_sets_side_by_side_are_refused(tmp_path: Path) -> None:
    files = {f"{part}/{name}": data for part in ("test", "train") for name, data in
             {"a.png": png(0), "dataset.json": b'{"labels": [["a.png", 0]]}'}.items()}  # fmt: skip
    with pytest.raises(UserError, match=r"test/dataset\.json and train/dataset\.json"):
        open_source(str(as_data_folder(tmp_path, files)), size=8)


def linked(path: Path, target: Path) -> None:
    try:
        os.symlink(target, path)
    except OSError:
        pytest.skip("this system makes no symbolic links")


def test_linked_folders_are_followed(tmp_path: Path) -> None:
    root = as_data_folder(tmp_path, {"a/1.png": png(0)})
    linked(root / "b", as_data_folder(tmp_path / "elsewhere", {"2.png": png(0), "deep/3.png": png(0)}))
    assert open_source(str(root), size=8).names == ("a/1.png", "b/2.png", "b/deep/3.png")


@pytest.mark.parametrize("target", ["..", "", "a", "b", "b/deep"])
def test_no_folder_is_read_twice_through_links(tmp_path: Path, target: str) -> None:
    root = as_data_folder(tmp_path, {"a/1.png": png(0), "b/2.png": png(0), "b/deep/notes.txt": b""})
    linked(root / "a" / "link", root / target)
    linked(root / "b" / "deep" / "back", root / "a")
    with pytest.warns(
        UserWarning, match="2 links to folders are skipped, as their targets are read already: a/link, b/deep/back"
    ):
        source = open_source(str(root), size=8)
    assert (source.names, source.class_names) == (("a/1.png", "b/2.png"), ("a", "b"))


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("", "^data.path is empty: give the images' path"),
        (" ", "^data.path is empty: give the images' path"),
        ("'cats'", r"\(it is cats, without quotes and spaces\)"),
        ("cats ", r"\(it is cats, without quotes and spaces\)"),
        ("catz", r"\(did you mean cats\?\)"),
        ("Cats", r"\(did you mean cats\?\)"),
        ("Digits", r"\(did you mean 'digits'\?\)"),
        ("digit", r"\(did you mean 'digits'\?\)"),
        ("$DATA/cats", r"\(its variable was not expanded: "),
        ("https://example.org/cats.zip", r"\(URLs are not supported: "),
        ("HF:user/cats", r"\(did you mean hf:user/cats\?\)"),
        ("cifar-10", r"\(did you mean torchvision:CIFAR10\?\)"),
        ("something else", "^something else does not exist: give a folder"),
        ("os:getcwd", "^data.path: os:getcwd is not a function of a path, which it is called with"),
    ],
)
def test_a_path_that_leads_nowhere_is_answered_with_what_it_may_mean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, complaint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    as_folder(tmp_path / "cats", {"a.png": png(0)})
    with pytest.raises(UserError, match=complaint):
        open_source(path, size=8)


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere does not exist.*stacked-digits"):
        open_source(str(tmp_path / "nowhere"), size=8)


def test_a_file_that_is_no_zip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK but not really")
    with pytest.raises(UserError, match="neither a folder nor a valid zip"):
        open_source(str(tmp_path / "a.zip"), size=8)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", r"\(it is empty\)"),
        (b"Rar!\x1a\x07\x01\0", r"\(a rar or 7z archive: unpack it\)"),
        (b"7z\xbc\xaf'\x1c", r"\(a rar or 7z archive: unpack it\)"),
        (png(0), r"\(one PNG image: give its folder\)"),
    ],
)
def test_a_file_that_is_no_container_is_called_what_it_is(tmp_path: Path, data: bytes, complaint: str) -> None:
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(UserError, match=complaint):
        open_source(str(tmp_path / "x"), size=8)


def test_an_empty_file_and_a_link_to_nothing_are_called_so(tmp_path: Path) -> None:
    root = as_data_folder(tmp_path, {"a.png": png(0), "b.png": b""})
    linked(root / "c.png", tmp_path / "nowhere.png")
    source = open_source(str(root), size=8)
    reasons = [error.reason for index in (1, 2) if isinstance(error := source.try_read(index), UnreadableImage)]
    assert reasons == [
        "not an image, as it is empty",
        "the file does not exist (a broken link, or removed meanwhile)",
    ]


@packings
def test_no_images_is_refused(tmp_path: Path, pack: Packing) -> None:
    with pytest.raises(UserError, match=r"no images in .*1 other files.*\.png"):
        open_source(str(pack(tmp_path, {"readme.txt": b"-"})), size=8)


def test_a_zip_is_read_from_many_threads(tmp_path: Path) -> None:
    source = open_source(str(as_data_zip(tmp_path, {f"{i:03}.png": png(i) for i in range(60)})), size=8)
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
