"""Everything that can be wrong with an input: bad rows become rejects, bad files and options one clear line."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import pickle
import re
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image

import cli
from pipeline.data.images import encode_png
from pipeline.data.records import DatasetInfo, RecordWriter
from pipeline.errors import InputError
from pipeline.labels import LabelSpace
from pipeline.synthesis import actor_pool
from pipeline.synthesis.synthesize import _refuse_output_in_input, parse_max_rejects
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


def command(maps, checkpoint, output, *options):
    arguments = ["synthesize", "--input", maps, "--checkpoint", checkpoint, "--out", output, "--workers", 0, *options]
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments])


def error_line(result):
    """The one line of an error, which is all there is on the output beside the progress display."""
    lines = [
        line
        for line in result.output.replace("\r", "\n").split("\n")
        if line and not line.startswith(("synthesize:", "verify:"))
    ]
    assert result.exit_code == 2, result.output
    assert len(lines) == 1, result.output
    assert lines[0].startswith("Error: ")
    return lines[0]


def test_every_kind_of_bad_label_is_rejected_with_its_reason(checkpoint, tmp_path):
    maps = write_with_good(tmp_path / "maps.parquet", [data for data, _ in BAD_LABELS.values()])
    result = command(maps, checkpoint, tmp_path / "out", "--max-rejects", len(BAD_LABELS))
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
    line = error_line(command(write_with_good(tmp_path / "maps.parquet", [data]), checkpoint, tmp_path / "out"))
    assert "row 1 of maps.parquet (id 'bad-0')" in line
    assert reason in line
    assert "--max-rejects" in line
    assert not (tmp_path / "out").exists()


def rejects_of(maps, checkpoint, output, *options):
    result = command(maps, checkpoint, output, "--max-rejects", "90%", *options)
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


def test_too_many_ids_used_before_are_refused_before_any_painting(checkpoint, tmp_path, monkeypatch):
    ids = [*map(str, range(12)), "x'y", "x'y", "3", "4"]
    maps = cases.write_cells(tmp_path / "maps.parquet", [GOOD] * 16, ids)
    with monkeypatch.context() as patch:
        patch.delattr("pipeline.synthesis.job.run_here")
        line = error_line(command(maps, checkpoint, tmp_path / "out"))
        assert "row 13 of maps.parquet (id 'x'y'): has the id of maps.parquet row 12; ids must be unique" in line
        assert "--max-rejects" in line
        line = error_line(command(maps, checkpoint, tmp_path / "out", "--max-rejects", 2))
        assert "3 rows have an id that was used before, more than --max-rejects allows; the first is row 13" in line
    assert not (tmp_path / "out").exists()
    assert command(maps, checkpoint, tmp_path / "out", "--max-rejects", 3).exit_code == 3
    assert command(maps, checkpoint, tmp_path / "out").exit_code == 3, "what is finished stays finished"


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
    assert command(maps, checkpoint, tmp_path / "resized").exit_code == 0


def test_more_rejects_than_allowed_end_the_job_and_more_allowance_continues_it(checkpoint, tmp_path):
    labels = [GOOD] * 16 + [b"bad"] * 3 + [GOOD] * 5
    maps = cases.write_cells(tmp_path / "maps.parquet", labels)
    line = error_line(command(maps, checkpoint, tmp_path / "out", "--max-rejects", 2))
    assert "3 rows are bad, more than --max-rejects allows; the first is row 16 of maps.parquet" in line
    assert not (tmp_path / "out" / "_SUCCESS").exists()
    assert not list((tmp_path / "out").rglob("*.tmp"))
    assert len(cases.output_rows(tmp_path / "out")) == 16
    assert command(maps, checkpoint, tmp_path / "out", "--max-rejects", "13%").exit_code == 3
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
    line = error_line(command(make(tmp_path), checkpoint, tmp_path / "out"))
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
    line = error_line(command(f"{tmp_path}/{source}", checkpoint, f"{tmp_path}/{output}"))
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
        result = command(f"{tmp_path}/{source}", checkpoint, f"{tmp_path}/{output}")
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
        _refuse_output_in_input(source, output)


def _no_checkpoint(folder):
    return folder / "run"


def _empty_run(folder):
    (folder / "run").mkdir()
    return folder / "run"


def _text_checkpoint(folder):
    (folder / "x.safetensors").write_text("weights")
    return folder / "x.safetensors"


def _cut_checkpoint(folder):
    path = cases.write_checkpoint(folder / "run") / "generator.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    return path


def _no_recipe(folder):
    return f"untrained:{folder}/none.yaml"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_no_checkpoint, "checkpoint .*run does not exist"),
        (_empty_run, "has no generator.safetensors yet"),
        (_text_checkpoint, "x.safetensors is not a readable safetensors file"),
        (_cut_checkpoint, "is not a readable safetensors file"),
        (_no_recipe, "none.yaml does not exist"),
    ],
)
def test_a_bad_checkpoint_ends_in_one_line_and_leaves_nothing(maps, tmp_path, make, message):
    line = error_line(command(maps, make(tmp_path), tmp_path / "out"))
    assert re.search(message, line), line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--samples", 0], "the number of pictures a label map is 0"),
        (["--samples", 3], "adds no noise (generator.noise), so each label map has one picture"),
        (["--truncation", 0.5], "generator.style_dim is 0"),
        (["--region-styles", "class"], "generator.style_input is not 'everywhere'"),
        (["--truncation", 2], "Invalid value for '--truncation': 2.0 is not in the range 0<=x<=1"),
        (["--style", "none.jpg"], "photograph none.jpg does not exist"),
        (["--style-column", "image"], "generator.style_dim is 0"),
        (["--style-column", "photo"], "lacks the column photo"),
        (["--id-column", "key"], "lacks the column key"),
        (["--workers", -1], "Invalid value for '--workers': -1 is not in the range 0<=x<=1024"),
        (["--threads", 0], "Invalid value for '--threads': 0 is not in the range 1<=x<=1024"),
        (["--max-rejects", "some"], "--max-rejects is 'some'"),
        (["--max-rejects", "inf%"], "--max-rejects is 'inf%'"),
        (["--max-rejects", "nan%"], "--max-rejects is 'nan%'"),
        (["--max-rejects", "-1"], "--max-rejects is '-1'"),
    ],
)
def test_bad_options_end_in_one_line_and_leave_nothing(maps, checkpoint, tmp_path, options, message):
    line = error_line(command(maps, checkpoint, tmp_path / "out", *options))
    assert message in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--keep-size"], "makes pictures of one size, 32x32"),
        (["--style-column", "image"], "has no style encoder"),
    ],
)
def test_what_a_generator_with_style_but_no_encoder_cannot_do(maps, tmp_path, options, message):
    checkpoint = cases.write_checkpoint(tmp_path / "run", style_dim=4)
    assert message in error_line(command(maps, checkpoint, tmp_path / "out", *options))


def test_instance_maps_are_asked_for(tmp_path):
    checkpoint = cases.write_checkpoint(tmp_path / "run", instance_edges=True)
    maps = cases.write_cells(tmp_path / "maps.parquet", [GOOD])
    assert "--instance-column" in error_line(command(maps, checkpoint, tmp_path / "out"))


class FullDisk:
    """Room for so many bytes in files of some name; then a write is cut off, as the system does it."""

    def __init__(self, monkeypatch, name, room):
        self.name, self.room = name, room
        write_bytes, write_batch = Path.write_bytes, pq.ParquetWriter.write_batch

        def bytes_written(path, data):
            if name not in path.name:
                return write_bytes(path, data)
            write_bytes(path, data[: self.take(len(data))])
            return self.fail_if_full(len(data))

        def batch_written(writer, batch, *rest):
            if name == "part" and self.take(batch.nbytes) < batch.nbytes:
                raise OSError(errno.ENOSPC, "Error writing bytes to file. Detail: [errno 28] No space left on device")
            return write_batch(writer, batch, *rest)

        monkeypatch.setattr(Path, "write_bytes", bytes_written)
        monkeypatch.setattr(pq.ParquetWriter, "write_batch", batch_written)

    def take(self, count):
        taken = min(count, max(self.room, 0))
        self.room -= count
        return taken

    def fail_if_full(self, count):
        if self.room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return count


@pytest.mark.parametrize(
    ("name", "room"),
    [
        ("part", 0),
        ("part", 30_000),
        ("contact_sheet", 100),
        ("part-00001.json", 20),
        ("job.json", 20),
        ("token", 3),
        ("_SUCCESS", 10),
        ("map_", 9000),
    ],
)
def test_a_full_disk_ends_in_one_line_and_room_gives_the_same_bytes(
    checkpoint, maps, tmp_path, monkeypatch, name, room
):
    out = tmp_path / "out"
    assert command(maps, checkpoint, tmp_path / "whole", "--export", "folder").exit_code == 0
    with monkeypatch.context() as patch:
        FullDisk(patch, name, room)
        result = command(maps, checkpoint, out, "--export", "folder")
    line = error_line(result)
    assert f"{out} cannot be written: No space left on device; make room and run the same command" in line
    assert not (out / "_SUCCESS").exists()
    assert not list(tmp_path.rglob(".*")), "something is half-written"
    assert command(maps, checkpoint, out, "--export", "folder").exit_code == 0
    assert cases.output_bytes(out) == cases.output_bytes(tmp_path / "whole")
    assert verify(str(out), quiet=True).images == 20


def test_an_actor_passes_a_full_disk_on_as_a_message(monkeypatch):
    class Full:
        def run(self, shard):
            raise OSError(errno.ENOSPC, "No space left on device")
            yield

    monkeypatch.setattr(actor_pool, "ShardWorker", lambda *_: Full())
    batch = pa.table({"shard": [pickle.dumps(None)]})
    [message] = actor_pool._Actor(None, "")(batch)
    error = pickle.loads(message["message"][0])
    assert isinstance(error, OSError)
    assert error.errno == errno.ENOSPC


NO_JSON_OF_OURS = [
    b"",
    b"{",
    b"\xff\xfe\x00",
    b"[" * 100_000,
    b"null",
    b"[]",
    b"3",
    b"{}",
    b'{"settings": [], "parts": 3}',
]


@pytest.mark.parametrize("content", NO_JSON_OF_OURS)
def test_a_job_with_a_damaged_description_is_not_continued(checkpoint, tmp_path, content):
    maps = cases.write_cells(tmp_path / "maps.parquet", [GOOD])
    assert command(maps, checkpoint, tmp_path / "out").exit_code == 0
    (tmp_path / "out" / "_job" / "job.json").write_bytes(content)
    before = cases.output_bytes(tmp_path / "out")
    assert "_job/job.json is damaged" in error_line(command(maps, checkpoint, tmp_path / "out"))
    assert cases.output_bytes(tmp_path / "out") == before


@pytest.mark.parametrize("content", NO_JSON_OF_OURS)
def test_a_shard_with_a_damaged_record_is_made_again(checkpoint, tmp_path, content):
    maps = cases.write_cells(tmp_path / "maps.parquet", [GOOD] * 9)
    out = tmp_path / "out"
    assert command(maps, checkpoint, out).exit_code == 0
    before = cases.output_bytes(out)
    # As a kill before the end leaves it, but for the damage.
    (out / "_job" / "shards").mkdir(exist_ok=True)
    (out / "_job" / "shards" / "part-00000.json").write_bytes(content)
    (out / "_SUCCESS").unlink()
    assert command(maps, checkpoint, out).exit_code == 0
    assert cases.output_bytes(out) == before


class TestVerify:
    """A finished job that something happened to."""

    @pytest.fixture
    def done(self, checkpoint, tmp_path):
        maps = cases.write_cells(tmp_path / "maps.parquet", [GOOD] * 12 + [b"bad"])
        assert command(maps, checkpoint, tmp_path / "out", "--max-rejects", 1).exit_code == 3
        return tmp_path / "out"

    def test_an_intact_job(self, done):
        result = CliRunner().invoke(cli.main, ["verify", str(done)])
        assert result.exit_code == 0
        assert "12 images in 2 parts, 1 rejects: complete and intact" in result.output

    def spoil_checksum(self, out):
        part = out / "part-00001.parquet"
        data = bytearray(part.read_bytes())
        data[100] ^= 1
        part.write_bytes(bytes(data))

    def spoil_length(self, out):
        part = out / "part-00000.parquet"
        part.write_bytes(part.read_bytes()[:-1])

    def remove_part(self, out):
        (out / "part-00000.parquet").unlink()

    def add_part(self, out):
        (out / "part-00007.parquet").write_bytes((out / "part-00000.parquet").read_bytes())

    def spoil_manifest(self, out):
        manifest = json.loads((out / "manifest.json").read_text())
        manifest["parts"][0]["rows"] -= 1
        (out / "manifest.json").write_text(json.dumps(manifest))

    def remove_success(self, out):
        (out / "_SUCCESS").unlink()

    def remove_rejects(self, out):
        (out / "_job" / "rejects.parquet").unlink()

    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            ("spoil_checksum", "part-00001.parquet is not the file that was written"),
            ("spoil_length", "part-00000.parquet is not the file that was written"),
            ("remove_part", "lacks part-00000.parquet"),
            ("add_part", "holds part-00007.parquet, which the manifest does not know"),
            ("spoil_manifest", "manifest.json is missing, or was changed"),
            ("remove_success", "the job is not finished; run the same synthesize command again"),
            ("remove_rejects", "rejects.parquet is missing"),
        ],
    )
    def test_damage_is_named(self, done, spoil, message):
        getattr(self, spoil)(done)
        result = CliRunner().invoke(cli.main, ["verify", str(done)])
        assert result.exit_code == 2
        assert message in result.output

    def seal(self, out, manifest):
        """Make a manifest the one that the job was finished with."""
        (out / "manifest.json").write_bytes(manifest)
        (out / "_SUCCESS").write_text(hashlib.sha256(manifest).hexdigest() + "\n")

    def refusal(self, done):
        return error_line(CliRunner().invoke(cli.main, ["verify", str(done)]))

    def test_a_damaged_description_is_named(self, done):
        for content in NO_JSON_OF_OURS:
            (done / "_job" / "job.json").write_bytes(content)
            assert "_job/job.json is damaged" in self.refusal(done), content[:20]

    def test_a_damaged_manifest_is_named(self, done):
        for content in [*NO_JSON_OF_OURS, b'{"images": 1, "rejects": 0, "parts": [{"name": "x"}]}']:
            (done / "manifest.json").write_bytes(content)
            assert "manifest.json is missing, or was changed" in self.refusal(done), content[:20]
            self.seal(done, content)
            assert "manifest.json is damaged" in self.refusal(done), content[:20]

    def test_a_damaged_entry_of_the_manifest_is_named(self, done):
        whole = (done / "manifest.json").read_text()
        for field in ("name", "rows", "sha256", "bytes", "rejects"):
            for value in (None, -1, "x", [3], {}):
                manifest = json.loads(whole)
                manifest["parts"][1][field] = value
                self.seal(done, json.dumps(manifest).encode())
                assert str(done) in self.refusal(done), (field, value)

    def test_a_damaged_end_is_named(self, done):
        for content in (b"", b"\xff\xfe", b"done", b"{}"):
            (done / "_SUCCESS").write_bytes(content)
            assert "_SUCCESS is damaged" in self.refusal(done), content

    def test_a_damaged_table_of_rejects_is_named(self, done):
        path = done / "_job" / "rejects.parquet"
        other = io.BytesIO()
        pq.write_table(pa.Table.from_pylist([pq.read_table(path).to_pylist()[0] | {"reason": "none"}]), other)
        for damage in (b"", b"PAR1", path.read_bytes()[:-9], other.getvalue()):
            path.write_bytes(damage)
            assert "rejects.parquet is damaged" in self.refusal(done)

    def test_a_folder_without_a_job(self, tmp_path):
        result = CliRunner().invoke(cli.main, ["verify", str(tmp_path)])
        assert result.exit_code == 2
        assert "no job is there" in result.output
