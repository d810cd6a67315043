"""Spectral normalisation (Miyato et al., ICLR 2018): weights divided by an estimate of their largest singular value."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrize

EPSILON = 1e-12

Layer = TypeVar("Layer", nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
Network = TypeVar("Network", bound=nn.Module)


class SpectralNorm(nn.Module):
    """A parametrisation: the weight `[outputs, ...]` divided by u^T W v, whose gradient flows through W only.

    PyTorch's own parametrisation updates u before v, and so stays half an iteration behind the older hook with which
    the public SPADE code was trained. Here v comes first: the same numbers, under PyTorch's names.

    `outputs` is the dimension of the weight that its outputs lie along: 1 for transposed convolutions, else 0.
    """

    _u: torch.Tensor
    _v: torch.Tensor

    def __init__(self, weight: torch.Tensor, outputs: int = 0) -> None:
        super().__init__()
        self.outputs = outputs
        matrix = self._matrix(weight.detach())
        self.register_buffer("_u", F.normalize(torch.randn_like(matrix[:, 0]), dim=0, eps=EPSILON))
        self.register_buffer("_v", F.normalize(torch.randn_like(matrix[0]), dim=0, eps=EPSILON))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """The normalised weight, `[outputs, ...]` as `weight`; in training after one power iteration."""
        matrix = self._matrix(weight)
        if self.training:
            self.iterate(weight.detach())
        # Cloned, because the next pass changes them in place, perhaps before this one is back-propagated.
        sigma = torch.vdot(self._u.clone(), torch.mv(matrix, self._v.clone()))
        return weight / sigma

    def right_inverse(self, value: torch.Tensor) -> torch.Tensor:
        """The raw weight that assigning one sets: `value` `[outputs, ...]` itself."""
        return value

    @torch.no_grad()
    def iterate(self, weight: torch.Tensor) -> None:
        """One power iteration on the weight: v first, then u."""
        matrix = self._matrix(weight)
        self._v.copy_(F.normalize(torch.mv(matrix.t(), self._u), dim=0, eps=EPSILON))
        self._u.copy_(F.normalize(torch.mv(matrix, self._v), dim=0, eps=EPSILON))

    def _matrix(self, weight: torch.Tensor) -> torch.Tensor:
        """`[outputs, inputs]`."""
        return weight.transpose(0, self.outputs).flatten(1)


def spectral_norm(module: Layer) -> Layer:
    """Wrap a convolution or linear layer; one power iteration for each forward pass in training, none in evaluation."""
    assert isinstance(module.weight, torch.Tensor)
    outputs = 1 if isinstance(module, nn.ConvTranspose2d) else 0
    parametrize.register_parametrization(module, "weight", SpectralNorm(module.weight, outputs))
    return module


@contextmanager
def still_spectral_norm(*networks: nn.Module) -> Iterator[None]:
    """No power iterations inside the `with` block: passes see the weights that the one before it saw."""
    moving = [part for net in networks for part in net.modules() if isinstance(part, SpectralNorm) and part.training]
    for part in moving:
        part.training = False
    try:
        yield
    finally:
        for part in moving:
            part.training = True


@torch.no_grad()
def settle_spectral_norm(network: nn.Module, iterations: int = 15) -> None:
    """Bring the estimates up to weights that have just been set, so that a network works before it is trained."""
    for module in network.modules():
        if parametrize.is_parametrized(module, "weight"):
            weight = cast(parametrize.ParametrizationList, cast(nn.ModuleDict, module.parametrizations)["weight"])
            if weight.original.is_meta:  # without numbers there is nothing to settle, and it takes long
                continue
            for _ in range(iterations):
                cast(SpectralNorm, weight[0]).iterate(weight.original)


@torch.no_grad()
def fold_spectral_norm(network: Network) -> Network:
    """Replace, in place, convolutions with spectral norm by plain ones with their present weight; evaluation mode only.

    Not with PyTorch's `remove_parametrizations`: that takes the weight from the module's class, which deep copies
    share, and so breaks the network that this one was copied from.
    """
    assert not network.training, "the value of a weight in training depends on the next power iteration"
    for parent in list(network.modules()):
        for name, module in list(parent.named_children()):
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)) and parametrize.is_parametrized(module, "weight"):
                setattr(parent, name, _plain(module))
    return network


def _plain(conv: nn.Conv2d | nn.ConvTranspose2d) -> nn.Module:
    """The same convolution without the parametrisation, whose class is one of its own."""
    kind = nn.ConvTranspose2d if isinstance(conv, nn.ConvTranspose2d) else nn.Conv2d
    names = ["kernel_size", "stride", "padding", "padding_mode"]
    names += ["output_padding"] if kind is nn.ConvTranspose2d else []
    shape: dict[str, Any] = {name: getattr(conv, name) for name in names}
    plain: Any = kind(conv.in_channels, conv.out_channels, **shape, bias=conv.bias is not None)
    plain.weight = nn.Parameter(conv.weight.detach().clone())
    if conv.bias is not None:
        plain.bias = nn.Parameter(conv.bias.detach().clone())
    return plain.eval()
