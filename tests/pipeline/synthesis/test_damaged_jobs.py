"""Damage in a job's folder: made again where it can be, else named by `verify`."""

from __future__ import annotations

import hashlib
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import cli
from tests.pipeline.synthesis import cases

GOOD = cases.good_label()


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
    assert cases.command(maps, checkpoint, tmp_path / "out").exit_code == 0
    (tmp_path / "out" / "_job" / "job.json").write_bytes(content)
    before = cases.output_bytes(tmp_path / "out")
    assert "_job/job.json is damaged" in cases.error_line(cases.command(maps, checkpoint, tmp_path / "out"))
    assert cases.output_bytes(tmp_path / "out") == before


@pytest.mark.parametrize("content", NO_JSON_OF_OURS)
def test_a_shard_with_a_damaged_record_is_made_again(checkpoint, tmp_path, content):
    maps = cases.write_cells(tmp_path / "maps.parquet", [GOOD] * 9)
    out = tmp_path / "out"
    assert cases.command(maps, checkpoint, out).exit_code == 0
    before = cases.output_bytes(out)
    # As a kill before the end leaves it, but for the damage.
    (out / "_job" / "shards").mkdir(exist_ok=True)
    (out / "_job" / "shards" / "part-00000.json").write_bytes(content)
    (out / "_SUCCESS").unlink()
    assert cases.command(maps, checkpoint, out).exit_code == 0
    assert cases.output_bytes(out) == before


class TestVerify:
    """A finished job that something happened to."""

    @pytest.fixture
    def done(self, checkpoint, tmp_path):
        maps = cases.write_cells(tmp_path / "maps.parquet", [GOOD] * 12 + [b"bad"])
        assert cases.command(maps, checkpoint, tmp_path / "out", "--max-rejects", 1).exit_code == 3
        return tmp_path / "out"

    def test_an_intact_job(self, done):
        result = CliRunner().invoke(cli.main, ["verify", str(done)])
        assert result.exit_code == 0
        assert "12 images in 2 parts, 1 reject: complete and intact" in result.output

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
        return cases.error_line(CliRunner().invoke(cli.main, ["verify", str(done)]))

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
