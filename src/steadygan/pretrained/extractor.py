"""The interface of feature extractors: frozen networks whose features are compared by scores.

The package's extractors are modules next to this one, listed in `registry.py`; a custom one is a subclass of
`Extractor`.
"""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from steadygan.errors import UserError
from steadygan.files import sha256


class Features(NamedTuple):
    """An extractor's output for N images: `features` (N, F) and class `logits` (N, K), float32; K may be 0."""

    features: Tensor
    logits: Tensor


class Extractor(ABC):
    """A frozen network from uint8 images to features and logits, in eval mode and float32 on its device.

    A subclass declares its input: `channels`, `size` (None: any, resized by `prepare` as described in `resize`) and a
    description `input`; the number of `classes` of its logits (0: none), and whether they are `imagenet`'s. It
    implements the network (`build`) and the conversion of uint8 images to its input (`prepare`). Weights come from a
    file: `weights` in the package, or a given path, or that in the environment `variable`; `where` tells users how to
    get it. A network without a file has neither. Batches of `cpu_batch` images keep a large network's activations in a
    CPU's cache.

    Attributes: name, for messages and names of scores; sha256 of the weights file, or without a file of the weights.
    """

    name: str
    input: ClassVar[str]
    channels: ClassVar[int] = 3
    size: ClassVar[int | None] = None
    resize: ClassVar[str] = "none"
    classes: ClassVar[int] = 0
    imagenet: ClassVar[bool] = False
    cpu_batch: ClassVar[int] = 4
    weights: ClassVar[Path | None] = None
    variable: ClassVar[str | None] = None
    where: ClassVar[str] = ""

    def __init__(self, device: str | torch.device = "cpu", weights: Path | None = None) -> None:
        path = self.find(weights)
        self.device = torch.device(device)
        self.network = self.build(path).eval().requires_grad_(False).to(self.device)
        self.sha256 = _state_sha256(self.network) if path is None else sha256(path)

    @abstractmethod
    def build(self, path: Path | None) -> nn.Module:
        """Builds the network with weights from the file of `find`; its forward returns `Features`."""

    @abstractmethod
    def prepare(self, images: Tensor) -> Tensor:
        """Converts uint8 NCHW on the device to the network's float input."""

    @classmethod
    def find(cls, given: Path | None) -> Path | None:
        """The weights file. Raises UserError if it is required but missing."""
        named = os.environ.get(cls.variable) if cls.variable is not None else None
        path = given or (Path(named).expanduser() if named else cls.weights)
        if path is not None and not path.is_file():
            origin = f" (from {cls.variable})" if given is None and named else ""
            raise UserError(f"weights of {cls.name!r}: {path}{origin} is not a file")
        return cls.absent() if path is None else path

    @classmethod
    def absent(cls) -> Path | None:
        """The result of `find` if no file is given.

        Raises:
            UserError: the extractor needs a file.
        """
        if cls.variable is None:
            return None
        raise UserError(
            f"the extractor {cls.name!r} needs its weights: {cls.where}, and give the file with "
            f"--{cls.name}-weights or {cls.variable}. Extractors that need no file: 'digits'"
        )

    def score_name(self, kind: str) -> str:
        """The name of a score with these features: `kind` FD, KD or IS, and the extractor's name."""
        return f"{kind}-{self.name}"

    @torch.no_grad()
    def __call__(self, images: Tensor, batch_size: int | None = None) -> Features:
        """Features and logits, on the CPU, of uint8 images (N, channels, H, W), in batches sized for the device.

        Raises UserError for images of another type, shape or size. Images are not converted, as the input is part of
        the score's protocol.
        """
        sides = images.shape[2:] if self.size is None else (self.size, self.size)
        fits = images.ndim == 4 and len(images) and images.shape[1:] == (self.channels, *sides)
        if images.dtype != torch.uint8 or not fits:
            raise UserError(
                f"the extractor {self.name!r} reads {self.input}, one or more; "
                f"it was given {tuple(images.shape)} {str(images.dtype).removeprefix('torch.')}"
            )
        batch_size = batch_size or (self.cpu_batch if self.device.type == "cpu" else 128)
        with full_precision(self.device.type):
            parts = [self.network(self.prepare(batch.to(self.device))) for batch in images.split(batch_size)]
        return Features(
            torch.cat([part.features for part in parts]).float().cpu(),
            torch.cat([part.logits for part in parts]).float().cpu(),
        )


@contextmanager
def full_precision(device: str) -> Iterator[None]:
    """Context manager: disables autocast and TF32, so that scores do not depend on training modes."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    if device == "cuda":
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False
    try:
        with torch.autocast(device, enabled=False):
            yield
    finally:
        if device == "cuda":
            torch.set_float32_matmul_precision(before[0])
            torch.backends.cudnn.allow_tf32 = before[1]


def read_state(path: Path) -> dict[str, Tensor]:
    """Reads tensors by name from a .safetensors, .npz or torch file, without executing code.

    Raises UserError, naming the file, if it is damaged or holds anything but tensors.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # Readers can raise any exception on damaged bytes, torch even KeyError.
        raise UserError(f"{path} is not a valid file of weights: download it again") from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path} holds more than named weights: save the network's state_dict() alone")
    return state


def load_state(network: nn.Module, path: Path) -> nn.Module:
    """Loads the file's weights into the network. Raises UserError if they belong to another network."""
    try:
        network.load_state_dict(read_state(path))
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise UserError(
            f"{path} holds the weights of another network ({reason}); docs/scores.md says where the right file is"
        ) from None
    return network


def _state_sha256(network: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
