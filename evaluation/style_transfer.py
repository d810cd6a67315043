"""Whether styles matter: is the lighting of a synthesized picture that of the photograph which gave the style?

Each label map is drawn once in the style of a photograph of every lighting, and a classifier that learnt the lightings
from colour statistics of real photographs looks at the pictures. A generator that ignores its style draws the same
picture each time, and agrees in exactly one case out of as many as there are lightings; the classifier's accuracy on
real photographs is the ceiling.
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
    """A photograph with its label map, and the lighting that it shows."""

    record: Record
    lighting: str


def colour_statistics(image: np.ndarray, sky: np.ndarray) -> np.ndarray:
    """Mean and deviation of each colour channel in the sky, then in the rest: float64 `[12]`, of pixels in 0 to 1.

    `image` is uint8 `[H, W, 3]`, `sky` bool `[H, W]`; a part without pixels is given the statistics of the other.

    >>> colour_statistics(np.full((2, 2, 3), 255, np.uint8), np.array([[True, True], [False, False]])).tolist()
    [1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0]
    """
    pixels = image.astype(np.float64) / 255
    parts = [pixels[part] if part.any() else pixels.reshape(-1, 3) for part in (sky, ~sky)]
    return np.concatenate([statistic for part in parts for statistic in (part.mean(axis=0), part.std(axis=0))])


class LightingClassifier:
    """Linear discriminant analysis: the nearest mean in the metric of the pooled covariance, all classes as likely."""

    def __init__(self, features: np.ndarray, lightings: Sequence[str]) -> None:
        """From features float64 `[N, d]` of photographs and the lighting of each."""
        names = np.asarray(lightings)
        self.lightings = tuple(sorted(set(lightings)))
        self.means = np.stack([features[names == lighting].mean(axis=0) for lighting in self.lightings])
        centred = features - self.means[np.searchsorted(self.lightings, names)]
        covariance = centred.T @ centred / len(features)
        # Statistics that hardly vary must not count without bound.
        covariance += np.eye(len(covariance)) * (1e-3 * np.trace(covariance) / len(covariance) + 1e-9)
        self._precision = np.linalg.inv(covariance)

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """The lighting, as its place in `lightings`, of each row of features `[N, d]`: int64 `[N]`."""
        away = features[:, None] - self.means  # [N, lightings, d]
        return np.einsum("nmi,ij,nmj->nm", away, self._precision, away).argmin(axis=1)


@dataclass(frozen=True)
class StyleTransfer:
    """How often pictures show the lighting that they were asked to."""

    lightings: tuple[str, ...]
    confusion: np.ndarray
    """int64 `[lightings, lightings]`: pictures by the lighting of the style's photograph, and by that seen."""
    real: np.ndarray
    """The same of real photographs: by their own lighting, and the lighting seen."""

    @cached_property
    def agreement(self) -> float:
        """The share of pictures with the lighting of their style."""
        return float(np.trace(self.confusion) / self.confusion.sum())

    @cached_property
    def ceiling(self) -> float:
        """The share of real photographs whose lighting the classifier names."""
        return float(np.trace(self.real) / self.real.sum())

    def summary(self) -> str:
        """One line a lighting, and what it comes to."""
        lines = [
            f"{lighting}: "
            + ", ".join(f"{other} {count}" for other, count in zip(self.lightings, row, strict=True) if count)
            for lighting, row in zip(self.lightings, self.confusion.tolist(), strict=True)
        ]
        return "\n".join(
            [
                "Lighting of the style's photograph: lightings seen in the pictures",
                *lines,
                f"Agreement {self.agreement:.1%} (real photographs {self.ceiling:.1%}, style ignored "
                f"{1 / len(self.lightings):.1%})",
            ]
        )

    def to_json(self) -> str:
        """All figures."""
        fields = {
            "moods": self.lightings,
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
    """Synthesize `maps` label maps of `reference` in the style of a photograph of each lighting; see which come out.

    Both data sets have the lighting of their photographs in `column`; the classifier learns from `learn_from`. Writes
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
    classifier = LightingClassifier(
        np.stack([statistics_of(styled.record, space) for styled in teaching]), [styled.lighting for styled in teaching]
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
    """All records of a data set at a size, with their lightings; `InputError` names one that is broken or has none."""
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
    classifier: LightingClassifier,
    records: Sequence[StyledRecord],
    space: LabelSpace,
    *,
    maps: int,
    seed: int,
) -> StyleTransfer:
    """Every one of the first `maps` label maps in every lighting, after photographs of other places drawn by the seed.

    Raises `InputError` where the two data sets have other lightings, or one has a single photograph of a lighting.
    """
    lightings = classifier.lightings
    missing = sorted(set(lightings) ^ {styled.lighting for styled in records})
    if missing:
        raise InputError(f"lighting '{missing[0]}' is not in both data sets; take data sets with the same lightings")
    random = np.random.default_rng(seed)
    asked, features = [], []
    for styled in records[:maps]:
        for number, lighting in enumerate(lightings):
            others = [other for other in records if other.lighting == lighting and other is not styled]
            if not others:
                raise InputError(f"lighting '{lighting}' has only one photograph; take a larger set")
            picture = synthesize(styled.record, others[random.integers(len(others))].record)
            asked.append(number)
            features.append(statistics_of(styled.record, space, picture))
    real = np.stack([statistics_of(styled.record, space) for styled in records])
    own = [lightings.index(styled.lighting) for styled in records]
    return StyleTransfer(
        lightings,
        _confusion(asked, classifier(np.stack(features)), lightings),
        _confusion(own, classifier(real), lightings),
    )


def style_grid(synthesize: Synthesize, records: Sequence[StyledRecord], space: LabelSpace, *, seed: int) -> np.ndarray:
    """uint8 `[H, W, 3]`: a photograph of each lighting in the first row, then label maps in the styles of those."""
    random = np.random.default_rng(seed)
    lightings = sorted({styled.lighting for styled in records})
    choices = [[other.record for other in records if other.lighting == lighting] for lighting in lightings]
    styles = [photographs[random.integers(len(photographs))] for photographs in choices]
    shown = [style.image for style in styles if style.image is not None]
    rows = [[np.full_like(shown[0], 255), *shown]]
    for styled in records[:GRID_MAPS]:
        place = styled.record
        rows.append([colourise(place.label, space), *(synthesize(place, style) for style in styles)])
    framed = [[np.pad(cell, ((0, GAP), (0, GAP), (0, 0)), constant_values=255) for cell in row] for row in rows]
    return np.concatenate([np.concatenate(row, axis=1) for row in framed])


def _confusion(expected: Sequence[int], found: np.ndarray, lightings: Sequence[str]) -> np.ndarray:
    table = np.zeros((len(lightings), len(lightings)), np.int64)
    np.add.at(table, (np.asarray(expected), found), 1)
    return table


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(data)
    temporary.replace(path)
