"""Kill batch jobs with SIGKILL at random times, and see that the same command finishes them with the same bytes.

    python -m tests.pipeline.synthesis.kill_campaign --runs 24 --seed 1

Each run kills the driver, an actor, or both, one to three times, then lets the command finish and compares all files
with those of an undisturbed job. Prints a line a run and a table at the end; exit code 1 if any run differs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.pipeline.synthesis import cases

ROOT = Path(__file__).resolve().parents[3]
PATIENCE = 600.0
"""Seconds for one command, on a busy machine."""


@dataclass
class Case:
    """One input and checkpoint, and what an undisturbed job makes of them."""

    folder: Path
    maps: Path = field(init=False)
    checkpoint: Path = field(init=False)
    expected: dict[str, bytes] = field(init=False)

    def prepare(self, maps: int) -> None:
        """Make the input, and run the undisturbed job in this way: without Ray."""
        self.checkpoint = cases.write_checkpoint(self.folder / "run", channels=16, hidden=32, side=64, style_dim=4)
        self.maps = cases.write_maps(self.folder / "maps.parquet", maps, height=64, width=64)
        finished = self.start(self.folder / "undisturbed", workers=0)
        assert finished.wait(PATIENCE) == 0
        self.expected = cases.output_bytes(self.folder / "undisturbed")

    def start(self, output: Path, workers: int) -> subprocess.Popen[bytes]:
        """The command, in a process of its own."""
        command = [
            sys.executable,
            str(ROOT / "cli.py"),
            "synthesize",
            "--input",
            self.maps,
            "--checkpoint",
            self.checkpoint,
        ]
        command += ["--out", output, "--workers", workers, "--samples", 2]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with output.with_suffix(".log").open("ab") as log:
            return subprocess.Popen(list(map(str, command)), stdout=log, stderr=log, env=environment, cwd=ROOT)


def descendants(process: int) -> dict[int, str]:
    """The processes below one, with their command lines."""
    parents, names = {}, {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            names[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (OSError, ValueError):
            continue
    below, found = {process}, {}
    while True:
        new = {child for child, parent in parents.items() if parent in below} - below
        if not new:
            return found
        below |= new
        found |= {child: names[child] for child in new}


def progress(output: Path) -> int:
    """How far a job is: finished shards, and parts being written."""
    return len(list(output.glob("_job/shards/*.json"))) * 2 + len(list(output.glob(".part-*")))


def wait_for(condition, process: subprocess.Popen[bytes], limit: float = PATIENCE) -> bool:
    """Until the condition holds; False if the process ends first."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        if condition():
            return True
        if process.poll() is not None:
            return False
        time.sleep(0.01)
    raise TimeoutError("the job stands still")


def actors_of(process: subprocess.Popen[bytes]) -> list[int]:
    """The job's actors that are alive."""
    return [child for child, name in descendants(process.pid).items() if name.startswith("ray::") and "_Actor" in name]


def strike(victim: str, process: subprocess.Popen[bytes], generator: random.Random) -> bool:
    """SIGKILL to the driver, or to one of its actors as soon as there is one; False if the job ends before that."""
    if victim == "driver":
        process.send_signal(signal.SIGKILL)
        process.wait()
        return True
    if not wait_for(lambda: bool(actors_of(process)), process):
        return False
    os.kill(generator.choice(actors_of(process)), signal.SIGKILL)
    return True


def disturbed(case: Case, output: Path, workers: int, generator: random.Random) -> tuple[Counter[str], float]:
    """One run: kill, continue, ..., and let it finish. Returns what was hit, and seconds until it was finished."""
    hits: Counter[str] = Counter()
    started = time.monotonic()
    process = case.start(output, workers)
    for _ in range(generator.randint(1, 3)):
        target = progress(output) + generator.randint(0, 5)
        if not wait_for(lambda: progress(output) >= target or (output / "manifest.json").exists(), process):  # noqa: B023
            break
        time.sleep(generator.uniform(0, 0.3))
        victim = "driver" if workers == 0 or generator.random() < 0.5 else "actor"
        hits[victim] += strike(victim, process, generator)
        if process.poll() is not None:
            process = case.start(output, workers)
    code = process.wait(PATIENCE)
    if code:
        raise RuntimeError(f"exit code {code}: {output.with_suffix('.log').read_text()[-2000:]}")
    return hits, time.monotonic() - started


def differences(case: Case, output: Path) -> list[str]:
    """Names of files that are not as in the undisturbed job."""
    found = cases.output_bytes(output)
    return sorted(name for name in case.expected.keys() | found.keys() if case.expected.get(name) != found.get(name))


def main() -> int:
    """Run the campaign."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--maps", type=int, default=120)
    parser.add_argument("--keep", type=Path, help="Work in this folder and leave everything there.")
    parser.add_argument("--plain-share", type=float, default=0.4, help="Of the runs, without Ray (--workers 0).")
    options = parser.parse_args()
    generator = random.Random(options.seed)
    total: Counter[str] = Counter()
    failed = 0
    with tempfile.TemporaryDirectory(prefix="kill-campaign-") as temporary:
        folder = options.keep or temporary
        case = Case(Path(folder))
        case.prepare(options.maps)
        for run in range(options.runs):
            workers = 0 if generator.random() < options.plain_share else 2
            output = Path(folder) / f"run-{run:02d}"
            hits, seconds = disturbed(case, output, workers, generator)
            wrong = differences(case, output)
            total += hits
            failed += bool(wrong)
            record = {
                "run": run,
                "actors": workers,
                "killed": dict(hits),
                "seconds": round(seconds, 1),
                "differs": wrong,
            }
            print(json.dumps(record), flush=True)
    print(json.dumps({"runs": options.runs, "failed": failed, "killed": dict(total)}))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
