"""What is counted of a path's work."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tests.gpu.measure import work


def test_products_and_traffic_are_counted() -> None:
    x, weight = torch.ones(2, 3, 8, 8), torch.ones(4, 3, 3, 3)

    @torch.inference_mode()
    def run() -> torch.Tensor:
        return F.relu(F.conv2d(x, weight, padding=1)).view(2, -1)

    convolved = 2 * 4 * 8 * 8
    assert work(run) == (2 * convolved * 27, 4 * (x.numel() + weight.numel() + 3 * convolved))
