"""Rows of an input that are wrong become rejects, each with its reason, as many as a job allows."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.data.images import encode_png
from pipeline.errors import InputError
from pipeline.synthesis.checks import parse_max_rejects
from pipeline.synthesis.verify import verify
from tests.pipeline.synthesis import cases


def saved(array, kind="PNG", **options):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind, **options)
    return buffer.getvalue()


GOOD = cases.good_label()


BAD_LABELS = {
    "null": (None, "has no label map"),
    "empty": (b"", "is empty"),
    "noise": (bytes(range(256)), "not a picture"),
    "text": (b"see label.png", "not a picture"),
    "truncated": (GOOD[: len(GOOD) // 2], "cannot be decoded"),
    "header only": (GOOD[:33], "cannot be decoded"),
    "flipped bits": (GOOD[:60] + bytes(byte ^ 255 for byte in GOOD[60:90]) + GOOD[90:], "cannot be decoded"),
    "no end": (GOOD[:8] + GOOD[8:33] + GOOD[-12:], "cannot be decoded"),
    "lossy": (saved(cases.label_map(0), "JPEG"), "JPEG label map, a format that may change ids"),
    "lossy webp": (saved(np.zeros((32, 32, 3), np.uint8), "WEBP"), "WEBP label map"),
    "colours": (saved(np.zeros((32, 32, 3), np.uint8)), "is an RGB label map"),
    "colours with alpha": (saved(np.zeros((32, 32, 4), np.uint8)), "is an RGB label map"),
    "grey with alpha": (saved(np.zeros((32, 32, 2), np.uint8)), "mode 'LA'"),
    "floating point": (saved(np.zeros((32, 32), np.float32), "TIFF"), "mode 'F'"),
    "id beyond the classes": (encode_png(np.full((32, 32), 4, np.uint8)), "has id 4, but the classes are 0 to 3"),
    "16-bit id": (encode_png(np.full((32, 32), 300, np.uint16)), "has id 300"),
    "many ids": (encode_png(np.arange(1024, dtype=np.uint16).reshape(32, 32)), "has id 4, 5, 6, 7, 8, ..."),
    "negative id": (saved(np.full((32, 32), -1, np.int32), "TIFF"), "negative id"),
    "huge id": (saved(np.full((32, 32), 70000, np.int32), "TIFF"), "has id 70000"),
    "photograph": (
        saved(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)),
        "is an RGB label map",
    ),
}


def write_with_good(path, bad):
    labels = [GOOD, *bad, cases.good_label(1)]
    return cases.write_cells(path, labels, ["first", *(f"bad-{index}" for index in range(len(bad))), "last"])


def test_every_kind_of_bad_label_is_rejected_with_its_reason(checkpoint, tmp_path):
    maps = write_with_good(tmp_path / "maps.parquet", [data for data, _ in BAD_LABELS.values()])
    result = cases.command(maps, checkpoint, tmp_path / "out", "--max-rejects", len(BAD_LABELS))
    assert result.exit_code == 3, result.output
    assert f"{len(BAD_LABELS)} label maps were rejected" in result.output
    assert [row["id"] for row in cases.output_rows(tmp_path / "out")] == ["first", "last"]
    rejects = pq.read_table(tmp_path / "out" / "_job" / "rejects.parquet").to_pylist()
    assert [(reject["source"], reject["row"]) for reject in rejects] == [
        ("maps.parquet", index + 1) for index in range(len(BAD_LABELS))
    ]
    for (kind, (_, reason)), reject in zip(BAD_LABELS.items(), rejects, strict=True):
        assert reason in reject["reason"], kind
        assert "\n" not in reject["reason"]
    assert verify(str(tmp_path / "out"), quiet=True).rejects == len(BAD_LABELS)


@pytest.mark.parametrize("kind", BAD_LABELS)
def test_a_bad_label_ends_a_job_without_an_allowance_and_leaves_nothing(checkpoint, tmp_path, kind):
    data, reason = BAD_LABELS[kind]
    line = cases.error_line(
        cases.command(write_with_good(tmp_path / "maps.parquet", [data]), checkpoint, tmp_path / "out")
    )
    assert "row 1 of maps.parquet (id 'bad-0')" in line
    assert reason in line
    assert "--max-rejects" in line
    assert not (tmp_path / "out").exists()


def rejects_of(maps, checkpoint, output, *options):
    result = cases.command(maps, checkpoint, output, "--max-rejects", "90%", *options)
    assert result.exit_code == 3, result.output
    rejects = pq.read_table(output / "_job" / "rejects.parquet").to_pylist()
    return [(reject["id"], reject["row"], reject["reason"]) for reject in rejects]


def test_rows_without_an_id_and_with_one_used_before_are_rejected(checkpoint, tmp_path):
    maps = cases.write_cells(tmp_path / "maps.parquet", [GOOD] * 4, ["a", None, "", "a"])
    assert rejects_of(maps, checkpoint, tmp_path / "out") == [
        (None, 1, "has no id"),
        ("", 2, "has no id"),
        ("a", 3, "has the id of maps.parquet row 0; ids must be unique"),
    ]


def test_too_many_ids_used_before_are_refused_before_any_synthesis(checkpoint, tmp_path, monkeypatch):
    ids = [*map(str, range(12)), "x'y", "x'y", "3", "4"]
    maps = cases.write_cells(tmp_path / "maps.parquet", [GOOD] * 16, ids)
    with monkeypatch.context() as patch:
        patch.delattr("pipeline.synthesis.job.run_here")
        line = cases.error_line(cases.command(maps, checkpoint, tmp_path / "out"))
        assert "row 13 of maps.parquet (id 'x'y'): has the id of maps.parquet row 12; ids must be unique" in line
        assert "--max-rejects" in line
        line = cases.error_line(cases.command(maps, checkpoint, tmp_path / "out", "--max-rejects", 2))
        assert "3 rows have an id that was used before, more than --max-rejects allows; the first is row 13" in line
    assert not (tmp_path / "out").exists()
    assert cases.command(maps, checkpoint, tmp_path / "out", "--max-rejects", 3).exit_code == 3
    assert cases.command(maps, checkpoint, tmp_path / "out").exit_code == 3, "what is finished stays finished"


def test_a_struct_with_only_a_path_is_rejected(checkpoint, tmp_path):
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    cells = pa.array([{"bytes": GOOD, "path": None}, {"bytes": None, "path": "labels/7.png"}, None], struct)
    pq.write_table(pa.table({"label": cells}), tmp_path / "maps.parquet")
    reasons = [reason for _, _, reason in rejects_of(tmp_path / "maps.parquet", checkpoint, tmp_path / "out")]
    assert "only a path, labels/7.png" in reasons[0]
    assert "has no label map" in reasons[1]


def write_instances(path, instances):
    labels = [cases.label_map(index) for index in range(len(instances))]
    table = {"id": [str(index) for index in range(len(instances))], "label": [encode_png(label) for label in labels]}
    pq.write_table(pa.table(table | {"instance": pa.array(instances, pa.binary())}), path)
    return path


def test_bad_instance_maps_are_rejected(tmp_path):
    checkpoint = cases.write_checkpoint(tmp_path / "run", instance_edges=True)
    wrong_size = encode_png(np.zeros((16, 32), np.uint8))
    maps = write_instances(tmp_path / "maps.parquet", [GOOD, None, wrong_size, GOOD[:50]])
    reasons = [reason for _, _, reason in rejects_of(maps, checkpoint, tmp_path / "out")]
    assert "has no instance map" in reasons[0]
    assert "the instance map is 32x16 but its label map 32x32" in reasons[1]
    assert "instance cannot be decoded" in reasons[2]


def test_bad_style_photographs_are_rejected(styled, tmp_path):
    table = {
        "label": [GOOD] * 4,
        "photo": [saved(np.zeros((20, 20, 3), np.uint8)), None, b"no", saved(np.zeros((9, 9), np.uint16))],
    }
    pq.write_table(pa.table(table), tmp_path / "maps.parquet")
    rejects = rejects_of(tmp_path / "maps.parquet", styled, tmp_path / "out", "--style-column", "photo")
    assert [row for _, row, _ in rejects] == [1, 2, 3]
    assert "no photograph to take the style from" in rejects[0][2]
    assert "not a picture" in rejects[1][2]
    assert "photograph of mode" in rejects[2][2]


def test_a_label_map_too_large_to_keep_its_size_is_rejected(checkpoint, tmp_path):
    huge = encode_png(np.zeros((5000, 5000), np.uint8))
    maps = write_with_good(tmp_path / "maps.parquet", [huge])
    assert "5000x5000, too large" in rejects_of(maps, checkpoint, tmp_path / "keep", "--keep-size")[0][2]
    assert cases.command(maps, checkpoint, tmp_path / "resized").exit_code == 0


def test_more_rejects_than_allowed_end_the_job_and_more_allowance_continues_it(checkpoint, tmp_path):
    labels = [GOOD] * 16 + [b"bad"] * 3 + [GOOD] * 5
    maps = cases.write_cells(tmp_path / "maps.parquet", labels)
    line = cases.error_line(cases.command(maps, checkpoint, tmp_path / "out", "--max-rejects", 2))
    assert "3 rows are bad, more than --max-rejects allows; the first is row 16 of maps.parquet" in line
    assert not (tmp_path / "out" / "_SUCCESS").exists()
    assert not list((tmp_path / "out").rglob("*.tmp"))
    assert len(cases.output_rows(tmp_path / "out")) == 16
    assert cases.command(maps, checkpoint, tmp_path / "out", "--max-rejects", "13%").exit_code == 3
    assert len(cases.output_rows(tmp_path / "out")) == 21


@pytest.mark.parametrize(("value", "rows", "limit"), [("0", 9, 0), ("7", 9, 7), ("1%", 1000, 10), ("0.5%", 1000, 5)])
def test_allowances(value, rows, limit):
    assert parse_max_rejects(value, rows) == limit


@pytest.mark.parametrize(
    "value", ["-1", "many", "%", "1.5", "-2%", "", "inf%", "-inf%", "nan%", "nan", "-0.1%", "101%", "1e400%"]
)
def test_an_allowance_that_is_none(value):
    with pytest.raises(InputError, match="--max-rejects"):
        parse_max_rejects(value, 100)
