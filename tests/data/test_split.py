"""The held-out split and the fingerprint; real data, where available."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from data.making import as_data_folder, as_data_zip, encoded, noise, png
from PIL import Image

from steadygan.data.content import fingerprint
from steadygan.data.images import load_images
from steadygan.data.source import open_source
from steadygan.data.split import split
from steadygan.errors import UserError

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


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
    folder = as_data_folder(tmp_path, {"x/a.png": png(0), "y/b.png": png(1)})
    packed = as_data_zip(tmp_path, {"cat/1.png": png(0), "dog/2.png": encoded(Image.fromarray(noise(1)), "TIFF")})
    prints = [load_images(open_source(str(path), size=8), [0, 1]).fingerprint for path in (folder, packed)]
    assert prints[0] == prints[1]


# Real data, where available


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
