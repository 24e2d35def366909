"""A shared generator: bit for bit the checkpoint's, described by its card, and safe to open."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from exporting.made import FAMILIES, checkpoint
from helpers import Run, command
from PIL import Image

import steadygan as package
from steadygan.errors import UserError
from steadygan.exporting.card import card
from steadygan.exporting.subject import Options, open_subject
from steadygan.generators.remaking import remake, stamp_for
from steadygan.runs.shared import CARD, CONFIG, MODEL, NAMES, SHEET

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEADYGAN_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("to", ["safetensors", "zip"])
@pytest.mark.parametrize("kind", [kind for kind in FAMILIES if "translate" not in kind])
def test_images_are_the_same_bits_as_from_the_checkpoint(kind: str, to: str, tmp_path: Path) -> None:
    path = checkpoint(kind, tmp_path)
    shared = package.export(path, to, tmp_path / ("shared.zip" if to == "zip" else "shared"))
    before, after = (package.load(place, device="cpu").sample(5, seed=3) for place in (path, shared))
    assert torch.equal(before, after)
    assert not torch.equal(before[0], before[1])


@pytest.mark.parametrize("name", ["mine", "mine (1).bin"])
def test_a_zip_is_known_by_what_it_lists_whatever_it_is_called(name: str, tmp_path: Path) -> None:
    shared = package.export(checkpoint("dcgan", tmp_path), "zip", tmp_path / name)
    assert shared == tmp_path / name
    assert package.load(shared, device="cpu").kind == "dcgan"


@pytest.mark.parametrize("to", ["safetensors", "zip"])
@pytest.mark.parametrize("kind", ["translate", "unet-translate"])
def test_translations_are_the_same_bits_in_both_directions(kind: str, to: str, tmp_path: Path) -> None:
    path = checkpoint(kind, tmp_path)
    shared = package.export(path, to, tmp_path / ("shared.zip" if to == "zip" else "shared"))
    image = torch.randint(0, 256, (3, 20, 24), dtype=torch.uint8)
    before, after = (package.load_translator(place, device="cpu") for place in (path, shared))
    for direction in ("a2b", "b2a"):
        assert torch.equal(before.translate(image, direction), after.translate(image, direction))


@pytest.mark.parametrize(("kind", "use"), [("translate", "translate"), ("dcgan", "sample")])
def test_an_export_ends_with_the_command_that_uses_it(
    kind: str, use: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = checkpoint(kind, tmp_path)
    assert command("export", path, "--to", "safetensors", "--out", tmp_path / "given away") == 0
    assert f"steadygan {use} '{tmp_path / 'given away'}' --" in capsys.readouterr().out


def test_statistics_by_truncation_go_along(tmp_path: Path) -> None:
    path = checkpoint("dcgan", tmp_path, prior="truncated", statistics=tables(tmp_path))
    shared = package.export(path, "zip", tmp_path / "shared.zip")
    before, after = (package.load(place, device="cpu") for place in (path, shared))
    assert torch.equal(before.sample(3, truncation=0.4), after.sample(3, truncation=0.4))
    assert not torch.equal(after.sample(3, truncation=0.4), after.sample(3, truncation=0.8))


def tables(folder: Path) -> dict[str, torch.Tensor]:
    net = package.load(checkpoint("dcgan", folder / "first"), device="cpu").module
    norms = {name: value for name, value in net.state_dict().items() if "running_" in name}
    return {name: torch.stack([value * scale for scale in (0.5, 1.0, 2.0)]) for name, value in norms.items()}


def test_an_export_of_an_export_is_the_same(tmp_path: Path) -> None:
    path = checkpoint("dcgan", tmp_path)
    first = Path(package.export(path, "zip", tmp_path / "first.zip"))
    second = Path(package.export(first, "zip", tmp_path / "second.zip"))
    assert first.read_bytes() == second.read_bytes()


def test_images_are_made_again_from_an_export(tmp_path: Path) -> None:
    path = checkpoint("dcgan", tmp_path)
    generator = package.load(path, device="cpu")
    stamp = stamp_for(generator, "ema", "from_seeds", {"seeds": [4], "batch_size": 1})
    shared = package.load(package.export(path, "safetensors", tmp_path / "shared"), device="cpu")
    assert torch.equal(remake(stamp, shared), generator.from_seeds([4]))


def test_the_card_says_what_a_run_was_and_how_it_scored(trained_copy: Path, tmp_path: Path) -> None:
    folder = Path(package.export(trained_copy, "safetensors", tmp_path / "shared", licence="CC BY 4.0"))
    assert {file.name for file in folder.iterdir()} == {MODEL, CONFIG, CARD, SHEET}
    text = (folder / CARD).read_text()
    scores = [json.loads(line) for line in (trained_copy / "scores.jsonl").read_text().splitlines()]
    step = package.load(folder, device="cpu").step
    scored = next(row for row in scores if row["step"] == step)
    for told in ("hinge", "training images: ", "Seeds 0 to 31", "CC BY 4.0", "import steadygan", "ema weights"):
        assert told in text
    assert f"| FD-digits | {scored['FD-digits']:.4g} | digits: {scored['protocol']['num_fake']} fakes" in text
    assert str(tmp_path) not in text
    with Image.open(folder / SHEET) as sheet:
        assert sheet.width > 8 * 32


def test_the_card_names_the_weights_that_training_started_from(trained_copy: Path) -> None:
    provenance = json.loads((trained_copy / "provenance.json").read_text())
    provenance["init_from"] = {"checkpoint": "/somewhere/private", "weights_sha256": "ab" * 32}
    (trained_copy / "provenance.json").write_text(json.dumps(provenance))
    text = card(open_subject(trained_copy, Options()), 0)
    assert f"started from the weights with SHA-256 `{'ab' * 32}`" in text
    assert "private" not in text


def test_the_card_of_an_import_repeats_its_terms_and_origin(tmp_path: Path) -> None:
    path = checkpoint("stylegan2", tmp_path, licence="for research only")
    folder = Path(package.export(path, "safetensors", tmp_path / "shared"))
    text = (folder / CARD).read_text()
    assert "applies to these too: for research only" in text
    assert "imported from a test's" in text
    assert package.load(folder, device="cpu").licence == "for research only"


def test_only_the_averaged_generator_is_given_away(trained_copy: Path, tmp_path: Path) -> None:
    from safetensors import safe_open

    folder = Path(package.export(trained_copy, "safetensors", tmp_path / "shared"))
    with safe_open(folder / MODEL, "pt") as file:
        assert set(file.keys()) == set(package.load(trained_copy, device="cpu").module.state_dict())
    with pytest.raises(UserError, match="only averaged weights"):
        package.load(folder, weights="raw")


def test_commands_take_a_folder_and_a_zip(steadygan: Run, tmp_path: Path) -> None:
    path = checkpoint("dcgan", tmp_path)
    assert steadygan("export", path, "--to", "zip", "--out", tmp_path / "shared.zip").status == 0
    result = steadygan("sample", tmp_path / "shared.zip", "--num", "4")
    assert result.status == 0
    assert (tmp_path / "shared-samples.png").is_file()
    result = steadygan("interpolate", tmp_path / "shared.zip", "--out", tmp_path / "i.png", "--rows", "2")
    assert (result.status, (tmp_path / "i.png").is_file()) == (0, True)
    assert steadygan("export", path, "--to", "safetensors", "--out", tmp_path / "shared").status == 0
    result = steadygan("sample", tmp_path / "shared", "--num", "4")
    assert result.status == 0
    assert (tmp_path / "shared" / "samples.png").read_bytes() != (tmp_path / "shared-samples.png").read_bytes()
    result = steadygan("sample", tmp_path / "shared", "--num", "4", "--out", tmp_path / "shared" / "mine.png")
    assert result.status == 2
    assert "holds its own files only" in result.err


def test_what_exists_is_not_written_over(tmp_path: Path) -> None:
    path = checkpoint("dcgan", tmp_path)
    (tmp_path / "there.zip").write_text("mine")
    with pytest.raises(UserError, match="exists already"):
        package.export(path, "zip", tmp_path / "there.zip")
    assert (tmp_path / "there.zip").read_text() == "mine"


def test_an_unknown_form_names_the_nearest(steadygan: Run, tmp_path: Path) -> None:
    result = steadygan("export", checkpoint("dcgan", tmp_path), "--to", "onxx")
    assert result.status == 2
    assert "did you mean 'onnx'?" in result.err


# ------------------------------------------------------------------------------------------------ files from others
def rezipped(
    source: Path, out: Path, *, edit: Any = None, compression: int = zipfile.ZIP_STORED, top: str = ""
) -> Path:
    """The same files in another zip; edit: changes the list of (name, content)."""
    with zipfile.ZipFile(source) as archive:
        files = [(top + name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, content in files if edit is None else edit(files):
            archive.writestr(zipfile.ZipInfo(name), content, compress_type=compression)
    return out


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    return Path(package.export(checkpoint("dcgan", tmp_path), "zip", tmp_path / "shared.zip"))


def test_a_zip_that_was_packed_again_by_hand_is_read(shared: Path, tmp_path: Path) -> None:
    again = rezipped(shared, tmp_path / "again.zip", compression=zipfile.ZIP_DEFLATED, top="shared/")
    images = [package.load(path, device="cpu").sample(2) for path in (shared, again)]
    assert torch.equal(*images)


@pytest.mark.parametrize(
    ("edit", "complaint"),
    [
        (lambda files: [*files, ("run.py", b"raise SystemExit")], "'run.py', not a file"),
        (lambda files: [*files, ("../escape.txt", b"out")], "all in one place"),
        (lambda files: [("a/../../" + name, content) for name, content in files], "all in one place"),
        (lambda files: [("/" + name, content) for name, content in files][:0], "all in one place"),
        (lambda files: [entry for entry in files if entry[0] != CONFIG], f"has no {CONFIG}"),
        (lambda files: [entry for entry in files if entry[0] != MODEL], f"has no {MODEL}"),
        (lambda files: [*files, ("deep/er/x.safetensors", b"")], "all in one place"),
    ],
)
def test_a_zip_of_anything_else_is_refused(shared: Path, tmp_path: Path, edit: Any, complaint: str) -> None:
    bad = rezipped(shared, tmp_path / "bad.zip", edit=edit)
    with pytest.raises(UserError, match=complaint.replace("(", r"\(")):
        package.load(bad)
    assert not list(tmp_path.rglob("escape.txt"))
    assert not list((tmp_path / "cache").rglob("run.py"))


def test_a_zip_that_would_unpack_to_far_more_is_refused(shared: Path, tmp_path: Path) -> None:
    bomb = rezipped(
        shared,
        tmp_path / "bomb.zip",
        edit=lambda files: [(name, bytes(64 << 20) if name == MODEL else content) for name, content in files],
        compression=zipfile.ZIP_DEFLATED,
    )
    with pytest.raises(UserError, match="nothing was unpacked"):
        package.load(bomb)
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


@pytest.mark.parametrize("place", ["middle", "end"])
def test_a_damaged_zip_is_refused(shared: Path, tmp_path: Path, place: str) -> None:
    raw = bytearray(shared.read_bytes())
    if place == "end":
        raw = raw[: len(raw) * 2 // 3]
    else:
        raw[len(raw) // 2] ^= 0xFF
    (tmp_path / "damaged.zip").write_bytes(raw)
    with pytest.raises(UserError, match=r"damaged\.zip"):
        package.load(tmp_path / "damaged.zip")


def test_a_changed_weight_is_noticed(tmp_path: Path) -> None:
    folder = Path(package.export(checkpoint("dcgan", tmp_path), "safetensors", tmp_path / "shared"))
    raw = bytearray((folder / MODEL).read_bytes())
    raw[-5] ^= 1
    (folder / MODEL).write_bytes(raw)
    with pytest.raises(UserError, match="changed since it was written"):
        package.load(folder)


@pytest.mark.parametrize(
    "change", [{"width": 60_000}, {"size": 1 << 20}, {"kind": "os:system"}, {"options": {"blocks": 10**9}}]
)
def test_a_description_that_lies_allocates_nothing(tmp_path: Path, change: dict[str, Any]) -> None:
    folder = Path(package.export(checkpoint("dcgan", tmp_path), "safetensors", tmp_path / "shared"))
    config = json.loads((folder / CONFIG).read_text())
    config["generator"] |= change
    (folder / CONFIG).write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"description|not part of steadygan|size"):
        package.load(folder)


@pytest.mark.parametrize("listed", [9 << 20, 1 << 62])
def test_weights_with_a_list_of_tensors_as_long_as_no_network_s_are_refused(tmp_path: Path, listed: int) -> None:
    folder = Path(package.export(checkpoint("dcgan", tmp_path), "safetensors", tmp_path / "shared"))
    (folder / MODEL).write_bytes(listed.to_bytes(8, "little") + b"{}")
    with pytest.raises(UserError, match=r"model\.safetensors: damaged: its list of tensors has"):
        package.load(folder)


@pytest.mark.parametrize("change", [{"width": 60_000}, {"classes": 60_000}])
def test_a_checkpoint_s_description_that_lies_is_refused_before_memory_is_taken(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    path = checkpoint("dcgan", tmp_path)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["generator"] |= change
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=r"implies [\d,]+ numbers, but weights\.safetensors has"):
        package.load(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [({"options": {"blocks": 60_000}}, "blocks must be at most 128"), ({"directions": ["a2b"] * 60_000}, "directions")],
)
def test_a_translation_s_description_that_lies_builds_nothing(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    path = checkpoint("translate", tmp_path)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["generator"] |= change
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=said):
        package.load_translator(path)


def test_a_folder_with_other_files_of_those_names_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / MODEL).write_bytes(b"x")
    (folder / CONFIG).write_text('{"architectures": ["Bert"]}')
    with pytest.raises(UserError, match=f"{CONFIG} is missing or unreadable"):
        package.load(folder)


def test_names_are_those_that_are_written(shared: Path) -> None:
    with zipfile.ZipFile(shared) as archive:
        assert set(archive.namelist()) <= set(NAMES)
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        assert {entry.external_attr >> 16 for entry in archive.infolist()} == {0o644}, "whoever unpacks it can read it"


@pytest.fixture
def trained_copy(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))
