"""Bootstrap confidence intervals: how far scores move when other label maps had been drawn."""

from __future__ import annotations

import numpy as np

from evaluation.metrics.boundaries import mean_boundary_f
from evaluation.metrics.label_totals import share
from evaluation.scoring.image_results import ImageResults
from evaluation.scoring.label_sums import LabelSums, draws
from evaluation.scoring.protocols import Protocol

REPLICATES = 1000


def bootstrap_scores(
    generated: ImageResults, real: ImageResults, protocol: Protocol, *, replicates: int = REPLICATES, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """95% percentile intervals over resampled label maps, by the names of `LabelScores`.

    Label maps are drawn, with all their samples, because pictures of one map are not independent. `of_ceiling` divides
    by the mean IoU of the photographs `real` of the same drawn label maps. Empty with fewer than two maps.
    """
    names = sorted(set(generated.ids.tolist()))
    if len(names) < 2:
        return {}
    position = {name: index for index, name in enumerate(names)}
    sums, ceilings = (LabelSums.of(results, protocol.name, position) for results in (generated, real))
    drawn: dict[str, list[np.ndarray]] = {}
    for times in draws(len(names), replicates, seed=seed):
        totals, boundaries = sums.totals(times)
        mean_iou, highest = (each.mean_iou(protocol.averaging) for each in (totals, ceilings.totals(times)[0]))
        for name, values in (
            ("mean_iou", mean_iou),
            ("of_ceiling", share(mean_iou, highest)),
            ("frequency_weighted_iou", totals.frequency_weighted_iou()),
            ("accuracy", totals.accuracy()),
            ("accuracy_void_as_error", totals.accuracy_void_as_error()),
            ("boundary_f", mean_boundary_f(boundaries)),
        ):
            drawn.setdefault(name, []).append(values)
    found = {name: np.concatenate(values) for name, values in drawn.items()}
    return {
        name: (float(np.nanpercentile(values, 2.5)), float(np.nanpercentile(values, 97.5)))
        for name, values in found.items()
        if not np.isnan(values).all()
    }
