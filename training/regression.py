"""One step of training without a discriminator: perceptual regression, as CRN's (Chen and Koltun 2017, Sec. 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pipeline.config import TrainingSettings
from pipeline.networks.baselines.crn import CRN
from pipeline.networks.baselines.sims_synthesis import SIMSSynthesis
from pipeline.networks.baselines.sims_transformation import masked_l1
from pipeline.networks.baselines.spatial_transformer import move
from pipeline.networks.label_input import LabelInput
from pipeline.precision import DTYPES, autocast
from training.data.batch import Batch
from training.data.pairs import NEITHER
from training.objectives.objectives import Terms
from training.objectives.perceptual_regression import PerceptualRegression
from training.optimiser import Optimiser
from training.step import Synthesis

MEASURED_STEPS = 50
"""Over so many steps terms are measured."""
BETAS = (0.9, 0.999)
"""Adam's, as in CRN's public training, at `training.learning_rate`."""


class AllPictures(Synthesis):
    """The generator as its regression runs it: all pictures of each label map."""

    def __init__(self, generator: CRN) -> None:
        super().__init__(generator, None)

    def forward(self, label_input: LabelInput, batch: Batch, turn: int) -> tuple[Tensor, Tensor | None]:
        """Pictures `[N, k, 3, H, W]`; there is nothing to draw, and no KL term."""
        return cast(CRN, self.generator).every(label_input), None


class Said(NamedTuple):
    """What SIMS's networks say beside their pictures."""

    logits: Tensor
    """`[N, class channels, H, W]`: of the class that each pixel shows."""
    theta: Tensor | None
    """`[N, 6]`: how a segment is to be moved, where one network learns that."""
    fronts: Tensor | None
    """`[N, class channels]`: logits of which class is in front, where one learns that."""


class Mended(Synthesis):
    """SIMS's networks as their losses run them."""

    def __init__(self, generator: SIMSSynthesis) -> None:
        super().__init__(generator, None)

    def forward(self, label_input: LabelInput, batch: Batch, turn: int) -> tuple[Tensor, Any]:
        """Pictures `[N, 1, 3, H, W]`, and what is `Said`."""
        assert batch.canvases is not None
        generator, theta, fronts = cast(SIMSSynthesis, self.generator), None, None
        if generator.transformation is not None:
            assert batch.segments is not None
            _, height, width = batch.codes.shape
            planes = label_input.one_hot_at(height, width)[:, : generator.space.class_channels]
            # Half of the digits of a scale or a rotation would be pixels at the borders of a frame.
            with torch.autocast(batch.codes.device.type, enabled=False):
                theta = generator.transformation(batch.segments[:, :3], batch.segments[:, 3:], planes)
        if generator.ordering is not None:
            assert batch.pairs is not None
            fronts = generator.front_classes(batch.pairs, (batch.codes - 1) // 2, batch.seeds)
        pictures, logits = generator.mend(label_input.with_canvas(batch.canvases))
        return pictures.unsqueeze(1), Said(logits, theta, fronts)


class TermBalance(nn.Module):
    """Weights of the regression's terms, measured in the last steps before a given one; checkpoints keep them."""

    first: Tensor
    sums: Tensor
    count: Tensor

    def __init__(self, weights: Sequence[float], balance_at: int) -> None:
        """`weights` are those until step `balance_at`."""
        super().__init__()
        self.balance_at = balance_at
        # In double precision, so that what a checkpoint brings back is what was.
        self.register_buffer("first", torch.tensor(weights, dtype=torch.float64))
        self.register_buffer("sums", torch.zeros(len(weights), dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def measures(self, step: int) -> bool:
        """Whether a step's terms are measured."""
        return self.balance_at - MEASURED_STEPS <= step < self.balance_at

    def add(self, distances: Tensor) -> None:
        """Take in the unweighted terms of a step, `[terms]`."""
        self.sums += distances.cpu().double()
        self.count += 1

    def weights_at(self, step: int) -> list[float]:
        """Of the terms: from the step on such that every one is what the picture's own term was, at its weight."""
        if step < self.balance_at or not self.count:
            return [float(weight) for weight in self.first]
        means = (self.sums / self.count).clamp(min=1e-12)
        return [float(weight) for weight in self.first[0] * means[0] / means]


class RegressionStep:
    """The generator's step: each class of a label map picks the picture that suits it, where there are several.

    With `settings.accumulate` the batch goes through in so many parts, whose gradients are added up. `synthesis` is an
    `AllPictures` or a `Mended`, perhaps wrapped in DistributedDataParallel.
    """

    def __init__(
        self,
        synthesis: nn.Module,
        *,
        loss: PerceptualRegression,
        settings: TrainingSettings,
        classes: float = 0.0,
        balance_at: int = 0,
        mean: Callable[[Tensor], Tensor] = lambda values: values,
    ) -> None:
        """`classes`: weight of the cross-entropy of a `Mended` one's classes. `balance_at`: the step from which the
        regression has weights that were measured before it; 0: it keeps its own. `mean`: of a tensor over all workers.
        """
        self.synthesis = synthesis
        self.bare_synthesis = cast(Synthesis, getattr(synthesis, "module", synthesis))
        self.loss, self.classes = loss, classes
        self.accumulate = settings.accumulate
        self.precision = DTYPES[settings.precision]
        fp16 = settings.precision == "fp16"
        generator = self.bare_synthesis.generator
        slow = generator.of_segments() if isinstance(generator, SIMSSynthesis) else []
        self.optimiser = Optimiser(
            synthesis.parameters(),
            rate=settings.learning_rate,
            betas=BETAS,
            fp16=fp16,
            slow=slow,
            slow_share=generator.settings.segment_rate if isinstance(generator, SIMSSynthesis) else 1.0,
        )
        self.optimisers: Mapping[str, Optimiser] = {"generator": self.optimiser}
        self.balance = TermBalance(loss.weights, balance_at) if balance_at else None
        self.mean = mean
        self.networks: Mapping[str, nn.Module] = {"balance": self.balance} if self.balance else {}

    def __call__(self, batch: Batch, step: int = 0) -> Terms:
        """Update the generator; returns its losses, detached scalars, by name."""
        if self.balance:
            self.loss.weights = self.balance.weights_at(step)
        self.optimiser.clear()
        parts = batch.split(self.accumulate)
        found: list[Terms] = []
        measured: list[Tensor] = []
        for index, part in enumerate(parts):
            last = index + 1 == len(parts)
            alone = not last and isinstance(self.synthesis, DistributedDataParallel)
            with cast(DistributedDataParallel, self.synthesis).no_sync() if alone else nullcontext():
                terms = self._terms(part, measured if self.balance and self.balance.measures(step) else None)
                self.optimiser.backward(torch.stack(list(terms.values())).sum() / self.accumulate)
            found.append({name: term.detach() for name, term in terms.items()})
        self.optimiser.update()
        if self.balance and measured:
            self.balance.add(self.mean(torch.stack(measured).mean(0)))
        return {name: torch.stack([terms[name] for terms in found]).mean() for name in found[0]}

    def _terms(self, part: Batch, measured: list[Tensor] | None) -> Terms:
        """The losses of a part; the regression's unweighted terms go to `measured`, if that is given."""
        generator = self.bare_synthesis.generator
        label_input = generator.label_input(part.codes)
        with autocast(part.codes.device, self.precision):
            fakes, said = self.synthesis(label_input, part, 0)
        fakes = fakes.to(part.pictures.dtype)  # In half precision the sums over pixels would lose too much.
        if measured is not None:
            with torch.no_grad():
                measured.append(self.loss.distances(fakes.flatten(0, 1), part.pictures))
        if isinstance(said, Said):
            return {"generator/regression": self.loss(fakes[:, 0], part.pictures), **self._said_terms(said, part)}
        if fakes.shape[1] == 1:
            return {"generator/regression": self.loss(fakes[:, 0], part.pictures)}
        _, height, width = part.codes.shape
        planes = label_input.one_hot_at(height, width, part.pictures.dtype)[:, : generator.space.class_channels]
        return {"generator/regression": self.loss.diverse(fakes, part.pictures, planes)}

    def _said_terms(self, said: Said, part: Batch) -> Terms:
        """SIMS's other losses; those of segments are each of one network alone, so weights would mean nothing."""
        dtype = part.pictures.dtype
        shown = F.cross_entropy(said.logits.to(dtype), (part.codes.long() - 1) // 2)
        terms = {"generator/classes": self.classes * shown}
        if said.theta is not None:
            assert part.segments is not None
            segments, masks = part.segments.split([3, 1], dim=1)
            moved = move(segments, said.theta.to(dtype))
            each = zip(moved.split(1), part.pictures.split(1), masks.split(1), strict=True)
            # A mean over records of their own means: the same however they are shared among workers.
            terms["generator/transformation"] = torch.stack(
                [masked_l1(one, (real + 1) / 2, mask) for one, real, mask in each]
            ).mean()
        if said.fronts is not None:
            assert part.fronts is not None
            found = F.cross_entropy(said.fronts.to(dtype), part.fronts, ignore_index=NEITHER, reduction="none")
            terms["generator/order"] = found.mean()
        return terms
