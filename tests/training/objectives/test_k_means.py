"""K-means finds groups that are apart, is a function of its seed, and has no more centres than there are vectors."""

from __future__ import annotations

import torch

from training.objectives.k_means import k_means


def test_groups_that_are_far_apart_are_found() -> None:
    torch.manual_seed(0)
    middles = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])
    points = (middles.repeat(25, 1) + 0.1 * torch.randn(100, 2))[torch.randperm(100)]
    for seed in range(5):
        found = k_means(points, 4, seed=seed)
        assert found.shape == (4, 2) and found.dtype == torch.float64
        nearest = torch.cdist(middles.double(), found).amin(1)
        assert nearest.max() < 0.1
    assert torch.equal(k_means(points, 3, seed=7), k_means(points, 3, seed=7))


def test_each_centre_is_the_mean_of_its_own_points() -> None:
    points = torch.rand(60, 3, generator=torch.Generator().manual_seed(1))
    found = k_means(points, 5, seed=0)
    nearest = torch.cdist(points.double(), found).argmin(1)
    for number in range(5):
        torch.testing.assert_close(found[number], points[nearest == number].double().mean(0))


def test_few_vectors_are_their_own_centres() -> None:
    points = torch.tensor([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0]])
    assert torch.equal(k_means(points, 10, seed=0), torch.tensor([[1.0, 2.0], [3.0, 4.0]]).double())
    assert torch.equal(k_means(points[:1], 1, seed=0), points[:1].double())
