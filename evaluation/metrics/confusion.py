"""The confusion matrix of a whole data set, and every score that follows from it."""

from __future__ import annotations

import numpy as np

from evaluation.metrics.label_totals import Averaging, LabelTotals


class ConfusionMatrix:
    """Pixel counts by true and predicted class, exact integers, so that partial matrices add up in any order.

    Mean IoU and its kin are figures of the *data set*: fill one matrix with all images, then read it.

    >>> matrix = ConfusionMatrix(2)
    >>> matrix.update(np.array([[0, 0, 1, 255]]), np.array([[0, 1, 1, 1]]))
    >>> matrix.class_iou().tolist()  # class 0: 1 pixel of 2; class 1: 1 of 2; the void pixel is left out
    [0.5, 0.5]
    >>> round(matrix.accuracy(), 4), matrix.accuracy_void_as_error()
    (0.6667, 0.5)
    """

    def __init__(self, classes: int, counts: np.ndarray | None = None) -> None:
        """An empty matrix for ids `0 .. classes - 1`, or one of given counts, int64 `[classes + 1, classes + 1]`."""
        assert classes > 0
        side = classes + 1
        self.classes = classes
        # True class by predicted class; the last row and column are "none of them".
        self.counts = np.zeros((side, side), np.int64) if counts is None else counts
        assert self.counts.shape == (side, side)
        assert self.counts.dtype == np.int64

    def update(self, target: np.ndarray, prediction: np.ndarray) -> None:
        """Count the pixels of one or more images; integers of equal shape.

        An id outside `0 .. classes - 1` is void in `target` and "no class of ours" (always wrong) in `prediction`.
        """
        assert target.shape == prediction.shape, (target.shape, prediction.shape)
        side = self.classes + 1
        flat = self._fold(target) * side + self._fold(prediction)
        self.counts += np.bincount(flat.ravel(), minlength=side * side).reshape(side, side)

    def _fold(self, ids: np.ndarray) -> np.ndarray:
        wide = ids.astype(np.int64)
        return np.where((wide >= 0) & (wide < self.classes), wide, self.classes)

    # Every figure below leaves void pixels out, unless its name says otherwise.

    @property
    def target_pixels(self) -> np.ndarray:
        """int64 `[classes]`: ground-truth pixels of each class."""
        return self.counts[:-1].sum(1)

    @property
    def predicted_pixels(self) -> np.ndarray:
        """int64 `[classes]`: pixels predicted as each class where the truth is known."""
        return self.counts[:-1, :-1].sum(0)

    @property
    def correct_pixels(self) -> np.ndarray:
        """int64 `[classes]`: pixels of each class that were predicted as that class."""
        return np.diagonal(self.counts)[:-1]

    @property
    def pixels(self) -> int:
        """Every pixel that was counted, void included."""
        return int(self.counts.sum())

    @property
    def totals(self) -> LabelTotals:
        """The sums that scores are made of."""
        return LabelTotals(self.correct_pixels, self.target_pixels, self.predicted_pixels, np.asarray(self.pixels))

    def class_iou(self) -> np.ndarray:
        """float64 `[classes]`: intersection over union of each class; NaN for one that occurs nowhere."""
        return self.totals.class_iou()

    def mean_iou(self, averaging: Averaging = "present") -> float:
        """The mean of `class_iou` over the classes that `averaging` names; NaN where that is none."""
        return float(self.totals.mean_iou(averaging))

    def frequency_weighted_iou(self) -> float:
        """The mean of `class_iou` weighted with the ground-truth pixels of each class."""
        return float(self.totals.frequency_weighted_iou())

    def accuracy(self) -> float:
        """The share of the pixels of known class that were predicted as theirs."""
        return float(self.totals.accuracy())

    def accuracy_void_as_error(self) -> float:
        """The same over all pixels, every void one an error: how the SPADE paper counts (81.9 for 93.5)."""
        return float(self.totals.accuracy_void_as_error())
