"""Memorisation from pictures to a page: sets that are the training set, mirrored, noisy or new."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner

from cli import main
from evaluation import memorisation
from evaluation.memorisation import measure_memorisation
from evaluation.metrics.nearest import Neighbours
from evaluation.report.memorisation import COLUMNS, closest_copies, closest_repeats
from evaluation.scoring import distributed
from evaluation.segmenters.base import Prediction, Scales, Segmenter
from pipeline.data.records import Record, resize_record
from pipeline.errors import InputError
from tests.evaluation.conftest import SPACE, draw, photograph, write_pictures, write_records
from tests.pages import check_page


class Thumbnail(Segmenter):
    """Features that are the picture itself, reduced to 4x4 pixels."""

    kind = "thumbnail"
    classes = SPACE.classes
    feature_dimensions = 48
    feature_name = "thumbnails"
    sha256 = "c0ffee"

    def forward(self, images: torch.Tensor, *, scales: Scales = "own") -> Prediction:
        return Prediction(images, F.adaptive_avg_pool2d(images, 4).flatten(1))

    def describe(self) -> dict:
        return {}


@pytest.fixture(autouse=True)
def segmenter(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (memorisation, distributed):
        monkeypatch.setattr(module, "load_segmenter", lambda *_, **__: Thumbnail())


TRAINED = [draw(index) for index in range(12)]


@pytest.fixture
def training(tmp_path: Path) -> Path:
    return write_records(tmp_path / "train.parquet", TRAINED)


def measure(tmp_path: Path, pictures: list[Record], training: Path, **options: object) -> memorisation.Memorisation:
    images = write_pictures(tmp_path / "images", pictures, photograph)
    return measure_memorisation(images, training, tmp_path / "out", segmenter_weights=tmp_path, device="cpu", **options)  # type: ignore[arg-type]


def read_table(tmp_path: Path) -> list[dict[str, str]]:
    with (tmp_path / "out" / "memorisation.csv").open() as file:
        return list(csv.DictReader(file))


def noisy(record: Record) -> Record:
    assert record.image is not None
    noise = np.random.default_rng(0).normal(0, 8, record.image.shape)
    return replace(record, image=(record.image + noise).round().clip(0, 255).astype(np.uint8))


def mirrored(record: Record) -> Record:
    assert record.image is not None
    return replace(record, image=record.image[:, ::-1], label=record.label[:, ::-1])


@pytest.mark.parametrize("form", ["as they are", "noisy", "mirrored"])
def test_a_set_that_is_the_training_set(tmp_path: Path, training: Path, form: str) -> None:
    change = {"as they are": lambda record: record, "noisy": noisy, "mirrored": mirrored}[form]
    found = measure(tmp_path, [change(record) for record in TRAINED], training).synthesized
    assert (found.authentic, found.copies, found.own_map) == (0, 1, 1)
    assert found.intervals["copies"] == (1, 1)
    rows = read_table(tmp_path)
    assert all(row["id"] == row["photograph"] for row in rows)
    assert {row["mirrored"] for row in rows} == {"1" if form == "mirrored" else "0"}
    if form != "noisy":
        assert max(float(row["distance"]) for row in rows) < 1e-3
    page = (tmp_path / "out" / "memorisation.html").read_text()
    assert "100.0% of the pictures are copies of a training photograph" in page
    assert "100.0% of these are nearest to the photograph of their own map" in page
    assert page.count("<figcaption>nearest photograph, mirrored") == (8 if form == "mirrored" else 0)


def test_new_pictures_and_held_out_photographs(tmp_path: Path, training: Path) -> None:
    new = [draw(index) for index in range(50, 62)]
    new[1] = replace(new[0], id="again")
    held_out = write_records(tmp_path / "held-out.parquet", [draw(index) for index in range(100, 110)])
    found = measure(tmp_path, new, training, held_out=held_out, pairs=1)
    assert found.held_out is not None
    for part in (found.synthesized, found.held_out):
        assert part.authentic > 0.2
        assert part.copies < 0.2
        assert part.own_map is None
        assert sum(part.histogram) == pytest.approx(1)
    kept = json.loads((tmp_path / "out" / "memorisation.json").read_text())
    assert kept["synthesized"]["authentic"] == found.synthesized.authentic
    assert kept["held_out"]["pictures"] == 10
    assert (kept["photographs"], kept["features"]) == (12, "thumbnails")
    assert str(found).startswith("synthesized, 12: ")
    assert "held-out photographs, 10: " in str(found)
    rows = read_table(tmp_path)
    assert tuple(rows[0]) == COLUMNS
    pairs = {row["id"]: row["other"] for row in rows if float(row["other_distance"]) < 1e-3}
    assert pairs == {"scene-050": "again", "again": "scene-050"}
    repeated = {row["id"] for row in rows if row["near_duplicate"] == "1"}
    assert repeated >= set(pairs)
    assert found.synthesized.near_duplicates == found.synthesized.near_duplicates_across_maps == len(repeated) / 12
    for row in rows:
        assert float(row["closeness"]) == pytest.approx(float(row["distance"]) / float(row["spacing"]))
        assert (row["authentic"] == "1") == (float(row["closeness"]) > 1)
    page = (tmp_path / "out" / "memorisation.html").read_text()
    check_page(page)
    assert page.count("<figure>") == 3 + 2  # one pair of each kind
    assert "<figcaption>again</figcaption>" in page
    assert not list(tmp_path.glob(".*"))  # the features that were kept for a command that is given again


def test_photographs_are_seen_at_the_size_of_the_pictures(tmp_path: Path) -> None:
    # Larger photographs of which the pictures are reductions are the same to 4x4 means.
    large = write_records(tmp_path / "large.parquet", [draw(index, 64) for index in range(12)])
    small = [resize_record(draw(index, 64), 32, 32) for index in range(12)]
    assert measure(tmp_path, small, large).synthesized.copies == 1


def test_what_is_shown_is_the_closest() -> None:
    found = Neighbours(
        photograph=np.array([0, 1, 0, 2, 1]),
        mirrored=np.zeros(5, bool),
        distance=np.array([3.0, 2, 1, 8, 4]),
        spacing=np.array([1.0, 4, 1, 1, 4]),
        other=np.array([1, 0, 3, 2, 0]),
        other_distance=np.array([6.0, 6, 5, 5, 9]),
    )
    # Closeness 3, 0.5, 1, 8, 1: of photograph 0 the third picture, of 1 the second, of 2 the fourth.
    assert closest_copies(found, 8) == [1, 2, 3]
    assert closest_copies(found, 2) == [1, 2]
    # To each other 6, 1.5, 5, 5, 2.25: pairs (1, 0), (4, 0), (2, 3); 3 and 0 repeat pairs.
    assert closest_repeats(found, 8) == [1, 4, 2]
    assert closest_repeats(found, 1) == [1]
    assert closest_repeats(replace(found, other=np.full(5, -1)), 8) == []


def test_refusals(tmp_path: Path, training: Path) -> None:
    new = [draw(50)]
    with pytest.raises(InputError, match=r"12 ids of \S+train.parquet are in \S+train.parquet as well \(the first is"):
        measure(tmp_path, new, training, held_out=training)
    grey = replace(draw(0), image=np.full((32, 32, 3), 99, np.uint8))
    same = write_records(tmp_path / "same.parquet", [replace(grey, id=str(index)) for index in range(3)])
    with pytest.raises(InputError, match=r"the photographs in \S+same.parquet are all the same; give two different"):
        measure(tmp_path, new, same)
    one = write_records(tmp_path / "one.parquet", [draw(0)])
    with pytest.raises(InputError, match=r"one.parquet are all the same; give two different"):
        measure(tmp_path, new, one)
    (tmp_path / "out").write_text("a file")
    with pytest.raises(InputError, match="out is a file; name a folder"):
        measure(tmp_path, new, training)


def test_the_command(tmp_path: Path, training: Path) -> None:
    images = write_pictures(tmp_path / "images", TRAINED[:3], photograph, samples=2)
    arguments = ["memorisation", "--images", images, "--training", training, "--segmenter-weights", tmp_path]
    result = CliRunner().invoke(main, [str(part) for part in [*arguments, "--out", tmp_path / "out"]])
    assert result.exit_code == 0, result.output
    assert "100.0% copies of photographs (100.0–100.0%), 100.0% near-duplicates of each other" in result.stdout
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "memorisation.csv",
        "memorisation.html",
        "memorisation.json",
        "tables",
    }
    assert "0.0% of another label map" in (tmp_path / "out" / "memorisation.html").read_text()
