"""A few kills and a few full disks, at file operations in turn; `crash_campaign.py` is the long version."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("options", [["--every", "40"], ["--full-disk", "2"]], ids=["killed", "full disk"])
def test_the_same_command_mends_what_a_crash_left(options: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash_campaign", "synthesize", "train", *options],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert done.stdout.count(" of ") == 2
