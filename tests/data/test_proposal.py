"""The settings that `data info` proposes for layouts of several parts."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from steadygan.data.containers.registry import open_container
from steadygan.data.proposal import propose


def write(root: Path, *names: str, size: tuple[int, int] = (8, 8)) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size).save(root / name)
    return root


PAIRS = {
    "pix2pix": ("A/train/x.png", "B/train/x.png", "A/test/y.png", "B/test/y.png"),
    "domains first": ("trainA/x.png", "trainB/x.png", "testA/y.png", "testB/y.png"),
}


@pytest.mark.parametrize("layout", PAIRS)
def test_pairs_are_proposed_as_a_translation(tmp_path: Path, layout: str) -> None:
    path = str(write(tmp_path / "my set", *PAIRS[layout]))
    found = propose(open_container(path), path)
    side = {"a": 1, "b": 1, "paired": True}
    assert found["domains"] == {"train": side, "test": side}
    assert found["command"] == f"steadygan train cufs-pix2pix 'data.path={path}'"


def test_domains_without_pairs_are_proposed_unpaired(tmp_path: Path) -> None:
    path = str(write(tmp_path, "A/x.png", "A/y.png", "B/z.png"))
    found = propose(open_container(path), path)
    assert found["domains"] == {"train": {"a": 2, "b": 1, "paired": False}}
    assert found["command"] == f"steadygan train cufs-cyclegan data.path={path}"


def test_images_side_by_side_are_pairs_and_squares_are_not(tmp_path: Path) -> None:
    path = str(write(tmp_path / "wide", "x.png", "y.png", size=(16, 8)))
    assert propose(open_container(path), path)["command"] == f"steadygan train cufs-pix2pix data.path={path}"
    path = str(write(tmp_path / "square", "x.png", "y.png"))
    assert propose(open_container(path), path) == {"domains": {}, "splits": {}, "command": None}


def test_of_a_tree_of_classes_its_training_part_is_proposed(tmp_path: Path) -> None:
    names = [f"{part}/{kind}/x.png" for part in ("train", "val") for kind in ("cat", "dog")]
    path = str(write(tmp_path, *names))
    found = propose(open_container(path), path)
    assert (found["domains"], found["splits"]) == ({}, {"train": 2, "val": 2})
    assert found["command"] == f"steadygan train {path}/train"


def test_parts_within_classes_need_no_other_path(tmp_path: Path) -> None:
    names = [f"{kind}/{part}/x.png" for part in ("train", "val") for kind in ("cat", "dog")]
    path = str(write(tmp_path, *names))
    found = propose(open_container(path), path)
    assert (found["splits"], found["command"]) == ({"*/train": 2, "*/val": 2}, None)
