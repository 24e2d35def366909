"""Outputs are written next to the run, never into a checkpoint or the data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from steadygan.errors import UserError
from steadygan.files import check_apart, check_folder
from steadygan.runs.outputs import check_data, check_output, default_output


def checkpoint(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in ("manifest.json", "weights.safetensors"):
        (folder / name).write_text("{}")
    return folder


def run_of(tmp_path: Path) -> Path:
    run, data = tmp_path / "runs/x", tmp_path / "photos"
    data.mkdir()
    checkpoint(run / "checkpoints/step-1")
    (run / "config.yaml").write_text("")
    (run / "provenance.json").write_text(json.dumps({"data": {"path": str(data)}}))
    return run


def test_what_is_made_of_a_checkpoint_goes_into_its_run_or_next_to_it(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    assert default_output(run, "samples.png") == run / "samples.png"
    assert default_output(run / "checkpoints/step-1", "samples.png") == run / "samples.png"
    assert default_output(run / "checkpoints", "samples.png") == run / "samples.png"
    assert default_output(checkpoint(tmp_path / "biggan"), "samples.png") == tmp_path / "biggan-samples.png"


@pytest.mark.parametrize("place", ["step-1", "step-1/made/here"])
def test_no_output_goes_into_a_checkpoint(tmp_path: Path, place: str) -> None:
    folder = run_of(tmp_path) / "checkpoints" / place
    with pytest.raises(UserError, match="step-1 is a checkpoint, which holds its own files only"):
        check_folder(folder, folder)


def test_no_output_goes_between_checkpoints(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    with pytest.raises(UserError, match="checkpoints is for the checkpoints of a run alone; name another place"):
        check_folder(run / "checkpoints", run / "checkpoints/x.png")
    check_folder(tmp_path / "checkpoints", tmp_path / "checkpoints")


@pytest.mark.parametrize("place", ["photos", "photos/cat", "photos/../photos/x.png", "link/x.png"])
def test_no_output_goes_into_the_training_images(tmp_path: Path, place: str) -> None:
    run = run_of(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    for source in (run, run / "checkpoints/step-1"):
        with pytest.raises(UserError, match="the training images, of which it would become a part; name another"):
            check_output(tmp_path / place, source)
    with pytest.raises(UserError, match="the training images"):
        check_data(tmp_path / place, str(tmp_path / "photos"))
    check_output(tmp_path / "photos2/x.png", run)
    check_data(tmp_path / "runs", "digits")


def test_a_damaged_provenance_is_no_obstacle_to_samples(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    (run / "provenance.json").write_text("{")
    check_output(tmp_path / "photos/x.png", run)


def test_a_file_is_never_its_own_output(tmp_path: Path) -> None:
    file = tmp_path / "a.zip"
    file.write_bytes(b"?")
    with pytest.raises(UserError, match=r"OUT .*a\.zip: is the images to pack"):
        check_apart(tmp_path / "." / "a.zip", file, "the images to pack", option="OUT")
    check_apart(tmp_path / "b.zip", file, "the images to pack")
