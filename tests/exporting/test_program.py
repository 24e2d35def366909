"""Programs and graphs: the network's own images, in ONNX Runtime and in torch without steadygan."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exporting.made import FAMILIES, checkpoint
from exporting.test_folder import tables

import steadygan as package
from steadygan.errors import UserError
from steadygan.exporting import onnx_file

WITHOUT_US = """
import sys, torch
sys.modules["steadygan"] = None  # importing it raises ImportError
for program in sys.argv[1:]:
    facts = {"about.json": ""}
    call = torch.export.load(program, extra_files=facts).module()
    torch.save({"image": call(**torch.load(program + "-inputs")), "about": facts["about.json"]}, program + "-out")
assert not [name for name in sys.modules if name.startswith("steadygan.")]
"""


def inputs_for(kind: str, count: int) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(count)
    made = {"classes": 0, "channels": 3, **FAMILIES[kind]}
    if "translate" in kind:
        width = 32 if kind == "translate" else 16
        return {"x": torch.rand(count, made["channels"], 16, width, generator=rng) * 2 - 1}
    found = {"z": torch.randn(count, made["latent"], generator=rng)}
    if made["classes"]:
        found["y"] = torch.arange(count) % made["classes"]
    if kind == "stylegan2":
        found["truncation"] = torch.tensor(0.4)
    return found


def expected_of(kind: str, path: Path, inputs: dict[str, torch.Tensor], direction: str = "a2b") -> np.ndarray:
    with torch.no_grad():
        if "translate" in kind:
            net = package.load_translator(path, device="cpu").nets[f"G_{direction[0]}{direction[2]}"]
            return net(inputs["x"]).numpy()
        net = package.load(path, device="cpu", winograd=False).module
        return net(*inputs.values()).numpy()


def names_a_folder(content: bytes) -> bool:
    """Whether a file has a folder of this machine in it."""
    return any(name in content for name in (str(Path(package.__file__).parent).encode(), b"site-packages"))


@pytest.mark.parametrize("kind", FAMILIES)
def test_onnx_runtime_makes_the_same_images_at_any_batch(kind: str, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    path = checkpoint(kind, tmp_path)
    package.export(path, "onnx", tmp_path / "g.onnx")
    ways = ["a2b", "b2a"] if "translate" in kind else [""]
    for way in ways:
        file = tmp_path / (f"g-{way}.onnx" if way else "g.onnx")
        assert not names_a_folder(file.read_bytes())
        session = onnxruntime.InferenceSession(file)
        for count in (1, 4):
            inputs = inputs_for(kind, count)
            (found,) = session.run(["image"], {name: value.numpy() for name, value in inputs.items()})
            expected = expected_of(kind, path, inputs, way)
            assert np.abs(expected).max() > 1e-3
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * max(1.0, np.abs(expected).max()))
        assert [value.name for value in session.get_inputs()] == list(inputs)
        assert session.get_inputs()[0].shape[0] == "batch"
        about = session.get_modelmeta().custom_metadata_map
        assert about["kind"] == kind
        assert json.loads(about["size"]) == FAMILIES[kind]["size"]


PROGRAMS = {"biggan": "biggan.pt2", "stylegan2": "stylegan2.pt2", "translate": "translate-a2b.pt2"}


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints, their programs, and the programs' images, made in one process, since starting it is slow."""
    folder = tmp_path_factory.mktemp("programs")
    for kind, program in PROGRAMS.items():
        package.export(checkpoint(kind, folder), "torch", folder / f"{kind}.pt2")
        torch.save(inputs_for(kind, 3), folder / f"{program}-inputs")
    subprocess.run([sys.executable, "-W", "ignore", "-c", WITHOUT_US, *PROGRAMS.values()], check=True, cwd=folder)
    return folder


@pytest.mark.parametrize("kind", PROGRAMS)
def test_a_program_runs_without_steadygan(kind: str, programs: Path) -> None:
    made = torch.load(programs / f"{PROGRAMS[kind]}-out")
    expected = expected_of(kind, programs / kind, inputs_for(kind, 3))
    np.testing.assert_allclose(made["image"].numpy(), expected, rtol=0, atol=1e-5)
    assert json.loads(made["about"])["kind"] == kind


def test_a_state_dict_needs_nothing_to_be_read(tmp_path: Path) -> None:
    path = checkpoint("resnet", tmp_path)
    package.export(path, "state-dict", tmp_path / "g")
    found = torch.load(tmp_path / "g", weights_only=True)
    expected = package.load(path, device="cpu").module.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_truncation_chooses_among_the_tables(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    path = checkpoint("dcgan", tmp_path, prior="truncated", statistics=tables(tmp_path))
    package.export(path, "onnx", tmp_path / "g.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "g.onnx")
    generator = package.load(path, device="cpu", winograd=False)
    inputs: dict[str, Any] = inputs_for("dcgan", 3)
    for truncation in (0.3, 1.0):
        with torch.no_grad():
            expected = generator.network(truncation)(*inputs.values()).numpy()
        fed = {name: value.numpy() for name, value in inputs.items()} | {"truncation": np.array(truncation, np.float32)}
        np.testing.assert_allclose(session.run(["image"], fed)[0], expected, rtol=0, atol=1e-4)


def test_fixed_statistics_are_those_of_the_truncation_asked_for(tmp_path: Path) -> None:
    path = checkpoint("dcgan", tmp_path)
    inputs, made = inputs_for("dcgan", 2), []
    for name, truncation in (("wide", None), ("narrow", 0.2)):
        package.export(path, "torch", tmp_path / f"{name}.pt2", truncation=truncation)
        made.append(torch.export.load(tmp_path / f"{name}.pt2").module()(**inputs))
    generator = package.load(path, device="cpu", winograd=False)
    torch.testing.assert_close(made[1], generator.network(0.2)(*inputs.values()), rtol=0, atol=1e-5)
    assert not torch.allclose(made[0], made[1], atol=1e-3)


def test_a_graph_that_differs_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    content = onnx_file.graph_of
    path = checkpoint("dcgan", tmp_path)

    def other(program: Any) -> bytes:
        made = content(program)
        with torch.no_grad():
            next(program.module.parameters()).add_(0.1)
        return made

    monkeypatch.setattr(onnx_file, "graph_of", other)
    with pytest.raises(UserError, match="differ from torch's by"):
        package.export(path, "onnx", tmp_path / "g.onnx")
    assert not (tmp_path / "g.onnx").exists()


@pytest.mark.parametrize("absent", ["onnx", "onnxscript", "onnxruntime"])
def test_without_a_package_its_extra_is_named(absent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steadygan.errors.find_spec", lambda name: None if name == absent else object())
    with pytest.raises(UserError, match=rf"needs {absent}: .*extra 'onnx'"):
        package.export(checkpoint("dcgan", tmp_path), "onnx", tmp_path / "g.onnx")
    assert not (tmp_path / "g.onnx").exists()
