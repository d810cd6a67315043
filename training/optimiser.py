"""Adam with loss scaling, and the two time scales."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import torch
from torch import Tensor, nn

from pipeline.config import TrainingSettings


class Optimiser:
    """Adam over some parameters, with the loss scaling that fp16 needs (none otherwise)."""

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        rate: float,
        betas: tuple[float, float],
        fp16: bool,
        slow: Sequence[nn.Parameter] = (),
        slow_share: float = 1.0,
    ) -> None:
        """`slow` are those of the parameters whose rate is only `slow_share` of that of the others."""
        self.parameters = list(parameters)
        self.base_rate = rate
        slowed = {id(parameter) for parameter in slow}
        groups = [{"params": [each for each in self.parameters if id(each) not in slowed], "share": 1.0}]
        if slow:
            groups.append({"params": list(slow), "share": slow_share})
        self.frozen: Collection[nn.Parameter] = ()
        """Those that an update leaves as they are, whatever gradients they got."""
        self.adam = torch.optim.Adam(groups, lr=rate, betas=betas, fused=True)
        self.scaler = torch.amp.GradScaler(self.parameters[0].device.type, enabled=fp16)

    def clear(self) -> None:
        """Forget the gradients."""
        self.adam.zero_grad(set_to_none=True)

    def backward(self, loss: Tensor) -> None:
        """Back-propagate a scalar, adding to the gradients that there are."""
        self.scaler.scale(loss).backward()

    def update(self) -> None:
        """Take the step; the gradients stay until they are cleared, those of scaled losses now unscaled (by Adam)."""
        for parameter in self.frozen:
            parameter.grad = None
        self.scaler.step(self.adam)
        self.scaler.update()

    def set_rate(self, share: float) -> None:
        """Make the learning rate this share of its first value."""
        for group in self.adam.param_groups:
            group["lr"] = self.base_rate * share * group["share"]


def two_time_scale(settings: TrainingSettings) -> tuple[float, float, tuple[float, float]]:
    """The rates of the generator and of the discriminator, and Adam's betas (Heusel et al. 2017; Sec. 4)."""
    rate = settings.learning_rate
    return (rate / 2, rate * 2, (0.0, 0.9)) if settings.two_time_scale else (rate, rate, (0.5, 0.999))
