"""Label maps of pairs: the same, resized, don't-care elsewhere, or others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluation.scoring.label_maps import compare_label_maps, likeness, mark
from evaluation.scoring.picture_sets import PictureSet
from pipeline.data.images import resize_ids
from pipeline.data.records import Record
from pipeline.errors import InputError
from tests.evaluation.conftest import draw, photograph, write_pictures, write_records

LARGE = draw(5, 143).label


def corners(ids: np.ndarray, height: int, width: int) -> np.ndarray:
    rows, columns = np.arange(height) * ids.shape[0] // height, np.arange(width) * ids.shape[1] // width
    return ids[rows[:, None], columns[None, :]]


@pytest.mark.parametrize(
    "other",
    [
        LARGE,
        LARGE.astype(np.uint16),
        resize_ids(LARGE, 64, 64),
        resize_ids(LARGE, 64, 200),
        resize_ids(resize_ids(LARGE, 72, 72), 64, 64),
        corners(LARGE, 64, 64),
        np.array(Image.fromarray(LARGE).resize((64, 64), Image.Resampling.NEAREST)),
    ],
    ids=["itself", "16 bits", "resized", "shrunk and stretched", "resized twice", "corners", "Pillow"],
)
def test_one_label_map(other: np.ndarray) -> None:
    assert likeness(LARGE, other, 255) == likeness(other, LARGE, 255) == "same"


def test_one_size_from_two_ways_of_resizing() -> None:
    assert likeness(resize_ids(resize_ids(LARGE, 72, 72), 64, 64), resize_ids(LARGE, 64, 64), 255) == "same"


def test_others_are_told_apart_at_every_size() -> None:
    for index in range(6, 12):
        for size in (32, 64, 143, 256):
            assert likeness(LARGE, draw(index, size).label, 255) == "other"


def test_a_changed_object_is_another_label_map() -> None:
    changed = LARGE.copy()
    changed[60:70, 20:30] = (changed[60:70, 20:30] + 1) % 3
    assert likeness(LARGE, changed, 255) == "other"


def test_dont_care_elsewhere_is_told_apart() -> None:
    filled = np.where(LARGE == 255, 0, LARGE)
    assert likeness(LARGE, filled, 255) == "other unknown"
    assert likeness(LARGE, filled, None) == "other"
    assert likeness(np.full_like(LARGE, 255), LARGE, 255) == "other"


def test_sets_are_compared_sample_by_sample(tmp_path: Path) -> None:
    shown = [draw(index, 64) for index in range(4)]
    small = [Record(r.id, resize_ids(r.label, 32, 32), None, r.image) for r in shown]
    others = [Record(r.id, draw(index + 20).label, None, draw(index + 20).image) for index, r in enumerate(small)]
    reference = PictureSet.open(write_records(tmp_path / "r.parquet", shown[::-1]), what="reference")
    generated = PictureSet.open(write_pictures(tmp_path / "made", small, photograph, samples=2), what="made")
    wrong = PictureSet.open(
        write_pictures(tmp_path / "wrong", [*small[:2], *others[2:]], photograph, samples=2), what="wrong"
    )
    pairs = compare_label_maps(generated, reference, {}, generated.ids)
    assert pairs.marks == {record.id: mark(record.label) for record in small}
    assert pairs.reference_marks == {record.id: mark(record.label) for record in shown}
    assert pairs.warnings == ()
    with pytest.raises(InputError, match=r"2 of 4 label maps of the synthesized pictures .*'scene-002', 'scene-003'"):
        compare_label_maps(wrong, reference, {}, generated.ids)
    with pytest.raises(InputError, match=r"2 of 4 label maps of baseline 'x' "):
        compare_label_maps(generated, reference, {"x": wrong}, generated.ids)
