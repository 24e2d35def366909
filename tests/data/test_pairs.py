"""Two domains: layouts, pairing, and jitter that keeps pairs aligned."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from steadygan.config import validate
from steadygan.data.domains import DomainSources, Fit, open_domains, open_whole
from steadygan.data.pair_images import PairSet, load_domains
from steadygan.data.pair_loader import PairLoader
from steadygan.errors import UserError
from steadygan.tasks.choice import build_images
from steadygan.tasks.images import Images

SIDE = 12
FITS: tuple[Fit, ...] = ("crop", "squash")


def picture(value: int, size: tuple[int, int] = (SIDE, SIDE)) -> Image.Image:
    """An image recognised by its colour; a gradient to the right and down reveals flips and crops."""
    x = np.arange(size[0])[None, :, None] + 3 * np.arange(size[1])[:, None, None]
    return Image.fromarray((x + np.array([value, value, 0])).astype(np.uint8))


def write(folder: Path, names: list[str], *, offset: int = 0) -> None:
    for index, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(10 * index + offset).save(path)


def side_by_side(folder: Path, names: list[str]) -> None:
    for index, name in enumerate(names):
        both = Image.new("RGB", (2 * SIDE, SIDE))
        both.paste(picture(10 * index), (0, 0))
        both.paste(picture(10 * index + 5), (SIDE, 0))
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        both.save(path)


LAYOUTS = {
    "trainA": ("trainA/{}", "trainB/{}", "testA/{}", "testB/{}"),
    "train/A": ("train/A/{}", "train/B/{}", "test/A/{}", "test/B/{}"),
    "val": ("train/A/{}", "train/B/{}", "val/A/{}", "val/B/{}"),
    "A/train": ("A/train/{}", "B/train/{}", "A/test/{}", "B/test/{}"),
    "A/val": ("A/train/{}", "B/train/{}", "A/val/{}", "B/val/{}"),
    "packed in a folder": ("set/trainA/{}", "set/trainB/{}", "set/testA/{}", "set/testB/{}"),
}


def make(folder: Path, layout: str) -> None:
    places = LAYOUTS[layout]
    names = ["0.png", "1.png", "2.png"]
    for place, offset in zip(places, (0, 5, 0, 5), strict=True):
        write(folder, [place.format(name) for name in (names if "train" in place else names[:2])], offset=offset)


def brightness(sources: DomainSources) -> list[tuple[int, int]]:
    return [
        (int(sources.a.read(i)[0, 0, 0]), int(sources.b.read(i)[0, 0, 0])) for i in range(min(map(len, sources[:2])))
    ]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_domains_are_found_in_folders_and_zips(tmp_path: Path, layout: str, packed: bool) -> None:
    make(tmp_path / "images", layout)
    path = tmp_path / "images"
    if packed:
        path = tmp_path / "images.zip"
        with zipfile.ZipFile(path, "w") as file:
            for image in sorted((tmp_path / "images").rglob("*.png")):
                file.write(image, image.relative_to(tmp_path / "images").as_posix())
            file.writestr("__MACOSX/trainA/._0.png", b"?")
    found = open_domains(str(path), size=SIDE)
    assert brightness(found["train"]) == [(0, 5), (10, 15), (20, 25)]
    assert brightness(found["test"]) == [(0, 5), (10, 15)]
    assert all(sources.aligned for sources in found.values())


@pytest.mark.parametrize("folder", ["", "train/"])
def test_a_side_by_side_image_is_a_pair_of_its_halves(tmp_path: Path, folder: str) -> None:
    side_by_side(tmp_path, [f"{folder}{index}.jpg.png" for index in range(3)])
    if folder:
        side_by_side(tmp_path, ["test/9.png"])
    found = open_domains(str(tmp_path), size=SIDE)
    assert brightness(found["train"]) == [(0, 5), (10, 15), (20, 25)]
    assert ("test" in found) == bool(folder)


def test_domains_without_a_split_are_for_training(tmp_path: Path) -> None:
    write(tmp_path, ["A/x.png", "B/x.png"])
    assert open_domains(str(tmp_path), size=SIDE).keys() == {"train"}


def test_partners_have_one_name_whatever_its_ending_and_place_in_the_order(tmp_path: Path) -> None:
    write(tmp_path, ["trainA/a.png", "trainA/a1.png"])
    write(tmp_path, ["trainB/a.bmp", "trainB/a1.png"], offset=5)
    assert brightness(open_domains(str(tmp_path), size=SIDE)["train"]) == [(0, 5), (10, 15)]


def test_an_image_without_a_partner_is_named_unless_the_domains_are_unpaired(tmp_path: Path) -> None:
    write(tmp_path, ["trainA/a.png", "trainA/lonely.png", "trainB/a.png"])
    with pytest.raises(UserError, match=r"lonely\.png has no image of its name in domain B"):
        open_domains(str(tmp_path), size=SIDE)
    sources = open_domains(str(tmp_path), size=SIDE, paired=False)["train"]
    assert (len(sources.a), len(sources.b), sources.aligned) == (2, 1, False)


@pytest.mark.parametrize("names", [["cats/x.png", "dogs/y.png"], ["trainA/x.png"], []])
def test_a_folder_without_two_domains_is_refused_with_the_layouts(tmp_path: Path, names: list[str]) -> None:
    write(tmp_path, names)
    with pytest.raises(UserError, match="trainA/ and trainB/"):
        open_domains(str(tmp_path), size=SIDE)


@pytest.mark.parametrize("size", [(SIDE, 2 * SIDE), (2 * SIDE + 1, SIDE)])
def test_an_image_that_cannot_be_two_is_refused_with_its_size(tmp_path: Path, size: tuple[int, int]) -> None:
    side_by_side(tmp_path, ["a.png", "b.png"])
    picture(0, size).save(tmp_path / "x.png")
    sources = open_domains(str(tmp_path), size=SIDE)["train"]
    with pytest.raises(UserError, match=f"x.png: {size[0]}×{size[1]} is not two images side by side"):
        sources.a.read(2)


@pytest.mark.parametrize("size", [(SIDE, SIDE), (3 * SIDE // 2, SIDE)])
@pytest.mark.parametrize("folder", ["", "train/"])
@pytest.mark.parametrize("paired", [False, True])
def test_ordinary_photographs_are_never_halved(
    tmp_path: Path, size: tuple[int, int], folder: str, paired: bool
) -> None:
    (tmp_path / folder).mkdir(exist_ok=True)
    for index in range(3):
        picture(index, size).save(tmp_path / f"{folder}{index}.png")
    with pytest.raises(UserError, match=f"0.png is {size[0]}×{size[1]}.*(?s:.)*A/train/ and B/train/"):
        open_domains(str(tmp_path), size=SIDE, paired=paired)


def test_halving_is_said_aloud(tmp_path: Path) -> None:
    side_by_side(tmp_path, ["0.png", "1.png"])
    sources = open_domains(str(tmp_path), size=SIDE)["train"]
    images = load_domains(sources, dict.fromkeys("ab", np.arange(2)), size=SIDE, paired=True)
    assert images.noun == "pairs (the left half of each image is A, the right half B)"


def test_a_split_in_one_domain_alone_is_not_trained_on(tmp_path: Path) -> None:
    write(tmp_path, ["A/train/x.png", "A/test/y.png", "B/x.png", "B/y.png"])
    with pytest.raises(UserError, match="A/train/ and B/train/"):
        open_domains(str(tmp_path), size=SIDE)


def test_an_image_that_is_not_square_is_cropped_or_squashed(tmp_path: Path) -> None:
    bands = np.zeros((30, 10, 3), np.uint8)
    bands[:10] = 255
    for folder in ("A", "B"):
        (tmp_path / folder).mkdir()
        Image.fromarray(bands).save(tmp_path / folder / "x.png")
    cropped, squashed = (
        open_domains(str(tmp_path), size=10, fit=fit)["train"].a.read(0)[0] for fit in ("crop", "squash")
    )
    assert cropped.shape == squashed.shape == (10, 10)
    assert cropped.max() == 0
    assert squashed[0].min() == 255
    assert squashed[-1].max() == 0


@pytest.mark.parametrize("grey", [("A", "B"), ("A",), ()])
def test_images_are_grey_only_if_both_domains_are(tmp_path: Path, grey: tuple[str, ...]) -> None:
    for folder in ("A", "B"):
        (tmp_path / folder).mkdir()
        image = picture(0).convert("L") if folder in grey else picture(0)
        image.save(tmp_path / folder / "x.png")
    sources = open_domains(str(tmp_path), size=SIDE)["train"]
    assert sources.a.channels == sources.b.channels == (1 if len(grey) == 2 else 3)


def pair_set(tmp_path: Path, *, count: int = 8, paired: bool = True, load_size: int = 16, size: int = SIDE) -> PairSet:
    """B is A, pixel for pixel."""
    for folder in ("A", "B"):
        write(tmp_path, [f"{folder}/{index}.png" for index in range(count)])
    sources = open_domains(str(tmp_path), size=size, paired=paired, load_size=load_size)["train"]
    indices = {"a": np.arange(count), "b": np.arange(count)}
    return load_domains(sources, indices, size=size, paired=paired)


def test_order_flip_and_cut_are_the_same_for_both_images_of_a_pair(tmp_path: Path) -> None:
    images = pair_set(tmp_path)
    loader = PairLoader(images, batch_size=4, seed=0, flip=True)
    seen = set()
    for _ in range(8):
        batch = loader.batch()
        (a, _), (b, _) = batch["a"], batch["b"]
        assert a.shape == (4, 3, SIDE, SIDE)
        assert torch.equal(a, b)
        seen |= {tuple(image.flatten().tolist()) for image in a}
    assert len(seen) > 24, "32 draws of 8 images, 2 flips and 25 places"


def test_unpaired_domains_are_shuffled_flipped_and_cut_independently(tmp_path: Path) -> None:
    batch = PairLoader(pair_set(tmp_path, paired=False), batch_size=8, seed=0, flip=True).batch()
    assert not any(torch.equal(a, b) for a, b in zip(batch["a"][0], batch["b"][0], strict=True))


def test_every_place_is_cut_out_sooner_or_later(tmp_path: Path) -> None:
    loader = PairLoader(pair_set(tmp_path, load_size=14), batch_size=8, seed=0)
    places = {tuple(place) for position in range(40) for place in loader._places(0, position, 14).tolist()}
    assert places == {(top, left) for top in range(3) for left in range(3)}


def test_ranks_share_a_global_batch_and_a_stream_goes_on_where_it_stopped(tmp_path: Path) -> None:
    images = pair_set(tmp_path)
    whole = PairLoader(images, batch_size=4, seed=1, flip=True)
    ranks = [PairLoader(images, batch_size=4, seed=1, flip=True, rank=rank, world_size=2) for rank in range(2)]
    for _ in range(3):
        expected = whole.batch()["b"][0]
        assert torch.equal(torch.cat([rank.batch()["b"][0] for rank in ranks]), expected)
    again = PairLoader(images, batch_size=4, seed=1, flip=True)
    again.load_state_dict(whole.state_dict())
    assert again.position == 12
    assert torch.equal(again.batch()["a"][0], whole.batch()["a"][0])


def test_a_pair_with_an_unreadable_image_is_left_out_whole(tmp_path: Path) -> None:
    count = 202
    for folder in ("A", "B"):
        write(tmp_path, [f"{folder}/{index:03d}.png" for index in range(count)])
    (tmp_path / "A" / "003.png").write_bytes(b"?")
    (tmp_path / "B" / "005.png").write_bytes(b"?")
    sources = open_domains(str(tmp_path), size=SIDE)["train"]
    images = load_domains(sources, {"a": np.arange(count), "b": np.arange(count)}, size=SIDE, paired=True)
    assert len(images) == count - 2
    assert sorted(images.skipped) == ["A/003.png", "B/005.png"]
    a, b = images.take(torch.arange(len(images)))
    assert torch.equal(a, b)


@pytest.mark.parametrize("shared", [False, True], ids=["two folders", "side by side"])
def test_domains_bigger_than_memory_are_mapped_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared: bool
) -> None:
    """The cache distinguishes the halves of one file, and its two fits."""
    for index in range(4):
        for folder, width in (("train", 2 * SIDE),) if shared else (("A", 2 * SIDE), ("B", 3 * SIDE)):
            (tmp_path / "images" / folder).mkdir(parents=True, exist_ok=True)
            picture(10 * index, (width, SIDE)).save(tmp_path / "images" / folder / f"{index}.png")
    indices = {"a": np.array([2, 0, 3]), "b": np.array([2, 0, 3])}

    def load(fit: Fit) -> PairSet:
        sources = open_domains(str(tmp_path / "images"), size=SIDE - 2, fit=fit)["train"]
        return load_domains(sources, indices, size=SIDE - 2, paired=True, cache=tmp_path / "cache")

    held = {fit: load(fit) for fit in FITS}
    assert not (tmp_path / "cache").exists()
    monkeypatch.setattr("steadygan.data.images.free_memory", lambda _: 0)
    for fit in FITS:
        mapped = load(fit)
        assert (mapped.a.place, mapped.b.place) == ("in a memory-mapped file",) * 2
        assert mapped.fingerprint == held[fit].fingerprint
        for ours, theirs in zip(mapped.take([0, 1, 2]), held[fit].take([0, 1, 2]), strict=True):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize("place", ["in memory (cpu)", "in a memory-mapped file", "decoded at each use"])
def test_domains_are_read_as_their_configuration_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """The limit counts all images, as for plain data: one unreadable file among 10 test images is one of 40."""
    for part, count in (("train", 30), ("test", 10)):
        for domain in "AB":
            write(tmp_path / "images", [f"{part}{domain}/{index:02d}.png" for index in range(count)])
    (tmp_path / "images/testB/03.png").write_bytes(b"?")
    monkeypatch.setenv("STEADYGAN_CACHE", str(tmp_path / "cache"))
    if "memory (" not in place:
        monkeypatch.setattr("steadygan.data.images.free_memory", lambda _: 0)
    data = {"path": str(tmp_path / "images"), "size": SIDE, "domains": "paired", "cache": "decoded" not in place}

    def images(**more: float) -> Images:
        model, train = {"kind": "translate"}, {"batch_size": 4}
        return build_images(validate({"data": data | more, "model": model, "train": train}), torch.device("cpu"))

    with pytest.raises(UserError, match=r"1 of 40 .*\n  testB/03\.png"):
        images()
    read = images(max_unreadable=0.05)
    assert read.heldout is not None
    assert (read.train.place, len(read.train)) == (place, 30)
    assert (read.heldout.place, len(read.heldout), read.heldout.skipped) == (place, 9, ["testB/03.png"])


def test_the_fingerprint_is_of_the_content_of_both_domains(tmp_path: Path) -> None:
    one = pair_set(tmp_path / "one")
    assert one.fingerprint == pair_set(tmp_path / "two").fingerprint
    assert one.fingerprint != pair_set(tmp_path / "one", paired=False).fingerprint
    assert one.fingerprint != pair_set(tmp_path / "three", count=7).fingerprint


def test_whole_images_keep_their_size_and_take_the_networks_channels(tmp_path: Path) -> None:
    picture(7, (20, 11)).save(tmp_path / "x.png")
    for path in (tmp_path, tmp_path / "x.png"):
        images = open_whole(path, channels=3)
        assert images.names == ("x.png",)
        assert images.read(0).shape == (3, 11, 20)
        assert np.array_equal(images.read(0).transpose(1, 2, 0), np.asarray(picture(7, (20, 11))))
    assert open_whole(tmp_path, channels=1).read(0).shape == (1, 11, 20)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("?")
    with pytest.raises(UserError, match="no images"):
        open_whole(tmp_path, channels=3)
