"""Boundary F-score: do classes end where the label map says? Region scores hardly show it (Csurka et al. 2013)."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

TOLERANCE = 0.0075
"""How far a boundary may lie off, as a share of the picture's diagonal (at least one pixel)."""

COLUMNS = ("predicted", "predicted_near", "true", "true_near")
"""Of the counts: boundary pixels of a class in prediction and label map, and those near one of the other."""


def boundary_counts(target: np.ndarray, prediction: np.ndarray, classes: int) -> np.ndarray:
    """The counts of one picture, int32 `[classes, 4]` (see `COLUMNS`); they add up over pictures.

    `target` and `prediction` are integers `[H, W]`; ids outside `0 .. classes - 1` in `target` are void, where nothing
    counts. Near means within the tolerance along rows and along columns.

    >>> target = np.array([[0, 0, 0, 1, 1, 1]])
    >>> boundary_counts(target, np.array([[0, 0, 1, 1, 1, 1]]), 2).tolist()  # off by one pixel, which is near
    [[1, 1, 1, 1], [1, 1, 1, 1]]
    >>> boundary_counts(target, np.array([[1, 1, 1, 1, 1, 1]]), 2).tolist()
    [[0, 0, 1, 0], [0, 0, 1, 0]]
    """
    void = (target < 0) | (target >= classes)
    target, prediction = np.where(void, -1, target), np.where(void, -1, prediction)
    present = np.intersect1d(np.union1d(np.unique(target), np.unique(prediction)), np.arange(classes))
    counts = np.zeros((classes, len(COLUMNS)), np.int32)
    if not len(present):
        return counts
    radius = max(1, round(TOLERANCE * float(np.hypot(*target.shape))))
    true, guess = _boundaries(target, present), _boundaries(prediction, present)  # bool [k, H, W]
    near_true, near_guess = _dilate(true, radius), _dilate(guess, radius)
    for column, marked in enumerate((guess, guess & near_true, true, true & near_guess)):
        counts[present, column] = marked.sum((1, 2))
    return counts


def class_boundary_f(counts: np.ndarray) -> np.ndarray:
    """float64 `[classes]`: F-scores from summed counts `[classes, 4]`; NaN for classes without any true boundary."""
    predicted, predicted_near, true, true_near = counts.T.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(predicted > 0, predicted_near / predicted, 0.0)
        recall = true_near / true
        both = precision + recall
        return np.where(true > 0, np.where(both > 0, 2 * precision * recall / both, 0.0), np.nan)


def mean_boundary_f(counts: np.ndarray) -> float:
    """The mean of `class_boundary_f` over the classes that have true boundaries; NaN if none has."""
    scores = class_boundary_f(counts)
    known = scores[~np.isnan(scores)]
    return float(known.mean()) if known.size else float("nan")


def _boundaries(ids: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Bool `[k, H, W]`: pixels of each class beside a pixel of another; neither void nor the picture's border count."""
    edge = np.zeros(ids.shape, bool)
    for one, other in (((slice(None), slice(1, None)), (slice(None), slice(-1))), ((slice(1, None),), (slice(-1),))):
        differ = (ids[one] != ids[other]) & (ids[one] >= 0) & (ids[other] >= 0)
        edge[one] |= differ
        edge[other] |= differ
    return (ids == present[:, None, None]) & edge


def _dilate(masks: np.ndarray, radius: int) -> np.ndarray:
    """Bool `[k, H, W]`, grown by `radius` pixels along rows and columns."""
    grown = F.max_pool2d(torch.from_numpy(masks).float(), 2 * radius + 1, stride=1, padding=radius)
    return grown.numpy() > 0
