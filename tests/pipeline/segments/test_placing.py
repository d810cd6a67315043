"""Pieces that a network moves before they are pasted: where every pixel goes, and what is said of it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from pipeline.config import SIMSSettings
from pipeline.networks.baselines.sims_synthesis import SIMSSynthesis
from pipeline.segments import paste as paste_module
from pipeline.segments.bank import MemoryBank
from pipeline.segments.build import build_bank
from pipeline.segments.paste import SegmentPaster
from pipeline.segments.placing import SegmentPlacing
from tests.pipeline.segments.cases import SPACE, scene, write_scenes

STILL = [1, 0, 0, 0, 1, 0]


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> MemoryBank:
    folder = tmp_path_factory.mktemp("bank")
    build_bank(write_scenes(folder / "train.parquet", range(6)), folder / "bank.parquet", quiet=True)
    return MemoryBank(folder / "bank.parquet")


def placing(*theta: float) -> SegmentPlacing:
    """By a network that says the same of every segment."""
    network = SIMSSynthesis(SIMSSettings(transform=True, widths=(1, 1, 1, 1), segment_widths=(2, 2, 2, 2)), SPACE)
    assert network.transformation is not None
    with torch.no_grad():
        network.transformation.theta.bias.copy_(torch.tensor(theta))
    return SegmentPlacing(network.eval())


def test_a_piece_that_is_covered_in_part_keeps_its_colours() -> None:
    picture, mask = np.zeros((6, 8, 3), np.uint8), np.zeros((6, 8), bool)
    mask[2:4, 2:5] = True
    picture[mask] = 80, 160, 240
    moved = placing(1, 0, 0.5, 0, 1, -1).move(picture, mask, mask, np.zeros((6, 8), np.int32))  # half a pixel left
    expected = np.zeros((6, 8), bool)
    expected[3:5, 1:5] = True  # one down; half of the columns 1 and 4
    assert np.array_equal(moved.mask, expected) and moved.theta == (1, 0, 0.5, 0, 1, -1)
    assert (moved.picture[expected] == [80, 160, 240]).all() and not moved.picture[~expected].any()


def test_pieces_are_pasted_where_the_network_moves_them(bank: MemoryBank, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paste_module, "EDGE", 0.0)
    label, instance, _ = scene(60)

    def paste(given: SegmentPlacing | None) -> tuple[paste_module.Pasted, list[dict]]:
        paster = SegmentPaster(bank, SPACE, placing=given)
        pasted = paster.paste(label, instance, record="x", rng=np.random.default_rng(0))
        return pasted, json.loads(paster.describe(pasted))

    plain, told = paste(None)
    still, still_told = paste(placing(*STILL))
    assert np.array_equal(plain.canvas, still.canvas) and np.array_equal(plain.label, still.label)
    assert [source.pop("moved") for source in still_told] == [STILL] * len(told) and still_told == told
    moved, moved_told = paste(placing(1, 0, -2, 0, 1, -3))  # two to the right, three down
    front = moved_told[-1]
    assert front["moved"] == [1, 0, -2, 0, 1, -3] and front["segment"] == told[-1]["segment"]
    mask = np.zeros_like(label, bool)
    mask[3:, 2:] = bank.frame_mask(front["segment"], 48, 40)[:-3, :-2]
    assert front["pixels"] == mask.sum() and (moved.label[mask] == 2).all()
    photograph = scene(int(front["record"].removeprefix("scene-")))[2]
    known = (moved.canvas[..., 3] == 255) & mask
    assert known.any() and np.array_equal(moved.canvas[known, :3], photograph[:-3, :-2][known[3:, 2:]])
    inside = SegmentPaster(bank, SPACE, paste="inside", placing=placing(1, 0, -2, 0, 1, -3))
    assert np.array_equal(inside.paste(label, instance, record="x", rng=np.random.default_rng(0)).label, label)


def test_a_network_without_that_part_moves_nothing(bank: MemoryBank) -> None:
    given = SegmentPlacing(SIMSSynthesis(SIMSSettings(widths=(1, 1, 1, 1)), SPACE))
    paster = SegmentPaster(bank, SPACE, placing=given)
    assert paster.moving is None and paster.ordering is None


def test_the_network_says_which_of_two_that_overlap_is_in_front(
    bank: MemoryBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paste_module, "EDGE", 0.0)
    settings = SIMSSettings(order_network=True, order_hidden=2, widths=(1, 1, 1, 1), segment_widths=(1, 1, 1, 1))
    network = SIMSSynthesis(settings, SPACE).eval()
    assert network.ordering is not None
    label, instance, _ = scene(61)

    def owners(front: int | None) -> np.ndarray:
        """The class that is seen at each pixel, by a network that has always the same class in front."""
        with torch.no_grad():
            network.ordering.classify.weight.zero_()
            network.ordering.classify.bias.copy_(torch.eye(4)[front or 0])
        given = None if front is None else SegmentPlacing(network)
        paster = SegmentPaster(bank, SPACE, order=["sky", "land", "tree"], placing=given)
        return paster.paste(label, instance, record="x", rng=np.random.default_rng(0)).label

    plain, trees = owners(None), owners(2)
    assert np.array_equal(plain, trees)  # as the order has it
    sky, land = owners(0), owners(1)
    assert (sky == 0).sum() > (plain == 0).sum() and (land == 1).sum() > (plain == 1).sum()
    assert ((sky == 0) >= (plain == 0)).all() and ((land == 1) >= (plain == 1)).all()
