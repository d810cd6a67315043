"""The trainings of `spadework usefulness`, side by side, and what they say together."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from evaluation.scoring.independence import independence, judge_sha256
from evaluation.scoring.picture_sets import PictureSet, Selection
from evaluation.trainings.estimates import CLAIM_SEEDS, Estimate, draw_maps, gain
from evaluation.trainings.kept import data_checksum, run_all
from evaluation.usefulness.arms import Arm, SyntheticSet, check_names, list_arms
from evaluation.usefulness.cells import Cell
from evaluation.usefulness.overlap import refuse_overlap
from evaluation.usefulness.statistics import ArmScores, Exchange, exchange
from pipeline.config import Recipe, Source
from pipeline.errors import InputError
from pipeline.pretrained.state_dicts import sha256_of
from pipeline.recipe_file import override_recipe
from pipeline.runtime.device import default_device

log = logging.getLogger(__name__)

FRACTIONS = (Fraction(1, 8), Fraction(1, 4), Fraction(1, 2), Fraction(1))


@dataclass(frozen=True)
class ArmResult:
    """What the trainings of one arm scored."""

    name: str
    real: int
    """Photographs among the training data."""
    synthetic: str | None
    seeds: tuple[float, ...]
    """Mean IoU of each training, shares of 1."""
    mean_iou: Estimate
    class_iou: dict[str, float | None]
    """Means over seeds; None for classes without a test pixel."""
    gain: Estimate | None = None
    """Over the same real photographs alone; a synthetic set alone: over all real ones."""
    class_gain: dict[str, float | None] = field(default_factory=dict)
    exchange: Exchange | None = None
    """Of arms with synthetic pictures."""


@dataclass(frozen=True)
class Usefulness:
    """Everything that `measure_usefulness` found."""

    arms: tuple[ArmResult, ...]
    classes: tuple[str, ...]
    photographs: int
    test_photographs: int
    settings: dict[str, Any]
    warnings: tuple[str, ...]

    @property
    def curve(self) -> list[ArmResult]:
        """The arms of real photographs alone, fewest first."""
        return [arm for arm in self.arms if arm.synthetic is None]

    @property
    def alone(self) -> list[ArmResult]:
        """The arms of synthetic pictures alone."""
        return [arm for arm in self.arms if not arm.real]

    @property
    def mixed(self) -> list[ArmResult]:
        """The arms of real photographs and synthetic pictures."""
        return [arm for arm in self.arms if arm.synthetic and arm.real]

    @property
    def headline(self) -> ArmResult | None:
        """The best mixture with the most real photographs that were mixed."""
        return max(self.mixed, key=lambda arm: (arm.real, arm.mean_iou.value), default=None)


def measure_usefulness(
    recipe: Recipe,
    out: Path,
    *,
    real: str | Path,
    synthetic: Mapping[str, SyntheticSet],
    test: str | Path,
    fractions: Sequence[Fraction] = FRACTIONS,
    mixed_at: Sequence[Fraction] = FRACTIONS,
    mixed_only: bool = False,
    seeds: int = CLAIM_SEEDS,
    synthetic_share: float = 0.5,
    real_last: float = 0.0,
    segmenter: str = "deeplab",
    pretrained: Path | None = None,
    workers: int = 0,
    threads: int = 1,
    device: str | None = None,
    keep_segmenters: bool = False,
) -> Usefulness:
    """Train a segmenter on each mixture of real and synthetic data with each seed, test all on `test`, and write
    `usefulness.html`, `usefulness.json` and `usefulness.csv` to the folder `out`.

    `recipe` gives the classes, the size, and the schedule: every training takes the same steps. `synthetic_share` of
    the pictures that a mixed training sees are synthetic, but for the last `real_last` of its steps, which see
    photographs alone. Real subsets are drawn by the training's seed, the smaller ones from the larger. With
    `mixed_only` no segmenter is trained on synthetic pictures alone. `workers` trainings run side by side on Ray (0
    or 1: here, one after another). Results of trainings are kept in `out/cells` by content, so the same command
    resumes, and another one shares what it can.

    Raises `InputError` before any training where files are missing, classes differ, the test set shares a record or
    a label map with training, or there are fewer than two seeds.
    """
    if seeds < 2:
        raise InputError(f"--seeds {seeds}: one training says nothing about chance; give {CLAIM_SEEDS} or more")
    if not 0 < synthetic_share < 1:
        raise InputError(f"synthetic share {synthetic_share:g} is not between 0 and 1")
    if not 0 <= real_last < 1:
        raise InputError(f"--real-last {real_last:g}: give a share of 0 or more, and below 1")
    last_steps = round(real_last * recipe.segmenter.steps)
    if real_last and not 0 < last_steps < recipe.segmenter.steps:
        raise InputError(
            f"--real-last {real_last:g} of {recipe.segmenter.steps} steps is {last_steps}; a mixed training needs both "
            "kinds"
        )
    if not synthetic:
        raise InputError("give one synthetic set or more (--synthetic images/)")
    check_names(synthetic)
    sets = {"the real data": PictureSet.open(real, what="the real data set")}
    sets |= {f"'{name}'": PictureSet.open(each.path, what=f"set '{name}'") for name, each in synthetic.items()}
    tested = PictureSet.open(test, what="the test set")
    for name, pictures in (*sets.items(), ("the test set", tested)):
        if pictures.space.classes != recipe.labels.classes:
            raise InputError(
                f"{name} ({pictures}) has the classes {', '.join(pictures.space.classes)}, the others "
                f"{', '.join(recipe.labels.classes)}; they must be the same in the same order"
            )
    refuse_overlap(tested, sets)
    photographs = len(sets["the real data"].keys)
    arms = list_arms(photographs, list(synthetic), fractions=fractions, mixed_at=mixed_at, mixed_only=mixed_only)
    contents = {str(path): data_checksum(path) for path in (real, test, *(each.path for each in synthetic.values()))}
    plain = Cell(
        recipe=recipe,
        contents=(),
        segmenter=segmenter,
        pretrained=pretrained,
        pretrained_sha256=None if pretrained is None else sha256_of(pretrained),
        folder=out / "cells",
        device=device or default_device(),
        threads=threads,
        keep_segmenter=keep_segmenters,
    )

    def cell(arm: Arm, seed: int) -> Cell:
        sources = list_sources(arm, str(real), synthetic, synthetic_share)
        # By what was given: a source has its path in its shortest form, without the slash behind a folder.
        given = [str(real)] if arm.real else []
        given += [synthetic[arm.synthetic].path] if arm.synthetic else []
        data = recipe.data.model_copy(update={"train": sources, "validation": str(test)})
        settings = recipe.segmenter.model_copy(update={"seed": recipe.segmenter.seed + seed})
        return replace(
            plain,
            recipe=recipe.model_copy(update={"data": data, "segmenter": settings}),
            contents=(*(contents[path] for path in given), contents[str(test)]),
            last_steps=last_steps if arm.real and arm.synthetic else 0,
        )

    cells = {(arm, seed): cell(arm, seed) for arm in arms for seed in range(seeds)}
    found = dict(zip(cells, run_all(list(cells.values()), workers), strict=True))
    draws = draw_maps(len(tested.keys))
    scores = {arm: ArmScores.of([found[arm, seed] for seed in range(seeds)], draws) for arm in arms}
    return Usefulness(
        arms=tuple(_results(scores, recipe.labels.classes)),
        classes=recipe.labels.classes,
        photographs=photographs,
        test_photographs=len(tested.keys),
        settings={
            "real": str(real),
            "synthetic": {name: [each.path, each.label_column] for name, each in synthetic.items()},
            "test": str(test),
            "sha256": contents,
            "synthetic_share": synthetic_share,
            "real_last": real_last,
            "segmenter": segmenter,
            "pretrained_sha256": plain.pretrained_sha256,
            "size": [recipe.data.height, recipe.data.width],
            "schedule": recipe.segmenter.model_dump(mode="json"),
            "seeds": seeds,
            "device": plain.device,
            "threads": threads,
        },
        warnings=tuple(_warnings(seeds, segmenter, sets, pretrained)),
    )


def default_recipe(real: str | Path, synthetic: Mapping[str, SyntheticSet], overrides: Sequence[str] = ()) -> Recipe:
    """The segmenter's default settings for the classes of the real data, at the size of the synthetic pictures.

    `overrides` are `segmenter.steps=500` and the like. Raises `InputError` where a set cannot be read.
    """
    space = PictureSet.open(real, what="the real data set").space
    pictures = PictureSet.open(next(iter(synthetic.values())).path, what="the synthetic set")
    height, width = pictures.pictures(pictures.keys[:1], Selection())[0].image.shape[:2]
    fields = {
        "name": "usefulness",
        "labels": space.model_dump(mode="json"),
        "data": {"train": str(real), "validation": str(real), "height": height, "width": width},
        "training": {"steps": 1},
    }
    return override_recipe(fields, overrides, source="the default recipe")


def list_sources(
    arm: Arm, real: str, synthetic: Mapping[str, SyntheticSet], synthetic_share: float
) -> tuple[Source, ...]:
    """An arm's training data."""
    sources = []
    if arm.real:
        count = None if arm.fraction == 1 else arm.real
        weight = 1 - synthetic_share if arm.synthetic else None
        sources.append(Source(path=real, name="real", count=count, weight=weight))
    if arm.synthetic:
        given = synthetic[arm.synthetic]
        weight = synthetic_share if arm.real else None
        sources.append(Source(path=given.path, name="synthetic", weight=weight, label_column=given.label_column))
    return tuple(sources)


def _results(scores: Mapping[Arm, ArmScores], classes: Sequence[str]) -> Iterator[ArmResult]:
    curve = {arm.real: own for arm, own in scores.items() if arm.synthetic is None}
    everything = max(curve)
    for arm, own in scores.items():
        base = curve[arm.real or everything]
        yield ArmResult(
            name=arm.name,
            real=arm.real,
            synthetic=arm.synthetic,
            seeds=tuple(own.values.tolist()),
            mean_iou=own.estimate(),
            class_iou=_by_class(own.class_iou.mean(0), classes),
            gain=gain(own, base) if arm.synthetic else None,
            class_gain=_by_class(own.class_iou.mean(0) - base.class_iou.mean(0), classes) if arm.synthetic else {},
            exchange=exchange(own, arm.real, sorted(curve.items())) if arm.synthetic and len(curve) > 1 else None,
        )


def _by_class(values: Any, classes: Sequence[str]) -> dict[str, float | None]:
    return {
        name: None if value != value else value for name, value in zip(classes, values.tolist(), strict=True)
    }  # NaN differs from itself


def _warnings(seeds: int, segmenter: str, sets: Mapping[str, PictureSet], pretrained: Path | None) -> Iterator[str]:
    judge = None if pretrained is None else judge_sha256(segmenter, pretrained)
    if seeds < CLAIM_SEEDS:
        yield f"{seeds} seeds are too few for a claim; take {CLAIM_SEEDS} or more"
    for name, pictures in sets.items():
        if independence(pictures.info.preprocessing.get("synthesis", {}), judge) == "not independent":
            yield (
                f"{name}: NOT INDEPENDENT: the trainings begin with the weights of a frozen network that the pictures' "
                "generator learned by; take other --pretrained weights, or none"
            )
        filtered = pictures.info.preprocessing.get("regions", {}).get("segmenter", "")
        if filtered and filtered.split(":")[0] == segmenter.split(":")[0]:
            yield (
                f"{name} was filtered by a segmenter of the kind that is trained here ({segmenter}): it keeps what "
                "such a network sees already; filter by another kind to be sure"
            )
