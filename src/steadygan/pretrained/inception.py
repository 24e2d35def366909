"""The TF-2015 Inception, the only extractor whose scores are called FID, KID and IS."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steadygan.errors import UserError
from steadygan.files import sha256
from steadygan.pretrained.extractor import Extractor, Features, read_state

SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
"""SHA-256 of torch-fidelity's and pytorch-fid's conversion of the weights of 2015-12-05; the file name contains its
prefix."""


class InceptionNet(nn.Module):
    """torch-fidelity's `inception-v3-compat`: 2,048 features (pool3) and 1,008 logits without the last bias.

    Input (N, 3, 299, 299) float, about [-1, 1]. The logits omit the bias, as in the Inception score's original code
    (Salimans et al. 2016).

    Raises:
        UserError: torch-fidelity is not installed, or the weights are another network's.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except ImportError as error:
            raise UserError(
                f"FID, IS and KID need torch-fidelity ({error}): `pip install torch-fidelity` (steadygan's extra 'fid')"
            ) from None
        # torch-fidelity would unpickle the file with code execution: it gets the tensors alone, in a new file.
        tensors = io.BytesIO()
        torch.save(read_state(path), tensors)
        tensors.seek(0)
        try:
            whole = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], tensors)
        except RuntimeError:
            raise UserError(
                f"{path} holds the weights of another network than the TF-2015 Inception; "
                "docs/scores.md says where the right file is"
            ) from None
        # The children are in the order of application.
        *trunk, self.fc = whole.children()
        self.trunk = nn.Sequential(*trunk)

    def forward(self, x: Tensor) -> Features:
        features = self.trunk(x).flatten(1)
        return Features(features, features @ self.fc.weight.mT)


class Inception(Extractor):
    """`InceptionNet` with TensorFlow's preprocessing: FID, KID and IS as reported by most papers.

    With weights of another SHA-256, its name, also in scores, is `inception-` and 8 digits of that hash.
    """

    name = "inception"
    input = "RGB uint8 images (N, 3, H, W)"
    resize = "bilinear 299 of TensorFlow 1; (x - 128) / 128"
    classes = 1008
    imagenet = True
    variable = "STEADYGAN_INCEPTION_WEIGHTS"
    option: ClassVar[str] = "--inception-weights"

    def __init__(self, device: str | torch.device = "cpu", weights: Path | None = None) -> None:
        super().__init__(device, weights)
        if self.sha256 != SHA256:
            self.name = f"{self.name}-{self.sha256[:8]}"

    @classmethod
    def absent(cls) -> Path:
        """Downloads the weights with torch-fidelity, once, and verifies them.

        Raises:
            UserError: torch-fidelity is not installed, or the download fails or is damaged.
        """
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3 as url
        except ImportError as error:
            raise UserError(
                f"FID, IS and KID need torch-fidelity ({error}): `pip install torch-fidelity` (steadygan's extra 'fid')"
            ) from None
        path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                torch.hub.download_url_to_file(url, str(path), hash_prefix=SHA256, progress=sys.stderr.isatty())
            except (OSError, RuntimeError) as error:
                raise UserError(
                    f"the Inception weights are missing and cannot be downloaded ({error}). Get {url}, and give the "
                    f"file by {cls.option} or {cls.variable}. Extractors that work without: 'digits'; 'squeezenet' and "
                    "'dinov2' with their own files; their distances are called FD, not FID"
                ) from None
        if sha256(path) != SHA256:
            raise UserError(f"{path} is damaged: its SHA-256 is not {SHA256[:8]}…; delete it and try again")
        return path

    def build(self, path: Path | None) -> nn.Module:
        assert path is not None
        return InceptionNet(path)

    def prepare(self, images: Tensor) -> Tensor:
        from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

        resize: Any = interpolate_bilinear_2d_like_tensorflow1x
        resized: Tensor = resize(images.float(), size=(299, 299), align_corners=False)
        return (resized - 128) / 128

    def score_name(self, kind: str) -> str:
        if self.sha256 != SHA256:
            return super().score_name(kind)
        return {"FD": "FID", "KD": "KID"}.get(kind, kind)


class InceptionPyTorch(Inception):
    """The same network and weights with the preprocessing of pytorch-fid and StudioGAN: half-pixel bilinear, in [-1,
    1]."""

    name = "inception-pytorch"
    resize = "x / 255; bilinear 299, align_corners off, no antialias; 2 x - 1"

    def prepare(self, images: Tensor) -> Tensor:
        # In pytorch-fid's order: another order changes the smallest features by 1e-3 through rounding.
        return 2 * F.interpolate(images.float() / 255, (299, 299), mode="bilinear", align_corners=False) - 1
