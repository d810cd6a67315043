"""What batch synthesis costs beyond the generator: throughput, memory, start-up and workers, as JSON lines.

    python -m tests.pipeline.synthesis.measurements throughput --maps 24
    python -m tests.pipeline.synthesis.measurements memory startup workers

Everything runs in processes of its own with fixed threads; compare figures of one run only.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
RECIPE = ROOT / "configs" / "coco_stuff.yaml"


def measure(code: str, *arguments: Any) -> Any:
    """Run Python in a process of its own, which prints JSON on its last line."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=ROOT)
    return json.loads(done.stdout.strip().splitlines()[-1])


BARE = """
import json, sys, time
import torch
from pipeline.runtime.memory import keep_freed_memory
from pipeline.synthesis.synthesizer import Synthesizer
from pipeline.labels import encode
from pipeline.data.records import decode_record, iter_rows, resize_record
keep_freed_memory()
synthesizer = Synthesizer(sys.argv[2], threads=1, precision=sys.argv[3])
records = [resize_record(decode_record(row), *synthesizer.size) for row in iter_rows(sys.argv[1])]
codes = [torch.from_numpy(encode(r.label, r.instance, synthesizer.recipe.labels))[None] for r in records]
z = torch.zeros(1, synthesizer.style_dim) if synthesizer.style_dim else None
synthesizer._generator(codes[0], z)
started, cpu = time.perf_counter(), time.process_time()
for code in codes:
    synthesizer._generator(code, z)
seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
print(json.dumps({"images_per_second": len(codes) / seconds, "cpu_seconds": cpu / len(codes)}))
"""

WHOLE = """
import json, sys, dataclasses, resource, time
from pipeline.synthesis.synthesize import synthesize
summary = synthesize(sys.argv[1], sys.argv[2], sys.argv[4], precision=sys.argv[3], workers=int(sys.argv[5]), quiet=True)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({**dataclasses.asdict(summary), "peak_mib": peak, "cpu_seconds": time.process_time()}))
"""


def throughput(folder: Path, maps: int, precision: str) -> None:
    """The bare generator loop and the whole job, taking turns: one process and one thread each.

    Images per second need a quiet machine. Processor seconds an image, of all threads, do not; they are what counts
    where every core has a worker. Those of the job are the difference between a long one and a short one.
    """
    long, short = landscapes(folder / "long", maps + 8), landscapes(folder / "short", 8)
    turns = []
    for turn in range(3):
        bare = measure(BARE, long, generator(folder), precision)
        whole = measure(WHOLE, long, generator(folder), precision, folder / f"long-{turn}", 0)
        start = measure(WHOLE, short, generator(folder), precision, folder / f"short-{turn}", 0)
        cpu = (whole["cpu_seconds"] - start["cpu_seconds"]) / maps
        turns.append((bare["images_per_second"], whole["images_per_second"], bare["cpu_seconds"], cpu))
        print(json.dumps({"turn": turns[-1], "stages": whole["stage_seconds"]}), flush=True)
    bare_rate, rate, bare_cpu, cpu = (statistics.median(column) for column in zip(*turns, strict=True))
    report(
        "throughput",
        bare_images_per_second=bare_rate,
        images_per_second=rate,
        ratio=rate / bare_rate,
        bare_cpu_seconds=bare_cpu,
        cpu_seconds=cpu,
        cpu_ratio=bare_cpu / cpu,
    )


def generator(folder: Path) -> Path:
    """The 256x256 generator of the paper with random weights of a sensible scale (and 97 million of them)."""
    if not (folder / "run").exists():
        from pipeline.bench.generators import rescale_untrained
        from pipeline.checkpoints.file import build_generator, save_generator
        from pipeline.recipe_file import load_recipe

        recipe = load_recipe(RECIPE)
        network = build_generator(recipe)
        rescale_untrained(network)
        save_generator(folder / "run" / "generator.safetensors", network, recipe, step=0)
    return folder / "run"


def landscapes(path: Path, count: int) -> Path:
    """Label maps of COCO-Stuff's look are not at hand; landscapes of 256x256 with ids below its class count are."""
    import numpy as np

    from pipeline.data.records import DatasetInfo, RecordWriter, decode_record, iter_rows
    from pipeline.datasets.landscape.dataset import prepare
    from pipeline.recipe_file import load_recipe

    prepare(path, train=1, validation=count, height=256, width=256, seed=0, workers=1)
    space = load_recipe(RECIPE).labels
    with RecordWriter(path / "as-coco.parquet", DatasetInfo(space)) as writer:
        for row in iter_rows(path / "validation.parquet"):
            record = decode_record(row)
            instance = record.instance if record.instance is not None else np.zeros_like(record.label)
            writer.write({"id": record.id, "label": record.label, "instance": instance})
    return path / "as-coco.parquet"


def memory(folder: Path, maps: int, precision: str) -> None:
    """The peak of a process that makes 200 and 5,000 pictures with a small generator."""
    from tests.pipeline.synthesis import cases

    checkpoint = cases.write_checkpoint(folder / "run", side=64, channels=4)
    peaks = {}
    for count in (200, 5000):
        source = cases.write_maps(folder / f"{count}.parquet", count, height=64, width=64)
        peaks[str(count)] = measure(WHOLE, source, checkpoint, "fp32", folder / f"out-{count}", 0)["peak_mib"]
    report("memory", **peaks, ratio=peaks["5000"] / peaks["200"])


def startup(folder: Path, maps: int, precision: str) -> None:
    """Seconds from the command to the first pictures in a pool of two actors, and what the parts take alone."""
    source, checkpoint = landscapes(folder / "maps", 8), generator(folder)
    started = time.perf_counter()
    summary = measure(WHOLE, source, checkpoint, precision, folder / "out", 2)
    report(
        "startup",
        command_to_end=time.perf_counter() - started,
        first_images=summary["first_images_seconds"],
        import_torch=measure("import time; t = time.time(); import torch; print(time.time() - t)"),
        import_ray=measure("import time; t = time.time(); import ray, ray.data; print(time.time() - t)"),
        load=measure(
            "import sys, time; from pipeline.synthesis.synthesizer import Synthesizer; t = time.time();\n"
            "Synthesizer(sys.argv[1], threads=1)\n"
            "print(time.time() - t)",
            checkpoint,
        ),
        start_ray=measure(
            "import time; from pipeline.runtime.ray_session import ray_session\nimport ray, ray.data; t = time.time()\n"
            "with ray_session(): print(time.time() - t)"
        ),
    )


def workers(folder: Path, maps: int, precision: str) -> None:
    """Images per second of one actor and of two, one thread each."""
    source = landscapes(folder / "maps", maps)
    rates = {
        count: measure(WHOLE, source, generator(folder), precision, folder / f"out-{count}", count)["images_per_second"]
        for count in (1, 2)
    }
    report("workers", one=rates[1], two=rates[2], ratio=rates[2] / rates[1])


def report(name: str, **figures: float) -> None:
    """Print a measurement."""
    print(json.dumps({"measurement": name, **{key: round(value, 3) for key, value in figures.items()}}), flush=True)


def main() -> None:
    """Run the measurements that are named."""
    kinds: dict[str, Callable[[Path, int, str], None]] = {
        "throughput": throughput, "memory": memory, "startup": startup, "workers": workers,
    }  # fmt: skip
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="+", choices=list(kinds))
    parser.add_argument("--maps", type=int, default=24)
    parser.add_argument("--precision", default="bf16")
    options = parser.parse_args()
    for kind in options.kinds:
        with tempfile.TemporaryDirectory() as folder:
            kinds[kind](Path(folder), options.maps, options.precision)


if __name__ == "__main__":
    main()
