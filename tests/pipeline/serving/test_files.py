"""Label maps and Parquet files that come and go: templates, uploads, records, marks."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from starlette.testclient import TestClient

import spadework
from pipeline.data.images import decode_image, decode_label, encode_png
from pipeline.data.records import check_dataset
from pipeline.data.schema import PICTURE
from pipeline.serving.label_maps import to_runs
from pipeline.serving.service import Service
from pipeline.serving.templates import Templates
from tests.pipeline.synthesis import cases
from training.data.dataset import RecordDataset

LABEL = cases.label_map(0)
RUNS = to_runs(LABEL)


def table_of(answer: Any) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    return pq.read_table(io.BytesIO(answer.content)).to_pylist()


def test_a_picture_of_a_label_map_becomes_runs(client: TestClient) -> None:
    answer = client.post("/api/v1/label-maps", content=encode_png(LABEL))
    assert answer.json() == {"label_map": RUNS}
    large = np.kron(LABEL, np.ones((3, 3), np.uint8))
    assert client.post("/api/v1/label-maps?checkpoint=plain", content=encode_png(large)).json() == {"label_map": RUNS}
    answer = client.post("/api/v1/label-maps", content=encode_png(LABEL + np.uint8(90)))
    assert answer.status_code == 400 and answer.json()["error"].startswith("the label map has id 89, 90")


def test_rows_of_a_parquet_file(client: TestClient, tmp_path: Path) -> None:
    body = cases.write_maps(tmp_path / "maps.parquet", 20).read_bytes()  # in row groups of 8
    for row in (0, 7, 8, 19):
        label = cases.label_map(row)
        expected = {"rows": 20, "row": row, "id": f"map/{row}", "label_map": to_runs(label), "instance_map": None}
        assert client.post(f"/api/v1/parquet?row={row}", content=body).json() == expected
    with_objects = client.post("/api/v1/parquet?row=8&checkpoint=plain", content=body).json()
    assert with_objects["instance_map"] == to_runs(cases.label_map(8) + 1)
    answer = client.post("/api/v1/parquet?row=20", content=body)
    assert (answer.status_code, answer.json()["error"]) == (400, "there is no row 20; the file has 20 rows, from 0")


def parquet(**columns: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "the body is no readable Parquet file"),
        (b"PAR1 not PAR1", "the body is no readable Parquet file"),
        (parquet(label=["text"]), "the Parquet file has no column label of pictures"),
        (parquet(image=[b"x"]), "the Parquet file has no column label of pictures"),
        (parquet(label=[b"no picture"]), "the label map cannot be decoded"),
        (parquet(label=pa.array([None], pa.binary())), "row 0 has no label map"),
        (parquet(label=pa.array([{"bytes": None, "path": "/etc/passwd"}], PICTURE)), "the label is only a path"),
    ],
    ids=["empty", "half", "text", "no label", "no picture", "null", "path"],
)
def test_bad_parquet_files(client: TestClient, body: bytes, told: str) -> None:
    answer = client.post("/api/v1/parquet", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(told), answer.text


def test_a_parquet_file_of_other_classes_is_refused(client: TestClient, tmp_path: Path) -> None:
    spadework.prepare("landscape", out=tmp_path, train=1, validation=0, size="16x16", workers=1)
    answer = client.post("/api/v1/parquet", content=(tmp_path / "train.parquet").read_bytes())
    assert answer.status_code == 400 and "have the classes sky, cloud" in answer.json()["error"]


def test_damaged_parquet_files_are_refused(client: TestClient, tmp_path: Path) -> None:
    body = bytearray(cases.write_maps(tmp_path / "maps.parquet", 3).read_bytes())
    for place in range(0, len(body), 397):
        damaged = body.copy()
        damaged[place : place + 8] = b"\xff" * 8
        answer = client.post("/api/v1/parquet?row=1", content=bytes(damaged))
        assert answer.status_code in (200, 400, 413), answer.text


def test_a_record_is_read_by_synthesize_and_train(client: TestClient, styled: Path, tmp_path: Path) -> None:
    fields = {"label_map": RUNS, "style": {"seed": 5}, "id": "cove", "seed": 5}
    answer = client.post("/api/v1/records", json=fields)
    (row,) = table_of(answer)
    picture = client.post("/api/v1/synthesize", json=fields).content
    assert (row["id"], row["painted_id"], json.loads(row["style"])) == ("cove", "cove", {"seed": 5})
    assert row["image"]["bytes"] == picture
    assert np.array_equal(decode_label(row["label"]["bytes"]), LABEL)

    path = tmp_path / "record.parquet"
    path.write_bytes(answer.content)
    assert check_dataset(path, ("id", "label", "image")).space == cases.SPACE
    spadework.synthesize_dataset(path, checkpoint=styled, out=tmp_path / "images", seed=5, workers=0, quiet=True)
    (made,) = pq.read_table(tmp_path / "images" / "part-00000.parquet").to_pylist()
    assert made["image"]["bytes"] == picture
    record = RecordDataset(path, cases.recipe()).record(0)
    assert np.array_equal(record.label, LABEL)
    assert record.image is not None and np.array_equal(record.image, decode_image(picture))


def test_a_record_may_have_an_id_of_its_own(client: TestClient) -> None:
    fields = {"label_map": RUNS, "id": "painter"}
    (row,) = table_of(client.post("/api/v1/records", json={**fields, "record_id": "cove-2"}))
    assert (row["id"], row["painted_id"]) == ("cove-2", "painter")
    assert row["image"]["bytes"] == client.post("/api/v1/synthesize", json=fields).content


def test_a_record_with_objects_and_of_a_blend(client: TestClient) -> None:
    fields = {"label_map": RUNS, "instance_map": to_runs(LABEL.astype(np.uint16) + 300), "checkpoint": "plain"}
    (row,) = table_of(client.post("/api/v1/records", json=fields))
    assert np.array_equal(decode_label(row["instance"]["bytes"]), LABEL.astype(np.uint16) + 300)
    style = {"blend": [{"z": [0, 0, 0, 0]}, {"z": [4, 2, 0, 1]}], "t": 0.5}
    (row,) = table_of(client.post("/api/v1/records", json={"label_map": RUNS, "style": style}))
    assert json.loads(row["style"]) == {"z": [2.0, 1.0, 0.0, 0.5]}


def test_marks_are_kept_and_exported(client: TestClient, service: Service, tmp_path: Path) -> None:
    assert table_of(client.get("/api/v1/marks")) == []
    one = {"label_map": RUNS, "style": {"seed": 1}}
    assert client.post("/api/v1/marks", json={**one, "mark": "bad", "note": "no sea"}).json() == {"count": 1}
    assert client.post("/api/v1/marks", json={**one, "mark": "good"}).json() == {"count": 1}  # another mind
    assert client.post("/api/v1/marks", json={**one, "sample": 2, "mark": "bad"}).json() == {"count": 2}
    assert client.post("/api/v1/marks", json={**one, "mark": "fine"}).status_code == 400
    answer = client.get("/api/v1/marks")
    rows = table_of(answer)
    assert sorted(row["mark"] for row in rows) == ["bad", "good"]
    (good,) = [row for row in rows if row["mark"] == "good"]
    assert good["image"]["bytes"] == client.post("/api/v1/synthesize", json=one).content
    assert (json.loads(good["style"]), good["painted_id"]) == ({"seed": 1}, "painter")
    path = tmp_path / "marks.parquet"
    path.write_bytes(answer.content)
    assert check_dataset(path).space == cases.SPACE
    assert (
        check_dataset(service.folder / "marks" / service.models["styled"].key).space == cases.SPACE
    )  # the folder is a data set, too


def test_templates_of_a_file(service: Service, client: TestClient, tmp_path: Path) -> None:
    assert client.get("/api/v1/templates").json() == {"templates": []}
    service.templates = Templates(cases.write_maps(tmp_path / "maps.parquet", 30, height=64, width=64))
    listed = client.get("/api/v1/templates").json()["templates"]
    assert [each["name"] for each in listed] == [f"map/{row}" for row in range(24)]
    assert (listed[0]["label_map"]["width"], listed[0]["instance_map"]) == (32, None)
    with_objects = client.get("/api/v1/templates?checkpoint=plain").json()["templates"]
    assert with_objects[0]["instance_map"] is None or with_objects[0]["instance_map"]["width"] == 32
