"""Inputs that cannot be used as a whole, and outputs inside of them, end in one clear line."""

from __future__ import annotations

import re
from contextlib import nullcontext

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.data.records import DatasetInfo, RecordWriter
from pipeline.errors import InputError
from pipeline.labels import LabelSpace
from pipeline.synthesis.checks import refuse_output_in_input
from tests.pipeline.synthesis import cases

GOOD = cases.good_label()


def _missing(folder):
    return folder / "nothing.parquet"


def _empty_folder(folder):
    (folder / "maps").mkdir()
    return folder / "maps"


def _not_parquet(folder):
    (folder / "maps.parquet").write_text("id,label\n")
    return folder / "maps.parquet"


def _zero_bytes(folder):
    (folder / "maps.parquet").write_bytes(b"")
    return folder / "maps.parquet"


def _truncated(folder):
    path = cases.write_maps(folder / "maps.parquet", 4)
    path.write_bytes(path.read_bytes()[:-20])
    return path


def _damaged_pages(folder):
    path = cases.write_maps(folder / "maps.parquet", 40)
    data = bytearray(path.read_bytes())
    data[4:2000] = bytes(1996)
    path.write_bytes(bytes(data))
    return path


def _damaged_labels(folder):
    path = cases.write_cells(folder / "maps.parquet", [GOOD] * 40)
    data = bytearray(path.read_bytes())
    data[4:100] = bytes(96)
    path.write_bytes(bytes(data))
    return path


def _no_rows(folder):
    return cases.write_cells(folder / "maps.parquet", [])


def _no_label_column(folder):
    pq.write_table(pa.table({"id": ["a"], "mask": [b"x"]}), folder / "maps.parquet")
    return folder / "maps.parquet"


def _label_is_a_number(folder):
    pq.write_table(pa.table({"label": [3]}), folder / "maps.parquet")
    return folder / "maps.parquet"


def _label_is_a_list(folder):
    pq.write_table(pa.table({"label": [[1, 2, 3]]}), folder / "maps.parquet")
    return folder / "maps.parquet"


def _other_classes(folder):
    with RecordWriter(folder / "maps.parquet", DatasetInfo(LabelSpace(classes=("cat", "dog")))) as writer:
        writer.write({"id": "a", "label": np.zeros((32, 32), np.uint8)})
    return folder / "maps.parquet"


def _other_dont_care(folder):
    with RecordWriter(folder / "maps.parquet", DatasetInfo(LabelSpace(classes=cases.CLASSES, dont_care=254))) as writer:
        writer.write({"id": "a", "label": np.zeros((32, 32), np.uint8)})
    return folder / "maps.parquet"


def _spoilt_metadata(folder):
    table = pa.table({"label": [GOOD]}).replace_schema_metadata({b"spadework": b"{"})
    pq.write_table(table, folder / "maps.parquet")
    return folder / "maps.parquet"


def _one_file_of_two_lacks_the_column(folder):
    (folder / "maps").mkdir()
    cases.write_cells(folder / "maps" / "a.parquet", [GOOD])
    pq.write_table(pa.table({"mask": [GOOD]}), folder / "maps" / "b.parquet")
    return folder / "maps"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_missing, "nothing.parquet does not exist"),
        (_empty_folder, "has no .parquet files"),
        (_not_parquet, "maps.parquet is not a readable Parquet file"),
        (_zero_bytes, "maps.parquet is not a readable Parquet file"),
        (_truncated, "maps.parquet is not a readable Parquet file"),
        (_damaged_pages, "maps.parquet is damaged"),
        (_damaged_labels, "maps.parquet is damaged"),
        (_no_rows, "maps.parquet has no rows"),
        (_no_label_column, "lacks the column label; it has id, mask"),
        (_label_is_a_number, "column label of .* is int64"),
        (_label_is_a_list, "column label of .* is list"),
        (_other_classes, "the checkpoint is of other classes: 4 .sky, sea, sand.* where the input has 2 .cat, dog"),
        (_other_dont_care, "4 .sky, sea, sand, ...; don't-care 255., where the input has .* don't-care 254"),
        (_spoilt_metadata, "maps.parquet has unusable 'spadework' metadata"),
        (_one_file_of_two_lacks_the_column, "b.parquet lacks the column label; it has mask"),
    ],
)
def test_a_bad_input_ends_in_one_line_and_leaves_nothing(checkpoint, tmp_path, make, message):
    line = cases.error_line(cases.command(make(tmp_path), checkpoint, tmp_path / "out"))
    assert re.search(message, line), line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("data", "data/images"),
        ("data", "data/deep/images"),
        ("data/", "data"),
        ("data/../data", "link/images"),
        ("link", "data/images"),
        ("data/*.parquet", "data"),
        ("data/**/*.parquet", "data/deep/images"),
        ("data/*/*.parquet", "data/images"),
    ],
)
def test_an_output_in_the_input_is_refused_at_the_start(checkpoint, tmp_path, source, output):
    (tmp_path / "data" / "sub").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "data")
    for path in (tmp_path / "data" / "maps.parquet", tmp_path / "data" / "sub" / "maps.parquet"):
        cases.write_cells(path, [GOOD])
    before = sorted(tmp_path.rglob("*"))
    line = cases.error_line(cases.command(f"{tmp_path}/{source}", checkpoint, f"{tmp_path}/{output}"))
    assert "lies in the input" in line
    assert "give an output folder outside it" in line
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("data", "data-images"),
        ("data", "data/_images"),
        ("data/maps.parquet", "data/images"),
        ("data/*.parquet", "data/images"),
        ("data/m*.parquet", "data/images"),
    ],
)
def test_an_output_beside_the_input_can_be_continued(checkpoint, tmp_path, source, output):
    (tmp_path / "data").mkdir()
    cases.write_cells(tmp_path / "data" / "maps.parquet", [GOOD])
    for _ in range(2):
        result = cases.command(f"{tmp_path}/{source}", checkpoint, f"{tmp_path}/{output}")
        assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("source", "output", "refused"),
    [
        ("s3://bucket/data?region=x", "s3://bucket/data/images?region=x", True),
        ("s3://bucket/data/", "s3://bucket/data", True),
        ("s3://bucket/*.parquet", "s3://bucket/data/images", True),
        ("s3://bucket/data", "s3://bucket/data-images", False),
        ("s3://bucket/data", "s3://bucket/data/_images", False),
        ("s3://bucket/data", "s3://other/data/images", False),
        ("s3://bucket/data", "data/images", False),
        ("file:///data", "s3://bucket/data", False),
    ],
)
def test_an_output_in_an_input_at_a_uri_is_refused(source, output, refused):
    with pytest.raises(InputError, match="lies in the input") if refused else nullcontext():
        refuse_output_in_input(source, output)
