"""Initial weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from pipeline.networks.spectral import settle_spectral_norm

_filled_later: ContextVar[bool] = ContextVar("filled_later", default=False)
_DRAWS = (nn.init.kaiming_uniform_, nn.init.uniform_, nn.init.normal_, torch.Tensor.uniform_, torch.Tensor.normal_)


class _NoDraws(TorchFunctionMode):
    """Tensors that PyTorch's layers would fill with random numbers stay as they are."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        return (args[0] if args else kwargs["tensor"]) if func in _DRAWS else func(*args, **kwargs)


@contextmanager
def filled_later() -> Iterator[None]:
    """Networks that are built in this `with` block get no initial weights, which a file has for all of them.

    To draw a hundred million numbers and to settle their spectral norm takes longer than to read them.
    """
    token = _filled_later.set(True)
    try:
        with _NoDraws():
            yield
    finally:
        _filled_later.reset(token)


def initialise(network: nn.Module, draw: Callable[[torch.Tensor], object]) -> None:
    """`draw` sets every weight in place; biases, shifts and the scales of noise become 0, scales of a norm 1."""
    if _filled_later.get():
        return
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
    if _filled_later.get():
        return
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(module.weight, 0.0, 0.02)
