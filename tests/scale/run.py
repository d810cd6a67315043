"""What a job of millions of label maps asks of its driver: a simulation without painting.

    python tests/scale/run.py --rows 10000 100000 1000000 10000000 --out scale

For each number of rows: an input of files of a thousand label maps (4x4), a plan, a job that is killed after nine
tenths of its shards and started again, and `verify`. The worker is a stand-in that writes one picture again and again;
plan, records, driver, manifest, card and `verify` are those of the product, each step in a process of its own, so that
memory is that of the step. Writes `scale.md` and `scale.json` into the folder, and removes what it made in between.
`--ray` sends the shards through Ray's actors, in one step more.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

STARTED = time.monotonic()
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

FILE_ROWS = 1000
Found = dict[str, float]


def write_input(folder: Path, rows: int, *, equal_ids: bool = False) -> None:
    """Files of `FILE_ROWS` label maps with ids of fifteen letters, in 4 KB each as all have one label map."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from pipeline.data.schema import METADATA_KEY, DatasetInfo
    from tests.pipeline.synthesis.cases import SPACE
    from tests.scale.stand_in import LABEL

    folder.mkdir(parents=True)
    metadata = {METADATA_KEY: DatasetInfo(SPACE).to_json().encode()}
    schema = pa.schema([("id", pa.string()), ("label", pa.binary())], metadata=metadata)
    for number, first in enumerate(range(0, rows, FILE_ROWS)):
        ids = ["map" if equal_ids else f"map-{row:011d}" for row in range(first, min(first + FILE_ROWS, rows))]
        table = pa.table({"id": ids, "label": [LABEL] * len(ids)}, schema=schema)
        pq.write_table(table, folder / f"maps-{number:06d}.parquet")


def plan_only(folder: Path) -> Found:
    """Only the plan of the input."""
    from pipeline.data.shards import plan_shards

    before, began = peak(), time.monotonic()
    plan = plan_shards(folder / "maps")
    found = {"seconds": time.monotonic() - began, "mib": peak(), "mib_before": before}
    repeated = sum(len(shard.duplicates) for shard in plan.shards)
    return found | {"rows": plan.rows, "files": len(plan.files), "shards": len(plan.shards), "repeated": repeated}


def make(folder: Path, *, workers: int = 0) -> Found:
    """The job, until it is done or killed; `first` are the seconds from the start of the process to its first shard."""
    from pipeline.synthesis import actor_pool, job
    from pipeline.synthesis.progress import JobProgress
    from pipeline.synthesis.synthesize import plan_job
    from tests.scale import stand_in

    actor_pool.ShardWorker, actor_pool._Actor = stand_in.StandInWorker, stand_in.StandInActor  # type: ignore[misc,assignment]
    found: Found = {}
    concluded = [0.0]
    conclude = job.Job._conclude

    def watched(self: job.Job, *rest: Any) -> Any:
        concluded[0] = time.monotonic()
        return conclude(self, *rest)

    class Watched(JobProgress):
        reports = 0

        def update(self, report: Any) -> None:
            found.setdefault("first", time.monotonic() - STARTED)
            Watched.reports += 1
            super().update(report)

    job.Job._conclude, job.JobProgress = watched, Watched  # type: ignore[method-assign,misc]
    planned = plan_job(folder / "maps", folder / "run", folder / "out", workers=workers, device="cpu", quiet=True)
    began = time.monotonic()
    summary = planned.run()
    end = time.monotonic()
    return found | {
        "seconds": concluded[0] - began,
        "conclude": end - concluded[0],
        "images": summary.images,
        "images_this_run": summary.images_this_run,
        "reports": Watched.reports,
        "mib": peak(),
    }


def check(folder: Path, *, decode: bool) -> Found:
    """`verify`; without `decode` pictures are not opened, which is most of its time."""
    import numpy as np

    from pipeline.synthesis import verify

    if not decode:
        image, label = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8)
        verify.decode_image, verify.decode_label = lambda _: image, lambda _: label  # type: ignore[assignment,misc]
    began = time.monotonic()
    found = verify.verify(str(folder / "out"), quiet=True)
    return {"seconds": time.monotonic() - began, "images": found.images, "parts": found.parts, "mib": peak()}


def peak() -> float:
    """The most memory that this process had so far, MiB."""
    # Not `ru_maxrss`, which a process inherits from the one that started it.
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) / 1024


STEPS: dict[str, Callable[[Path], Found]] = {
    "plan": plan_only,
    "make": make,
    "ray": lambda folder: make(folder, workers=2),
    "verify": lambda folder: check(folder, decode=True),
    "verify, undecoded": lambda folder: check(folder, decode=False),
}


def step(name: str, folder: Path, *, kill_after: int | None = None) -> Found:
    """One step in a process of its own; without figures where it was killed."""
    from tests.scale.stand_in import KILL_AFTER

    environment = {**os.environ, **({} if kill_after is None else {KILL_AFTER: str(kill_after)})}
    command = [sys.executable, str(Path(__file__)), "--step", name, "--out", str(folder)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if kill_after is not None:
        assert done.returncode == -9, done.returncode
        return {}
    assert done.returncode == 0, done.returncode
    return json.loads(done.stdout.splitlines()[-1])


def simulate(rows: int, folder: Path, *, decode: bool, ray: bool) -> dict[str, Any]:
    """All steps with an input of so many rows; `folder` is removed before and after."""
    from tests.pipeline.synthesis.cases import write_checkpoint

    shutil.rmtree(folder, ignore_errors=True)
    try:
        write_input(folder / "maps", rows)
        write_checkpoint(folder / "run", side=32)
        time.sleep(2.5)  # a file that has just been written is not known again by its time
        found: dict[str, Any] = {"rows": rows, "plan": step("plan", folder)}
        shards = found["plan"]["shards"]
        step("make", folder, kill_after=shards * 9 // 10)
        out = folder / "out"
        found["records"] = sum(1 for _ in (out / "_job" / "shards").iterdir())
        found["resume"] = step("make", folder)
        found["verify"] = step("verify" if decode else "verify, undecoded", folder) | {"decoded": decode}
        found["files"] = sum(1 for path in out.iterdir() if path.is_file())
        found["job_json"], found["manifest"] = (
            (out / name).stat().st_size for name in ("_job/job.json", "manifest.json")
        )
        if ray:
            shutil.rmtree(out)
            found["ray"] = step("ray", folder)
        for name in ("maps", "out"):
            shutil.rmtree(folder / name)
        write_input(folder / "maps", rows, equal_ids=True)
        found["equal_ids"] = step("plan", folder)
        return found
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def table(found: Sequence[dict[str, Any]]) -> str:
    """The figures as Markdown: a row for each size."""
    head = (
        "| label maps | shards | plan, s | plan, MiB | all ids equal | made, s | driver, MiB | restart, s "
        "| conclusion, s | verify, s | verify, MiB | files, records | manifest |"
    )
    lines = [head, "| " + " | ".join(["---"] * 13) + " |"]
    for one in found:
        plan, resume, verify, equal = one["plan"], one["resume"], one["verify"], one["equal_ids"]
        lines.append(
            f"| {one['rows']:,} | {plan['shards']:,} | {plan['seconds']:.1f} | {plan['mib']:.0f} "
            f"| {equal['seconds']:.1f} s, {equal['mib']:.0f} MiB | {resume['seconds']:.1f} | {resume['mib']:.0f} "
            f"| {resume['first']:.1f} | {resume['conclude']:.1f} "
            f"| {verify['seconds']:.1f}{'' if verify['decoded'] else ' (undecoded)'} | {verify['mib']:.0f} "
            f"| {one['files']:,}, {one['records']:,} | {one['manifest'] / 1e6:.1f} MB |"
        )
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate each size, the smallest first; figures are written after each one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--undecoded-from", type=int, default=2_000_000, help="rows from which verify does not decode")
    parser.add_argument("--ray", action="store_true", help="the job through Ray's actors too")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.step:
        print(json.dumps(STEPS[options.step](options.out)))
        return 0
    options.out.mkdir(parents=True, exist_ok=True)
    found = []
    for rows in sorted(options.rows):
        print(f"{rows:,} rows ...", file=sys.stderr, flush=True)
        decode = rows < options.undecoded_from
        found.append(simulate(rows, options.out / f"rows-{rows}", decode=decode, ray=options.ray))
        (options.out / "scale.json").write_text(json.dumps(found, indent=1) + "\n")
        (options.out / "scale.md").write_text(table(found))
    print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
