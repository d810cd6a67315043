"""Spectral normalisation (Miyato et al., ICLR 2018): weights divided by an estimate of their largest singular value."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize


def spectral_norm(module: nn.Module) -> nn.Module:
    """Wrap a convolution or linear layer; one power iteration for each forward pass in training, none in evaluation.

    This is PyTorch's own parametrisation, which computes what the hook of the public SPADE code computes.
    """
    return parametrizations.spectral_norm(module)


@torch.no_grad()
def fold_spectral_norm(network: nn.Module) -> nn.Module:
    """Replace every normalised weight by its present value, in place: the network in evaluation, without the cost."""
    assert not network.training, "the value of a weight in training depends on the next power iteration"
    for module in network.modules():
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
    return network
