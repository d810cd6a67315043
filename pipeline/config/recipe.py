"""A recipe: the typed settings of a run (`pipeline.recipe_file` reads and writes them)."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import Field, field_validator, model_validator

from pipeline.config.baselines import REGRESSION_KINDS, Pix2PixHDSettings, SIMSSettings
from pipeline.config.data import DataSettings
from pipeline.config.generators import GeneratorSection
from pipeline.config.networks import DiscriminatorSettings, GeneratorSettings
from pipeline.config.settings import Settings
from pipeline.config.training import LossSettings, SegmenterSettings, TrainingSettings
from pipeline.label_sets import LABEL_SETS
from pipeline.labels import LabelSpace, encode


class Recipe(Settings):
    """Everything that a run depends on, apart from the machine it runs on."""

    name: Annotated[str, Field(min_length=1)]
    """For people: shown in logs and reports."""
    labels: LabelSpace
    """One of `LABEL_SETS` by its name, or spelled out."""
    data: DataSettings
    generator: GeneratorSection = GeneratorSettings()
    discriminator: DiscriminatorSettings = DiscriminatorSettings()
    losses: LossSettings = LossSettings()
    training: TrainingSettings
    segmenter: SegmenterSettings = SegmenterSettings()

    def encode(self, label: np.ndarray, instance: np.ndarray | None) -> np.ndarray:
        """The codes that the recipe's generator takes, int32 `[H, W]`: see `pipeline.labels.encode`."""
        return encode(label, instance, self.labels, regions=self.generator.region_styles == "instance")

    @field_validator("labels", mode="before")
    @classmethod
    def _find_labels(cls, value: Any) -> Any:
        """A label set by its name."""
        if not isinstance(value, str):
            return value
        if value not in LABEL_SETS:
            raise ValueError(
                f"there is no label set '{value}'; there are {', '.join(LABEL_SETS)}, or spell out classes"
            )
        return LABEL_SETS[value]

    @model_validator(mode="after")
    def _check(self) -> Recipe:
        self.generator.check_size(
            self.data.height, self.data.width, self.training.batch_size // self.training.accumulate
        )
        for field in ("regression", "balance_at"):
            if getattr(self.losses, field) and self.generator.kind not in REGRESSION_KINDS:
                raise ValueError(
                    f"losses.{field} is for generator.kind 'crn' or 'sims', and that is '{self.generator.kind}'; leave "
                    "it out"
                )
        if self.losses.balance_at >= self.training.steps:
            raise ValueError(
                f"losses.balance_at is {self.losses.balance_at}, and there are {self.training.steps} steps; take less"
            )
        if self.generator.kind == "sims":
            self._check_sims(self.generator)
        if self.generator.kind == "pix2pixhd":
            self._check_pix2pixhd(self.generator)
        if self.generator.kind not in REGRESSION_KINDS:  # which have no discriminator
            self._check_discriminator()
        return self

    def _check_pix2pixhd(self, generator: Pix2PixHDSettings) -> None:
        """Its own training, and none of the others', is what the kind stands for."""
        if generator.global_steps + generator.enhancer_steps > self.training.steps:
            raise ValueError(
                f"generator.global_steps and enhancer_steps are {generator.global_steps + generator.enhancer_steps} "
                f"together, more than the {self.training.steps} steps in all"
            )
        if generator.image_pool and self.discriminator.augment:
            raise ValueError("discriminator.augment and generator.image_pool do not go together; leave one of them out")
        wanted = {
            "discriminator.kind patchgan": self.discriminator.kind == "patchgan",
            "discriminator.spectral false": not self.discriminator.spectral,
            "losses.gan least_squares": self.losses.gan == "least_squares",
            "training.two_time_scale false": not self.training.two_time_scale,
            "training.reuse_fake true": self.training.reuse_fake,
        }
        missing = [setting for setting, given in wanted.items() if not given]
        if missing:
            raise ValueError(
                f"generator.kind is 'pix2pixhd', which is trained as in its paper: make {', '.join(missing)}; for "
                "SPADE's training take kind pix2pixhd_plus"
            )

    def _check_sims(self, generator: SIMSSettings) -> None:
        """There is something to paste, and classes in an order."""
        if generator.bank is None:
            raise ValueError(
                "generator.kind is 'sims', which pastes pieces of training photographs: make a memory bank of them "
                "with `spadework prepare bank`, and name it as generator.bank"
            )
        generator.check_labels(self.labels.classes)

    def _check_discriminator(self) -> None:
        """Halvings must come out even; a patch discriminator's normalised layers need several patches a scale."""
        if self.losses.r1 and self.training.precision == "fp16":
            raise ValueError("losses.r1 takes gradients of gradients, too small for fp16; take training.precision bf16")
        height, width = self.data.height, self.data.width
        kind = self.discriminator.kind
        if kind != "patchgan" and self.losses.feature_matching:
            raise ValueError(
                f"losses.feature_matching is {self.losses.feature_matching:g}, but a {kind} discriminator "
                "has no patch features to match; set it to 0"
            )
        if kind == "projected":
            if self.discriminator.downsampling != "stride":
                raise ValueError(
                    f"discriminator.downsampling is '{self.discriminator.downsampling}', but the frozen encoder of a "
                    "projected discriminator stays as it is; leave it out"
                )
            return
        if kind == "segmentation":
            if height % 2**self.discriminator.layers or width % 2**self.discriminator.layers:
                raise ValueError(
                    f"discriminator.layers {self.discriminator.layers} halve {width}x{height} pictures to a fraction "
                    "of a pixel; take fewer"
                )
            return
        if self.discriminator.enlargement != "nearest":
            raise ValueError(
                f"discriminator.enlargement is '{self.discriminator.enlargement}', but a patch discriminator enlarges "
                "nothing; leave it out"
            )
        if self.generator.kind == "pix2pixhd":
            halvings = self.generator.stage_halvings
            height, width = height // 2**halvings, width // 2**halvings
        for _ in range(self.discriminator.scales - 1):
            height, width = (height + 1) // 2, (width + 1) // 2
        for _ in range(self.discriminator.layers - 1):
            height, width = height // 2 + 1, width // 2 + 1
            if height == width == 1:
                raise ValueError(
                    f"discriminator.scales {self.discriminator.scales} and layers {self.discriminator.layers} leave a "
                    f"single patch of {self.data.width}x{self.data.height} pictures; take fewer"
                )
