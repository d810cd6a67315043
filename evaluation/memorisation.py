"""Whether synthesized pictures are copies of photographs that the generator was trained on, or of each other."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.inputs import find_segmenter_weights, refuse_other_classes
from evaluation.metrics.copies import Copies
from evaluation.metrics.nearest import Neighbours, TrainingPhotographs
from evaluation.report.memorisation import MeasuredSet, render_table, write_pairs_page
from evaluation.scoring.distributed import ScorerPool, ScorerSpec
from evaluation.scoring.image_results import ImageResults
from evaluation.scoring.picture_sets import PictureSet, Selection
from evaluation.scoring.protocols import Protocol, fit_mapping
from evaluation.segmenters import load_segmenter
from pipeline.data.atomic import write_atomic
from pipeline.errors import InputError
from pipeline.pages.format import interval, percent
from pipeline.pretrained.registry import find_or_fetched
from pipeline.pretrained.state_dicts import sha256_of
from pipeline.runtime.device import default_device

HELD_OUT = "held-out photographs"


@dataclass(frozen=True)
class Memorisation:
    """What `measure_memorisation` found."""

    synthesized: Copies
    held_out: Copies | None
    """Of photographs that were not trained on: what the figures are where nothing was memorised."""
    photographs: int
    """That were trained on."""
    features: str
    """Between which distances were taken, in words."""
    settings: dict[str, Any]

    def __str__(self) -> str:
        lines = []
        for part in (self.synthesized, *([self.held_out] if self.held_out else [])):
            figures = []
            for key, what in (
                ("authentic", "authentic"),
                ("copies", "copies of photographs"),
                ("near_duplicates", "near-duplicates of each other"),
            ):
                ends = interval(part.intervals[key], percent)
                figures.append(f"{percent(getattr(part, key))} {what}" + (f" ({ends})" if ends else ""))
            lines.append(f"{part.name}, {part.pictures}: {', '.join(figures)}")
        return "\n".join(lines)


def measure_memorisation(
    images: str | Path,
    training: str | Path,
    out: Path,
    *,
    held_out: str | Path | None = None,
    segmenter: str = "deeplab",
    segmenter_weights: Path | None = None,
    inception_weights: Path | None = None,
    workers: int = 0,
    batch_size: int = 16,
    cache: Path | None = None,
    device: str | None = None,
    pairs: int = 8,
) -> Memorisation:
    """Find the nearest training photograph and the nearest other picture of every picture in `images`.

    Distances are Euclidean, between the segmenter's pooled features or, with `inception_weights`, Inception's;
    photographs are resized (Lanczos) to the pictures' size where those have one, and count mirrored as well. `held_out`
    are photographs that were not trained on, which are measured in the same way. Writes `memorisation.json`,
    `memorisation.csv` (a row a picture) and `memorisation.html`, which shows the `pairs` closest pairs, to the folder
    `out`. Features are kept in `cache`, and without one beside `out` until all is written, as `evaluate` does.

    Raises `InputError` where files are missing or unreadable, classes differ, held-out photographs were trained on, or
    the training photographs are all the same.
    """
    synthesized = PictureSet.open(images, what="the folder of synthesized pictures")
    photographs = PictureSet.open(training, what="the training photographs")
    sets = {"synthesized": synthesized}
    if held_out is not None:
        sets[HELD_OUT] = PictureSet.open(held_out, what="the held-out photographs")
        _refuse_trained_on(sets[HELD_OUT], photographs)
    for other in (photographs, *sets.values()):
        refuse_other_classes(synthesized, other)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; name a folder for the page")
    out = out.resolve()
    unfinished = out.with_name(f".{out.name}.unfinished")
    order, features = _order(synthesized, segmenter, segmenter_weights, inception_weights, batch_size, device)
    order = replace(order, cache=unfinished if cache is None else cache)

    measured: dict[str, MeasuredSet] = {}
    with ScorerPool(order, workers=workers) as scorers:
        selection = Selection()
        for name, pictures in sets.items():
            results = scorers.score(pictures, selection, what=name)
            measured[name] = MeasuredSet(pictures, results, selection)
            selection = Selection(size=_one_size(measured["synthesized"].results))
        trained = MeasuredSet(
            photographs, scorers.score(photographs, selection, what="training photographs"), selection
        )
        mirrored = scorers.score(photographs, replace(selection, mirrored=True), what="... mirrored")
    reference = TrainingPhotographs.of(_features(trained.results), _features(mirrored))
    if np.isinf(reference.spacing).any():
        raise InputError(f"the photographs in {training} are all the same; give two different ones or more")
    neighbours = {name: Neighbours.of(_features(part.results), reference) for name, part in measured.items()}
    parts = [
        Copies.of(name, part.results.ids, neighbours[name], trained.results.ids) for name, part in measured.items()
    ]
    found = Memorisation(
        synthesized=parts[0],
        held_out=parts[1] if held_out is not None else None,
        photographs=len(reference),
        features=features,
        settings={
            "segmenter": segmenter,
            "segmenter_sha256": order.weights_sha256,
            "inception_sha256": order.inception_sha256,
            "training": _source(photographs),
            **{name: _source(pictures) for name, pictures in sets.items()},
        },
    )
    generated, near = measured["synthesized"], neighbours["synthesized"]
    write_atomic(out / "memorisation.csv", render_table(generated, trained, near))
    write_atomic(out / "memorisation.json", json.dumps(asdict(found), indent=2, allow_nan=False) + "\n")
    write_pairs_page(
        out / "memorisation.html", parts, generated, trained, near, reference, features=found.features, pairs=pairs
    )
    shutil.rmtree(unfinished, ignore_errors=True)
    return found


def _order(
    synthesized: PictureSet,
    segmenter: str,
    segmenter_weights: Path | None,
    inception_weights: Path | None,
    batch_size: int,
    device: str | None,
) -> tuple[ScorerSpec, str]:
    """What gives the features, checked before any work, and what they are, in words."""
    weights = find_segmenter_weights(segmenter, segmenter_weights, synthesized.space.classes)
    network = load_segmenter(segmenter, weights)
    inception = find_or_fetched(inception_weights, "Inception")
    protocol = fit_mapping(Protocol(name="native"), synthesized.space.classes, network.classes, source=weights)
    order = ScorerSpec(
        segmenter=segmenter,
        weights=weights,
        weights_sha256=network.sha256,
        space=synthesized.space,
        protocols=(protocol,),
        inception=inception,
        inception_sha256=None if inception is None else sha256_of(inception),
        batch_size=batch_size,
        device=device or default_device(),
    )
    return order, network.feature_name if inception is None else "Inception, 2048 dimensions"


def _features(results: ImageResults) -> np.ndarray:
    """float32 `[N, d]`: Inception's where there are any."""
    return next(iter(results.inception.values()), results.features)


def _refuse_trained_on(held_out: PictureSet, photographs: PictureSet) -> None:
    if both := held_out.ids & photographs.ids:
        raise InputError(
            f"{len(both)} ids of {held_out} are in {photographs} as well (the first is '{min(both)}'); give "
            "photographs that were not trained on"
        )


def _one_size(results: ImageResults) -> tuple[int, int] | None:
    """Height and width of all pictures; None where they differ."""
    sizes = np.unique(results.sizes, axis=0)
    return (int(sizes[0, 0]), int(sizes[0, 1])) if len(sizes) == 1 else None


def _source(pictures: PictureSet) -> dict[str, Any]:
    return {"path": pictures.location, "footers_sha256": [file.fingerprint for file in pictures.plan.files]}
