"""One step of training without a discriminator: perceptual regression, as CRN's (Chen and Koltun 2017, Sec. 3.2)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pipeline.config import TrainingSettings
from pipeline.networks.baselines.crn import CRN
from pipeline.networks.baselines.sims_synthesis import SIMSSynthesis
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


class Mended(Synthesis):
    """SIMS's network as its regression runs it: with what it says of each pixel's class."""

    def __init__(self, generator: SIMSSynthesis) -> None:
        super().__init__(generator, None)

    def forward(self, label_input: LabelInput, batch: Batch, turn: int) -> tuple[Tensor, Tensor | None]:
        """Pictures `[N, 1, 3, H, W]` and logits `[N, class channels, H, W]`."""
        assert batch.canvases is not None
        pictures, logits = cast(SIMSSynthesis, self.generator).mend(label_input.with_canvas(batch.canvases))
        return pictures.unsqueeze(1), logits


class RegressionStep:
    """The generator's step: each class of a label map picks the picture that suits it, where there are several.

    With `settings.accumulate` the batch goes through in so many parts, whose gradients are added up. `synthesis` is an
    `AllPictures` or a `Mended`, perhaps wrapped in DistributedDataParallel.
    """

    def __init__(
        self, synthesis: nn.Module, *, loss: PerceptualRegression, settings: TrainingSettings, classes: float = 0.0
    ) -> None:
        """`classes`: weight of the cross-entropy of a `Mended` one's classes."""
        self.synthesis = synthesis
        self.bare_synthesis = cast(Synthesis, getattr(synthesis, "module", synthesis))
        self.loss, self.classes = loss, classes
        self.accumulate = settings.accumulate
        self.precision = DTYPES[settings.precision]
        fp16 = settings.precision == "fp16"
        self.optimiser = Optimiser(synthesis.parameters(), rate=settings.learning_rate, betas=BETAS, fp16=fp16)
        self.optimisers: Mapping[str, Optimiser] = {"generator": self.optimiser}
        self.networks: Mapping[str, nn.Module] = {}

    def __call__(self, batch: Batch, step: int = 0) -> Terms:
        """Update the generator; returns its losses, detached scalars, by name."""
        self.optimiser.clear()
        parts = batch.split(self.accumulate)
        found = []
        for index, part in enumerate(parts):
            last = index + 1 == len(parts)
            alone = not last and isinstance(self.synthesis, DistributedDataParallel)
            with cast(DistributedDataParallel, self.synthesis).no_sync() if alone else nullcontext():
                terms = self._terms(part)
                self.optimiser.backward(torch.stack(list(terms.values())).sum() / self.accumulate)
            found.append({name: term.detach() for name, term in terms.items()})
        self.optimiser.update()
        return {name: torch.stack([terms[name] for terms in found]).mean() for name in found[0]}

    def _terms(self, part: Batch) -> Terms:
        generator = self.bare_synthesis.generator
        label_input = generator.label_input(part.codes)
        with autocast(part.codes.device, self.precision):
            fakes, logits = self.synthesis(label_input, part, 0)
        fakes = fakes.to(part.pictures.dtype)  # In half precision the sums over pixels would lose too much.
        if logits is not None:
            shown = F.cross_entropy(logits.to(part.pictures.dtype), (part.codes.long() - 1) // 2)
            regression = self.loss(fakes[:, 0], part.pictures)
            return {"generator/regression": regression, "generator/classes": self.classes * shown}
        if fakes.shape[1] == 1:
            return {"generator/regression": self.loss(fakes[:, 0], part.pictures)}
        planes = label_input.one_hot_at(*part.codes.shape[1:])[:, : generator.space.class_channels]
        return {"generator/regression": self.loss.diverse(fakes, part.pictures, planes)}
