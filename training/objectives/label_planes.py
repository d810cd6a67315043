"""Convolving label channels by table look-up: exact, and without ever building the one-hot tensor.

The discriminator sees the label map as channels beside the picture, once at full size and once more for every
coarser scale. A pixel's channel vector is one of few: at full size one for each code, and after average pooling one
for each distinct window of codes. A convolution over such planes is a sum of table rows, and needs to be evaluated
only for the distinct windows that occur (`pipeline.networks.patterns.patterns` has the same idea for the generator).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.labels import LabelSpace, one_hot
from pipeline.networks.patterns.windows import OUTSIDE, distinct_columns


@dataclass(frozen=True)
class Windows:
    """The distinct windows of an index map."""

    bags: Tensor
    """int64 `[V, k * k]`: the indices in each distinct window, taps row by row."""
    place: Tensor
    """int64 `[N, h, w]`: the row of `bags` that each output position sees."""


@dataclass(frozen=True)
class LabelPlanes:
    """Label channels of one scale: the pixel at p has the channels `vectors[index[p]]`."""

    index: Tensor
    """int64 `[N, h, w]`, below U."""
    vectors: Tensor
    """float32 `[U, C]`; row 0 (`OUTSIDE`) is zero."""
    windows: Windows
    """The windows that the discriminator's first convolution sees."""

    def convolve(self, weight: Tensor) -> Tensor:
        """These planes convolved with `weight` `[out, C, k, k]`: `[N, out, h', w']`, differentiable in `weight`."""
        taps = weight.shape[2] * weight.shape[3]
        # table[tap, u] = weight[:, :, tap] @ vectors[u], so that a window is the sum of one row a tap.
        table = torch.einsum("uc,oct->tuo", self.vectors.to(weight.dtype), weight.flatten(2))
        offsets = torch.arange(taps, device=table.device) * len(self.vectors)
        rows = F.embedding_bag(self.windows.bags + offsets, table.flatten(0, 1), mode="sum")  # [V, out]
        count, height, width = self.windows.place.shape
        found = rows.index_select(0, self.windows.place.flatten())  # [N * h' * w', out]
        return found.view(count, height, width, -1).permute(0, 3, 1, 2)

    def dense(self) -> Tensor:
        """The planes as the paper has them: float `[N, C, h, w]`."""
        return F.embedding(self.index, self.vectors).permute(0, 3, 1, 2)


def label_pyramid(
    codes: Tensor, space: LabelSpace, *, scales: int, kernel: int, stride: int, padding: int
) -> list[LabelPlanes]:
    """The label planes of every scale, each the average pooling (3x3, stride 2, padding left out) of the one before.

    `codes` is int32 `[N, H, W]`, 0 where nothing is shown; kernel, stride and padding are those of the convolution to
    come.
    """
    known = torch.arange(1, space.codes, device=codes.device)
    vectors = F.pad(one_hot(known.view(-1, 1, 1), space, torch.float32).flatten(1), (0, 0, 1, 0))  # [codes, C]
    index = codes.long()
    pyramid = []
    for scale in range(scales):
        if scale:
            pooled = strided_windows(index, 3, stride=2, padding=1)
            # None are inside where augmentation has blanked the label map (code 0), which is like outside.
            inside = (pooled.bags != OUTSIDE).sum(dim=1, keepdim=True).clamp(min=1)
            vectors = F.pad(F.embedding_bag(pooled.bags, vectors, mode="sum") / inside, (0, 0, 1, 0))
            index = pooled.place + 1
        pyramid.append(LabelPlanes(index, vectors, strided_windows(index, kernel, stride=stride, padding=padding)))
    return pyramid


def strided_windows(index: Tensor, kernel: int, *, stride: int, padding: int) -> Windows:
    """The distinct `kernel` x `kernel` windows of an index map int64 `[N, H, W]`, `OUTSIDE` around it."""
    padded = F.pad(index, (padding,) * 4, value=OUTSIDE)
    views = padded.unfold(1, kernel, stride).unfold(2, kernel, stride)  # [N, h, w, k, k]
    taps = views.permute(3, 4, 0, 1, 2).reshape(kernel * kernel, -1)
    example, place = distinct_columns(taps)
    return Windows(taps.index_select(1, example).t().contiguous(), place.view(views.shape[:3]))
