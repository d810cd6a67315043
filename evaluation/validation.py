"""Scores of a generator while it is trained: the hook that the command line gives to training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from evaluation.metrics.frechet import FeatureStatistics, frechet_distance
from evaluation.scoring.image_results import ImageResults
from evaluation.scoring.picture_sets import Picture
from evaluation.scoring.protocols import Protocol
from evaluation.scoring.scorer import ImageScorer
from evaluation.segmenters import load_segmenter
from pipeline.config import Recipe
from pipeline.data.records import check_dataset, decode_record, iter_rows, resize_record
from pipeline.data.schema import Record
from pipeline.data.storage import absolute
from pipeline.errors import InputError

BATCH = 8
"""Label maps that are synthesized, and pictures that are scored, at a time."""
PROTOCOL = Protocol(name="native")


class Validation:
    """Scores what a generator makes of the first validation records, at the recipe's size, beside their photographs.

    It pickles. From one call to the next it keeps the segmenter, and what that found in the photographs.
    """

    def __init__(self, recipe: Recipe, segmenter: str, weights: Path) -> None:
        """Raises `InputError` where the segmenter or the records do not exist, or the segmenter knows other classes."""
        self.recipe = recipe
        self.segmenter, self.weights = segmenter, weights.absolute()
        self.records = absolute(recipe.data.validation)
        check_dataset(self.records, ("id", "label", "image"))
        ours, theirs = recipe.labels.classes, load_segmenter(segmenter, self.weights).classes
        if ours != theirs:
            raise InputError(
                f"segmenter {weights} knows {len(theirs)} classes ({', '.join(theirs[:3])}, ...), the recipe has "
                f"{len(ours)} ({', '.join(ours[:3])}, ...); train one with train-segmenter on the same data"
            )
        self._scorer: ImageScorer | None = None
        self._photographs: FeatureStatistics | None = None

    def __call__(
        self, sample_images: Callable[[Sequence[str], np.ndarray], np.ndarray], device: torch.device
    ) -> dict[str, float]:
        """`mean_iou` and `accuracy` (shares of 1), and `frechet`, on the segmenter's features, to the photographs.

        `sample_images` makes pictures, uint8 `[N, H, W, 3]`, of N ids and their label codes, int32 `[N, H, W]`.
        """
        if self._scorer is None:
            network = load_segmenter(self.segmenter, self.weights, device=str(device))
            self._scorer = ImageScorer(network, self.recipe.labels, [PROTOCOL], batch_size=BATCH, device=str(device))
            real = self._scored(lambda records: [record.image for record in records])
            self._photographs = FeatureStatistics(real.features)
        assert self._photographs is not None

        def generated(records: Sequence[Record]) -> Sequence[np.ndarray]:
            codes = [self.recipe.encode(record.label, record.instance) for record in records]
            return list(sample_images([record.id for record in records], np.stack(codes)))

        scored = self._scored(generated)
        matrix = scored.confusions[PROTOCOL.name].total()
        return {
            "mean_iou": matrix.mean_iou(PROTOCOL.averaging),
            "accuracy": matrix.accuracy(),
            "frechet": frechet_distance(FeatureStatistics(scored.features), self._photographs),
        }

    def _scored(self, pictures: Callable[[Sequence[Record]], Sequence[np.ndarray | None]]) -> ImageResults:
        """The results of a picture of each record."""

        def shown() -> Iterator[Picture]:
            for records in self._batches():
                for record, image in zip(records, pictures(records), strict=True):
                    assert image is not None
                    yield Picture(record.id, 0, image, record.label)

        assert self._scorer is not None
        scored = self._scorer.score(shown())
        assert scored is not None
        return scored

    def _batches(self) -> Iterator[list[Record]]:
        """The records that count, at the recipe's size, a few at a time."""
        data = self.recipe.data
        rows = islice(iter_rows(self.records), self.recipe.training.validation_maps)
        while some := list(islice(rows, BATCH)):
            decoded = (decode_record(row, need_image=True) for row in some)
            yield [resize_record(record, data.height, data.width, resample=data.resample) for record in decoded]
