"""The multi-scale patch discriminator (Appendix A of the SPADE paper, after pix2pixHD), with its features."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.config import DiscriminatorSettings
from pipeline.labels import LabelSpace
from pipeline.networks.resampling import blur
from pipeline.networks.spectral import settle_spectral_norm, spectral_norm
from training.objectives.label_planes import LabelPlanes, label_pyramid

MAX_CHANNELS = 512
KERNEL, STRIDE, PADDING = 4, 2, 2

DETAIL_LAYERS, DETAIL_GAIN = 3, 16.0
"""Of the copy that sees detail only: convolutions before the last, and the gain by which 8 grey levels become 0.76."""

Features = list[list[Tensor]]
"""`features[scale][layer]`, float `[N, C, h, w]`, after the activation; the last layer holds the patch scores."""


class PatchDiscriminator(nn.Module):
    """One scale: a stack of 4x4 convolutions that scores overlapping patches of a label map and its picture."""

    def __init__(self, settings: DiscriminatorSettings, label_channels: int) -> None:
        super().__init__()
        self.label_channels = label_channels
        widths = [min(settings.channels * 2**layer, MAX_CHANNELS) for layer in range(settings.layers)]
        strides = [STRIDE] * (settings.layers - 2) + [1]
        self.blurs = [settings.downsampling == "blur" and stride > 1 for stride in [STRIDE, *strides]]
        self.first = _convolution(label_channels + 3, widths[0], STRIDE)
        self.middle = nn.ModuleList(
            _middle(before, width, stride, spectral=settings.spectral)
            for before, width, stride in zip(widths[:-1], widths[1:], strides, strict=True)
        )
        self.last = _convolution(widths[-1], 1, stride=1)

    def forward(self, labels: LabelPlanes, pictures: Tensor, *, dense: bool = False) -> list[Tensor]:
        """Features of all layers for `pictures` `[k * N, 3, h, w]`, k for each of the N label maps.

        `dense` convolves the concatenated one-hot tensor as the paper writes it: the same numbers, slower.
        The label map, which is the same for real and fake, is not blurred.
        """
        copies = len(pictures) // len(labels.index)
        pictures = blur(pictures) if self.blurs[0] else pictures
        if dense:
            x = self.first(torch.cat([labels.dense().to(pictures.dtype).repeat(copies, 1, 1, 1), pictures], dim=1))
        else:
            of_labels, of_pictures = self.first.weight.split([self.label_channels, 3], dim=1)
            x = F.conv2d(pictures, of_pictures, self.first.bias, STRIDE, PADDING)
            # The same label map goes with the fake and the real picture, so its part is computed once.
            x = (x.unflatten(0, (copies, -1)) + labels.convolve(of_labels).to(x.dtype)).flatten(0, 1)
        features = [F.leaky_relu(x, 0.2)]  # [k * N, channels, h/2 + 1, w/2 + 1]
        for convolution, blurs in zip(self.middle, self.blurs[1:], strict=True):
            x = blur(features[-1]) if blurs else features[-1]
            features.append(F.leaky_relu(F.instance_norm(convolution(x)), 0.2))
        features.append(self.last(features[-1]))
        return features


class Discriminator(nn.Module):
    """Copies of the patch discriminator, each looking at half the resolution of the one before."""

    def __init__(self, settings: DiscriminatorSettings, space: LabelSpace) -> None:
        super().__init__()
        self.space = space
        self.scales = nn.ModuleList(PatchDiscriminator(settings, space.channels) for _ in range(settings.scales))
        self.detail = detail_copy(settings, space) if settings.detail else None
        settle_spectral_norm(self)

    @property
    def score_maps(self) -> int:
        """How many maps of scores a picture gets."""
        return len(self.scales) + (self.detail is not None)

    def planes(self, codes: Tensor) -> list[LabelPlanes]:
        """What `forward` needs to know of the label maps, codes int32 `[N, H, W]`; the weights do not matter to it."""
        return label_pyramid(codes, self.space, scales=len(self.scales), kernel=KERNEL, stride=STRIDE, padding=PADDING)

    def forward(self, labels: Tensor | list[LabelPlanes], pictures: Tensor, *, dense: bool = False) -> Features:
        """Features of pictures `[k * N, 3, H, W]` in [-1, 1]: k of each of the N label maps, all maps once, then again.

        Of the copy that sees detail, which comes last, only the scores.

        `labels` are codes int32 `[N, H, W]`, or the `planes` of them where several passes share the label maps.
        """
        planes = self.planes(labels) if isinstance(labels, Tensor) else labels
        features = []
        finest = [self.detail(planes[0], finest_detail(pictures), dense=dense)[-1]] if self.detail else []
        for scale, discriminator in enumerate(self.scales):
            if scale:
                pictures = F.avg_pool2d(pictures, 3, stride=2, padding=1, count_include_pad=False)
            features.append(discriminator(planes[scale], pictures, dense=dense))
        return [*features, finest] if finest else features


def detail_copy(settings: DiscriminatorSettings, space: LabelSpace) -> PatchDiscriminator:
    """The patch discriminator that is given the `finest_detail` of pictures, with fresh weights."""
    layers = min(settings.layers, DETAIL_LAYERS)
    return PatchDiscriminator(settings.model_copy(update={"layers": layers}), space.channels)


def finest_detail(pictures: Tensor) -> Tensor:
    """`pictures` `[N, 3, H, W]` in [-1, 1] without their blur, `[N, 3, H, W]` in (-1, 1): faint grain is amplified, and
    edges, which are much stronger, are limited.

    >>> flat, step = torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)
    >>> step[..., 2:] = 1.0
    >>> float(finest_detail(flat).abs().max()), [round(float(value), 2) for value in finest_detail(step)[0, 0, 0]]
    (0.0, [0.0, -1.0, 1.0, 0.0])
    """
    return torch.tanh(DETAIL_GAIN * (pictures - blur(pictures)))


def _middle(before: int, after: int, stride: int, *, spectral: bool) -> nn.Conv2d:
    # No bias: the instance normalisation that follows would take it away again.
    convolution = _convolution(before, after, stride, bias=False)
    return spectral_norm(convolution) if spectral else convolution


def _convolution(before: int, after: int, stride: int, *, bias: bool = True) -> nn.Conv2d:
    """A 4x4 convolution with Glorot's initial weights (Sec. 4) at the small gain that pix2pix began with."""
    convolution = nn.Conv2d(before, after, KERNEL, stride, PADDING, bias=bias)
    nn.init.xavier_normal_(convolution.weight, gain=0.02)
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    return convolution
