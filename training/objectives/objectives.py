"""The objective on some label maps, for either kind of discriminator: the losses of both networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.config import DiscriminatorSettings, LossSettings, Recipe
from pipeline.errors import InputError
from pipeline.networks.initialise import pix2pixhd_normal
from training.objectives import losses
from training.objectives.detail_discriminator import ClassDiscriminator, DetailDiscriminator
from training.objectives.label_planes import LabelPlanes
from training.objectives.patch_discriminator import Discriminator, Features
from training.objectives.projected_discriminator import ProjectedDiscriminator
from training.objectives.segmentation_discriminator import (
    SegmentationDiscriminator,
    Targets,
    balanced_targets,
    label_mix_mask,
    realness,
)
from training.objectives.trunk import Trunk

Terms = dict[str, Tensor]
AnyDiscriminator = Discriminator | SegmentationDiscriminator | ProjectedDiscriminator | DetailDiscriminator


@dataclass(frozen=True)
class Scores:
    """How real the discriminator finds pictures, high for real: what regularisation goes by, and people watch.

    A map for each scale, float `[N, 1, h, w]`, in the graph.
    """

    fake: list[Tensor]
    real: list[Tensor]

    def means(self) -> Tensor:
        """`[2, scales]`, detached: of fakes, and of photographs."""
        return torch.stack(
            [torch.stack([scores.detach().mean() for scores in side]) for side in (self.fake, self.real)]
        )


class Objective(Protocol):
    """What both networks' steps know of the label maps, which does not depend on weights and is found once.

    Pictures are `[N, 3, H, W]` in [-1, 1]. The terms of a loss are scalars by name, weights included.
    """

    def generator_terms(self, discriminator: nn.Module, fake: Tensor, real: Tensor) -> Terms:
        """The generator's loss on fakes `[N, 3, H, W]`, beside the photographs of the same label maps."""

    def discriminator_terms(self, discriminator: nn.Module, fake: Tensor, real: Tensor) -> tuple[Terms, Scores]:
        """The discriminator's loss on fakes and photographs, `[N, 3, H, W]` each, and its scores of them."""


def build_discriminator(recipe: Recipe, trunk: Trunk | None = None) -> AnyDiscriminator:
    """The discriminator that a recipe describes, with fresh weights from the global random state.

    Raises `InputError` where it needs a trunk and there is none, or one that does not fit the pictures.
    """
    settings, data = recipe.discriminator, recipe.data
    if settings.kind == "patchgan":
        made = Discriminator(settings, recipe.labels)
        if recipe.generator.kind == "pix2pixhd":
            pix2pixhd_normal(made)
        return made
    if settings.kind == "segmentation":
        return _with_detail(SegmentationDiscriminator(settings, recipe.labels), settings)
    if trunk is None:
        raise InputError(
            "discriminator.kind is 'projected', whose encoder is a frozen backbone; give one with --trunk-weights, "
            "such as what train-segmenter wrote"
        )
    projected = ProjectedDiscriminator(settings, recipe.labels, trunk)
    if data.height % projected.multiple or data.width % projected.multiple:
        raise InputError(
            f"the trunk's smallest feature map is {projected.multiple} times smaller than pictures, which {data.width}x"
            f"{data.height} is no multiple of; take another --trunk-weights or size"
        )
    return _with_detail(projected, settings)


def _with_detail(whole: ClassDiscriminator, settings: DiscriminatorSettings) -> AnyDiscriminator:
    return DetailDiscriminator(whole, settings) if settings.detail else whole


def build_objectives(
    discriminator: AnyDiscriminator,
    codes: Sequence[Tensor],
    seeds: Sequence[Tensor],
    weights: LossSettings,
    *,
    patch: type[PatchObjective] | None = None,
    workers: int = 1,
) -> Sequence[Objective]:
    """One for each part of a batch: label codes int32 `[N, H, W]`, 0 where pictures are blank, and seeds int64 `[N]`.

    `patch`: the objective with a patch discriminator; None: SPADE's. All workers must build them together.
    """
    if not isinstance(discriminator, Discriminator):
        space = discriminator.space
        masks = [label_mix_mask(*part, space) for part in zip(codes, seeds, strict=True)]
        planes = [
            discriminator.planes(part) if isinstance(discriminator, DetailDiscriminator) else None for part in codes
        ]
        return [
            SegmentationObjective(*part, weights)
            for part in zip(balanced_targets(codes, space, workers=workers), masks, planes, strict=True)
        ]
    return [(patch or PatchObjective)(discriminator, part, weights) for part in codes]


class PatchObjective:
    """The paper's objective: patch scores and feature matching (Appendix A)."""

    def __init__(self, discriminator: Discriminator, codes: Tensor, weights: LossSettings) -> None:
        self.planes = discriminator.planes(codes)
        self.weights = weights

    def generator_terms(self, discriminator: nn.Module, fake: Tensor, real: Tensor) -> Terms:
        """The adversarial term and feature matching: see `Objective`."""
        of_fake, of_real = self._features_of(discriminator, fake, real)
        terms = {"generator/gan": losses.score_loss(of_fake, losses.WANTED[self.weights.gan])}
        if self.weights.feature_matching:
            matching = losses.feature_matching(of_fake, of_real)
            terms["generator/feature_matching"] = self.weights.feature_matching * matching
        return terms

    def discriminator_terms(self, discriminator: nn.Module, fake: Tensor, real: Tensor) -> tuple[Terms, Scores]:
        """A term each for fakes and photographs: see `Objective`."""
        of_fake, of_real = self._features_of(discriminator, fake, real)
        terms = {
            "discriminator/fake": losses.score_loss(of_fake, losses.FAKE[self.weights.gan]),
            "discriminator/real": losses.score_loss(of_real, losses.REAL[self.weights.gan]),
        }
        return terms, Scores([layers[-1] for layers in of_fake], [layers[-1] for layers in of_real])

    def _features_of(self, discriminator: nn.Module, fake: Tensor, real: Tensor) -> tuple[Features, Features]:
        # One pass over [fake; real], so that one power iteration serves both.
        features = discriminator(self.planes, torch.cat([fake, real]))
        return losses.split_features([[losses.at_least_float32(layer) for layer in layers] for layers in features])


class SegmentationObjective:
    """The objective of OASIS (Sec. 3.1): every pixel's class, or fake; with LabelMix."""

    def __init__(self, targets: Targets, mask: Tensor, planes: LabelPlanes | None, weights: LossSettings) -> None:
        """`planes`: the label maps for a discriminator that judges detail as well, which has patch scores for it."""
        self.targets, self.mask, self.planes, self.weights = targets, mask, planes, weights

    def generator_terms(self, discriminator: nn.Module, fake: Tensor, real: Tensor) -> Terms:
        """The generator wants each pixel of its fakes taken for the class that it should be: see `Objective`."""
        logits, detail = self._judge(discriminator, fake)
        terms = {"generator/gan": self.targets.real_loss(logits)}
        if detail is not None:
            terms["generator/detail"] = losses.score_loss([[detail]], losses.WANTED[self.weights.gan])
        return terms

    def discriminator_terms(self, discriminator: nn.Module, fake: Tensor, real: Tensor) -> tuple[Terms, Scores]:
        """Photographs by class, fakes, and that a mixed picture gets the mixture of its parts': see `Objective`."""
        pictures = [fake, real, torch.where(self.mask, real, fake)] if self.weights.label_mix else [fake, real]
        logits, detail = self._judge(discriminator, torch.cat(pictures))  # one power iteration
        of_fake, of_real, *of_mixed = logits.chunk(len(pictures))
        terms = {
            "discriminator/fake": self.targets.fake_loss(of_fake),
            "discriminator/real": self.targets.real_loss(of_real),
        }
        if of_mixed:
            wanted = torch.where(self.mask, of_real, of_fake)
            terms["discriminator/label_mix"] = self.weights.label_mix * F.mse_loss(of_mixed[0], wanted)
        scores = Scores([realness(of_fake)], [realness(of_real)])
        if detail is not None:
            detail_of_fake, detail_of_real, *_ = detail.chunk(len(pictures))  # a mixture is nothing that patches know
            terms["discriminator/detail_fake"] = losses.score_loss([[detail_of_fake]], losses.FAKE[self.weights.gan])
            terms["discriminator/detail_real"] = losses.score_loss([[detail_of_real]], losses.REAL[self.weights.gan])
            scores.fake.append(detail_of_fake)
            scores.real.append(detail_of_real)
        return terms, scores

    def _judge(self, discriminator: nn.Module, pictures: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits, and the patch scores of the detail where it is judged."""
        if self.planes is None:
            return losses.at_least_float32(discriminator(pictures)), None
        logits, detail = discriminator(pictures, self.planes)
        return losses.at_least_float32(logits), losses.at_least_float32(detail)
