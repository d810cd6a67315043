"""FID's Inception network, from a local weights file, behind the resizing of the public tool that is asked for.

A Frechet distance is an FID only on these features. Two forms of the weights are public: a state dict
(`pt_inception-2015-12-05-6726825d.pth` of pytorch-fid, or torch-fidelity's `weights-inception-...`), and the
TorchScript archive `inception-2015-12-05.pt` that clean-fid uses. Which tool's numbers come out depends on the
resizing, which differs most on wide pictures.
"""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torchvision.models.inception import (
    BasicConv2d,
    Inception3,
    InceptionA,
    InceptionAux,
    InceptionB,
    InceptionC,
    InceptionD,
    InceptionE,
)

from pipeline.errors import InputError
from pipeline.pretrained.state_dicts import fill, read_state_dict, sha256_of

FidResizer = Literal["pytorch-fid", "clean-fid", "torch-fidelity"]
"""Whose resizing to 299x299 goes before Inception."""

SIDE = 299
"""Pixels of the network's input."""


class Inception:
    """Pictures to the 2048 features of the last pooling."""

    dimensions = 2048

    def __init__(self, network: nn.Module, *, device: torch.device | str = "cpu") -> None:
        """`network` takes float `[N, 3, 299, 299]` in -1 to 1 to `[N, 2048]`."""
        self.network = network.eval().to(device)
        self.device = torch.device(device)
        # Two thirds of the time on CPUs. The TorchScript archive stays what it is.
        fast = self.device.type == "cpu" and isinstance(network, FIDInception3)
        self.layout = torch.channels_last if fast else torch.contiguous_format
        if fast:
            self.network.to(memory_format=self.layout)
        self.sha256: str | None = None

    @classmethod
    def load(cls, path: Path, *, device: torch.device | str = "cpu") -> Inception:
        """Read either public form; `InputError` for anything else."""
        network = _Scripted.load(path) if _is_torchscript(path) else FIDInception3()
        if isinstance(network, FIDInception3):
            fill(network, read_state_dict(path), source=f"Inception weights {path}")
        generated = cls(network, device=device)
        generated.sha256 = sha256_of(path)
        return generated

    @torch.inference_mode()
    def __call__(self, images: Sequence[np.ndarray], *, resizer: FidResizer = "pytorch-fid") -> np.ndarray:
        """uint8 RGB `[H, W, 3]` each, of any sizes, to float32 `[N, 2048]`."""
        pixels = torch.stack([resize(image, resizer) for image in images])
        pixels = pixels.to(self.device, memory_format=self.layout)
        return self.network(pixels).float().cpu().numpy()


def resize(image: np.ndarray, resizer: FidResizer) -> torch.Tensor:
    """uint8 `[H, W, 3]` to the network's input, float32 `[3, 299, 299]`, as a public tool does it.

    pytorch-fid: bilinear without antialiasing, 0 to 255 becomes -1 to 1. clean-fid: Pillow's bicubic (antialiased) on
    floats, without rounding back to integers, then (x - 128) / 128. torch-fidelity: the bilinear resizing of
    TensorFlow 1, which does not centre its samples, then (x - 128) / 128.
    """
    match resizer:
        case "pytorch-fid":
            pixels = torch.from_numpy(image).permute(2, 0, 1).float() / 255
            pixels = F.interpolate(pixels.unsqueeze(0), size=(SIDE, SIDE), mode="bilinear", align_corners=False)
            return 2 * pixels.squeeze(0) - 1
        case "clean-fid":
            planes = [Image.fromarray(image[..., channel].astype(np.float32)) for channel in range(3)]
            resized = [np.asarray(plane.resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for plane in planes]
            return (torch.from_numpy(np.stack(resized)).clamp(0, 255) - 128) / 128
        case "torch-fidelity":
            return (_tensorflow_bilinear(torch.from_numpy(image).permute(2, 0, 1).float()) - 128) / 128


def _tensorflow_bilinear(image: torch.Tensor) -> torch.Tensor:
    """`[3, H, W]` to `[3, 299, 299]`: output pixel i samples at i * size / 299, with nothing beyond the last pixel."""
    for axis in (1, 2):
        size = image.shape[axis]
        position = torch.arange(SIDE, dtype=torch.float32) * (size / SIDE)
        low = position.floor().long().clamp(max=size - 1)
        high = (low + 1).clamp(max=size - 1)
        share = (position - low).view(-1, *[1] * (2 - axis))
        below, above = image.index_select(axis, low), image.index_select(axis, high)
        image = below + (above - below) * share
    return image


class FIDInception3(Inception3):
    """torchvision's Inception v3 with what differs in TensorFlow's network of 2015: 1008 outputs and other pooling."""

    def __init__(self) -> None:
        blocks = [BasicConv2d, _AverageA, InceptionB, _AverageC, InceptionD, _last_block, InceptionAux]
        super().__init__(num_classes=1008, aux_logits=False, inception_blocks=blocks, init_weights=False)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """float `[N, 3, 299, 299]` in -1 to 1 to the pooled features `[N, 2048]`."""
        for name, layer in self.named_children():
            if name in ("dropout", "fc"):
                break
            pixels = layer(pixels)
        return pixels.flatten(1)


class _AverageA(InceptionA):
    def _forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [*super()._forward(x)[:-1], self.branch_pool(_average_inside(x))]


class _AverageC(InceptionC):
    def _forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [*super()._forward(x)[:-1], self.branch_pool(_average_inside(x))]


class _AverageE(InceptionE):
    def _forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [*super()._forward(x)[:-1], self.branch_pool(_average_inside(x))]


class _MaximumE(InceptionE):
    def _forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        maximum = F.max_pool2d(x, kernel_size=3, stride=1, padding=1)
        return [*super()._forward(x)[:-1], self.branch_pool(maximum)]


def _last_block(channels: int) -> InceptionE:
    """The first of the two last blocks averages, the second takes the maximum."""
    return _AverageE(channels) if channels == 1280 else _MaximumE(channels)


def _average_inside(x: torch.Tensor) -> torch.Tensor:
    """3x3 means over the pixels inside the map; torchvision counts the zeros of the padding too."""
    return F.avg_pool2d(x, kernel_size=3, stride=1, padding=1, count_include_pad=False)


class _Scripted(nn.Module):
    """The TorchScript archive; its `layers` are the network up to the features."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    @classmethod
    def load(cls, path: Path) -> _Scripted:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # TorchScript is to go; the public file is what it is.
                return cls(torch.jit.load(path, map_location="cpu").layers)
        except (RuntimeError, AttributeError, ValueError) as error:
            reason = str(error).strip().split("\n")[0][:200]
            raise InputError(f"Inception weights {path} are no TorchScript Inception ({reason})") from None

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.layers(pixels).flatten(1)


def _is_torchscript(path: Path) -> bool:
    if not path.is_file():
        raise InputError(f"Inception weights {path} do not exist")
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())
