"""Engines of SIMS: the network that mends is compiled, what it mends is pasted as without an engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.data import shards as shard_plan
from pipeline.data.images import decode_image
from pipeline.engines.compile import compile_generator
from pipeline.errors import InputError
from pipeline.segments.build import build_bank
from pipeline.synthesis.synthesize import synthesize
from tests.pipeline.synthesis import cases


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of maps 100 to 105."""
    folder = tmp_path_factory.mktemp("bank")
    build_bank(cases.write_maps(folder / "train.parquet", 6, start=100), folder / "bank.parquet", quiet=True)
    return folder / "bank.parquet"


def test_an_engine_mends_the_same_canvases(bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The eager one. AOTInductor's takes minutes to compile: seen run, and one grey level off at most."""
    settings = {"kind": "sims", "bank": str(bank), "widths": [2, 3, 4, 5]}
    checkpoint = cases.write_checkpoint(tmp_path / "run", **settings, instance_edges=True)
    maps = cases.write_maps(tmp_path / "maps.parquet", 4)
    options = {"backend": "eager", "precision": "fp32", "source": maps, "maps": 2}
    folder, manifest = compile_generator(checkpoint, tmp_path / "engines", **options)
    assert (manifest.refused, manifest.parity.pictures) == (None, 2)
    assert manifest.parity.max_error < 1e-4 and manifest.parity.contrast > 0.1
    drawn = {}
    for name, engine in (("without", {}), ("engine", {"engine": folder}), ("shards", {"engine": folder})):
        if name == "shards":
            monkeypatch.setattr(shard_plan, "SMALLEST_SHARD", 1)
        synthesize(maps, checkpoint, tmp_path / name, workers=0, quiet=True, **engine)
        drawn[name] = cases.output_rows(tmp_path / name)
    assert drawn["engine"] == drawn["shards"]
    for row, other in zip(drawn["engine"], drawn["without"], strict=True):
        assert row["sources"] == other["sources"] != "[]"
        assert cases.pixels(row) == cases.pixels(other) and decode_image(row["image"]["bytes"]).std() > 20
    # The next bank has other canvases to check with, so it is another engine; but each takes those of any bank.
    build_bank(bank.parent / "train.parquet", tmp_path / "less.parquet", least_area=0.1, quiet=True)
    other, _ = compile_generator(checkpoint, tmp_path / "engines", **options, bank=tmp_path / "less.parquet")
    assert other != folder


def test_what_is_no_bank_for_it_is_refused(bank: Path, tmp_path: Path) -> None:
    options = {"backend": "eager", "precision": "fp32", "maps": 1}
    lost = cases.write_checkpoint(tmp_path / "lost", kind="sims", bank=str(tmp_path / "gone"), widths=[2, 3, 4, 5])
    with pytest.raises(InputError, match=r"pastes pieces of a memory bank, and .*gone is not there; give --bank"):
        compile_generator(lost, tmp_path / "engines", **options)
    with pytest.raises(InputError, match=f"{tmp_path} is no file; make it with prepare bank"):
        compile_generator(lost, tmp_path / "engines", **options, bank=tmp_path)
    with pytest.raises(InputError, match="of kind spade, which pastes nothing; leave out --bank"):
        compile_generator(cases.write_checkpoint(tmp_path / "spade"), tmp_path / "engines", **options, bank=bank)
