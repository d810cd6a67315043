"""Intervals over label maps against a distribution that is known."""

from __future__ import annotations

import numpy as np

from evaluation.metrics.confusion import ConfusionMatrix
from evaluation.scoring.bootstrap import bootstrap_scores
from evaluation.scoring.image_results import Confusions, ImageResults
from evaluation.scoring.protocols import Protocol

MAPS = 100


def half_right() -> ImageResults:
    """A hundred maps of ten pixels of one class, all right on every second map, all wrong on the others."""
    right, wrong = np.zeros((3, 3), np.int64), np.zeros((3, 3), np.int64)
    right[0, 0] = wrong[0, 1] = 10
    matrices = [ConfusionMatrix(2, (right, wrong)[index % 2]) for index in range(MAPS)]
    return ImageResults(
        ids=np.array([f"map-{index}" for index in range(MAPS)]),
        samples=np.zeros(MAPS, np.int32),
        sizes=np.ones((MAPS, 2), np.int32),
        confusions={"native": Confusions.of(matrices, 2)},
        boundaries={"native": np.zeros((MAPS, 2, 4), np.int32)},
        features=np.zeros((MAPS, 1), np.float32),
    )


def test_the_ends_are_those_of_95_per_cent() -> None:
    """The accuracy of resampled maps is binomial(100, 1/2) / 100, whose ends are 0.40 and 0.60 (90 %: 0.42, 0.58)."""
    results = half_right()
    low, high = bootstrap_scores(results, results, Protocol(name="native"))["accuracy"]
    assert 0.385 <= low <= 0.405
    assert 0.595 <= high <= 0.615
