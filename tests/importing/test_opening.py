"""Other programs' files in place of a checkpoint: used directly, without executing their code."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers import Run
from importing.malicious import MALICIOUS
from importing.test_use import imported, photographs
from importing.writers import FAMILIES

import steadygan as library
from steadygan.errors import UserError
from steadygan.importing import opening
from steadygan.importing.layouts.common import Unsaid
from steadygan.importing.opening import as_checkpoint
from steadygan.metrics.protocol import PROTOCOLS


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEADYGAN_CACHE", str(tmp_path / "cache"))


def pickled(folder: Path) -> Path:
    (folder / "web").mkdir()
    return FAMILIES["stylegan2-ada"](folder / "web").files[0]


def test_a_file_from_the_web_becomes_pictures_in_one_command(steadygan: Run, tmp_path: Path) -> None:
    file = pickled(tmp_path)
    result = steadygan("sample", file, "--num", "4")
    assert (result.status, result.err) == (0, "")
    for text in ("StyleGAN2", "3×16×16, 3 classes", "assumed     float32", "licence     NVIDIA"):
        assert text in result.out
    assert sorted(path.name for path in file.parent.iterdir()) == [
        "network-snapshot-samples.png",
        "network-snapshot.pkl",
    ]
    (made,) = (tmp_path / "cache" / "imported").glob("*/network-snapshot")
    stamp = (made / "manifest.json").stat().st_mtime_ns
    result = steadygan("interpolate", file, "--rows", "1", "--steps", "2")
    assert "licence     NVIDIA" in result.out
    assert (made / "manifest.json").stat().st_mtime_ns == stamp, "imported once"


def test_pictures_of_a_file_are_made_again(steadygan: Run, tmp_path: Path) -> None:
    steadygan("sample", pickled(tmp_path), "--num", "2", "--out", tmp_path / "a" / "b" / "sheet.png")
    result = steadygan("remake", tmp_path / "a" / "b" / "sheet.png")
    assert (result.status, result.err) == (0, "")
    for text in ("network-snapshot, step 0", "licence     NVIDIA"):
        assert text in result.out


def test_a_malicious_file_is_refused_and_leaves_nothing(steadygan: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.pkl").write_bytes(MALICIOUS["os.system"])
    result = steadygan("sample", tmp_path / "bad.pkl")
    assert result.status == 2
    assert "system" in result.err
    assert "nothing in the file was run" in result.err
    assert os.listdir(tmp_path) == ["bad.pkl"]


@pytest.mark.filterwarnings("ignore:.*assumed")
def test_load_takes_the_file_and_the_import_alike(tmp_path: Path) -> None:
    there = library.load(imported("stylegan2-ada", tmp_path), device="cpu")
    here = library.load(tmp_path / "network-snapshot.pkl", device="cpu")
    assert torch.equal(there.sample(3, seed=1), here.sample(3, seed=1))


def test_load_warns_of_what_the_file_does_not_say(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"snapshot\.pkl: assumed float32"):
        as_checkpoint(pickled(tmp_path))


def test_a_folder_of_hugging_face_is_taken_whole(tmp_path: Path) -> None:
    (tmp_path / "hub").mkdir()
    files = FAMILIES["huggingface"](tmp_path / "hub").files
    folder = as_checkpoint(files[0].parent)
    assert (folder / "statistics.safetensors").is_file()
    assert as_checkpoint(files[0]).parent == folder.parent
    config = files[0].with_name("config.json")
    config.write_text(config.read_text() + "\n")
    assert as_checkpoint(files[0]).parent != folder.parent, "config.json is a part of it"


def test_the_name_decides_as_the_content_does(tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    files = FAMILIES["studiogan"](tmp_path / "web").files
    other = shutil.copy(files[0], tmp_path / files[0].name.replace("G_ema", "G"))
    with pytest.warns(UserWarning, match="assumed"):
        assert as_checkpoint(files[0]) != as_checkpoint(Path(other))


def test_a_setting_that_is_missing_comes_with_its_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def asks(*_: object) -> None:
        raise Unsaid("conv_clamp", "the file does not contain its bound of activations")

    monkeypatch.setattr(opening, "import_files", asks)
    (tmp_path / "G.pth").write_bytes(b"x")
    with pytest.raises(UserError, match=r"import \S+G\.pth --set conv_clamp=VALUE --out FOLDER`, then use FOLDER"):
        as_checkpoint(tmp_path / "G.pth")


def test_a_generator_without_a_run_is_scored_against_named_images(
    steadygan: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PROTOCOLS, "tiny", replace(PROTOCOLS["tiny"], num_fake=20))
    file, photos = pickled(tmp_path), photographs(tmp_path / "photos", 16, 3)
    result = steadygan("evaluate", file)
    assert result.status == 2
    assert f"evaluate {file} --data IMAGES" in result.err
    result = steadygan("evaluate", file, "--data", photos)
    assert (result.status, result.err) == (0, "")
    for text in ("FD-tiny", "20 fakes against 18 train reals", "licence     NVIDIA"):
        assert text in result.out
    result = steadygan("evaluate", file, "--data", photos, "--protocol", "health")
    assert (result.status, "needs a run" in result.err) == (2, True)
