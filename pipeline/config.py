"""Recipes: the typed settings of a run (`recipe_file` reads and writes them)."""

from __future__ import annotations

from pathlib import PurePath
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Tag,
    field_validator,
    model_validator,
)

from pipeline.label_sets import LABEL_SETS
from pipeline.labels import LabelSpace, encode
from pipeline.settings import Settings, Width

UPSAMPLINGS = {"normal": 5, "more": 6, "most": 7}
"""How often each variant of the generator doubles the resolution (the public `num_upsampling_layers`)."""

LARGEST_PIXELS = 16 * 2**20
"""Of a picture that is synthesized: beyond, its feature maps take tens of gigabytes."""

NonNegativeInt = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
RegionStyles = Literal["none", "class", "instance"]
"""What has a style of its own in a picture: nothing but the picture, each class, or each instance."""
Enlargement = Literal["nearest", "bilinear", "blur"]
"""How feature maps are doubled (`pipeline.networks.resampling.enlarge`)."""


def _read_location(value: Any) -> Any:
    """A URI as it is, a local path in its shortest form."""
    if isinstance(value, PurePath):
        return str(value)
    return str(PurePath(value)) if isinstance(value, str) and "://" not in value else value


Location = Annotated[str, BeforeValidator(_read_location)]
"""A local path, or a URI (`s3://`, `gs://`, ...) as `pipeline.data.storage` takes them."""


class Source(Settings):
    """One of several data sets to train on."""

    path: Location
    """As `data.train` takes a single one; also a folder that `synthesize` or `filter` wrote."""
    name: Annotated[str, Field(pattern=r"^[\w.-]*$", max_length=100)] = ""
    """Its own, which several sources need: a record is known by the source's name, its id and its sample."""
    weight: PositiveFloat | None = None
    """Its share of the records that are drawn, relative to the other sources' weights. None for all of them: in
    proportion to their records, so that an epoch has every record once."""
    count: PositiveInt | None = None
    """How many of its records are taken, chosen uniformly by the seed and each record's key, wherever that is stored; a
    larger count takes the same ones and more. None: all."""
    label_column: Annotated[str, Field(min_length=1)] = "label"
    """The column of label maps."""


def _kind_of_data(value: Any) -> str:
    return "sources" if isinstance(value, list | tuple) else "location"


class DataSettings(Settings):
    """Where the records are and the size at which networks see them."""

    train: Annotated[
        Annotated[Location, Tag("location")] | Annotated[tuple[Source, ...], Tag("sources")],
        Discriminator(_kind_of_data),
    ]
    """Parquet file, folder of them or pattern with `*`, local or at a URI, with label maps and photographs (see
    `prepare`); or a list of them, each with `path`, `name` and the other fields of `Source`."""
    validation: Location
    """The same, for samples and scores; never trained on."""
    height: PositiveInt
    """Rows of the pictures that the generator makes."""
    width: PositiveInt
    """Columns of the pictures that the generator makes."""
    preprocess: Literal["fixed", "resize_and_crop", "scale_width", "scale_short_side", "none"] = "fixed"
    """How training records are resized before a random part of `width` x `height` is cut out of them: to that very
    size; to a width of `load_size` with the proportions of the crop (286 for 256x256 in the public training); to a
    width, or a short side, of `load_size` with the record's own proportions; or not at all. Label maps always by
    nearest neighbour."""
    load_size: PositiveInt | None = None
    """What records are resized to before cropping; only where `preprocess` says so."""
    resample: Literal["lanczos", "bicubic"] = "lanczos"
    """How photographs are resized, antialiased either way."""
    flip: bool = True
    """Mirror half of the training pairs."""
    window_mib: PositiveInt = 512
    """Encoded records among which an epoch is shuffled, and of which a worker holds up to three times as much. A larger
    data set is read in such windows, of row groups in random order; a smaller one is shuffled as a whole."""

    @model_validator(mode="after")
    def _check(self) -> DataSettings:
        if self.height * self.width > LARGEST_PIXELS:
            raise ValueError(f"{self.width}x{self.height} pictures have more than {LARGEST_PIXELS} pixels; take fewer")
        takes_size = self.preprocess not in ("fixed", "none")
        if takes_size != (self.load_size is not None):
            fix = "give it" if takes_size else "leave it out, or take another preprocess"
            raise ValueError(f"load_size is {self.load_size} with preprocess '{self.preprocess}'; {fix}")
        if self.load_size is not None:
            short = self.preprocess == "scale_short_side"
            least = min(self.height, self.width) if short else self.width
            if self.load_size < least:
                raise ValueError(
                    f"load_size is {self.load_size}, but crops are {self.width}x{self.height}; make it {least} or more"
                )
        names = [source.name for source in self.sources]
        if not names:
            raise ValueError("train is an empty list; name a source, or a single file")
        if len(names) > 1 and not all(names):
            raise ValueError("train has several sources, one of them without a name; give each a name of its own")
        if repeated := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"train has two sources named '{repeated}'; give each a name of its own")
        if len({source.weight is None for source in self.sources}) > 1:
            raise ValueError("train has sources with a weight and without; give all of them one, or none")
        return self

    @property
    def sources(self) -> tuple[Source, ...]:
        """What `train` names, also where it is a single location."""
        return (Source(path=self.train),) if isinstance(self.train, str) else self.train


class GeneratorSettings(Settings):
    """The SPADE generator (Sec. 3 and Appendix A of the paper)."""

    channels: Width = 64
    """Width of the last block; earlier ones have up to 16 times as many (the public `ngf`)."""
    upsampling: Literal["normal", "more", "most"] = "normal"
    """5, 6 or 7 doublings from the first feature map to the picture."""
    kernel_size: Literal[1, 3, 5, 7] = 3
    """Kernel of the convolutions that compute gamma and beta."""
    hidden: Width = 128
    """Channels between the label map and gamma and beta."""
    statistics: Literal["batch", "sync_batch", "instance"] = "sync_batch"
    """What SPADE normalises by: the worker's batch, the whole batch over all workers, or each image."""
    style_dim: Annotated[int, Field(ge=0, le=65536)] = 0
    """Length of the style vector z; 0: none, the label map itself is the first feature map. The paper's VAE: 256."""
    style_input: Literal["first", "everywhere"] = "first"
    """Where z enters: a linear layer makes the first feature map of it (the paper's VAE), or it stands beside the label
    map at every pixel, for the first convolution and every SPADE layer (the 3D noise of OASIS, a vector a picture)."""
    style_encoder: bool = True
    """Styles are those of photographs, which an encoder learns to find (VAE); false: noise only, as in OASIS."""
    region_styles: RegionStyles = "none"
    """A style of its own, of noise, for each class or each instance in a label map (as in INADE, Tan et al. 2021, and
    SEAN, Zhu et al. 2020), in the place of one for the picture. Constant inside a region, so that windows stay few."""
    noise: bool = False
    """Add Gaussian noise, one number a pixel times a learned scale per channel that begins at 0, before each SPADE
    normalisation (SEAN, Zhu et al. 2020, the ACE layer; Karras et al. 2019, Sec. 3.2): texture that the label map does
    not determine. Samples of a label map then differ without a style too."""
    enlargement: Enlargement = "nearest"
    """How the resolution doubles: by nearest neighbour as in the paper, whose blocks of equal pixels leave a grid of
    period 2; bilinear, which is nearest neighbour and then the filter [1, 2, 1]; or blur, nearest neighbour and then
    [1, 4, 6, 4, 1] (Triangle-3 and Binomial-5 of Zhang 2019, Sec. 4)."""
    modulation: Literal["auto", "pattern", "dense"] = "auto"
    """How gamma and beta are computed: once per distinct window of labels (exact, faster), at every pixel, or the
    faster of the two for each label map and resolution."""

    @model_validator(mode="after")
    def _check(self) -> GeneratorSettings:
        if self.style_input == "everywhere" and not self.style_dim:
            raise ValueError("style_input is 'everywhere', but style_dim is 0; make it 64, as in OASIS")
        if self.region_styles != "none" and not self.style_channels:
            raise ValueError(
                f"region_styles is '{self.region_styles}', but a style that enters first is of no region; "
                "make style_input 'everywhere'"
            )
        if self.region_styles != "none" and self.style_encoder:
            raise ValueError(
                f"region_styles is '{self.region_styles}', but the encoder finds one style for a photograph; "
                "make style_encoder false"
            )
        return self

    @property
    def style_channels(self) -> int:
        """Channels of the style beside the label map's."""
        return self.style_dim if self.style_input == "everywhere" else 0

    @property
    def doublings(self) -> int:
        """How often the resolution doubles between the first feature map and the picture."""
        return UPSAMPLINGS[self.upsampling]


class DiscriminatorSettings(Settings):
    """The generator's opponent, and what is done to pictures before it sees them."""

    kind: Literal["patchgan", "segmentation", "projected"] = "patchgan"
    """The multi-scale patch discriminator (Appendix A); the segmentation U-Net of OASIS (Sushko et al. 2021), which
    names the class of every pixel, or calls it fake; or a decoder to the same classes on a frozen backbone
    (`--trunk-weights`), after DP-SIMS (Berrada et al. 2024)."""
    channels: Width = 64
    """Width of the first layer (the public `ndf`)."""
    scales: Annotated[int, Field(gt=0, le=16)] = 2
    """How many copies look at the picture, each at half the resolution of the one before (`patchgan` only)."""
    layers: Annotated[int, Field(ge=2, le=16)] = 4
    """Convolutions before the last one (the public `n_layers_D`); with `segmentation` the halvings of the resolution,
    6 in OASIS. Not of `projected`."""
    spectral: bool = True
    """Spectral normalisation of the convolutions before instance normalisation (`patchgan` only); without it the
    network is pix2pixHD's, whose `n_layers_D` counts one convolution less."""
    downsampling: Literal["stride", "blur"] = "stride"
    """Blur: the filter [1, 2, 1] before each halving (the strides of `patchgan`, the means of 2x2 pixels of
    `segmentation`), so that finer detail does not alias (Zhang 2019; before the stride as in Karras et al. 2020)."""
    enlargement: Enlargement = "nearest"
    """How the resolution doubles in a discriminator that names classes, as `generator.enlargement`."""
    augment: tuple[Literal["colour", "translation", "cutout"], ...] = ()
    """DiffAugment (Zhao et al. 2020): changes to every picture, real or fake, that the discriminator sees; for sets of
    a few hundred photographs."""


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
    pixel: NonNegativeFloat = 0.0
    """Weight of the L1 distance between the synthesized picture and the photograph (pix2pix; not in the paper): it
    finds colours within a few hundred steps, where there is neither time nor a VGG19."""
    kl: NonNegativeFloat = 0.05
    """Weight of the style encoder's KL term; used only where `generator.style_dim` is not 0."""


class TrainingSettings(Settings):
    """The optimisation (Sec. 4)."""

    steps: PositiveInt
    """Optimiser steps in all (a generator and a discriminator step each)."""
    decay_steps: NonNegativeInt = 0
    """The last so many steps lower the learning rates linearly to 0."""
    batch_size: PositiveInt = 32
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
    """How often a run whose loss is no longer a number goes back to its last checkpoint, and on with other batches,
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
            raise ValueError(f"decay_steps is {self.decay_steps}, more than the {self.steps} steps in all")
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
    batch_size: PositiveInt = 8
    """Photographs a step."""
    learning_rate: PositiveFloat = 1e-3
    """Peak rate of AdamW, lowered to 0 by a cosine."""
    seed: Seed = 0
    """Of the initial weights, the shuffling and the flips."""


class Recipe(Settings):
    """Everything that a run depends on, apart from the machine it runs on."""

    name: Annotated[str, Field(min_length=1)]
    """For people: shown in logs and reports."""
    labels: LabelSpace
    """One of `LABEL_SETS` by its name, or spelled out."""
    data: DataSettings
    generator: GeneratorSettings = GeneratorSettings()
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
        multiple = 2**self.generator.doublings
        for side in ("height", "width"):
            value = getattr(self.data, side)
            if value % multiple:
                below, above = value // multiple * multiple, (value // multiple + 1) * multiple
                choices = f"{below} or {above}" if below else f"{above}"
                raise ValueError(
                    f"data.{side} is {value}, but a generator with upsampling '{self.generator.upsampling}' makes "
                    f"multiples of {multiple}; take {choices}"
                )
        self._check_statistics()
        self._check_discriminator()
        return self

    def _check_statistics(self) -> None:
        pixels = self.data.height * self.data.width // 4**self.generator.doublings
        pictures = self.training.batch_size // self.training.accumulate
        if pixels == 1 and (self.generator.statistics == "instance" or pictures == 1):
            raise ValueError(
                f"the first feature map of {self.data.width}x{self.data.height} pictures is one pixel, which has no "
                f"statistics ('{self.generator.statistics}', {pictures} at a time); take larger ones"
            )

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
        for _ in range(self.discriminator.scales - 1):
            height, width = (height + 1) // 2, (width + 1) // 2
        for _ in range(self.discriminator.layers - 1):
            height, width = height // 2 + 1, width // 2 + 1
            if height == width == 1:
                raise ValueError(
                    f"discriminator.scales {self.discriminator.scales} and layers {self.discriminator.layers} leave a "
                    f"single patch of {self.data.width}x{self.data.height} pictures; take fewer"
                )
