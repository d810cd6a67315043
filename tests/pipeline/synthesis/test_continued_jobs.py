"""Jobs that stopped, are done, were damaged, or are another job: what goes on, is repaired, or refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from pipeline.checkpoints.file import load_checkpoint
from pipeline.data import shards as shard_plan
from pipeline.data.storage import Folder
from pipeline.errors import InputError
from pipeline.synthesis.job_folder import JobFolder
from pipeline.synthesis.verify import verify
from tests.pipeline.synthesis import cases
from tests.pipeline.synthesis.cases import synthesize


def test_a_job_continues_where_it_stopped_and_ends_with_the_same_bytes(maps, checkpoint, tmp_path):
    synthesize(maps, checkpoint, tmp_path / "whole")
    out = tmp_path / "cut"
    shutil.copytree(tmp_path / "whole", out)
    # As a kill leaves it: no end, one shard finished, one part without its record, one part half-written.
    manifest = json.loads((out / "manifest.json").read_text())
    for name in ("_SUCCESS", "manifest.json", "contact_sheet.png", "summary.json", "part-00002.parquet"):
        (out / name).unlink()
    (out / "_job" / "shards").mkdir(exist_ok=True)
    (out / "_job" / "shards" / "part-00000.json").write_text(json.dumps(manifest["parts"][0]))
    (out / ".part-00001.parquet.1.tmp").write_bytes(b"PAR1")
    done = (out / "part-00000.parquet").stat().st_mtime_ns
    summary = synthesize(maps, checkpoint, out)
    assert summary.images == 20
    assert summary.images_this_run == 20 - manifest["parts"][0]["rows"]
    assert (out / "part-00000.parquet").stat().st_mtime_ns == done
    assert cases.output_bytes(out) == cases.output_bytes(tmp_path / "whole")


def test_a_finished_job_does_nothing_more(maps, checkpoint, tmp_path):
    synthesize(maps, checkpoint, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("[!_]*")}
    summary = synthesize(maps, checkpoint, tmp_path / "out")
    assert (summary.images, summary.images_this_run) == (20, 0)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("[!_]*")} == before


@pytest.mark.parametrize("damage", ["deleted", "garbled"])
@pytest.mark.parametrize("name", ["contact_sheet.png", "summary.json"])
def test_what_is_for_people_is_made_again(maps, checkpoint, tmp_path, name, damage):
    synthesize(maps, checkpoint, tmp_path / "out")
    before = cases.output_bytes(tmp_path / "out")
    sheet = (tmp_path / "out" / "contact_sheet.png").read_bytes()
    if damage == "deleted":
        (tmp_path / "out" / name).unlink()
    else:
        (tmp_path / "out" / name).write_bytes(b"\x89[")
    assert synthesize(maps, checkpoint, tmp_path / "out").images_this_run == 0
    assert cases.output_bytes(tmp_path / "out") == before
    assert (tmp_path / "out" / "contact_sheet.png").read_bytes() == sheet
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["images"] == 20


class TestRepair:
    """A finished job that something happened to, started again."""

    def delete(self, out):
        (out / "part-00001.parquet").unlink()

    def truncate(self, out):
        path = out / "part-00000.parquet"
        path.write_bytes(path.read_bytes()[:-7])

    def empty(self, out):
        (out / "part-00002.parquet").write_bytes(b"")

    def flip_a_byte(self, out):
        path = out / "part-00002.parquet"
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(bytes(data))

    def delete_the_manifest(self, out):
        (out / "manifest.json").unlink()

    def truncate_the_manifest(self, out):
        path = out / "manifest.json"
        path.write_bytes(path.read_bytes()[:100])

    def change_the_manifest(self, out):
        manifest = json.loads((out / "manifest.json").read_text())
        manifest["parts"][0]["rows"] -= 1
        (out / "manifest.json").write_text(json.dumps(manifest))

    def empty_the_end(self, out):
        (out / "_SUCCESS").write_bytes(b"")

    def lose_the_rejects(self, out):
        (out / "_job" / "rejects.parquet").unlink()

    def damage_the_rejects(self, out):
        (out / "_job" / "rejects.parquet").write_bytes(b"PAR1")

    DAMAGES = (
        ("delete", ["part-00001"]),
        ("truncate", ["part-00000"]),
        ("empty", ["part-00002"]),
        ("flip_a_byte", ["part-00002"]),
        ("delete_the_manifest", ["part-00000", "part-00001", "part-00002"]),
        ("truncate_the_manifest", ["part-00000", "part-00001", "part-00002"]),
        # The part with the reject too: only the manifest knew it.
        ("change_the_manifest", ["part-00000", "part-00001"]),
        ("empty_the_end", ["part-00001"]),
        ("lose_the_rejects", []),
        ("damage_the_rejects", []),
    )

    @pytest.fixture
    def maps(self, tmp_path):
        labels = [cases.good_label(index) for index in range(20)]
        return cases.write_cells(tmp_path / "maps.parquet", [*labels[:10], b"bad", *labels[10:]])

    @pytest.fixture
    def out(self, maps, checkpoint, tmp_path):
        synthesize(maps, checkpoint, tmp_path / "out", max_rejects=1)
        return tmp_path / "out"

    @pytest.mark.parametrize(("damage", "again"), DAMAGES)
    def test_what_is_damaged_is_made_again(self, maps, checkpoint, out, damage, again):
        before = cases.output_bytes(out)
        times = {path.stem: path.stat().st_mtime_ns for path in out.glob("part-*")}
        getattr(self, damage)(out)
        summary = synthesize(maps, checkpoint, out, max_rejects=1, export=["folder"])
        assert len(list((out / "folder" / "images").iterdir())) == 20
        shutil.rmtree(out / "folder")
        assert cases.output_bytes(out) == before
        assert verify(str(out), quiet=True).images == 20
        assert [
            path.stem for path in sorted(out.glob("part-*")) if path.stat().st_mtime_ns != times[path.stem]
        ] == again
        assert (summary.images, summary.rejects) == (20, 1)

    def test_a_kill_while_it_is_reopened_loses_nothing(self, maps, checkpoint, out, monkeypatch):
        before = cases.output_bytes(out)
        self.flip_a_byte(out)
        for step in range(3):  # Two records, and then the end of `_SUCCESS`.
            with monkeypatch.context() as patch:
                calls = iter(range(step))
                put, delete = Folder.put, Folder.delete

                def dying(function, calls=calls):
                    def run(folder, name, *rest):
                        marks = name.startswith("_job/shards/") or name == "_SUCCESS"
                        if marks and next(calls, None) is None:
                            raise KeyboardInterrupt
                        return function(folder, name, *rest)

                    return run

                patch.setattr(Folder, "put", dying(put))
                patch.setattr(Folder, "delete", dying(delete))
                patch.setattr("pipeline.synthesis.job.abandon", lambda job: None)
                with pytest.raises(KeyboardInterrupt):
                    synthesize(maps, checkpoint, out, max_rejects=1)
            assert (out / "_SUCCESS").exists()
        times = {path.name: path.stat().st_mtime_ns for path in out.glob("part-*")}
        synthesize(maps, checkpoint, out, max_rejects=1)
        assert cases.output_bytes(out) == before
        assert [name for name, time in times.items() if (out / name).stat().st_mtime_ns != time] == [
            "part-00002.parquet"
        ]

    def test_a_repair_that_fails_can_be_tried_again(self, maps, checkpoint, out, monkeypatch):
        before = cases.output_bytes(out)
        for path in out.glob("part-*"):
            path.write_bytes(b"")
        with monkeypatch.context() as patch:
            patch.setattr(JobFolder, "publish", lambda *_, **__: (_ for _ in ()).throw(OSError("no")))
            with pytest.raises(OSError, match="no"):
                synthesize(maps, checkpoint, out, max_rejects=1)
        synthesize(maps, checkpoint, out, max_rejects=1)
        assert cases.output_bytes(out) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, r"settings.seed is 0 there and 1 here"),
        ({"samples": 2}, r"settings.samples is 1 there and 2 here"),
        ({"picture_format": "webp"}, r"settings.format is png there and webp here"),
        ({"threads": 2}, r"settings.threads is 1 there and 2 here"),
        ({"precision": "bf16"}, r"settings.precision is fp32 there and bf16 here"),
        ({"rounding": "truncate"}, r"settings\.rounding"),
        ({"truncation": 0.5}, r"settings.style.truncation is 1.0 there and 0.5 here"),
        ({"id_column": "id", "instance_column": "label"}, r"input.columns.instance is instance there and label here"),
    ],
)
def test_another_job_into_the_same_folder_is_refused(maps, styled, tmp_path, change, message):
    synthesize(maps, styled, tmp_path / "out")
    before = cases.output_bytes(tmp_path / "out")
    with pytest.raises(InputError, match=message):
        synthesize(maps, styled, tmp_path / "out", **change)
    assert cases.output_bytes(tmp_path / "out") == before


def test_other_weights_or_another_input_are_refused(maps, checkpoint, tmp_path):
    synthesize(maps, checkpoint, tmp_path / "out")
    with pytest.raises(InputError, match=r"settings.checkpoint is .* there and .* here"):
        synthesize(maps, cases.write_checkpoint(tmp_path / "other", seed=9), tmp_path / "out")
    with pytest.raises(InputError, match=r"input.files"):
        synthesize(cases.write_maps(tmp_path / "maps.parquet", 21), checkpoint, tmp_path / "out")


def test_a_changed_checkpoint_is_noticed_by_the_workers(checkpoint, maps, tmp_path):
    from pipeline.data.records import DatasetInfo
    from pipeline.data.shards import Columns
    from pipeline.synthesis.worker import ShardWorker, WorkOrder

    order = WorkOrder(
        str(tmp_path),
        str(checkpoint),
        load_checkpoint(checkpoint).sha256,
        Columns(),
        DatasetInfo(cases.SPACE),
        threads=None,
    )
    ShardWorker(order)
    with pytest.raises(InputError, match="changed after the job began"):
        ShardWorker(replace(order, checkpoint_sha256="another"))


def test_label_maps_that_were_swapped_under_the_same_footer_are_another_input(checkpoint, tmp_path):
    maps = cases.write_maps(tmp_path / "maps.parquet", 20)
    synthesize(maps, checkpoint, tmp_path / "out")
    assert verify(str(tmp_path / "out"), source=str(maps), quiet=True).images == 20
    before = maps.read_bytes()
    labels = [row["label"] for row in pq.read_table(maps).to_pylist()]
    labels = [label["bytes"] if isinstance(label, dict) else label for label in labels]
    one, other = next((a, b) for a in labels for b in labels if len(a) == len(b) and a != b)
    after = before.replace(one, b"?" * len(one)).replace(other, one).replace(b"?" * len(one), other)
    fingerprint = shard_plan.plan_shards(maps).files[0].fingerprint
    maps.write_bytes(after)
    assert after != before and shard_plan.plan_shards(maps).files[0].fingerprint == fingerprint
    for again in (
        lambda: synthesize(maps, checkpoint, tmp_path / "out"),
        lambda: verify(str(tmp_path / "out"), source=str(maps), quiet=True),
    ):
        with pytest.raises(InputError, match=r"rows 0 to 7 of .*maps\.parquet are not those that .*part-00000"):
            again()
    maps.write_bytes(before)
    synthesize(maps, checkpoint, tmp_path / "out")
