"""What redirected output gets of a progress bar."""

from __future__ import annotations

import pytest

from pipeline.runtime.progress import ProgressBar
from pipeline.runtime.shown import show_progress


@pytest.fixture(autouse=True)
def _shown() -> None:
    show_progress(True)  # Commands of other tests may have been quiet.


def test_a_log_gets_lines_and_no_carriage_returns(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in ProgressBar(range(200), desc="train", unit="step", total=200):
        pass
    for _ in ProgressBar(["a", "b"], desc="scores", unit="set"):
        pass
    for _ in ProgressBar([], desc="nothing", unit="set"):
        pass
    with ProgressBar(total=50, desc="evaluate", unit="image") as bar:
        bar.update(50)
    printed = capsys.readouterr().err
    assert "\r" not in printed
    assert "\x1b" not in printed
    lines = printed.splitlines()
    assert 3 <= len(lines) <= 9  # the beginning and the end of each
    assert "scores: 0/2" in lines and "nothing: 0/0" in lines
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


def test_lines_have_times_and_a_pace_once_anything_is_done(
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = [100.0]

    def lines(unit: str, *, total: int, done: int, seconds: float) -> list[str]:
        with ProgressBar(total=total, desc="train", unit=unit) as bar:
            bar._time = lambda: clock[0]
            bar.start_t = bar.last_print_t = clock[0]
            clock[0] += seconds
            bar.set_postfix_str("2 rejected", refresh=False)
            bar.update(done)
        return capsys.readouterr().err.splitlines()

    assert lines(" records", total=60, done=30, seconds=20) == [
        "train: 0/60",
        "train: 30/60 [00:20<00:20, 1.5 records/s, 2 rejected]",
    ]
    assert lines("image", total=40, done=40, seconds=20)[1:] == ["train: 40/40 [00:20<00:00, 2 images/s, 2 rejected]"]
    assert lines("step", total=12, done=8, seconds=32) == [
        "train: 0/12",
        "train: 8/12 [00:32<00:16, 4 s/step, 2 rejected]",
    ]
    fast = lines(" records", total=100_000, done=60_000, seconds=20)  # No powers of ten.
    assert fast[1] == "train: 60000/100000 [00:20<00:13, 3,000 records/s, 2 rejected]"
    slow = lines("step", total=3, done=1, seconds=5000)
    assert slow[1] == "train: 1/3 [1:23:20<2:46:40, 5,000 s/step, 2 rejected]"


def test_quiet_shows_none(capsys: pytest.CaptureFixture[str]) -> None:
    show_progress(False)
    try:
        for _ in ProgressBar(range(3), desc="train"):
            pass
    finally:
        show_progress(True)
    assert capsys.readouterr().err == ""
