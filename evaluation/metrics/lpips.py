"""LPIPS, a learned distance of pictures (Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual
Metric", CVPR 2018), in its version 0.1.

The trunk is one of torchvision's ImageNet classifiers, from a local file (AlexNet, VGG16 or SqueezeNet 1.1, told apart
by their keys); the linear layers are the authors' (BSD-2-Clause), as torchmetrics ships them.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models import alexnet, squeezenet1_1, vgg16

from pipeline.errors import InputError
from pipeline.pretrained.state_dicts import fill, read_state_dict, sha256_of

SMALLEST_SIDE = 32
"""Pixels; of a smaller picture the last layers would have nothing left."""


@dataclass(frozen=True)
class Trunk:
    """A classifier whose features are compared."""

    title: str
    build: Callable[..., nn.Module]
    taps: tuple[int, ...]
    """The features are those after so many layers of the classifier's `features`."""


TRUNKS = {
    "alex": Trunk("AlexNet", alexnet, (2, 5, 8, 10, 12)),
    "vgg": Trunk("VGG16", vgg16, (4, 9, 16, 23, 30)),
    "squeeze": Trunk("SqueezeNet 1.1", squeezenet1_1, (2, 5, 8, 10, 11, 12, 13)),
}
"""By the name of the file of linear layers."""


class LPIPS(nn.Module):
    """Distances within a group of pictures; 0 for equal ones, about 0.5 to 0.8 for unrelated photographs."""

    shift: Tensor
    scale: Tensor

    def __init__(self, features: nn.Sequential, linear: Sequence[Tensor], trunk: Trunk) -> None:
        """`features` are the classifier's, `linear` the weights of the channels, `[C]` for each tap."""
        super().__init__()
        self.title = f"LPIPS ({trunk.title})"
        self.sha256: str | None = None
        self.stages = nn.ModuleList(features[start:stop] for start, stop in pairwise((0, *trunk.taps)))
        for index, weights in enumerate(linear):
            self.register_buffer(f"linear{index}", weights.view(-1, 1, 1), persistent=False)
        # ImageNet's mean and standard deviation, for pictures in -1 to 1.
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(3, 1, 1), persistent=False)

    @classmethod
    def load(cls, path: Path, *, device: torch.device | str = "cpu") -> LPIPS:
        """With the trunk of torchvision's file at `path`; `InputError` for any other file."""
        state = {key: value for key, value in read_state_dict(path).items() if key.startswith("features.")}
        name, network = _recognise(path, state)
        fill(network, state, source=f"LPIPS weights {path}")
        linear = linear_layers(name)
        generated = cls(
            network.features, [linear[f"lin{index}.model.1.weight"] for index in range(len(linear))], TRUNKS[name]
        )
        generated.sha256 = sha256_of(path)
        return generated.eval().requires_grad_(False).to(device)

    def forward(self, images: Tensor) -> Tensor:
        """Pictures float `[K, 3, H, W]` in 0 to 255 to the distances of all pairs `[K, K]`."""
        count = len(images)
        distances = images.new_zeros(count, count)
        x = (images / 127.5 - 1 - self.shift) / self.scale  # [K, 3, H, W]
        for index, stage in enumerate(self.stages):
            x = stage(x)  # [K, C, h, w]
            unit = x / (x.norm(dim=1, keepdim=True) + 1e-10)
            for one in range(count - 1):
                squares = (unit[one + 1 :] - unit[one]) ** 2
                distances[one, one + 1 :] += (squares * self.get_buffer(f"linear{index}")).sum(1).mean((1, 2))
        return distances + distances.T

    @torch.inference_mode()
    def spread(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Of K pictures of one size, uint8 `[H, W, 3]`: each one's mean distance to the others, float32 `[K]`.

        The mean of these is the mean over all pairs. NaN for a single picture. Raises `InputError` for pictures that
        are smaller than the trunk can take.
        """
        if len(images) < 2:
            return np.full(len(images), np.nan, np.float32)
        height, width = images[0].shape[:2]
        if min(height, width) < SMALLEST_SIDE:
            raise InputError(f"LPIPS takes pictures of {SMALLEST_SIDE} pixels a side or more, not {width}x{height}")
        pixels = torch.from_numpy(np.stack(images)).to(self.shift.device).permute(0, 3, 1, 2).float()
        return (self(pixels).sum(1) / (len(images) - 1)).cpu().numpy()


def linear_layers(name: str) -> Mapping[str, Tensor]:
    """The published weights of the channels for a trunk, each `[1, C, 1, 1]`, from the installed torchmetrics."""
    package = importlib.util.find_spec("torchmetrics")
    assert package is not None
    assert package.origin is not None
    return read_state_dict(Path(package.origin).parent / "functional" / "image" / "lpips_models" / f"{name}.pth")


def _recognise(path: Path, state: Mapping[str, Tensor]) -> tuple[str, _Features]:
    """Which trunk has these keys, and its network without weights."""
    for name, trunk in TRUNKS.items():
        with torch.device("meta"):  # its classifier of half a gigabyte is never allocated
            network = _Features(trunk.build(weights=None))
        if network.state_dict().keys() == state.keys():
            return name, network.to_empty(device="cpu")
    titles = ", ".join(trunk.title for trunk in TRUNKS.values())
    raise InputError(f"LPIPS weights {path} are of none of torchvision's {titles}")


class _Features(nn.Module):
    """A classifier without its head."""

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        features = classifier.features
        assert isinstance(features, nn.Sequential)
        self.features = features
