"""The live display."""

from __future__ import annotations

import time

from pipeline.synthesis.job_records import Reject
from pipeline.synthesis.progress import JobProgress
from pipeline.synthesis.worker import Report


def shown(capsys):
    return capsys.readouterr().err.replace("\r", "\n").strip().split("\n")[-1]


def test_it_shows_rows_rate_time_left_rejects_and_stages(capsys, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    with JobProgress(26, 6, [Reject("x", "a", 3, "bad")], quiet=False) as progress:
        clock[0] += 60.0  # Ray starts.
        progress.update(Report(1, 4, 8, (), {"decode": 1.0, "synthesize": 8.0, "encode": 1.0}))
        clock[0] += 2.0
        progress.update(
            Report(1, 8, 16, (Reject("y", "a", 9, "bad"),), {"decode": 2.0, "synthesize": 6.0, "encode": 2.0})
        )
        assert progress.images == 16
        assert len(progress.rejects) == 2
        assert progress.stage_seconds == {"decode": 2.0, "encode": 2.0, "synthesize": 6.0}
    line = shown(capsys)
    assert "14/26" in line
    assert "4 images/s" in line
    assert "2 rejected" in line
    assert "decode 20% synthesize 60% encode 20% wait 0%" in line


def test_a_start_of_ray_between_two_parts_of_a_job_is_in_no_rate(capsys, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(time, "time", lambda: clock[0])
    with JobProgress(100, 0, [], quiet=False) as progress:
        progress._bar._time = lambda: clock[0]
        progress.update(Report(0, 8, 8, ()))
        clock[0] += 4
        progress.update(Report(1, 8, 8, ()))
        progress.restart_clock()
        clock[0] += 200  # Ray starts.
        progress.update(Report(2, 24, 24, ()))
        clock[0] += 20
        progress.update(Report(3, 10, 10, ()))
        assert progress.images == 50
    line = shown(capsys)
    assert line.startswith("synthesize: 50/100 [00:20<01:40, 2 s/map, 0.5 images/s, 0 rejected")


def test_a_shard_that_starts_again_is_not_counted_twice(capsys):
    with JobProgress(8, 0, [], quiet=True) as progress:
        progress.update(Report(0, 6, 6, (Reject("x", "a", 3, "bad"),)))
        progress.update(Report(0, 2, 2, (Reject("x", "a", 3, "bad"),)))
        assert (progress.images, len(progress.rejects)) == (2, 1)
    assert capsys.readouterr().err == ""
