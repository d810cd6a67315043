"""The sections `losses`, `training` and `segmenter` of a recipe."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from pipeline.config.settings import BatchSize, NonNegativeInt, Seed, Settings


class LossSettings(Settings):
    """Terms of the objective and their weights (Appendix A); 0 switches a term off."""

    gan: Literal["hinge", "least_squares", "original", "wasserstein"] = "hinge"
    """The adversarial loss of patch discriminators; a segmentation discriminator's is its cross-entropy."""
    feature_matching: NonNegativeFloat = 10.0
    """Weight of the L1 distance between the patch discriminator's features of real and synthesized pictures."""
    label_mix: NonNegativeFloat = 10.0
    """Weight of the consistency of a segmentation discriminator on pictures mixed along class borders (LabelMix)."""
    lecam: NonNegativeFloat = 0.0
    """Weight of LeCam regularisation (Tseng et al. 2021), for small sets: 0.01 to 0.3."""
    r1: NonNegativeFloat = 0.0
    """Weight (gamma) of half the squared gradient of a photograph's mean score (R1; Mescheder et al. 2018). Means over
    patches have small gradients: 10 to 100."""
    r1_every: PositiveInt = 16
    """Steps from one R1 term to the next, each weighted by their number (lazily; Karras et al. 2020)."""
    perceptual: NonNegativeFloat = 10.0
    """Weight of the L1 distance between features of VGG19 (`--vgg-weights`, as in the paper) or else of a trunk
    (`--trunk-weights`); without either the term is off, and the log says so."""
    perceptual_network: Annotated[str, Field(pattern=r"^segmenter:.+")] | None = None
    """`segmenter:PATH`: the network of the perceptual loss, or of perceptual regression, is the trunk of this segmenter
    (what `train-segmenter` wrote); none: what `--vgg-weights` or `--trunk-weights` name. The checkpoint keeps a hash of
    the weights, and reports say where the same ones judge: train the judge apart."""
    pixel: NonNegativeFloat = 0.0
    """Weight of the L1 distance between the synthesized picture and the photograph (pix2pix; not in the paper): it
    finds colours within a few hundred steps, where there is neither time nor a VGG19."""
    regression: tuple[NonNegativeFloat, ...] = ()
    """With `generator.kind: crn` or `sims`, which learn by perceptual regression: the weights of the differences
    of pictures, and of features in each stage of VGG19 (`--vgg-weights`, 5 stages) or of a trunk (`--trunk-weights`);
    none: those of the public training on VGG19, and 1 each on a trunk."""
    balance_at: NonNegativeInt = 0
    """With `generator.kind: crn` or `sims`: in the 50 steps before this one the terms of the regression are measured,
    and from it on weighted so that each counts as much as the pictures' own (CRN's authors did so at epoch 100); 0:
    never."""
    classes: NonNegativeFloat = 10.0
    """With `generator.kind: sims`: weight of the cross-entropy of what class the network says each pixel shows."""
    kl: NonNegativeFloat = 0.05
    """Weight of the style encoder's KL term; used only where `generator.style_dim` is not 0."""

    @property
    def perceptual_segmenter(self) -> str | None:
        """The path that `perceptual_network` names."""
        return self.perceptual_network.partition(":")[2] if self.perceptual_network else None


class TrainingSettings(Settings):
    """The optimisation (Sec. 4)."""

    steps: PositiveInt
    """Optimiser steps in all (a generator and a discriminator step each)."""
    decay_steps: NonNegativeInt = 0
    """The last so many steps lower the learning rates linearly to 0."""
    batch_size: BatchSize = 32
    """Pictures per step over all workers."""
    accumulate: PositiveInt = 1
    """Parts in which a worker's share of the batch goes through, one after the other, for batches that do not fit into
    memory. The same step for `generator.statistics: instance`; batch statistics become those of a part."""
    learning_rate: PositiveFloat = 2e-4
    """The base rate; with two time scales the generator takes half of it and the discriminator double."""
    two_time_scale: bool = True
    """The two time-scale update rule (1e-4 and 4e-4 in the paper), with Adam's betas 0 and 0.9."""
    ema_decay: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.999
    """Decay a step of the generator's moving average, which is what checkpoints publish; 0: none."""
    reuse_fake: bool = False
    """Show the discriminator the fakes of the generator's step again, rather than fakes drawn anew from the updated
    generator: a fifth less work, not the paper's step."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Arithmetic of the networks; weights and optimiser stay in fp32."""
    seed: Seed = 0
    """Of the initial weights, the shuffling and the flips."""
    checkpoint_every: PositiveInt = 500
    """Steps between checkpoints."""
    keep_checkpoints: PositiveInt = 2
    """How many of the last checkpoints stay."""
    rollbacks: NonNegativeInt = 0
    """How often a run whose loss is NaN or infinite returns to its last checkpoint, to continue with other batches,
    before it gives up."""
    validate_every: PositiveInt = 5
    """Epochs between validations, where a segmenter is given for them."""
    validation_maps: PositiveInt = 200
    """The first so many validation records are used for it."""
    best_by: Literal["mean_iou", "accuracy", "frechet"] = "mean_iou"
    """The validation score by which the best weights are kept; the distance is on the segmenter's features."""
    log_every: PositiveInt = 10
    """Steps between entries in TensorBoard."""
    sample_every: PositiveInt = 250
    """Steps between grids of samples in TensorBoard."""

    @model_validator(mode="after")
    def _check(self) -> TrainingSettings:
        if self.decay_steps > self.steps:
            raise ValueError(
                f"decay_steps is {self.decay_steps}, more than the {self.steps} steps in all; set both, such as "
                f"training.steps={self.steps} and training.decay_steps={self.steps // 2}"
            )
        if self.batch_size % self.accumulate:
            raise ValueError(f"batch_size is {self.batch_size}, which accumulate {self.accumulate} does not divide")
        return self


class SegmenterSettings(Settings):
    """The network that scores the pictures, trained on the real photographs (`train-segmenter`)."""

    backbone: Literal["resnet50", "mobilenet_v3_large"] = "resnet50"
    """The trunk of torchvision's DeepLabV3."""
    trunk: Literal["whole", "early"] = "whole"
    """`early` takes only the trunk's layers down to an eighth of the resolution: they learn from nothing in minutes and
    keep small things. The whole trunk is for pretrained weights, or hours."""
    enlarge: Literal[1, 2, 4] = 1
    """Pictures are enlarged so many times for it, because its maps are 8 (or with MobileNet's whole trunk 16) times
    smaller than what it is given."""
    steps: PositiveInt = 2000
    """Optimiser steps."""
    batch_size: BatchSize = 8
    """Photographs a step."""
    learning_rate: PositiveFloat = 1e-3
    """Peak rate of AdamW, lowered to 0 by a cosine."""
    seed: Seed = 0
    """Of the initial weights, the shuffling and the flips."""
