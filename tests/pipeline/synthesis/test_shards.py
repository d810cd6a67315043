"""Cutting an input into shards, and reading a shard's rows."""

from __future__ import annotations

import pickle

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.data import shards
from pipeline.data.parquet import ParquetFile
from pipeline.data.shards import Shard, generated_id, iter_shard, plan_shards
from pipeline.errors import InputError
from tests.pipeline.synthesis import cases


def write(path, count, *, row_group_size=7, **columns):
    table = {"id": [f"r{index}" for index in range(count)], "label": [f"{index}".encode() for index in range(count)]}
    pq.write_table(pa.table(table | columns), path, row_group_size=row_group_size)
    return path


def test_shards_cover_every_row_once_and_stay_inside_files(tmp_path):
    write(tmp_path / "a.parquet", 100)
    write(tmp_path / "b.parquet", 3, id=["x", "y", "z"])
    plan = plan_shards(tmp_path)
    assert [shard.index for shard in plan.shards] == list(range(len(plan.shards)))
    covered = [(shard.file.name, row) for shard in plan.shards for row in range(shard.start, shard.stop)]
    assert covered == [("a.parquet", row) for row in range(100)] + [("b.parquet", row) for row in range(3)]
    assert plan.rows == 103


@pytest.mark.parametrize("options", [{}, {"samples_column": "n"}])
def test_files_without_rows_have_no_shards(tmp_path, options):
    table = pq.read_table(write(tmp_path / "b.parquet", 20, n=[1] * 20))
    for name in ("a", "c"):
        pq.write_table(table.slice(0, 0), tmp_path / f"{name}.parquet")
    plan = plan_shards(tmp_path, **options)
    assert {shard.file.name for shard in plan.shards} == {"b.parquet"}
    assert [(shard.start, shard.stop) for shard in plan.shards] == [(0, 8), (8, 16), (16, 20)]


@pytest.mark.parametrize(
    ("rows", "per_row", "largest"), [(10, 1, 8), (1000, 1, 31), (100_000, 1, 1024), (1000, 64, 16)]
)
def test_shards_are_small_in_small_jobs_and_never_large(tmp_path, rows, per_row, largest):
    plan = plan_shards(write(tmp_path / "a.parquet", rows, row_group_size=10_000), images_per_row=per_row)
    assert max(shard.rows for shard in plan.shards) == largest


@pytest.mark.parametrize("row_group_size", [1, 3, 8, 1000])
def test_a_shard_reads_its_own_rows_whatever_the_row_groups(tmp_path, row_group_size):
    plan = plan_shards(write(tmp_path / "a.parquet", 61, row_group_size=row_group_size))
    read = [(row, cells["label"]) for shard in plan.shards for row, cells in iter_shard(shard, ["label"], batch_rows=5)]
    assert read == [(row, f"{row}".encode()) for row in range(61)]


def test_the_plan_is_the_same_wherever_the_files_lie(tmp_path):
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        write(tmp_path / place / "a.parquet", 20)
    here, there = (plan_shards(tmp_path / place) for place in ("here", "there"))
    assert [(file.name, file.rows, file.fingerprint) for file in here.files] == [
        (file.name, file.rows, file.fingerprint) for file in there.files
    ]


def test_another_content_has_another_fingerprint(tmp_path):
    one = plan_shards(write(tmp_path / "a.parquet", 20)).files[0]
    other = plan_shards(write(tmp_path / "a.parquet", 20, id=[f"q{index}" for index in range(20)])).files[0]
    assert one.fingerprint != other.fingerprint


def test_repeated_ids_are_found_across_files_and_null_ids_are_not_repeated(tmp_path):
    write(tmp_path / "a.parquet", 4, id=["a", "b", "a", None])
    write(tmp_path / "b.parquet", 4, id=["c", None, "b", "a"])
    plan = plan_shards(tmp_path)
    found = {(shard.file.name, row): where for shard in plan.shards for row, where in shard.duplicates.items()}
    assert found == {
        ("a.parquet", 2): "a.parquet row 0",
        ("b.parquet", 2): "a.parquet row 1",
        ("b.parquet", 3): "a.parquet row 0",
    }


def test_ids_may_be_integers_or_made_up(tmp_path):
    numbered = plan_shards(write(tmp_path / "a.parquet", 3, id=[5, 6, 7]), id_column="id")
    assert numbered.columns.id == "id"
    pq.write_table(pa.table({"label": [b"x", b"y"]}), tmp_path / "b.parquet")
    plan = plan_shards(tmp_path / "b.parquet")
    assert plan.columns.id is None
    assert generated_id(plan.files[0], 1) == "b-0000001"


def test_made_up_ids_tell_folders_apart(tmp_path):
    for name in ("a/b.parquet", "a-b.parquet"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        pq.write_table(pa.table({"label": [b"x"]}), tmp_path / name)
    assert [generated_id(file, 0) for file in plan_shards(tmp_path).files] == ["a-b-0000000", "a/b-0000000"]


def test_hugging_face_columns_are_found_by_name(tmp_path):
    struct = pa.array([{"bytes": b"x", "path": None}], pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    pq.write_table(pa.table({"image": struct, "annotation": struct, "key": ["one"]}), tmp_path / "a.parquet")
    plan = plan_shards(tmp_path, label_column="annotation", id_column="key", style_column="image")
    assert plan.columns.names() == ["key", "annotation", "image"]


def test_what_prepare_wrote_is_known(maps):
    plan = plan_shards(maps)
    assert plan.info is not None
    assert plan.info.space == cases.SPACE
    assert plan.columns.names() == ["id", "label", "instance"]


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({"mask": [b"x"]}, {}, "lacks the column label; it has mask; name another with --label-column"),
        ({"label": [b"x"]}, {"id_column": "key"}, "lacks the column key; it has label"),
        ({"label": [1.5]}, {}, "column label of .* is double; it must be binary"),
        ({"label": ["x"]}, {}, "column label of .* is string; it must be binary"),
        ({"label": [b"x"], "id": [1.5]}, {"id_column": "id"}, "column id of .* is double; ids are text or integers"),
        ({"label": pa.array([], pa.binary())}, {}, "has no rows"),
    ],
)
def test_an_unusable_table_is_refused(tmp_path, columns, options, message):
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=message):
        plan_shards(tmp_path / "a.parquet", **options)


def test_files_of_different_classes_are_refused(tmp_path):
    from pipeline.data.records import DatasetInfo, RecordWriter
    from pipeline.labels import LabelSpace

    for name, classes in (("a", ("sky", "sea")), ("b", ("cat", "dog"))):
        with RecordWriter(tmp_path / f"{name}.parquet", DatasetInfo(LabelSpace(classes=classes))) as writer:
            writer.write({"id": name, "label": cases.label_map(0)})
    with pytest.raises(InputError, match="has other classes than"):
        plan_shards(tmp_path)


def test_dictionary_encoded_columns_are_read_as_what_they_hold(tmp_path):
    ids = pa.array(["b", "a", "c"]).dictionary_encode()
    labels = pa.array([b"1", b"2", b"1"]).dictionary_encode()
    plan = plan_shards(write(tmp_path / "a.parquet", 3, id=ids, label=labels))
    assert plan.columns.id == "id"
    rows = [cells for _, cells in iter_shard(plan.shards[0], ["id", "label"])]
    assert rows == [{"id": "b", "label": b"1"}, {"id": "a", "label": b"2"}, {"id": "c", "label": b"1"}]


@pytest.mark.parametrize("ids", [[1.5, 2.5], [True, False], [b"a", b"b"]])
def test_ids_without_one_exact_text_are_refused_by_name(tmp_path, ids):
    with pytest.raises(InputError, match=r"column id of .*a\.parquet is .*; ids are text or integers"):
        plan_shards(write(tmp_path / "a.parquet", 2, id=ids))


def test_ids_that_only_some_files_have_are_refused(tmp_path):
    write(tmp_path / "a.parquet", 2)
    pq.write_table(pa.table({"label": [b"1"]}), tmp_path / "b.parquet")
    with pytest.raises(InputError, match=r"b\.parquet has no column id, which other files"):
        plan_shards(tmp_path)


def test_two_columns_of_one_name_are_refused(tmp_path):
    table = pa.Table.from_arrays([pa.array([b"1"]), pa.array([b"2"])], names=["label", "label"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(InputError, match="has 2 columns named 'label'"):
        plan_shards(tmp_path / "a.parquet")


def test_ids_that_are_no_text_are_refused(tmp_path):
    broken = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xe4"], pa.binary()).buffers())
    with pytest.raises(InputError, match="has an id that is not UTF-8"):
        plan_shards(write(tmp_path / "a.parquet", 1, id=broken))


def test_many_equal_ids_all_point_to_the_first(tmp_path):
    count = 200_000  # Walking back from each to the first took 20 thousand million steps.
    plan = plan_shards(write(tmp_path / "a.parquet", count, id=["x"] * count, row_group_size=count))
    found = {row: where for shard in plan.shards for row, where in shard.duplicates.items()}
    assert len(found) == count - 1 and set(found.values()) == {"a.parquet row 0"}


def test_more_than_a_hundred_thousand_parts_are_never_wanted(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "IMAGES_PER_SHARD", 8)
    monkeypatch.setattr(shards, "MOST_SHARDS", 50)
    plan = plan_shards(write(tmp_path / "a.parquet", 1000, row_group_size=100))
    assert [len(plan.shards), plan.shards[0].rows] == [50, 20]


def test_names_sort_as_numbers_do_where_there_are_very_many_files():
    file = ParquetFile("a.parquet", "a.parquet", 3, "")
    assert Shard(99_999, file, 0, 1, digits=6).name < Shard(100_000, file, 0, 1, digits=6).name
    assert Shard(7, file, 0, 1).name == "part-00007.parquet"


def test_where_repeated_ids_were_is_told_of_each_shard(tmp_path):
    write(tmp_path / "a.parquet", 20, id=[f"{row % 9}" for row in range(20)])
    [first, second, third] = plan_shards(tmp_path / "a.parquet").shards
    assert dict(first.duplicates) == {}
    assert dict(second.duplicates) == {row: f"a.parquet row {row % 9}" for row in range(9, 16)}
    assert third.duplicates[18] == "a.parquet row 0" and 15 not in third.duplicates
    assert dict(pickle.loads(pickle.dumps(third)).duplicates) == dict(third.duplicates)


def test_thousands_of_files_share_what_they_say_about_themselves(tmp_path):
    for name in ("a", "b"):
        cases.write_maps(tmp_path / f"{name}.parquet", 2, start=ord(name))
    one, other = plan_shards(tmp_path).files
    assert one.info is other.info and one.schema is other.schema


def test_large_row_groups_are_told_once_for_all_files(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(shards, "LARGE_ROW_GROUP", 0)
    for name in ("a", "b", "c"):
        write(tmp_path / f"{name}.parquet", 20, id=[f"{name}{row}" for row in range(20)], row_group_size=20)
    plan_shards(tmp_path)
    [told] = caplog.messages
    assert "a.parquet has a row group of 20 rows (and 2 more files have such), which every shard" in told
