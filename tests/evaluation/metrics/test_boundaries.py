"""Boundary F-scores of maps that can be drawn on paper."""

from __future__ import annotations

import math

import numpy as np
import pytest

from evaluation.metrics.boundaries import boundary_counts, class_boundary_f, mean_boundary_f


def square(size: int, start: int, stop: int) -> np.ndarray:
    label = np.zeros((size, size), np.int64)
    label[start:stop, start:stop] = 1
    return label


def test_perfect_and_slightly_shifted_predictions() -> None:
    label = square(40, 10, 30)
    assert mean_boundary_f(boundary_counts(label, label, 2)) == 1
    # The diagonal is 57 pixels, so that the tolerance is one pixel.
    assert mean_boundary_f(boundary_counts(label, np.roll(label, 1, 0), 2)) == 1
    assert mean_boundary_f(boundary_counts(label, np.roll(label, 3, 0), 2)) < 0.7


def test_counts_of_a_square() -> None:
    counts = boundary_counts(square(40, 10, 30), square(40, 10, 30), 3)
    # Class 1: the outline of a 20x20 square; class 0: the ring around it without its corners; class 2: nothing.
    assert counts.tolist() == [[80, 80, 80, 80], [76, 76, 76, 76], [0, 0, 0, 0]]
    assert math.isnan(class_boundary_f(counts)[2])


def test_missing_and_invented_boundaries() -> None:
    label = square(40, 10, 30)
    flat = np.zeros_like(label)
    assert class_boundary_f(boundary_counts(label, flat, 2)).tolist() == [0, 0]
    invented = boundary_counts(flat, label, 2)
    assert np.isnan(class_boundary_f(invented)).all()
    # With one true boundary of 76 + 80 pixels and as many invented, precision is a half and recall 1.
    both = np.hstack([label, flat])
    counts = boundary_counts(both, np.hstack([label, label]), 2)
    assert class_boundary_f(counts)[1] == pytest.approx(2 * 0.5 / 1.5)


def test_boundaries_against_void_do_not_count() -> None:
    label = square(40, 10, 30)
    label[label == 0] = -1
    counts = boundary_counts(label, np.zeros_like(label), 2)
    assert not counts.any()


def test_counts_add_up_over_pictures() -> None:
    labels = [square(40, 5, 20), square(40, 12, 36)]
    guesses = [np.roll(labels[0], 2, 1), labels[1]]
    total = sum(boundary_counts(label, guess, 2) for label, guess in zip(labels, guesses, strict=True))
    side_by_side = [np.hstack([parts[0], np.zeros((40, 8), np.int64), parts[1]]) for parts in (labels, guesses)]
    joined = boundary_counts(side_by_side[0], side_by_side[1], 2)
    assert (total == joined).all()
