"""An import is an ordinary checkpoint: it samples, translates, and continues training."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import Run
from importing.writers import FAMILIES
from PIL import Image

import steadygan as package
from steadygan.errors import UserError
from steadygan.generators import truncations
from steadygan.importing import import_files
from steadygan.runs.checkpoint import read_statistics, read_weights

QUICK = ["train.device=cpu", "eval.num_fake=20"]


def imported(family: str, folder: Path) -> Path:
    written = FAMILIES[family](folder)
    import_files(written.files, folder / "model", written.options)
    return folder / "model"


def photographs(folder: Path, size: int, classes: int) -> Path:
    rng = np.random.default_rng(0)
    for label in range(classes):
        (folder / str(label)).mkdir(parents=True)
        for number in range(6):
            pixels = rng.integers(0, 255, (size, size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / str(label) / f"{number}.png")
    return folder


def test_the_command_says_what_it_did(steadygan: Run, tmp_path: Path) -> None:
    written = FAMILIES["stylegan2-ada"](tmp_path)
    result = steadygan("import", written.files[0], "--out", tmp_path / "model")
    assert result.status == 0
    for text in ("StyleGAN2", "3×16×16, 3 classes", "left out", "licence     NVIDIA", f"sample {tmp_path / 'model'}"):
        assert text in result.out
    result = steadygan("sample", tmp_path / "model", "--num", "4", "--truncation", "0.7")
    assert result.status == 0
    assert "licence     NVIDIA" in result.out
    assert re.search(r"^4 images +(\S+\.png)$", result.out, re.MULTILINE)
    assert not (tmp_path / "model" / "samples.png").exists(), "a checkpoint is not written in"


def test_the_command_refuses_with_the_reason(steadygan: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.pkl").write_bytes(b"\x80\x04\x8c\x02os\x8c\x06system\x93.")
    result = steadygan("import", tmp_path / "bad.pkl", "--out", tmp_path / "model")
    assert result.status == 2
    assert "os.system" in result.err
    result = steadygan("import", tmp_path / "bad.pkl", "--out", tmp_path / "model", "--set", "size")
    assert result.status == 2
    assert "name=value" in result.err


def test_statistics_go_with_the_truncation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = partial(truncations.standing_statistics, batches=2, batch_size=8)
    monkeypatch.setattr(truncations, "standing_statistics", few)
    path = imported("huggingface", tmp_path)
    generator = package.load(path, device="cpu")
    tables = read_statistics(path)
    own = read_weights(path)

    def mean(truncation: float | str | None) -> torch.Tensor:
        return generator.network(truncation).norm.running_mean

    assert torch.equal(mean(None), own["G_ema.norm.running_mean"])
    assert torch.allclose(mean(0.5), tables["norm.running_mean"][25])
    assert torch.allclose(mean(0.51), tables["norm.running_mean"][25:27].mean(0))
    assert torch.equal(mean(None), own["G_ema.norm.running_mean"])
    with pytest.raises(UserError, match="up to 1"):
        generator.sample(1, truncation=1.5)
    assert torch.allclose(mean("scaled:0.5"), tables["norm.running_mean"][25])
    assert not torch.allclose(mean("redrawn:0.5"), tables["norm.running_mean"][25], rtol=0.1)


def test_what_is_truncated_in_w_has_no_law_by_name(tmp_path: Path) -> None:
    generator = package.load(imported("rosinality", tmp_path), device="cpu")
    assert generator.sample(2, truncation=0.5).shape[0] == 2
    with pytest.raises(UserError, match=r"truncates w and not z; give 0\.5"):
        generator.sample(2, truncation="scaled:0.5")


def test_a_translation_translates(tmp_path: Path) -> None:
    translator = package.load_translator(imported("cyclegan", tmp_path), device="cpu")
    assert translator.directions == ("a2b", "b2a")
    image = torch.randint(0, 256, (3, 20, 24), dtype=torch.uint8)
    assert translator.translate(image, "b2a").shape == image.shape


def test_weights_without_a_training_state_are_not_resumed(tmp_path: Path) -> None:
    from steadygan.runs.checkpoint import load_checkpoint

    with pytest.raises(UserError, match=r"train\.init_from"):
        load_checkpoint(None, imported("stylegan2-ada", tmp_path))  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:images of .* are under the licence")
def test_training_goes_on_from_an_import_with_its_lower_blocks_at_rest(tmp_path: Path) -> None:
    path = imported("stylegan2-ada", tmp_path)
    data = photographs(tmp_path / "data", 16, 3)
    overrides = [f"data.path={data}", "train.steps=1", "train.batch_size=4", "train.freeze_critic=1", "data.heldout=0"]
    run = package.train(path / "finetune.yaml", [*overrides, *QUICK], out=tmp_path / "run")
    before = read_weights(path)
    after = read_weights(next((run.path / "checkpoints").glob("step-*")))
    assert before.keys() == after.keys()
    assert torch.equal(before["D.blocks.0.conv1.weight"], after["D.blocks.0.conv1.weight"])
    assert not torch.equal(before["D.blocks.1.conv1.weight"], after["D.blocks.1.conv1.weight"])
    assert not torch.equal(before["G.first.conv.weight"], after["G.first.conv.weight"])


def test_the_licence_is_said_where_training_starts_and_where_it_goes_on(tmp_path: Path) -> None:
    path = imported("stylegan2-ada", tmp_path)
    data = photographs(tmp_path / "data", 16, 3)
    overrides = [f"data.path={data}", "train.steps=1", "train.batch_size=4", "data.heldout=0", *QUICK]
    with pytest.warns(UserWarning, match="NVIDIA Source Code License"):
        run = package.train(path / "finetune.yaml", overrides, out=tmp_path / "run")
    with pytest.warns(UserWarning, match="NVIDIA Source Code License"):
        package.train(run.path, ["train.steps=2"], resume=True)
    assert "NVIDIA Source Code License" in package.load(run.path, device="cpu").licence
    assert package.load(path, device="cpu").licence == package.load(run.path, device="cpu").licence


def test_a_critic_that_is_not_in_the_file_starts_afresh(tmp_path: Path) -> None:
    written = FAMILIES["biggan"](tmp_path)
    import_files(written.files[:1], tmp_path / "model")
    data = photographs(tmp_path / "data", 32, 3)
    overrides = [f"data.path={data}", "train.steps=1", "train.batch_size=4", "data.heldout=0", *QUICK]
    with pytest.warns(UserWarning, match="has no D: initialised at random"):
        run = package.train(tmp_path / "model" / "finetune.yaml", overrides, out=tmp_path / "run")
    assert any(key.startswith("D.") for key in read_weights(next((run.path / "checkpoints").glob("step-*"))))
