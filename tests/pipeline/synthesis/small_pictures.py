"""Small pictures: how much of a pass is arithmetic, and how much of the bare loop's pace a job keeps, as JSON lines.

    python -m tests.pipeline.synthesis.small_pictures --checkpoint weights/landscape.safetensors --maps 96

With `--engine FOLDER` of what `compile` made. All runs in this process, with one thread and without Ray; the loop
and the job take turns. Compare figures of one run only.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from pipeline.data.records import decode_record, iter_rows, resize_record
from pipeline.datasets.landscape.dataset import prepare
from pipeline.networks.label_input import LabelInput
from pipeline.runtime.memory import keep_freed_memory
from pipeline.runtime.seeding import style_noise
from pipeline.synthesis.synthesize import synthesize
from pipeline.synthesis.synthesizer import Synthesizer

Input = tuple[LabelInput, torch.Tensor | None, torch.Tensor | None]
LAPS = 7


def inputs(synthesizer: Synthesizer, maps: Path, count: int) -> list[Input]:
    """What passes take, windows of the label maps found already, as decoder threads do it in a job."""
    made: list[Input] = []
    for number, row in zip(range(count), iter_rows(maps), strict=False):
        record = resize_record(decode_record(row), *synthesizer.size)
        label_input = synthesizer.prepare(synthesizer.recipe.encode(record.label, record.instance))
        z = style_noise(0, record.id, 0, synthesizer.style_dim)[None] if synthesizer.style_dim else None
        seeds = torch.tensor([number]) if synthesizer.recipe.generator.takes_seeds else None
        made.append((label_input, z, seeds))
    return made


@torch.inference_mode()
def seconds_a_pass(synthesizer: Synthesizer, maps: Path, count: int) -> float:
    """Of the bare loop, each label map once, as gamma and beta are remembered."""
    passes = inputs(synthesizer, maps, count)
    began = time.perf_counter()
    for given in passes:
        synthesizer._generator(*given)
    return (time.perf_counter() - began) / count


@torch.inference_mode()
def shares(synthesizer: Synthesizer, maps: Path, count: int) -> dict[str, float]:
    """Arithmetic, operators and Python in a pass of the eager generator, as shares of its time without the profiler.

    An operator costs as much as one on a single number; what it takes beyond that is arithmetic, or memory.
    """
    one = torch.zeros(1)
    with profile(activities=[ProfilerActivity.CPU]) as empty:
        for _ in range(2000):
            one.add_(1)
    [trivial] = [event.self_cpu_time_total / event.count for event in empty.key_averages() if event.key == "aten::add_"]
    whole = statistics.median(seconds_a_pass(synthesizer, maps, count) for _ in range(LAPS))
    passes = inputs(synthesizer, maps, count)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        for given in passes:
            synthesizer._generator(*given)
    events = [event for event in profiled.key_averages() if event.key.startswith(("aten::", "mkldnn", "onednn"))]
    operators = sum(event.count for event in events) / count
    arithmetic = sum(max(0.0, event.self_cpu_time_total - event.count * trivial) for event in events) / count * 1e-6
    return {"ms": whole * 1e3, "operators": operators, "arithmetic": arithmetic / whole}


@torch.inference_mode()
def compiled_share(synthesizer: Synthesizer, maps: Path, count: int) -> dict[str, float]:
    """The compiled function as a share of an engine's pass, medians of laps."""
    engine: Any = synthesizer._generator
    function, inside = engine._function, [0.0]

    def timed(*tensors: torch.Tensor) -> torch.Tensor:
        began = time.perf_counter()
        try:
            return function(*tensors)
        finally:
            inside[0] += time.perf_counter() - began

    found = []
    engine._function = timed
    for _ in range(LAPS):
        inside[0] = 0.0
        whole = seconds_a_pass(synthesizer, maps, count) * count
        found.append((whole / count * 1e3, inside[0] / whole))
    engine._function = function
    milliseconds, share = (statistics.median(column) for column in zip(*found, strict=True))
    return {"ms": milliseconds, "compiled function": share}


def main() -> None:
    """Print the shares, then each turn of loop and job, and the median of their ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--engine", type=Path)
    parser.add_argument("--precision", choices=["fp32", "bf16"])
    parser.add_argument("--maps", type=int, default=96)
    options = parser.parse_args()
    keep_freed_memory()
    synthesizer = Synthesizer(
        options.checkpoint, threads=1, precision=options.precision or "fp32", engine=options.engine
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        height, width = synthesizer.size
        prepare(folder, train=1, validation=options.maps, height=height, width=width, seed=0, workers=1)
        maps = folder / "validation.parquet"
        seconds_a_pass(synthesizer, maps, 4)
        share = shares if options.engine is None else compiled_share
        print(json.dumps(share(synthesizer, maps, min(24, options.maps))), flush=True)
        ratios = []
        for turn in range(LAPS):
            bare = 1 / seconds_a_pass(synthesizer, maps, options.maps)
            made = synthesize(
                maps, options.checkpoint, folder / f"out-{turn}", workers=0, quiet=True, device="cpu",
                engine=options.engine, precision=None if options.engine else options.precision,
            )  # fmt: skip
            ratios.append(made.images_per_second / bare)
            print(json.dumps({"loop": bare, "job": made.images_per_second, "stages": made.stage_seconds}), flush=True)
        print(json.dumps({"a job's pace of the loop's": statistics.median(ratios)}))


if __name__ == "__main__":
    main()
