"""Batch normalisation: grouped, conditional, modulated, and over several processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steadygan.errors import UserError
from steadygan.kernels.precision import without_autocast
from steadygan.nets.batch_norm_gradient import Normalise
from steadygan.nets.labels import look_up, required
from steadygan.parallel.share import Sharing


class OfBatch(Sharing):
    """A layer that depends on the whole batch, or draws random numbers for it.

    Attributes:
        groups: number of equal consecutive batches in the batch.
        share: this process's part of each.
    """

    groups: int = 1

    def draw(self, law: Callable[..., Tensor], like: Tensor, *, dtype: torch.dtype | None = None) -> Tensor:
        """Random numbers from torch's global generator, shaped like `like` (N, …)."""
        return self.share.rows(law, like.shape, views=self.groups, device=like.device, dtype=dtype or like.dtype)


class BatchNorm2d(OfBatch, nn.BatchNorm2d):
    """torch's BatchNorm2d for batches that consist of several batches, over one or several processes.

    In training mode the batch consists of `groups` equal consecutive chunks. Each is normalised by its own statistics,
    over all processes, and running statistics are updated chunk by chunk: one call equals one call per chunk.
    """

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """x: (N, C, H, W); y is ignored, so that plain and conditional norms are called alike.

        Raises:
            ValueError: the batch does not split into `groups`.
        """
        if not self.training or (self.groups == 1 and self.share.size == 1):
            return self._alone(x)
        if x.shape[0] % self.groups:
            raise ValueError(f"a batch of {x.shape[0]} does not split into {self.groups} equal groups")
        if self.share.size > 1:
            return self._shared(x)
        if x.device.type == "cpu" and not torch.is_grad_enabled():
            return self._side_by_side(x)
        return torch.cat([self._alone(chunk) for chunk in x.chunk(self.groups)])

    def scale_and_shift(self) -> Iterable[nn.Parameter]:
        """The learned parameters: vectors, tables, or the layers that project a condition to gains and biases."""
        return self.parameters()

    def _alone(self, x: Tensor) -> Tensor:
        """Normalises a single chunk with torch; on a CPU with our own derivatives."""
        plain = x.device.type != "cpu" or not torch.is_grad_enabled() or torch.compiler.is_compiling()
        if plain or not self.training or x.numel() == x.shape[1]:  # torch refuses the latter
            return nn.BatchNorm2d.forward(self, x)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked += 1
        standing = self.running_mean, self.running_var, self.momentum
        return Normalise.apply(x, self.weight, self.bias, *standing, self.eps)

    def _side_by_side(self, x: Tensor) -> Tensor:
        """Normalises the chunks directly into one tensor: without derivatives, it saves a pass over memory."""
        assert self.running_mean is not None
        assert self.momentum is not None
        y, moments = torch.empty_like(x), [torch.empty_like(self.running_mean) for _ in "mv"]
        for chunk, part in zip(x.chunk(self.groups), y.chunk(self.groups), strict=True):
            torch.native_batch_norm(
                chunk,
                self.weight,
                self.bias,
                self.running_mean,
                self.running_var,
                True,
                self.momentum,
                self.eps,
                out=(part, *moments),
            )
        if self.num_batches_tracked is not None:
            self.num_batches_tracked += self.groups
        return y

    def _shared(self, x: Tensor) -> Tensor:
        """With one exchange for all chunks; differentiable any number of times."""
        with without_autocast(x):
            h = x.to(self.running_mean.dtype).unflatten(0, (self.groups, -1))  # type: ignore[union-attr]
            var, mean = self.share.var_mean(h, (1, 3, 4))
            self._follow(var.detach(), mean.detach(), self.share.size * h[0, :, 0].numel())
            mean, scale = (moment[:, None, :, None, None] for moment in (mean, (var + self.eps).rsqrt()))
            h = ((h - mean) * scale).flatten(0, 1)
            if self.affine:
                h = h * self.weight[:, None, None] + self.bias[:, None, None]
        return h.to(x.dtype)

    @torch.no_grad()
    def _follow(self, var: Tensor, mean: Tensor, count: int) -> None:
        """Updates the running statistics with those of the chunks (groups, C), each over `count` values per channel."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        for k in range(self.groups):
            self.running_mean.lerp_(mean[k], self.momentum)
            self.running_var.lerp_(var[k] * (count / (count - 1)), self.momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked += self.groups


class ConditionalBatchNorm2d(BatchNorm2d):
    """Batch norm whose gain and bias are looked up by class: γ_y · normalised(x) + β_y.

    The statistics are those of the whole batch, over all classes. Tables `gamma`, `beta`: (classes, C), starting at 1
    and 0. Source: Miyato and Koyama, cGANs with Projection Discriminator, ICLR 2018, §4 (after Dumoulin et al., A
    Learned Representation for Artistic Style, ICLR 2017).

    Args:
        num_features: C.
        classes: number of classes.
        eps: added to the variance.
        momentum: of the running statistics, in [0, 1].
    """

    def __init__(self, num_features: int, classes: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__(num_features, eps=eps, momentum=momentum, affine=False)
        self.gamma = nn.Parameter(torch.ones(classes, num_features))
        self.beta = nn.Parameter(torch.zeros(classes, num_features))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """x: (N, C, H, W); y: (N,) int64 in [0, classes), or weights as for `look_up`. Raises ValueError without."""
        y = required(y)
        h = super().forward(x)
        gamma, beta = (look_up(table, y).to(h.dtype)[:, :, None, None] for table in (self.gamma, self.beta))
        return torch.addcmul(beta, h, gamma)


class ModulatedBatchNorm2d(BatchNorm2d):
    """Batch norm whose gain and bias are projections of a vector per image: (1 + g(c)) · normalised(x) + b(c).

    Linear projections of [class embedding, latent] are BigGAN's (Brock et al., Large Scale GAN Training, ICLR 2019, §3
    and app. B), small networks of the latent are self-modulation (Chen et al., On Self Modulation for GANs, ICLR 2019).

    Args:
        num_features: C.
        project: builds g and b, modules from (N, F) to (N, C), from C.
        eps: added to the variance.
        momentum: of the running statistics, in [0, 1].
    """

    def __init__(
        self, num_features: int, project: Callable[[int], nn.Module], eps: float = 1e-5, momentum: float = 0.1
    ) -> None:
        super().__init__(num_features, eps=eps, momentum=momentum, affine=False)
        self.gain = project(num_features)
        self.shift = project(num_features)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """x: (N, C, H, W); y: (N, F), the condition. Raises ValueError without one."""
        c = required(y)
        h = super().forward(x)
        gain, shift = (layer(c).to(h.dtype)[:, :, None, None] for layer in (self.gain, self.shift))
        return torch.addcmul(shift, h, 1 + gain)


class MinibatchStddev(OfBatch, nn.Module):
    """Appends a map of the standard deviation within a group of images: (N, C, H, W) → (N, C + 1, H, W).

    Images are assigned in turn to the smallest number of groups of at most `group_size`, so that group sizes differ by
    at most one; each group's map is the mean over features and pixels of its standard deviations (Karras et al.,
    Progressive Growing of GANs, ICLR 2018, §3). As in batch norm, the batch may be `groups` equal consecutive batches,
    here in evaluation mode too, and several processes may share it.
    """

    def __init__(self, group_size: int) -> None:
        super().__init__()
        self.group_size = group_size

    def forward(self, x: Tensor) -> Tensor:
        if len(x) % self.groups:
            raise ValueError(f"a batch of {len(x)} does not split into {self.groups} equal groups")
        count, rank = len(x) // self.groups, self.share.rank
        batches = self.share.gather(x).unflatten(1, (self.groups, count)).transpose(0, 1).flatten(1, 2)
        stddev = torch.cat([self._stddev(batch)[rank * count :][:count] for batch in batches])
        return torch.cat([x, stddev.to(x.dtype)[:, None, None, None].expand(-1, 1, *x.shape[2:])], 1)

    def _stddev(self, x: Tensor) -> Tensor:
        """Each image's group deviation (N,). Image i is member i // num of group i % num; the last member may be
        missing."""
        num = -(-len(x) // self.group_size)
        size = -(-len(x) // num)
        lacking = num * size - len(x)
        members = F.pad(x.flatten(1), (0, 0, 0, lacking)).view(size, num, -1)
        present = members.new_ones(size, num, 1)
        present[-1, num - lacking :].zero_()
        count = present.sum(0)
        centred = (members - members.sum(0) / count) * present
        stddev = (centred.square().sum(0) / count + 1e-8).sqrt().mean(1)
        return stddev.repeat(size)[: len(x)]


def set_batch_groups(module: nn.Module, groups: int) -> None:
    """Sets `groups`, the number of equal consecutive batches in a batch, for every layer with batch statistics.

    Raises TypeError if `groups` > 1 and `module` has a batch norm that does not support groups.
    """
    for name, layer in module.named_modules():
        if isinstance(layer, OfBatch):
            layer.groups = groups
        elif groups > 1 and isinstance(layer, nn.modules.batchnorm._BatchNorm):
            raise TypeError(f"{name}: {type(layer).__name__} has no groups; use steadygan.nets.batch_norm.BatchNorm2d")


def has_batch_statistics(module: nn.Module) -> bool:
    """Whether the output for one image depends, in training mode, on the rest of its batch."""
    kinds = nn.modules.batchnorm._BatchNorm | MinibatchStddev
    return any(isinstance(layer, kinds) for layer in module.modules())


@torch.no_grad()
def check_single(net: nn.Module) -> None:
    """Checks that a network can be trained on one image at a time, which batch norms on 1×1 maps cannot.

    Calls a copy of it once, with zeros.

    Args:
        net: a generator or discriminator (`nets.protocols`).

    Raises:
        UserError: it cannot.
    """
    if not any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in net.modules()):
        return
    device, latent = next(net.parameters()).device, getattr(net, "latent", 0)
    shape = (latent,) if latent else (net.channels, net.size, net.size)
    y = torch.zeros(1, dtype=torch.int64, device=device) if net.classes else None
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            deepcopy(net).train()(torch.zeros(1, *shape, device=device), y)
    except ValueError as error:
        raise UserError(
            "train.batch_size: batch norm needs several images for its statistics, and there is one at a time; set "
            f"train.batch_size (and train.g_batch_size) to at least twice train.accumulate ({error})"
        ) from error


def batch_norm(num_features: int, classes: int, eps: float = 1e-5) -> BatchNorm2d:
    """A generator's batch norm: conditional when there are classes. Both kinds are called with (x, y)."""
    if classes:
        return ConditionalBatchNorm2d(num_features, classes, eps=eps)
    return BatchNorm2d(num_features, eps=eps)
