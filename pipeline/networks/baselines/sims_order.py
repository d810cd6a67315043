"""The ordering network of SIMS (Qi et al., CVPR 2018, Sec. 3.2): which of two segments is in front."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from pipeline.networks.baselines.layers import SLOPE, LayerNorm, pool_same, stage
from pipeline.networks.initialise import glorot_uniform
from pipeline.runtime.counter_based import uniforms

Widths = tuple[int, int, int, int]


class SegmentTrunk(nn.Module):
    """Five stages of convolutions, each at half the resolution of the one before: 2, 2, 3, 3, 3 layers."""

    def __init__(self, inputs: int, widths: Widths) -> None:
        super().__init__()
        outputs = [*widths, widths[-1]]
        self.stages = nn.ModuleList(
            stage(before, after, layers)
            for before, after, layers in zip([inputs, *outputs[:-1]], outputs, (2, 2, 3, 3, 3), strict=True)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[N, inputs, H, W]` to `[N, last width, H / 32, W / 32]`."""
        for number, layers in enumerate(self.stages):
            x = pool_same(layers(x), "max" if number else "average")
        return x


class OrderNetwork(nn.Module):
    """Two segments and the whole label map, as colours, to the class of the one in front."""

    def __init__(
        self,
        *,
        classes: int,
        widths: Widths = (64, 128, 256, 512),
        hidden: int = 1024,
        window: tuple[int, int] | None = (8, 12),
    ) -> None:
        """`window`: rows and columns of the last feature map that count; None: all. The authors' leaves out the right
        quarter of pictures of 256x512."""
        super().__init__()
        self.window = window
        self.trunk = SegmentTrunk(6, widths)
        self.hidden = nn.Conv2d(widths[-1], hidden, 1, bias=False)
        self.norm = LayerNorm(hidden)
        self.classify = nn.Conv2d(hidden, classes, 1)
        glorot_uniform(self)

    def forward(self, pair: torch.Tensor, layout: torch.Tensor, seeds: torch.Tensor | None = None) -> torch.Tensor:
        """Logits `[N, classes]` of the two segments alone and of the label map, both in colours `[N, 3, H, W]` from 0
        to 1.

        `seeds` int64 `[N]`, in training, draw which half of the hidden layer is left out (dropout)."""
        rows, columns = self.window or (None, None)
        x = self.trunk(torch.cat([pair, layout], dim=1))[..., :rows, :columns].mean((2, 3), keepdim=True)
        x = F.leaky_relu(self.norm(self.hidden(x)), SLOPE)
        if seeds is not None:
            kept = uniforms(seeds, "dropout", x.shape[1]) < 0.5
            x = 2 * x * kept[..., None, None].to(x.dtype)
        return self.classify(x).flatten(1)
