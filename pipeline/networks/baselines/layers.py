"""What CRN and SIMS are made of: convolutions under layer normalisation, and TensorFlow's ways of resizing."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

SLOPE = 0.2
EPSILON = 1e-12


class LayerNorm(nn.Module):
    """Mean and variance over the channels and pixels of each image; a learned scale and shift a channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[N, C, H, W]` to the same shape."""
        return F.group_norm(x, 1, self.weight, self.bias, EPSILON)


class Layer(nn.Module):
    """A 3x3 convolution without bias, layer normalisation, leaky ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm = LayerNorm(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[N, inputs, H, W]` to `[N, outputs, H, W]`."""
        return F.leaky_relu(self.norm(self.conv(x)), SLOPE)


def stage(inputs: int, outputs: int, layers: int = 2) -> nn.Sequential:
    """So many layers, one after the other, at one resolution."""
    return nn.Sequential(*(Layer(outputs if number else inputs, outputs) for number in range(layers)))


def resize_aligned(x: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """`[N, C, H, W]` to `[N, C, height, width]`, bilinear, the middles of the corner pixels staying where they are."""
    return F.interpolate(x, size=(height, width), mode="bilinear", align_corners=True)


def resize_area(x: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """`[N, C, H, W]` to `[N, C, height, width]`, each new pixel the mean over its area, parts of pixels by their share.

    `F.interpolate(mode="area")` instead counts a pixel that is partly inside as a whole one.
    """
    rows = _area_weights(x.shape[2], height).to(x)
    columns = _area_weights(x.shape[3], width).to(x)
    return rows @ x @ columns.t()


def _area_weights(before: int, after: int) -> torch.Tensor:
    """float64 `[after, before]`: how much of each new pixel each old one is."""
    edges = torch.arange(after + 1, dtype=torch.float64) * before / after
    old = torch.arange(before, dtype=torch.float64)
    ends, starts = edges[1:, None].minimum(old + 1), edges[:-1, None].maximum(old)
    return (ends - starts).clamp(min=0) * after / before


def pool_same(x: torch.Tensor, kind: str) -> torch.Tensor:
    """3x3 pooling of stride 2, "average" or "max": `[N, C, H, W]` to half the size, rounded up.

    TensorFlow's SAME padding, which is left out of the mean, is on both sides where a side is odd, and to the right and
    below only where it is even.
    """
    height, width = x.shape[2:]
    odd_rows, odd_columns = height % 2, width % 2
    if kind == "max":
        x = F.pad(x, (odd_columns, 1, odd_rows, 1), value=-torch.inf)
        return F.max_pool2d(x, 3, stride=2)
    padded = F.pad(x, (odd_columns, 1, odd_rows, 1))
    inside = F.pad(torch.ones_like(x[:1, :1]), (odd_columns, 1, odd_rows, 1))
    return F.avg_pool2d(padded, 3, stride=2) / F.avg_pool2d(inside, 3, stride=2)
