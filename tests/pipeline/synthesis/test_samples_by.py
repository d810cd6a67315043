"""A column that says how many pictures each label map gets."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.data import shards as shard_plan
from pipeline.data.shards import plan_shards
from pipeline.errors import InputError
from pipeline.synthesis.verify import verify
from tests.pipeline.synthesis import cases
from tests.pipeline.synthesis.cases import synthesize

COUNTS = [3, 0, 1, 2, 0, 0, 1, 3, 1, 1]
PAIRS = [(f"map/{row}", sample) for row, count in enumerate(COUNTS) for sample in range(count)]


def write(path, counts, kind=None):
    """As many label maps as there are counts, which are in the column `wanted`."""
    table = pq.read_table(cases.write_maps(path, len(counts)))
    pq.write_table(table.append_column("wanted", pa.array(counts, kind or pa.int64())), path, row_group_size=4)
    return path


def pictures(folder):
    return {(row["id"], row["sample"]): row["image"] for row in cases.output_rows(folder)}


@pytest.fixture(scope="module")
def wanted(tmp_path_factory):
    return write(tmp_path_factory.mktemp("wanted") / "maps.parquet", COUNTS)


@pytest.fixture(scope="module")
def done(wanted, styled, tmp_path_factory):
    out = tmp_path_factory.mktemp("done") / "out"
    synthesize(wanted, styled, out, samples_by="wanted", seed=4)
    return out


def test_every_label_map_has_as_many_pictures_as_its_row_says(wanted, styled, done, tmp_path):
    assert [(row["id"], row["sample"]) for row in cases.output_rows(done)] == PAIRS
    summary = json.loads((done / "summary.json").read_text())
    assert (summary["label_maps"], summary["images"], summary["samples"], summary["rejects"]) == (10, 12, None, 0)
    assert verify(str(done), source=str(wanted), quiet=True).images == 12
    # The same seed, id and sample is the same picture, however many samples the map and its neighbours have.
    synthesize(wanted, styled, tmp_path / "all", samples=3, seed=4)
    everything = pictures(tmp_path / "all")
    assert pictures(done) == {pair: everything[pair] for pair in PAIRS}


def test_shards_show_in_no_bit_and_a_killed_job_ends_with_the_same_bytes(wanted, styled, done, tmp_path, monkeypatch):
    out = tmp_path / "cut"
    shutil.copytree(done, out)
    manifest = json.loads((out / "manifest.json").read_text())
    assert [part["rows"] for part in manifest["parts"]] == [6, 6]
    for name in ("_SUCCESS", "manifest.json", "summary.json", "part-00001.parquet"):
        (out / name).unlink()
    (out / "_job" / "shards").mkdir(exist_ok=True)
    (out / "_job" / "shards" / "part-00000.json").write_text(json.dumps(manifest["parts"][0]))
    assert synthesize(wanted, styled, out, samples_by="wanted", seed=4).images_this_run == 6
    assert cases.output_bytes(out) == cases.output_bytes(done)
    assert synthesize(wanted, styled, out, samples_by="wanted", seed=4).images_this_run == 0
    monkeypatch.setattr(shard_plan, "SMALLEST_SHARD", 1)
    summary = synthesize(wanted, styled, tmp_path / "many", samples_by="wanted", seed=4)
    assert pictures(tmp_path / "many") == pictures(done)
    assert summary.images == verify(str(tmp_path / "many"), quiet=True).images == 12
    # A row without samples is a shard of its own here, and has no part.
    assert not (tmp_path / "many" / "part-00001.parquet").exists()


def test_a_damaged_part_is_made_again(wanted, styled, done, tmp_path):
    shutil.copytree(done, tmp_path / "out")
    (tmp_path / "out" / "part-00000.parquet").write_bytes(b"")
    assert synthesize(wanted, styled, tmp_path / "out", samples_by="wanted", seed=4).images_this_run == 6
    assert cases.output_bytes(tmp_path / "out") == cases.output_bytes(done)


def test_numbers_that_are_none_are_rejected_by_row(styled, tmp_path):
    maps = write(tmp_path / "maps.parquet", [2.0, None, -1.0, 1.5, float("nan"), float("inf"), 10_001, 1], pa.float64())
    with pytest.raises(InputError, match=r"row 1 of maps.parquet \(id 'map/1'\): has no number of samples; write 0"):
        synthesize(maps, styled, tmp_path / "none", samples_by="wanted")
    summary = synthesize(maps, styled, tmp_path / "out", samples_by="wanted", max_rejects=6)
    assert (summary.images, summary.rejects) == (3, 6)
    rejects = pq.read_table(tmp_path / "out" / "_job" / "rejects.parquet").to_pylist()
    assert [(reject["row"], reject["reason"].split(";")[0]) for reject in rejects] == [
        (1, "has no number of samples"),
        (2, "asks for -1.0 samples"),
        (3, "asks for 1.5 samples"),
        (4, "has no number of samples"),
        (5, "asks for inf samples"),
        (6, "asks for 10001.0 samples, more than 10000"),
    ]
    assert verify(str(tmp_path / "out"), source=str(maps), quiet=True).images == 3


def test_verify_counts_what_bad_rows_should_have_had(styled, tmp_path):
    maps = write(tmp_path / "maps.parquet", [2, 3, 1, 0])
    table = pq.read_table(maps)
    labels = pa.array([b"bad" if row in (1, 3) else cases.good_label(row) for row in range(4)], pa.binary())
    pq.write_table(table.set_column(table.schema.get_field_index("label"), "label", labels), maps)
    out = tmp_path / "out"
    assert synthesize(maps, styled, out, samples_by="wanted", max_rejects=1).rejects == 1  # Row 3 is not looked at.
    assert verify(str(out), quiet=True).images == 3
    job = json.loads((out / "_job" / "job.json").read_text())
    assert (job["settings"]["samples"], job["input"]["columns"]["samples"], job["input"]["images"]) == (
        None,
        "wanted",
        6,
    )
    job["input"]["images"] = 7
    (out / "_job" / "job.json").write_text(json.dumps(job))
    with pytest.raises(InputError, match="3 images and 1 rejects of 4 label maps, which should have 7 images"):
        verify(str(out), quiet=True)


def test_another_column_or_none_is_another_job(wanted, styled, done, tmp_path):
    shutil.copytree(done, tmp_path / "out")
    with pytest.raises(InputError, match=r"settings.samples is null there and 1 here; input.columns.samples"):
        synthesize(wanted, styled, tmp_path / "out", seed=4)
    assert cases.output_bytes(tmp_path / "out") == cases.output_bytes(done)


def test_exports_tell_samples_apart(wanted, styled, done, tmp_path):
    shutil.copytree(done, tmp_path / "out")
    synthesize(wanted, styled, tmp_path / "out", samples_by="wanted", seed=4, export=["folder"])
    assert len(list((tmp_path / "out" / "folder" / "images").rglob("*.png"))) == 12


@pytest.mark.parametrize(
    ("counts", "options", "message"),
    [
        ([1, 2], {"samples": 2}, "give only one of --samples-by, --samples and --style-interpolate"),
        ([1, 2], {"samples_by": "many"}, "lacks the column many"),
        ([1, 2], {}, r"generator takes no style .* let --samples-by ask for 0 or 1"),
        (["1", "2"], {}, r"column wanted of .*maps\.parquet is string; it must hold whole numbers"),
        ([True, False], {}, r"column wanted of .*maps\.parquet is bool; it must hold whole numbers"),
        ([0, 0], {}, r"column wanted of .*maps\.parquet asks for no sample of any row"),
    ],
)
def test_what_cannot_work_is_refused(checkpoint, tmp_path, counts, options, message):
    kind = {str: pa.string(), bool: pa.bool_()}.get(type(counts[0]))
    maps = write(tmp_path / "maps.parquet", counts, kind)
    with pytest.raises(InputError, match=message):
        synthesize(maps, checkpoint, tmp_path / "out", **{"samples_by": "wanted"} | options)
    assert not (tmp_path / "out").exists()


def test_shards_are_cut_by_images(tmp_path):
    counts = np.random.default_rng(0).integers(0, 6, 400)
    counts[50] = 900
    maps = tmp_path / "maps.parquet"
    pq.write_table(pa.table({"id": range(400), "label": [b""] * 400, "wanted": counts}), maps, row_group_size=30)
    plan = plan_shards(maps, samples_column="wanted")
    assert [shard.start for shard in plan.shards] == [0, *(shard.stop for shard in plan.shards[:-1])]
    assert plan.shards[-1].stop == plan.rows == 400
    assert [shard.images for shard in plan.shards] == [counts[shard.start : shard.stop].sum() for shard in plan.shards]
    assert plan.images == counts.sum() and plan.most_samples == 900
    wanted = np.maximum(counts, 1).sum() / 32
    large = [shard for shard in plan.shards if shard.images > wanted + 5]
    assert len(large) == 1 and large[0].start <= 50 < large[0].stop <= 51
    pq.write_table(pa.table({"id": [0], "label": [b""], "wanted": pa.array([1], pa.uint8())}), maps)
    assert [shard.images for shard in plan_shards(maps, samples_column="wanted").shards] == [1]
