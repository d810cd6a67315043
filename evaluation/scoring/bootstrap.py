"""Bootstrap confidence intervals: how far scores move when other label maps had been drawn."""

from __future__ import annotations

import numpy as np

from evaluation.metrics.boundaries import mean_boundary_f
from evaluation.scoring.image_results import ImageResults
from evaluation.scoring.protocols import Protocol

REPLICATES = 1000


def bootstrap_scores(
    generated: ImageResults, real: ImageResults, protocol: Protocol, *, replicates: int = REPLICATES, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """95% percentile intervals over resampled label maps, by the names of `LabelScores`.

    Label maps are drawn, with all their samples, because pictures of one map are not independent. `of_ceiling` divides
    by the mean IoU of the photographs `real` of the same drawn label maps. Empty with fewer than two maps.
    """
    names, groups = np.unique(generated.ids, return_inverse=True)
    if len(names) < 2:
        return {}
    position = {name: index for index, name in enumerate(names.tolist())}
    photographs = np.array([position.get(name, -1) for name in real.ids.tolist()])
    boundaries = generated.boundaries[protocol.name].astype(np.float64)  # BLAS adds floats; these stay exact
    random = np.random.default_rng(seed)
    drawn: dict[str, list[float]] = {}
    for _ in range(replicates):
        times = np.bincount(random.integers(0, len(names), len(names)), minlength=len(names))
        matrix = generated.confusions[protocol.name].total(times[groups])
        ceiling = real.confusions[protocol.name].total(np.where(photographs < 0, 0, times[photographs]))
        mean_iou, highest = (each.mean_iou(protocol.averaging) for each in (matrix, ceiling))
        for name, value in (
            ("mean_iou", mean_iou),
            ("of_ceiling", mean_iou / highest if highest > 0 else np.nan),
            ("frequency_weighted_iou", matrix.frequency_weighted_iou()),
            ("accuracy", matrix.accuracy()),
            ("accuracy_void_as_error", matrix.accuracy_void_as_error()),
            ("boundary_f", mean_boundary_f(np.tensordot(times[groups], boundaries, 1))),
        ):
            drawn.setdefault(name, []).append(value)
    return {
        name: (float(np.nanpercentile(values, 2.5)), float(np.nanpercentile(values, 97.5)))
        for name, values in drawn.items()
        if not np.isnan(values).all()
    }
