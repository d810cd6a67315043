"""Starting and joining Ray."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.errors import InputError
from pipeline.runtime.ray_session import ensure_ray, ray_session, show_dashboard


@pytest.mark.ray
def test_an_instance_is_joined_not_started_twice_and_runs_our_code(ray_session):
    import ray

    assert ensure_ray() is False
    assert ray.cluster_resources()["CPU"] == 4

    @ray.remote
    def seed() -> int:
        from pipeline.runtime.seeding import record_seed

        return record_seed(1, "a", 0)

    from pipeline.runtime.seeding import record_seed

    assert ray.get(seed.remote()) == record_seed(1, "a", 0)


@pytest.mark.ray
def test_data_jobs_use_the_plain_reader_and_end_when_they_stand_still(ray_session):
    from ray.data import DataContext

    context = DataContext.get_current()
    assert context.use_datasource_v2 is False
    assert context.execution_no_progress_timeout_s == 120


def without_ray(monkeypatch: pytest.MonkeyPatch, failures: list[Exception]) -> list[dict[str, Any]]:
    """Starts of Ray, which fail in turn as long as there are failures."""
    import ray

    starts: list[dict[str, Any]] = []

    def init(**options: Any) -> SimpleNamespace:
        starts.append(options)
        os.write(2, b"pages of the core's own words\n")
        if len(starts) <= len(failures):
            raise failures[len(starts) - 1]
        return SimpleNamespace(dashboard_url="127.0.0.1:8265" if options["include_dashboard"] else "")

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    return starts


TIMES_OUT = Exception("The current node timed out during startup. This could happen because of this.\nOr of that.")


@pytest.fixture
def asked_for_dashboard() -> Iterator[None]:
    show_dashboard(True)
    yield
    show_dashboard(False)


def test_without_being_asked_there_is_no_dashboard(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    starts = without_ray(monkeypatch, [])
    assert ensure_ray()
    assert (starts[0]["include_dashboard"], caplog.messages) == (False, [])


@pytest.mark.usefixtures("asked_for_dashboard")
def test_the_dashboard_is_started_where_asked_and_its_address_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    starts = without_ray(monkeypatch, [])
    assert ensure_ray()
    assert starts[0]["include_dashboard"] is True
    assert caplog.messages == ["Ray's dashboard: http://127.0.0.1:8265"]


@pytest.mark.usefixtures("asked_for_dashboard")
def test_a_dashboard_that_is_not_installed_is_told_with_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    starts = without_ray(monkeypatch, [Exception("Cannot include dashboard with missing packages.")])
    with pytest.raises(
        InputError, match=r"dashboard is not installed; pip install 'spadework\[cluster\]', or leave out"
    ):
        ensure_ray()
    assert len(starts) == 1


def test_a_start_that_times_out_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    starts = without_ray(monkeypatch, [TIMES_OUT, TIMES_OUT])
    assert ensure_ray()
    assert len(starts) == 3


@pytest.mark.parametrize(
    ("failure", "count", "told"),
    [
        (TIMES_OUT, 3, "Exception: The current node timed out during startup. This could happen because of this"),
        (ValueError("no memory"), 1, "ValueError: no memory"),
        (RuntimeError(), 1, "RuntimeError"),
    ],
)
def test_a_start_that_fails_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], failure: Exception, count: int, told: str
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    starts = without_ray(monkeypatch, [failure] * 3)
    with pytest.raises(InputError) as caught, ray_session():
        pytest.fail("started")
    assert str(caught.value) == (
        f"Ray did not start ({told}); run the same command again, which resumes where it stopped, or with --workers 0, "
        "which needs no Ray"
    )
    assert len(starts) == count
    assert "own words" not in capfd.readouterr().err


@pytest.mark.parametrize("address", ["127.0.0.1:{port}", "ray://127.0.0.1:{port}"])
def test_a_cluster_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = address.format(port=server.getsockname()[1])
    monkeypatch.setenv("RAY_ADDRESS", address)
    starts = without_ray(monkeypatch, [])
    with pytest.raises(InputError) as caught:
        ensure_ray()
    assert str(caught.value) == (
        f"the Ray cluster of RAY_ADDRESS={address} cannot be joined (ConnectionRefusedError: [Errno 111] Connection "
        "refused); start it, unset RAY_ADDRESS, or give --workers 0, which needs no Ray"
    )
    assert not starts


def test_what_ray_says_of_a_cluster_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    without_ray(monkeypatch, [ConnectionError("Could not find any running Ray instance. Please\nspecify one.")])
    with pytest.raises(
        InputError, match=r"\(ConnectionError: Could not find any running Ray instance\. Please\); start"
    ):
        ensure_ray()


def test_a_failure_of_ray_is_one_line_and_one_of_ours_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.exceptions import ActorDiedError, RayTaskError

    without_ray(monkeypatch, [])
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    message = (
        r"^Ray failed \(ActorDiedError: The actor died unexpectedly .*\)(; its logs are in .*)?; "
        r"run the same command again, which resumes"
    )
    with pytest.raises(InputError, match=message), ray_session():
        raise ActorDiedError
    for ours in (KeyError("a bug"), RayTaskError("task", "pages", KeyError("a bug"))):
        with pytest.raises(type(ours)), ray_session():
            raise ours


@pytest.mark.ray
@pytest.mark.parametrize("name", ["raylet", "gcs_server"])
def test_the_death_of_ray_ends_the_program_in_one_line(name: str) -> None:
    """In a program of its own, which waits for a task."""
    program = f"""
import os, signal, time
import ray
from pipeline.runtime.ray_session import ray_session

@ray.remote
def forever():
    time.sleep(1000)

with ray_session():
    waiting = forever.remote()
    [process] = [info.process for info in ray._private.worker._global_node.all_processes["{name}"]]
    os.kill(process.pid, signal.SIGKILL)
    ray.get(waiting)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parents[3], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1] == (
        f"Error: Ray has died (its {name} ended); run the same command again, which resumes where it stopped, or with "
        "--workers 0, which needs no Ray"
    )
