"""The terms of the objective (Appendix A of the SPADE paper): adversarial, feature matching, and KL."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from training.objectives.patch_discriminator import Features

Criterion = Callable[[Tensor], Tensor]
"""From patch scores to what each of them costs."""

# The discriminator's loss on its scores of real pictures, and of fake ones; the keys are `losses.gan` of a recipe.
REAL: dict[str, Criterion] = {
    "hinge": lambda scores: F.relu(1 - scores),
    "least_squares": lambda scores: (scores - 1).square(),
    "original": lambda scores: F.softplus(-scores),  # -log sigmoid(score)
    "wasserstein": lambda scores: -scores,
}
FAKE: dict[str, Criterion] = {
    "hinge": lambda scores: F.relu(1 + scores),
    "least_squares": lambda scores: scores.square(),
    "original": lambda scores: F.softplus(scores),  # -log(1 - sigmoid(score))
    "wasserstein": lambda scores: scores,
}
# The generator wants its fakes taken for real; with the hinge loss that wish has no margin (Geometric GAN, Sec. 4).
WANTED: dict[str, Criterion] = {**REAL, "hinge": lambda scores: -scores}


def at_least_float32(value: Tensor) -> Tensor:
    """`value` `[...]` in float32 if it is in half precision, in which the long sums of losses lose too much."""
    return value.float() if value.dtype in (torch.bfloat16, torch.float16) else value


def score_loss(features: Features, criterion: Criterion) -> Tensor:
    """The mean over patches, then over scales, of what `criterion` says about the patch scores; a scalar."""
    return torch.stack([criterion(layers[-1]).mean() for layers in features]).mean()


def feature_matching(fake: Features, real: Features) -> Tensor:
    """L1 distance of the discriminator's features, summed over layers (scores left out), mean over scales; a scalar.

    Gradients go to the fake side only (pix2pixHD, Sec. 3.3).
    """
    scales = [
        torch.stack([F.l1_loss(a, b.detach()) for a, b in zip(of_fake[:-1], of_real[:-1], strict=True)]).sum()
        for of_fake, of_real in zip(fake, real, strict=True)
        if len(of_fake) > 1
    ]
    return torch.stack(scales).mean()


def kl_divergence(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mu, exp(logvar)) || N(0, 1)), summed over the batch and the dimensions of the style; a scalar.

    >>> float(kl_divergence(torch.tensor([[1.0, 0.0]]), torch.zeros(1, 2)))
    0.5
    """
    return 0.5 * (mu.square() + logvar.exp() - 1 - logvar).sum()


def split_features(features: Features) -> tuple[Features, Features]:
    """The two halves of a batch, such as [fake; real]."""
    pairs = [[layer.chunk(2) for layer in layers] for layers in features]
    first, second = ([[pair[half] for pair in layers] for layers in pairs] for half in range(2))
    return first, second
