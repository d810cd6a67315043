"""MIND against the public implementation's arithmetic in plain loops, exact transports, and what it should be 0 for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance

from evaluation.metrics.mind import Mind, Projected, sliced_wasserstein


def normal(seed: int, count: int, dimensions: int = 16, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1, (count, dimensions))


def test_sets_of_equal_size_have_the_public_figure() -> None:
    one, other = normal(0, 40), normal(1, 40, shift=0.3)
    directions = torch.randn(1000, 16, generator=torch.Generator().manual_seed(2020), dtype=torch.float32).double()
    total = 0.0
    for direction in directions / directions.norm(dim=1, keepdim=True):
        ours, theirs = (np.sort(part @ direction.numpy()) for part in (one, other))
        total += sum((a - b) ** 2 for a, b in zip(ours, theirs, strict=True)) / 40
    assert sliced_wasserstein(Projected.of(one), Projected.of(other)) == pytest.approx(3 * 16 * total / 1000, rel=1e-12)
    # What torch-fidelity's master says of the same vectors, in float32.
    assert sliced_wasserstein(Projected.of(one), Projected.of(other)) == pytest.approx(GOLDEN, rel=1e-6)


GOLDEN = 9.272086143493652


def test_sets_of_other_sizes_are_transported_exactly() -> None:
    one, other = normal(0, 6), normal(1, 9, shift=0.5)
    repeated = [np.repeat(one, 3, 0), np.repeat(other, 2, 0)]  # the same distributions, of equal size
    expected = sliced_wasserstein(*(Projected.of(part) for part in repeated))
    assert sliced_wasserstein(Projected.of(one), Projected.of(other)) == pytest.approx(expected, rel=1e-12)
    assert sliced_wasserstein(Projected.of(other), Projected.of(one)) == pytest.approx(expected, rel=1e-12)


def test_a_translation_is_its_own_length() -> None:
    """Along a direction u of d dimensions a shift s is u s long, squared |s|^2 / d on average: 3 |s|^2 in all."""
    one = normal(0, 30)
    shift = np.zeros(16)
    shift[3] = 2.0
    moved = sliced_wasserstein(Projected.of(one), Projected.of(one + shift))
    assert moved == pytest.approx(3 * 4, rel=0.1)
    along = wasserstein_distance(one[:, 3], one[:, 3] + 2)
    assert along == pytest.approx(2)


def test_the_correction_takes_off_what_equal_distributions_are_apart() -> None:
    pairs = [
        Mind.of(Projected.of(normal(seed, 60), projections=200), Projected.of(normal(seed + 100, 90), projections=200))
        for seed in range(30)
    ]
    published, corrected = (np.array([getattr(pair, name) for pair in pairs]) for name in ("published", "corrected"))
    assert (published > 0.5).all()
    assert abs(corrected.mean()) < 0.1 * published.mean()
    assert (corrected < 0).any()
    # What is far apart stays so.
    far = Mind.of(Projected.of(normal(0, 60)), Projected.of(normal(1, 90, shift=1)))
    assert far.corrected == pytest.approx(3 * 16, rel=0.1)


def test_directions_are_the_same_in_every_call_and_of_three_vectors_nothing_is_taken_off() -> None:
    one, other = normal(0, 3), normal(1, 3)
    first, second = (Mind.of(Projected.of(one), Projected.of(other)) for _ in range(2))
    assert first == second
    assert first.published == first.corrected
    assert sliced_wasserstein(Projected.of(one), Projected.of(one)) == 0
