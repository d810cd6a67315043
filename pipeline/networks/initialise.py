"""Initial weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from pipeline.networks.spectral import settle_spectral_norm


def initialise(network: nn.Module, draw: Callable[[torch.Tensor], object]) -> None:
    """`draw` sets every weight in place; biases, shifts and the scales of noise become 0, scales of a norm 1."""
    for name, parameter in network.named_parameters():
        if parameter.dim() > 1:
            draw(parameter)
        elif name.endswith("weight"):
            nn.init.ones_(parameter)
        else:
            nn.init.zeros_(parameter)
    settle_spectral_norm(network)


def glorot_normal(network: nn.Module) -> None:
    """Glorot's normal initialisation with gain 0.02 and biases 0, as in Sec. 4 of the SPADE paper."""
    initialise(network, lambda weight: nn.init.xavier_normal_(weight, gain=0.02))


def glorot_uniform(network: nn.Module) -> None:
    """Glorot's uniform initialisation and biases 0, as in CRN and SIMS."""
    initialise(network, nn.init.xavier_uniform_)


def pix2pixhd_normal(network: nn.Module) -> None:
    """Weights of convolutions normal of deviation 0.02, biases PyTorch's own: pix2pixHD's generators and
    discriminators."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(module.weight, 0.0, 0.02)
