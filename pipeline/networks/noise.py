"""Noise before normalisation: a number for each pixel, times a learned scale for each channel; and styles of regions.

As in StyleGAN (Karras et al., CVPR 2019, Sec. 3.2) and the ACE layer of SEAN (Zhu et al., CVPR 2020). The noise of an
image is a function of its seed and size: nothing of it depends on the batch, the worker or the thread.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pipeline.runtime.counter_based import derived_seeds, normals


def draw_noise(seeds: torch.Tensor, sizes: Sequence[tuple[int, int]]) -> torch.Tensor:
    """N(0, 1) for each pixel of all layers, whose (height, width) are `sizes`: float32 `[N, pixels]` of seeds `[N]`.

    All in one go, for the smallest layers would cost as many calls of operators as the largest.
    """
    return normals(seeds, "noise", sum(height * width for height, width in sizes))


def split_noise(noise: torch.Tensor, sizes: Sequence[tuple[int, int]]) -> list[torch.Tensor]:
    """What `draw_noise` gave, `[N, pixels]`, by layer: `[N, 1, height, width]` each."""
    parts = noise.split([height * width for height, width in sizes], dim=1)
    return [part.unflatten(1, (1, *size)) for part, size in zip(parts, sizes, strict=True)]


def add_noise(x: torch.Tensor, noise: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """`x` `[N, C, H, W]` with `noise` `[N, 1, H, W]` times `scale` `[C]` added to it, in the precision of `x`."""
    return torch.addcmul(x, noise.to(x.dtype), scale.to(x.dtype).view(-1, 1, 1))


def region_styles(seeds: torch.Tensor, regions: int, style_dim: int) -> torch.Tensor:
    """N(0, 1) for the style of each region of images: float32 `[N, regions, style_dim]`, of seeds int64 `[N]`.

    A region's is a function of the image's seed and the region's number.
    """
    numbers = torch.arange(regions, device=seeds.device)
    of_regions = derived_seeds(derived_seeds(seeds, "regions").unsqueeze(1) + numbers, "region").flatten()
    return normals(of_regions, "style", style_dim).view(len(seeds), regions, style_dim)
