"""The pictures of a report: which ones it shows, and what was seen in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from evaluation.report.texture import Region
from evaluation.scoring.image_results import ImageResults
from evaluation.scoring.marks import MarkedPicture
from evaluation.scoring.picture_sets import Key, PictureSet, Selection
from evaluation.scoring.scorer import ImageScorer

STRIP_MAPS, STRIP_SAMPLES = 3, 6
"""Label maps and samples of each in the strip that shows how styles differ."""


@dataclass(frozen=True)
class Example:
    """A picture and everything that was seen in it; arrays of one size."""

    id: str
    sample: int
    image: np.ndarray
    """uint8 `[H, W, 3]`, synthesized."""
    photograph: np.ndarray
    """uint8 `[H, W, 3]`, real, of the same label map."""
    target: np.ndarray
    """int16 `[h, w]`: classes of the label map, -1 for void."""
    predicted: np.ndarray
    """int16 `[h, w]`: classes that the segmenter sees in `image`."""
    accuracy: float | None
    """Share of known pixels where the two agree."""
    feature_distance: float | None = None
    """From the photograph of its label map, as in scores.parquet."""
    texture_distance: float | None = None
    """The same."""


@dataclass(frozen=True)
class Strip:
    """Samples of one label map."""

    id: str
    target: np.ndarray
    images: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Illustrations:
    """Everything that a report shows."""

    examples: tuple[Example, ...] = ()
    """Spread evenly over the label maps."""
    extremes: dict[str, Example] = field(default_factory=dict)
    """The best, the median and the worst picture by `combined_ranks`."""
    regions: tuple[Region, ...] = ()
    """Where texture is furthest from the photographs'."""
    strips: tuple[Strip, ...] = ()
    """Where label maps have several pictures."""
    marked: tuple[MarkedPicture, ...] = ()
    """That people marked."""


def illustrate(
    scorer: ImageScorer,
    pictures: PictureSet,
    photographs: PictureSet,
    generated: ImageResults,
    table: pa.Table,
    *,
    count: int,
    photographs_as: Selection,
) -> Illustrations:
    """Choose pictures, always the same ones, and look at them again; `count` of them spread over the label maps.

    `table` is what `picture_scores` says of them; `photographs_as` says at which size to show photographs.
    """
    if not count:
        return Illustrations()
    spread = _spread(generated, count)
    rows = {(row["id"], row["sample"]): row for row in table.to_pylist()}
    extremes = _extremes(table)
    wanted = list(dict.fromkeys([*spread, *extremes.values()]))
    seen = _look(scorer, pictures, photographs, wanted, photographs_as)
    examples = {
        key: replace(example, **{name: rows[key][name] for name in ("feature_distance", "texture_distance")})
        for key, example in zip(wanted, seen, strict=True)
    }
    return Illustrations(
        tuple(examples[key] for key in spread),
        {title: examples[key] for title, key in extremes.items()},
        strips=_strips(scorer, pictures, generated, [name for name, _ in spread[:STRIP_MAPS]]),
    )


def _spread(generated: ImageResults, count: int) -> list[Key]:
    """One picture each of label maps that are spread evenly over the ids."""
    first: dict[str, int] = {}
    for name, sample in zip(generated.ids.tolist(), generated.samples.tolist(), strict=True):
        first[name] = min(sample, first.get(name, sample))
    names = sorted(first)
    picked = np.unique(np.linspace(0, len(names) - 1, min(count, len(names))).round().astype(int))
    return [(names[index], first[names[index]]) for index in picked]


RANKED = {"accuracy": -1, "feature_distance": 1, "texture_distance": 1}
"""The scores of a picture that count for its rank, and whether less (1) or more (-1) is better."""


def combined_ranks(table: pa.Table) -> np.ndarray:
    """float64 `[N]`, 0 (best) to 1: the mean of each picture's ranks by the scores that it has; NaN without any.

    >>> scores = {"accuracy": [0.9, 0.5, None], "feature_distance": [3.0, 2.0, 1.0]}
    >>> combined_ranks(pa.table(scores | {"texture_distance": pa.nulls(3, pa.float64())})).tolist()
    [0.5, 0.75, 0.0]
    """
    ranks = np.full((len(RANKED), len(table)), np.nan)
    for row, (name, sign) in enumerate(RANKED.items()):
        values = sign * table[name].to_numpy().astype(np.float64)
        known = np.flatnonzero(~np.isnan(values))
        # Of equal scores each has the mean of their ranks.
        below, upto = (np.searchsorted(np.sort(values[known]), values[known], side) for side in ("left", "right"))
        ranks[row, known] = (below + upto - 1) / 2 / max(len(known) - 1, 1)
    count = (~np.isnan(ranks)).sum(0)
    return np.divide(np.nansum(ranks, 0), count, out=np.full(len(table), np.nan), where=count > 0)


def _extremes(table: pa.Table) -> dict[str, Key]:
    """The best, median and worst picture by `combined_ranks`; none with fewer than three pictures."""
    ranks = combined_ranks(table)
    known = np.flatnonzero(~np.isnan(ranks))
    if len(known) < 3:
        return {}
    order = known[np.argsort(ranks[known], kind="stable")]
    chosen = {"best": order[0], "median": order[len(order) // 2], "worst": order[-1]}
    names, samples = table["id"].to_pylist(), table["sample"].to_pylist()
    return {title: (names[index], samples[index]) for title, index in chosen.items()}


def _look(
    scorer: ImageScorer, pictures: PictureSet, photographs: PictureSet, keys: Sequence[Key], photographs_as: Selection
) -> list[Example]:
    found = pictures.pictures(keys, Selection())
    real = photographs.pictures([(name, 0) for name, _ in keys], photographs_as)
    examples = []
    for picture, predicted, photograph in zip(found, scorer.predict(found), real, strict=True):
        target = scorer.target(picture)
        known = target >= 0
        accuracy = float((predicted == target)[known].mean()) if known.any() else None
        examples.append(
            Example(picture.id, picture.sample, picture.image, photograph.image, target, predicted, accuracy)
        )
    return examples


def _strips(
    scorer: ImageScorer, pictures: PictureSet, generated: ImageResults, names: Sequence[str]
) -> tuple[Strip, ...]:
    strips = []
    for name in names:
        samples = sorted(generated.samples[generated.ids == name].tolist())[:STRIP_SAMPLES]
        if len(samples) > 1:
            found = pictures.pictures([(name, sample) for sample in samples], Selection())
            strips.append(Strip(name, scorer.target(found[0]), tuple(picture.image for picture in found)))
    return tuple(strips)
