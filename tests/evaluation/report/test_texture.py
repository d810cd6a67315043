"""The texture of a report: what the table marks, which regions are shown; the examples' ranks; the note on styles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from evaluation.metrics.confusion import ConfusionMatrix
from evaluation.metrics.texture import TextureStatistics
from evaluation.report.settings import style_note
from evaluation.report.texture import REGION_SIDE, shown_periods, texture_table, worst_regions
from evaluation.scoring.image_results import Confusions, ImageResults
from evaluation.scoring.picture_sets import PictureSet, Selection
from evaluation.scoring.protocols import PRESETS
from evaluation.scoring.scorer import ImageScorer
from evaluation.scoring.textures import Textures, TextureScores
from pipeline.data.records import Record
from tests.evaluation.conftest import SPACE, write_pictures, write_records

SIDE = 64


def scene(index: int) -> Record:
    """The wall above the ground, white noise on both."""
    label = np.zeros((SIDE, SIDE), np.uint8)
    label[:32] = 1
    noise = np.random.default_rng(index).normal(128, 10, (SIDE, SIDE, 1))
    image = noise.round().clip(0, 255).astype(np.uint8).repeat(3, 2)
    return Record(f"scene-{index}", label, None, image)


def spoil(record: Record, sample: int) -> np.ndarray:
    """A weave of four pixels in the wall, strongest at the right of scene 2; the ground flat."""
    assert record.image is not None
    image = record.image.astype(int)
    strength = np.full(SIDE, 4)
    if record.id == "scene-2":
        strength[40:] = 30
    image[:32] += (strength * (np.arange(SIDE) % 4 == 0))[None, :, None]
    image[32:] = 128
    return image.clip(0, 255).astype(np.uint8)


RECORDS = [scene(index) for index in range(4)]
PICTURES = [replace(record, image=spoil(record, 0)) for record in RECORDS]


def results(records: list[Record]) -> ImageResults:
    found = []
    for record in records:
        assert record.image is not None
        found.append(TextureStatistics(len(SPACE.classes)))
        found[-1].update(record.image, record.label)
    count = len(records)
    return ImageResults(
        ids=np.array([record.id for record in records]),
        samples=np.zeros(count, np.int32),
        sizes=np.full((count, 2), SIDE, np.int32),
        confusions={"native": Confusions.of([ConfusionMatrix(3)] * count, 3)},
        boundaries={"native": np.zeros((count, 3, 4), np.int32)},
        features=np.zeros((count, 2), np.float32),
        texture=Textures.of(found, len(SPACE.classes)),
    )


def textures(records: list[Record]) -> TextureScores:
    found = TextureScores.of(results(records), results(RECORDS), SPACE.classes, replicates=50)
    assert found is not None
    return found


def test_the_table_marks_what_photographs_do_not_have() -> None:
    scores: Any = SimpleNamespace(
        synthesized=SimpleNamespace(texture=textures(PICTURES)), ceiling=SimpleNamespace(texture=textures(RECORDS))
    )
    assert shown_periods(scores) == [2, 4, 8]  # 32 rows hold no window of 64 pixels
    table = texture_table(scores)
    assert table is not None
    assert table.heads[2:4] == ("power 8–16 px", "lattice 2 px")
    ground, wall = sorted(table.rows, key=lambda row: row.name)
    assert (ground.name, wall.name) == ("ground", "wall")
    # Only the rounding of grey levels is left of noise of deviation 10.
    assert [cell.tone for cell in ground.cells] == ["off"] * 3 + [""] * 3
    assert ground.cells[0].text.startswith("×0.0003")
    assert [cell.text for cell in ground.cells[3:]] == ["1.00", "1.00", "1.00"]
    assert [cell.tone for cell in wall.cells[3:5]] == ["off", "off"]  # a line every four pixels has half that period
    assert wall.cells[4].small[0].endswith(" in photographs")
    perfect: Any = SimpleNamespace(synthesized=scores.ceiling, ceiling=scores.ceiling)
    table = texture_table(perfect)
    assert table is not None
    assert not any(cell.tone for row in table.rows for cell in row.cells)
    nothing: Any = SimpleNamespace(synthesized=SimpleNamespace(texture=None), ceiling=scores.ceiling)
    assert texture_table(nothing) is None


def test_the_worst_regions_are_where_the_fault_is_plainest(tmp_path: Path) -> None:
    pictures = PictureSet.open(write_pictures(tmp_path / "images", RECORDS, spoil), what="pictures")
    photographs = PictureSet.open(write_records(tmp_path / "real.parquet", RECORDS), what="photographs")
    scorer = ImageScorer(None, SPACE, [PRESETS["native"]])  # type: ignore[arg-type]  # which sees nothing here
    arguments = (scorer, pictures, photographs, (results(PICTURES), results(RECORDS)))
    lattice, power = worst_regions(*arguments, (textures(PICTURES), textures(RECORDS)), Selection())
    assert lattice.id == "scene-2"
    assert lattice.title.startswith("wall: ×")
    assert lattice.title.endswith("the photographs' lattice of 4 pixels, along the axes")
    assert lattice.image.shape == lattice.photograph.shape == (REGION_SIDE, REGION_SIDE, 3)
    rows, columns = lattice.window
    assert (rows.stop - rows.start, columns.stop - columns.start) == (16, 16)
    # The window is in the strong part: its lines are 30 levels above what they were.
    assert (lattice.image.astype(int) - lattice.photograph)[lattice.window].max() == 30
    assert power.title.startswith("ground: ×0.000")
    assert (power.image[power.window] == 128).all()
    same = worst_regions(*arguments, (textures(RECORDS), textures(RECORDS)), Selection())
    assert same == []


@pytest.mark.parametrize(
    ("made", "note"),
    [
        ({"style": {"kind": "column"}}, "Each synthesized picture is in the style of its photograph."),
        ({"style": {"kind": "other row"}}, "in the style of other photographs"),
        ({"style": {"kind": "noise"}}, "were not given the style of their photographs"),
        ({}, "were not given the style of their photographs"),
    ],
)
def test_the_style_of_pictures_is_told(made: dict[str, Any], note: str) -> None:
    scores: Any = SimpleNamespace(synthesized=SimpleNamespace(source={"made": made}))
    assert note in style_note(scores)
