"""A discriminator whose encoder is a frozen backbone, with a learned decoder to classes (DP-SIMS, Berrada et al. 2024).

The objective is that of OASIS: every pixel's class, or fake. The encoder knows photographs already, as in Projected
GANs (Sauer et al. 2021), and only the decoder learns. DP-SIMS's noise in the encoder's features and its contrastive
term are left out.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.config import DiscriminatorSettings
from pipeline.labels import LabelSpace
from pipeline.networks.spectral import spectral_norm
from training.objectives.segmentation_discriminator import MAX_CHANNELS, ResidualBlock, initialise
from training.objectives.trunk import Trunk

PROBE = 64
"""Side of a picture that shows how large and how wide the trunk's feature maps are."""


class ProjectedDiscriminator(nn.Module):
    """From the trunk's smallest feature map the resolution doubles, by residual blocks, up to that of the picture.

    The trunk's last map of each resolution goes through a 1x1 convolution and is put beside what the blocks have there.
    """

    score_maps = 1
    """How many maps of scores (`realness`) a picture gets."""

    def __init__(self, settings: DiscriminatorSettings, space: LabelSpace, trunk: Trunk) -> None:
        super().__init__()
        self.space = space
        with torch.no_grad():
            maps = trunk(torch.zeros(1, 3, PROBE, PROBE, device=trunk.mean.device))
        # By how many pixels of the picture one of the map has on a side: 1, 2, 4, ...; a trunk may enlarge pictures.
        self.stages = {PROBE // found.shape[2]: stage for stage, found in enumerate(maps) if found.shape[2] <= PROBE}
        self.multiple = max(self.stages)
        """Of which sides of pictures must be multiples."""
        self.lateral = nn.ModuleDict()
        self.up = nn.ModuleDict()
        width, step = 0, self.multiple
        while step:
            own = min(settings.channels * step, MAX_CHANNELS)
            if width:
                self.up[str(step)] = ResidualBlock(width, own, enlargement=settings.enlargement)
                width = own
            if step in self.stages:
                self.lateral[str(step)] = spectral_norm(nn.Conv2d(maps[self.stages[step]].shape[1], own, 1))
                width += own
            step //= 2
        self.last = nn.Conv2d(width, len(space.classes) + 1, 1)
        initialise(self)
        self.trunk = trunk

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures `[N, 3, H, W]` in [-1, 1] to logits `[N, classes + 1, H, W]`, fake last."""
        maps = self.trunk(pictures)
        x = self.lateral[str(self.multiple)](maps[self.stages[self.multiple]])
        for step, block in self.up.items():
            x = block(x)  # [N, width, H / step, W / step]
            if step in self.lateral:
                x = torch.cat([x, self.lateral[step](maps[self.stages[int(step)]])], dim=1)
        return self.last(F.leaky_relu(x, 0.2))
