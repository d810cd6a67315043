"""Whether styles matter: is the mood of a synthesized picture that of the photograph which gave the style?

Each label map is drawn once in the style of a photograph of every mood, and a classifier that learnt the moods from
colour statistics of real photographs looks at the pictures. A generator that ignores its style draws the same picture
each time, and agrees in exactly one case out of as many as there are moods; the classifier's accuracy on real
photographs is the ceiling.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from pipeline.data.images import Resample
from pipeline.data.records import (
    Record,
    check_dataset,
    decode_record,
    encode_png,
    iter_rows,
    resize_record,
)
from pipeline.errors import InputError
from pipeline.labels import LabelSpace, class_channels, colourise
from pipeline.runtime.seeding import record_seed

SKY = ("sky", "cloud")
"""Classes that take the light's colour most directly; their statistics are kept apart from the rest's."""
GRID_MAPS = 6
GAP = 4

Synthesize = Callable[[Record, Record], np.ndarray]
"""From a record with a label map and one with the photograph that gives the style to a picture, uint8 `[H, W, 3]`."""


@dataclass(frozen=True)
class StyledRecord:
    """A photograph with its label map, and the mood that it shows."""

    record: Record
    mood: str


def colour_statistics(image: np.ndarray, sky: np.ndarray) -> np.ndarray:
    """Mean and deviation of each colour channel in the sky, then in the rest: float64 `[12]`, of pixels in 0 to 1.

    `image` is uint8 `[H, W, 3]`, `sky` bool `[H, W]`; a part without pixels is given the statistics of the other.

    >>> colour_statistics(np.full((2, 2, 3), 255, np.uint8), np.array([[True, True], [False, False]])).tolist()
    [1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0]
    """
    pixels = image.astype(np.float64) / 255
    parts = [pixels[part] if part.any() else pixels.reshape(-1, 3) for part in (sky, ~sky)]
    return np.concatenate([statistic for part in parts for statistic in (part.mean(axis=0), part.std(axis=0))])


class MoodClassifier:
    """Linear discriminant analysis: the nearest mean in the metric of the pooled covariance, all moods as likely."""

    def __init__(self, features: np.ndarray, moods: Sequence[str]) -> None:
        """From features float64 `[N, d]` of photographs and the mood of each."""
        names = np.asarray(moods)
        self.moods = tuple(sorted(set(moods)))
        self.means = np.stack([features[names == mood].mean(axis=0) for mood in self.moods])
        centred = features - self.means[np.searchsorted(self.moods, names)]
        covariance = centred.T @ centred / len(features)
        # Statistics that hardly vary must not count without bound.
        covariance += np.eye(len(covariance)) * (1e-3 * np.trace(covariance) / len(covariance) + 1e-9)
        self._precision = np.linalg.inv(covariance)

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """The mood, as its place in `moods`, of each row of features `[N, d]`: int64 `[N]`."""
        away = features[:, None] - self.means  # [N, moods, d]
        return np.einsum("nmi,ij,nmj->nm", away, self._precision, away).argmin(axis=1)


@dataclass(frozen=True)
class StyleTransfer:
    """How often pictures show the mood that they were asked to."""

    moods: tuple[str, ...]
    confusion: np.ndarray
    """int64 `[moods, moods]`: pictures by the mood of the style's photograph, and the mood seen in them."""
    real: np.ndarray
    """The same of real photographs: by their own mood, and the mood seen."""

    @cached_property
    def agreement(self) -> float:
        """The share of pictures with the mood of their style."""
        return float(np.trace(self.confusion) / self.confusion.sum())

    @cached_property
    def ceiling(self) -> float:
        """The share of real photographs whose mood the classifier names."""
        return float(np.trace(self.real) / self.real.sum())

    def summary(self) -> str:
        """One line a mood, and what it comes to."""
        lines = [
            f"{mood}: " + ", ".join(f"{other} {count}" for other, count in zip(self.moods, row, strict=True) if count)
            for mood, row in zip(self.moods, self.confusion.tolist(), strict=True)
        ]
        return "\n".join(
            [
                "Mood of the style's photograph: moods seen in the pictures",
                *lines,
                f"Agreement {self.agreement:.1%} (real photographs {self.ceiling:.1%}, style ignored "
                f"{1 / len(self.moods):.1%})",
            ]
        )

    def to_json(self) -> str:
        """All figures."""
        fields = {
            "moods": self.moods,
            "agreement": self.agreement,
            "ceiling": self.ceiling,
            "confusion": self.confusion.tolist(),
            "real": self.real.tolist(),
        }
        return json.dumps(fields, indent=2)


def evaluate_style(
    checkpoint: str | Path,
    reference: str | Path,
    out: Path,
    *,
    learn_from: str | Path,
    column: str,
    maps: int,
    seed: int,
) -> StyleTransfer:
    """Synthesize `maps` label maps of `reference` in the style of a photograph of each mood; see which moods come out.

    Both data sets have the mood of their photographs in `column`; the classifier learns from `learn_from`. Writes
    style.json and a grid, style.png, into `out`. Raises `InputError` for a checkpoint without a style encoder and data
    that do not fit.
    """
    from pipeline.synthesis.styles import Sample
    from pipeline.synthesis.synthesizer import Synthesizer

    synthesizer = Synthesizer(checkpoint)
    space = synthesizer.recipe.labels
    for path in (reference, learn_from):
        if check_dataset(path, ("id", "label", "image", column)).space.classes != space.classes:
            raise InputError(f"{path} has other classes than the checkpoint; take the data set that it was trained on")
    resample = synthesizer.recipe.data.resample
    records = load_styled(reference, column, synthesizer.size, resample=resample)
    teaching = load_styled(learn_from, column, synthesizer.size, resample=resample)
    classifier = MoodClassifier(
        np.stack([statistics_of(styled.record, space) for styled in teaching]), [styled.mood for styled in teaching]
    )

    def synthesize(place: Record, style: Record) -> np.ndarray:
        assert style.image is not None
        codes = synthesizer.prepare(synthesizer.recipe.encode(place.label, place.instance))
        mean, _ = synthesizer.style_of(encode_png(style.image))
        sample = Sample(mean, record_seed(seed, place.id, 0))
        return next(iter(synthesizer.synthesize(codes, [sample], synthesizer.size)))

    found = measure(synthesize, classifier, records, space, maps=maps, seed=seed)
    out.mkdir(parents=True, exist_ok=True)
    _write(out / "style.json", (found.to_json() + "\n").encode())
    _write(out / "style.png", encode_png(style_grid(synthesize, records, space, seed=seed)))
    return found


def load_styled(
    path: str | Path, column: str, size: tuple[int, int], *, resample: Resample = "lanczos"
) -> list[StyledRecord]:
    """All records of a data set at a size, with their moods; `InputError` names one that is broken or has no mood."""
    loaded = []
    for row in iter_rows(path, ("id", "label", "instance", "image", column)):
        if not isinstance(row[column], str):
            raise InputError(f"record '{row['id']}' of {path} has no text in column {column}")
        record = resize_record(decode_record(row, need_image=True), *size, resample=resample)
        loaded.append(StyledRecord(record, row[column]))
    return loaded


def statistics_of(record: Record, space: LabelSpace, image: np.ndarray | None = None) -> np.ndarray:
    """The `colour_statistics` of a record's photograph, or of a picture of its label map: float64 `[12]`."""
    picture = record.image if image is None else image
    assert picture is not None
    sky = [index for index, name in enumerate(space.classes) if name in SKY]
    return colour_statistics(picture, np.isin(class_channels(record.label, space), sky))


def measure(
    synthesize: Synthesize,
    classifier: MoodClassifier,
    records: Sequence[StyledRecord],
    space: LabelSpace,
    *,
    maps: int,
    seed: int,
) -> StyleTransfer:
    """Every one of the first `maps` label maps in every mood, after photographs of other places drawn by the seed.

    Raises `InputError` where the two data sets have other moods, or one has a single photograph of a mood.
    """
    moods = classifier.moods
    missing = sorted(set(moods) ^ {styled.mood for styled in records})
    if missing:
        raise InputError(f"mood '{missing[0]}' is not in both data sets; take data sets with the same moods")
    random = np.random.default_rng(seed)
    asked, features = [], []
    for styled in records[:maps]:
        for number, mood in enumerate(moods):
            others = [other for other in records if other.mood == mood and other is not styled]
            if not others:
                raise InputError(f"mood '{mood}' has only one photograph; take a larger set")
            picture = synthesize(styled.record, others[random.integers(len(others))].record)
            asked.append(number)
            features.append(statistics_of(styled.record, space, picture))
    real = np.stack([statistics_of(styled.record, space) for styled in records])
    own = [moods.index(styled.mood) for styled in records]
    return StyleTransfer(
        moods, _confusion(asked, classifier(np.stack(features)), moods), _confusion(own, classifier(real), moods)
    )


def style_grid(synthesize: Synthesize, records: Sequence[StyledRecord], space: LabelSpace, *, seed: int) -> np.ndarray:
    """uint8 `[H, W, 3]`: a photograph of each mood in the first row, then label maps, each in the style of those."""
    random = np.random.default_rng(seed)
    moods = sorted({styled.mood for styled in records})
    choices = [[other.record for other in records if other.mood == mood] for mood in moods]
    styles = [photographs[random.integers(len(photographs))] for photographs in choices]
    shown = [style.image for style in styles if style.image is not None]
    rows = [[np.full_like(shown[0], 255), *shown]]
    for styled in records[:GRID_MAPS]:
        place = styled.record
        rows.append([colourise(place.label, space), *(synthesize(place, style) for style in styles)])
    framed = [[np.pad(cell, ((0, GAP), (0, GAP), (0, 0)), constant_values=255) for cell in row] for row in rows]
    return np.concatenate([np.concatenate(row, axis=1) for row in framed])


def _confusion(expected: Sequence[int], found: np.ndarray, moods: Sequence[str]) -> np.ndarray:
    table = np.zeros((len(moods), len(moods)), np.int64)
    np.add.at(table, (np.asarray(expected), found), 1)
    return table


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(data)
    temporary.replace(path)
