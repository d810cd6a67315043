"""Enlarging and blurring by hand, along one axis and the other, and with gradients of gradients."""

from __future__ import annotations

import pytest
import torch

from pipeline.config import Enlargement
from pipeline.networks.resampling import blur, enlarge


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("nearest", [0, 0, 16, 16, 48, 48]),
        # [1, 2, 1] / 4 of that, borders repeated
        ("bilinear", [0, 4, 12, 24, 40, 48]),
        # [1, 4, 6, 4, 1] / 16 of it
        ("blur", [1, 5, 13, 25, 38, 46]),
    ],
)
def test_a_row_and_a_column_are_doubled(how: Enlargement, expected: list[int]) -> None:
    row = torch.tensor([0.0, 16, 48])
    wide = torch.tensor(expected, dtype=torch.float32)
    assert torch.equal(enlarge(row.view(1, 1, 1, 3), how), wide.view(1, 1, 1, 6).expand(-1, -1, 2, -1))
    assert torch.equal(enlarge(row.view(1, 1, 3, 1), how), wide.view(1, 1, 6, 1).expand(-1, -1, -1, 2))


def test_blur_is_the_outer_product_of_1_2_1() -> None:
    point = torch.zeros(1, 1, 5, 5)
    point[..., 2, 2] = 16
    assert blur(point)[0, 0].tolist() == [
        [0, 0, 0, 0, 0],
        [0, 1, 2, 1, 0],
        [0, 2, 4, 2, 0],
        [0, 1, 2, 1, 0],
        [0, 0, 0, 0, 0],
    ]
    assert torch.equal(blur(torch.ones(1, 2, 3, 4)), torch.ones(1, 2, 3, 4))


@pytest.mark.parametrize("how", ["nearest", "bilinear", "blur"])
def test_gradients_of_gradients(how: Enlargement) -> None:
    """As R1 takes them through a discriminator."""
    x = torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradgradcheck(lambda x: enlarge(x, how).square(), x)
