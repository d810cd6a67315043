"""A discriminator that names classes, with a patch discriminator beside it that sees the finest detail only.

The encoder of the first halves the resolution at once, and its classes can be told without grain; so it teaches a
generator shapes and leaves textures woven. The second has nothing else to go by.
"""

from __future__ import annotations

from torch import Tensor, nn

from pipeline.config import DiscriminatorSettings
from pipeline.networks.spectral import settle_spectral_norm
from training.objectives.label_planes import LabelPlanes, label_pyramid
from training.objectives.patch_discriminator import KERNEL, PADDING, STRIDE, detail_copy, finest_detail
from training.objectives.projected_discriminator import ProjectedDiscriminator
from training.objectives.segmentation_discriminator import SegmentationDiscriminator

ClassDiscriminator = SegmentationDiscriminator | ProjectedDiscriminator


class DetailDiscriminator(nn.Module):
    """`whole` judges pictures by class; `detail`, a patch discriminator, what is left of them without their blur."""

    def __init__(self, whole: ClassDiscriminator, settings: DiscriminatorSettings) -> None:
        super().__init__()
        self.space = whole.space
        self.whole = whole
        self.detail = detail_copy(settings, whole.space)
        settle_spectral_norm(self.detail)

    @property
    def score_maps(self) -> int:
        """How many maps of scores a picture gets."""
        return self.whole.score_maps + 1

    def planes(self, codes: Tensor) -> LabelPlanes:
        """What `forward` needs to know of the label maps, codes int32 `[N, H, W]`; the weights do not matter to it."""
        return label_pyramid(codes, self.space, scales=1, kernel=KERNEL, stride=STRIDE, padding=PADDING)[0]

    def forward(self, pictures: Tensor, planes: LabelPlanes) -> tuple[Tensor, Tensor]:
        """Logits `[k * N, classes + 1, H, W]`, fake last, and the patch scores of the detail, `[k * N, 1, h, w]`.

        Pictures are `[k * N, 3, H, W]` in [-1, 1]: k of each of the N label maps.
        """
        return self.whole(pictures), self.detail(planes, finest_detail(pictures))[-1]
