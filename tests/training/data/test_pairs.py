"""Which of two neighbours is in front: by the disparity beside their boundary, and by nothing else."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from pipeline.segments.canvas import dilate
from training.data.pairs import NEITHER, draw_pair, nearer, neighbours

SKY, GROUND, TREE = 0, 1, 2


def scene() -> tuple[np.ndarray, np.ndarray]:
    """A tree on ground that comes nearer from row to row, under a sky that is far away; channels and disparity."""
    channels = np.full((40, 30), GROUND, np.int32)
    disparity = np.repeat(np.arange(40, dtype=np.uint16)[:, None] * 10, 30, axis=1)
    channels[:12], disparity[:12] = SKY, 1
    channels[6:24, 10:18], disparity[6:24, 10:18] = TREE, 235  # as near as the ground at its foot
    return channels, disparity


def test_the_nearer_one_is_in_front_and_only_neighbours_are_compared() -> None:
    channels, disparity = scene()
    seen = {}
    for seed in range(40):
        pair, front = draw_pair(channels, None, disparity, np.random.default_rng(seed), classes=3, least_area=0.01)
        there = set(np.unique(pair).tolist()) - {0}
        assert all(np.array_equal(pair == 1 + label, (channels == label)) for label in (number - 1 for number in there))
        seen[frozenset(number - 1 for number in there)] = front
    assert seen == {frozenset((SKY, GROUND)): GROUND, frozenset((SKY, TREE)): TREE, frozenset((GROUND, TREE)): TREE}


@pytest.mark.parametrize("seed", range(5))
def test_neighbours_are_those_that_growing_each_mask_finds(seed: int) -> None:
    coarse = np.random.default_rng(seed).integers(-1, 9, (6, 5))  # -1: of no segment
    owner = coarse.repeat(3, axis=0).repeat(2, axis=1)
    masks = [owner == number for number in range(9)]
    grown = [dilate(mask, 3) for mask in masks]
    slowly = [pair for pair in combinations(range(9), 2) if (grown[pair[0]] & masks[pair[1]]).any()]
    assert 0 < len(slowly) < 36 and neighbours(masks, owner.shape) == slowly
    assert neighbours([], (6, 5)) == []


def test_what_is_far_from_the_boundary_does_not_count() -> None:
    channels, disparity = scene()
    tree, ground = channels == TREE, channels == GROUND
    assert np.median(disparity[ground]) > 235 and nearer(tree, ground, disparity, 3) == 0
    assert nearer(ground, tree, disparity, 3) == 1
    assert nearer(tree, ground, np.zeros_like(disparity), 3) is None  # nothing is known
    assert nearer(tree, ground, np.full_like(disparity, 7), 3) is None


@pytest.mark.parametrize("known", [False, True])
def test_no_pair_where_none_can_be_told(known: bool) -> None:
    channels, disparity = scene()
    if known:
        channels[:] = SKY
    else:
        disparity[:] = 0
    pair, front = draw_pair(channels, None, disparity, np.random.default_rng(0), classes=3, least_area=0.01)
    assert not pair.any() and front == NEITHER


def test_instances_of_a_class_are_no_pair_but_are_told_apart() -> None:
    channels, disparity = scene()
    instance = (channels == TREE).astype(np.int32)
    instance[6:24, 14:18] *= 2
    disparity[6:24, 10:14] = 5  # a second tree, far behind the ground beside it
    channels[:12][channels[:12] == SKY] = 3  # nothing but ground and trees
    found = set()
    for seed in range(20):
        pair, front = draw_pair(channels, instance, disparity, np.random.default_rng(seed), classes=3, least_area=0.01)
        found.add((int((pair == 1 + TREE).argmax(axis=1)[18]), front))
    assert found == {(10, GROUND), (14, TREE)}
