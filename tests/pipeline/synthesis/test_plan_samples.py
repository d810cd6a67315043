"""How many samples each label map should get, by figures that can be followed on paper."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import cli
from pipeline.data.records import PICTURE, RECORD_FIELDS, DatasetInfo, RecordWriter
from pipeline.errors import InputError
from pipeline.labels import LabelSpace
from pipeline.synthesis.samples import hand_out, plan_samples

SPACE = LabelSpace(classes=("sky", "sea", "boat"), dont_care=255)

BOATS = [10, 30, 0, 2]
"""Pixels of the class boat in each label map of 8 x 8; ten are don't-care, the rest is sky."""


def write(path, boats=BOATS, **cells):
    fields = [field for field in RECORD_FIELDS if field.name in ("id", "label", *cells)]
    fields += [pa.field(name, pa.int64()) for name in cells if name != "image"]
    with RecordWriter(path, DatasetInfo(SPACE, {"made": "here"}), fields) as writer:
        for index, count in enumerate(boats):
            label = np.zeros(64, np.uint8)
            label[:count], label[-10:] = 2, 255
            more = {name: values[index] for name, values in cells.items()}
            writer.write({"id": f"m{index}", "label": label.reshape(8, 8), **more})
    return path


def plan(path, **options):
    return plan_samples(path, path.with_name("planned.parquet"), **{"quiet": True} | options)


def column(path):
    return pq.read_table(path, columns=["samples"])["samples"].to_pylist()


@pytest.mark.parametrize(
    ("need", "most", "counts"),
    [
        # 42 pixels with one sample each. The next goes to the 30 (30 / 2 against 10 / 2), then to it again (30 / 3).
        (42, 8, [1, 1, 1, 1]),
        (43, 8, [1, 2, 1, 1]),
        (73, 8, [1, 3, 1, 1]),
        (103, 8, [1, 4, 1, 1]),
        # 30 / 5 is 6 and 10 / 2 is 5; 30 / 6 is 5 too, and the first row of equal ones is taken.
        (133, 8, [1, 5, 1, 1]),
        (163, 8, [2, 5, 1, 1]),
        (103, 2, [2, 2, 1, 2]),
        (10**9, 3, [3, 3, 1, 3]),
    ],
)
def test_samples_go_where_the_pixels_are(need, most, counts, tmp_path):
    found = plan(write(tmp_path / "a.parquet"), target_pixels=[f"boat={need}"], max_samples=most)
    assert found.counts.tolist() == column(tmp_path / "planned.parquet") == counts


def test_samples_are_in_proportion_to_the_weights():
    weights = np.array([1.0, 2.0, 3.0, 4.0])
    counts = np.zeros(4, np.int64)
    hand_out(counts, weights, gains=np.ones(4, np.int64), need=100, most=1000)
    assert counts.tolist() == [10, 20, 30, 40]


def test_the_rarest_class_comes_first_and_what_it_brought_counts(tmp_path):
    """Sky has 174 pixels, boat 42. Four more samples of row 1 give boat its 160, and sky 4 * 24 on the way."""
    found = plan(write(tmp_path / "a.parquet"), target_pixels=["270", "boat=160"], max_samples=8)
    assert found.counts.tolist() == [1, 5, 1, 1]
    assert found.targets == {0: 270, 1: 270, 2: 160}
    lines = str(found).splitlines()
    assert lines[0].split() == ["class", "pixels", "before", "planned", "share"]
    assert [line.split("%")[0].split() for line in lines[1:5]] == [
        ["sky", "174", "270", "52.73"],
        ["sea", "0", "0", "0.00"],
        ["boat", "42", "162", "31.64"],
        ["don't", "care", "40", "80", "15.62"],
    ]
    assert lines[2].endswith("below the target of 270")
    assert lines[-1].endswith("8 samples of 4 label maps, 5 of one at most")


def test_the_file_is_the_input_with_a_column(tmp_path):
    photograph = np.zeros((8, 8, 3), np.uint8)
    source = write(tmp_path / "a.parquet", image=[photograph] * 4, samples=[9] * 4, mood=[4, 3, 2, 1])
    found = plan(source, target_pixels=["boat=43"])
    before, after = pq.read_table(source), pq.read_table(found.path)
    assert after.column_names == ["id", "label", "image", "mood", "samples"]  # an earlier plan is replaced
    assert after.drop_columns("samples").equals(before.drop_columns("samples"))
    assert after.schema.field("label").type == PICTURE
    assert after.schema.metadata[b"spadework"] == before.schema.metadata[b"spadework"]
    features = json.loads(after.schema.metadata[b"huggingface"])["info"]["features"]
    assert features["samples"] == {"dtype": "int32", "_type": "Value"}
    data = found.path.read_bytes()
    assert plan(source, target_pixels=["boat=43"]).path.read_bytes() == data


def test_files_of_a_folder_become_one(tmp_path):
    (tmp_path / "maps").mkdir()
    write(tmp_path / "maps" / "a.parquet", BOATS[:3])
    pq.write_table(
        pq.read_table(write(tmp_path / "b.parquet", [0, 0, 0, 20])).slice(3), tmp_path / "maps" / "b.parquet"
    )
    found = plan_samples(tmp_path / "maps", tmp_path / "out.parquet", target_pixels=["boat=61"], quiet=True)
    assert pq.read_table(found.path)["id"].to_pylist() == ["m0", "m1", "m2", "m3"]
    assert column(found.path) == [1, 2, 1, 1]


def write_scores(path, **columns):
    pq.write_table(pa.table({"id": ["m0", "m1", "m1", "m2", "m3"], **columns}), path)
    return path


def test_maps_with_a_large_loss_get_more(tmp_path):
    """Losses 0.1, 0.3 (the mean of two samples), 0.4 and none: rows 1 and 2 exceed the lowest by 0.2 and 0.3."""
    source = write(tmp_path / "a.parquet")
    scores = write_scores(tmp_path / "scores.parquet", mean_iou=[0.9, 0.8, 0.6, 0.6, None])
    assert plan(source, scores=scores, mean_samples=3).counts.tolist() == [1, 4, 6, 1]
    assert plan(source, scores=scores, mean_samples=3, max_samples=5).counts.tolist() == [1, 5, 5, 1]
    # By 1, 3, 4 and 0: the eight largest of w / 2, w / 3, ... are three of row 1 and five of row 2.
    losses = write_scores(tmp_path / "losses.parquet", loss=[1.0, 2.0, 4.0, 4.0, 0.0], mean_iou=[0.0] * 5)
    assert plan(source, scores=losses, mean_samples=3).counts.tolist() == [1, 4, 6, 1]
    equal = write_scores(tmp_path / "equal.parquet", loss=[0.5] * 5)
    assert plan(source, scores=equal, mean_samples=2.25).counts.tolist() == [3, 2, 2, 2]


def test_maps_with_hard_classes_get_more(tmp_path):
    """The classes of a map count alike: 0.4 for sky alone (row 2), (0.4 + 0.8) / 2 for sky and boat."""
    report = tmp_path / "report.json"
    iou = {"sky": 0.6, "sea": None, "boat": 0.2}
    report.write_text(json.dumps({"sets": [{"labels": {"native": {"class_iou": iou}}}]}))
    found = plan(write(tmp_path / "a.parquet"), scores=report, mean_samples=4.5, max_samples=9)
    assert found.counts.tolist() == [6, 6, 1, 5]


def test_the_command_line(tmp_path):
    source, out = write(tmp_path / "a.parquet"), tmp_path / "planned.parquet"
    arguments = ["plan-samples", str(source), "--out", str(out), "--target-pixels", "boat=73", "--max-samples", "3"]
    done = CliRunner().invoke(cli.main, arguments)
    assert done.exit_code == 0, done.output
    assert f"{out}: 6 samples of 4 label maps, 3 of one at most" in done.output
    assert column(out) == [1, 3, 1, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give either --target-pixels or --scores"),
        ({"target_pixels": ["5"], "scores": "scores.parquet"}, "give either --target-pixels or --scores"),
        ({"target_pixels": ["many"]}, "--target-pixels is 'many'; give a number of pixels"),
        ({"target_pixels": ["boat="]}, "--target-pixels is 'boat='"),
        ({"target_pixels": ["car=5"]}, "no class 'car'; there are sky, sea, boat"),
        ({"target_pixels": ["5"], "max_samples": 0}, "--max-samples is 0; give 1 to 10000"),
        ({"scores": "scores.parquet", "mean_samples": 9.0}, "--mean-samples is 9; give 1 to 8"),
        ({"scores": "few.parquet"}, r"few.parquet has no score of the label map 'm3'"),
        ({"scores": "negative.parquet"}, r"negative.parquet: loss of 'm0' is -1.0"),
        ({"scores": "undefined.parquet"}, "undefined.parquet has no defined score of any label map"),
        ({"scores": "none.parquet"}, "none.parquet does not exist"),
        ({"scores": "a.parquet"}, "a.parquet lacks the column mean_iou"),
        ({"scores": "none.json"}, r"report .*none.json cannot be read \(No such file"),
        ({"scores": "other.json"}, "other.json is no report of evaluate with these classes"),
        ({"target_pixels": ["5"], "label_column": "mask"}, "lacks the column mask"),
        ({"target_pixels": ["5"], "out": "a.parquet"}, "a.parquet lies in the input"),
        ({"target_pixels": ["5"], "out": "."}, "is a folder; give the name of a Parquet file"),
        ({"target_pixels": ["5"], "source": "bad.parquet"}, r"row 1 of .*bad.parquet \(id 'b'\): is empty"),
        ({"target_pixels": ["5"], "source": "plain.parquet"}, "has no 'spadework' metadata"),
    ],
)
def test_mistakes_are_named_and_nothing_is_written(options, message, tmp_path):
    write(tmp_path / "a.parquet")
    pq.write_table(pa.table({"id": ["m0", "m1", "m2"], "mean_iou": [0.5] * 3}), tmp_path / "few.parquet")
    write_scores(tmp_path / "negative.parquet", loss=[-1.0] * 5)
    write_scores(tmp_path / "scores.parquet", mean_iou=[0.5] * 5)
    write_scores(tmp_path / "undefined.parquet", mean_iou=pa.nulls(5, pa.float64()))
    (tmp_path / "other.json").write_text('{"sets": [{"labels": {"native": {"class_iou": {"road": 1}}}}]}')
    table = pq.read_table(tmp_path / "a.parquet").slice(0, 2)
    labels = pa.array([table["label"][0].as_py(), {"bytes": b"", "path": None}], PICTURE)
    bad = pa.table({"id": ["a", "b"], "label": labels}).replace_schema_metadata(table.schema.metadata)
    pq.write_table(bad, tmp_path / "bad.parquet")
    pq.write_table(bad.replace_schema_metadata(None), tmp_path / "plain.parquet")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    options = {"source": "a.parquet", "out": "planned.parquet"} | options
    paths = {name: tmp_path / options.pop(name) for name in ("source", "out", "scores") if name in options}
    with pytest.raises(InputError, match=message):
        plan_samples(**paths, **options, quiet=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_other_columns_in_the_second_file_are_refused(tmp_path):
    (tmp_path / "maps").mkdir()
    write(tmp_path / "maps" / "a.parquet", [1])
    table = pq.read_table(write(tmp_path / "b.parquet", [1, 1], mood=[1, 2])).slice(1)
    pq.write_table(table, tmp_path / "maps" / "b.parquet")
    with pytest.raises(InputError, match=r"maps/b.parquet has other columns than .*maps/a.parquet"):
        plan_samples(tmp_path / "maps", tmp_path / "out.parquet", target_pixels=["5"], quiet=True)
    assert not (tmp_path / "out.parquet").exists()
