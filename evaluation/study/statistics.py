"""What the cells of a study say together: each row's scores over its seeds, and how they differ from the reference."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from evaluation.metrics.label_totals import Averaging
from evaluation.study.cells import CellResult
from evaluation.trainings.estimates import Estimate, SeedScores, accuracy, count_pixels, draw_maps, gain, mean_iou


@dataclass(frozen=True)
class Score:
    """What is measured of every row."""

    title: str
    note: str
    """What it means, in a sentence."""
    lower_is_better: bool = False
    unit: str = "share"
    """`share` of 1, `distance`, or `factor`."""

    @property
    def bounds(self) -> tuple[float, float]:
        """What it can be, at least and at most."""
        return {"share": (0.0, 1.0), "distance": (0.0, math.inf), "factor": (1.0, math.inf)}[self.unit]


SCORES = {
    "mean_iou": Score("mean IoU", "Of the label map and what the segmenter sees in the picture."),
    "accuracy": Score("pixel accuracy", "Pixels of the right class, void left out."),
    "frechet": Score(
        "Fréchet distance", "To the photographs, on the segmenter's features; not FID.", True, unit="distance"
    ),
    "precision": Score("precision", "Pictures that lie among the photographs, on the same features."),
    "coverage": Score("coverage", "Photographs that have a picture near."),
    "power_factor": Score(
        "octave power", "By which factor an octave's power is off the photographs'; ×1 is best.", True, unit="factor"
    ),
    "lattice_factor": Score(
        "lattice", "How many times the photographs' lattice scores the pictures' are; ×1 is best.", True, unit="factor"
    ),
}


@dataclass(frozen=True)
class RowScore:
    """One score of one row."""

    seeds: tuple[float | None, ...]
    """Of each training."""
    estimate: Estimate | None
    """The mean over seeds; None where a seed has none."""
    gain: Estimate | None = None
    """Over the reference row; None for that row itself."""


def score_rows(
    cells: Mapping[str, Sequence[CellResult]], reference: str, averaging: Averaging
) -> dict[str, dict[str, RowScore]]:
    """By row and by the names of `SCORES`, from each row's cells, a seed each.

    Differences of mean IoU and accuracy are paired over label maps; of the other scores the chance of the label maps
    is known for each row alone, and adds up.
    """
    maps = {cell.ids for several in cells.values() for cell in several}
    assert len(maps) == 1, "cells of one validation set have the same label maps"
    draws = draw_maps(len(next(iter(maps))))
    known = {name: _seed_scores(several, draws, averaging) for name, several in cells.items()}
    found: dict[str, dict[str, RowScore]] = {}
    for name, several in cells.items():
        found[name] = {}
        for key in SCORES:
            own, base = known[name][key], known[reference][key]
            found[name][key] = RowScore(
                seeds=tuple(cell.scores[key] for cell in several),
                estimate=None if own is None else _within(own.estimate(), SCORES[key].bounds),
                gain=None if own is None or base is None or name == reference else gain(own, base),
            )
    return found


def _within(estimate: Estimate, bounds: tuple[float, float]) -> Estimate:
    """The same with an interval that does not leave what a score can be: of two seeds, Student's is very wide."""
    least, most = bounds
    return replace(estimate, low=max(least, estimate.low), high=min(most, estimate.high))


def _seed_scores(cells: Sequence[CellResult], draws: np.ndarray, averaging: Averaging) -> dict[str, SeedScores | None]:
    counts = [count_pixels(cell.confusions) for cell in cells]  # [N, classes, 3] each
    resampled = [np.tensordot(draws, each, 1) for each in counts]  # [R, classes, 3]
    maps = len(cells[0].ids)
    whole = np.stack([each.sum(0) for each in counts])
    found: dict[str, SeedScores | None] = {
        "mean_iou": SeedScores(
            mean_iou(whole, averaging), maps, resampled=np.stack([mean_iou(each, averaging) for each in resampled])
        ),
        "accuracy": SeedScores(accuracy(whole), maps, resampled=np.stack([accuracy(each) for each in resampled])),
    }
    for key in SCORES.keys() - found.keys():
        values = [cell.scores[key] for cell in cells]
        numbers = [value for value in values if value is not None]
        # The maps are the same for all seeds: what is hard in them does not average out.
        deviation = float(np.mean([cell.deviations.get(key, 0.0) for cell in cells]))
        complete = len(numbers) == len(values)
        found[key] = SeedScores(np.array(numbers), maps, map_deviation=deviation) if complete else None
    return found
