"""What redirected output gets of a progress bar."""

from __future__ import annotations

import pytest

from pipeline.runtime.progress import ProgressBar
from pipeline.runtime.shown import show_progress


def test_a_log_gets_lines_and_no_carriage_returns(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in ProgressBar(range(200), desc="train", unit="step", total=200):
        pass
    with ProgressBar(total=50, desc="evaluate", unit="image") as bar:
        bar.update(50)
    printed = capsys.readouterr().err
    assert "\r" not in printed
    assert "\x1b" not in printed
    lines = printed.splitlines()
    assert 2 <= len(lines) <= 5  # the beginning and the end of each
    assert lines[-1].startswith("evaluate: 50/50 [")
    assert "" not in lines


def test_bars_inside_bars_and_those_that_leave_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBar(total=2, desc="outer") as outer:
        for _ in range(2):
            for _ in ProgressBar(range(3), desc="inner", leave=False):
                pass
            outer.update()
    printed = capsys.readouterr().err
    assert "\r" not in printed
    assert "\x1b" not in printed
    assert printed.splitlines()[-1].startswith("outer: 2/2 [")


def test_quiet_shows_none(capsys: pytest.CaptureFixture[str]) -> None:
    show_progress(False)
    try:
        for _ in ProgressBar(range(3), desc="train"):
            pass
    finally:
        show_progress(True)
    assert capsys.readouterr().err == ""
