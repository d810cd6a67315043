"""One step of adversarial training (Sec. 3 and Appendix A of the SPADE paper), to be read beside it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pipeline.config import LossSettings, TrainingSettings
from pipeline.labels import split_codes
from pipeline.networks.baselines.feature_encoder import FeatureEncoder
from pipeline.networks.baselines.instance_styles import region_numbers
from pipeline.networks.baselines.pix2pixhd import GlobalGenerator
from pipeline.networks.encoder import StyleEncoder, sample_style
from pipeline.networks.generators import AnyGenerator
from pipeline.networks.label_input import LabelInput
from pipeline.networks.noise import region_styles
from pipeline.networks.spectral import still_spectral_norm
from pipeline.precision import DTYPES, autocast
from pipeline.runtime.counter_based import derived_seeds
from training.data.batch import Batch
from training.objectives import losses
from training.objectives.diff_augment import Augmentation
from training.objectives.objectives import AnyDiscriminator, Objective, PatchObjective, Terms, build_objectives
from training.objectives.perceptual import PerceptualLoss
from training.objectives.regularisation import LeCam, r1_penalty
from training.optimiser import Optimiser, two_time_scale

SCORE = "score/"
"""Begins the names of what a step returns beside its losses: the discriminator's mean scores of real and of fake."""


@dataclass(frozen=True)
class Part:
    """A part of a batch, with all that both steps need to know of it and weights do not change."""

    batch: Batch
    label_input: LabelInput
    """The label maps for the generator."""
    shown: Augmentation
    """How the discriminator gets to see pictures and label maps."""
    objective: Objective
    """The label maps for the discriminator, and the losses."""


class Synthesis(nn.Module):
    """The generator as training runs it: a style, where it takes one, is that of the photograph itself (the VAE), or
    noise where there is no encoder."""

    def __init__(
        self, generator: AnyGenerator, encoder: StyleEncoder | None, features: FeatureEncoder | None = None
    ) -> None:
        """`features`: of pix2pixHD, which instead makes planes of the photograph that stand beside the label map."""
        super().__init__()
        self.generator = generator
        self.encoder = encoder
        self.features = features

    def forward(self, label_input: LabelInput, batch: Batch, turn: int) -> tuple[Tensor, Tensor | None]:
        """Fakes `[N, 3, H, W]`, and the KL divergence of their styles, summed (None without an encoder).

        `turn` 0 for the generator's step and 1 for the discriminator's, whose fakes are drawn independently.
        """
        if self.features is not None:
            planes = self.features(batch.pictures, region_numbers(label_input))
            return cast(GlobalGenerator, self.generator)(label_input, features=planes), None
        noise, seeds = batch.noise[turn], derived_seeds(batch.seeds, f"fake {turn}")
        if self.generator.settings.region_styles != "none":
            noise = region_styles(seeds, label_input.region_count, noise.shape[1])
            return self.generator(label_input, noise.to(batch.noise.dtype), seeds), None
        if self.encoder is None:
            return self.generator(label_input, noise if noise.shape[1] else None, seeds), None
        mu, logvar = (losses.at_least_float32(value) for value in self.encoder(batch.pictures))
        return self.generator(label_input, sample_style(mu, logvar, noise), seeds), losses.kl_divergence(mu, logvar)


class GanStep:
    """The generator's step, then the discriminator's, on the same label maps and photographs.

    The discriminator's has fakes drawn afresh from the updated generator, unless the settings say otherwise.

    With `settings.accumulate` the batch goes through in so many parts, one after the other, whose gradients are added
    up: the step of the whole batch in less memory. Exactly so where SPADE normalises by the statistics of each image;
    batch statistics are those of a part, and running ones are updated once a part.

    `synthesis` and `discriminator` may be wrapped in DistributedDataParallel. Each is called through its wrapper only
    in its own step and its gradients are reduced with the last part only, so there is one reduction a step for each;
    the other network runs bare.
    """

    def __init__(
        self,
        synthesis: nn.Module,
        discriminator: nn.Module,
        *,
        weights: LossSettings,
        settings: TrainingSettings,
        augment: Collection[str] = (),
        perceptual: PerceptualLoss | None = None,
        patch_objective: type[PatchObjective] = PatchObjective,
        workers: int = 1,
    ) -> None:
        """`patch_objective`: the losses of a patch discriminator."""
        self.synthesis, self.discriminator = synthesis, discriminator
        self.bare_synthesis = cast(Synthesis, getattr(synthesis, "module", synthesis))
        self.bare_discriminator = cast(AnyDiscriminator, getattr(discriminator, "module", discriminator))
        self.learning = [each for each in discriminator.parameters() if each.requires_grad]
        self.weights = weights
        self.augment = augment
        self.perceptual = perceptual if weights.perceptual else None
        self.patch_objective = patch_objective
        self.workers = workers
        self.accumulate = settings.accumulate
        self.reuse_fake = settings.reuse_fake
        self.precision = DTYPES[settings.precision]
        device = next(discriminator.parameters()).device
        self.lecam = LeCam(self.bare_discriminator.score_maps).to(device) if weights.lecam else None
        rate, discriminator_rate, betas = two_time_scale(settings)
        fp16 = settings.precision == "fp16"
        self.optimiser = Optimiser(synthesis.parameters(), rate=rate, betas=betas, fp16=fp16)
        self.discriminator_optimiser = Optimiser(self.learning, rate=discriminator_rate, betas=betas, fp16=fp16)
        self.optimisers: Mapping[str, Optimiser] = {
            "generator": self.optimiser,
            "discriminator": self.discriminator_optimiser,
        }
        self.networks: Mapping[str, nn.Module] = {
            "discriminator": self.bare_discriminator,
            **({"lecam": self.lecam} if self.lecam else {}),
        }
        """What learns, or remembers, beside the generator."""

    def __call__(self, batch: Batch, step: int = 0) -> Terms:
        """Update both networks; returns detached scalars, of which those named `SCORE...` are only for people to watch.

        All others are the terms of both losses, weights included. `step`, counted from 0, says whether R1's turn has
        come; its term is 0 in between.
        """
        parts = self._prepare(batch)
        terms: list[Terms] = []
        fakes: list[Tensor] = []

        self._teach_discriminator(False)
        self.optimiser.clear()
        for index in self._turns(self.synthesis):
            found, fake = self.generator_terms(parts[index])
            self.optimiser.backward(_total(found) / self.accumulate)
            terms.append(found)
            fakes.append(fake.detach())
        self.optimiser.update()
        self._teach_discriminator(True)

        self.discriminator_optimiser.clear()
        scores = []
        for index in self._turns(self.discriminator):
            part = parts[index]
            if not self.reuse_fake:
                with torch.no_grad(), autocast(batch.codes.device, self.precision):
                    fakes[index], _ = self.bare_synthesis(part.label_input, part.batch, 1)
            found, part_scores = self.discriminator_terms(fakes[index], part, step)
            self.discriminator_optimiser.backward(_total(found) / self.accumulate)
            terms[index] |= found
            scores.append(part_scores)
        self.discriminator_optimiser.update()
        fake_scores, real_scores = torch.stack(scores).mean(dim=0)  # [scales]
        if self.lecam:
            self.lecam.update(fake_scores, real_scores, workers=self.workers)
        means = {name: torch.stack([part[name].detach() for part in terms]).mean() for name in terms[0]}
        return means | {f"{SCORE}fake": fake_scores.mean(), f"{SCORE}real": real_scores.mean()}

    def _teach_discriminator(self, flag: bool) -> None:
        """Whether it learns, or only scores; a frozen encoder never learns."""
        for parameter in self.learning:
            parameter.requires_grad_(flag)

    def _prepare(self, batch: Batch) -> list[Part]:
        """The batch in parts, with what does not depend on weights and is therefore found once for both steps."""
        batches = batch.split(self.accumulate)
        shown = [Augmentation(self.augment, part.seeds) for part in batches]
        codes = [part.codes for part in batches]
        if self.bare_synthesis.generator.settings.region_styles == "instance":
            codes = [split_codes(each, self.bare_discriminator.space)[0] for each in codes]
        codes = [change.codes(each) for each, change in zip(codes, shown, strict=True)]
        seeds = [part.seeds for part in batches]
        objectives = build_objectives(
            self.bare_discriminator, codes, seeds, self.weights, patch=self.patch_objective, workers=self.workers
        )
        label_input = [self.bare_synthesis.generator.label_input(part.codes) for part in batches]
        return [Part(*part) for part in zip(batches, label_input, shown, objectives, strict=True)]

    def _turns(self, stepped: nn.Module) -> Iterator[int]:
        """The number of each part, in the conditions under which all of them together are one batch to `stepped`.

        Power iterations are for the first part only, and the reduction over workers for the last.
        """
        for index in range(self.accumulate):
            with ExitStack() as stack:
                if index:
                    stack.enter_context(still_spectral_norm(self.bare_synthesis, self.bare_discriminator))
                if index + 1 < self.accumulate and isinstance(stepped, DistributedDataParallel):
                    stack.enter_context(stepped.no_sync())
                yield index

    def generator_terms(self, part: Part) -> tuple[Terms, Tensor]:
        """The generator's (and encoder's) loss, scalars by name, and its fakes, `[N, 3, H, W]`."""
        weights, batch, shown = self.weights, part.batch, part.shown
        with autocast(batch.codes.device, self.precision):
            fake, kl = self.synthesis(part.label_input, batch, 0)
            fake = fake.to(batch.pictures.dtype)
            terms = part.objective.generator_terms(
                self.bare_discriminator, shown.pictures(fake), shown.pictures(batch.pictures)
            )
            if self.perceptual:
                terms["generator/perceptual"] = weights.perceptual * self.perceptual(fake, batch.pictures)
            if weights.pixel:
                terms["generator/pixel"] = weights.pixel * F.l1_loss(fake, batch.pictures)
            if kl is not None:
                # A sum over the batch: its gradients must be summed over workers and parts where others are averaged.
                terms["generator/kl"] = weights.kl * self.workers * self.accumulate * kl
        return terms, fake

    def discriminator_terms(self, fake: Tensor, part: Part, step: int) -> tuple[Terms, Tensor]:
        """The discriminator's loss, scalars by name: its scores of fakes and of photographs, and regularisation.

        Also its mean scores, `[2, scales]`: of fakes, and of photographs.
        """
        weights = self.weights
        r1_due = weights.r1 > 0 and step % weights.r1_every == 0
        real = part.shown.pictures(part.batch.pictures).detach().requires_grad_(r1_due)
        with autocast(part.batch.codes.device, self.precision):
            terms, scores = part.objective.discriminator_terms(
                self.discriminator, part.shown.pictures(fake.to(real.dtype)), real
            )
            if self.lecam:
                terms["discriminator/lecam"] = weights.lecam * self.lecam(scores.fake, scores.real)
            if weights.r1:
                penalty = r1_penalty(scores.real, real) if r1_due else real.new_zeros(())
                terms["discriminator/r1"] = weights.r1 * weights.r1_every * penalty
        return terms, scores.means()


def _total(terms: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(terms.values())).sum()
