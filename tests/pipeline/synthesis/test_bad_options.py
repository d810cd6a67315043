"""Checkpoints and options that a job cannot use end in one clear line, and nothing is written."""

from __future__ import annotations

import re

import pytest

from tests.pipeline.synthesis import cases

GOOD = cases.good_label()


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
    line = cases.error_line(cases.command(maps, make(tmp_path), tmp_path / "out"))
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
    line = cases.error_line(cases.command(maps, checkpoint, tmp_path / "out", *options))
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
    assert message in cases.error_line(cases.command(maps, checkpoint, tmp_path / "out", *options))


def test_instance_maps_are_asked_for(tmp_path):
    checkpoint = cases.write_checkpoint(tmp_path / "run", instance_edges=True)
    maps = cases.write_cells(tmp_path / "maps.parquet", [GOOD])
    assert "--instance-column" in cases.error_line(cases.command(maps, checkpoint, tmp_path / "out"))
