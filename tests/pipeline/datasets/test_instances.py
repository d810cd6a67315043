"""Instances of label maps, on maps small enough to be read."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage

from pipeline.datasets.instance_ids import zero_by_metadata, zero_is_none
from pipeline.datasets.instances import connected_regions, find_instances, find_owners


def read(*rows: str) -> np.ndarray:
    return np.array([[int(cell) for cell in row] for row in rows], np.uint8)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.6, 0.9, 1.0])
def test_connected_regions_are_those_of_scipy(share: float) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        mask = rng.random(rng.integers(1, 25, 2)) < share
        expected, count = scipy.ndimage.label(mask, np.ones((3, 3)))
        found = connected_regions(mask)
        assert found.max(initial=0) == count
        assert np.array_equal(found > 0, mask)
        # The same regions, and numbered in the order of their first pixels.
        pairs = np.unique(np.stack([found[mask], expected[mask]]), axis=1)
        assert pairs.shape[1] == count
        first = [int(np.flatnonzero(found == region)[0]) for region in range(1, count + 1)]
        assert first == sorted(first)


def test_instances_of_an_instance_map() -> None:
    """Id 5 is of class 1 for the most part; id 2 is that of its own class, and so no instance."""
    label = read("0011", "0211", "2222")
    instance = np.array([[0, 0, 5, 5], [0, 5, 5, 300], [2, 2, 2, 2]])
    found = find_instances(label, instance, None)
    assert [(part.label, part.box) for part in found] == [(1, [2, 0, 2, 2]), (1, [3, 1, 1, 1])]
    assert found[0].mask.tolist() == [[True, True], [True, False]]
    assert [part.box for part in find_instances(label, instance, {1})] == [[2, 0, 2, 2], [3, 1, 1, 1]]
    assert find_instances(label, instance, {0, 2}) == []
    assert find_owners(found, label.shape).tolist() == [[-1, -1, 0, 0], [-1, -1, 0, 1], [-1, -1, -1, -1]]


def test_where_0_is_no_instance_an_id_may_be_that_of_its_class() -> None:
    """0 covers most of class 2, and the instance 1 of class 1 is one like 7 of class 0."""
    label = read("0012", "2012", "2222")
    instance = np.array([[0, 7, 1, 0], [0, 7, 1, 0], [0, 0, 0, 0]])
    assert zero_is_none([(label, instance)])
    found = find_instances(label, instance, None, zero_is_none=True)
    assert [(part.label, part.box) for part in found] == [(1, [2, 0, 1, 2]), (0, [1, 0, 1, 2])]
    own = np.where(instance == 0, label, instance)
    assert not zero_is_none([(label, own)])
    assert [(part.label, part.box) for part in find_instances(label, own, None)] == [(0, [1, 0, 1, 2])]


def test_metadata_says_whether_0_is_an_instance() -> None:
    regions = {"source": "folder", "instances": {"connected regions of": ["car"]}}
    assert zero_by_metadata({"input": {"source": "remix", "instances": 4, "of": {"source": "landscape"}}}) is True
    assert zero_by_metadata({"input": {"source": "coco-stuff"}, "synthesis": {"seed": 0}}) is False
    assert zero_by_metadata(regions) is False
    assert zero_by_metadata({"source": "folder"}) is None


def test_instances_are_connected_regions_where_there_is_no_instance_map() -> None:
    label = read("1002", "0102", "3001")
    found = find_instances(label, None, {1, 2})
    assert [(part.label, part.box) for part in found] == [(1, [0, 0, 2, 2]), (1, [3, 2, 1, 1]), (2, [3, 0, 1, 2])]


def test_what_is_below_and_around() -> None:
    """The crown of the tree hangs over sea, its trunk stands on grass: the edge is where it ends."""
    label = read(*["00000"] * 2, *["01110"] * 3, *["22122"] * 9, "33133", "33433")
    (tree,) = find_instances(label, None, {1})
    assert (tree.row, tree.box) == (14, [1, 2, 3, 13])
    assert [part.tolist() for part in tree.lower_edge] == [[12], [1]]
    assert tree.below(label).tolist() == [4]
    assert tree.below(label[:15]).tolist() == []
    assert tree.is_whole(*label.shape)
    assert not tree.is_whole(15, 5) and not tree.is_whole(16, 4)
    around = np.zeros(label.shape, int)
    around[tree.around(label.shape)] = 1
    assert around.tolist() == [
        *[[0, 0, 0, 0, 0], [0, 1, 1, 1, 0]],
        *[[1, 0, 0, 0, 1]] * 3,
        *[[0, 1, 0, 1, 0]] * 10,
        [0, 0, 1, 0, 0],
    ]


@pytest.mark.parametrize("box", [(0, 1), (1, 0), (4, 1), (1, 4)])
def test_what_touches_a_border_is_not_whole(box: tuple[int, int]) -> None:
    label = np.zeros((6, 6), np.uint8)
    label[box[0] : box[0] + 2, box[1] : box[1] + 2] = 1
    assert not find_instances(label, None, {1})[0].is_whole(6, 6)
