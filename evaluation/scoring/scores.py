"""Scores of sets of pictures, typed, and as JSON."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from evaluation.metrics.boundaries import mean_boundary_f
from evaluation.metrics.feature_metrics import FeatureScores, Interval, mean_interval
from evaluation.scoring.bootstrap import bootstrap_scores
from evaluation.scoring.image_results import ImageResults
from evaluation.scoring.independence import Independence
from evaluation.scoring.marks import MarkScores
from evaluation.scoring.protocols import Protocol
from evaluation.scoring.textures import TextureScores

Role = Literal["synthesized", "baseline", "photographs"]

SCHEMA = 2
"""Of report.json."""


@dataclass(frozen=True)
class LabelScores:
    """How well predicted labels agree with the label maps, by one protocol. Shares of 1; None where undefined."""

    mean_iou: float | None
    frequency_weighted_iou: float | None
    accuracy: float | None
    """Void pixels left out."""
    accuracy_void_as_error: float | None
    boundary_f: float | None
    """Mean over classes of the F-score of their boundaries."""
    class_iou: dict[str, float | None]
    class_share: dict[str, float]
    """The share of the known pixels that are of this class."""
    confusion: list[list[int]]
    """Pixels by true and predicted class; the last row is void, the last column "no class of ours"."""
    intervals: dict[str, Interval] = field(default_factory=dict)
    """95% over resampled label maps, by the names above; `of_ceiling` is of the mean IoU over the photographs'."""

    @classmethod
    def of(
        cls, generated: ImageResults, real: ImageResults, classes: tuple[str, ...], protocol: Protocol
    ) -> LabelScores:
        """From what was found out about every picture, and about the photographs, which give the ceiling."""
        matrix = generated.confusions[protocol.name].total()
        boundaries = generated.boundaries[protocol.name].sum(0, dtype=np.int64)
        known = max(int(matrix.target_pixels.sum()), 1)
        return cls(
            mean_iou=finite(matrix.mean_iou(protocol.averaging)),
            frequency_weighted_iou=finite(matrix.frequency_weighted_iou()),
            accuracy=finite(matrix.accuracy()),
            accuracy_void_as_error=finite(matrix.accuracy_void_as_error()),
            boundary_f=finite(float(mean_boundary_f(boundaries))),
            class_iou=dict(zip(classes, map(finite, matrix.class_iou()), strict=True)),
            class_share=dict(zip(classes, (matrix.target_pixels / known).tolist(), strict=True)),
            confusion=matrix.counts.tolist(),
            intervals=bootstrap_scores(generated, real, protocol),
        )

    def headline_accuracy(self, protocol: Protocol) -> float | None:
        """The accuracy that the protocol publishes."""
        return self.accuracy_void_as_error if protocol.void_is_error else self.accuracy


@dataclass(frozen=True)
class SetScores:
    """All scores of one set of pictures."""

    name: str
    role: Role
    pictures: int
    label_maps: int
    labels: dict[str, LabelScores]
    """By protocol."""
    segmenter: FeatureScores | None = None
    """Distances to the photographs on the segmenter's features; None for the photographs themselves."""
    inception: dict[str, FeatureScores] = field(default_factory=dict)
    """The same on FID's Inception features, by protocol, where their weights were given."""
    networks: dict[str, FeatureScores] = field(default_factory=dict)
    """The same on the features of other networks, by the name that `--features` gave to each."""
    lpips: Diversity | None = None
    """Where the pictures have samples and LPIPS weights were given."""
    texture: TextureScores | None = None
    """Against the photographs of the same label maps, by the data set's classes."""
    source: dict[str, Any] = field(default_factory=dict)
    """Where the pictures came from: path, checkpoint, seed (JSON values)."""

    @property
    def segmenter_frechet(self) -> float | None:
        """Frechet distance on the segmenter's features; not FID."""
        return None if self.segmenter is None else self.segmenter.frechet

    def fid(self, protocol: Protocol) -> float | None:
        """Frechet distance on Inception features, as the protocol measures it."""
        found = self.inception.get(protocol.name)
        return None if found is None else found.frechet


@dataclass(frozen=True)
class Diversity:
    """How far the samples of one label map are apart."""

    mean: float
    """Mean distance over the pairs of samples of a label map, then over label maps. Higher is more diverse."""
    interval: Interval | None
    label_maps: int
    """Those with two samples or more."""

    @classmethod
    def of(cls, generated: ImageResults) -> Diversity | None:
        """From the distances of every picture to its siblings; None where there are none."""
        if generated.lpips is None:
            return None
        names, index = np.unique(generated.ids[~np.isnan(generated.lpips)], return_inverse=True)
        if not len(names):
            return None
        values = generated.lpips[~np.isnan(generated.lpips)].astype(np.float64)
        means = np.bincount(index, values) / np.bincount(index)
        return cls(float(means.mean()), mean_interval(means), len(names))


@dataclass(frozen=True)
class Scores:
    """A whole evaluation."""

    title: str
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    protocols: tuple[Protocol, ...]
    sets: tuple[SetScores, ...]
    """The synthesized pictures first, baselines next, the photographs last."""
    settings: dict[str, Any]
    """Segmenter, features, hashes: everything else that the scores depend on (JSON values)."""
    independence: dict[str, Independence] = field(default_factory=dict)
    """Of the segmenter from each set's generator, by set."""
    unpaired: dict[str, list[str]] = field(default_factory=dict)
    """Ids without a partner, by set."""
    warnings: tuple[str, ...] = ()
    marks: MarkScores | None = None
    """What people said of pictures, where that is given."""

    @property
    def synthesized(self) -> SetScores:
        """The set that is scored."""
        return self.sets[0]

    @property
    def ceiling(self) -> SetScores:
        """The photographs, scored like the synthesized pictures."""
        return self.sets[-1]

    @property
    def main_protocol(self) -> Protocol:
        """The one that headlines use."""
        return self.protocols[0]

    def to_json(self) -> dict[str, Any]:
        """JSON values; `report.json`."""
        fields = asdict(self)
        fields["protocols"] = [protocol.model_dump(mode="json") for protocol in self.protocols]
        return {"schema": SCHEMA, **fields}


def finite(value: float | np.floating) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else float(value)


def ratio(part: float | None, whole: float | None) -> float | None:
    """part / whole, None where that is undefined."""
    return None if part is None or not whole else part / whole
