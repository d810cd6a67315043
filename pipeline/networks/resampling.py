"""Doubling the resolution of feature maps, and the low-pass filter that goes with halving it."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from pipeline.config import Enlargement


def enlarge(x: torch.Tensor, how: Enlargement) -> torch.Tensor:
    """`x` `[N, C, H, W]` at twice the resolution: `[N, C, 2H, 2W]`. Borders are continued by their own pixels.

    Bilinear (the pixels' centres are aligned) is nearest neighbour and then `blur`; "blur" blurs once more.
    """
    if how == "nearest":
        return F.interpolate(x, scale_factor=2.0, mode="nearest")
    x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
    return blur(x) if how == "blur" else x


def blur(x: torch.Tensor) -> torch.Tensor:
    """`x` `[N, C, H, W]` filtered with [1, 2, 1] / 4 along both axes: Triangle-3 of Zhang (ICML 2019, Sec. 4).

    As two means of 2x2 pixels, for which every library has a fast operator with gradients.
    """
    x = F.pad(x, [1] * 4, mode="replicate")
    return F.avg_pool2d(F.avg_pool2d(x, 2, stride=1), 2, stride=1)
