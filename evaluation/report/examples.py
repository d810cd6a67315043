"""The pictures of a report: which ones it shows, and what was seen in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa

from evaluation.metrics.confusion import ConfusionMatrix
from evaluation.report.gallery import (
    SCORES,
    SIDES,
    Gallery,
    GalleryPicture,
    encode_gallery,
    gallery_errors,
    gallery_keys,
)
from evaluation.report.texture import Region
from evaluation.scoring.image_results import ImageResults
from evaluation.scoring.marks import MarkedPicture
from evaluation.scoring.picture_sets import Key, PictureSet, Selection
from evaluation.scoring.scorer import ImageScorer
from pipeline.pages.pictures import reduce_classes, reduce_image

VOID_COLOUR = (228, 228, 224)
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
    gallery: Gallery | None = None
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
    palette: Sequence[Sequence[int]],
) -> Illustrations:
    """Choose pictures, always the same ones, and look at them again; `count` of them spread over the label maps, and
    those of the gallery.

    `table` is what `picture_scores` says of them; `photographs_as` says at which size to show photographs; `palette`
    has the colours of the segmenter's classes.
    """
    if not count:
        return Illustrations()
    spread = _spread(generated, count)
    extremes = _extremes(table)
    ranks = combined_ranks(table)
    shown = {*spread, *extremes.values()}
    in_gallery = set(gallery_keys(generated, ranks))
    rows = {(row["id"], row["sample"]): (place, row) for place, row in enumerate(table.to_pylist())}
    confusions = generated.confusions[scorer.protocols[0].name]
    examples: dict[Key, Example] = {}
    small: dict[Key, GalleryPicture] = {}
    for example in _look(scorer, pictures, photographs, shown, in_gallery, photographs_as):
        key = example.id, example.sample
        place, row = rows[key]
        if key in shown:
            distances = {name: row[name] for name in ("feature_distance", "texture_distance")}
            examples[key] = replace(example, **distances)
        if key in in_gallery:
            rank = None if np.isnan(ranks[place]) else float(ranks[place])
            small[key] = _gallery_picture(example, {**row, "rank": rank}, confusions.matrix(place))
    colours = np.array([*palette, VOID_COLOUR], np.uint8)
    return Illustrations(
        tuple(examples[key] for key in spread),
        {title: examples[key] for title, key in extremes.items()},
        strips=_strips(scorer, pictures, generated, [name for name, _ in spread[:STRIP_MAPS]]),
        gallery=encode_gallery([small[key] for key in sorted(small)], colours),
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
    scorer: ImageScorer,
    pictures: PictureSet,
    photographs: PictureSet,
    shown: AbstractSet[Key],
    in_gallery: AbstractSet[Key],
    photographs_as: Selection,
) -> Iterator[Example]:
    """The pictures of some keys as the files have them, with what is seen in them; photographs of the gallery alone
    are reduced, so that all fit into memory."""
    wanted = shown | in_gallery
    large = {name for name, _ in shown}
    real = {
        photograph.id: photograph.image if photograph.id in large else reduce_image(photograph.image, SIDES[0])
        for photograph in photographs.stream({(name, 0) for name, _ in wanted}, photographs_as)
    }
    found = pictures.stream(wanted, Selection())
    while batch := list(islice(found, scorer.batch_size)):
        for picture, predicted in zip(batch, scorer.predict(batch), strict=True):
            target = scorer.target(picture)
            known = target >= 0
            accuracy = float((predicted == target)[known].mean()) if known.any() else None
            yield Example(picture.id, picture.sample, picture.image, real[picture.id], target, predicted, accuracy)


def _gallery_picture(example: Example, row: Mapping[str, Any], matrix: ConfusionMatrix) -> GalleryPicture:
    iou = np.where(matrix.target_pixels > 0, matrix.class_iou(), np.nan)
    return GalleryPicture(
        example.id,
        example.sample,
        reduce_image(example.image, SIDES[0]),
        reduce_image(example.photograph, SIDES[0]),
        reduce_classes(example.target, SIDES[0]),
        reduce_classes(example.predicted, SIDES[0]),
        {name: row[name] for name in SCORES},
        {int(index): float(iou[index]) for index in np.flatnonzero(~np.isnan(iou))},
        gallery_errors(matrix.counts),
    )


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
