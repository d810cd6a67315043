"""Intervals over label maps against a distribution that is known."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.metrics.confusion import ConfusionMatrix
from evaluation.scoring import label_sums
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


def test_a_resample_has_the_scores_of_its_pictures_put_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against one confusion matrix filled picture by picture, with samples and a map that is not drawn from."""
    monkeypatch.setattr(label_sums, "PICTURES", 4)
    random = np.random.default_rng(0)
    counts = random.integers(0, 9, (11, 4, 4)) * (random.random((11, 4, 4)) < 0.4)
    counts[:, 2] = 0  # no ground truth of the last class, which is predicted
    boundaries = random.integers(1, 9, (11, 3, 4), np.int32)
    ids = [f"map-{index % 4}" for index in range(10)] + ["stranger"]
    results = ImageResults(
        ids=np.array(ids),
        samples=np.zeros(11, np.int32),
        sizes=np.ones((11, 2), np.int32),
        confusions={"native": Confusions.of([ConfusionMatrix(3, each) for each in counts], 3)},
        boundaries={"native": boundaries},
        features=np.zeros((11, 1), np.float32),
    )
    times = np.array([[1, 1, 1, 1], [0, 3, 1, 0], [0, 0, 0, 4]])
    sums = label_sums.LabelSums.of(results, "native", {f"map-{index}": index for index in range(4)})
    totals, found = sums.totals(times)
    for row, drawn in enumerate(times):
        matrix, edges = ConfusionMatrix(3), np.zeros((3, 4))
        for index in range(10):
            matrix.counts += drawn[index % 4] * counts[index]
            edges += drawn[index % 4] * boundaries[index]
        assert matrix.pixels == totals.pixels[row]
        for averaging in ("present", "union", "all"):
            assert totals.mean_iou(averaging)[row] == matrix.mean_iou(averaging)
        assert totals.frequency_weighted_iou()[row] == matrix.frequency_weighted_iou()
        assert totals.accuracy()[row] == np.trace(matrix.counts[:3, :3]) / matrix.counts[:3].sum()
        assert totals.accuracy_void_as_error()[row] == np.trace(matrix.counts[:3, :3]) / matrix.counts.sum()
        assert found[row].tolist() == edges.tolist()


def test_draws_are_of_as_many_maps_as_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.concatenate(list(label_sums.draws(5, 7)))
    monkeypatch.setattr(label_sums, "REPLICATES", 3)
    parts = list(label_sums.draws(5, 7))
    assert [len(part) for part in parts] == [3, 3, 1]
    assert np.concatenate(parts).tolist() == whole.tolist()
    assert set(whole.sum(1).tolist()) == {5}
