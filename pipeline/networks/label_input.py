"""The label maps of one forward pass, at every resolution, in the form that each layer wants them."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import Any, Literal, NamedTuple, TypeVar

import torch
import torch.nn.functional as F

from pipeline.config import RegionStyles
from pipeline.labels import LabelSpace, one_hot, split_codes
from pipeline.networks.patterns.patterns import Patterns, find_all_patterns

log = logging.getLogger(__name__)

T = TypeVar("T")
Modulation = Literal["auto", "pattern", "dense"]

DENSE_SHARE = 0.7
"""Of hidden windows distinct among pixels: from here on, `auto` computes gamma and beta at every pixel."""


class Styled(NamedTuple):
    """What a generator with styles everywhere has in the place of classes: regions."""

    classes: torch.Tensor
    """int64 `[R]`, the class of each."""
    styles: torch.Tensor
    """float `[M, style_dim]`: those that there are."""
    numbers: torch.Tensor
    """int64 `[R]`, which of them each region has."""


class LabelInput:
    """Label codes `[N, H, W]`, nearest-neighbour copies of them, and their patterns: each found once and kept.

    One object serves all layers of a pass, several passes of a training step over the same label maps, and all
    samples drawn for them.
    """

    def __init__(
        self,
        codes: torch.Tensor,
        space: LabelSpace,
        modulation: Modulation = "auto",
        doublings: int = 0,
        *,
        regions: torch.Tensor | None = None,
    ) -> None:
        """`doublings`: patterns will be wanted at so many halvings of the resolution too, and are found together.

        `regions` int32 `[N, H, W]`: what has a style of its own, numbered from 0 in each image, each of one class;
        None: the classes.
        """
        self.codes = codes
        self.regions = regions
        self.space = space
        self.modulation = modulation
        self.styles: torch.Tensor | None = None
        """`[N, style_dim]`, or `[N, regions, style_dim]`, where every layer sees styles beside the label map."""
        self.noise: list[torch.Tensor] | None = None
        """`[N, 1, height, width]` for each layer by its number, where layers add noise (`with_noise`)."""
        self.canvas: torch.Tensor | None = None
        """`[N, 4, H, W]`, where pieces of photographs were pasted: RGB from 0 to 1, and 1 where there are any."""
        height, width = codes.shape[1:]
        self._resolutions = [(height >> halvings, width >> halvings) for halvings in range(doublings + 1)]
        self._codes: dict[tuple[int, int], torch.Tensor] = {}
        self._regions: dict[tuple[int, int], torch.Tensor] = {}
        self._one_hot: dict[tuple[int, int, torch.dtype], torch.Tensor] = {}
        self._patterns: dict[tuple[int, int, int, bool], Patterns] = {}
        self._remembered: dict[object, Any] = {}
        self._copies: dict[int, LabelInput] = {}

    @classmethod
    def of_recipe(
        cls,
        codes: torch.Tensor,
        space: LabelSpace,
        region_styles: RegionStyles,
        modulation: Modulation = "auto",
        doublings: int = 0,
    ) -> LabelInput:
        """Codes int32 `[N, H, W]` of `Recipe.encode`, which hold instances too where `region_styles` are theirs."""
        regions = None
        if region_styles == "instance":
            codes, regions = split_codes(codes, space)
        return cls(codes, space, modulation, doublings, regions=regions)

    def codes_at(self, height: int, width: int) -> torch.Tensor:
        """The codes at a resolution, int32 `[N, height, width]`: the pixels that `F.interpolate` takes ("nearest")."""
        if (height, width) not in self._codes:
            self._codes[height, width] = _shrunk(self.codes, height, width)
        return self._codes[height, width]

    def regions_at(self, height: int, width: int) -> torch.Tensor:
        """The number of each pixel's region among those of all images: `[N, height, width]`, below N * regions."""
        if (height, width) not in self._regions:
            own = (self.codes - 1) // 2 if self.regions is None else self.regions
            first = torch.arange(len(own), dtype=own.dtype, device=own.device) * self.region_count
            self._regions[height, width] = _shrunk(own, height, width) + first.view(-1, 1, 1)
        return self._regions[height, width]

    @cached_property
    def region_count(self) -> int:
        """How many regions an image has, at most: of an image with fewer the last ones are nowhere."""
        return self.space.class_channels if self.regions is None else int(self.regions.max()) + 1

    def with_styles(self, z: torch.Tensor) -> LabelInput:
        """The same label maps, for layers that see the styles `z` too: `[N, style_dim]`, one for each image, or
        `[N, regions, style_dim]`, one for each region.

        What was found of the label maps alone is shared. One label map serves any number of styles.
        """
        base = self
        if len(z) != len(self.codes):
            assert len(self.codes) == 1, "several styles of several label maps would mix them up"
            if len(z) not in self._copies:
                several = self.codes.expand(len(z), -1, -1)
                regions = None if self.regions is None else self.regions.expand(len(z), -1, -1)
                doublings = len(self._resolutions) - 1
                self._copies[len(z)] = LabelInput(several, self.space, self.modulation, doublings, regions=regions)
            base = self._copies[len(z)]
        styled = copy.copy(base)
        styled.styles, styled._remembered = z, {}
        return styled

    def with_noise(self, noise: list[torch.Tensor]) -> LabelInput:
        """The same label maps, for layers that add the `noise` of N images.

        Noise does not touch gamma and beta, so everything found is shared. One label map serves any number of images.
        """
        assert len(self.codes) in (1, len(noise[0])), "several images of several label maps would mix them up"
        noisy = copy.copy(self)
        noisy.noise = noise
        return noisy

    def with_canvas(self, canvas: torch.Tensor) -> LabelInput:
        """The same label maps, with what was pasted on each: `[N, 4, H, W]`."""
        assert canvas.shape[::2] == (len(self.codes), self.codes.shape[1]), canvas.shape
        pasted = copy.copy(self)
        pasted.canvas = canvas
        return pasted

    def numbers_at(self, height: int, width: int) -> torch.Tensor:
        """What tells pixels apart at a resolution, int32 `[N, height, width]`: their code and, if it matters, region.

        Then it is 1 + 2 * region + edge, as codes are 1 + 2 * class + edge: the same window in two images, or of two
        instances, is two.
        """
        codes = self.codes_at(height, width)
        return 1 + 2 * self.regions_at(height, width) + (codes - 1) % 2 if self._regions_differ else codes

    @property
    def _regions_differ(self) -> bool:
        return self.regions is not None or (self.styles is not None and len(self.codes) > 1)

    @property
    def styled(self) -> Styled | None:
        """The styles by region, for `code_table`; None without styles."""
        if self.styles is None:
            return None
        images, count = len(self.styles), self.region_count
        numbers = torch.arange(images * count, device=self.styles.device)
        if self.regions is None:
            classes = numbers % count
        else:
            classes = torch.zeros_like(numbers)
            regions = self.regions_at(*self.codes.shape[1:])
            classes[regions.flatten().long()] = (self.codes.flatten().long() - 1) // 2
        if self.styles.dim() == 2:
            return Styled(classes, self.styles, numbers // count)
        return Styled(classes, self.styles.flatten(0, 1), numbers)

    def one_hot_at(self, height: int, width: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """The semantic input of the paper at a resolution, and the styles if any: `[N, channels, height, width]`."""
        if (height, width, dtype) not in self._one_hot:
            self._one_hot[height, width, dtype] = one_hot(self.codes_at(height, width), self.space, dtype)
        planes = self._one_hot[height, width, dtype]
        if self.styles is None:
            return planes
        styles = self.styles.to(dtype)
        if styles.dim() == 2:
            everywhere = styles[:, :, None, None].expand(-1, -1, height, width)
        else:
            everywhere = F.embedding(self.regions_at(height, width), styles.flatten(0, 1)).permute(0, 3, 1, 2)
        return torch.cat([planes, everywhere], dim=1)

    def remember(self, owner: object, compute: Callable[[], T]) -> T:
        """What `compute` returned for `owner` the first time: for layers whose weights do not change any more."""
        if owner not in self._remembered:
            self._remembered[owner] = compute()
        return self._remembered[owner]

    def patterns_at(self, height: int, width: int, kernel_size: int) -> Patterns | None:
        """The distinct windows at a resolution, or None where gamma and beta are to be computed densely."""
        if self.modulation == "dense":
            return None
        key = (height, width, kernel_size, self._regions_differ)
        if key not in self._patterns:
            sizes = self._resolutions if (height, width) in self._resolutions else [(height, width)]
            for size, found in zip(
                sizes, find_all_patterns([self.numbers_at(*size) for size in sizes], kernel_size), strict=True
            ):
                self._patterns[*size, kernel_size, self._regions_differ] = found
        patterns = self._patterns[key]
        if self.modulation == "auto" and patterns.hidden_share > DENSE_SHARE:
            _say_dense(height, width)
            return None
        return patterns


def _shrunk(numbers: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Integers `[N, H, W]`, small enough for float32 to hold them exactly, by nearest neighbour."""
    if (height, width) == tuple(numbers.shape[1:]):
        return numbers
    small = F.interpolate(numbers.unsqueeze(1).float(), size=(height, width), mode="nearest")
    return small.squeeze(1).to(numbers.dtype)


@lru_cache(maxsize=64)
def _say_dense(height: int, width: int) -> None:
    """Once for each resolution: a line for every label map would drown the log."""
    log.info(
        "modulation at %dx%d is dense for label maps of which more than %d%% of the windows are distinct",
        width, height, 100 * DENSE_SHARE,
    )  # fmt: skip
