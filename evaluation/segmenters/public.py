"""What the three public segmenters of the SPADE paper share: fixed preprocessing and published weights files."""

from __future__ import annotations

from typing import Any

import torch

from evaluation.segmenters.base import Segmenter


class PublicSegmenter(Segmenter):
    """A network whose preprocessing belongs to its published weights."""

    input_order = "RGB"
    """Of the channels that the network was trained on."""
    input_range: float = 1.0
    """What a white pixel is before `mean` is subtracted: 1 or 255."""
    input_mean: tuple[float, float, float]
    """In the network's channel order and range."""
    input_std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    scales: tuple[float, ...] = (1.0,)
    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        # Constants of the preprocessing, no part of the state dict.
        self.register_buffer("mean", torch.tensor(self.input_mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(self.input_std).view(3, 1, 1), persistent=False)

    def own_scales(self, height: int, width: int) -> tuple[float, ...]:
        """See `Segmenter.own_scales`."""
        return self.scales

    def normalise(self, images: torch.Tensor) -> torch.Tensor:
        """float `[N, 3, H, W]`, RGB in 0 to 255, to the network's input."""
        if self.input_order == "BGR":
            images = images.flip(1)
        return (images * (self.input_range / 255) - self.mean) / self.std

    def describe(self) -> dict[str, Any]:
        """See `Segmenter.describe`."""
        return {
            "kind": self.kind,
            "channels": self.input_order,
            "range": self.input_range,
            "mean": list(self.input_mean),
            "std": list(self.input_std),
            "scales": list(self.scales),
            "merging": self.merging,
            "features": self.feature_name,
        }
