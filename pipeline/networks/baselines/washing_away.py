"""How far apart a network's features are for label maps of one class each (SPADE, Sec. 3.2 and Fig. 3)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import nn

from pipeline.labels import LabelSpace
from pipeline.networks.normalise import InstanceNorm

Network = TypeVar("Network", bound=nn.Module)


def one_class_maps(space: LabelSpace, height: int, width: int) -> torch.Tensor:
    """Codes int32 `[classes, H, W]`: for each class a label map of nothing else, without instance edges."""
    codes = 1 + 2 * torch.arange(space.class_channels, dtype=torch.int32)
    return codes.view(-1, 1, 1).expand(-1, height, width).contiguous()


def spread(values: torch.Tensor) -> float:
    """`[classes, ...]`: the largest difference between two classes in any place."""
    return float((values.amax(dim=0) - values.amin(dim=0)).max())


@torch.no_grad()
def layer_spreads(
    network: nn.Module, codes: torch.Tensor, *, draw: Callable[[torch.Tensor], torch.Tensor] | None = None
) -> dict[str, float]:
    """The spread after every convolution and normalisation, in the order in which they run, then that of the pictures.

    The label maps, codes int32 `[classes, H, W]`, go through one by one, so that no batch statistics mix them. `draw`
    calls the network with a label map `[1, H, W]`; None: it takes nothing else.
    """
    outputs: dict[str, list[torch.Tensor]] = {}

    def keep(name: str) -> Callable[[nn.Module, object, torch.Tensor], None]:
        return lambda module, inputs, output: outputs.setdefault(name, []).append(output[0])

    watched = [(name, module) for name, module in network.named_modules() if _is_watched(name, module)]
    hooks = [module.register_forward_hook(keep(name)) for name, module in watched]
    pictures = [(draw or network)(each[None])[0] for each in codes]
    for hook in hooks:
        hook.remove()
    return {name: spread(torch.stack(values)) for name, values in {**outputs, "picture": pictures}.items()}


def with_plain_instance_norm(network: Network) -> Network:
    """A copy that computes instance norms as everybody does, whose rounding noise grows from layer to layer."""
    copied = copy.deepcopy(network)
    for module in copied.modules():
        for name, child in list(module.named_children()):
            if isinstance(child, InstanceNorm):
                setattr(module, name, PlainInstanceNorm())
    return copied


class PlainInstanceNorm(nn.Module):
    """The mean and variance of the features as they are."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[N, C, H, W]` to the same shape."""
        return F.instance_norm(x)


def _is_watched(name: str, module: nn.Module) -> bool:
    return isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)) or name.endswith(".norm")
