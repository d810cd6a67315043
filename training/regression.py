"""One step of training without a discriminator: perceptual regression, as CRN's (Chen and Koltun 2017, Sec. 3.2)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pipeline.config import TrainingSettings
from pipeline.networks.baselines.crn import CRN
from pipeline.networks.label_input import LabelInput
from pipeline.precision import DTYPES, autocast
from training.data.batch import Batch
from training.objectives.objectives import Terms
from training.objectives.perceptual_regression import PerceptualRegression
from training.optimiser import Optimiser
from training.step import Synthesis

BETAS = (0.9, 0.999)
"""Adam's, as in CRN's public training, at `training.learning_rate`."""


class AllPictures(Synthesis):
    """The generator as its regression runs it: all pictures of each label map."""

    def __init__(self, generator: CRN) -> None:
        super().__init__(generator, None)

    def forward(self, label_input: LabelInput, batch: Batch, turn: int) -> tuple[Tensor, Tensor | None]:
        """Pictures `[N, k, 3, H, W]`; there is nothing to draw, and no KL term."""
        return cast(CRN, self.generator).every(label_input), None


class RegressionStep:
    """The generator's step: each class of a label map picks the picture that suits it, where there are several.

    With `settings.accumulate` the batch goes through in so many parts, whose gradients are added up. `synthesis` is an
    `AllPictures`, perhaps wrapped in DistributedDataParallel.
    """

    def __init__(self, synthesis: nn.Module, *, loss: PerceptualRegression, settings: TrainingSettings) -> None:
        self.synthesis = synthesis
        self.bare_synthesis = cast(AllPictures, getattr(synthesis, "module", synthesis))
        self.loss = loss
        self.accumulate = settings.accumulate
        self.precision = DTYPES[settings.precision]
        fp16 = settings.precision == "fp16"
        self.optimiser = Optimiser(synthesis.parameters(), rate=settings.learning_rate, betas=BETAS, fp16=fp16)
        self.optimisers: Mapping[str, Optimiser] = {"generator": self.optimiser}
        self.networks: Mapping[str, nn.Module] = {}

    def __call__(self, batch: Batch, step: int = 0) -> Terms:
        """Update the generator; returns its loss, a detached scalar, by name."""
        self.optimiser.clear()
        parts = batch.split(self.accumulate)
        found = []
        for index, part in enumerate(parts):
            last = index + 1 == len(parts)
            alone = not last and isinstance(self.synthesis, DistributedDataParallel)
            with cast(DistributedDataParallel, self.synthesis).no_sync() if alone else nullcontext():
                loss = self._loss(part)
                self.optimiser.backward(loss / self.accumulate)
            found.append(loss.detach())
        self.optimiser.update()
        return {"generator/regression": torch.stack(found).mean()}

    def _loss(self, part: Batch) -> Tensor:
        generator = self.bare_synthesis.generator
        label_input = generator.label_input(part.codes)
        with autocast(part.codes.device, self.precision):
            fakes, _ = self.synthesis(label_input, part, 0)
        fakes = fakes.to(part.pictures.dtype)  # In half precision the sums over pixels would lose too much.
        if fakes.shape[1] == 1:
            return self.loss(fakes[:, 0], part.pictures)
        planes = label_input.one_hot_at(*part.codes.shape[1:])[:, : generator.space.class_channels]
        return self.loss.diverse(fakes, part.pictures, planes)
