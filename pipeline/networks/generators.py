"""The generator of any kind that a recipe can name, and what they have in common."""

from __future__ import annotations

from typing import Protocol, TypeAlias

import torch

from pipeline.config import AnyGeneratorSettings
from pipeline.labels import LabelSpace
from pipeline.networks.baselines.concat import ConcatGenerator
from pipeline.networks.baselines.crn import CRN
from pipeline.networks.baselines.local_enhancer import LocalEnhancer
from pipeline.networks.baselines.pix2pixhd import GlobalGenerator
from pipeline.networks.baselines.pix2pixhd_plus import Pix2PixHDPlusGenerator
from pipeline.networks.baselines.sims_synthesis import SIMSSynthesis
from pipeline.networks.generator import Generator, least_weights
from pipeline.networks.label_input import LabelInput

AnyGenerator: TypeAlias = Generator | Pix2PixHDPlusGenerator | CRN | GlobalGenerator | LocalEnhancer | SIMSSynthesis
"""A network of any kind; the decoder with concatenation is a `Generator`."""


class DrawsPictures(Protocol):
    """What every generator does, as a network, folded, or compiled."""

    def label_input(self, codes: torch.Tensor) -> LabelInput:
        """Codes int32 `[N, H, W]` in the form it wants; `InputError` for label maps that it cannot take."""

    def __call__(
        self, codes: torch.Tensor | LabelInput, z: torch.Tensor | None = None, seeds: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Pictures float `[N, 3, H, W]`, -1 to 1 from black to white, of N label maps, or N of one.

        `z` are styles, where `settings.style_dim` is not 0; `seeds` int64 `[N]`, where `settings.takes_seeds`.
        """


def make_generator(settings: AnyGeneratorSettings, space: LabelSpace, *, height: int, width: int) -> AnyGenerator:
    """A generator for pictures of a size, with fresh weights from the global random state."""
    if settings.kind == "spade":
        return Generator(settings, space, height=height, width=width)
    if settings.kind == "concat":
        return ConcatGenerator(settings, space, height=height, width=width)
    if settings.kind == "pix2pixhd_plus":
        return Pix2PixHDPlusGenerator(settings, space)
    if settings.kind == "crn":
        return CRN(settings, space, height=height, width=width)
    if settings.kind == "sims":
        return SIMSSynthesis(settings, space)
    return LocalEnhancer(settings, space) if settings.enhancers else GlobalGenerator(settings, space)


def count_weights(settings: AnyGeneratorSettings, space: LabelSpace, *, height: int, width: int) -> int:
    """How many weights such a generator has, or for decoders a lower bound, without taking memory for them."""
    if settings.kind == "spade" or settings.kind == "concat":
        return least_weights(settings, space, height=height, width=width)
    with torch.device("meta"):
        made = make_generator(settings, space, height=height, width=width)
    return sum(weight.numel() for weight in made.parameters())
