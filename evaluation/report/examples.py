"""The pictures of a report: which ones it shows, and what was seen in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from evaluation.scoring.image_results import ImageResults
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
    """The best, the median and the worst picture by accuracy."""
    strips: tuple[Strip, ...] = ()
    """Where label maps have several pictures."""


def illustrate(
    scorer: ImageScorer,
    pictures: PictureSet,
    photographs: PictureSet,
    generated: ImageResults,
    *,
    count: int,
    photographs_as: Selection,
) -> Illustrations:
    """Choose pictures, always the same ones, and look at them again; `count` of them spread over the label maps.

    `photographs_as` says at which size to show photographs.
    """
    if not count:
        return Illustrations()
    spread = _spread(generated, count)
    extremes = _extremes(generated, scorer.protocols[0].name)
    wanted = list(dict.fromkeys([*spread, *extremes.values()]))
    examples = dict(zip(wanted, _look(scorer, pictures, photographs, wanted, photographs_as), strict=True))
    return Illustrations(
        tuple(examples[key] for key in spread),
        {title: examples[key] for title, key in extremes.items()},
        _strips(scorer, pictures, generated, [name for name, _ in spread[:STRIP_MAPS]]),
    )


def _spread(generated: ImageResults, count: int) -> list[Key]:
    """One picture each of label maps that are spread evenly over the ids."""
    first: dict[str, int] = {}
    for name, sample in zip(generated.ids.tolist(), generated.samples.tolist(), strict=True):
        first[name] = min(sample, first.get(name, sample))
    names = sorted(first)
    picked = np.unique(np.linspace(0, len(names) - 1, min(count, len(names))).round().astype(int))
    return [(names[index], first[names[index]]) for index in picked]


def _extremes(generated: ImageResults, protocol: str) -> dict[str, Key]:
    """The best, median and worst picture by accuracy; none with fewer than three pictures."""
    confusions = generated.confusions[protocol]
    accuracy = np.array([confusions.matrix(index).accuracy() for index in range(len(generated))])
    known = np.flatnonzero(~np.isnan(accuracy))
    if len(known) < 3:
        return {}
    order = known[np.argsort(accuracy[known], kind="stable")]
    chosen = {"best": order[-1], "median": order[len(order) // 2], "worst": order[0]}
    return {title: (str(generated.ids[index]), int(generated.samples[index])) for title, index in chosen.items()}


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
