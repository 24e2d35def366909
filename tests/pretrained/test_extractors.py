"""SqueezeNet, DINOv2 and custom extractors: architectures against independent ones, damaged files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from torch import Tensor, nn

from steadygan.data.images import load_images
from steadygan.data.source import open_source
from steadygan.errors import UserError
from steadygan.metrics.frechet import Moments, frechet_distance
from steadygan.pretrained.dinov2 import DinoV2
from steadygan.pretrained.extractor import read_state
from steadygan.pretrained.registry import get_extractor
from steadygan.pretrained.squeezenet import SqueezeNet

SHARED = Path(__file__).parents[2] / "../shared/data"
SQUEEZENET = SHARED / "squeezenet_v1.0_imagenet.npz"
needs_squeezenet = pytest.mark.skipif(not SQUEEZENET.exists(), reason="the SqueezeNet weights are not here")


def randomise(net: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    for parameter in net.parameters():
        scale = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.1
        nn.init.normal_(parameter, std=scale, generator=generator)
    return net.eval()


def test_squeezenet_is_torchvisions_but_for_the_padding_of_its_last_layer() -> None:
    import torchvision  # takes seconds

    ours = randomise(SqueezeNet())
    theirs = torchvision.models.squeezenet1_0(weights=None).eval()
    with torch.no_grad():
        for mine, reference in zip(ours.parameters(), theirs.parameters(), strict=True):
            reference.copy_(mine)
        x = torch.randn(2, 3, 227, 227, generator=torch.Generator().manual_seed(1))
        maps = theirs.features(x)
        found = ours(x)
        torch.testing.assert_close(found.features, maps.mean((2, 3)))
        # A padded 1×1 convolution sees zeros around its 13×13 image, and answers them with its bias.
        bias = ours.conv_final.bias.clamp(min=0)
        inner = theirs.classifier(maps).flatten(1)
        torch.testing.assert_close(found.logits, (inner * 13**2 + bias * (15**2 - 13**2)) / 15**2)


def test_squeezenet_is_fed_bgr_minus_the_mean() -> None:
    weights = {name: np.zeros(tensor.shape, np.float32) for name, tensor in SqueezeNet().state_dict().items()}
    extractor = get_extractor("squeezenet", weights={"squeezenet": saved(Path(), weights)})
    red = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    red[:, 0] = 255
    x = extractor.prepare(red)
    assert x.shape == (1, 3, 227, 227)
    assert x[0, :, 5, 7].tolist() == [-104, -117, 255 - 123]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def saved(folder: Path, arrays: dict[str, np.ndarray], name: str = "weights.npz") -> Path:
    np.savez(folder / name, **arrays)
    return folder / name


def reference_transformer(net: DinoV2) -> nn.TransformerEncoder:
    """torch's own transformer with the same weights, each branch's scale multiplied into its last layer."""
    width = net.cls_token.shape[-1]
    layer = nn.TransformerEncoderLayer(
        width, width // 64, 4 * width, 0.0, "gelu", layer_norm_eps=1e-6, batch_first=True, norm_first=True
    )
    encoder = nn.TransformerEncoder(layer, len(net.blocks), net.norm, enable_nested_tensor=False).eval()
    for theirs, block in zip(encoder.layers, net.blocks, strict=True):
        state = {
            "self_attn.in_proj_weight": block.attn.qkv.weight,
            "self_attn.in_proj_bias": block.attn.qkv.bias,
            "self_attn.out_proj.weight": block.ls1.gamma[:, None] * block.attn.proj.weight,
            "self_attn.out_proj.bias": block.ls1.gamma * block.attn.proj.bias,
            "linear1.weight": block.mlp.fc1.weight,
            "linear1.bias": block.mlp.fc1.bias,
            "linear2.weight": block.ls2.gamma[:, None] * block.mlp.fc2.weight,
            "linear2.bias": block.ls2.gamma * block.mlp.fc2.bias,
        }
        state |= {
            f"norm{i}.{key}": value for i in (1, 2) for key, value in getattr(block, f"norm{i}").state_dict().items()
        }
        theirs.load_state_dict(state)
    return encoder


def test_dinov2_is_torchs_transformer_on_patches_and_a_class_token() -> None:
    net = randomise(DinoV2(width=128, depth=2, grid=3))
    x = torch.randn(2, 3, 42, 42, generator=torch.Generator().manual_seed(1))
    patches = x.unfold(2, 14, 14).unfold(3, 14, 14).permute(0, 2, 3, 1, 4, 5).reshape(2, 9, -1)
    with torch.no_grad():
        embedded = patches @ net.patch_embed.proj.weight.flatten(1).T + net.patch_embed.proj.bias
        tokens = torch.cat([net.cls_token.expand(2, 1, -1), embedded], 1) + net.pos_embed
        expected = reference_transformer(net)(tokens)[:, 0]
        torch.testing.assert_close(net(x).features, expected, rtol=1e-4, atol=1e-5)


def test_positions_of_another_size_are_interpolated_and_a_flat_embedding_stays_flat() -> None:
    net = DinoV2(width=64, depth=1, grid=37)
    nn.init.constant_(net.pos_embed, 0.3)
    positions = net.positions(16, 16)
    assert positions.shape == (1, 257, 64)
    torch.testing.assert_close(positions, torch.full_like(positions, 0.3))


@pytest.mark.parametrize(("width", "depth", "millions"), [(384, 12, 22.06), (768, 12, 86.58), (1024, 24, 304.37)])
def test_dinov2_has_the_official_names_and_sizes(width: int, depth: int, millions: float) -> None:
    with torch.device("meta"):
        state = DinoV2(width, depth, grid=37).state_dict()
    block = ["norm1.weight", "norm1.bias", "attn.qkv.weight", "attn.qkv.bias", "attn.proj.weight", "attn.proj.bias"]
    block += ["ls1.gamma", "norm2.weight", "norm2.bias", "mlp.fc1.weight", "mlp.fc1.bias", "mlp.fc2.weight"]
    block += ["mlp.fc2.bias", "ls2.gamma"]
    names = {f"blocks.{i}.{name}" for i in range(depth) for name in block}
    names |= {"cls_token", "pos_embed", "mask_token", "patch_embed.proj.weight", "patch_embed.proj.bias"}
    assert state.keys() == names | {"norm.weight", "norm.bias"}
    assert sum(tensor.numel() for tensor in state.values()) / 1e6 == pytest.approx(millions, abs=0.01)


def test_dinov2_scores_images_from_a_local_file_of_whatever_size_it_is() -> None:
    torch.save(randomise(DinoV2(width=64, depth=1, grid=4)).state_dict(), "dinov2.pth")
    extractor = get_extractor("dinov2", weights={"dinov2": Path("dinov2.pth")})
    features, logits = extractor(torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8))
    assert features.shape == (3, 64)
    assert logits.shape == (3, 0)
    torch.save(SqueezeNet().state_dict(), "other.pth")
    with pytest.raises(UserError, match=r"other\.pth does not hold a DINOv2"):
        get_extractor("dinov2", weights={"dinov2": Path("other.pth")})


OWN = """
import torch
from steadygan.pretrained import Extractor, Features

class Corner(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.ones(1))
    def forward(self, x):
        features = self.gain * x[:, :, :2, :2].flatten(1)
        return Features(features, features[:, :0])

class Mine(Extractor):
    name = "NAME"
    input = "RGB uint8 images (N, 3, H, W)"
    def build(self, path):
        return Corner()
    def prepare(self, images):
        return images.float() / 255
"""


def test_an_extractor_of_ones_own_is_named_as_module_and_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    for module, name in (("own_one", "corner"), ("own_two", "corner"), ("own_false", "inception")):
        (tmp_path / f"{module}.py").write_text(OWN.replace("NAME", name) + f"# {module}\n")
    images = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8)
    extractor = get_extractor("own_one:Mine")
    torch.testing.assert_close(extractor(images).features, images[:, :, :2, :2].flatten(1) / 255)
    assert extractor.score_name("FD") == "FD-corner"
    assert extractor.sha256 != get_extractor("own_two:Mine").sha256, "other code, other extractor"
    with pytest.raises(UserError, match="calls itself 'inception'"):
        get_extractor("own_false:Mine")
    for wrong in ("nowhere:Mine", "own_one:Nothing"):
        with pytest.raises(UserError, match="cannot be imported"):
            get_extractor(wrong)
    with pytest.raises(UserError, match="is not a subclass of"):
        get_extractor("own_one:Corner")


def test_absent_weights_name_the_option_and_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("squeezenet", "dinov2"):
        variable = f"STEADYGAN_{name.upper()}_WEIGHTS"
        monkeypatch.delenv(variable, raising=False)
        with pytest.raises(UserError, match=f"--{name}-weights or {variable}.*'digits'"):
            get_extractor(name)


def test_files_that_are_no_weights_are_refused_without_unpickling_them(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return pytest.fail, ("code in a weights file was run",)

    path = saved(tmp_path, {"conv1.weight": np.array([Bomb()], dtype=object)})
    with pytest.raises(UserError, match=r"weights\.npz is not a valid file"):
        read_state(path)
    for text in ("hello", "<html>not found</html>", ""):
        (tmp_path / "weights.pth").write_text(text)
        with pytest.raises(UserError, match=r"weights\.pth is not a valid file"):
            read_state(tmp_path / "weights.pth")
    wrong = saved(tmp_path, {"conv1.weight": np.zeros(3, np.float32)}, "wrong.npz")
    with pytest.raises(UserError, match=r"wrong\.npz holds the weights of another network"):
        get_extractor("squeezenet", weights={"squeezenet": wrong})


@needs_squeezenet
def test_squeezenet_knows_imagenet() -> None:
    """The ten classes of Imagenette, told apart by logits of 1,000: the data's README measured 96 %."""
    source = open_source(str(SHARED / "imagenette128.zip"), size=128, channels=3)
    images = load_images(source, np.arange(0, len(source), 40))
    ten = torch.tensor([0, 217, 482, 491, 497, 566, 569, 571, 574, 701])
    logits = get_extractor("squeezenet", weights={"squeezenet": SQUEEZENET})(images.take(torch.arange(50))).logits
    assert images.labels is not None
    assert (logits[:, ten].argmax(1) == images.labels).double().mean() > 0.85


def blurred(images: Tensor, sigma: float) -> Tensor:
    each = [
        Image.fromarray(image).filter(ImageFilter.GaussianBlur(sigma)) for image in images.permute(0, 2, 3, 1).numpy()
    ]
    return torch.from_numpy(np.stack([np.asarray(image) for image in each])).permute(0, 3, 1, 2)


@needs_squeezenet
def test_squeezenet_distance_grows_with_blur() -> None:
    source = open_source(str(SHARED / "cifar10_test.zip"), size=32, channels=3)
    images = load_images(source, np.arange(0, len(source), 100)).take(torch.arange(100))
    extractor = get_extractor("squeezenet", weights={"squeezenet": SQUEEZENET})
    reals = Moments().update(extractor(images[::2]).features)
    distances = []
    for sigma in (0.0, 1.0, 2.0):
        fakes = Moments().update(extractor(blurred(images[1::2], sigma)).features)
        distances.append(frechet_distance(reals.mean, reals.cov, fakes.mean, fakes.cov))
    assert distances == sorted(distances)
    assert distances[2] > 2 * distances[0]
