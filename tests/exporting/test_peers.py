"""Files for other programs: the importer reads them back bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from exporting.made import checkpoint

import steadygan as package
from steadygan.errors import UserError
from steadygan.importing import import_files
from steadygan.runs.checkpoint import read_weights


def averaged(path: Path) -> dict[str, torch.Tensor]:
    return read_weights(path, ("G_ema",))


def returned(path: Path, to: str, folder: Path, files: list[str], options: dict[str, str] | None = None) -> Path:
    """The checkpoint after an export and an import."""
    out = Path(package.export(path, to, folder / ("out" if to == "cyclegan" else "out.pt")))
    import_files([out / name for name in files] or [out], folder / "back", options or {})
    return folder / "back"


@pytest.mark.parametrize("noise", [True, False])
def test_rosinality_gives_back_the_same_bits(noise: bool, tmp_path: Path) -> None:
    options = {"w_dim": 8, "noise": noise}
    path = checkpoint("stylegan2", tmp_path, classes=0, options=options)
    with pytest.warns(UserWarning, match="other feature maps"):
        back = returned(path, "rosinality", tmp_path, [])
    before, after = averaged(path), averaged(back)
    silent = {key for key in after if key.endswith((".noise", ".strength")) and key not in before}
    assert bool(silent) is not noise
    assert all(not after[key].any() for key in silent)
    assert all(torch.equal(after[key], value) for key, value in before.items())
    images = [package.load(place, device="cpu").sample(3, truncation=0.6) for place in (path, back)]
    assert torch.equal(*images)


def test_rosinalitys_file_has_every_tensor_that_its_generator_has(tmp_path: Path) -> None:
    path = checkpoint("stylegan2", tmp_path, classes=0, size=32, options={"w_dim": 8})
    with pytest.warns(UserWarning, match="other feature maps"):
        package.export(path, "rosinality", tmp_path / "out.pt")
    file = torch.load(tmp_path / "out.pt", weights_only=True)
    assert file["latent_avg"].shape == (8,)
    assert file["g_ema"]["convs.0.conv.weight"].dim() == 5
    kernels = {name for name in file["g_ema"] if name.endswith("kernel")}
    assert kernels == {f"convs.{2 * i}.conv.blur.kernel" for i in range(3)} | {
        f"to_rgbs.{i}.upsample.kernel" for i in range(3)
    }


@pytest.mark.parametrize("change", [{}, {"classes": 0}, {"options": {"noise": False, "conv_clamp": 256.0}}])
def test_nvidias_layout_gives_back_the_same_bits(change: dict[str, Any], tmp_path: Path) -> None:
    change = {**change, "options": {"raw_eps": True, **change.get("options", {})}}
    path = checkpoint("stylegan2", tmp_path, **change)
    back = returned(path, "stylegan2-ada", tmp_path, [])
    before, after = averaged(path), averaged(back)
    assert before.keys() == after.keys()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    images = [package.load(place, device="cpu").sample(3, truncation=0.6) for place in (path, back)]
    assert torch.equal(*images)


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_cyclegan_gives_back_the_same_bits(norm: str, tmp_path: Path) -> None:
    path = checkpoint("translate", tmp_path, options={"norm": norm, "blocks": 2})
    back = returned(path, "cyclegan", tmp_path, ["latest_net_G_A.pth", "latest_net_G_B.pth"], {"size": "16"})
    same_translations(path, back, exact=norm != "batch")


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_pix2pix_gives_back_the_same_bits(norm: str, tmp_path: Path) -> None:
    path = checkpoint("unet-translate", tmp_path, directions=["a2b"], options={"norm": norm})
    back = returned(path, "cyclegan", tmp_path, ["latest_net_G.pth"])
    same_translations(path, back, exact=True, directions=("a2b",))


def same_translations(path: Path, back: Path, *, exact: bool, directions: Any = ("a2b", "b2a")) -> None:
    """exact: all bits; else a bias has moved into the mean of the batch norm behind it, which makes the same images."""
    before, after = averaged(path), averaged(back)
    assert before.keys() == after.keys()
    if exact:
        assert all(torch.equal(after[key], value) for key, value in before.items())
    image = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for direction in directions:
        made = [
            package.load_translator(place, device="cpu").nets[f"G_{direction[0]}{direction[2]}"]
            for place in (path, back)
        ]
        with torch.no_grad():
            torch.testing.assert_close(made[0](image), made[1](image), rtol=0, atol=0 if exact else 1e-5)


@pytest.mark.parametrize(
    ("kind", "to", "complaint"),
    [
        ("dcgan", "rosinality", "is for generators of model.kind=stylegan2"),
        ("dcgan", "stylegan2-ada", "is for generators of model.kind=stylegan2"),
        ("dcgan", "cyclegan", "is for translations"),
        ("translate", "cyclegan", "have no norms"),
        ("stylegan2", "rosinality", "is unconditional; this one has classes"),
    ],
)
def test_a_layout_for_another_network_is_refused(kind: str, to: str, complaint: str, tmp_path: Path) -> None:
    path = checkpoint(kind, tmp_path, options={"norm": "none"} if kind == "translate" else {})
    with pytest.raises(UserError, match=complaint):
        package.export(path, to, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_rosinality_needs_a_w_as_large_as_z(tmp_path: Path) -> None:
    path = checkpoint("stylegan2", tmp_path, classes=0, options={"w_dim": 5})
    with pytest.raises(UserError, match="8 and 5"):
        package.export(path, "rosinality", tmp_path / "out.pt")
