"""What instances of each class look like in training photographs, as centres to draw from (pix2pixHD, Sec. 3.4)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline.config import Pix2PixHDSettings, Recipe, Source
from pipeline.labels import split_codes
from pipeline.networks.baselines.feature_encoder import FeatureEncoder
from training.data.dataset import RecordDataset, collate
from training.objectives.k_means import k_means

LEAST_SHARE = 1 / 64
"""Of the picture: smaller instances count only where a class has none that are larger."""
BATCH = 8


class InstanceCentres:
    """Photographs of the training data, and how to find centres in an encoder's features of them."""

    def __init__(self, data: str | Path | Sequence[Source], recipe: Recipe, device: torch.device) -> None:
        """Takes `generator.centre_pictures` of the records, spread over all of them."""
        assert isinstance(recipe.generator, Pix2PixHDSettings)
        self.settings, self.recipe, self.device = recipe.generator, recipe, device
        self._records = RecordDataset(data, recipe)
        count = min(len(self._records), self.settings.centre_pictures)
        self._chosen = np.linspace(0, len(self._records) - 1, count).round().astype(int).tolist()

    @torch.no_grad()
    def find(self, encoder: FeatureEncoder) -> list[Tensor]:
        """The centres of each class, float64 `[1 to settings.centres, features]`: of the features of its instances.

        Those of a class that no photograph shows are the mean of all instances, which is one centre.
        """
        classes, shares, features = (torch.cat(parts) for parts in zip(*self._instances(encoder), strict=True))
        found = []
        for number in range(self.recipe.labels.class_channels):
            own = classes == number
            large = own & (shares > LEAST_SHARE)
            points = features[large if large.any() else own]
            if len(points):
                found.append(k_means(points, self.settings.centres, seed=self.recipe.training.seed + number))
            else:
                found.append(features.double().mean(0, keepdim=True))
        return found

    def _instances(self, encoder: FeatureEncoder) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Of each photograph's n instances: the class, the share of the picture, and the features `[n, features]`."""
        found = []
        for first in range(0, len(self._chosen), BATCH):
            batch = collate([self._records[index] for index in self._chosen[first : first + BATCH]]).to(self.device)
            self._records.hold(())
            codes, regions = split_codes(batch.codes, self.recipe.labels)
            classes = (codes - 1) // 2
            if self.settings.feature_regions == "class":
                regions = classes
            planes = encoder(batch.pictures, regions)
            for own, numbers, values in zip(classes, regions, planes, strict=True):
                _, place, sizes = torch.unique(numbers, return_inverse=True, return_counts=True)
                # All pixels of an instance are alike: the last one that is written stands for it.
                at = torch.empty_like(sizes).scatter_(
                    0, place.flatten(), torch.arange(numbers.numel(), device=own.device)
                )
                found.append(
                    (
                        own.flatten()[at].cpu(),
                        (sizes / numbers.numel()).cpu(),
                        values.flatten(1)[:, at].t().cpu(),
                    )
                )
        return found
