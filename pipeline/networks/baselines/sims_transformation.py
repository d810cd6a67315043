"""The transformation network of SIMS (Qi et al., CVPR 2018, Sec. 3.2): how a segment is moved to where it belongs."""

from __future__ import annotations

import torch
from torch import nn

from pipeline.networks.baselines.sims_order import SegmentTrunk, Widths
from pipeline.networks.baselines.spatial_transformer import IDENTITY, transform
from pipeline.networks.initialise import glorot_uniform


class TransformationNetwork(nn.Module):
    """A segment, the mask of where it belongs and the label map, to six numbers for `transform`.

    Before it is trained they are the identity.
    """

    def __init__(self, *, classes: int, widths: Widths = (64, 128, 256, 512)) -> None:
        """`classes`: planes of the label map."""
        super().__init__()
        self.trunk = SegmentTrunk(3 + 1 + classes, widths)
        self.theta = nn.Linear(widths[-1], 6)
        glorot_uniform(self)
        nn.init.zeros_(self.theta.weight)
        with torch.no_grad():
            self.theta.bias.copy_(torch.tensor(IDENTITY))

    def forward(self, segments: torch.Tensor, masks: torch.Tensor, planes: torch.Tensor) -> torch.Tensor:
        """`[S, 6]` of segments `[S, 3, H, W]` in 0 to 1, masks `[S, 1, H, W]` and label planes `[S, classes, H, W]`."""
        return self.theta(self.trunk(torch.cat([segments, masks, planes], dim=1)).mean((2, 3)))

    def place(self, segments: torch.Tensor, masks: torch.Tensor, planes: torch.Tensor) -> torch.Tensor:
        """The canvas `[1, 3, H, W]` of one picture: its segments moved, each cut by its mask, and added up."""
        moved = transform(segments, self(segments, masks, planes))
        return (moved * masks).sum(dim=0, keepdim=True)


def masked_l1(canvas: torch.Tensor, real: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """What it is trained by: the mean absolute difference of `[1, 3, H, W]` over all pixels of masks `[S, 1, H, W]`; 0
    where there are none."""
    weights = masks.sum(dim=0, keepdim=True)
    return ((canvas - real).abs() * weights).sum() / (canvas.shape[1] * weights.sum().clamp(min=1))
