"""The perceptual loss: L1 between VGG19 features (Johnson et al. 2016, in the form of pix2pixHD and SPADE)."""

from __future__ import annotations

import itertools
import logging
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.pretrained.state_dicts import fill, read_state_dict

log = logging.getLogger(__name__)

# (layers of torchvision's vgg19().features up to and with this ReLU, weight): relu1_1, 2_1, 3_1, 4_1, 5_1.
TAPS = ((2, 1 / 32), (7, 1 / 16), (12, 1 / 8), (21, 1 / 4), (30, 1.0))

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class PerceptualLoss(nn.Module):
    """Distance of two pictures in the features of a VGG19, frozen.

    `features` is torchvision's `vgg19().features`, or anything of the same length.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, features: nn.Sequential) -> None:
        super().__init__()
        edges = [0, *(end for end, _ in TAPS)]
        self.stages = nn.ModuleList(features[a:b] for a, b in itertools.pairwise(edges))
        for module in self.stages.modules():
            if isinstance(module, nn.ReLU):
                module.inplace = False  # in place it would overwrite the features that are compared
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1), persistent=False)
        self.eval().requires_grad_(False)

    def forward(self, fake: Tensor, real: Tensor) -> Tensor:
        """The weighted sum of L1 distances; pictures `[N, 3, H, W]` in [-1, 1], gradients to `fake` only."""
        fake, real = (((picture + 1) / 2 - self.mean) / self.std for picture in (fake, real.detach()))
        loss = fake.new_zeros(())
        for stage, (_, weight) in zip(self.stages, TAPS, strict=True):
            fake = stage(fake)
            with torch.no_grad():
                real = stage(real)
            loss = loss + weight * F.l1_loss(fake, real)
        return loss


def load_perceptual_loss(weights: Path | None) -> PerceptualLoss | None:
    """The loss with the weights of torchvision's `vgg19` from a local file (.pth or .safetensors), or None without one.

    Raises `InputError` where the file is missing, unreadable, or holds another network.
    """
    if weights is None:
        log.info("perceptual loss: off, as no VGG19 weights file is given (--vgg-weights)")
        return None
    from torchvision.models import vgg19

    state = read_state_dict(weights)
    state = {key.removeprefix("features."): state[key] for key in state if key.startswith("features.")}
    with torch.device("meta"):  # its 500 MB classifier is never allocated
        features = vgg19(weights=None).features
    features = features.to_empty(device="cpu")
    fill(
        features,
        {key.removeprefix("features."): value for key, value in state.items()},
        source=f"VGG19 weights {weights}",
    )
    log.info("perceptual loss: VGG19 from %s", weights)
    return PerceptualLoss(features)
