"""DeepLabV2 with ResNet-101 and three scales inside (Chen et al. 2018): the COCO-Stuff segmenter of the SPADE paper.

Takes `deeplabv2_resnet101_msc-cocostuff164k-100000.pth` of kazuto1011/deeplab-pytorch (MIT); the names of modules are
those of its keys.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from evaluation.segmenters.base import Prediction, Scales
from evaluation.segmenters.public import PublicSegmenter
from pipeline.datasets.coco_stuff import SPACE
from pipeline.pretrained.state_dicts import fill, read_state_dict, sha256_of

BLOCKS = (3, 4, 23, 3)
RATES = (6, 12, 18, 24)
"""Of the atrous convolutions of the head."""


class DeepLabV2(PublicSegmenter):
    """Logits at an eighth of the resolution: the element-wise maximum over the picture at 1, 0.5 and 0.75."""

    kind = "deeplabv2-resnet101"
    classes = SPACE.classes
    feature_dimensions = 2048
    feature_name = "DeepLabV2 last stage of ResNet-101, mean over the picture, 2048 dimensions"
    input_order = "BGR"
    input_range = 255.0
    input_mean = (104.008, 116.669, 122.675)
    scales = (1.0, 0.5, 0.75)
    merging = "max"

    def __init__(self) -> None:
        super().__init__()
        self.base = _Network(len(self.classes))

    @classmethod
    def load(cls, path: Path) -> DeepLabV2:
        """From the public file; `InputError` for any other."""
        made = cls()
        fill(made, read_state_dict(path), source=f"segmenter weights {path}")
        made.sha256 = sha256_of(path)
        return made

    def forward(self, images: torch.Tensor, *, scales: Scales = "own") -> Prediction:
        """float `[N, 3, H, W]` in 0 to 255."""
        return self.from_input(self.normalise(images), self.scales if scales == "own" else (1.0,))

    def from_input(self, pixels: torch.Tensor, scales: tuple[float, ...]) -> Prediction:
        """The same from the normalised input; `scales` begin with 1."""
        last, logits = self.base(pixels)  # [N, 2048, h, w], [N, 182, h, w]
        merged = logits
        for scale in scales[1:]:
            smaller = F.interpolate(pixels, scale_factor=scale, mode="bilinear", align_corners=False)
            other = F.interpolate(self.base(smaller)[1], size=logits.shape[-2:], mode="bilinear", align_corners=False)
            merged = torch.maximum(merged, other)
        return Prediction(scores=merged, features=last.mean((2, 3)))


class _Network(nn.Module):
    """One scale."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.layer1 = nn.Sequential(
            OrderedDict(conv1=_unit(3, 64, 7, stride=2), pool=nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True))
        )
        self.layer2 = _stage(BLOCKS[0], 64, 256, stride=1, dilation=1)
        self.layer3 = _stage(BLOCKS[1], 256, 512, stride=2, dilation=1)
        self.layer4 = _stage(BLOCKS[2], 512, 1024, stride=1, dilation=2)
        self.layer5 = _stage(BLOCKS[3], 1024, 2048, stride=1, dilation=4)
        self.aspp = nn.ModuleDict(
            {f"c{index}": nn.Conv2d(2048, classes, 3, padding=rate, dilation=rate) for index, rate in enumerate(RATES)}
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4, self.layer5):
            x = stage(x)
        return x, torch.stack([branch(x) for branch in self.aspp.values()]).sum(0)


class _Block(nn.Module):
    """A bottleneck; as in Caffe's ResNet, its first convolution strides."""

    def __init__(self, channels: int, out_channels: int, *, stride: int, dilation: int, shortcut: bool) -> None:
        super().__init__()
        inner = out_channels // 4
        self.reduce = _unit(channels, inner, 1, stride=stride)
        self.conv3x3 = _unit(inner, inner, 3, dilation=dilation)
        self.increase = _unit(inner, out_channels, 1, relu=False)
        self.shortcut = _unit(channels, out_channels, 1, stride=stride, relu=False) if shortcut else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.increase(self.conv3x3(self.reduce(x))) + self.shortcut(x))


def _stage(blocks: int, channels: int, out_channels: int, *, stride: int, dilation: int) -> nn.Sequential:
    first = _Block(channels, out_channels, stride=stride, dilation=dilation, shortcut=True)
    rest = [_Block(out_channels, out_channels, stride=1, dilation=dilation, shortcut=False) for _ in range(blocks - 1)]
    return nn.Sequential(OrderedDict((f"block{index}", block) for index, block in enumerate([first, *rest], start=1)))


def _unit(
    channels: int, out_channels: int, kernel: int, *, stride: int = 1, dilation: int = 1, relu: bool = True
) -> nn.Sequential:
    padding = dilation * (kernel // 2)
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv=nn.Conv2d(channels, out_channels, kernel, stride, padding, dilation, bias=False),
        bn=nn.BatchNorm2d(out_channels),
    )
    if relu:
        layers["relu"] = nn.ReLU()
    return nn.Sequential(layers)
