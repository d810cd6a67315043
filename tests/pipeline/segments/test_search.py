"""Retrieval against the golden figures, a plain twin, and by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.segments.bank import MemoryBank
from pipeline.segments.build import build_bank
from pipeline.segments.coarse import coarse_box, coarse_iou, context_overlap, pack_mask
from pipeline.segments.search import COARSE, _largest, find_matches
from tests.golden.baselines import Golden, cases
from tests.pipeline.segments.cases import plain_best, scene, write_scenes


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> MemoryBank:
    """Of eight scenes: at most ten segments of most classes."""
    folder = tmp_path_factory.mktemp("bank")
    build_bank(write_scenes(folder / "train.parquet", range(4)), folder / "bank.parquet", quiet=True)
    return MemoryBank(folder / "bank.parquet")


@pytest.mark.parametrize("path", cases(["sims/retrieval"]))
def test_both_terms_and_the_order_of_the_golden_retrieval(path: Path) -> None:
    golden = {name: value.numpy() for name, value in Golden(path).items()}
    masks = golden["bank_masks"].astype(bool)
    for query, label in enumerate(golden["query_class"]):
        mask = golden["query_masks"][query].astype(bool)
        numbers = np.flatnonzero(golden["bank_class"] == label)
        both = (masks[numbers] & mask).sum(axis=(1, 2)) / (masks[numbers] | mask).sum(axis=(1, 2))
        np.testing.assert_allclose(both, golden["score_frame_iou"][query, numbers], rtol=1e-6)
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        box = rows[0], columns[0], rows[-1] + 1 - rows[0], columns[-1] + 1 - columns[0]
        context = context_overlap(golden["query_ids"], golden["bank_ids"][golden["bank_picture"][numbers]], box)
        np.testing.assert_allclose(context, golden["score_context"][query, numbers], rtol=1e-6)
        for values, wanted in ((both, "top_frame"), (both + context, "top_frame_plus_context")):
            best = _largest(numbers, values, 10)
            assert best.tolist() == golden[wanted][query][: len(best)].tolist()
        # At 64x64 a frame of 48x64 is itself, its rows doubled here and there.
        coarse = coarse_iou(pack_mask(mask), np.stack([pack_mask(masks[number]) for number in numbers]))
        np.testing.assert_allclose(coarse, both, atol=0.02)


def test_coarse_masks_are_the_frames_bits() -> None:
    mask = np.random.default_rng(0).random((64, 64)) < 0.3
    other = np.random.default_rng(1).random((64, 64)) < 0.3
    packed = np.stack([pack_mask(mask), pack_mask(other), np.zeros(64, np.uint64)])
    assert packed.dtype == np.uint64 and packed.shape == (3, 64)
    assert np.array_equal(np.unpackbits(packed[0].view(np.uint8)).reshape(64, 64), mask)
    expected = [1.0, (mask & other).sum() / (mask | other).sum(), 0.0]
    assert coarse_iou(packed[0], packed).tolist() == expected
    assert coarse_iou(packed[2], packed).tolist() == [0, 0, 0]  # nothing has nothing in common with nothing
    many = np.repeat(packed, 9000, axis=0)  # more than are compared at once
    assert coarse_iou(packed[0], many)[::9000].tolist() == expected
    # A frame of 128x32: each coarse pixel is the middle of 2 rows, and of half a column.
    tall = np.zeros((128, 32), bool)
    tall[32:64, 8:16] = True
    bits = np.unpackbits(pack_mask(tall).view(np.uint8)).reshape(64, 64)
    assert bits[16:32, 16:32].all() and bits.sum() == 16 * 16
    assert coarse_box((32, 8, 32, 8), 128, 32) == (16, 16, 16, 16)
    assert coarse_box((33, 1, 1, 1), 100, 100) == (21, 0, 1, 2)


def test_the_best_are_those_of_the_plain_twin(bank: MemoryBank) -> None:
    found = 0
    for number, instances in ((50, True), (51, False), (52, True)):
        label, instance, _ = scene(number)
        given = instance if instances else None
        channels = np.where(label == 9, 3, label).astype(np.int32)
        matches = find_matches(bank, channels, given)
        wanted = plain_best(bank, label, given)
        assert [(match.segment, match.iou, match.context) for match in matches] == pytest.approx(wanted)
        assert all(bank.labels[match.segment] == match.query.label for match in matches)
        found += len(matches)
    assert found > 9


def test_a_picture_finds_itself_unless_it_is_left_out(bank: MemoryBank) -> None:
    label, instance, _ = scene(2)
    channels = np.where(label == 9, 3, label).astype(np.int32)
    own = bank.picture_number("scene-2")
    assert own is not None and bank.picture_number("scene-50") is None
    matches = find_matches(bank, channels, instance)
    assert all(match.iou == match.context == 1 and bank.pictures[match.segment] == own for match in matches)
    others = find_matches(bank, channels, instance, exclude=own)
    assert len(others) == len(matches) and all(bank.pictures[match.segment] != own for match in others)
    assert [(match.segment, match.iou, match.context) for match in others] == pytest.approx(
        plain_best(bank, label, instance, own)
    )


def test_of_equal_ones_the_first_is_taken() -> None:
    values = np.array([0.5, 0.7, 0.5, 0.7, 0.1])
    assert _largest(np.arange(5), values, 3).tolist() == [1, 3, 0]
    assert _largest(np.arange(5), values, 9).tolist() == [1, 3, 0, 2, 4]
    assert _largest(np.arange(5)[::-1], values[::-1], 1).tolist() == [1]
    assert COARSE >= 10


def test_a_class_that_the_bank_lacks_has_no_match(tmp_path: Path) -> None:
    build_bank(write_scenes(tmp_path / "train.parquet", range(1)), tmp_path / "bank.parquet", quiet=True)
    bank = MemoryBank(tmp_path / "bank.parquet")
    label, _, _ = scene(7)
    channels = np.where(label == 9, 3, label).astype(np.int32)
    assert {match.query.label for match in find_matches(bank, channels, None)} == {0, 1, 2}
    assert not find_matches(bank, channels, None, exclude=0)
