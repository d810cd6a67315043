"""Normalisation by the statistics of the batch, of the batch over all workers, or of each image."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable

from pipeline.runtime.collectives import all_reduce

Statistics = Literal["batch", "sync_batch", "instance"]


def parameter_free_norm(channels: int, statistics: Statistics) -> nn.Module:
    """The normalisation inside SPADE, `[N, C, H, W]` to the same shape; eps 1e-5, momentum 0.1, nothing to learn."""
    if statistics == "instance":
        return nn.InstanceNorm2d(channels, affine=False)
    if statistics == "batch":
        return nn.BatchNorm2d(channels, affine=False)
    return SynchronisedBatchNorm2d(channels, affine=False)


def learned_norm(channels: int, statistics: Statistics) -> nn.Module:
    """The normalisation of pix2pixHD: a learned scale and shift for batches; none for instances, and `InstanceNorm`."""
    if statistics == "instance":
        return InstanceNorm()
    return nn.BatchNorm2d(channels) if statistics == "batch" else SynchronisedBatchNorm2d(channels)


class InstanceNorm(nn.Module):
    """Each channel of each image to mean 0 and variance 1 (eps 1e-5), and a constant one to exactly 0.

    The mean of equal floats is off by a rounding, and dividing by sqrt(eps) makes noise of it that grows two hundred
    times with every layer: for images of one class the network's output would be chaos. So the first pixel is taken
    off before, which changes nothing else.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[N, C, H, W]` to the same shape."""
        return F.instance_norm(x - x[..., :1, :1])


class SynchronisedBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation over the batches of all workers: `nn.BatchNorm2d` of the concatenated batch, on any device.

    PyTorch's SyncBatchNorm refuses CPU tensors. In one process this is `nn.BatchNorm2d`. Batches of workers may differ
    in size, but each has a picture.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # [N, C, H, W]
        """`x` `[N, C, H, W]` normalised; in training over the pixels of all workers, whose statistics stay equal."""
        if not (self.training and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
            return super().forward(x)
        mean, variance, count = _joint_statistics(x)
        self._track(mean, variance, count)
        weight = mean.new_ones(len(mean)) if self.weight is None else self.weight
        bias = mean.new_zeros(len(mean)) if self.bias is None else self.bias
        return _Normalise.apply(x, weight, bias, mean, variance, count, self.eps)

    @torch.no_grad()
    def _track(self, mean: torch.Tensor, variance: torch.Tensor, count: torch.Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        unbiased = variance * (count / (count - 1).clamp(min=1))
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)


@torch.no_grad()
def _joint_statistics(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mean and biased variance `[C]` of `x` `[N, C, H, W]` over all workers, and their pixels, a scalar.

    Means and variances of the workers are joined (Chan et al. 1979) rather than sums of squares, which cancel where the
    mean is large; one exchange does both.
    """
    exact = torch.float64 if x.dtype == torch.float64 else torch.float32
    channels = x.shape[1]
    # Running statistics of that type, which are not looked at, make those of the batch be of it too.
    unused = x.new_zeros(2, channels, dtype=exact)
    mean, variance = torch.batch_norm_update_stats(x, unused[0], unused[1], 0.0)
    of_workers = x.new_zeros(dist.get_world_size(), 2 * channels + 1, dtype=exact)
    of_workers[dist.get_rank()] = torch.cat([mean, variance, mean.new_tensor([x.numel() / channels])])
    all_reduce(of_workers)
    means, variances, counts = of_workers.split(
        [channels, channels, 1], dim=1
    )  # [workers, C], [workers, C], [workers, 1]
    count = counts.sum()
    mean = (counts * means).sum(0) / count
    return mean, (counts * (variances + (means - mean).square())).sum(0) / count, count


class _Normalise(torch.autograd.Function):
    """`x` by given statistics, and the gradient through these, which depend on the pixels of all workers."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        mean: torch.Tensor,
        variance: torch.Tensor,
        count: torch.Tensor,
        eps: float,
    ) -> torch.Tensor:
        """`x` `[N, C, H, W]`, the others `[C]`; the normalised `x`, of its shape and type."""
        ctx.save_for_backward(x, weight, mean, variance, count)
        ctx.eps = eps
        return _by_statistics(x, weight, bias, mean, variance, eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """The gradients by `x`, `weight` and `bias`; those of `weight` and `bias` are of this worker's pixels alone."""
        x, weight, mean, variance, count = ctx.saved_tensors
        kind = x.dtype
        # What follows is a small difference of two sums, which halves of a float's digits do not hold.
        x, gradient = x.to(mean.dtype), gradient.to(mean.dtype)
        inverse = torch.rsqrt(variance + ctx.eps)
        # As if the statistics were constants; with the sums over pixels of the gradient, and of its product with what
        # is normalised. What goes through the statistics is linear in x.
        by_x, by_weight, by_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, x, weight, mean, variance, mean, inverse, False, ctx.eps, [True, True, True]
        )
        sums = torch.stack([by_weight, by_bias])
        all_reduce(sums)
        scale = -weight * inverse / count
        by_x += _by_statistics(x, scale * sums[0], scale * sums[1], mean, variance, ctx.eps)
        return by_x.to(kind), by_weight, by_bias, None, None, None, None


def _by_statistics(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, mean: torch.Tensor, variance: torch.Tensor, eps: float
) -> torch.Tensor:
    """`(x - mean) / sqrt(variance + eps) * weight + bias` in one pass over `x`."""
    return F.batch_norm(x, mean, variance, weight, bias, training=False, eps=eps)
