"""The curves of distances over the number of pictures, as rows of a report, and the warnings that follow from them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from evaluation.metrics.curves import TOLERANCE, Curve
from evaluation.metrics.feature_metrics import FeatureScores
from evaluation.scoring.scores import Scores, SetScores
from pipeline.pages.format import interval, number
from pipeline.pages.tables import Cell, Row, Table

WIDTH, HEIGHT = 160, 36
"""Of a drawn curve, in pixels."""


@dataclass(frozen=True)
class Sparkline:
    """A curve over 1/N from the smallest subset (left) to the whole set and, dashed, to infinity: as an SVG polyline's
    points, in `WIDTH` by `HEIGHT`."""

    points: str
    end: str
    """The points of the extrapolation."""


@dataclass(frozen=True)
class CurveTable:
    """The distances on one kind of features, by the number of pictures."""

    table: Table
    sparklines: tuple[Sparkline, ...]
    """One for each row."""


def curve_table(name: str, found: FeatureScores | None, titles: dict[str, str]) -> CurveTable | None:
    """The curves of the distances that have a title, by key, as a table of this name; None without any."""
    if found is None or not found.curves:
        return None
    curves = {titles[key]: curve for key, curve in found.curves.items() if key in titles}
    sizes = next(iter(found.curves.values())).sizes
    rows = tuple(_row(title, curve) for title, curve in curves.items())
    table = Table(name, "pictures", (*map(str, sizes), "∞", "stable"), rows)
    return CurveTable(table, tuple(map(_sparkline, curves.values())))


def unstable_warnings(scores: Scores, titles: dict[str, dict[str, str]]) -> Iterator[str]:
    """A line for each kind of features on which distances depend on the number of pictures.

    `titles` are those of its distances by key, by the features' name ("segmenter", "Inception" or of `--features`).
    """
    made = scores.synthesized
    for name, keys in titles.items():
        found = features_of(scores, made, name)
        unstable = [
            f"{keys[key]} ({_from(curve)})"
            for key, curve in (found.curves if found else {}).items()
            if key in keys and not curve.stable
        ]
        if unstable:
            yield (
                f"{made.pictures} pictures are too few for a stable {', '.join(unstable)} on {name} features; compare "
                "only with distances of as many, or the extrapolations"
            )


def features_of(scores: Scores, part: SetScores, name: str) -> FeatureScores | None:
    """A set's distances on features of this name, by the first protocol; None where there are none."""
    if name == "segmenter":
        return part.segmenter
    return part.inception.get(scores.main_protocol.name) if name == "Inception" else part.networks.get(name)


def _row(title: str, curve: Curve) -> Row:
    values = [Cell(number(value), value=value) for value in curve.values]
    end = Cell(number(curve.infinity), (interval(curve.interval, number),), curve.infinity, curve.interval)
    return Row(title, (*values, end, Cell(_from(curve), tone="" if curve.stable else "off")))


def _sparkline(curve: Curve) -> Sparkline:
    low, high = min(*curve.values, curve.infinity), max(*curve.values, curve.infinity)

    def point(inverse: float, value: float) -> str:
        across = 1 - inverse * curve.sizes[0]  # 0 at the smallest size, 1 at infinity
        up = (value - low) / (high - low) if high > low else 0.5
        return f"{2 + (WIDTH - 4) * across:.1f},{HEIGHT - 2 - (HEIGHT - 4) * up:.1f}"

    points = [point(1 / size, value) for size, value in zip(curve.sizes, curve.values, strict=True)]
    return Sparkline(" ".join(points), f"{points[-1]} {point(0, curve.infinity)}")


def _from(curve: Curve) -> str:
    if curve.stable_from is None:
        return "too few to tell"
    return f"from {curve.stable_from:,}" if curve.stable_from > curve.sizes[0] else f"from {curve.sizes[0]:,} or fewer"


NOTE = (
    "Means over random subsets of the label maps, pictures and photographs; drawn over 1/N, dashed to infinity, where "
    "the line through them ends, with its 95% interval. Stable: within "
    f"{100 * TOLERANCE:.0f}% of that. Below as many pictures as features a Fréchet distance’s curve bends, and its "
    "extrapolation is still too high."
)
