"""Boundary F-score: do classes end where the label map says? Region scores hardly show it (Csurka et al. 2013)."""

from __future__ import annotations

import numpy as np

from evaluation.metrics.label_totals import mean_of_known, share

TOLERANCE = 0.0075
"""How far a boundary may lie off, as a share of the picture's diagonal (at least one pixel)."""

VOID = -1
"""The id of pixels that do not count."""
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
    radius = max(1, round(TOLERANCE * float(np.hypot(*target.shape))))
    true, guess = (_boundaries(np.where(void, VOID, ids)) for ids in (target, prediction))
    counts = np.zeros((classes, len(COLUMNS)), np.int32)
    for column, one, other in ((0, guess, true), (2, true, guess)):
        places = np.flatnonzero((one >= 0) & (one < classes))
        names = one.ravel()[places]
        counts[:, column] = np.bincount(names, minlength=classes)
        counts[:, column + 1] = np.bincount(names[_near(places, names, other, radius)], minlength=classes)
    return counts


def class_boundary_f(counts: np.ndarray) -> np.ndarray:
    """Summed counts `[..., classes, 4]` to F-scores, float64 `[..., classes]`; NaN for classes without any true
    boundary."""
    predicted, predicted_near, true, true_near = np.moveaxis(counts, -1, 0).astype(np.float64)
    precision, recall = np.nan_to_num(share(predicted_near, predicted)), share(true_near, true)
    both = np.nan_to_num(share(2 * precision * recall, precision + recall))
    return np.where(true > 0, both, np.nan)


def mean_boundary_f(counts: np.ndarray) -> np.ndarray:
    """The mean of `class_boundary_f` over the classes that have true boundaries, float64 `[...]`; NaN if none has."""
    return mean_of_known(class_boundary_f(counts))


def _boundaries(ids: np.ndarray) -> np.ndarray:
    """int64 `[H, W]`: the ids of pixels beside one of another class, `VOID` elsewhere; neither void nor the picture's
    border counts."""
    edge = np.zeros(ids.shape, bool)
    for one, other in (((slice(None), slice(1, None)), (slice(None), slice(-1))), ((slice(1, None),), (slice(-1),))):
        differ = (ids[one] != ids[other]) & (ids[one] >= 0) & (ids[other] >= 0)
        edge[one] |= differ
        edge[other] |= differ
    return np.where(edge, ids, VOID)


def _near(places: np.ndarray, names: np.ndarray, edges: np.ndarray, radius: int) -> np.ndarray:
    """Bool `[n]`: whether `edges`, `[H, W]`, has the name of a place within `radius` rows and columns of it.

    Boundaries are a few pixels in a hundred, so that looking around each is faster than growing masks of all classes.
    """
    height, width = edges.shape
    padded = np.full((height + 2 * radius, width + 2 * radius), VOID, edges.dtype)
    padded[radius : radius + height, radius : radius + width] = edges
    flat, corners = padded.ravel(), places // width * padded.shape[1] + places % width
    found = np.zeros(len(places), bool)
    for row in range(2 * radius + 1):
        for column in range(2 * radius + 1):
            found |= flat[corners + (row * padded.shape[1] + column)] == names
    return found
