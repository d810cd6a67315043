"""The sections `generator` and `discriminator` of a recipe."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from pipeline.config.settings import Enlargement, RegionStyles, Settings, Width
from pipeline.errors import InputError

UPSAMPLINGS = {"normal": 5, "more": 6, "most": 7}
"""How often each variant of the generator doubles the resolution (the public `num_upsampling_layers`)."""


class DecoderSettings(Settings):
    """What the SPADE generator and the decoder with concatenation have in common."""

    kind: Literal["spade", "concat"]
    """Which generator it is."""
    channels: Width = 64
    """Width of the last block; earlier ones have up to 16 times as many (the public `ngf`)."""
    upsampling: Literal["normal", "more", "most"] = "normal"
    """5, 6 or 7 doublings from the first feature map to the picture."""
    statistics: Literal["batch", "sync_batch", "instance"] = "sync_batch"
    """What is normalised by: the worker's batch, the whole batch over all workers, or each image."""
    style_dim: Annotated[int, Field(ge=0, le=65536)] = 0
    """Length of the style vector z; 0: none, the label map itself is the first feature map. The paper's VAE: 256."""
    style_input: Literal["first", "everywhere"] = "first"
    """Where z enters: a linear layer makes the first feature map of it (the paper's VAE), or it stands beside the label
    map at every pixel, wherever that enters (the 3D noise of OASIS, a vector a picture)."""
    style_encoder: bool = True
    """Styles are those of photographs, which an encoder learns to find (VAE); false: noise only, as in OASIS."""
    region_styles: RegionStyles = "none"
    """A style of its own, of noise, for each class or each instance in a label map (as in INADE, Tan et al. 2021, and
    SEAN, Zhu et al. 2020), in the place of one for the picture. Constant inside a region, so that windows stay few."""
    enlargement: Enlargement = "nearest"
    """How the resolution doubles: by nearest neighbour as in the paper, whose blocks of equal pixels leave a grid of
    period 2; bilinear, which is nearest neighbour and then the filter [1, 2, 1]; or blur, nearest neighbour and then
    [1, 4, 6, 4, 1] (Triangle-3 and Binomial-5 of Zhang 2019, Sec. 4)."""

    @model_validator(mode="after")
    def _check(self) -> DecoderSettings:
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

    @property
    def multiple(self) -> int:
        """Of what the sides of pictures must be multiples."""
        return 2**self.doublings

    @property
    def one_size(self) -> bool:
        """Whether pictures are of the recipe's size only."""
        return bool(self.style_dim) and not self.style_channels

    def check_size(self, height: int, width: int, pictures: int) -> None:
        """Raises `InputError` for pictures of a size, so many at a time, that it cannot make or normalise."""
        check_multiples(height, width, self.multiple, f"a generator with upsampling '{self.upsampling}'")
        alone = self.statistics == "instance" or pictures == 1
        if height * width == self.multiple**2 and alone:
            raise InputError(
                f"the first feature map of {width}x{height} pictures is one pixel, which has no "
                f"statistics ('{self.statistics}', {pictures} at a time); take larger ones"
            )


class GeneratorSettings(DecoderSettings):
    """The SPADE generator (Sec. 3 and Appendix A of the paper)."""

    kind: Literal["spade"] = "spade"
    """Which generator it is; recipes without a kind are of this one."""
    kernel_size: Literal[1, 3, 5, 7] = 3
    """Kernel of the convolutions that compute gamma and beta."""
    hidden: Width = 128
    """Channels between the label map and gamma and beta."""
    noise: bool = False
    """Add Gaussian noise, one number a pixel times a learned scale per channel that begins at 0, before each SPADE
    normalisation (SEAN, Zhu et al. 2020, the ACE layer; Karras et al. 2019, Sec. 3.2): texture that the label map does
    not determine. Samples of a label map then differ without a style too."""
    modulation: Literal["auto", "pattern", "dense"] = "auto"
    """How gamma and beta are computed: once per distinct window of labels (exact, faster), at every pixel, or the
    faster of the two for each label map and resolution."""

    @property
    def takes_seeds(self) -> bool:
        """Whether pictures of a label map and a style differ by a seed."""
        return self.noise


class ConcatSettings(DecoderSettings):
    """The SPADE decoder without SPADE ("decoder w/ Concat" of Table 3): learned norms, and the label map beside the
    features at every convolution of the blocks."""

    kind: Literal["concat"] = "concat"
    """Which generator it is."""
    noise: ClassVar[bool] = False
    modulation: ClassVar[Literal["dense"]] = "dense"
    takes_seeds: ClassVar[bool] = False


def check_multiples(height: int, width: int, multiple: int, what: str) -> None:
    """Raises `InputError` where a side of pictures is no multiple; `what` makes them."""
    for side, value in (("height", height), ("width", width)):
        if value % multiple:
            below, above = value // multiple * multiple, (value // multiple + 1) * multiple
            choices = f"{below} or {above}" if below else f"{above}"
            raise InputError(f"data.{side} is {value}, but {what} makes multiples of {multiple}; take {choices}")


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
    detail: bool = False
    """A patch discriminator more, of three layers, that sees nothing but the finest detail, amplified and limited:
    grain of a few grey levels, which in the whole picture is too faint to teach a discriminator anything (Schwarz et
    al. 2021). Feature matching leaves it out, whose distance is least without grain."""
    augment: tuple[Literal["colour", "translation", "cutout"], ...] = ()
    """DiffAugment (Zhao et al. 2020): changes to every picture, real or fake, that the discriminator sees; for sets of
    a few hundred photographs."""
