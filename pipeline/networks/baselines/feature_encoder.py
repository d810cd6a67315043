"""pix2pixHD's encoder of instance-wise features (Sec. 3.4): what an object looks like, in a few numbers."""

from __future__ import annotations

import torch
from torch import nn

from pipeline.config import Pix2PixHDSettings
from pipeline.networks.baselines.units import Hourglass, UnitFactory, check_size, last_layer
from pipeline.networks.initialise import pix2pixhd_normal


class FeatureEncoder(nn.Module):
    """Photographs to planes that are constant on each instance; the generator takes them beside the label map."""

    def __init__(self, settings: Pix2PixHDSettings) -> None:
        super().__init__()
        self.settings = settings
        self.body = Hourglass(
            UnitFactory(statistics=settings.statistics),
            inputs=3,
            channels=settings.encoder_channels,
            downsamplings=settings.encoder_downsamplings,
            blocks=0,
        )
        self.last = last_layer(settings.encoder_channels, settings.features)
        pix2pixhd_normal(self)

    def forward(self, pictures: torch.Tensor, instance: torch.Tensor) -> torch.Tensor:
        """Photographs `[N, 3, H, W]` in [-1, 1] and instance ids `[N, H, W]` to `[N, features, H, W]` in [-1, 1]."""
        return instance_means(self.features(pictures), instance)

    def features(self, pictures: torch.Tensor) -> torch.Tensor:
        """The planes before the means are taken, `[N, features, H, W]` in (-1, 1)."""
        height, width = pictures.shape[2:]
        check_size(height, width, multiple=2**self.settings.encoder_downsamplings, least=4)
        return torch.tanh(self.last(self.body(pictures)))


def instance_means(planes: torch.Tensor, instance: torch.Tensor) -> torch.Tensor:
    """Planes `[N, C, H, W]`, at each pixel the mean over its instance; `instance` holds integers `[N, H, W]`.

    Equal ids in two pictures are two instances.
    """
    count, channels, height, width = planes.shape
    picture = torch.arange(count, device=instance.device).view(-1, 1, 1).expand_as(instance)
    pairs = torch.stack([picture.flatten(), instance.flatten().long()])  # [2, N * H * W]
    _, place = torch.unique(pairs, dim=1, return_inverse=True)
    # In half precision sums over many pixels would lose too much.
    pixels = planes.permute(0, 2, 3, 1).reshape(-1, channels).to(torch.promote_types(planes.dtype, torch.float32))
    places = int(place.max()) + 1
    sums = pixels.new_zeros(places, channels).index_add(0, place, pixels)
    means = sums / torch.bincount(place, minlength=places).unsqueeze(1).to(sums.dtype)
    return means[place].view(count, height, width, channels).permute(0, 3, 1, 2).to(planes.dtype)
