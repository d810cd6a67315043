"""Folders as users have them, by `prepare folder`: read exactly, or refused with the fix. Files: tests/cases."""

from __future__ import annotations

import io
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import cli
from pipeline.data.records import decode_record, iter_rows

CASES = Path(__file__).parents[2] / "cases"


@dataclass(frozen=True)
class Case:
    """A folder, the options beside its label maps and classes, and what becomes of it."""

    name: str
    options: str = "--classes classes.txt"
    records: int = 0
    refused: str = ""


READ = [
    Case("optimised-png", "--palette palette.txt", 4),
    Case("palette-png-mixed", "--palette palette.txt", 6),
    Case("optimised-grey-png", "--classes many.txt", 4),
    Case("bmp-two-colours", records=6),
    Case("pgm-maxval", records=6),
    Case("tiff-4-bit", records=6),
    Case("binary-0-255", "--classes classes.txt --images images --map-ids ids.txt", 6),
    Case("binary-0-255", "--images images --palette palette.txt", 6),
    Case("palette-hash", "--palette palette.txt", 6),
    Case("palette-csv-header", "--palette palette.csv", 6),
    Case("ids-with-gaps", "--classes classes.txt --map-ids gaps.txt", 6),
    Case("panoptic-instances", "--classes classes.txt --images images --instances instances", 6),
    Case("instance-32-bit-resize", "--classes classes.txt --images images --instances instances --size 8x6", 4),
    Case(
        "suffix-names",
        "--classes classes.txt --images images --label-suffix _gtFine_labelIds --image-suffix _leftImg8bit",
        6,
    ),
    Case("suffix-names", "--classes classes.txt --images images", 6),
    Case("suffix-names", "--classes classes.txt --images images --instances labels", 6),
    Case("suffix-names", "--classes classes.txt", 6),
    Case("ids-with-gaps", "--classes classes.txt --map-ids gaps.txt --connected-instances person", 6),
    Case("jfif-photos", "--classes classes.txt --images images", 5),
    Case("corrupt-avif", "--classes classes.txt --images images --skip-bad", 3),
    Case("hidden-folders", records=6),
    Case("symlinked-subfolders", "--classes classes.txt --images images", 12),
]
REFUSED = [
    Case("binary-0-255", refused="for masks of 0 and 255, give prepare folder --map-ids with the lines '0 0' and"),
    Case("ids-with-gaps", refused="has id 7, 11, 33, .*give prepare folder --map-ids"),
    Case("exif-180-jpeg", "--classes classes.txt --images images", refused="0.jpg has the EXIF orientation 3"),
    Case("tiff-orientation", "--classes classes.txt --images images", refused="0.tif is a TIFF picture with an orient"),
    Case("latin1-names", refused="the file's name is not UTF-8; rename it"),
]


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a case's folder, which is the working directory, with what no archive can hold."""
    name = request.param.name
    copy = shutil.copytree(CASES / name, tmp_path / name)
    (copy / "ids.txt").write_text("0 0\n255 1\n")
    (copy / "gaps.txt").write_text("0 0\n7 1\n11 2\n33 3\n")
    (copy / "many.txt").write_text("".join(f"class {number}\n" for number in range(34)))
    if name == "symlinked-subfolders":
        for kind in ("labels", "images"):
            (copy / kind / "b").unlink(missing_ok=True)
            (copy / kind / "b").symlink_to(Path("..", "store", kind, "b"))
            (copy / kind / "a" / "above").symlink_to(Path(".."))  # leads back, and must not be followed for ever
    if name == "latin1-names":
        shutil.copy(copy / "labels" / "0.png", os.fsencode(copy / "labels") + b"/caf\xe9.png")
    monkeypatch.chdir(copy)
    return copy


@pytest.mark.parametrize(("case", "folder"), [(case, case) for case in READ], indirect=["folder"], ids=str)
def test_read_exactly(case: Case, folder: Path) -> None:
    result = CliRunner().invoke(
        cli.main, ["prepare", "folder", "labels", *case.options.split(), "--out", "out", "--validation", "0"]
    )
    assert result.exit_code == 0, result.output
    rows = list(iter_rows(folder / "out" / "train.parquet"))
    assert len(rows) == case.records
    for row in rows:
        record = decode_record(row)
        for truth in (folder / "truth").glob(f"{record.id}.*"):
            expected = np.array(Image.open(truth))
            assert np.array_equal(record.label, expected)
            # Any other reader finds the same ids.
            assert np.array_equal(np.array(Image.open(io.BytesIO(row["label"]["bytes"]))), expected)
        if record.instance is not None:
            assert len(np.unique(record.instance)) > 1


@pytest.mark.parametrize(("case", "folder"), [(case, case) for case in REFUSED], indirect=["folder"], ids=str)
def test_refused_with_the_fix(case: Case, folder: Path) -> None:
    result = CliRunner().invoke(cli.main, ["prepare", "folder", "labels", *case.options.split(), "--out", "out"])
    assert result.exit_code == 2
    assert re.search(case.refused, result.stderr), result.stderr
    assert not (folder / "out").exists()
