"""Random views of photographs and label maps for training a segmenter: mirror, zoom, crop, light and colour."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F

from evaluation.segmenters.training.photographs import VOID

ZOOM = (0.75, 1.6)
"""From zooming out by a quarter (the surroundings are void) to a crop of five eighths."""
LIGHT, CONTRAST, SATURATION = 0.2, 0.2, 0.25
"""Largest relative change of each."""


def augment(images: torch.Tensor, labels: torch.Tensor, random: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """A random view of each picture, in one resampling: float `[N, 3, H, W]` in 0 to 255 and int64 `[N, H, W]`.

    `random` is a generator on the CPU, so that the same seed gives the same views on every device.
    """
    count, device = len(images), images.device

    def uniform(low: float, high: float) -> torch.Tensor:
        return (low + (high - low) * torch.rand(count, generator=random)).to(device)

    zoom = uniform(math.log(ZOOM[0]), math.log(ZOOM[1])).exp()
    mirror = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    window = 1 / zoom  # the part of the picture that is seen, in its own coordinates -1 to 1
    across, down = (uniform(-1, 1) * (1 - window).abs() for _ in range(2))
    zero = torch.zeros_like(zoom)
    view = torch.stack([torch.stack([window * mirror, zero, across], 1), torch.stack([zero, window, down], 1)], 1)
    grid = F.affine_grid(view, list(images.shape), align_corners=False)  # [N, H, W, 2]
    seen = F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    # Outside the picture grid_sample gives 0, hence the shift by one.
    ids = F.grid_sample((labels - VOID).unsqueeze(1).float(), grid, mode="nearest", align_corners=False)
    return _recolour(seen, uniform), ids.squeeze(1).long() + VOID


def _recolour(images: torch.Tensor, uniform: Callable[[float, float], torch.Tensor]) -> torch.Tensor:
    def factor(change: float) -> torch.Tensor:
        return uniform(1 - change, 1 + change).view(-1, 1, 1, 1)

    grey = images.mean(1, keepdim=True)
    images = grey + (images - grey) * factor(SATURATION)
    mean = images.mean((1, 2, 3), keepdim=True)
    return ((mean + (images - mean) * factor(CONTRAST)) * factor(LIGHT)).clamp(0, 255)
