from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.data.parquet import ParquetDataset
from pipeline.data.records import (
    RECORD_FIELDS,
    DatasetInfo,
    Record,
    RecordWriter,
    check_columns,
    check_dataset,
    count_rows,
    decode_record,
    encode_png,
    iter_rows,
    read_info,
    resize_record,
)
from pipeline.data.schema import describe_column
from pipeline.errors import InputError
from pipeline.labels import LabelSpace

SPACE = LabelSpace(classes=("sky", "sea", "sand"), dont_care=255, instance_edges=True)
INFO = DatasetInfo(SPACE, {"source": "test", "size": [6, 4]})


def make_record(index: int, height: int = 4, width: int = 6) -> Record:
    rng = np.random.default_rng(index)
    return Record(
        id=f"r{index}",
        label=rng.integers(0, 3, (height, width), np.uint8),
        instance=rng.integers(0, 700, (height, width), np.uint16),
        image=rng.integers(0, 256, (height, width, 3), np.uint8),
    )


def as_row(record: Record) -> dict[str, Any]:
    return {"id": record.id, "label": record.label, "instance": record.instance, "image": record.image}


def write(path: Path, records: list[Record], **options: Any) -> Path:
    with RecordWriter(path, INFO, **options) as writer:
        for record in records:
            writer.write(as_row(record))
    return path


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write(tmp_path / "data" / "train.parquet", [make_record(index) for index in range(5)], row_group_rows=2)


def test_what_is_written_is_read_back(dataset: Path) -> None:
    rows = list(iter_rows(dataset, batch_rows=3))
    assert [row["id"] for row in rows] == ["r0", "r1", "r2", "r3", "r4"]
    assert count_rows(dataset) == 5
    assert pq.ParquetFile(dataset).num_row_groups == 3
    assert read_info(dataset) == INFO
    assert check_dataset(dataset, ["id", "label", "instance", "image"]) == INFO
    for index, row in enumerate(rows):
        record, expected = decode_record(row, need_image=True), make_record(index)
        np.testing.assert_array_equal(record.label, expected.label)
        np.testing.assert_array_equal(record.instance, expected.instance)
        np.testing.assert_array_equal(record.image, expected.image)
    assert decode_record(rows[0]).image is None


def test_the_same_records_give_the_same_bytes_and_no_temporary_file_stays(tmp_path: Path) -> None:
    first = write(tmp_path / "a.parquet", [make_record(0), make_record(1)])
    second = write(tmp_path / "b.parquet", [make_record(0), make_record(1)])
    assert first.read_bytes() == second.read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.parquet", "b.parquet"]


def test_hugging_face_datasets_sees_pictures(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    loaded = datasets.load_dataset("parquet", data_files=str(dataset), cache_dir=str(tmp_path / "cache"))["train"]
    assert all(isinstance(loaded.features[name], datasets.Image) for name in ("label", "instance", "image"))
    np.testing.assert_array_equal(np.asarray(loaded[1]["image"]), make_record(1).image)
    np.testing.assert_array_equal(np.asarray(loaded[1]["label"]), make_record(1).label)


def test_raw_bytes_and_absent_columns_are_read(tmp_path: Path) -> None:
    record = make_record(0)
    table = pa.table({"id": ["r0"], "label": [encode_png(record.label)]})
    pq.write_table(table, tmp_path / "raw.parquet")
    check_columns(tmp_path / "raw.parquet", ["id", "label"])
    (row,) = iter_rows(tmp_path / "raw.parquet", columns=["id", "label", "instance"])
    decoded = decode_record(row)
    np.testing.assert_array_equal(decoded.label, record.label)
    assert decoded.instance is None


def test_a_folder_is_read_in_order_of_name_without_hidden_files(tmp_path: Path) -> None:
    write(tmp_path / "part-1.parquet", [make_record(1)])
    write(tmp_path / "part-0.parquet", [make_record(0)])
    for name in ("_skip.parquet", ".hidden.parquet", "notes.txt"):
        (tmp_path / name).write_text("not Parquet")
    assert [file.name for file in ParquetDataset.open(tmp_path).files] == ["part-0.parquet", "part-1.parquet"]
    assert [row["id"] for row in iter_rows(tmp_path, columns=["id"])] == ["r0", "r1"]
    assert count_rows(tmp_path) == 2


def test_extra_columns_and_a_compound_key(tmp_path: Path) -> None:
    fields = [*RECORD_FIELDS[:2], pa.field("sample", pa.int32()), pa.field("mood", pa.string())]
    label = make_record(0).label
    with RecordWriter(tmp_path / "x.parquet", INFO, fields, key=("id", "sample")) as writer:
        writer.write({"id": "a", "sample": 0, "label": label, "mood": "night"})
        writer.write({"id": "a", "sample": 1, "label": encode_png(label)})
        with pytest.raises(InputError, match="comes twice"):
            writer.write({"id": "a", "sample": 1, "label": label})
    rows = list(iter_rows(tmp_path / "x.parquet", columns=["sample", "mood"]))
    assert rows == [{"sample": 0, "mood": "night"}, {"sample": 1, "mood": None}]
    features = json.loads(pq.read_schema(tmp_path / "x.parquet").metadata[b"huggingface"])["info"]["features"]
    assert features["sample"] == {"dtype": "int32", "_type": "Value"}


def test_an_exception_leaves_nothing_and_keeps_what_was_there(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", [make_record(0)])
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"id 'r1' comes twice in .*a.parquet; ids must be unique"):
        write(path, [make_record(1), make_record(1)])
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_resizing_keeps_ids_and_antialiases_photographs() -> None:
    label = np.zeros((8, 8), np.uint16)
    label[:, 4:] = 300
    image = np.tile(np.array([0, 255], np.uint8)[None, :, None], (8, 4, 3))
    resized = resize_record(Record("a", label, label, image), height=4, width=2)
    assert resized.label.tolist() == [[0, 300]] * 4
    assert resized.label.dtype == np.uint16
    assert resized.instance is not None
    assert resized.instance.tolist() == [[0, 300]] * 4
    assert resized.image is not None
    # The stripes are finer than the new pixels, so they must average out to grey.
    assert abs(resized.image.astype(int) - 128).max() <= 24
    same = resize_record(make_record(0), 4, 6)
    np.testing.assert_array_equal(same.label, make_record(0).label)
    np.testing.assert_array_equal(same.image, make_record(0).image)


def rewrite(path: Path, table: pa.Table, metadata: dict[bytes, bytes] | None = None) -> Path:
    pq.write_table(table.replace_schema_metadata(metadata), path)
    return path


def bad_files(folder: Path) -> dict[str, tuple[Path, str]]:
    """Each kind of unusable file, and what the message must say."""
    ours = {b"spadework": INFO.to_json().encode()}
    cell = encode_png(make_record(0).label)
    good = pa.table({"id": ["a", "b"], "label": [cell, cell]})
    newer = {b"spadework": INFO.to_json().replace('"version": 1', '"version": 99').encode()}
    (folder / "text.parquet").write_text("id,label\n")
    (folder / "zero.parquet").write_bytes(b"")
    (folder / "cut.parquet").write_bytes(rewrite(folder / "x.parquet", good, ours).read_bytes()[:200])
    (folder / "none").mkdir()
    double = pa.table({"id": ["a", "a"], "label": [cell, cell]})
    without = pa.table({"id": pa.array(["a", None]), "label": [cell, cell]})
    return {
        "missing": (folder / "nowhere.parquet", "does not exist"),
        "empty folder": (folder / "none", "has no .parquet files"),
        "text": (folder / "text.parquet", "is not a readable Parquet file"),
        "no bytes": (folder / "zero.parquet", "is not a readable Parquet file"),
        "truncated": (folder / "cut.parquet", "is not a readable Parquet file"),
        "columns": (
            rewrite(folder / "c.parquet", pa.table({"id": ["a"], "mask": [cell]}), ours),
            "label; it has id, mask",
        ),
        "id type": (rewrite(folder / "i.parquet", pa.table({"id": [1], "label": [cell]}), ours), "ids must be strings"),
        "label type": (
            rewrite(folder / "l.parquet", pa.table({"id": ["a"], "label": [7]}), ours),
            "must be binary, or",
        ),
        "metadata": (rewrite(folder / "m.parquet", good), "make it with prepare"),
        "version": (rewrite(folder / "v.parquet", good, newer), "version 99, this program reads 1"),
        "palette": (rewrite(folder / "p.parquet", good, {b"spadework": b"{}"}), "unusable 'spadework' metadata"),
        "no rows": (rewrite(folder / "e.parquet", good.slice(0, 0), ours), "has no records"),
        "double id": (rewrite(folder / "d.parquet", double, ours), "has the id 'a' twice"),
        "no id": (rewrite(folder / "n.parquet", without, ours), "a record without an id"),
    }


BAD_FILES = (
    *("missing", "empty folder", "text", "no bytes", "truncated", "columns", "id type", "label type"),
    *("metadata", "version", "palette", "no rows", "double id", "no id"),
)


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_file_gets_one_line_that_names_it(kind: str, tmp_path: Path) -> None:
    path, message = bad_files(tmp_path)[kind]
    with pytest.raises(InputError) as caught:
        check_dataset(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_of_one_folder_must_agree_on_the_classes(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", [make_record(0)])
    other = DatasetInfo(LabelSpace(classes=("road",)))
    with RecordWriter(tmp_path / "b.parquet", other) as writer:
        writer.write(as_row(make_record(1)))
    with pytest.raises(InputError, match=r"b.parquet has other classes than .*a.parquet"):
        read_info(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": None}, "record 'r0' has no label map"),
        ({"label": encode_png(make_record(0).label)[:-30]}, "record 'r0': label cannot be decoded"),
        ({"label": b"GIF89a nonsense"}, "record 'r0': label cannot be decoded (not a picture"),
        ({"label": b""}, "record 'r0': label is empty (0 bytes)"),
        ({"label": encode_png(make_record(0).image)}, "record 'r0': label is an RGB label map; give prepare"),
        ({"label": {"bytes": None, "path": "a.png"}}, "record 'r0': label is only a path, a.png"),
        ({"image": None}, "record 'r0' has no photograph"),
        ({"image": encode_png(make_record(0).instance)}, "record 'r0': image is a photograph of mode 'I;16'"),
        ({"image": encode_png(make_record(0, 4, 5).image)}, "the photograph is 5x4 but its label map 6x4"),
        ({"instance": encode_png(make_record(0, 3, 6).label)}, "the instance map is 6x3 but its label map 6x4"),
    ],
)  # fmt: skip
def test_a_bad_record_gets_one_line_that_names_it(change: dict[str, Any], message: str) -> None:
    record = make_record(0)
    row = {"id": "r0", "label": encode_png(record.label), "instance": None, "image": encode_png(record.image), **change}
    with pytest.raises(InputError) as caught:
        decode_record(row, need_image=True)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_rgb_label_map_is_read_with_its_palette() -> None:
    colours = np.array([[[255, 0, 0], [0, 0, 255]]], np.uint8)
    row = {"id": "a", "label": encode_png(colours)}
    assert decode_record(row, palette={(0, 0, 255): 3, (255, 0, 0): 500}).label.tolist() == [[500, 3]]
    with pytest.raises(
        InputError, match=r"record 'a': label has the colour 0 0 255 .first at column 1, row 0; 1 pixels"
    ):
        decode_record(row, palette={(255, 0, 0): 5})


def test_columns_are_described_to_datasets_too() -> None:
    known = {b"a": b"b", b"huggingface": b'{"info": {"features": {"id": {"dtype": "string"}}}}'}
    found = describe_column(known, "samples", {"dtype": "int32"})
    features = json.loads(found[b"huggingface"])["info"]["features"]
    assert features == {"id": {"dtype": "string"}, "samples": {"dtype": "int32"}}
    assert found[b"a"] == b"b"
    assert describe_column(None, "samples", {}) == {}
    for damaged in (b"{", b"[1]", b"null", b"[" * 10**5, b'{"info": 1}', b"\xff"):
        assert describe_column({b"a": b"b", b"huggingface": damaged}, "samples", {}) == {b"a": b"b"}


@pytest.mark.parametrize("text", ["", "[1]", "7", "null", "[" * 10**5, "{}", '{"version": 1, "preprocessing": 3}'])
def test_damaged_descriptions_of_data_sets(text: str) -> None:
    with pytest.raises((ValueError, KeyError)):
        DatasetInfo.from_json(text)
