"""A cell of a study: one recipe trained with one seed, its pictures, and their scores, each kept by content."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from evaluation.evaluate import evaluate
from evaluation.runs import read_run
from evaluation.scoring import protocols
from evaluation.scoring.image_results import Confusions
from evaluation.scoring.independence import Independence
from evaluation.trainings.kept import content_name
from pipeline.config import Recipe, SegmenterSettings
from pipeline.data.atomic import write_atomic
from pipeline.data.fingerprint import fingerprint_data
from pipeline.data.parquet import ParquetDataset
from pipeline.errors import InputError
from pipeline.pretrained.backbones import backbone_sha256
from pipeline.runtime.json_text import read_json

log = logging.getLogger(__name__)

VERSION = 1
"""Of what a cell does; raise it when the same inputs give other results, so that kept ones are not used."""
TRAINED = "training.json"
"""What a finished training took."""


class Spent(Protocol):
    """What a training has come to, over all calls."""

    @property
    def steps(self) -> int:
        """Optimiser steps."""

    @property
    def seconds(self) -> float:
        """In steps."""

    @property
    def images_per_second(self) -> float:
        """While it stepped."""

    @property
    def finished(self) -> bool:
        """Whether its budget is spent; if not, it was stopped, and leaves a checkpoint."""


class Trainer(Protocol):
    """Trains a recipe into a folder, which then is a checkpoint; the same call resumes. It must pickle."""

    def __call__(
        self,
        recipe: Recipe,
        out: Path,
        *,
        minutes: float | None,
        vgg_weights: Path | None,
        trunk_weights: Path | None,
    ) -> Spent:
        """Until the recipe's steps, or `minutes` of them in all calls together, are over."""


@dataclass(frozen=True)
class Trained:
    """What a finished training took."""

    steps: int
    seconds: float
    images_per_second: float


@dataclass(frozen=True)
class CellResult:
    """What is known about a cell when all is done."""

    trained: Trained
    images: Path
    """The pictures of its label maps."""
    confusions: Confusions
    """Of the label maps in the order of their ids."""
    ids: tuple[str, ...]
    scores: dict[str, float | None]
    """By the names of `SCORES`; None where there are too few pictures for one."""
    deviations: dict[str, float]
    """How much each would change by the choice of label maps: standard deviations, where they are known."""
    ceiling: dict[str, float | None]
    """Of the photographs: mean_iou and accuracy."""
    independence: Independence
    """Of the segmenter from what the generator learned by."""
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Cell:
    """A generator to be trained, synthesized with and scored; it pickles."""

    recipe: Recipe
    """With the seed and the steps of the budget."""
    minutes: float | None
    contents: tuple[str, ...]
    """Checksums of the training sources in their order, and of the validation set."""
    trainer: Trainer
    vgg_weights: Path | None
    trunk_weights: Path | None
    weights_sha256: tuple[str | None, ...]
    """Of these two."""
    segmenter: str
    segmenter_weights: Path
    segmenter_sha256: str
    protocol: protocols.Protocol
    synthesis_seed: int
    folder: Path
    """Of all cells; beside it, in `cache`, is what was found out about single pictures, photographs among them."""
    device: str = "cpu"
    threads: int = 1
    """Of torch: sums on a CPU depend on it, and so everything, in the last bits."""

    @property
    def training(self) -> Path:
        """The folder of the training and its pictures, named by all that these depend on."""
        recipe = plain_recipe(self.recipe).model_dump(mode="json")
        if self.recipe.losses.perceptual_segmenter:  # named by its content, wherever it is
            recipe["losses"]["perceptual_network"] = backbone_sha256(Path(self.recipe.losses.perceptual_segmenter))
        else:
            del recipe["losses"]["perceptual_network"]  # cells from before there were such fields keep their names
        if not self.recipe.losses.balance_at:
            del recipe["losses"]["balance_at"]
        if not self.recipe.discriminator.detail:
            del recipe["discriminator"]["detail"]
        if self.recipe.generator.kind == "sims":
            assert self.recipe.generator.bank is not None
            recipe["generator"]["bank"] = fingerprint_data(ParquetDataset.open(self.recipe.generator.bank))
            if not (self.recipe.generator.transform or self.recipe.generator.order_network):
                for name in ("transform", "order_network", "order_hidden", "segment_widths", "segment_rate"):
                    del recipe["generator"][name]
        else:
            del recipe["losses"]["classes"]
        data = recipe.pop("data") | {"train": None, "validation": None}
        sources = [
            {**source.model_dump(mode="json"), "path": None, "name": None} for source in self.recipe.data.sources
        ]
        parts = {
            "version": VERSION,
            "recipe": recipe,
            "data": data,
            "sources": sources,
            "contents": self.contents,
            "minutes": self.minutes,
            "weights": self.weights_sha256,
            "device": self.device.split(":")[0],
            "threads": self.threads,
        }
        return self.folder / content_name(parts)

    @property
    def path(self) -> Path:
        """The folder of the scores, inside that of the training: another segmenter or protocol trains nothing anew."""
        parts = {
            "segmenter": self.segmenter,
            "weights": self.segmenter_sha256,
            "protocol": self.protocol.model_dump(mode="json"),
            "seed": self.synthesis_seed,
        }
        return self.training / f"scores-{content_name(parts)[:16]}"

    @property
    def images(self) -> Path:
        """The folder of the pictures."""
        return self.training / f"images-{self.synthesis_seed}"

    def run(self) -> CellResult:
        """Train, synthesize and score what is not there yet. Raises `InputError` for bad data or weights, and
        `KeyboardInterrupt` where the training was stopped."""
        import torch

        from pipeline.synthesis.synthesize import synthesize

        threads = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            trained = self._find_trained() or self._train()
            report = self._find_report()
            if report is None:
                synthesize(
                    self.recipe.data.validation,
                    self.training / "run",
                    self.images,
                    seed=self.synthesis_seed,
                    workers=0,
                    threads=self.threads,
                    device=self.device,
                    quiet=True,
                )
                report = self._score()
        finally:
            torch.set_num_threads(threads)
        return _result(trained, self.images, report, self.protocol.name)

    def _find_trained(self) -> Trained | None:
        file = self.training / TRAINED
        if not file.is_file():
            return None
        try:
            return Trained(**read_json(file.read_bytes()))
        except (ValueError, TypeError):
            raise InputError(f"{file} is damaged; remove {self.training} to train again") from None

    def _train(self) -> Trained:
        found = self.trainer(
            plain_recipe(self.recipe),
            self.training / "run",
            minutes=self.minutes,
            vgg_weights=self.vgg_weights,
            trunk_weights=self.trunk_weights,
        )
        if not found.finished:
            raise KeyboardInterrupt  # which the training took for itself, to leave a checkpoint
        trained = Trained(found.steps, found.seconds, found.images_per_second)
        write_atomic(self.training / TRAINED, json.dumps(asdict(trained)) + "\n")
        shutil.rmtree(self.training / "run" / "checkpoints", ignore_errors=True)  # three times the weights, no use now
        return trained

    def _find_report(self) -> _Report | None:
        """The scores that there are, where the pictures are there too."""
        if not (self.path / "report.json").is_file() or not (self.images / "_SUCCESS").is_file():
            return None
        try:
            return _read(self.path)
        except InputError as error:
            log.warning("%s: scored again", error)
            return None

    def _score(self) -> _Report:
        evaluate(
            self.images,
            self.recipe.data.validation,
            self.path,
            segmenter=self.segmenter,
            segmenter_weights=self.segmenter_weights,
            protocols=[self.protocol],
            threads=self.threads,
            device=self.device,
            cache=self.folder.parent / "cache",
            examples=0,
        )
        return _read(self.path)


def plain_recipe(recipe: Recipe) -> Recipe:
    """A recipe without what a generator's training does not depend on: its name, and the segmenter's settings."""
    return recipe.model_copy(update={"name": "study", "segmenter": SegmenterSettings()})


@dataclass(frozen=True)
class _Report:
    """A report of `evaluate`, read back."""

    content: Mapping[str, Any]
    confusions: Confusions
    ids: tuple[str, ...]


def _read(folder: Path) -> _Report:
    run = read_run(folder)
    ids = run.results.ids.tolist()
    order = sorted(range(len(ids)), key=ids.__getitem__)
    found = run.results.confusions[run.protocol.name]
    matrices = [found.matrix(index) for index in order]
    return _Report(run.report, Confusions.of(matrices, found.classes), tuple(ids[index] for index in order))


def _result(trained: Trained, images: Path, report: _Report, protocol: str) -> CellResult:
    pictures, photographs = report.content["sets"][0], report.content["sets"][-1]
    labels, features, texture = pictures["labels"][protocol], pictures["segmenter"] or {}, pictures["texture"] or {}
    found = {
        "mean_iou": (labels, "mean_iou"),
        "accuracy": (labels, "accuracy"),
        "frechet": (features, "frechet"),
        "precision": (features, "precision"),
        "coverage": (features, "coverage"),
        "power_factor": (texture, "power_factor"),
        "lattice_factor": (texture, "lattice_factor"),
    }
    scores = {name: part.get(key) for name, (part, key) in found.items()}
    deviations = {}
    for name, (part, key) in found.items():
        ends, value = part.get("intervals", {}).get(key), part.get(key)
        if ends and value is not None:
            # 1.96 deviations to both sides, but where an end is cut off by what the score can be.
            deviations[name] = float(np.max(np.abs(np.array(ends) - value)) / 1.96)
    own = photographs["labels"][protocol]
    return CellResult(
        trained=trained,
        images=images,
        confusions=report.confusions,
        ids=report.ids,
        scores=scores,
        deviations=deviations,
        ceiling={name: own[name] for name in ("mean_iou", "accuracy")},
        independence=report.content.get("independence", {}).get(pictures["name"], "unknown"),
        warnings=tuple(report.content["warnings"]),
    )
