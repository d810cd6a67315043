"""What every segmentation network offers the evaluation: pictures in, class scores and features out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn

Scales = Literal["own", "single"]
"""The scales that the network's publication merges, or the picture as it is and nothing else."""

Merging = Literal["max", "mean-softmax", "sum-log-softmax"]
"""How the scores of several scales become one: the element-wise maximum of the scores as they are (deeplab-pytorch),
the mean of probabilities (semantic-segmentation-pytorch), or the sum of their logarithms (drn)."""

STRIDE = 8
"""Sides of a rescaled picture are multiples of it, as the networks' strides want them."""


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
    scores_are: Literal["logits", "log-probabilities", "probabilities"] = "logits"
    merging: Merging = "mean-softmax"
    """How it merges several scales."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @abstractmethod
    def forward(self, images: torch.Tensor, *, scales: Scales = "own") -> Prediction:
        """Pictures as float `[N, 3, H, W]`, RGB in 0 to 255 and not yet normalised, to a `Prediction`."""

    def own_scales(self, height: int, width: int) -> tuple[float, ...]:
        """The scales of "own" for a picture of this size, as factors of it."""
        return (1.0,)

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Every setting that the scores depend on (JSON values), for reports: preprocessing, scales, merging."""


class TrainableSegmenter(Segmenter):
    """A segmenter whose weights are those of one network that can be trained."""

    network: Any
    """An `nn.Module`."""


def predict_scales(
    segmenter: Segmenter, images: torch.Tensor, scales: Sequence[float] | None, merging: Merging | None
) -> Prediction:
    """One prediction from pictures rescaled by each of `scales`, merged as `merging` says; None: as the network does.

    `images` are float `[N, 3, H, W]` in 0 to 255; the scores have the size of the largest scale's.
    """
    height, width = images.shape[-2:]
    parts = []
    for scale in scales or segmenter.own_scales(height, width):
        seen = images
        if scale != 1:
            rounded = [max(STRIDE, round(side * scale / STRIDE) * STRIDE) for side in (height, width)]
            seen = F.interpolate(images, size=rounded, mode="bilinear", antialias=True, align_corners=False)
        parts.append(segmenter(seen, scales="single"))
    size = max((part.scores.shape[-2:] for part in parts), key=lambda shape: shape[0] * shape[1])
    scores = [F.interpolate(part.scores.float(), size=size, mode="bilinear", align_corners=False) for part in parts]
    return Prediction(
        scores=merge_scores(torch.stack(scores), segmenter.scores_are, merging or segmenter.merging),
        features=torch.stack([part.features for part in parts]).mean(0),
    )


def merge_scores(scores: torch.Tensor, scores_are: str, merging: Merging) -> torch.Tensor:
    """Scores of several scales `[S, N, classes, h, w]` to one `[N, classes, h, w]`."""
    if merging == "max":
        return scores.amax(0)
    match scores_are:
        case "logits":
            logarithms = scores.log_softmax(2)
        case "log-probabilities":
            logarithms = scores
        case _:
            logarithms = (scores / scores.sum(2, keepdim=True)).clamp(min=1e-12).log()
    return logarithms.exp().mean(0) if merging == "mean-softmax" else logarithms.sum(0)


def class_map(scores: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Scores `[N, classes, h, w]` to the likeliest class at every pixel of another size, int64 `[N, height, width]`.

    The scores are enlarged, not the classes: bilinear, pixel centres aligned as everywhere in torch.
    """
    if scores.shape[-2:] != (height, width):
        scores = F.interpolate(scores.float(), size=(height, width), mode="bilinear", align_corners=False)
    return scores.argmax(1)
