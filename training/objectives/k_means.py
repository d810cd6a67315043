"""K-means: a few centres that stand for many vectors (Lloyd 1982, begun as by Arthur and Vassilvitskii 2007)."""

from __future__ import annotations

import torch
from torch import Tensor

ROUNDS = 100


def k_means(points: Tensor, count: int, *, seed: int) -> Tensor:
    """Float64 `[k, D]` centres of `points` `[N, D]`, N at least 1; k is `count`, or as many as differ if that is fewer.

    A function of the points, their order and the seed.
    """
    points = points.double().cpu()
    distinct = torch.unique(points, dim=0)
    if len(distinct) <= count:
        return distinct
    random = torch.Generator().manual_seed(seed)
    first = int(torch.randint(len(points), (), generator=random))
    centres = points[first : first + 1]
    while len(centres) < count:  # each far from those before, by chance
        far = torch.cdist(points, centres).amin(1).square()
        centres = torch.cat([centres, points[torch.multinomial(far, 1, generator=random)]])
    nearest = torch.cdist(points, centres).argmin(1)
    for _ in range(ROUNDS):
        sums = torch.zeros_like(centres).index_add(0, nearest, points)
        sizes = torch.bincount(nearest, minlength=count).unsqueeze(1)
        centres = torch.where(sizes > 0, sums / sizes.clamp(min=1), centres)
        before, nearest = nearest, torch.cdist(points, centres).argmin(1)
        if torch.equal(before, nearest):
            break
    return centres
