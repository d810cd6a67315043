"""Scores from small matrices that can be worked out by hand, and against torchmetrics."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

from evaluation.metrics.confusion import ConfusionMatrix

VOID = 255


@pytest.fixture
def matrix() -> ConfusionMatrix:
    """Four classes; 2 never occurs in the truth but is predicted once, 3 occurs nowhere; two void pixels."""
    matrix = ConfusionMatrix(4)
    target = np.array([[0, 0, 0, 0], [1, 1, 1, 1], [VOID, VOID, 0, 1]], np.uint8)
    prediction = np.array([[0, 0, 0, 1], [1, 1, 2, 0], [0, 3, 0, 1]], np.uint8)
    matrix.update(target, prediction)
    return matrix


def test_class_figures(matrix: ConfusionMatrix) -> None:
    # Class 0: 5 true, 5 predicted (the one on void is left out), 4 right. Class 1: 5 true, 4 predicted, 3 right.
    assert matrix.target_pixels.tolist() == [5, 5, 0, 0]
    assert matrix.predicted_pixels.tolist() == [5, 4, 1, 0]
    np.testing.assert_allclose(matrix.class_iou(), [4 / 6, 3 / 6, 0, math.nan])
    assert (matrix.counts[-1].sum(), matrix.pixels) == (2, 12)


def test_averaging_rules_differ_as_the_protocol_notes_say(matrix: ConfusionMatrix) -> None:
    total = 4 / 6 + 3 / 6
    assert matrix.mean_iou("present") == pytest.approx(total / 2)
    assert matrix.mean_iou("union") == pytest.approx(total / 3)
    assert matrix.mean_iou("all") == pytest.approx(total / 4)


def test_accuracies_and_weighted_iou(matrix: ConfusionMatrix) -> None:
    assert matrix.accuracy() == pytest.approx(7 / 10)
    assert matrix.accuracy_void_as_error() == pytest.approx(7 / 12)
    assert matrix.frequency_weighted_iou() == pytest.approx(0.5 * 4 / 6 + 0.5 * 3 / 6)


def test_prediction_of_no_class_is_an_error_not_void() -> None:
    matrix = ConfusionMatrix(2)
    matrix.update(np.array([0, 0, 1]), np.array([0, 9, 1]))
    assert matrix.accuracy() == pytest.approx(2 / 3)
    np.testing.assert_allclose(matrix.class_iou(), [1 / 2, 1])


def test_negative_ids_are_void() -> None:
    matrix = ConfusionMatrix(2)
    matrix.update(np.array([-1, 0]), np.array([1, 0]))
    assert (matrix.counts[-1].sum(), matrix.accuracy()) == (1, 1.0)


def test_without_any_known_pixel_scores_are_nan() -> None:
    matrix = ConfusionMatrix(2)
    matrix.update(np.full((2, 2), VOID), np.zeros((2, 2), np.uint8))
    assert math.isnan(matrix.mean_iou("present"))
    assert math.isnan(matrix.accuracy())
    assert math.isnan(matrix.frequency_weighted_iou())
    assert matrix.mean_iou("all") == 0
    assert matrix.accuracy_void_as_error() == 0


def test_merging_parts_is_bit_equal_to_one_pass() -> None:
    generator = np.random.default_rng(0)
    target, prediction = generator.integers(0, 7, (2, 9, 16, 16))
    whole = ConfusionMatrix(6)
    whole.update(target, prediction)
    merged = ConfusionMatrix(6)
    for index in (4, 0, 8, 2, 1, 3, 7, 5, 6):
        part = ConfusionMatrix(6)
        part.update(target[index], prediction[index])
        merged.counts += part.counts
    assert (merged.counts == whole.counts).all()


def test_mean_iou_is_of_the_data_set_not_a_mean_over_images() -> None:
    matrix = ConfusionMatrix(2)
    for target, prediction in (([0, 0, 0, 1], [0, 0, 0, 0]), ([1, 1, 1, 1], [1, 1, 1, 1])):
        matrix.update(np.array(target), np.array(prediction))
    # Class 0: 3 of 4; class 1: 4 of 5. Per image the means would be (3/4 + 0) / 2 and 1.
    assert matrix.mean_iou() == pytest.approx((3 / 4 + 4 / 5) / 2)


def test_agrees_with_torchmetrics_where_its_rules_are_the_same() -> None:
    generator = np.random.default_rng(1)
    target = generator.integers(0, 6, (4, 32, 32))
    prediction = np.where(generator.random(target.shape) < 0.6, target % 5, generator.integers(0, 5, target.shape))
    target[target == 5] = VOID
    matrix = ConfusionMatrix(5)
    matrix.update(target, prediction)
    options = {"num_classes": 5, "ignore_index": VOID}
    truth, guess = torch.from_numpy(target), torch.from_numpy(prediction)
    per_class = MulticlassJaccardIndex(average="none", **options)(guess, truth)
    np.testing.assert_allclose(matrix.class_iou(), per_class.numpy(), rtol=1e-6)
    weighted = MulticlassJaccardIndex(average="weighted", **options)(guess, truth)
    assert matrix.frequency_weighted_iou() == pytest.approx(float(weighted), rel=1e-6)
    accuracy = MulticlassAccuracy(average="micro", **options)(guess, truth)
    assert matrix.accuracy() == pytest.approx(float(accuracy), rel=1e-6)
