"""The exponential moving average of a network: what checkpoints publish."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


class MovingAverage(Generic[Network]):
    """A copy of a network, in evaluation mode, whose weights trail behind the original's."""

    def __init__(self, network: Network, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, network: Network, step: int) -> None:
        """Take in the weights after a step, counted from 0.

        Early on the decay is lower, so that the initial weights are soon forgotten. Running statistics are averaged
        like weights; the unit vectors of spectral normalisation, which follow the weights closely, are copied.
        """
        decay = min(self.decay, (1 + step) / (10 + step))
        mine: list[Tensor] = list(self.network.parameters())
        torch._foreach_lerp_(mine, [value.detach() for value in network.parameters()], 1 - decay)
        for (name, buffer), (_, theirs) in zip(self.network.named_buffers(), network.named_buffers(), strict=True):
            if name.endswith(("running_mean", "running_var")):
                buffer.lerp_(theirs, 1 - decay)
            else:
                buffer.copy_(theirs)
