"""Nearest neighbours and copies: against brute force, and where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.metrics import nearest as module
from evaluation.metrics.copies import Copies, share
from evaluation.metrics.nearest import Neighbours, TrainingPhotographs, nearest


def brute_force(queries: np.ndarray, base: np.ndarray) -> np.ndarray:
    return np.sqrt(((queries[:, None].astype(float) - base[None].astype(float)) ** 2).sum(2))


def test_blocks_find_what_brute_force_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS", 7)
    monkeypatch.setattr(module, "COLUMNS", 11)
    random = np.random.default_rng(0)
    # Far from 0, where squares of float32 have no digits left.
    queries, base = (1e4 + random.normal(size=(count, 5)).astype(np.float32) for count in (20, 50))
    owners = random.integers(0, 4, 20), random.integers(0, 4, 50)
    distances = brute_force(queries, base)
    for given, limit in ((None, -np.inf), (owners, -np.inf), (None, 1.0), (owners, 1.0)):
        expected = np.where(distances <= limit, np.inf, distances)
        if given is not None:
            expected[given[0][:, None] == given[1]] = np.inf
        index, distance = nearest(queries, base, owners=given, beyond=limit)
        np.testing.assert_array_equal(index, expected.argmin(1))
        np.testing.assert_array_equal(distance, expected.min(1))


def test_what_has_no_neighbour() -> None:
    one = np.zeros((1, 3), np.float32)
    for base, owners in ((one[:0], None), (one, (np.array([4]), np.array([4])))):
        index, distance = nearest(one, base, owners=owners)
        assert (index.tolist(), distance.tolist()) == ([-1], [np.inf])
    found = Neighbours.of(one[:, :1], TrainingPhotographs.of(in_line(0, 1), in_line(5, 6)))
    assert (found.other.tolist(), found.repeated.tolist()) == ([-1], [False])


def in_line(*places: float) -> np.ndarray:
    return np.array(places, np.float32)[:, None]


def test_pictures_on_a_line() -> None:
    # Photographs at 0, 10 and 14, which mirrored would be at 100, 90 and 86.
    training = TrainingPhotographs.of(in_line(0, 10, 14), in_line(100, 90, 86))
    assert training.spacing.tolist() == [10, 4, 4]
    assert training.other.tolist() == [1, 2, 1]
    found = Neighbours.of(in_line(5, -6, 15, 100, 14.5, -17), training)
    assert found.photograph.tolist() == [0, 0, 2, 0, 2, 0]
    assert found.mirrored.tolist() == [False, False, False, True, False, False]
    assert found.distance.tolist() == [5, 6, 1, 0, 0.5, 17]
    assert found.spacing.tolist() == [10, 10, 4, 10, 4, 10]
    assert found.closeness.tolist() == [0.5, 0.6, 0.25, 0, 0.125, 1.7]
    assert found.authentic.tolist() == [False, False, False, False, False, True]
    assert found.copies.tolist() == [True, False, True, True, True, False]
    assert found.other.tolist() == [4, 0, 4, 2, 2, 1]
    assert found.other_distance.tolist() == [9.5, 11, 0.5, 85, 0.5, 11]
    assert found.repeated.tolist() == [False, False, True, False, True, False]
    ids = np.array(["m", "n", "o", "p", "o", "q"])
    figures = Copies.of("pictures", ids, found, np.array(["m", "x", "y"]))
    assert (figures.pictures, figures.label_maps) == (6, 5)
    assert (figures.authentic, figures.copies) == (1 / 6, 4 / 6)
    assert (figures.near_duplicates, figures.near_duplicates_across_maps) == (2 / 6, 0)
    assert figures.own_map == 1  # of the only picture whose map was trained on
    assert figures.histogram == pytest.approx([2 / 6, 1 / 6, 2 / 6, 0, 0, 0, 1 / 6, 0])
    assert Copies.of("pictures", ids, found, np.array(["x", "y", "z"])).own_map is None


@pytest.mark.parametrize(("dimensions", "expected"), [(1, 1 / 3), (2, 0.3785)])
def test_independent_pictures_are_as_authentic_as_mutual_neighbours_are_rare(dimensions: int, expected: float) -> None:
    """A picture is not authentic if it and a photograph are nearest to each other: 2/3 on a line, 0.6215 in a plane."""
    random = np.random.default_rng(0)
    photographs, pictures = random.uniform(size=(2, 1500, dimensions)).astype(np.float32)
    found = Neighbours.of(pictures, TrainingPhotographs.of(photographs, photographs + 9))
    assert found.authentic.mean() == pytest.approx(expected, abs=0.03)


def test_copies_of_all_photographs_are_found_and_independent_ones_are_none() -> None:
    random = np.random.default_rng(0)
    photographs, mirrored, others = random.normal(size=(3, 200, 64)).astype(np.float32)
    training = TrainingPhotographs.of(photographs, mirrored)
    for pictures, times in ((photographs, 0), (mirrored, 1)):
        for noise in (0, 0.1):
            found = Neighbours.of(pictures + noise * random.normal(size=pictures.shape).astype(np.float32), training)
            assert not found.authentic.any()
            assert found.copies.all()
            assert found.photograph.tolist() == list(range(200))
            assert (found.mirrored == bool(times)).all()
    found = Neighbours.of(others, training)
    assert 0.3 < found.authentic.mean() < 0.7
    assert not found.copies.any()
    assert not found.repeated.any()
    assert Neighbours.of(np.concatenate([others, others]), training).repeated.all()


def test_photographs_that_occur_many_times_hide_no_copy() -> None:
    random = np.random.default_rng(0)
    photographs = random.normal(size=(30, 8)).astype(np.float32)
    photographs[:20] = photographs[0] + 1e-6 * random.normal(size=(20, 8))
    training = TrainingPhotographs.of(photographs, photographs + 20)
    near = brute_force(photographs[:1], photographs[20:]).min()
    np.testing.assert_allclose(training.spacing[:20], near, rtol=1e-5)
    assert Neighbours.of(photographs[:1] + 0.01, training).copies.all()
    assert np.isinf(TrainingPhotographs.of(np.ones((20, 3)), np.ones((20, 3))).spacing).all()


def test_shares_and_their_intervals() -> None:
    ids = np.repeat(np.arange(50), 4).astype(str)
    assert share(np.ones(200, bool), ids) == (1, (1, 1))
    assert share(np.array([True, False]), np.array(["a", "b"])) == (0.5, None)
    maps = np.arange(50) % 5 == 0
    value, together = share(np.repeat(maps, 4), ids)
    _, apart = share(np.repeat(maps, 4), np.arange(200).astype(str))
    assert value == 0.2 and together is not None and apart is not None
    # Binomial: of 50 label maps and of 200 pictures.
    for (low, high), count in ((together, 50), (apart, 200)):
        assert (high - low) / 2 == pytest.approx(1.96 * np.sqrt(0.2 * 0.8 / count), rel=0.15)
