"""Files of every kind that an earlier version made are read; see tests/earlier_version/README.md."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from cli import main
from pipeline.checkpoints.file import load_checkpoint
from pipeline.data.images import decode_image
from pipeline.data.records import check_dataset, decode_record, iter_rows, read_info
from pipeline.label_sets import LABEL_SETS


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the files, which is the working directory."""
    copy = shutil.copytree(Path(__file__).parent / "earlier_version", tmp_path / "files")
    monkeypatch.chdir(copy)
    return copy


def call(*arguments: object) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result


def test_a_data_set_is_read(files: Path) -> None:
    for name in ("train", "validation"):
        path = files / "data" / f"{name}.parquet"
        assert check_dataset(path, ("id", "label", "image", "instance")).space == LABEL_SETS["landscape"]
        assert [decode_record(row, need_image=True).label.shape for row in iter_rows(path)] == [(32, 32)] * 4


def test_a_run_is_resumed_and_keeps_fingerprints_from_then_on(files: Path) -> None:
    assert load_checkpoint(files / "run").step == 1
    call("train", "run/recipe.yaml", "--out", "run", "--workers", "0")
    assert load_checkpoint(files / "run").step == 4
    assert (files / "run" / "data.json").is_file()


def test_a_checkpoint_makes_the_pictures_that_it_made(files: Path) -> None:
    call("synthesize", "--input", "data/validation.parquet", "--checkpoint", "run", "--output", "new", "--actors", "0")
    for old, new in zip(iter_rows(files / "images" / "part-00000.parquet"), iter_rows(files / "new"), strict=True):
        assert (old["id"], old["sample"], old["seed"], old["checkpoint"]) == (
            *(new["id"], new["sample"], new["seed"], new["checkpoint"]),
        )
        # Another processor may round a value to the grey level beside it.
        pictures = [decode_image(row["image"]["bytes"]).astype(int) for row in (old, new)]
        assert np.abs(pictures[0] - pictures[1]).max() <= 1


def test_a_finished_job_is_verified_and_has_nothing_to_do(files: Path) -> None:
    assert "4 images in 1 part: complete and intact" in call("verify", "images").output
    before = (files / "images" / "part-00000.parquet").read_bytes()
    again = call(
        *("synthesize", "--input", "data/validation.parquet", "--checkpoint", "run", "--output", "images"),
        *("--actors", "0"),
    )
    assert "(0 in this run" in again.output
    assert (files / "images" / "part-00000.parquet").read_bytes() == before
    assert read_info(files / "images").space == LABEL_SETS["landscape"]


def test_pictures_are_filtered_by_the_scores_of_a_report(files: Path) -> None:
    assert "4 of 4 pictures pass" in call("filter", "images", "--min-accuracy", "0", "--out", "kept").output


def test_pictures_are_trained_on_beside_photographs(files: Path) -> None:
    """What `synthesize` and `filter` left, with the ids of each other."""
    call("filter", "images", "--min-accuracy", "0", "--out", "kept")
    sources = (
        "[{path: data/validation.parquet, name: real}, {path: images, name: all}, {path: kept, name: kept, count: 2}]"
    )
    call("train", "run/recipe.yaml", "--out", "mixed", "--workers", "0", "--set", f"data.train={sources}")
    known = json.loads((files / "mixed" / "data.json").read_text())
    assert {path: list(found) for path, found in known.items()} == {
        "data/validation.parquet": ["validation.parquet"],
        "images": ["part-00000.parquet"],
        "kept": ["part-00000.parquet"],
    }


def test_reports_are_compared(files: Path) -> None:
    shutil.copytree(files / "report", files / "other")
    call("compare", "report", "other", "--out", "comparison")
    assert "report" in (files / "comparison" / "compare.md").read_text()
