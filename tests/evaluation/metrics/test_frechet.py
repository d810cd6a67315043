"""The Frechet distance against scipy's matrix root, against exact values."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from torchmetrics.image.fid import FrechetInceptionDistance

from evaluation.metrics.frechet import FeatureStatistics, frechet_distance


def correlated(seed: int, count: int, dimensions: int, shift: float = 0.0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(dimensions, dimensions)) / dimensions**0.5
    return np.abs(generator.normal(size=(count, dimensions)) @ mixing + shift)


def scipy_distance(one: np.ndarray, other: np.ndarray) -> float:
    """The closed form of pytorch-fid, for well-conditioned covariances."""
    covariances = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    shift = one.mean(0) - other.mean(0)
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1])
    return float(shift @ shift + np.trace(covariances[0] + covariances[1] - 2 * np.real(root)))


def exact_distance(one: np.ndarray, other: np.ndarray) -> float:
    """From the vectors themselves: tr (C1 C2)^(1/2) is the nuclear norm of X Y^T for centred X and Y."""
    rows = [(part - part.mean(0)) / (len(part) - 1) ** 0.5 for part in (one, other)]
    shift = one.mean(0) - other.mean(0)
    root = np.linalg.norm(rows[0] @ rows[1].T, "nuc")
    return float(shift @ shift + (rows[0] ** 2).sum() + (rows[1] ** 2).sum() - 2 * root)


def test_against_scipy_where_it_is_well_conditioned() -> None:
    one, other = correlated(0, 900, 64), correlated(1, 700, 64, shift=0.2)
    assert frechet_distance(FeatureStatistics(one), FeatureStatistics(other)) == pytest.approx(
        scipy_distance(one, other), rel=1e-6
    )


class Pixels(torch.nn.Module):
    """Vectors, passed off as pictures, as their own features."""

    num_features = 16

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)


def test_against_torchmetrics_where_it_is_well_conditioned() -> None:
    one, other = correlated(20, 300, 16), correlated(21, 200, 16, shift=0.2)
    metric = FrechetInceptionDistance(feature=Pixels(), normalize=True).set_dtype(torch.float64)
    for features, real in ((one, True), (other, False)):
        metric.update(torch.from_numpy(features).view(-1, 1, 4, 4), real=real)
    assert frechet_distance(FeatureStatistics(one), FeatureStatistics(other)) == pytest.approx(
        float(metric.compute()), rel=1e-8
    )


@pytest.mark.parametrize(("one_count", "other_count"), [(20, 33), (20, 400), (2, 3), (96, 97)])
def test_exact_with_fewer_vectors_than_dimensions(one_count: int, other_count: int) -> None:
    one, other = correlated(2, one_count, 96), correlated(3, other_count, 96, shift=0.1)
    expected = exact_distance(one, other)
    assert frechet_distance(FeatureStatistics(one), FeatureStatistics(other)) == pytest.approx(expected, rel=1e-10)


def test_dead_and_repeated_features_do_no_harm() -> None:
    one, other = correlated(4, 300, 12), correlated(5, 200, 12, shift=0.3)
    one, other = (np.concatenate([part, part[:, :4], np.zeros((len(part), 3))], 1) for part in (one, other))
    expected = exact_distance(one, other)
    assert frechet_distance(FeatureStatistics(one), FeatureStatistics(other)) == pytest.approx(expected, rel=1e-10)


def test_of_gaussians_with_diagonal_covariances() -> None:
    # Vectors at +-d along each axis have the covariance d^2 / (n - 1) * 2 there, and none across.
    one, other = (
        FeatureStatistics(np.concatenate([np.diag(deviations), -np.diag(deviations)]) * (5 / 2) ** 0.5 + mean)
        for mean, deviations in (([0, 0, 0], [1.0, 2, 3]), ([1, -1, 2], [2.0, 2, 0.5]))
    )
    # |m1 - m2|^2 = 6; the deviations differ by 1, 0 and 2.5.
    assert frechet_distance(one, other) == pytest.approx(6 + 1 + 6.25)


def test_symmetric_and_zero_to_itself() -> None:
    one, other = FeatureStatistics(correlated(6, 50, 80)), FeatureStatistics(correlated(7, 40, 80))
    assert frechet_distance(one, other) == pytest.approx(frechet_distance(other, one), rel=1e-12)
    assert frechet_distance(one, one) == 0


def test_covariance_is_numpys_of_few_and_of_many_vectors() -> None:
    for count in (5, 8, 9, 40):
        features = (correlated(13, count, 8) + 1000).astype(np.float32)
        result = FeatureStatistics(features)
        assert result.few == (count <= 8)
        np.testing.assert_allclose(result.mean, features.astype(np.float64).mean(0), rtol=1e-12)
        # A mean of 1000 against deviations of 1 would cost sums in float32 all their digits.
        np.testing.assert_allclose(result.covariance(), np.cov(features.astype(np.float64), rowvar=False))
        factor = result.factor()
        np.testing.assert_allclose(factor @ factor.T, result.covariance(), atol=1e-14)


@pytest.mark.parametrize(
    ("one_count", "other_count", "expected"),
    [
        (20, 30, [("svd", 20)]),
        (20, 400, [("cholesky", 64), ("svd", 20)]),
        (200, 300, [("cholesky", 64), ("cholesky", 64), ("eigvalsh", 64)]),
    ],
)
def test_decomposes_no_more_than_it_must(
    monkeypatch: pytest.MonkeyPatch, one_count: int, other_count: int, expected: list[tuple[str, int]]
) -> None:
    """That it is faster than the matrix root comes from this; docs/experiments.md has the times."""
    one, other = (
        FeatureStatistics(correlated(seed, count, 64)) for seed, count in ((11, one_count), (12, other_count))
    )
    seen = []

    def watch(name: str) -> None:
        original = getattr(np.linalg, name)

        def watched(matrix: np.ndarray, **options: object) -> object:
            seen.append((name, min(matrix.shape)))
            return original(matrix, **options)

        monkeypatch.setattr(np.linalg, name, watched)

    for name in ("svd", "eigh", "eigvalsh", "eig", "eigvals", "cholesky", "qr"):
        watch(name)
    frechet_distance(one, other)
    assert seen == expected


def test_dead_features_of_one_set_make_the_last_matrix_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = correlated(14, 100, 16), correlated(15, 90, 16)
    one[:, :5] = 0
    seen = []
    original = np.linalg.eigvalsh
    monkeypatch.setattr(np.linalg, "eigvalsh", lambda matrix: seen.append(len(matrix)) or original(matrix))
    distances = [frechet_distance(FeatureStatistics(a), FeatureStatistics(b)) for a, b in ((one, other), (other, one))]
    assert seen == [11, 11]
    assert distances == pytest.approx([exact_distance(one, other)] * 2, rel=1e-10)
