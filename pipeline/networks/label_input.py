"""The label maps of one forward pass, at every resolution, in the form that each layer wants them."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal, TypeVar

import torch
import torch.nn.functional as F

from pipeline.labels import LabelSpace, one_hot
from pipeline.networks.noise import noise_map
from pipeline.networks.patterns.patterns import Patterns, find_all_patterns

log = logging.getLogger(__name__)

T = TypeVar("T")
Modulation = Literal["auto", "pattern", "dense"]

DENSE_SHARE = 0.7
"""Of hidden windows distinct among pixels: from here on, `auto` computes gamma and beta at every pixel."""


class LabelInput:
    """Label codes `[N, H, W]`, nearest-neighbour copies of them, and their patterns: each found once and kept.

    One object serves all layers of a pass, several passes of a training step over the same label maps, and all
    samples drawn for them.
    """

    def __init__(
        self, codes: torch.Tensor, space: LabelSpace, modulation: Modulation = "auto", doublings: int = 0
    ) -> None:
        """`doublings`: patterns will be wanted at so many halvings of the resolution too, and are found together."""
        self.codes = codes
        self.space = space
        self.modulation = modulation
        self.styles: torch.Tensor | None = None
        """`[N, style_dim]`, where every layer sees a style beside the label map (`with_styles`)."""
        self.seeds: torch.Tensor | None = None
        """int64 `[N]`, where layers add noise (`with_seeds`)."""
        height, width = codes.shape[1:]
        self._resolutions = [(height >> halvings, width >> halvings) for halvings in range(doublings + 1)]
        self._codes: dict[tuple[int, int], torch.Tensor] = {}
        self._one_hot: dict[tuple[int, int, torch.dtype], torch.Tensor] = {}
        self._patterns: dict[tuple[int, int, int, bool], Patterns] = {}
        self._remembered: dict[object, Any] = {}
        self._copies: dict[int, LabelInput] = {}

    def codes_at(self, height: int, width: int) -> torch.Tensor:
        """The codes at a resolution, int32 `[N, height, width]`: the pixels that `F.interpolate` takes ("nearest")."""
        if (height, width) == tuple(self.codes.shape[1:]):
            return self.codes
        if (height, width) not in self._codes:
            # Codes are small integers, so float32 holds them exactly.
            small = F.interpolate(self.codes.unsqueeze(1).float(), size=(height, width), mode="nearest")
            self._codes[height, width] = small.squeeze(1).int()
        return self._codes[height, width]

    def with_styles(self, z: torch.Tensor) -> LabelInput:
        """The same label maps, for layers that see the style `z` `[N, style_dim]` of each image too.

        What was found of the label maps alone is shared. One label map serves any number of styles.
        """
        base = self
        if len(z) != len(self.codes):
            assert len(self.codes) == 1, "several styles of several label maps would mix them up"
            if len(z) not in self._copies:
                several = self.codes.expand(len(z), -1, -1)
                self._copies[len(z)] = LabelInput(several, self.space, self.modulation, len(self._resolutions) - 1)
            base = self._copies[len(z)]
        styled = copy.copy(base)
        styled.styles, styled._remembered = z, {}
        return styled

    def with_seeds(self, seeds: torch.Tensor) -> LabelInput:
        """The same label maps, for layers that add noise, which `seeds` int64 `[N]` decide for each image.

        Noise does not touch gamma and beta, so everything found is shared. One label map serves any number of seeds.
        """
        assert len(self.codes) in (1, len(seeds)), "several images of several label maps would mix them up"
        seeded = copy.copy(self)
        seeded.seeds = seeds
        return seeded

    def noise_at(self, layer: int, height: int, width: int) -> torch.Tensor:
        """The noise of the images in a layer, N(0, 1): float32 `[N, 1, height, width]`."""
        assert self.seeds is not None
        return noise_map(self.seeds, layer, height, width)

    def numbers_at(self, height: int, width: int) -> torch.Tensor:
        """What tells pixels apart at a resolution, int32 `[N, height, width]`: their code and, if it matters, image.

        With styles code c of image n is n * (codes - 1) + c: the same window in two images is two.
        """
        codes = self.codes_at(height, width)
        if not self._images_differ:
            return codes
        first = torch.arange(len(codes), dtype=codes.dtype, device=codes.device) * (self.space.codes - 1)
        return codes + first.view(-1, 1, 1)

    @property
    def _images_differ(self) -> bool:
        return self.styles is not None and len(self.codes) > 1

    def one_hot_at(self, height: int, width: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """The semantic input of the paper at a resolution, and the styles if any: `[N, channels, height, width]`."""
        if (height, width, dtype) not in self._one_hot:
            self._one_hot[height, width, dtype] = one_hot(self.codes_at(height, width), self.space, dtype)
        planes = self._one_hot[height, width, dtype]
        if self.styles is None:
            return planes
        styles = self.styles.to(dtype)[:, :, None, None].expand(-1, -1, height, width)
        return torch.cat([planes, styles], dim=1)

    def remember(self, owner: object, compute: Callable[[], T]) -> T:
        """What `compute` returned for `owner` the first time: for layers whose weights do not change any more."""
        if owner not in self._remembered:
            self._remembered[owner] = compute()
        return self._remembered[owner]

    def patterns_at(self, height: int, width: int, kernel_size: int) -> Patterns | None:
        """The distinct windows at a resolution, or None where gamma and beta are to be computed densely."""
        if self.modulation == "dense":
            return None
        key = (height, width, kernel_size, self._images_differ)
        if key not in self._patterns:
            sizes = self._resolutions if (height, width) in self._resolutions else [(height, width)]
            for size, found in zip(
                sizes, find_all_patterns([self.numbers_at(*size) for size in sizes], kernel_size), strict=True
            ):
                self._patterns[*size, kernel_size, self._images_differ] = found
        patterns = self._patterns[key]
        if self.modulation == "auto" and patterns.hidden_share > DENSE_SHARE:
            _say_dense(height, width)
            return None
        return patterns


@lru_cache(maxsize=64)
def _say_dense(height: int, width: int) -> None:
    """Once for each resolution: a line for every label map would drown the log."""
    log.info(
        "modulation at %dx%d is dense for label maps of which more than %d%% of the windows are distinct",
        width, height, 100 * DENSE_SHARE,
    )  # fmt: skip
