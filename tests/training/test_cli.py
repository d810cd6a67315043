"""The verb `train`."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cli import main
from pipeline.checkpoints.file import load_checkpoint
from pipeline.config import Recipe
from pipeline.recipe_file import dump_recipe, load_recipe
from training.run_folder import RunFolder

Make = Callable[..., Recipe]


@pytest.fixture
def recipe_file(tiny_recipe: Make, tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(dump_recipe(tiny_recipe()))
    return path


def test_train_stops_at_its_time_and_goes_on(recipe_file: Path, tmp_path: Path) -> None:
    command = ["train", str(recipe_file), "--out", str(tmp_path / "run"), "--workers", "0", "--set", "training.steps=4"]
    recipe = load_recipe(recipe_file)
    first = CliRunner().invoke(main, [*command, "--max-time", "0"])
    assert (first.exit_code, "1 step\n" in first.output, "resumes" in first.output) == (0, True, True)
    second = CliRunner().invoke(main, command)
    assert (second.exit_code, "4 steps" in second.output, "resumes" in second.output) == (0, True, False)
    assert load_checkpoint(tmp_path / "run").step == 4
    assert f"synthesize --input {recipe.data.validation} --checkpoint {tmp_path / 'run'}\n" in second.output
    # There is a line before torch and the networks are ready; the second run begins where the first stopped.
    assert [run.stderr.splitlines()[0] for run in (first, second)] == ["train: 0/4", "train: 1/4"]


def test_ctrl_c_leaves_a_checkpoint_and_ends_in_one_line_with_the_command(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["train", str(recipe_file), "--out", str(tmp_path / "run"), "--workers", "0", "--quiet"]
    monkeypatch.setattr("sys.argv", ["/usr/bin/spadework", *command])
    logged = RunFolder.add_stats

    def interrupt(*arguments: Any) -> None:
        logged(*arguments)
        monkeypatch.setattr(RunFolder, "add_stats", logged)  # a second one would end it at once
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(RunFolder, "add_stats", interrupt)
    options = ["--set", "training.steps=4", "--set", "training.log_every=2"]
    result = CliRunner().invoke(main, [*command, *options, "--json"])
    assert (result.exit_code, result.stdout) == (130, "")
    assert result.stderr.splitlines()[-1] == f"Stopped. To go on, repeat: spadework {shlex.join(command)}"
    assert load_checkpoint(tmp_path / "run").step == 3  # the signal came after the second was reported
    monkeypatch.undo()
    assert CliRunner().invoke(main, [*command, *options]).exit_code == 0
    assert load_checkpoint(tmp_path / "run").step == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--set", "data.train=none.parquet"], "none.parquet does not exist"),
        (["--set", "training.batch_size=5", "--workers", "2"], "batch_size is 5, which 2 workers cannot share evenly"),
        (["--vgg-weights", "vgg.pth"], "weights file vgg.pth does not exist"),
        (["--set", "labels.classes=[a, b]", "--set", "labels.palette=[]"], "but the recipe's are a, b"),
        (["--set", "data.height=40"], "data.height is 40"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(
    recipe_file: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    command = ["train", str(recipe_file), "--out", str(tmp_path / "run"), "--workers", "0", *options]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 2
    assert message in result.output
    assert len(result.output.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()
