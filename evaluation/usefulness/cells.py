"""One training and its test: the unit of work, kept by content, so that a killed command resumes where it was."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from evaluation.metrics.confusion import ConfusionMatrix
from evaluation.scoring.image_results import Confusions, parse_arrays, save_arrays
from evaluation.trainings.kept import content_name
from pipeline.config import Recipe
from pipeline.errors import InputError

if TYPE_CHECKING:
    from evaluation.segmenters.base import TrainableSegmenter

log = logging.getLogger(__name__)

VERSION = 1
"""Of the training and the test; raise it when the same inputs give other results, so that kept ones are not used."""
RESULT = "result.npz"
TRAINING = "segmenter"
"""The folder of a training that is not done yet."""


@dataclass(frozen=True)
class Cell:
    """A segmenter to be trained on one mixture with one seed, and tested; it pickles."""

    recipe: Recipe
    """`data.train` is the mixture, a list; `data.validation` the test set; `segmenter` the schedule and seed."""
    contents: tuple[str, ...]
    """Checksums of the training sources in their order, and of the test set."""
    segmenter: str
    """`deeplab`, or `hf:` and a folder."""
    pretrained: Path | None
    """Weights that DeepLab starts from."""
    pretrained_sha256: str | None
    folder: Path
    """Of all cells."""
    device: str = "cpu"
    threads: int = 1
    """Of torch: sums on a CPU depend on it, and so the weights, in their last bits."""
    keep_segmenter: bool = False
    last_steps: int = 0
    """The steps, at the end, that see the first source, the photographs, and no other."""

    @property
    def path(self) -> Path:
        """The cell's own folder, named by all that the result depends on."""
        data = self.recipe.data
        parts = {
            "version": VERSION,
            "labels": self.recipe.labels.model_dump(mode="json"),
            "sources": [{**source.model_dump(mode="json"), "path": None, "name": None} for source in data.sources],
            "contents": self.contents,
            "size": [data.height, data.width],
            "settings": self.recipe.segmenter.model_dump(mode="json"),
            "segmenter": self.segmenter,
            "pretrained": self.pretrained_sha256,
            "device": self.device.split(":")[0],
            "threads": self.threads,
        }
        if self.last_steps:
            parts["last_steps"] = self.last_steps
        return self.folder / content_name(parts)

    def run(self) -> Confusions:
        """The confusion matrix of each test map: kept ones where there are, else after a training.

        Raises `InputError` for bad data or weights.
        """
        if (self.path / RESULT).is_file():
            try:
                return parse_arrays((self.path / RESULT).read_bytes(), self.path / RESULT, _confusions)
            except InputError as error:
                log.warning("%s: trained again", error)
        import torch

        threads = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            found = self._train_and_test()
        finally:
            torch.set_num_threads(threads)
        arrays = {"classes": np.array(found.classes), "offsets": found.offsets}
        save_arrays(self.path / RESULT, arrays | {"cells": found.cells, "pixels": found.pixels})
        shutil.rmtree(self.path / TRAINING, ignore_errors=True)
        return found

    def _train_and_test(self) -> Confusions:
        import torch

        from evaluation.segmenters.training.photographs import load_photographs
        from evaluation.segmenters.training.train import find_state, fit, predict

        folder = self.path / TRAINING
        folder.mkdir(parents=True, exist_ok=True)
        plan = {"cell": self.path.name}
        data = self.recipe.data
        pictures = load_photographs(data.train, self.recipe, scratch=folder, what="training data")
        segmenter = self._new_segmenter().to(torch.device(self.device))
        state = find_state(folder, plan)
        fit(segmenter, pictures, self.recipe, out=folder, plan=plan, state=state, last_steps=self.last_steps)
        if self.keep_segmenter:
            self._keep(segmenter.eval())
        tested = load_photographs(data.validation, self.recipe, scratch=folder, what="test photographs")
        classes = len(self.recipe.labels.classes)

        def matrices() -> Iterator[Confusions]:
            for target, predicted in predict(segmenter.eval(), tested, batch_size=self.recipe.segmenter.batch_size):
                matrix = ConfusionMatrix(classes)
                matrix.update(target, predicted)
                yield Confusions.of([matrix], classes)

        return Confusions.joined(list(matrices()))

    def _new_segmenter(self) -> TrainableSegmenter:
        import torch

        if self.segmenter == "deeplab":
            from evaluation.segmenters.training.train import new_deeplab

            return new_deeplab(self.recipe, self.pretrained)
        from evaluation.segmenters.huggingface import PREFIX, HuggingFaceSegmenter

        torch.manual_seed(self.recipe.segmenter.seed)
        return HuggingFaceSegmenter.new(self.segmenter.removeprefix(PREFIX), self.recipe.labels.classes)

    def _keep(self, segmenter: TrainableSegmenter) -> None:
        """Write the trained segmenter beside the result, as `--segmenter-weights` or `--segmenter hf:` takes it."""
        from evaluation.segmenters.deeplab import FILE_NAME, DeepLab, save_deeplab
        from evaluation.segmenters.huggingface import HuggingFaceSegmenter

        if isinstance(segmenter, DeepLab):
            save_deeplab(self.path / FILE_NAME, segmenter)
        elif isinstance(segmenter, HuggingFaceSegmenter):
            segmenter.save(self.path / "model")


def _confusions(arrays: Mapping[str, np.ndarray]) -> Confusions:
    return Confusions(int(arrays["classes"]), arrays["offsets"], arrays["cells"], arrays["pixels"])
