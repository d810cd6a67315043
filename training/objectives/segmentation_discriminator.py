"""The segmentation-based discriminator of OASIS (Sushko et al., ICLR 2021, Sec. 3.1), with what it is taught.

It is given a picture alone, and says of every pixel which of the N classes it shows, or that it is fake. The label
map is not its input but its target, so that it has to look at every class, and the generator is told pixel by
pixel what is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.config import DiscriminatorSettings, Enlargement
from pipeline.labels import LabelSpace
from pipeline.networks.resampling import blur, enlarge
from pipeline.networks.spectral import settle_spectral_norm, spectral_norm
from pipeline.runtime.collectives import all_reduce
from pipeline.runtime.counter_based import uniforms

MAX_CHANNELS = 512
IGNORED = -1
"""The target of pixels that are in nobody's loss: don't-care, and what augmentation has hidden."""


class SegmentationDiscriminator(nn.Module):
    """A U-Net of residual blocks (Appendix of the paper): the resolution halves `layers` times and doubles again.

    Spectral normalisation of every convolution but the last; no other normalisation, so that pictures do not see
    one another.
    """

    score_maps = 1
    """How many maps of scores (`realness`) a picture gets."""

    def __init__(self, settings: DiscriminatorSettings, space: LabelSpace) -> None:
        super().__init__()
        self.space = space
        widths = [min(settings.channels * 2 ** (layer // 2), MAX_CHANNELS) for layer in range(settings.layers)]
        self.down = nn.ModuleList(
            ResidualBlock(before, after, blurs=settings.downsampling == "blur", activate=before != 3)
            for before, after in pairwise([3, *widths])
        )
        # Each doubling ends at the width of the encoder's map of that size, which is put beside it for the next.
        up = [*reversed(widths[:-1]), max(1, settings.channels // 2)]
        beside = [0, *reversed(widths[:-1])]
        self.up = nn.ModuleList(
            ResidualBlock(before + skip, after, enlargement=settings.enlargement)
            for before, skip, after in zip([widths[-1], *up[:-1]], beside, up, strict=True)
        )
        self.last = nn.Conv2d(up[-1], len(space.classes) + 1, 1)
        initialise(self)

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures `[N, 3, H, W]` in [-1, 1] to logits `[N, classes + 1, H, W]`, fake last."""
        x, maps = pictures, []
        for block in self.down:
            x = block(x)  # [N, width, H / 2^layer, W / 2^layer]
            maps.append(x)
        maps.pop()
        x = self.up[0](x)
        for block in list(self.up)[1:]:
            x = block(torch.cat([x, maps.pop()], dim=1))
        return self.last(F.leaky_relu(x, 0.2))


def initialise(network: nn.Module) -> None:
    """Glorot's normal initialisation of all convolutions, biases 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.xavier_normal_(module.weight)
            assert module.bias is not None
            nn.init.zeros_(module.bias)
    settle_spectral_norm(network)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a 1x1, at twice the resolution from then on, or, without `enlargement`, at half."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        enlargement: Enlargement | None = None,
        blurs: bool = False,
        activate: bool = True,
    ) -> None:
        super().__init__()
        self.enlargement, self.blurs, self.activate = enlargement, blurs, activate
        self.conv_0 = spectral_norm(nn.Conv2d(inputs, outputs, 3, padding=1))
        self.conv_1 = spectral_norm(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.shortcut = spectral_norm(nn.Conv2d(inputs, outputs, 1))

    def forward(self, x: Tensor) -> Tensor:
        """`[N, inputs, H, W]` to `[N, outputs, H / 2 or 2H, W / 2 or 2W]`; `activate` is off for the picture itself."""
        y = F.leaky_relu(x, 0.2) if self.activate else x
        if self.enlargement:
            y = enlarge(y, self.enlargement)
        y = self.conv_1(F.leaky_relu(self.conv_0(y), 0.2))
        # A 1x1 convolution and resampling may change places; it comes where there are fewer pixels.
        if self.enlargement:
            return y + enlarge(self.shortcut(x), self.enlargement)
        return self._halve(y) + self.shortcut(self._halve(x))

    def _halve(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(blur(x) if self.blurs else x, 2)


@dataclass(frozen=True)
class Targets:
    """What the discriminator should say of real pictures of some label maps, and how much each pixel counts."""

    classes: Tensor
    """int64 `[N, H, W]`: the class, or `IGNORED`."""
    weights: Tensor
    """float64 `[classes + 1]`: what a pixel of each class counts in the sum over the pixels; fake last."""

    def real_loss(self, logits: Tensor) -> Tensor:
        """Class-balanced cross-entropy of logits `[N, classes + 1, H, W]` with the classes, "it is real"; a scalar."""
        return self._cross_entropy(logits, self.classes)

    def fake_loss(self, logits: Tensor) -> Tensor:
        """The mean over the pixels that are not ignored of the cross-entropy with "this is fake"; a scalar.

        Logits are `[N, classes + 1, H, W]`.
        """
        fake = logits.shape[1] - 1
        return self._cross_entropy(logits, torch.where(self.classes == IGNORED, IGNORED, fake))

    def _cross_entropy(self, logits: Tensor, classes: Tensor) -> Tensor:
        weights = self.weights.to(logits.dtype)
        return F.cross_entropy(logits, classes, weight=weights, ignore_index=IGNORED, reduction="sum")


def balanced_targets(parts: Sequence[Tensor], space: LabelSpace, *, workers: int = 1) -> list[Targets]:
    """Targets for the parts of a batch, codes int32 `[N, H, W]` each; 0 where nothing is shown.

    Classes are balanced (Sec. 3.1: each pixel is weighted by the inverse frequency of its class), over all parts of the
    batches of all `workers`, and the weights are scaled so that the loss is the mean, over the classes that occur, of
    each class's mean. All workers must call this together.
    """
    count = len(space.classes)
    classes = [(codes.long() - 1) // 2 for codes in parts]
    classes = [torch.where((part >= 0) & (part < count), part, IGNORED) for part in classes]
    # Ignored pixels are counted in a bin of their own, which is dropped.
    pixels = torch.stack([torch.bincount(part.flatten() + 1, minlength=count + 1)[1:] for part in classes])
    pixels = pixels.sum(dim=0).double()  # [classes]
    if workers > 1:
        all_reduce(pixels)
    present = (pixels > 0).double()
    real = present / (pixels.clamp(min=1) * present.sum().clamp(min=1))
    fake = 1 / pixels.sum(dim=0, keepdim=True).clamp(min=1)
    # Gradients are averaged over workers and parts, whereas these sums should be added.
    weights = workers * len(parts) * torch.cat([real, fake])
    return [Targets(part, weights) for part in classes]


def label_mix_mask(codes: Tensor, seeds: Tensor, space: LabelSpace) -> Tensor:
    """Bool `[N, 1, H, W]`: real (True) or fake, one draw for each class of each picture (LabelMix, Sec. 3.1).

    So the borders between the two are borders of the label map. Codes int32 `[N, H, W]`, seeds int64 `[N]`.
    """
    real = uniforms(seeds, "label mix", space.class_channels) < 0.5  # [N, class channels]
    classes = ((codes.long() - 1) // 2).clamp(min=0)
    return real.gather(1, classes.flatten(1)).view(classes.shape).unsqueeze(1)


def realness(logits: Tensor) -> Tensor:
    """The log-odds of "not fake" at every pixel, `[N, C + 1, H, W]` to `[N, 1, H, W]`: what a patch score would be."""
    return torch.logsumexp(logits[:, :-1], dim=1, keepdim=True) - logits[:, -1:]
