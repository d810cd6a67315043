"""pix2pixHD's step: the adversarial one with its own losses, its image pool, and the stages of its enhancers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.config import Pix2PixHDSettings
from pipeline.labels import LabelSpace, split_codes
from pipeline.networks.baselines.local_enhancer import LocalEnhancer, Stage
from pipeline.runtime.counter_based import uniforms
from training.data.batch import Batch
from training.objectives.image_pool import ImagePool
from training.objectives.objectives import Terms
from training.objectives.patch_discriminator import Discriminator
from training.objectives.pix2pixhd import Pix2PixHDObjective
from training.step import GanStep, Part


class Pix2PixHDStep(GanStep):
    """`GanStep` as pix2pixHD is trained (Wang et al., CVPR 2018, Sec. 3)."""

    def __init__(
        self,
        synthesis: nn.Module,
        discriminator: nn.Module,
        *,
        generator: Pix2PixHDSettings,
        size: tuple[int, int],
        **options: Any,
    ) -> None:
        """`size`: height and width of the pictures; `options` as of `GanStep`."""
        super().__init__(synthesis, discriminator, patch_objective=Pix2PixHDObjective, **options)
        self.settings = generator
        self.pool: ImagePool | None = None
        if generator.image_pool:
            device = next(discriminator.parameters()).device
            self.pool = ImagePool(generator.image_pool, height=size[0], width=size[1]).to(device)
            self.networks = {**self.networks, "image_pool": self.pool}

    def __call__(self, batch: Batch, step: int = 0) -> Terms:
        """As `GanStep`; in the first stage on a batch at the global generator's resolution."""
        generator = self.bare_synthesis.generator
        if isinstance(generator, LocalEnhancer):
            generator.stage = stage_at(self.settings, step)
            frozen = [*generator.body.parameters()] if generator.stage == "enhancers" else []
            self.optimiser.frozen = frozen
            if generator.stage == "global":
                batch = shrink(batch, 2**self.settings.enhancers, generator.space)
        return super().__call__(batch, step)

    def discriminator_terms(self, fake: Tensor, part: Part, step: int) -> tuple[Terms, Tensor]:
        """As `GanStep`, on fakes of which some are of earlier steps, with the label maps that they were made of."""
        if self.pool is not None and fake.shape[2:] == self.pool.pictures.shape[2:]:
            discriminator = self.bare_discriminator
            assert isinstance(discriminator, Discriminator)
            own, _ = split_codes(part.batch.codes, discriminator.space)
            draws = uniforms(part.batch.seeds, "image pool", 2)
            codes, fake = self.pool.exchange(own, fake, draws)
            # The label maps of the fakes, then those of the photographs.
            objective = self.patch_objective(discriminator, torch.cat([codes, own]), self.weights)
            part = replace(part, objective=objective)
        return super().discriminator_terms(fake, part, step)


def stage_at(settings: Pix2PixHDSettings, step: int) -> Stage:
    """What a step, counted from 0, trains."""
    if step < settings.global_steps:
        return "global"
    return "enhancers" if step < settings.global_steps + settings.enhancer_steps else "all"


def shrink(batch: Batch, factor: int, space: LabelSpace) -> Batch:
    """A batch at a resolution so many times lower: means of pixels, and the label in the middle of each block.

    An instance's edge is where any pixel of the block has one.
    """
    codes, regions = split_codes(batch.codes, space)
    middle = slice(factor // 2, None, factor)
    small = codes[:, middle, middle]
    if space.instance_edges:
        edges = F.max_pool2d(((codes - 1) % 2).unsqueeze(1).float(), factor)[:, 0].int()
        small = small - (small - 1) % 2 + edges
    small = small + (space.codes - 1) * regions[:, middle, middle]
    return replace(batch, codes=small, pictures=F.avg_pool2d(batch.pictures, factor))
