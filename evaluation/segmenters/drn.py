"""DRN-D-105 (Yu, Koltun and Funkhouser 2017): the Cityscapes segmenter of the SPADE paper.

Takes `drn-d-105_ms_cityscapes.pth` of fyu/drn (BSD-3), or a training checkpoint of it; the names of modules are those
of its keys.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torchvision.models.resnet import Bottleneck

from evaluation.segmenters.base import Prediction, Scales
from evaluation.segmenters.public import PublicSegmenter
from pipeline.errors import InputError
from pipeline.pretrained.state_dicts import fill, read_state_dict, sha256_of

CLASSES = """
road, sidewalk, building, wall, fence, pole, traffic light, traffic sign, vegetation, terrain, sky, person, rider, car,
truck, bus, train, motorcycle, bicycle
"""
"""The trainIds of Cityscapes."""


class DRN(PublicSegmenter):
    """Log-softmax at the size of the picture."""

    kind = "drn-d-105"
    classes = tuple(name.strip() for name in CLASSES.split(","))
    feature_dimensions = 512
    feature_name = "DRN-D-105 last convolution, mean over the picture, 512 dimensions"
    input_mean = (0.290101, 0.328081, 0.286964)
    input_std = (0.182954, 0.186566, 0.184475)
    scores_are = "log-probabilities"
    merging = "sum-log-softmax"

    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Sequential(
            _convolutions(3, 16, kernel=7),
            _convolutions(16, 16),
            _convolutions(16, 32, stride=2),
            _bottlenecks(3, 32, 64, stride=2),
            _bottlenecks(4, 256, 128, stride=2),
            _bottlenecks(23, 512, 256, dilation=2),
            _bottlenecks(3, 1024, 512, dilation=4),
            _convolutions(2048, 512, dilation=2),
            _convolutions(512, 512),
        )
        count = len(self.classes)
        self.seg = nn.Conv2d(512, count, 1)
        self.up = nn.ConvTranspose2d(count, count, 16, stride=8, padding=4, groups=count, bias=False)
        with torch.no_grad():
            self.up.weight.copy_(_bilinear_kernel(16))

    @classmethod
    def load(cls, path: Path) -> DRN:
        """From the public file; `InputError` for any other."""
        made = cls()
        fill(made, read_state_dict(path), source=f"segmenter weights {path}")
        made.sha256 = sha256_of(path)
        return made

    def forward(self, images: torch.Tensor, *, scales: Scales = "own") -> Prediction:
        """float `[N, 3, H, W]` in 0 to 255 to log-softmax; `InputError` where sides are no multiples of 8.

        The public network takes no others.
        """
        height, width = images.shape[-2:]
        if height % 8 or width % 8:
            raise InputError(f"drn-d-105 takes pictures whose sides are multiples of 8, not {width}x{height}")
        return Prediction(*self.from_input(self.normalise(images)))

    def from_input(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-softmax `[N, 19, H, W]` and features `[N, 512]` of the normalised input."""
        last = self.base(pixels)  # [N, 512, H / 8, W / 8]
        return self.up(self.seg(last)).log_softmax(1), last.mean((2, 3))


def _convolutions(
    channels: int, out_channels: int, *, kernel: int = 3, stride: int = 1, dilation: int = 1
) -> nn.Sequential:
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(channels, out_channels, kernel, stride, padding, dilation, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )


def _bottlenecks(blocks: int, channels: int, inner: int, *, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    shortcut = nn.Sequential(nn.Conv2d(channels, 4 * inner, 1, stride, bias=False), nn.BatchNorm2d(4 * inner))
    first = Bottleneck(channels, inner, stride, shortcut, dilation=dilation)
    return nn.Sequential(first, *(Bottleneck(4 * inner, inner, dilation=dilation) for _ in range(blocks - 1)))


def _bilinear_kernel(size: int) -> torch.Tensor:
    """`[size, size]`: the transposed convolution that enlarges size / 2 times, bilinear."""
    factor = (size + 1) // 2
    centre = (2 * factor - 1 - factor % 2) / (2 * factor)
    line = 1 - (torch.arange(size) / factor - centre).abs()
    return line[:, None] * line[None, :]
