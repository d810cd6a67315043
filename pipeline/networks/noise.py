"""Noise before normalisation: a number for each pixel, times a learned scale for each channel.

As in StyleGAN (Karras et al., CVPR 2019, Sec. 3.2) and the ACE layer of SEAN (Zhu et al., CVPR 2020). The noise of an
image is a function of its seed and of the layer: nothing of it depends on the batch, the worker or the thread.
"""

from __future__ import annotations

import torch

from pipeline.runtime.counter_based import normals


def noise_map(seeds: torch.Tensor, layer: int, height: int, width: int) -> torch.Tensor:
    """N(0, 1) for each pixel in a layer of a generator: float32 `[N, 1, height, width]`, of seeds int64 `[N]`."""
    return normals(seeds, f"noise of layer {layer}", height * width).view(-1, 1, height, width)


def add_noise(x: torch.Tensor, noise: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """`x` `[N, C, H, W]` with `noise` `[N, 1, H, W]` times `scale` `[C]` added to it, in the precision of `x`."""
    return torch.addcmul(x, noise.to(x.dtype), scale.to(x.dtype).view(-1, 1, 1))
