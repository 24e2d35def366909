"""Recognising the project that wrote a file, settings that files lack, and files that are refused."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from importing import style_files
from importing.writers import FAMILIES

from steadygan.errors import UserError
from steadygan.importing import Refused, import_files


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_recognised_without_being_told(family: str, tmp_path: Path) -> None:
    written = FAMILIES[family](tmp_path)
    names = {"pix2pix": "CycleGAN", "cyclegan": "CycleGAN", "huggingface": "Hugging Face", "studiogan": "StudioGAN"}
    names |= {
        "stylegan2-ada": "NVIDIA",
        "stylegan2-state": "state dict in NVIDIA",
        "biggan": "BigGAN-PyTorch",
        "rosinality": "rosinality",
    }
    assert names[family] in import_files(written.files, tmp_path / "out", written.options).family


def test_the_embedded_source_is_not_run_and_the_arguments_are_kept(tmp_path: Path) -> None:
    written = style_files.stylegan2_ada(tmp_path)  # its source raises SystemExit
    imported = import_files(written.files, tmp_path / "out")
    assert imported.arguments["G"] == {"args": [], "of": "Generator"}
    assert imported.arguments["training_set"] == {"path": "data", "sizes": [1, 2]}
    assert "NVIDIA" in imported.licence


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("classes", [0, 3])
def test_configurations_of_nvidia_are_those_of_the_file(residual: bool, classes: int, tmp_path: Path) -> None:
    written = style_files.stylegan2_ada(tmp_path, classes=classes, clamp=None, residual=residual)
    imported = import_files(written.files, tmp_path / "out")
    assert imported.critic is not None
    assert imported.critic["options"]["residual"] is residual
    assert imported.generator["classes"] == imported.critic["classes"] == classes
    assert imported.generator["options"]["mapping_layers"] == 2
    assert imported.generator["options"]["conv_clamp"] is None


def inside(content: dict[str, Any], *path: str) -> dict[str, Any]:
    """The attributes of one of the discriminator's modules."""
    module = content["D"]
    for name in path:
        module = module.attributes["_modules"][name]
    attributes: dict[str, Any] = module.attributes
    return attributes


def parameter(*shape: int, value: float = 1.0) -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.full(shape, value))


EDITS: dict[str, tuple[Any, str]] = {
    "another architecture": (lambda c: inside(c, "b8").update(architecture="skip"), "architecture"),
    "another activation": (lambda c: inside(c, "b4", "conv").update(activation="relu"), "activation"),
    "another learning rate of a layer": (lambda c: inside(c, "b4", "fc").update(bias_gain=0.5), "learning rate"),
    "another filter": (
        lambda c: inside(c, "b8")["_parameters"].update(resample_filter=parameter(4, 4)),
        r"\[1, 3, 3, 1\]",
    ),
    "a tensor more": (
        lambda c: inside(c, "b8")["_parameters"].update(more=parameter(2)),
        r"no counterpart for its tensor b8\.more",
    ),
    "a tensor less": (lambda c: inside(c, "b8")["_modules"].pop("conv1"), "without conv1"),
    "a tensor of another shape": (
        lambda c: inside(c, "b8", "conv1")["_parameters"].update(weight=parameter(2, 6, 3, 3)),
        r"\[2, 6, 3, 3\]",
    ),
    "numbers that are not finite": (
        lambda c: inside(c, "b4", "fc")["_parameters"].update(bias=parameter(6, value=float("nan"))),
        "not finite",
    ),
    "another group": (lambda c: inside(c, "b4", "mbstd").update(group_size=None), "group_size"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_another_network_than_ours_is_refused_and_nothing_written(edit: str, tmp_path: Path) -> None:
    change, message = EDITS[edit]
    written = style_files.stylegan2_ada(tmp_path, edit=change)
    with pytest.raises(Refused, match=message):
        import_files(written.files, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def save(folder: Path, value: Any, name: str = "file.pth") -> Path:
    torch.save(value, folder / name)
    return folder / name


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["GAN.G.blocks.0.to_style1.weight"], "lucidrains"),
        (["model_state_dict.block2.c1.weight"], "mimicry"),
        (["g.init.init.0.weight_orig"], "FastGAN.*model.kind=fastgan"),
        (["g_ema.iwt.hh", "g_ema.style.1.weight", "g_ema.input.input"], "SWAGAN"),
        (["whatever.weight"], "no networks of a family"),
    ],
)
def test_files_of_other_families_are_refused_by_name(names: list[str], message: str, tmp_path: Path) -> None:
    tree: dict[str, Any] = {}
    for name in names:
        *path, last = name.split(".", 1) if name.startswith(("GAN", "model", "g.", "g_ema.")) else [name]
        inner = tree
        for key in path:
            inner = inner.setdefault(key, {})
        inner[last] = torch.zeros(1)
    with pytest.raises(Refused, match=message):
        import_files([save(tmp_path, tree)], tmp_path / "out")


def test_a_whole_network_in_a_file_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="state dict"):
        import_files([save(tmp_path, torch.nn.Linear(2, 2))], tmp_path / "out")


def test_four_attentions_at_one_side_are_another_network(tmp_path: Path) -> None:
    written = FAMILIES["biggan"](tmp_path)
    critic = torch.load(tmp_path / "D.pth", weights_only=True)
    critic |= {f"blocks.{i}.1.gamma": torch.zeros(()) for i in range(4)}
    save(tmp_path, critic, "D.pth")
    with pytest.raises(Refused, match="one for each side"):
        import_files(written.files, tmp_path / "out")


def test_what_a_file_cannot_say_is_asked_for(tmp_path: Path) -> None:
    written = FAMILIES["cyclegan"](tmp_path)
    imported = import_files(written.files, tmp_path / "a")
    assert any(text.startswith("size=256") for text in imported.assumed)
    assert import_files(written.files, tmp_path / "b", {"size": "64"}).generator["size"] == 64
    with pytest.raises(UserError, match="whole number"):
        import_files(written.files, tmp_path / "c", {"size": "6.5e1x"} | {"size": "65.5"})
    with pytest.raises(UserError, match="not an option"):
        import_files(written.files, tmp_path / "c", {"sise": "64"})


def test_a_folder_of_hugging_face_is_imported_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "biggan-deep-128").mkdir()
    FAMILIES["huggingface"](tmp_path / "biggan-deep-128")
    imported = import_files([tmp_path / "biggan-deep-128"], tmp_path / "out")
    assert imported.arguments["channel_width"] == 1
    assert imported.generator["prior"] == "truncated"


def test_a_configuration_of_another_network_is_refused(tmp_path: Path) -> None:
    written = FAMILIES["huggingface"](tmp_path)
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace('"output_dim": 128', '"output_dim": 256'))
    with pytest.raises(Refused, match=r"config\.json"):
        import_files(written.files, tmp_path / "out")


def test_a_generator_alone_is_imported(tmp_path: Path) -> None:
    written = FAMILIES["biggan"](tmp_path)
    imported = import_files(written.files[:1], tmp_path / "out")
    assert imported.critic is None
    assert set(imported.networks) == {"G", "G_ema"}
    assert any("bn_eps" in text for text in imported.assumed)


def test_a_critic_alone_is_refused(tmp_path: Path) -> None:
    written = FAMILIES["biggan"](tmp_path)
    with pytest.raises(Refused, match="no generator"):
        import_files(written.files[1:2], tmp_path / "out")


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    written = FAMILIES["rosinality"](tmp_path)
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="exists already"):
        import_files(written.files, tmp_path / "out")


def test_arguments_that_never_end_are_refused(tmp_path: Path) -> None:
    endless: list[Any] = []
    endless.append(endless)
    (tmp_path / "file.pkl").write_bytes(pickle.dumps({"config": {"x": endless}, "itr": 1}))
    written = FAMILIES["biggan"](tmp_path)
    with pytest.raises(Refused, match="deeply nested"):
        import_files([*written.files[:2], tmp_path / "file.pkl"], tmp_path / "out")
