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
        heights = module_heights(height, width, first=settings.first_height)
        widths = [_width(settings, each) for each in heights]
        self.refinements = nn.ModuleList(
            stage(before + space.channels, after) for before, after in itertools.pairwise([0, *widths])
        )
        self.last = nn.Conv2d(widths[-1], 3 * settings.pictures, 1)
        glorot_uniform(self)

    def forward(self, codes: torch.Tensor | LabelInput) -> torch.Tensor:
        """Pictures `[N, settings.pictures, 3, H, W]` of codes int32 `[N, H, W]`, or of their `LabelInput`.

        -1 to 1 is black to white, but nothing holds them there: clamp before saving. Raises `InputError` for another
        size.
        """
        label_input = codes if isinstance(codes, LabelInput) else self.label_input(codes)
        height, width = label_input.codes.shape[1:]
        if (height, width) != self.size:
            raise InputError(
                f"this generator makes pictures of one size, {self.size[1]}x{self.size[0]}; the label map is "
                f"{width}x{height}"
            )
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
        """The label maps in the form the layers want."""
        return LabelInput(codes, self.space, "dense")


def module_heights(height: int, width: int, *, first: int) -> list[int]:
    """The rows of each module, each twice those of the one before. Raises `InputError` where that does not come out."""
    heights = [first]
    while heights[-1] < height:
        heights.append(2 * heights[-1])
    if heights[-1] != height or width * first % height:
        raise InputError(
            f"pictures are {width}x{height}, but this generator doubles {first} rows (first_height), and columns in "
            f"proportion, until it has them; take {heights[-1]} rows, or another first_height"
        )
    return heights


def _width(settings: CRNSettings, height: int) -> int:
    limits = 64, 256, 512
    return settings.widths[sum(height > limit for limit in limits)]
