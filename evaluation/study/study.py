"""A study from its file to its figures: checked whole before any work, then cell by cell."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from evaluation.inputs import find_segmenter_weights
from evaluation.scoring.independence import REMEDY, SENTENCES, VERDICTS, Independence
from evaluation.scoring.protocols import Protocol, find_protocol, fit_mapping, parse_overrides
from evaluation.segmenters import check_kind, load_segmenter
from evaluation.study.cells import Cell, CellResult, Trainer, plain_recipe
from evaluation.study.cost import measure_cost
from evaluation.study.settings import Row, Study
from evaluation.study.statistics import RowScore, score_rows
from evaluation.trainings.estimates import CLAIM_SEEDS
from evaluation.trainings.kept import content_name, data_checksum, run_all
from pipeline.config import Recipe, Source
from pipeline.data.sources import open_sources
from pipeline.data.storage import absolute
from pipeline.errors import InputError
from pipeline.pretrained.registry import find_or_fetched
from pipeline.pretrained.state_dicts import sha256_of
from pipeline.recipe_file import load_recipe
from pipeline.runtime.device import default_device

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RowResult:
    """What is known about one row."""

    name: str
    recipe: str
    """Its file."""
    overrides: tuple[str, ...]
    """The row's own."""
    seeds: tuple[int, ...]
    """Of its trainings."""
    scores: dict[str, RowScore]
    """By the names of `SCORES`."""
    parameters: int
    """Of the generator."""
    gmac: float
    """For one label map, in the dense form."""
    steps: tuple[int, ...]
    """Of each seed's training."""
    seconds: tuple[float, ...]
    """That each seed's steps took."""
    images_per_second: tuple[float, ...]
    images: tuple[Path, ...]
    """The folders of each seed's pictures."""
    independence: Independence
    """Of the segmenter from what the row's generators learned by."""


@dataclass(frozen=True)
class StudyResult:
    """Everything that `run_study` found."""

    name: str
    reference: str
    seeds: tuple[int, ...]
    budget: str
    rows: tuple[RowResult, ...]
    label_maps: int
    ceiling: dict[str, float | None]
    """Mean IoU and accuracy of the photographs of the same label maps."""
    settings: dict[str, Any]
    warnings: tuple[str, ...]
    photographs: str
    """Location of the validation set."""
    size: tuple[int, int]
    """Height and width of the pictures."""


@dataclass(frozen=True)
class _Data:
    """What must be the same in all rows."""

    labels: Any
    size: tuple[int, int]
    sources: tuple[Source, ...]
    """Without their locations ..."""
    contents: tuple[str, ...]
    """... but with the checksums of these, and of the validation set."""


def run_study(
    study: Study, out: Path, *, trainer: Trainer, workers: int = 0, threads: int = 1, device: str | None = None
) -> StudyResult:
    """Train every row with every seed, synthesize the validation label maps, and score the pictures.

    `trainer` trains a recipe; `workers` cells run side by side on Ray (0 or 1: here, one after another), each with so
    many `threads`. What is done is kept in `out/cells` by content, and a training that was stopped resumes: so the same
    call continues a study that was killed, and one with further rows trains only these.

    Raises `InputError` before any training where the file's recipes, data, weights or protocol do not fit, and
    `KeyboardInterrupt` where a training was stopped.
    """
    recipes = read_recipes(study)
    data = _check_data(recipes)
    protocol = find_protocol(study.protocol.name, parse_overrides(study.protocol.set))
    if protocol.fid_reference == "training":
        raise InputError(
            "protocol: a study measures distances from the validation photographs; leave fid_reference out"
        )
    first = recipes[study.reference, study.seeds_of(study.reference)[0]]
    vgg, trunk = find_or_fetched(_path(study.vgg_weights), "VGG"), _path(study.trunk_weights)
    if trunk is not None and not trunk.exists():
        raise InputError(f"trunk weights {trunk} do not exist")
    weights = _find_segmenter(study, first, data, out)
    segmenter = load_segmenter(study.segmenter.kind, weights)
    protocol = fit_mapping(protocol, first.labels.classes, segmenter.classes, source=weights)
    cells = {
        (name, seed): Cell(
            recipe=recipe,
            minutes=study.budget.minutes,
            contents=data.contents,
            trainer=trainer,
            vgg_weights=vgg,
            trunk_weights=trunk,
            weights_sha256=tuple(None if path is None else sha256_of(path) for path in (vgg, trunk)),
            segmenter=study.segmenter.kind,
            segmenter_weights=weights,
            segmenter_sha256=segmenter.sha256 or sha256_of(weights),
            protocol=protocol,
            synthesis_seed=study.synthesis_seed,
            folder=out.absolute() / "cells",
            device=device or default_device(),
            threads=threads,
        )
        for (name, seed), recipe in recipes.items()
    }
    found = dict(zip(cells, run_all(list(cells.values()), workers), strict=True))
    by_row = {name: [found[name, seed] for seed in study.seeds_of(name)] for name in study.rows}
    scores = score_rows(by_row, study.reference, protocol.averaging)
    any_cell = by_row[study.reference][0]
    return StudyResult(
        name=study.name,
        reference=study.reference,
        seeds=study.seeds,
        budget=str(study.budget),
        rows=tuple(
            _row(study, name, row, recipes[name, study.seeds_of(name)[0]], by_row[name], scores[name])
            for name, row in study.rows.items()
        ),
        label_maps=len(any_cell.ids),
        ceiling=any_cell.ceiling,
        settings=_settings(study, data, protocol, next(iter(cells.values()))),
        warnings=tuple(_warnings(study, cells, by_row)),
        photographs=first.data.validation,
        size=data.size,
    )


def read_recipes(study: Study) -> dict[tuple[str, int], Recipe]:
    """The recipe of every row and seed, with the steps of the budget; `InputError` where one is refused."""
    found = {}
    for name, row in study.rows.items():
        overrides = [*study.overrides, *row.set]
        file = Path(row.recipe or study.recipe or "")
        budget = study.budget
        try:
            if budget.images:
                # With more than enough steps for any decay: how many pictures a step takes is what is asked here.
                batch = load_recipe(file, [*overrides, f"training.steps={budget.images}"]).training.batch_size
            steps = budget.steps or (math.ceil(budget.images / batch) if budget.images else None)
            overrides += [f"training.steps={steps}"] if steps else []
            for seed in study.seeds_of(name):
                found[name, seed] = _absolute(load_recipe(file, [*overrides, f"training.seed={seed}"]))
        except InputError as error:
            raise InputError(f"row '{name}': {error}") from None
    return found


def _absolute(recipe: Recipe) -> Recipe:
    """The recipe with locations that mean the same in every process."""
    train = recipe.data.train
    moved: Any = (
        absolute(train)
        if isinstance(train, str)
        else tuple(source.model_copy(update={"path": absolute(source.path)}) for source in train)
    )
    data = recipe.data.model_copy(update={"train": moved, "validation": absolute(recipe.data.validation)})
    losses = recipe.losses
    if losses.perceptual_segmenter:
        path = Path(losses.perceptual_segmenter).absolute()
        if not path.exists():
            raise InputError(f"losses.perceptual_network: {path} does not exist; `spadework train-segmenter` makes one")
        losses = losses.model_copy(update={"perceptual_network": f"segmenter:{path}"})
    return recipe.model_copy(update={"data": data, "losses": losses})


def _check_data(recipes: Mapping[tuple[str, int], Recipe]) -> _Data:
    """What all rows share; `InputError` names the row that has something else, or data that cannot be read."""

    @cache
    def checksum(location: str) -> str:
        return data_checksum(location)

    def describe(recipe: Recipe) -> _Data:
        sources = recipe.data.sources
        open_sources([*sources, Source(path=recipe.data.validation)], recipe.labels, seed=recipe.training.seed)
        return _Data(
            recipe.labels,
            (recipe.data.height, recipe.data.width),
            tuple(source.model_copy(update={"path": "", "name": ""}) for source in sources),
            tuple(checksum(path) for path in (*(source.path for source in sources), recipe.data.validation)),
        )

    first: tuple[str, _Data] | None = None
    for name, recipe in {name: recipe for (name, _), recipe in recipes.items()}.items():
        own = describe(recipe)
        first = first or (name, own)
        for field, what in (
            ("labels", "another label space"),
            ("size", "another size of pictures"),
            ("sources", "another choice of training data"),
            ("contents", "other data sets"),
        ):
            if getattr(own, field) != getattr(first[1], field):
                raise InputError(
                    f"row '{name}' has {what} than row '{first[0]}'; a study compares recipes on one data set"
                )
    assert first is not None
    return first[1]


def _find_segmenter(study: Study, recipe: Recipe, data: _Data, out: Path) -> Path:
    """The weights that score; trained once, where the study names a recipe for them."""
    choice = study.segmenter
    if choice.recipe is None:
        check_kind(choice.kind)
        weights = find_segmenter_weights(choice.kind, _path(choice.weights), recipe.labels.classes)
        if not weights.exists():
            raise InputError(f"segmenter: weights {weights} do not exist; `spadework train-segmenter` makes them")
        return weights.absolute()
    own = load_recipe(Path(choice.recipe))
    if own.labels != recipe.labels:
        raise InputError(f"segmenter: {choice.recipe} has another label space than the rows; take one of the same data")
    from evaluation.segmenters.training.train import train_segmenter

    # On the rows' data, at the rows' size: a segmenter's schedule is all that its recipe gives.
    settings = plain_recipe(recipe).model_copy(update={"segmenter": own.segmenter})
    parts = {
        "contents": data.contents,
        "labels": own.labels.model_dump(mode="json"),
        "size": data.size,
        "settings": own.segmenter.model_dump(mode="json"),
    }
    folder = out.absolute() / "segmenter" / content_name(parts)[:16]
    train_segmenter(settings, folder)
    return folder


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text).absolute()


def _row(
    study: Study, name: str, row: Row, recipe: Recipe, cells: Sequence[CellResult], scores: dict[str, RowScore]
) -> RowResult:
    cost = measure_cost(recipe)
    return RowResult(
        name=name,
        recipe=row.recipe or study.recipe or "",
        overrides=row.set,
        seeds=study.seeds_of(name),
        scores=scores,
        parameters=cost.parameters,
        gmac=cost.gmac,
        steps=tuple(cell.trained.steps for cell in cells),
        seconds=tuple(cell.trained.seconds for cell in cells),
        images_per_second=tuple(cell.trained.images_per_second for cell in cells),
        images=tuple(cell.images for cell in cells),
        independence=next((each for each in VERDICTS if any(cell.independence == each for cell in cells)), "unknown"),
    )


def _settings(study: Study, data: _Data, protocol: Protocol, cell: Cell) -> dict[str, Any]:
    return {
        "recipe": study.recipe,
        "overrides": list(study.overrides),
        "budget": str(study.budget),
        "seeds": list(study.seeds),
        "size": f"{data.size[1]}x{data.size[0]}",
        "data_sha256": list(data.contents),
        "segmenter": study.segmenter.kind,
        "segmenter_sha256": cell.segmenter_sha256,
        "protocol": {name: str(value) for name, value in protocol.model_dump(mode="json").items()},
        "vgg_weights_sha256": cell.weights_sha256[0],
        "trunk_weights_sha256": cell.weights_sha256[1],
        "synthesis_seed": study.synthesis_seed,
        "device": cell.device,
        "threads": cell.threads,
    }


def _warnings(
    study: Study, cells: Mapping[tuple[str, int], Cell], found: Mapping[str, Sequence[CellResult]]
) -> Iterator[str]:
    seeds = len(study.seeds)
    if seeds == 1:
        yield (
            "One seed is an anecdote: what another training of the same row would score is unknown, and the intervals "
            "below are of the label maps alone."
        )
    elif seeds < CLAIM_SEEDS:
        yield f"{seeds} seeds are too few for a claim; take {CLAIM_SEEDS} or more."
    fewer = [name for name in study.rows if len(study.seeds_of(name)) < min(seeds, CLAIM_SEEDS)]
    if fewer:
        yield (
            "Rows of fewer seeds than the others are anecdotes, and their differences from the reference are less sure "
            f"than their intervals say: {', '.join(fewer)}."
        )
    paths: dict[Path, str] = {}
    for (name, seed), cell in cells.items():
        other = paths.setdefault(cell.path, name)
        if other != name and seed == study.seeds_of(name)[0]:
            yield f"Rows '{other}' and '{name}' are the same recipe, trained once for both."
    if study.budget.minutes:
        yield "Budgets are minutes of steps: what runs on the same machine meanwhile takes from them."
    for name, several in found.items():
        if any(cell.independence == "not independent" for cell in several):
            yield f"Row '{name}': {SENTENCES['not independent']}; {REMEDY}"
    yield from dict.fromkeys(
        line
        for several in found.values()
        for cell in several
        for line in cell.warnings
        if SENTENCES["not independent"] not in line
    )
