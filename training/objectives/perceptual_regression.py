"""What CRN and SIMS are trained by: distances in the features of a frozen network, and nothing else (CRN, Sec. 3.2)."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.config.baselines import NOTHING_TO_LEARN_BY
from pipeline.errors import InputError
from pipeline.networks.baselines.layers import resize_area
from pipeline.pretrained.backbones import content_sha256
from training.objectives.perceptual import load_vgg
from training.objectives.trunk import Trunk

log = logging.getLogger(__name__)

ENDS = (4, 9, 14, 23, 32)
"""How many layers of torchvision's vgg19().features there are up to conv1_2, 2_2, 3_2, 4_2, 5_2, with their ReLUs."""
MEAN = (123.68, 116.779, 103.939)
"""RGB that is taken off pictures of 0 to 255."""
CITYSCAPES_256 = (1.0, 1 / 1.6, 1 / 2.3, 1 / 1.8, 1 / 2.8, 10 / 0.8)
GTA_256 = (1.0, 1 / 1.4, 1 / 1.8, 1 / 1.3, 1 / 2.2, 10 / 0.62)
CITYSCAPES_512 = (1.0, 1 / 2.6, 1 / 4.8, 1 / 3.7, 1 / 5.6, 10 / 1.5)
"""Weights of the terms: of the picture itself, then of the five layers. They balanced the terms at epoch 100 of the
authors' training; another data set, or another network than VGG19, needs its own."""
BEST_SHARE = 0.999
"""Of the diversity loss: the share of the best picture of each class. The mean over all has the rest."""


class PerceptualRegression(nn.Module):
    """The weighted sum of mean absolute differences of two pictures, and of their features in each stage of a trunk."""

    def __init__(self, trunk: Trunk, weights: Sequence[float]) -> None:
        """A weight for the picture itself, in the trunk's units, and one for each stage."""
        super().__init__()
        assert len(weights) == 1 + len(trunk.stages)
        self.trunk, self.weights = trunk, list(weights)

    def forward(self, fake: Tensor, real: Tensor) -> Tensor:
        """The loss of pictures `[N, 3, H, W]` in [-1, 1], with gradients to `fake` only."""
        return (self.distances(fake, real) * fake.new_tensor(self.weights)).sum()

    def distances(self, fake: Tensor, real: Tensor) -> Tensor:
        """The unweighted terms, `[1 + stages]`: what weights for another data set are chosen by.

        Of `fake` `[k * N, 3, H, W]`, k in turn for each of the photographs `real` `[N, 3, H, W]`.
        """
        count = len(fake) // len(real)
        return torch.stack([difference.mean() for difference in self._differences(fake, real, count)])

    def diverse(self, fakes: Tensor, real: Tensor, planes: Tensor) -> Tensor:
        """The loss of k pictures of each label map, of which each class picks the one that suits it (Sec. 3.3).

        `fakes` `[N, k, 3, H, W]`, `real` `[N, 3, H, W]`, `planes` `[N, P, H, W]`: the label map, one plane a class.
        """
        of_classes = self.class_distances(fakes, real, planes)  # [N, k, P]
        best = of_classes.min(dim=1).values.sum(dim=1)
        return (BEST_SHARE * best + (1 - BEST_SHARE) * of_classes.mean(dim=1).sum(dim=1)).mean()

    def class_distances(self, fakes: Tensor, real: Tensor, planes: Tensor) -> Tensor:
        """`[N, k, P]`: the weighted sum over layers of the differences on each class's pixels, over all pixels."""
        count = fakes.shape[1]
        terms = []
        pairs = zip(self.weights, self._differences(fakes.flatten(0, 1), real, count), strict=True)
        for weight, difference in pairs:
            labels = resize_area(planes, difference.shape[1], difference.shape[2])  # [N, P, h, w]
            pixels = difference.unflatten(0, (-1, count)).flatten(2)  # [N, k, h * w]
            terms.append(weight * pixels @ labels.flatten(2).transpose(1, 2) / pixels.shape[2])
        return torch.stack(terms).sum(dim=0)

    def _differences(self, fake: Tensor, real: Tensor, count: int = 1) -> list[Tensor]:
        """`[N, h, w]` for the picture and each stage, means over channels; `count` fakes for each real picture."""
        with torch.no_grad():
            wanted = [real / 2 / self.trunk.std, *self.trunk(real)]
        found = [fake / 2 / self.trunk.std, *self.trunk(fake)]
        return [
            (ours - theirs.repeat_interleave(count, 0)).abs().mean(dim=1)
            for ours, theirs in zip(found, wanted, strict=True)
        ]


def load_regression(
    weights: Sequence[float], *, several: bool, vgg_weights: Path | None, trunk: Trunk | None
) -> PerceptualRegression:
    """The loss on torchvision's `vgg19` from a local file, or else on a trunk.

    `weights` of the picture and of each stage; none: on VGG19 the published ones (of Cityscapes at 256 rows for
    `several` pictures a label map, else at 512), on a trunk 1 each. Raises `InputError` where there is neither, for
    another number of weights, and for an unreadable file.
    """
    if vgg_weights is not None:
        features = load_vgg(vgg_weights)
        loss = vgg_regression(features, CITYSCAPES_256 if several else CITYSCAPES_512)
        loss.trunk.sha256 = content_sha256(features.state_dict())
    elif trunk is not None:
        loss = PerceptualRegression(trunk, [1.0] * (1 + len(trunk.stages)))
        log.info("perceptual regression: on the trunk")
    else:
        raise InputError(NOTHING_TO_LEARN_BY)
    if weights and len(weights) != len(loss.weights):
        raise InputError(
            f"losses.regression has {len(weights)} weights, and the network {len(loss.weights) - 1} stages; give one "
            f"for the picture and one for each stage, {len(loss.weights)} in all"
        )
    loss.weights = list(weights) or loss.weights
    return loss


def vgg_regression(features: nn.Sequential, weights: Sequence[float] = CITYSCAPES_512) -> PerceptualRegression:
    """The loss on torchvision's `vgg19().features`, or any of the same length, with means in the place of maxima."""
    layers = [nn.AvgPool2d(2) if isinstance(layer, nn.MaxPool2d) else layer for layer in features]
    edges = [0, *ENDS]
    stages = [nn.Sequential(*layers[a:b]) for a, b in itertools.pairwise(edges)]
    trunk = Trunk(stages, mean=[value / 255 for value in MEAN], std=[1 / 255] * 3)
    return PerceptualRegression(trunk, weights)
