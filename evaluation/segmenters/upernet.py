"""UPerNet with ResNet-101 (Xiao et al. 2018): the ADE20K segmenter of the SPADE paper.

Takes the two files of CSAILVision/semantic-segmentation-pytorch (BSD-3), encoder and decoder; the names of modules are
those of their keys. The older `baseline-*` weights were trained on other input (`upernet-resnet101-baseline`).
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.resnet import Bottleneck

from evaluation.segmenters.base import Prediction, Scales
from evaluation.segmenters.public import PublicSegmenter
from pipeline.datasets.ade20k import SPACE
from pipeline.errors import InputError
from pipeline.pretrained.state_dicts import fill, read_state_dict, sha256_of

SHORT_SIDES = (300, 375, 450, 525, 600)
LONGEST_SIDE = 1000
MULTIPLE = 32
"""To which each side is rounded up."""

IGNORED = ("_tmp_running_mean", "_tmp_running_var", "_running_iter")
"""Left over in the public files from synchronised batch normalisation."""


class UPerNet(PublicSegmenter):
    """Probabilities at the size of the picture: the mean of the softmax over five sizes of it."""

    kind = "upernet-resnet101"
    classes = SPACE.classes
    feature_dimensions = 2048
    feature_name = "UPerNet last stage of ResNet-101, mean over the picture and sizes, 2048 dimensions"
    input_mean = (0.485, 0.456, 0.406)
    input_std = (0.229, 0.224, 0.225)
    scores_are = "probabilities"
    merging = "mean-softmax"

    def __init__(self, short_sides: tuple[int, ...] = SHORT_SIDES) -> None:
        super().__init__()
        self.short_sides = short_sides
        self.encoder = _Encoder()
        self.decoder = _Decoder(len(self.classes))

    @classmethod
    def load(cls, path: Path) -> UPerNet:
        """From a folder with one file `encoder*` and one `decoder*`; `InputError` for anything else."""
        made = cls()
        files = [_one_file(path, part) for part in ("encoder", "decoder")]
        for network, file in zip((made.encoder, made.decoder), files, strict=True):
            fill(network, read_state_dict(file), source=f"segmenter weights {file}", ignore=IGNORED)
        made.sha256 = sha256_of(*files)
        return made

    def own_scales(self, height: int, width: int) -> tuple[float, ...]:
        """See `Segmenter.own_scales`."""
        return tuple(side / min(height, width) for side in self.short_sides)

    def describe(self) -> dict:
        """See `Segmenter.describe`."""
        return {**super().describe(), "scales": None, "short_sides": list(self.short_sides), "multiple": MULTIPLE}

    def forward(self, images: torch.Tensor, *, scales: Scales = "own") -> Prediction:
        """float `[N, 3, H, W]` in 0 to 255."""
        height, width = images.shape[-2:]
        parts = []
        for side in self.short_sides if scales == "own" else (min(height, width),):
            size = _input_size(height, width, side)
            # Pillow's bilinear resizing, rounding included.
            seen = F.interpolate(images, size=size, mode="bilinear", antialias=True, align_corners=False).round()
            parts.append(self.from_input(self.normalise(seen), (height, width)))
        return Prediction(
            scores=torch.stack([scores for scores, _ in parts]).mean(0),
            features=torch.stack([features for _, features in parts]).mean(0),
        )

    def from_input(self, pixels: torch.Tensor, size: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Softmax `[N, 150, *size]` and features `[N, 2048]` of the normalised input."""
        maps = self.encoder(pixels)
        logits = F.interpolate(self.decoder(maps), size=size, mode="bilinear", align_corners=False)
        return logits.softmax(1), maps[-1].mean((2, 3))


class UPerNetBaseline(UPerNet):
    """The same network with the older weights, `baseline-resnet101-upernet`."""

    kind = "upernet-resnet101-baseline"
    input_order = "BGR"
    input_range = 255.0
    input_mean = (102.9801, 115.9465, 122.7717)
    input_std = (1.0, 1.0, 1.0)


class _Encoder(nn.Module):
    """ResNet-101 with a stem of three convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(64)
        self.conv2, self.bn2 = nn.Conv2d(64, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64)
        self.conv3, self.bn3 = nn.Conv2d(64, 128, 3, padding=1, bias=False), nn.BatchNorm2d(128)
        self.layer1 = _bottlenecks(3, 128, 64, stride=1)
        self.layer2 = _bottlenecks(4, 256, 128, stride=2)
        self.layer3 = _bottlenecks(23, 512, 256, stride=2)
        self.layer4 = _bottlenecks(3, 1024, 512, stride=2)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The maps of the four stages, from a quarter to a 32nd of the resolution."""
        for convolution, normalise in ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)):
            x = F.relu(normalise(convolution(x)))
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        maps = []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            maps.append(x)
        return maps


class _Decoder(nn.Module):
    """Pyramid pooling on the last map, then a feature pyramid over all four (Fig. 4 of the paper)."""

    def __init__(self, classes: int, channels: tuple[int, ...] = (256, 512, 1024, 2048), width: int = 512) -> None:
        super().__init__()
        self.pool_sizes = (1, 2, 3, 6)
        self.ppm_conv = nn.ModuleList(_unit(channels[-1], 512, 1) for _ in self.pool_sizes)
        self.ppm_last_conv = _unit(channels[-1] + 512 * len(self.pool_sizes), width, 3)
        self.fpn_in = nn.ModuleList(_unit(count, width, 1) for count in channels[:-1])
        self.fpn_out = nn.ModuleList(nn.Sequential(_unit(width, width, 3)) for _ in channels[:-1])
        self.conv_last = nn.Sequential(_unit(width * len(channels), width, 3), nn.Conv2d(width, classes, 1))

    def forward(self, maps: list[torch.Tensor]) -> torch.Tensor:
        """Logits `[N, classes, h, w]` at the size of the first map."""
        last = maps[-1]
        pooled = [last]
        for size, convolution in zip(self.pool_sizes, self.ppm_conv, strict=True):
            pooled.append(convolution(_resize(F.adaptive_avg_pool2d(last, size), last.shape[-2:])))
        top = self.ppm_last_conv(torch.cat(pooled, 1))
        pyramid = [top]
        for index in reversed(range(len(maps) - 1)):
            side = self.fpn_in[index](maps[index])
            top = side + _resize(top, side.shape[-2:])
            pyramid.insert(0, self.fpn_out[index](top))
        size = pyramid[0].shape[-2:]
        return self.conv_last(torch.cat([pyramid[0], *(_resize(level, size) for level in pyramid[1:])], 1))


def _resize(x: torch.Tensor, size: torch.Size) -> torch.Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def _unit(channels: int, out_channels: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, out_channels, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )


def _bottlenecks(blocks: int, channels: int, inner: int, *, stride: int) -> nn.Sequential:
    shortcut = nn.Sequential(nn.Conv2d(channels, 4 * inner, 1, stride, bias=False), nn.BatchNorm2d(4 * inner))
    first = Bottleneck(channels, inner, stride, shortcut)
    return nn.Sequential(first, *(Bottleneck(4 * inner, inner) for _ in range(blocks - 1)))


def _input_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """Height and width for one size: the short side (unless the long one grows too long), rounded up.

    >>> [_input_size(256, 256, side)[0] for side in SHORT_SIDES]
    [320, 384, 480, 544, 608]
    """
    scale = min(short_side / min(height, width), LONGEST_SIDE / max(height, width))
    rows, columns = (-(-int(side * scale) // MULTIPLE) * MULTIPLE for side in (height, width))
    return rows, columns


def _one_file(folder: Path, part: str) -> Path:
    if not folder.is_dir():
        raise InputError(f"UPerNet's weights are two files; {folder} is no folder with encoder_*.pth and decoder_*.pth")
    found = sorted(file for file in folder.iterdir() if file.name.startswith(part))
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise InputError(f"folder {folder} must have one file whose name begins with '{part}'; it has {names}")
    return found[0]
