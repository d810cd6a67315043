"""Normalisation by the statistics of the batch, of the batch over all workers, or of each image."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

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
    """Batch normalisation over the batches of all workers, exactly that of the concatenated batch, on any device.

    PyTorch's SyncBatchNorm refuses CPU tensors. In one process this is `nn.BatchNorm2d`.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # [N, C, H, W]
        """`x` `[N, C, H, W]` normalised; in training over the pixels of all workers, whose statistics stay equal."""
        if not (self.training and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
            return super().forward(x)
        y = x if x.dtype == torch.float64 else x.float()
        count = y.new_tensor([y.numel() / y.shape[1]])
        # Two sums rather than one of squares: no cancellation where the mean is large.
        total = AllReduceSum.apply(torch.cat([y.sum((0, 2, 3)), count]))
        count = total[-1].detach()
        mean = total[:-1] / count  # [C]
        centred = y - mean[:, None, None]
        variance = AllReduceSum.apply(centred.square().sum((0, 2, 3))) / count  # [C]
        self._track(mean.detach(), variance.detach(), count)
        normalised = centred * torch.rsqrt(variance + self.eps)[:, None, None]
        if self.affine:
            normalised = normalised * self.weight[:, None, None] + self.bias[:, None, None]
        return normalised.to(x.dtype)

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


class AllReduceSum(torch.autograd.Function):
    """The sum over all workers; its gradient is the sum of the workers' gradients."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        """The sum of `x` `[...]` over the workers; `x` itself is left alone."""
        total = x.clone()
        all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        """The gradient by `x`, of its shape `[...]`: the sum of all workers', as every worker's loss depends on it."""
        total = gradient.clone()
        all_reduce(total)
        return total
