"""Bootstrap confidence intervals: how far scores move when other label maps had been drawn."""

from __future__ import annotations

import numpy as np

from evaluation.boundaries import mean_boundary_f
from evaluation.judgements import Judgements
from evaluation.protocols import Protocol

REPLICATES = 1000


def bootstrap_scores(
    made: Judgements, protocol: Protocol, *, replicates: int = REPLICATES, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """95% percentile intervals of mean IoU, accuracies and boundary F over resampled label maps.

    Label maps are drawn, with all their samples, because pictures of one map are not independent. Empty with fewer
    than two maps.
    """
    names, groups = np.unique(made.ids, return_inverse=True)
    if len(names) < 2:
        return {}
    confusions = made.confusions[protocol.name]
    boundaries = made.boundaries[protocol.name].astype(np.float64)  # BLAS adds floats; these stay exact
    random = np.random.default_rng(seed)
    drawn: dict[str, list[float]] = {"mean_iou": [], "accuracy": [], "accuracy_void_as_error": [], "boundary_f": []}
    for _ in range(replicates):
        times = np.bincount(random.integers(0, len(names), len(names)), minlength=len(names))
        matrix = confusions.total(times[groups])
        drawn["boundary_f"].append(mean_boundary_f(np.tensordot(times[groups], boundaries, 1)))
        drawn["mean_iou"].append(matrix.mean_iou(protocol.averaging))
        drawn["accuracy"].append(matrix.accuracy())
        drawn["accuracy_void_as_error"].append(matrix.accuracy_void_as_error())
    return {
        name: (float(np.nanpercentile(values, 2.5)), float(np.nanpercentile(values, 97.5)))
        for name, values in drawn.items()
        if not np.isnan(values).all()
    }
