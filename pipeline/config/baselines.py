"""The generators that the paper compares SPADE with, and its ablations: their fields in a recipe."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from pipeline.config.data import Location
from pipeline.config.networks import check_multiples
from pipeline.config.settings import NonNegativeInt, RegionStyles, Settings, Width
from pipeline.errors import InputError

Count = Annotated[int, Field(ge=0, le=64)]
Statistics = Literal["batch", "sync_batch", "instance"]
REGRESSION_KINDS = ("crn", "sims")
"""Kinds of generator without a discriminator."""
NOTHING_TO_LEARN_BY = (
    "generator.kind is 'crn' or 'sims', which learn by perceptual regression alone; give it a network with "
    "--vgg-weights, or with --trunk-weights or losses.perceptual_network, such as what train-segmenter wrote"
)
"""Said where such a training is begun without either."""


class StylelessSettings(Settings):
    """What the line asks of every generator, for those that take nothing but the label map."""

    style_dim: ClassVar[int] = 0
    style_channels: ClassVar[int] = 0
    style_encoder: ClassVar[bool] = False
    region_styles: ClassVar[RegionStyles] = "none"
    noise: ClassVar[bool] = False


class HourglassSettings(StylelessSettings):
    """What pix2pixHD and pix2pixHD++ have in common: they halve the resolution, and double it again."""

    takes_seeds: ClassVar[bool] = False
    one_size: ClassVar[bool] = False

    @property
    def multiple(self) -> int:
        """Of what the sides of pictures must be multiples."""
        raise NotImplementedError

    @property
    def least(self) -> int:
        """How long the sides of pictures must be: the blocks reflect pixels around the smallest map, which needs them
        and one more."""
        raise NotImplementedError

    def check_size(self, height: int, width: int, pictures: int) -> None:
        """Raises `InputError` for pictures of a size that it cannot make, however many at a time."""
        check_multiples(height, width, self.multiple, "this generator")
        if min(height, width) < self.least:
            raise InputError(
                f"pictures are {width}x{height}, but this generator reflects more pixels around its features; "
                f"take {self.least} or more on each side"
            )


class Pix2PixHDSettings(HourglassSettings):
    """pix2pixHD (Wang et al., CVPR 2018): an encoder, residual blocks and a decoder, with instance normalisation."""

    kind: Literal["pix2pixhd"] = "pix2pixhd"
    channels: Width = 64
    """Width at full resolution (the public `ngf`; 32 with one enhancer, which leaves the global generator 64)."""
    downsamplings: Annotated[int, Field(gt=0, le=8)] = 4
    """Halvings of the resolution in the global generator, each with doubled width."""
    blocks: Count = 9
    """Residual blocks at the lowest resolution."""
    enhancers: Annotated[int, Field(ge=0, le=4)] = 0
    """Local enhancers around the global generator, each at twice the resolution of the one inside (Sec. 3.1)."""
    enhancer_blocks: Count = 3
    """Residual blocks of each enhancer."""
    statistics: Statistics = "instance"
    """Instance normalisation has nothing to learn; batches have a scale and a shift."""
    features: Annotated[int, Field(ge=0, le=64)] = 0
    """Planes of the instance-wise feature encoder beside the label map (Sec. 3.4; 3 in the paper); 0: no encoder."""
    encoder_channels: Width = 16
    """Width of the feature encoder at full resolution (the public `nef`)."""
    encoder_downsamplings: Annotated[int, Field(gt=0, le=8)] = 4
    """Halvings of the resolution in the feature encoder."""
    feature_regions: Literal["instance", "class"] = "instance"
    """What features are the means of, and what draws them at synthesis: each instance, or each class, for data without
    instance maps."""
    centres: Annotated[int, Field(gt=0, le=1024)] = 10
    """Of each class's features in training photographs (by k-means, of instances larger than 1/64 of the picture): one
    is drawn for each instance at synthesis (Sec. 3.4)."""
    centre_pictures: Annotated[int, Field(gt=0, le=1 << 20)] = 256
    """How many training photographs they are found from, whenever weights are saved."""
    image_pool: Annotated[int, Field(ge=0, le=4096)] = 0
    """Fakes of earlier steps that the discriminator also sees (Shrivastava et al. 2017); with one worker only."""
    global_steps: NonNegativeInt = 0
    """The first so many steps train the global generator by itself, at its own resolution; only with enhancers."""
    enhancer_steps: NonNegativeInt = 0
    """The next so many steps train the enhancers with the global generator as it is; those after, everything."""

    @model_validator(mode="after")
    def _check(self) -> Pix2PixHDSettings:
        if (self.global_steps or self.enhancer_steps) and not self.enhancers:
            raise ValueError(
                f"global_steps is {self.global_steps} and enhancer_steps {self.enhancer_steps}, the stages of a "
                "training with enhancers, of which there are none; make enhancers 1, or leave the steps out"
            )
        return self

    @property
    def style_dim(self) -> int:  # type: ignore[override]
        """A number for each region, by which it draws features; 0 without."""
        return 1 if self.features else 0

    @property
    def region_styles(self) -> RegionStyles:  # type: ignore[override]
        """What has features of its own."""
        return self.feature_regions if self.features else "none"

    @property
    def multiple(self) -> int:
        """Of what the sides of pictures must be multiples."""
        return 2 ** (self.downsamplings + self.enhancers)

    def check_size(self, height: int, width: int, pictures: int) -> None:
        """Raises `InputError` for pictures of a size that it, or its encoder in training, cannot take."""
        super().check_size(height, width, pictures)
        if self.features:
            multiple = 2 ** (self.encoder_downsamplings + self.stage_halvings)
            check_multiples(height, width, multiple, "the feature encoder")

    @property
    def stage_halvings(self) -> int:
        """How often pictures are halved for the global generator by itself; 0 where it is not trained so."""
        return self.enhancers if self.global_steps else 0

    @property
    def least(self) -> int:
        """How long the sides of pictures must be."""
        return 2 ** (1 + self.downsamplings + self.enhancers)


class Pix2PixHDPlusSettings(HourglassSettings):
    """pix2pixHD++ (SPADE, Sec. 4): pix2pixHD's global generator, trained and normalised as SPADE is."""

    kind: Literal["pix2pixhd_plus"] = "pix2pixhd_plus"
    channels: Width = 64
    """Width at full resolution; 48 makes the compact one of Table 3."""
    downsamplings: Annotated[int, Field(gt=0, le=8)] = 4
    """Halvings of the resolution, each with doubled width."""
    blocks: Count = 9
    """Residual blocks at the lowest resolution."""
    labels: Literal["input", "concat", "spade"] = "input"
    """Where the label map enters: the first layer; also each residual block, beside the features that its first
    convolution takes; or the first layer and, in the place of every normalisation, SPADE."""
    statistics: Statistics | Literal["none"] = "sync_batch"
    """What features are normalised by; "none" is not with SPADE."""
    spectral: bool = True
    """Spectral normalisation of every convolution but the last (false: the last row of Table 5)."""
    first_kernel_size: Literal[3, 5, 7] = 7
    """Kernel of the first layer; the last one's is 7."""
    block_kernel_size: Literal[3, 5, 7] = 3
    """Kernel of the residual blocks."""
    kernel_size: Literal[1, 3, 5, 7] = 3
    """Kernel of the convolutions that compute SPADE's gamma and beta."""
    hidden: Width = 128
    """SPADE's channels between the label map and gamma and beta."""
    modulation: Literal["auto", "pattern", "dense"] = "auto"
    """How gamma and beta are computed, as in the SPADE generator."""

    @model_validator(mode="after")
    def _check(self) -> Pix2PixHDPlusSettings:
        if self.labels == "spade" and self.statistics == "none":
            raise ValueError("labels is 'spade', which normalises, but statistics is 'none'; take 'sync_batch'")
        return self

    @property
    def multiple(self) -> int:
        """Of what the sides of pictures must be multiples."""
        return 2**self.downsamplings

    @property
    def least(self) -> int:
        """How long the sides of pictures must be."""
        return (self.block_kernel_size // 2 + 1) * self.multiple


class CRNSettings(StylelessSettings):
    """The cascaded refinement network (Chen and Koltun, ICCV 2017): no adversary, perceptual regression alone."""

    kind: Literal["crn"] = "crn"
    widths: tuple[Width, Width, Width, Width] = (1024, 512, 128, 32)
    """Channels of the modules of heights up to 64, up to 256, up to 512, and above."""
    first_height: Annotated[int, Field(gt=0, le=64)] = 4
    """Rows of the first module; each of the others has twice those of the one before, up to the picture's."""
    pictures: Annotated[int, Field(gt=0, le=64)] = 1
    """Pictures of each label map, all of one pass (Sec. 3.3: 9, with the diversity loss)."""
    multiple: ClassVar[int] = 1
    one_size: ClassVar[bool] = True

    @property
    def takes_seeds(self) -> bool:
        """Whether there are several pictures of a label map; the seed, modulo their number, is which of them."""
        return self.pictures > 1

    def check_size(self, height: int, width: int, pictures: int) -> None:
        """Raises `InputError` for pictures of a size that it cannot make, however many at a time."""
        self.heights(height, width)

    def heights(self, height: int, width: int) -> list[int]:
        """The rows of each module, each twice those of the one before.

        Raises `InputError` where that does not come out at pictures of `height` x `width`.
        """
        heights = [self.first_height]
        while heights[-1] < height:
            heights.append(2 * heights[-1])
        if heights[-1] != height or width * self.first_height % height:
            raise InputError(
                f"pictures are {width}x{height}, but this generator doubles {self.first_height} rows (first_height), "
                f"and columns in proportion, until it has them; take {heights[-1]} rows, or another first_height"
            )
        return heights


class SIMSSettings(StylelessSettings):
    """SIMS (Qi et al., CVPR 2018): segments of training photographs are pasted, and a network mends what they leave."""

    kind: Literal["sims"] = "sims"
    bank: Location | None = None
    """The memory bank (`spadework prepare bank`), a file or URI; a recipe must name one. In training its masks say what
    is cut out of a picture, in synthesis its pieces are pasted."""
    order: tuple[str, ...] = ()
    """Classes from back to front, as they are painted; those that are not named come before these, and the larger the
    segments of a class are in the bank, the further back."""
    paste: Literal["whole", "inside"] = "whole"
    """Paste segments as they are, and rewrite the label map where they differ from it, as the public code does; or only
    what lies inside of the segment that was looked for."""
    candidates: Annotated[int, Field(gt=0, le=4096)] = 100
    """In training: random segments of another picture, of which the most alike gives the mask."""
    recolour: Annotated[float, Field(ge=0.0, le=1.0)] = 0.2
    """In training: how often a piece gets the colours of another one of its class."""
    widths: tuple[Width, Width, Width, Width] = (64, 128, 256, 512)
    """Channels of the encoder's first three stages, and of the last three; the decoder has the last two of them."""
    outer: bool = False
    """Work on half the resolution, and double it in the end: the form for 512 rows."""
    transform: bool = False
    """Move each piece by an affine map before it is pasted (Sec. 3.2), which a network learns beside the other one."""
    order_network: bool = False
    """Ask a network, which learns beside the other ones, which of two pieces that overlap is in front (Sec. 3.2); where
    they are of one class, `order` decides. The training set needs a column `disparity`."""
    order_hidden: Width = 1024
    """Channels of its last hidden layer."""
    segment_widths: tuple[Width, Width, Width, Width] = (64, 128, 256, 512)
    """Channels of the stages of the networks that look at single segments (`transform`, `order_network`); the last two
    have the same."""
    segment_rate: Annotated[float, Field(gt=0.0, le=1.0)] = 0.1
    """Their learning rate, as a share of `training.learning_rate` (public code: 1e-5 beside 1e-4)."""
    takes_seeds: ClassVar[bool] = False
    one_size: ClassVar[bool] = False

    @property
    def multiple(self) -> int:
        """Of what the sides of pictures must be multiples."""
        return 2 if self.outer else 1

    def check_size(self, height: int, width: int, pictures: int) -> None:
        """Raises `InputError` for pictures of a size that it cannot make, however many at a time."""
        check_multiples(height, width, self.multiple, "this generator")

    def check_labels(self, classes: tuple[str, ...]) -> None:
        """Raises `InputError` for an `order` of other classes than these, or with one of them twice."""
        for number, name in enumerate(self.order):
            if name not in classes:
                raise InputError(f"generator.order names '{name}', which is no class; there are {', '.join(classes)}")
            if name in self.order[:number]:
                raise InputError(f"generator.order names '{name}' twice; name it once")
