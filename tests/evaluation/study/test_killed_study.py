"""Studies as programs: killed at random moments, and on Ray, they end with the table of an undisturbed one."""

from __future__ import annotations

import csv
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evaluation.study.study import run_study
from tests.evaluation.study.test_study import fields, measured, study_of, write  # noqa: F401 - `fields` is a fixture
from training.budget import train_within

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
CLOCK = ("seconds", "images_per_second")
"""Columns that depend on the machine."""
DEADLINE = 600.0


def table(folder: Path) -> list[dict[str, str]]:
    """`study.csv` without what the clock says."""
    with (folder / "study.csv").open() as file:
        return [{name: value for name, value in row.items() if name not in CLOCK} for row in csv.DictReader(file)]


def progress(folder: Path) -> int:
    """How much there is: lines of statistics, and what else is finished."""
    lines = sum(len(path.read_bytes().splitlines()) for path in folder.glob("cells/*/run/stats.jsonl"))
    return lines + sum(
        len(list(folder.glob(f"cells/*/{name}"))) for name in ("training.json", "*/_SUCCESS", "*/report.json")
    )


START: dict[str, Any] = {
    "cwd": ROOT,
    "stdout": subprocess.DEVNULL,
    "stderr": subprocess.DEVNULL,
    "env": os.environ | {"OMP_NUM_THREADS": "1"},
    "start_new_session": True,
}


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Until it holds, or the process has ended."""
    deadline = time.monotonic() + DEADLINE
    while not condition() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_killed_three_times_at_random_it_ends_with_the_same_table(tmp_path: Path, fields: dict[str, Any]) -> None:  # noqa: F811
    file = write(tmp_path / "study.yaml", fields | {"examples": 0})
    command = [sys.executable, str(ROOT / "cli.py"), "study", str(file), "--out"]
    assert subprocess.run([*command, str(tmp_path / "whole")], **START, check=False, timeout=DEADLINE).returncode == 0
    most = progress(tmp_path / "whole")
    assert most == 4 * (3 + 3)  # three steps a cell, and its three milestones

    moments = sorted(random.Random(15).sample(range(1, most), 3))
    for moment in moments:
        with subprocess.Popen([*command, str(tmp_path / "killed")], **START) as process:
            wait_for(lambda moment=moment: progress(tmp_path / "killed") >= moment, process)
            assert process.poll() is None, "the study ended before it could be killed"
            process.kill()
        assert not (tmp_path / "killed" / "study.csv").exists()
    assert subprocess.run([*command, str(tmp_path / "killed")], **START, check=False, timeout=DEADLINE).returncode == 0
    assert table(tmp_path / "killed") == table(tmp_path / "whole")


@pytest.mark.ray
def test_trainings_side_by_side_on_ray_give_the_same_table(
    ray_session: None,
    tmp_path: Path,
    fields: dict[str, Any],  # noqa: F811
) -> None:
    study = study_of(tmp_path, fields)
    here = run_study(study, tmp_path / "here", trainer=train_within)
    there = run_study(study, tmp_path / "there", trainer=train_within, workers=2)
    assert measured(there) == measured(here)
    assert len(list((tmp_path / "there" / "cells").glob("*/training.json"))) == 4
