"""Canvases against the golden figures, and by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.segments.canvas import band_size, compose, edge_band, elide
from tests.golden.baselines import Golden, cases


@pytest.mark.parametrize("path", cases(["sims/canvas"]))
def test_the_golden_canvas(path: Path) -> None:
    golden = {name: value.numpy() for name, value in Golden(path).items()}
    masks = golden["masks"].astype(bool)
    owner = compose(masks, golden["earlier_in_front"].astype(bool))
    assert np.array_equal(owner, golden["owner"])
    assert (owner != compose(masks)).any()
    seen = owner >= 0
    assert np.array_equal(seen, golden["known"].astype(bool))
    rows, columns = np.nonzero(seen)
    canvas = np.zeros_like(golden["canvas"])
    canvas[seen] = golden["segments"][owner[seen], rows, columns]
    assert np.array_equal(canvas, golden["canvas"])
    labels = np.where(seen, golden["classes"][owner], 255)
    assert np.array_equal(labels, golden["label_map"])
    for number, band in enumerate(golden["boundary_band5"].astype(bool)):
        assert np.array_equal(edge_band(owner == number, 5), band)


def test_later_ones_cover_earlier_ones_that_are_not_in_front() -> None:
    masks = np.zeros((3, 1, 4), bool)
    masks[0, 0, :2] = masks[1, 0, 1:3] = masks[2, 0, 1] = True
    assert compose(masks).tolist() == [[0, 2, 1, -1]]
    front = np.zeros((3, 3), bool)
    front[1, 2] = True
    assert compose(masks, front).tolist() == [[0, 1, 1, -1]]
    front[0, 1] = True
    assert compose(masks, front).tolist() == [[0, 2, 1, -1]]  # 1 never came in front of 0, where 2 covers it
    assert compose(np.zeros((0, 1, 2), bool)).tolist() == [[-1, -1]]


def test_the_band_lies_inside_and_the_frame_is_no_edge() -> None:
    mask = np.zeros((9, 9), bool)
    mask[:, :6] = True
    assert np.array_equal(edge_band(mask, 1), (np.arange(9) == 5) & mask)
    assert np.array_equal(edge_band(mask, 5), (np.arange(9) >= 3) & mask)
    assert not edge_band(np.ones((4, 4), bool), 3).any()
    assert edge_band(np.eye(3, dtype=bool), 1).sum() == 3
    assert band_size(0.05, 64) == 3 and band_size(0.035, 256) == 9 and band_size(0.05, 0) == 1


def test_half_of_the_band_is_left_out_by_the_seed_alone() -> None:
    masks = np.zeros((2, 80, 80), bool)
    masks[0, :, :50] = masks[1, :, 40:] = True
    owner = compose(masks)
    owner[:, 78:] = -1
    known = elide(owner, 9, np.random.default_rng(3))
    band = np.zeros((80, 80), bool)
    band[:, 35:45] = band[:, 73:78] = True  # of what is seen: not where the first one lies below the second
    assert known[~band & (owner >= 0)].all() and not known[owner < 0].any()
    assert 0.45 < known[band].mean() < 0.55
    assert np.array_equal(known, elide(owner, 9, np.random.default_rng(3)))
    assert not np.array_equal(known, elide(owner, 9, np.random.default_rng(4)))
    assert not elide(np.full((4, 4), -1, np.int32), 3, np.random.default_rng(0)).any()
