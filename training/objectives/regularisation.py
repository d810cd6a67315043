"""Two ways to keep a discriminator from learning a small set by heart: LeCam, and the gradient penalty R1."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pipeline.runtime.collectives import all_reduce
from training.objectives.losses import at_least_float32

DECAY = 0.99
"""Of LeCam's anchors, a step (Tseng et al., CVPR 2021, Sec. 4.1)."""


class LeCam(nn.Module):
    """Pulls scores of photographs towards what fakes got of late, and the other way round (Tseng et al. 2021, Eq. 7).

    The anchors, moving averages of the mean scores for each scale, are buffers: they belong into checkpoints. They
    begin at 0, as do scores.
    """

    fake: Tensor
    real: Tensor

    def __init__(self, scales: int) -> None:
        super().__init__()
        self.register_buffer("fake", torch.zeros(scales))
        self.register_buffer("real", torch.zeros(scales))

    def forward(self, of_fake: Sequence[Tensor], of_real: Sequence[Tensor]) -> Tensor:
        """The mean over scales of E|D(photograph) - anchor of fakes|^2 + E|D(fake) - anchor of photographs|^2.

        A scalar, of the maps of scores of each scale, `[N, 1, h, w]`.
        """
        penalties = [
            (real - fake_anchor).square().mean() + (fake - real_anchor).square().mean()
            for fake, real, fake_anchor, real_anchor in zip(of_fake, of_real, self.fake, self.real, strict=True)
        ]
        return torch.stack(penalties).mean()

    @torch.no_grad()
    def update(self, fake: Tensor, real: Tensor, *, workers: int = 1) -> None:
        """Move the anchors towards the mean scores of a step, `[scales]` each, over all `workers` (together)."""
        means = torch.stack([fake, real])
        if workers > 1:
            all_reduce(means)
            means /= workers
        for anchor, mean in zip((self.fake, self.real), means, strict=True):
            anchor.lerp_(mean.to(anchor.dtype), 1 - DECAY)


def r1_penalty(of_real: Sequence[Tensor], real: Tensor) -> Tensor:
    """Half the squared gradient of a photograph's score by its pixels, mean over the batch (Mescheder et al. 2018).

    `of_real` are maps of scores for each scale, `[N, 1, h, w]`, computed from `real` `[N, 3, H, W]`. A photograph's
    score is their mean, as it is in the losses of a patch discriminator. (Where detail is judged beside classes the
    losses of both are added, and the score is the mean of both still.) Differentiable in the weights behind the scores.
    """
    score = torch.stack([scores.mean(dim=(1, 2, 3)) for scores in of_real]).mean(dim=0)  # [N]
    (gradient,) = torch.autograd.grad(score.sum(), real, create_graph=True)
    return 0.5 * at_least_float32(gradient).square().sum(dim=(1, 2, 3)).mean()
