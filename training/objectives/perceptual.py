"""The perceptual loss: L1 between the features of a frozen network (Johnson et al. 2016)."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.pretrained.backbones import content_sha256
from pipeline.pretrained.state_dicts import fill, read_state_dict
from training.objectives.trunk import Trunk

log = logging.getLogger(__name__)

# (layers of torchvision's vgg19().features up to and with this ReLU, weight): relu1_1, 2_1, 3_1, 4_1, 5_1.
TAPS = ((2, 1 / 32), (7, 1 / 16), (12, 1 / 8), (21, 1 / 4), (30, 1.0))


class PerceptualLoss(nn.Module):
    """Distance of two pictures in the feature maps of a trunk."""

    def __init__(self, trunk: Trunk, weights: Sequence[float]) -> None:
        """A weight for each stage of the trunk."""
        super().__init__()
        self.trunk, self.weights = trunk, weights

    def forward(self, fake: Tensor, real: Tensor) -> Tensor:
        """The weighted sum of L1 distances; pictures `[N, 3, H, W]` in [-1, 1], gradients to `fake` only."""
        with torch.no_grad():
            wanted = self.trunk(real)
        pairs = zip(self.trunk(fake), wanted, self.weights, strict=True)
        return torch.stack([weight * F.l1_loss(*maps) for *maps, weight in pairs]).sum()


def vgg_loss(features: nn.Sequential, *, normalise: bool = True) -> PerceptualLoss:
    """The loss in the form of SPADE, of torchvision's `vgg19().features` or any of the same length.

    Without `normalise` that of pix2pixHD, which gives the network pictures in [-1, 1] rather than of ImageNet's mean
    and deviation.
    """
    edges = [0, *(end for end, _ in TAPS)]
    stages = [features[a:b] for a, b in itertools.pairwise(edges)]
    trunk = Trunk(stages) if normalise else Trunk(stages, mean=[0.5] * 3, std=[0.5] * 3)
    return PerceptualLoss(trunk, [weight for _, weight in TAPS])


def load_perceptual_loss(
    vgg_weights: Path | None, trunk: Trunk | None = None, *, normalise: bool = True
) -> PerceptualLoss | None:
    """The loss on torchvision's `vgg19` from a local file (.pth or .safetensors), or else on a trunk: the mean over its
    stages, whose features batch normalisation keeps at one scale. None where there is neither.

    `normalise`: see `vgg_loss`.

    Raises `InputError` where the file is missing, unreadable, or holds another network or NaN or infinite weights.
    """
    if vgg_weights is not None:
        features = load_vgg(vgg_weights)
        loss = vgg_loss(features, normalise=normalise)
        loss.trunk.sha256 = content_sha256(features.state_dict())
        return loss
    if trunk is not None:
        count = len(trunk.stages)
        log.info("perceptual loss: on the trunk")
        return PerceptualLoss(trunk, [1 / count] * count)
    log.info("perceptual loss: off, as no VGG19 weights file is given (--vgg-weights), nor a trunk (--trunk-weights)")
    return None


def load_vgg(weights: Path) -> nn.Sequential:
    """The layers of torchvision's `vgg19().features` with weights from a local file (.pth or .safetensors).

    Raises `InputError` as `load_perceptual_loss` does.
    """
    from torchvision.models import vgg19

    state = {key: value for key, value in read_state_dict(weights).items() if key.startswith("features.")}
    with torch.device("meta"):  # its 500 MB classifier is never allocated
        network = vgg19(weights=None)
    features = network.features.to_empty(device="cpu")
    state = {key.removeprefix("features."): value for key, value in state.items()}
    fill(features, state, source=f"VGG weights {weights} (torchvision's vgg19)")
    log.info("perceptual loss: VGG19 from %s", weights)
    return features
