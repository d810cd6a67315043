"""What people said of pictures is counted for the right classes, and the right pictures are shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from evaluation.report.marks import mark_lines
from evaluation.scoring.marks import ClassMarks, MarkCount, MarkedSet
from evaluation.scoring.protocols import find_protocols
from evaluation.scoring.scorer import ImageScorer
from evaluation.segmenters.base import Prediction, Segmenter
from pipeline.data.marks import MARK_FIELDS
from pipeline.data.records import DatasetInfo, RecordWriter
from pipeline.errors import InputError
from pipeline.labels import LabelSpace
from tests.evaluation.conftest import SPACE, write_records

GROUND, WALL, LAMP = range(3)


class ByColour(Segmenter):
    """Sees the class whose colour is nearest."""

    classes = SPACE.classes

    def forward(self, images: torch.Tensor, *, scales: Any = "own") -> Prediction:
        palette = torch.tensor(SPACE.palette, dtype=torch.float32)
        scores = -(images[:, None] - palette[None, :, :, None, None]).square().sum(2)
        return Prediction(scores, images.mean((2, 3)))

    def describe(self) -> dict[str, Any]:
        return {}


def scorer() -> ImageScorer:
    return ImageScorer(ByColour(), SPACE, find_protocols(["native"], {}), batch_size=2)


def picture(label: np.ndarray) -> np.ndarray:
    return np.array(SPACE.palette, np.uint8)[label]


def write_marks(path: Path, rows: list[dict[str, Any]], space: LabelSpace = SPACE) -> Path:
    with RecordWriter(path, DatasetInfo(space), MARK_FIELDS) as writer:
        for number, row in enumerate(rows):
            writer.write({"id": f"mark-{number}", "sample": 0, "style": '{"seed": 3}', "seed": 3, **row})
    return path


@pytest.fixture
def marked(tmp_path: Path) -> MarkedSet:
    """Five pictures in two files: a lamp is bad, a wall good, and one pixel of a lamp counts for nothing."""
    ground = np.zeros((16, 16), np.uint8)
    wall, lamp, speck = ground.copy(), ground.copy(), ground.copy()
    wall[:8], lamp[:4], speck[0, 0] = WALL, LAMP, LAMP  # one of 256 pixels is below one in a hundred
    rows = [
        {"label": lamp, "image": picture(ground), "mark": "bad", "note": "no lamp", "checkpoint": "c0ffee"},
        {"label": wall, "image": picture(wall), "mark": "good", "checkpoint": "c0ffee"},
        {"label": lamp, "image": picture(lamp), "mark": "tie"},
        {"label": speck, "image": picture(speck), "mark": "better"},
    ]
    one = write_marks(tmp_path / "one.parquet", rows)
    two = write_marks(tmp_path / "two.parquet", [{"label": lamp, "image": picture(wall), "mark": "bad"}])
    return MarkedSet.open([one, two], SPACE)


def test_marks_are_counted_by_class_and_beside_what_the_segmenter_sees(marked: MarkedSet) -> None:
    scores, shown = marked.score(scorer(), checkpoint="c0ffee", count=3)
    # Of the first bad picture 4 of 16 rows are wrong; of the second rows 0 to 7, which are wall: half.
    assert scores.counts == (
        MarkCount("bad", 2, pytest.approx((0.75 + 0.5) / 2)),
        MarkCount("tie", 1, 1),
        MarkCount("good", 1, 1),
        MarkCount("better", 1, 1),
    )
    assert scores.classes == (ClassMarks("lamp", 0, 2), ClassMarks("ground", 2, 2), ClassMarks("wall", 1, 0))
    assert (scores.pictures, scores.same_weights) == (5, 2)
    assert [(each.mark, each.note) for each in shown] == [("bad", ""), ("tie", ""), ("good", "")]
    assert np.array_equal(shown[2].predicted, shown[2].target) and shown[0].accuracy == 0.5
    lines = "\n".join(mark_lines(scores))
    assert "5 pictures that people marked" in lines and "2 are of the weights" in lines
    assert "| bad | 2 | 62.5% |" in lines and "| lamp | 0 | 2 | 100% |" in lines and "| ground | 2 | 2 | 50% |" in lines


def test_all_are_shown_where_there_is_room(marked: MarkedSet) -> None:
    _, shown = marked.score(scorer(), checkpoint=None, count=9)
    assert [each.mark for each in shown] == ["bad", "bad", "tie", "good", "better"]
    assert marked.score(scorer(), checkpoint=None, count=0)[1] == ()


def test_what_is_refused(tmp_path: Path) -> None:
    from tests.evaluation.conftest import draw

    photographs = write_records(tmp_path / "photographs.parquet", [draw(0)])
    with pytest.raises(InputError, match=r"photographs.parquet has no column 'mark'; give a file of marks"):
        MarkedSet.open([photographs], SPACE)
    with pytest.raises(InputError, match=r"^marks: .* does not exist"):
        MarkedSet.open([tmp_path / "none.parquet"], SPACE)
    other = LabelSpace(classes=("ground", "wall", "lantern"), palette=SPACE.palette)
    label = np.zeros((4, 4), np.uint8)
    path = write_marks(tmp_path / "other.parquet", [{"label": label, "image": picture(label), "mark": "bad"}], other)
    with pytest.raises(InputError, match=r"other.parquet are of other classes than the pictures"):
        MarkedSet.open([path], SPACE)
