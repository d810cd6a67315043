from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import cli
from pipeline.data.records import check_dataset, count_rows


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.main, ["prepare", *map(str, arguments)])


def test_landscape(tmp_path: Path) -> None:
    result = run("landscape", "--out", tmp_path, "--train", 3, "--validation", 1, "--size", "48x32", "--workers", 1)
    assert result.exit_code == 0, result.output
    assert "train.parquet: 3 records" in result.output
    assert "skipped: 0" in result.output
    assert check_dataset(tmp_path / "train.parquet").preprocessing["size"] == [48, 32]
    assert count_rows(tmp_path / "validation.parquet") == 1


def test_folder_reports_what_it_left_out(tmp_path: Path) -> None:
    for folder, name in (("masks", "a"), ("masks", "b"), ("photos", "a")):
        (tmp_path / folder).mkdir(exist_ok=True)
        shape = (4, 4) if folder == "masks" else (4, 4, 3)
        Image.fromarray(np.zeros(shape, np.uint8)).save(tmp_path / folder / f"{name}.png")
    (tmp_path / "classes.txt").write_text("sky\nsea\n")
    arguments = [tmp_path / "masks", "--classes", tmp_path / "classes.txt", "--out", tmp_path / "out"]
    result = run("folder", *arguments, "--images", tmp_path / "photos", "--validation", 0, "--workers", 1)
    assert result.exit_code == 0, result.output
    assert "skipped: 1\n  b: no photograph of that name" in result.output
    assert "(1 more classes that never occur)" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["camvid", "nowhere"], "Error: folder of the data set nowhere does not exist"),
        (["camvid", "empty"], "Error: folder empty/train/labels does not exist"),
        (["coco-stuff", "empty"], "Error: empty has neither train_label nor val_label"),
        (["ade20k", "empty"], "Error: folder empty/annotations/training does not exist"),
        (["cityscapes", "empty"], "Error: folder empty/gtFine/train does not exist"),
        (["folder", "empty"], "Error: the class names are unknown; give --classes"),
        (["landscape", "--size", "64"], "Error: Invalid value for '--size': '64' is not WIDTHxHEIGHT"),
        (["landscape", "--size", "0x64"], "'0x64' is not WIDTHxHEIGHT"),
        (["landscape", "--train", "1000001"], "Error: --train is 1,000,001; at most"),
    ],
)
def test_mistakes_end_in_one_line_and_exit_code_2(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    result = run(*arguments, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert message in result.output
    assert not (tmp_path / "out").exists()


def test_every_verb_has_an_example(tmp_path: Path) -> None:
    prepare = cli.main.commands["prepare"]
    for name in prepare.commands:  # type: ignore[attr-defined]
        output = run(name, "--help").output
        assert f"Example:\n    spadework prepare {name} " in output
