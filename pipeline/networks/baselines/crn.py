"""The cascaded refinement network (Chen and Koltun, ICCV 2017, Sec. 3): from coarse to fine, labels at each scale."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import nn

from pipeline.config import CRNSettings
from pipeline.errors import InputError
from pipeline.labels import LabelSpace
from pipeline.networks.baselines.layers import resize_aligned, stage
from pipeline.networks.initialise import glorot_uniform
from pipeline.networks.label_input import LabelInput


class CRN(nn.Module):
    """Label codes to pictures of one size, `height` x `width`."""

    def __init__(self, settings: CRNSettings, space: LabelSpace, *, height: int, width: int) -> None:
        super().__init__()
        self.settings, self.space, self.size = settings, space, (height, width)
        heights = settings.heights(height, width)
        widths = [_width(settings, each) for each in heights]
        self.refinements = nn.ModuleList(
            stage(before + space.channels, after) for before, after in itertools.pairwise([0, *widths])
        )
        self.last = nn.Conv2d(widths[-1], 3 * settings.pictures, 1)
        glorot_uniform(self)

    def forward(
        self, codes: torch.Tensor | LabelInput, z: torch.Tensor | None = None, seeds: torch.Tensor | None = None
    ) -> torch.Tensor:
        """A picture each, `[N, 3, H, W]`, of codes int32 `[N, H, W]`, or of their `LabelInput`.

        The seed, int64 `[N]`, modulo their number says which of its pictures; None: the first. With the input of one
        label map and N seeds: N pictures of that map. -1 to 1 is black to white, but nothing holds them there: clamp
        before saving. Raises `InputError` as `label_input` does.
        """
        label_input = codes if isinstance(codes, LabelInput) else self.label_input(codes)
        every = (
            self.every(label_input) if self.training else label_input.remember(self, lambda: self.every(label_input))
        )
        if seeds is None:
            return every[:, 0]
        maps = torch.arange(len(every), device=every.device).expand(len(seeds))
        return every[maps, seeds % self.settings.pictures]

    def every(self, label_input: LabelInput) -> torch.Tensor:
        """All pictures of each label map: `[N, settings.pictures, 3, H, W]`."""
        height, width = label_input.codes.shape[1:]
        planes = label_input.one_hot_at(height, width, self.last.weight.dtype)
        # Soft labels: what share of a coarse pixel each class has.
        pyramid = [*itertools.accumulate(self.refinements[1:], lambda x, _: F.avg_pool2d(x, 2), initial=planes)]
        x = self.refinements[0](pyramid.pop())
        for module in self.refinements[1:]:
            labels = pyramid.pop()
            x = module(torch.cat([resize_aligned(x, labels.shape[2], labels.shape[3]), labels], dim=1))
        # All reds come first, then all greens, then all blues.
        return self.last(x).unflatten(1, (3, -1)).transpose(1, 2)

    def label_input(self, codes: torch.Tensor) -> LabelInput:
        """The label maps in the form the layers want. Raises `InputError` for another size than the generator's."""
        height, width = codes.shape[1:]
        if (height, width) != self.size:
            raise InputError(
                f"this generator makes pictures of one size, {self.size[1]}x{self.size[0]}; the label map is "
                f"{width}x{height}"
            )
        return LabelInput(codes, self.space, "dense")


def _width(settings: CRNSettings, height: int) -> int:
    limits = 64, 256, 512
    return settings.widths[sum(height > limit for limit in limits)]
