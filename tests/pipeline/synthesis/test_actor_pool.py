"""Jobs in a pool of actors, and jobs that are killed. `kill_campaign.py` is the long version."""

from __future__ import annotations

import signal

import pytest

from pipeline.errors import InputError
from pipeline.synthesis.synthesize import synthesize
from pipeline.synthesis.verify import verify
from tests.pipeline.synthesis import cases
from tests.pipeline.synthesis.kill_campaign import Case, differences, progress, wait_for


@pytest.mark.ray
def test_actors_make_the_same_bytes_as_one_process(ray_session, maps, checkpoint, tmp_path):
    synthesize(maps, checkpoint, tmp_path / "here", workers=0, quiet=True)
    summary = synthesize(maps, checkpoint, tmp_path / "pool", workers=2, quiet=True)
    assert (summary.workers, summary.images) == (2, 20)
    assert cases.output_bytes(tmp_path / "pool") == cases.output_bytes(tmp_path / "here")
    assert verify(str(tmp_path / "pool"), quiet=True).images == 20


@pytest.mark.ray
def test_a_bad_row_in_an_actor_ends_in_the_same_one_line(ray_session, checkpoint, tmp_path):
    maps = cases.write_cells(tmp_path / "maps.parquet", [cases.good_label()] * 3 + [b"bad"] + [cases.good_label()] * 60)
    with pytest.raises(InputError, match=r"row 3 of maps.parquet \(id 'maps-0000003'\): label cannot be decoded"):
        synthesize(maps, checkpoint, tmp_path / "out", workers=1, quiet=True)
    assert not list(tmp_path.rglob("*.tmp"))
    assert not (tmp_path / "out" / "part-00000.parquet").exists()
    assert not (tmp_path / "out" / "_SUCCESS").exists()


def test_a_killed_process_is_continued_by_the_same_command(tmp_path):
    case = Case(tmp_path)
    case.prepare(maps=40)
    output = tmp_path / "killed"
    process = case.start(output, workers=0)
    assert wait_for(lambda: progress(output) >= 3, process), "the job ended before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (output / "_SUCCESS").exists()
    assert case.start(output, workers=0).wait(100) == 0
    assert differences(case, output) == []
