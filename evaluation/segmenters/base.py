"""What every segmentation network offers the evaluation: pictures in, class scores and features out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn

Scales = Literal["own", "single"]
"""The scales that the network's publication merges, or the picture as it is and nothing else."""


@dataclass(frozen=True)
class Prediction:
    """What a segmenter says about a batch of pictures."""

    scores: torch.Tensor
    """float `[N, classes, h, w]`: larger is likelier (logits or probabilities); `h` and `w` are the segmenter's own."""
    features: torch.Tensor
    """float `[N, feature_dimensions]`: one vector a picture, for distances between sets of pictures."""


class Segmenter(nn.Module, ABC):
    """A network in evaluation mode that knows its own preprocessing, classes and origin."""

    kind: str
    """The name under which the command line knows it."""
    classes: tuple[str, ...]
    """Names of the classes, in the order of the scores."""
    feature_dimensions: int
    feature_name: str
    """What the features are, in words for a report."""
    sha256: str | None = None
    """Of the weights file, where they came from one."""

    @abstractmethod
    def forward(self, images: torch.Tensor, *, scales: Scales = "own") -> Prediction:
        """Pictures as float `[N, 3, H, W]`, RGB in 0 to 255 and not yet normalised, to a `Prediction`."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Every setting that the scores depend on (JSON values), for reports: preprocessing, scales, merging."""


def class_map(scores: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Scores `[N, classes, h, w]` to the likeliest class at every pixel of another size, int64 `[N, height, width]`.

    The scores are enlarged, not the classes: bilinear, pixel centres aligned as everywhere in torch.
    """
    if scores.shape[-2:] != (height, width):
        scores = F.interpolate(scores.float(), size=(height, width), mode="bilinear", align_corners=False)
    return scores.argmax(1)
