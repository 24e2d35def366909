"""pix2pix's U-Net generator."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steadygan.errors import UserError
from steadygan.nets import count_parameters, create_generator


def net(size: int = 16, **options: object) -> nn.Module:
    torch.manual_seed(0)
    return create_generator("unet-translate", size=size, channels=3, classes=0, latent=0, width=2, **options)


def test_the_published_network_has_as_many_parameters_as_the_paper_says() -> None:
    published = create_generator("unet-translate", size=256, channels=3, classes=0, latent=0, width=64)
    widths = [3, 64, 128, 256, 512, 512, 512, 512, 512]
    down = sum(16 * a * b for a, b in itertools.pairwise(widths))
    up = sum(16 * a * b for a, b in zip([512, 1024, 1024, 1024, 1024, 512, 256, 128], widths[-2::-1], strict=True))
    norms = 2 * sum(widths[2:-1]) + 2 * sum(widths[1:-1])
    assert count_parameters(published) == down + up + norms + 3


@pytest.mark.usefixtures("float64")
def test_it_is_what_its_definition_says() -> None:
    unet = net(depth=2, norm="none").eval()
    state = {key: value.detach() for key, value in unet.state_dict().items()}
    x = torch.randn(2, 3, 16, 16)

    def down(h: Tensor, level: int, place: int) -> Tensor:
        return F.conv2d(h, state[f"down.{level}.{place}.weight"], state[f"down.{level}.{place}.bias"], 2, 1)

    def up(h: Tensor, level: int) -> Tensor:
        return F.conv_transpose2d(F.relu(h), state[f"up.{level}.1.weight"], state[f"up.{level}.1.bias"], 2, 1)

    first = down(x, 0, 0)
    inner = up(down(F.leaky_relu(first, 0.2), 1, 1), 0)
    assert torch.allclose(unet(x), torch.tanh(up(torch.cat([first, inner], 1), 1)))


@pytest.mark.parametrize("shape", [(16, 16), (17, 30), (8, 9)])
def test_images_of_any_sides_keep_them(shape: tuple[int, int]) -> None:
    image = net().eval()(torch.rand(2, 3, *shape) * 2 - 1)
    assert image.shape == (2, 3, *shape)
    assert image.abs().max() <= 1


def test_dropout_is_of_training_alone() -> None:
    unet, x = net(size=32, norm="instance"), torch.randn(1, 3, 32, 32)
    assert not torch.equal(unet(x), unet(x))
    unet.eval()
    assert torch.equal(unet(x), unet(x))
    assert torch.equal(*(net(size=32, norm="instance", dropout=0.0)(x) for _ in "ab"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 1}, "depth"),
        ({"depth": 5}, "depth"),
        ({"dropout": 1.0}, "dropout"),
        ({"norm": "layer"}, r"model\.generator\.norm: .*'layer'"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        net(**options)


def test_an_image_that_is_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="too small"):
        net()(torch.zeros(1, 3, 4, 16))
