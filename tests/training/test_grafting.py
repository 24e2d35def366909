"""Fine-tuning with other classes or another size: shared parameters are copied, the rest is reported."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exporting.made import checkpoint
from helpers import Run, tiny_run
from importing.writers import FAMILIES
from PIL import Image

import steadygan as package
from steadygan.errors import UserError
from steadygan.importing import import_files
from steadygan.recipes.finetune import fine_tuning
from steadygan.runs.checkpoint import read_manifest, read_weights
from steadygan.training.grafting import can_differ, graft

QUICK = ["train.steps=1", "train.batch_size=4", "data.heldout=0", "eval.num_fake=20", "train.device=cpu"]
STILL = ["optim.g.lr=1e-30", "optim.d.lr=1e-30", *QUICK]
"""A learning rate of next to nothing shows what a run starts with."""


def photographs(folder: Path, size: int, classes: int) -> Path:
    rng = np.random.default_rng(0)
    for label in range(classes):
        (folder / str(label)).mkdir(parents=True)
        for number in range(6):
            pixels = rng.integers(0, 255, (size, size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / str(label) / f"{number}.png")
    return folder


def imported(folder: Path, **changes: Any) -> Path:
    written = FAMILIES["stylegan2-ada"](folder, **changes)
    import_files(written.files, folder / "model")
    return folder / "model"


def trained(images: Path, source: Path, out: Path, *overrides: str) -> Path:
    """The checkpoint of a run that starts from `source`."""
    config = fine_tuning(str(images), str(source), [f"train.init_from={source}", *STILL, *overrides])
    file = out.with_suffix(".yaml")
    file.write_text(config.to_yaml())
    return next((package.train(file, out=out).path / "checkpoints").glob("step-*"))


@pytest.mark.filterwarnings("always:images of .* are under the licence")
def test_a_folder_and_a_source_are_enough(steadygan: Run, tmp_path: Path) -> None:
    source, images = imported(tmp_path), photographs(tmp_path / "photos", 16, 3)
    result = steadygan("train", images, f"train.init_from={source}", *STILL)
    assert result.status == 0, result.err
    assert "NVIDIA Source Code License" in result.err
    run = tmp_path / "runs" / "photos-finetune"
    made = read_manifest(next((run / "checkpoints").glob("step-*")))["generator"]
    theirs = read_manifest(source)["generator"]
    for key in ("kind", "size", "channels", "classes", "latent", "width", "prior"):
        assert made[key] == theirs[key], key
    assert theirs["options"].items() <= made["options"].items()
    before, after = read_weights(source), read_weights(next((run / "checkpoints").glob("step-*")))
    for name in ("G.first.conv.weight", "D.blocks.0.conv1.weight"):
        torch.testing.assert_close(after[name], before[name], rtol=0, atol=1e-20)


def test_lower_blocks_rest_steps_adapt_and_a_stopped_run_resumes(tmp_path: Path) -> None:
    source, images = imported(tmp_path), photographs(tmp_path / "photos", 16, 3)
    overrides = [f"train.init_from={source}", "train.freeze_critic=1", "augment.ada={}", *QUICK]
    file = tmp_path / "fine.yaml"
    file.write_text(fine_tuning(str(images), str(source), overrides).to_yaml())
    with pytest.warns(UserWarning, match="NVIDIA Source Code License"):
        run = package.train(file, out=tmp_path / "run").path
    with pytest.warns(UserWarning, match="NVIDIA Source Code License"):
        assert package.train(run, ["train.steps=2"], resume=True).finished
    before, after = read_weights(source), read_weights(run / "checkpoints" / "step-00000002")
    assert torch.equal(before["D.blocks.0.conv1.weight"], after["D.blocks.0.conv1.weight"])
    assert not torch.equal(before["D.blocks.1.conv1.weight"], after["D.blocks.1.conv1.weight"])
    assert any("ada" in line for line in (run / "metrics.jsonl").read_text().splitlines())


@pytest.mark.filterwarnings("ignore:images of .* are under the licence")
def test_from_unconditional_to_conditional_the_images_stay_what_they_were(tmp_path: Path) -> None:
    source = checkpoint("stylegan2", tmp_path, classes=0, options={"noise": False})
    images = photographs(tmp_path / "photos", 16, 3)
    with pytest.warns(UserWarning, match=r"has no D"), pytest.warns(UserWarning, match="unconditional, this run cond"):
        made = trained(images, source, tmp_path / "run", "model.conditional=true", "train.ema.half_life=null")
    before, after = (package.load(path, device="cpu").sample(3, seed=1) for path in (source, made))
    assert int((before.int() - after.int()).abs().max()) <= 1
    fresh = json.loads((tmp_path / "run" / "provenance.json").read_text())["init_from"]["fresh"]
    assert {"D", "G.mapping.embedding", "G.mapping.embedding_bias"} <= set(fresh)
    assert not [name for name in fresh if "layers" in name]


@pytest.mark.filterwarnings("ignore:images of .* are under the licence")
def test_other_classes_start_afresh_and_the_rest_is_taken_over(tmp_path: Path) -> None:
    source, images = imported(tmp_path), photographs(tmp_path / "photos", 16, 2)
    with pytest.warns(UserWarning, match=r"conditional on 3 classes, this run conditional on 2.*mapping\.embedding"):
        made = trained(images, source, tmp_path / "run")
    before, after = read_weights(source), read_weights(made)
    fresh = set(json.loads((tmp_path / "run" / "provenance.json").read_text())["init_from"]["fresh"])
    assert fresh == {"D.head.mapping.embedding", "G.mapping.embedding", "G_ema.mapping.embedding"}
    for name in after.keys() - fresh:
        if name.startswith(("G.", "D.")) and "w_avg" not in name:
            torch.testing.assert_close(after[name], before[name], rtol=0, atol=1e-20)


@pytest.mark.filterwarnings("ignore:images of .* are under the licence")
@pytest.mark.parametrize(("size", "steps"), [(32, 1), (64, 2)])
def test_a_larger_size_keeps_every_resolution_that_was_there(tmp_path: Path, size: int, steps: int) -> None:
    source, images = imported(tmp_path), photographs(tmp_path / "photos", size, 3)
    with pytest.warns(UserWarning, match=f"images of 16 pixels, this run of {size}: newly initialised: G\\."):
        made = trained(images, source, tmp_path / "run", f"data.size={size}")
    before, after = read_weights(source), read_weights(made)
    for i in range(2):
        for name in ("conv1.weight", "conv2.weight", "shortcut.weight"):
            there, here = before[f"D.blocks.{i}.{name}"], after[f"D.blocks.{i + steps}.{name}"]
            torch.testing.assert_close(here, there, rtol=0, atol=1e-20)
    for name in ("constant", "first.conv.weight", "layers.1.conv.weight", "to_rgb.2.weight", "mapping.layers.0.weight"):
        torch.testing.assert_close(after[f"G.{name}"], before[f"G.{name}"], rtol=0, atol=1e-20)
    fresh = json.loads((tmp_path / "run" / "provenance.json").read_text())["init_from"]["fresh"]
    assert "D.from_rgb.weight" in fresh
    assert "G.to_rgb.3.weight" in fresh


def test_a_smaller_size_leaves_the_outer_blocks_out() -> None:
    source = {"D.from_rgb.weight": torch.ones(1), "D.blocks.0.w": torch.zeros(2), "D.blocks.1.w": torch.ones(2)}
    mine = {"D.from_rgb.weight": torch.zeros(1), "D.blocks.0.w": torch.full((2,), 5.0)}
    found = graft(source, mine, -1)
    assert torch.equal(found.weights["D.blocks.0.w"], torch.ones(2))
    assert found.fresh == ["D.from_rgb.weight"]
    assert found.left == ["D.blocks.-1.w"]


def test_batch_norms_of_new_classes_begin_as_the_one_there_was() -> None:
    source = {"G.n.weight": torch.tensor([1.0, 2]), "G.n.bias": torch.tensor([3.0, 4])}
    found = graft(source, {"G.n.gamma": torch.zeros(3, 2), "G.n.beta": torch.zeros(3, 2)}, 0)
    assert torch.equal(found.weights["G.n.gamma"], torch.tensor([[1.0, 2]] * 3))
    assert torch.equal(found.weights["G.n.beta"], torch.tensor([[3.0, 4]] * 3))
    assert (found.fresh, found.left) == ([], [])
    found = graft({"G.n.gamma": torch.tensor([[1.0, 2], [3, 4]])}, {"G.n.gamma": torch.zeros(3, 2)}, 0)
    assert torch.equal(found.weights["G.n.gamma"], torch.tensor([[2.0, 3]] * 3))


DESCRIPTION = {"kind": "biggan", "size": 64, "channels": 3, "classes": 3, "latent": 8, "width": 4, "options": {}}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"classes": 0}, "their images depend on the class"),
        ({"size": 128}, r"layers of model\.kind=biggan have other widths at another size; set data\.size=64"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        can_differ(DESCRIPTION, DESCRIPTION | change)


@pytest.mark.parametrize("change", [{}, {"width": 8}, {"kind": "dcgan", "classes": 0}])
def test_equal_and_foreign_networks_are_not_grafted(change: dict[str, Any]) -> None:
    assert can_differ(DESCRIPTION, DESCRIPTION | change) is False


@pytest.mark.filterwarnings("ignore:images of .* are under the licence")
def test_a_block_that_starts_afresh_does_not_rest(tmp_path: Path) -> None:
    source, images = imported(tmp_path), photographs(tmp_path / "photos", 32, 3)
    with pytest.raises(UserError, match=re.escape("would freeze a newly initialised block (D.")):
        trained(images, source, tmp_path / "run", "data.size=32", "train.freeze_critic=1")
    assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("ignore:images of .* are under the licence")
def test_a_critic_with_other_options_is_refused_with_other_classes_too(tmp_path: Path) -> None:
    source, images = imported(tmp_path), photographs(tmp_path / "photos", 16, 2)
    with pytest.raises(UserError, match=r"another architecture"):
        trained(images, source, tmp_path / "run", "model.critic.fmap_max=4")


@pytest.mark.filterwarnings("ignore:images of .* are under the licence")
def test_a_generator_that_was_given_away_is_a_source_too(tmp_path: Path) -> None:
    shared = Path(package.export(imported(tmp_path), "zip", tmp_path / "shared.zip"))
    images = photographs(tmp_path / "photos", 16, 3)
    with pytest.warns(UserWarning, match="has no D: initialised at random"):
        made = trained(images, shared, tmp_path / "run")
    before, after = read_weights(tmp_path / "model"), read_weights(made)
    torch.testing.assert_close(after["G.constant"], before["G_ema.constant"], rtol=0, atol=1e-20)


def test_a_run_of_ones_own_is_a_source_with_its_settings(tmp_path: Path) -> None:
    settings = [*tiny_run("data.channels=1"), "train.steps=1", "objective.loss=wasserstein"]
    source = package.train("digits", settings, out=tmp_path / "source").path
    config = fine_tuning(str(photographs(tmp_path / "photos", 16, 2)), str(source), [f"train.init_from={source}"])
    assert (config.objective.loss, config.model.width, config.data.channels) == ("wasserstein", 2, 1)
    assert config.data.path == str(tmp_path / "photos")
    assert config.train.steps == 10_000
