"""`steadygan train FOLDER` and `steadygan plan FOLDER`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import Run
from PIL import Image

from steadygan import config as configuration
from steadygan.recipes.choose import described
from steadygan.recipes.speed import Machine

TINY = ["model.width=2", "train.batch_size=8", "train.steps=3", "train.log_every=1", "train.device=cpu", "eval.every=9"]
TINY += ["eval.num_fake=20"]


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Forty images in two folders, and a machine of a known speed."""
    monkeypatch.setattr(Machine, "_measure", lambda self, config, threads: 0.1 * (threads or 1))
    monkeypatch.setattr(Machine, "memory", lambda self, config, images: 1 << 20)
    monkeypatch.setenv("STEADYGAN_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for number in range(40):
        file = tmp_path / "my photos" / f"class{number % 2}" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(256, size=(32, 32, 3), dtype=np.uint8)).save(file)
    return tmp_path / "my photos"


def test_a_folder_is_trained_on_in_one_command(photos: Path, steadygan: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steadygan.tasks.synthesis.Synthesis.scorer", lambda *_: None)
    result = steadygan("train", photos, *TINY)
    assert (result.status, result.err) == (0, "")
    run = Path("runs/my-photos")
    config = configuration.load(run)
    assert (config.name, config.about.paper, config.model.conditional) == ("my-photos", "your own images", True)
    for word in ("mirroring", "forecast", "expect", "the same as", "verdict", "film"):
        assert word in result.out
    with Image.open(run / "samples/reals.png") as sheet:
        assert sheet.size == (4 * (2 * 34 + 2), 4 * (6 * 34 + 2) + 17)  # two classes, six rows, names
    assert (run / "samples/augmented.png").is_file()
    with Image.open(run / "samples/film.gif") as film:
        assert film.n_frames >= 2
    again = steadygan("train", photos, *TINY)
    assert again.status == 0
    assert Path("runs/my-photos-2/config.yaml").is_file()
    assert "--out runs/my-photos-2\n" in again.out, "the command it names is of this run"


def test_torchrun_restarts_a_folder_s_run_in_its_own_directory(
    photos: Path, steadygan: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("steadygan.tasks.synthesis.Synthesis.scorer", lambda *_: None)
    monkeypatch.setattr("steadygan.recipes.pictures.save_film", lambda *_: None)
    short = [*TINY, "train.steps=1"]
    assert steadygan("train", photos, *short).status == 0  # another run, which has ended
    assert steadygan("train", photos, *short).status == 0
    lost = Path("runs/my-photos-2")
    status = json.loads((lost / "status.json").read_text())
    (lost / "status.json").write_text(json.dumps({**status, "state": "running"}))
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert steadygan("train", photos, *TINY, "train.steps=2").status == 0
    assert [path.name for path in Path("runs").iterdir() if path.name.endswith(("-3", "-4"))] == []
    assert json.loads((lost / "status.json").read_text())["step"] == 2
    assert steadygan("train", photos, *short).status == 0  # the last has ended: this one is new
    assert Path("runs/my-photos-3/config.yaml").is_file()


def test_a_plan_is_written_and_nothing_started(photos: Path, steadygan: Run) -> None:
    result = steadygan("plan", photos, "--hours", "2", "--size", "32", "--out", "mine.yaml")
    assert (result.status, result.err) == (0, "")
    assert not Path("runs").exists()
    config = configuration.load("mine.yaml")
    assert (config.train.hours, config.data.size, config.name) == (2, 32, "my-photos")
    assert steadygan("plan", photos, "--out", "mine.yaml").status == 2


def test_threads_are_those_that_were_quickest(photos: Path, steadygan: Run) -> None:
    assert "train.threads=1" in steadygan("plan", photos).out


def test_threads_that_are_said_are_not_measured_against_others(
    photos: Path, steadygan: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[tuple[int, int | None]] = []

    def measure(self: Machine, config: configuration.Config, threads: int | None) -> float:
        measured.append((config.data.size, threads))
        return 0.001

    monkeypatch.setattr(Machine, "_measure", measure)
    assert "as you said" in steadygan("plan", photos, "train.threads=2", "--hours", "999").out
    assert {threads for _, threads in measured} == {2}


def test_a_step_is_timed_at_each_size(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Machine, "_measure", lambda self, config, threads: config.data.size)
    machine = Machine(torch.device("cpu"), 0, 3)
    of = [described(["model.kind=resnet", "model.width=32", f"data.size={size}"]) for size in (64, 128)]
    assert [machine.seconds(config) for config in of] == [64, 128]


def test_hours_and_size_work_on_presets_too(steadygan: Run) -> None:
    tiny = ["model.width=2", "data.max_images=24", "train.batch_size=8", "train.device=cpu", "train.log_every=1"]
    tiny += ["eval.num_fake=20"]
    result = steadygan("train", "digits", *tiny, "--size", "24", "--hours", "0.001", "train.steps=1", "eval.every=9")
    assert result.status == 0
    config = configuration.load(Path("runs/digits"))
    assert (config.data.size, config.train.hours) == (24, 0.001)


@pytest.mark.parametrize(("command", "said"), [("train", "no images in empty"), ("plan", "nowhere does not exist")])
def test_where_there_are_no_images_it_says_so(command: str, said: str, steadygan: Run) -> None:
    Path("empty").mkdir()
    result = steadygan(command, "empty" if command == "train" else "nowhere")
    assert result.status == 2
    assert said in result.err


def test_data_info_is_a_summary_with_the_command_to_go_on_with(photos: Path, steadygan: Run) -> None:
    result = steadygan("data", "info", photos)
    assert result.status == 0
    for word in ("40 (class folders)", "2, of 20 to 20 images", "are few", "steadygan train '"):
        assert word in result.out


@pytest.mark.parametrize("name", ["digits", "own-images"])
def test_a_preset_is_found_next_to_a_folder_of_its_name(photos: Path, steadygan: Run, name: str) -> None:
    photos.rename(name)
    presets = steadygan("train", name, *TINY, "data.path=digits", "model.conditional=false", "--dry-run")
    assert presets.status == 0
    assert presets.err.count(f"note: {name} is the preset; write ./{name} for the folder") == 1
    images = steadygan("plan", f"./{name}")
    assert (images.status, images.err) == (0, "")
    assert "40 images" in images.out


def test_an_embedded_set_is_told_from_a_folder_of_its_name(photos: Path, steadygan: Run) -> None:
    photos.rename("digits")
    for command in (("data", "info"), ("plan",)):
        assert "note: digits is the embedded set; write ./digits for the folder" in steadygan(*command, "digits").err


def test_the_command_to_go_on_with_is_of_the_folder_and_not_of_a_preset(photos: Path, steadygan: Run) -> None:
    photos.rename("own-images")
    result = steadygan("data", "info", "own-images")
    assert "train ./own-images\n" in result.out
    assert result.err == ""


def test_copies_of_one_image_are_refused_before_anything_is_timed(
    photos: Path, steadygan: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in photos.rglob("*.png"):
        file.write_bytes((photos / "class0/0.png").read_bytes())
    monkeypatch.setattr(Machine, "_measure", lambda *_: pytest.fail("timed"))
    for command in ("plan", "train"):
        result = steadygan(command, photos)
        assert result.status == 2
        assert "40 images, of which 39 repeat another: too few to learn from" in result.err


def test_a_plan_refuses_unreadable_files_as_training_does_and_says_what_leaves_them_out(
    photos: Path, steadygan: Run
) -> None:
    for number in range(3):
        (photos / "class0" / f"broken{number}.png").write_bytes(b"no image")
    plan, train = (steadygan(command, photos) for command in ("plan", "train"))
    assert (plan.status, plan.err) == (train.status, train.err)
    assert plan.status == 2
    for word in ("at least 3 of 43", "broken0.png", "or leave them out with data.max_unreadable=0.08"):
        assert word in plan.err
    assert "timing" not in plan.out
    assert "data.max_unreadable=0.08\n" in steadygan("data", "info", photos).out
    assert steadygan("plan", photos, "data.max_unreadable=0.08").status == 0


@pytest.mark.filterwarnings("ignore:.*holds train/ and val/")
def test_data_info_recommends_no_training_that_would_be_refused(photos: Path, steadygan: Run) -> None:
    (photos / "val").mkdir()
    for number in range(40):
        part = photos / ("train" if number < 12 else "val")
        part.mkdir(exist_ok=True)
        (photos / f"class{number % 2}" / f"{number}.png").rename(part / f"{number}.png")
    (photos / "train" / "broken.png").write_bytes(b"no image")
    result = steadygan("data", "info", photos)
    assert "my photos/train' data.max_unreadable=0.09\n" in result.out
    for number in range(7):
        (photos / "train" / f"{number}.png").unlink()
    refused = steadygan("data", "info", photos)
    assert "has 6 images, of which 1 cannot be read: too few to learn from; use 8 different ones" in refused.out
    assert "next" not in refused.out
    assert "are few" not in refused.out


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["data.size=7"], "data.size must be one of 32, 48, 64, 128, got 7 (model.kind=resnet)"),
        (["--hours", "inf"], "--hours inf: give a finite number of hours, such as 0.5"),
        (["train.batch_size=500"], "only 40 training images"),
        (["train.report=nope"], "train.report: unknown tracker 'nope'"),
        (["eval.protocol=nope"], "eval.protocol: unknown protocol 'nope'"),
        (["objective.terms.nope={}"], "objective.terms.nope: unknown term"),
        (["data.path=elsewhere"], "leave data.path out, or give elsewhere instead"),
        (["train.device=nope"], "device nope: "),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_timed(
    photos: Path, steadygan: Run, monkeypatch: pytest.MonkeyPatch, given: list[str], said: str
) -> None:
    monkeypatch.setattr(Machine, "_measure", lambda *_: pytest.fail("timed"))
    result = steadygan("plan", photos, "model.conditional=false", *given)
    assert result.status == 2
    assert said in result.err


def test_classes_of_images_without_labels_are_refused_before_anything_is_timed(
    photos: Path, steadygan: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Machine, "_measure", lambda *_: pytest.fail("timed"))
    flat = photos / "class0"
    assert "class0 has none: sort the images" in steadygan("plan", flat, "model.conditional=true").err


def test_a_run_directory_that_is_taken_is_refused_before_the_images_are_read(
    photos: Path, steadygan: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("steadygan.recipes.plan.look_at", lambda *_, **__: pytest.fail("read"))
    Path("taken").write_text("a file")
    result = steadygan("train", photos, "--out", "taken")
    assert result.status == 2
    assert "--out taken is a file" in result.err
    (Path("run") / "checkpoints" / "step-00000001").mkdir(parents=True)
    (Path("run") / "checkpoints" / "step-00000001" / "manifest.json").write_text("{}")
    (Path("run") / "config.yaml").write_text("name: run")
    assert "run already holds a run" in steadygan("train", photos, "--out", "run").err
