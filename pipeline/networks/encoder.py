"""The style encoder of the multi-modal model (Appendix A, Fig. 14): a photograph to the distribution of its style."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from pipeline.config import DataSettings
from pipeline.data.images import resize_image
from pipeline.networks.spectral import spectral_norm

SIDE = 256
"""Photographs, at the pictures' size, are resized to SIDE x SIDE; six halvings leave 4 x 4."""


class StyleEncoder(nn.Module):
    """Photographs to a Gaussian over styles; trained with the KL term as a variational autoencoder."""

    def __init__(self, channels: int, style_dim: int) -> None:
        super().__init__()
        widths = [3, channels, 2 * channels, 4 * channels, 8 * channels, 8 * channels, 8 * channels]
        self.layers = nn.ModuleList(
            spectral_norm(nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False))
            for inputs, outputs in pairwise(widths)
        )
        self.mu = nn.Linear(8 * channels * 4 * 4, style_dim)
        self.logvar = nn.Linear(8 * channels * 4 * 4, style_dim)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Photographs `[N, 3, H, W]` in [-1, 1] to the mean and the log-variance, both `[N, style_dim]`."""
        if image.shape[2:] != (SIDE, SIDE):
            image = F.interpolate(image, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
        x = image
        for layer in self.layers:
            x = F.leaky_relu(F.instance_norm(layer(x)), 0.2)  # [N, C, side / 2, side / 2]
        x = x.flatten(1)
        return self.mu(x), self.logvar(x)


def prepare_photograph(image: np.ndarray, settings: DataSettings) -> torch.Tensor:
    """A photograph, uint8 `[h, w, 3]`, as the encoder saw them in training: float `[1, 3, H, W]` in [-1, 1].

    H x W is the pictures' size (`data.height`, `data.width`), the way of resizing `data.resample`: antialiased, as in
    training. The encoder's own resizing to its side, which follows, is not.
    """
    resized = resize_image(image, settings.height, settings.width, resample=settings.resample)
    return torch.from_numpy(resized).permute(2, 0, 1).unsqueeze(0).float() / 127.5 - 1


def sample_style(mu: torch.Tensor, logvar: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """The style z = mu + sigma * noise (the reparameterisation of Kingma and Welling); all `[N, style_dim]`."""
    return mu + torch.exp(0.5 * logvar) * noise
