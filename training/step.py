"""One step of the adversarial game (Sec. 3 and Appendix A of the SPADE paper), to be read beside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pipeline.config import LossSettings, TrainingSettings
from pipeline.networks.encoder import StyleEncoder, sample_style
from pipeline.networks.generator import Generator
from pipeline.networks.semantics import Semantics
from pipeline.networks.spectral import still_spectral_norm
from training import losses
from training.discriminator import Discriminator
from training.label_planes import LabelPlanes
from training.perceptual import PerceptualLoss

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

SCORE = "score/"
"""Begins the names of what a step returns beside its losses: the discriminator's mean scores of real and of fake."""


@dataclass(frozen=True)
class Batch:
    """Label maps with their photographs."""

    codes: Tensor
    """int32 `[N, H, W]`."""
    pictures: Tensor
    """float `[N, 3, H, W]` in [-1, 1]."""
    noise: Tensor
    """float `[2, N, style_dim]`, N(0, 1): for the fakes of the generator's step, then of the discriminator's."""

    def to(self, device: torch.device) -> Batch:
        """The batch on a device; the copy overlaps other work where the batch is in pinned memory."""
        return Batch(*(value.to(device, non_blocking=True) for value in (self.codes, self.pictures, self.noise)))

    def split(self, parts: int) -> list[Batch]:
        """The batch in equal parts, in order."""
        assert len(self.codes) % parts == 0, f"{len(self.codes)} maps in {parts} parts"
        pieces = (value.chunk(parts, axis) for value, axis in ((self.codes, 0), (self.pictures, 0), (self.noise, 1)))
        return [Batch(*part) for part in zip(*pieces, strict=True)]


def at_least_float32(value: Tensor) -> Tensor:
    """For losses, whose long sums lose too much in half precision."""
    return value.float() if value.dtype in (torch.bfloat16, torch.float16) else value


class Synthesis(nn.Module):
    """The generator as training runs it: a style, where it takes one, is that of the photograph itself (the VAE)."""

    def __init__(self, generator: Generator, encoder: StyleEncoder | None) -> None:
        super().__init__()
        self.generator = generator
        self.encoder = encoder

    def forward(self, semantics: Semantics, pictures: Tensor, noise: Tensor) -> tuple[Tensor, Tensor | None]:
        """Fakes `[N, 3, H, W]`, and the KL divergence of their styles, summed (None without an encoder)."""
        if self.encoder is None:
            return self.generator(semantics), None
        mu, logvar = (at_least_float32(value) for value in self.encoder(pictures))
        return self.generator(semantics, sample_style(mu, logvar, noise)), losses.kl_divergence(mu, logvar)


class Optimiser:
    """Adam over some parameters, with the loss scaling that fp16 needs (none otherwise)."""

    def __init__(
        self, parameters: Iterable[nn.Parameter], *, rate: float, betas: tuple[float, float], fp16: bool
    ) -> None:
        self.parameters = list(parameters)
        self.base_rate = rate
        self.adam = torch.optim.Adam(self.parameters, lr=rate, betas=betas, fused=True)
        self.scaler = torch.amp.GradScaler(self.parameters[0].device.type, enabled=fp16)

    def clear(self) -> None:
        """Forget the gradients."""
        self.adam.zero_grad(set_to_none=True)

    def backward(self, loss: Tensor) -> None:
        """Back-propagate, adding to the gradients that there are."""
        self.scaler.scale(loss).backward()

    def update(self) -> None:
        """Take the step; the gradients stay until they are cleared."""
        self.scaler.step(self.adam)
        self.scaler.update()

    def set_rate(self, share: float) -> None:
        """Make the learning rate this share of its first value."""
        for group in self.adam.param_groups:
            group["lr"] = self.base_rate * share


def two_time_scale(settings: TrainingSettings) -> tuple[float, float, tuple[float, float]]:
    """The rates of the generator and of the discriminator, and Adam's betas (Heusel et al. 2017; Sec. 4)."""
    rate = settings.learning_rate
    return (rate / 2, rate * 2, (0.0, 0.9)) if settings.two_time_scale else (rate, rate, (0.5, 0.999))


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
        perceptual: PerceptualLoss | None = None,
        workers: int = 1,
    ) -> None:
        self.synthesis, self.discriminator = synthesis, discriminator
        self.bare_synthesis = cast(Synthesis, getattr(synthesis, "module", synthesis))
        self.bare_discriminator = cast(Discriminator, getattr(discriminator, "module", discriminator))
        self.weights = weights
        self.perceptual = perceptual if weights.perceptual else None
        self.accumulate = settings.accumulate
        self.shares = workers * settings.accumulate
        self.reuse_fake = settings.reuse_fake
        self.precision = PRECISIONS[settings.precision]
        rate, discriminator_rate, betas = two_time_scale(settings)
        fp16 = settings.precision == "fp16"
        self.optimiser = Optimiser(synthesis.parameters(), rate=rate, betas=betas, fp16=fp16)
        self.discriminator_optimiser = Optimiser(
            discriminator.parameters(), rate=discriminator_rate, betas=betas, fp16=fp16
        )

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Update both networks; returns detached scalars, of which those named `SCORE...` are only for people to watch.

        All others are the terms of both losses, weights included.
        """
        parts = batch.split(self.accumulate)
        # What both steps need to know of the label maps does not depend on weights, and is found once.
        semantics = [self.bare_synthesis.generator.semantics(part.codes) for part in parts]
        planes = [self.bare_discriminator.planes(part.codes) for part in parts]
        terms: list[dict[str, Tensor]] = []
        fakes: list[Tensor] = []

        self.bare_discriminator.requires_grad_(False)  # it only judges
        self.optimiser.clear()
        for index in self._parts(self.synthesis):
            found, fake = self.generator_terms(semantics[index], planes[index], parts[index])
            self.optimiser.backward(_total(found) / self.accumulate)
            terms.append(found)
            fakes.append(fake.detach())
        self.optimiser.update()
        self.bare_discriminator.requires_grad_(True)

        self.discriminator_optimiser.clear()
        for index in self._parts(self.discriminator):
            if not self.reuse_fake:
                with torch.no_grad(), self._autocast(batch):
                    fakes[index], _ = self.bare_synthesis(
                        semantics[index], parts[index].pictures, parts[index].noise[1]
                    )
            found, scores = self.discriminator_terms(fakes[index], planes[index], parts[index])
            self.discriminator_optimiser.backward(_total(found) / self.accumulate)
            terms[index] |= found | scores
        self.discriminator_optimiser.update()
        return {name: torch.stack([part[name].detach() for part in terms]).mean() for name in terms[0]}

    def _parts(self, stepped: nn.Module) -> Iterator[int]:
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

    def generator_terms(
        self, semantics: Semantics, planes: list[LabelPlanes], batch: Batch
    ) -> tuple[dict[str, Tensor], Tensor]:
        """What the generator (and encoder) pays for its fakes, and the fakes."""
        weights = self.weights
        with self._autocast(batch):
            fake, kl = self.synthesis(semantics, batch.pictures, batch.noise[0])
            of_fake, of_real = self._judge(self.bare_discriminator, planes, fake, batch.pictures)
            terms = {"generator/gan": losses.score_loss(of_fake, losses.WANTED[weights.gan])}
            if weights.feature_matching:
                terms["generator/feature_matching"] = weights.feature_matching * losses.feature_matching(
                    of_fake, of_real
                )
            if self.perceptual:
                terms["generator/perceptual"] = weights.perceptual * self.perceptual(fake, batch.pictures)
            if weights.pixel:
                terms["generator/pixel"] = weights.pixel * F.l1_loss(fake.to(batch.pictures.dtype), batch.pictures)
            if kl is not None:
                # A sum over the batch: its gradients must be summed over workers and parts where others are averaged.
                terms["generator/kl"] = weights.kl * self.shares * kl
        return terms, fake

    def discriminator_terms(
        self, fake: Tensor, planes: list[LabelPlanes], batch: Batch
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """What the discriminator pays for its judgement of fakes, and of the photographs; and its mean scores."""
        with self._autocast(batch):
            of_fake, of_real = self._judge(self.discriminator, planes, fake, batch.pictures)
            terms = {
                "discriminator/fake": losses.score_loss(of_fake, losses.FAKE[self.weights.gan]),
                "discriminator/real": losses.score_loss(of_real, losses.REAL[self.weights.gan]),
            }
        scores = {f"{SCORE}fake": losses.mean_score(of_fake), f"{SCORE}real": losses.mean_score(of_real)}
        return terms, scores

    def _judge(
        self, discriminator: nn.Module, planes: list[LabelPlanes], fake: Tensor, real: Tensor
    ) -> tuple[losses.Features, losses.Features]:
        # One pass over [fake; real], so that one power iteration serves both.
        features = discriminator(planes, torch.cat([fake.to(real.dtype), real]))
        return losses.split_features([[at_least_float32(layer) for layer in layers] for layers in features])

    def _autocast(self, batch: Batch) -> torch.autocast:
        enabled = self.precision != torch.float32
        return torch.autocast(batch.codes.device.type, self.precision if enabled else None, enabled=enabled)


def _total(terms: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(terms.values())).sum()
