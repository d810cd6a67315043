"""Every score of predicted labels, from the few sums that it is made of: of one set of pictures, or of many at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Averaging = Literal["present", "union", "all"]
"""Which classes a mean IoU averages; published figures differ in it.

`present`: classes with ground-truth pixels (deeplab-pytorch; GAN-compression on COCO-Stuff).
`union`: also classes that occur only in predictions, which score 0 (drn's nan-mean).
`all`: every class; one that never occurs at all scores 0 too (semantic-segmentation-pytorch, imaginaire).
"""


@dataclass(frozen=True)
class LabelTotals:
    """Pixels of sets of pictures, any number of sets `[...]` at once; a resample is a weighted sum of its pictures'.

    All figures but one leave void pixels out. They are float64 `[...]`, shares of 1; NaN where nothing is known.

    >>> totals = LabelTotals(*(np.array(pixels) for pixels in ([1, 1], [2, 1], [1, 2], 4)))
    >>> totals.class_iou().tolist(), float(totals.accuracy_void_as_error())
    ([0.5, 0.5], 0.5)
    """

    correct: np.ndarray
    """`[..., classes]`: pixels of each class that were predicted as that class."""
    target: np.ndarray
    """`[..., classes]`: ground-truth pixels of each class."""
    predicted: np.ndarray
    """`[..., classes]`: pixels predicted as each class where the truth is known."""
    pixels: np.ndarray
    """`[...]`: every pixel that was counted, void included."""

    def class_iou(self) -> np.ndarray:
        """float64 `[..., classes]`: intersection over union of each class; NaN for one that occurs nowhere."""
        return share(self.correct, self.target + self.predicted - self.correct)

    def averaged_iou(self, averaging: Averaging = "present") -> np.ndarray:
        """float64 `[..., classes]`: `class_iou`; NaN for the classes that `averaging` leaves out."""
        iou = self.class_iou()
        match averaging:
            case "present":
                return np.where(self.target > 0, iou, np.nan)
            case "union":
                return iou
            case "all":
                return np.nan_to_num(iou, nan=0.0)

    def mean_iou(self, averaging: Averaging = "present") -> np.ndarray:
        """float64 `[...]`: the mean of `class_iou` over the classes that `averaging` names."""
        return mean_of_known(self.averaged_iou(averaging))

    def frequency_weighted_iou(self) -> np.ndarray:
        """float64 `[...]`: the mean of `class_iou` weighted with the ground-truth pixels of each class."""
        return share((np.nan_to_num(self.class_iou()) * self.target).sum(-1), self.target.sum(-1))

    def accuracy(self) -> np.ndarray:
        """float64 `[...]`: the share of the pixels of known class that were predicted as theirs."""
        return share(self.correct.sum(-1), self.target.sum(-1))

    def accuracy_void_as_error(self) -> np.ndarray:
        """float64 `[...]`: the same of all pixels, void ones as errors, as the SPADE paper counts (81.9 for 93.5)."""
        return share(self.correct.sum(-1), self.pixels)


def share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole in float64 `[...]`, NaN where the whole is 0."""
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)


def mean_of_known(values: np.ndarray) -> np.ndarray:
    """The mean of values `[..., n]` over the last axis, NaN left out: float64 `[...]`, NaN where nothing is left."""
    known = ~np.isnan(values)
    return share(np.where(known, values, 0.0).sum(-1), known.sum(-1))
