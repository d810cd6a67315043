"""A fair benchmark: every candidate in its own process, all of them ready, one repeat each in turn.

Repeats in turn matter on machines that are shared or change their clock: what slows one candidate slows its neighbours,
and the ratio of medians survives. A candidate that cannot start (a library that is not installed, a compiler that
is missing) is listed with the reason.
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pipeline.errors import InputError
from pipeline.runtime.progress import ProgressBar


class Candidate(Protocol):
    """What a candidate's process builds: something to run, and what came out."""

    def repeat(self) -> np.ndarray:
        """Do all the work once, finished on the device; returns the array `[...]` by which candidates are compared."""


@dataclass(frozen=True)
class Entry:
    """A candidate by name, and how its process makes it."""

    name: str
    build: Callable[..., Candidate]
    """A function at the top of a module, since it is called in a new process."""
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Result:
    """What the benchmark found out about one candidate."""

    name: str
    seconds: float | None = None
    """Median repeat."""
    repeats: tuple[float, ...] = ()
    ratio: float | None = None
    """The first candidate's median repeat, divided by this one's: how many times faster this one is."""
    start_seconds: float | None = None
    """Building, compiling and the first repeat."""
    busy_seconds: float | None = None
    """Median repeat while other processes keep cores busy; None: not asked for."""
    busy_repeats: tuple[float, ...] = ()
    peak_bytes: int | None = None
    """Largest memory: resident in the process; on a GPU what PyTorch allocated there."""
    difference: float | None = None
    """Largest absolute difference to what the first candidate made."""
    reason: str = ""
    """Why there are no figures."""


def run_benchmark(
    entries: Sequence[Entry], *, repeats: int, busy_cores: int = 0, start_timeout: float = 900.0
) -> list[Result]:
    """Run each entry `repeats` times, in turn; the first is the one the others are compared with.

    With `busy_cores`, all of that once more, beside as many processes that do nothing but keep a core busy.

    Raises `InputError` where the first cannot start.
    """
    context = get_context("spawn")
    runners: dict[str, tuple[SpawnProcess, Connection]] = {}
    started: dict[str, float] = {}
    outputs: dict[str, np.ndarray] = {}
    times: dict[str, list[float]] = {}
    busy: dict[str, list[float]] = {}
    failed: dict[str, str] = {}
    peaks: dict[str, int] = {}
    try:
        for entry in ProgressBar(entries, desc="starting", unit="candidate", leave=False):
            ours, theirs = context.Pipe()
            process = context.Process(target=_run, args=(entry, theirs), daemon=True)
            process.start()
            theirs.close()
            began = time.perf_counter()
            answer = _receive(ours, start_timeout)
            if isinstance(answer, str):
                failed[entry.name] = answer
                process.terminate()
                if entry is entries[0]:
                    raise InputError(f"{entry.name}, with which all are compared, did not start: {answer}")
                continue
            started[entry.name] = time.perf_counter() - began
            outputs[entry.name] = answer
            runners[entry.name] = (process, ours)
        connections = {name: connection for name, (_, connection) in runners.items()}
        times, peaks = _take_turns(connections, repeats, "running")
        if busy_cores:
            with _cores_busy(busy_cores):
                busy, _ = _take_turns(connections, repeats, "running beside busy cores")
    finally:
        for process, _ in runners.values():
            process.terminate()
    first = statistics.median(times[entries[0].name])
    return [
        Result(
            name=entry.name,
            seconds=(median := statistics.median(times[entry.name])),
            repeats=tuple(times[entry.name]),
            ratio=first / median,
            busy_seconds=statistics.median(busy[entry.name]) if busy else None,
            busy_repeats=tuple(busy.get(entry.name, ())),
            start_seconds=started[entry.name],
            peak_bytes=peaks[entry.name],
            difference=float(np.abs(outputs[entry.name] - outputs[entries[0].name]).max()),
        )
        if entry.name in runners
        else Result(name=entry.name, reason=failed[entry.name])
        for entry in entries
    ]


def _take_turns(
    runners: Mapping[str, Connection], repeats: int, what: str
) -> tuple[dict[str, list[float]], dict[str, int]]:
    """The seconds of each repeat of each candidate, and its largest memory so far."""
    times: dict[str, list[float]] = {name: [] for name in runners}
    peaks: dict[str, int] = {}
    turns = [name for _ in range(repeats) for name in runners]
    for name in ProgressBar(turns, desc=what, unit="repeat", leave=False):
        runners[name].send("repeat")
        seconds, peaks[name] = runners[name].recv()
        times[name].append(seconds)
    return times, peaks


@contextmanager
def _cores_busy(count: int) -> Iterator[None]:
    """So many processes that use all they are given of a core, as a machine's other jobs do."""
    context = get_context("spawn")
    started = [context.Event() for _ in range(count)]
    processes = [context.Process(target=_keep_core_busy, args=(event,), daemon=True) for event in started]
    for process in processes:
        process.start()
    try:
        for event in started:
            event.wait()
        yield
    finally:
        for process in processes:
            process.terminate()


def _keep_core_busy(started: Event) -> None:
    started.set()
    while True:
        pass


def table(results: Sequence[Result], *, items: int, item: str) -> str:
    """The results as a table for a terminal; `items` of them (`item`, such as "image") are made in a repeat.

    The column "busy", if cores were kept busy too: how many times as long a repeat took then.
    """
    crowded = any(result.busy_seconds for result in results)
    busy = f"{'busy':>9}" if crowded else ""
    lines = [
        f"{'':24}{'s / ' + item:>12}{item + 's / s':>12}{'faster':>9}{busy}"
        f"{'peak GiB':>10}{'max diff':>10}{'start s':>9}"
    ]
    for result in results:
        if result.seconds is None:
            lines.append(f"{result.name:24}  not run: {result.reason}")
            continue
        assert result.peak_bytes is not None
        each = result.seconds / items
        busy = f"{result.busy_seconds / result.seconds:8.2f}x" if result.busy_seconds else ""
        lines.append(
            f"{result.name:24}{each:12.4g}{1 / each:12.4g}{result.ratio:8.2f}x{busy}"
            f"{result.peak_bytes / 2**30:10.2f}{result.difference:10.1e}{result.start_seconds:9.1f}"
        )
    return "\n".join(lines)


def write_json(path: Path, results: Sequence[Result], settings: dict[str, Any]) -> None:
    """Everything that was measured, and with what settings; `-` is the standard output."""
    record = json.dumps({"settings": settings, "results": [asdict(result) for result in results]}, indent=2)
    if path == Path("-"):
        print(record)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{record}\n")


def peak_bytes() -> int:
    """The process's largest resident memory so far or, where it uses a GPU, what PyTorch allocated there."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # kibibytes on Linux


def _receive(connection: Connection, timeout: float) -> np.ndarray | str:
    try:
        return connection.recv() if connection.poll(timeout) else f"not ready after {timeout:.0f} s"
    except EOFError:
        return "its process died"


def _run(entry: Entry, connection: Connection) -> None:
    """A candidate's process: make it, send what its first repeat made, then the time of each repeat asked for."""
    try:
        candidate = entry.build(**entry.arguments)
        candidate.repeat()
        connection.send(np.asarray(candidate.repeat(), dtype=np.float32))
    except Exception as error:  # noqa: BLE001 (whatever it is, it is reported as the reason)
        connection.send(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
        return
    while connection.recv():
        began = time.perf_counter()
        candidate.repeat()
        connection.send((time.perf_counter() - began, peak_bytes()))
