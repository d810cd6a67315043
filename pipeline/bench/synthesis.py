"""The benchmark of generators: `spadework bench synthesize`."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.bench.runner import Entry, run_benchmark, table, write_json
from pipeline.checkpoints.file import UNTRAINED, load_checkpoint, resolve_checkpoint
from pipeline.config import Recipe
from pipeline.config.generators import only_spade
from pipeline.datasets.sample_maps import sample_codes
from pipeline.errors import InputError
from pipeline.runtime.device import default_device

PUBLIC = "public-fp32"
"""The public program, where there is a checkout of it."""
CANDIDATES = (
    "eager-fp32", "folded-fp32", "inductor-fp32", "onnxruntime-fp32", "openvino-fp32", "pattern-fp32",
    "engine-fp32", "inductor-bf16", "openvino-bf16", "pattern-bf16", "engine-bf16", "pattern-int8", "engine-int8",
    "inductor-fp16", "pattern-fp16",
)  # fmt: skip
"""Name of a path and its precision. The first, the generator as published, is the one all are compared with."""


@dataclass(frozen=True)
class Load:
    """What a repeat consists of."""

    source: Path | None = None
    """Parquet of label maps; None: landscapes are drawn."""
    maps: int = 4
    """Label maps in a repeat."""
    batch: int = 1
    """Label maps in a pass."""
    samples: int = 1
    """Pictures of each label map."""
    size: tuple[int, int] | None = None
    """(height, width) of the label maps; None: the recipe's."""
    noise: bool = False
    """Random pixels instead of label maps: the worst case for patterns."""

    def codes(self, recipe: Recipe) -> np.ndarray:
        """The label maps of a repeat, int32 `[maps, height, width]`; `InputError` as `sample_codes`."""
        return sample_codes(recipe, self.source, count=self.maps, size=self.size, noise=self.noise)


def bench_synthesize(
    checkpoint: str,
    *,
    load: Load,
    candidates: Sequence[str] = (),
    repeats: int = 5,
    threads: int,
    json_path: Path | None,
    public: Path | None = None,
    busy_cores: int = 0,
) -> str:
    """Time the ways to run a generator side by side; returns the table, and writes all figures to `json_path`.

    `public` is a checkout of the public SPADE, which then takes part. `busy_cores` as for `run_benchmark`.

    Raises `InputError` for unknown candidates, label maps that do not fit the generator, or too few of them.
    """
    import torch

    chosen = tuple(candidates) or default_candidates(torch.cuda.is_available())
    unknown = [name for name in chosen if name not in CANDIDATES]
    if unknown:
        raise InputError(f"unknown candidate '{unknown[0]}'; there are {', '.join(CANDIDATES)}")
    if load.maps % load.batch:
        raise InputError(f"{load.maps} label maps do not make whole batches of {load.batch}; take a multiple")
    source = resolve_checkpoint(checkpoint)
    recipe = load_checkpoint(source).recipe
    only_spade(recipe.generator, "benchmarks are")
    common = {
        "weights": source,
        "codes": load.codes(recipe),
        "batch": load.batch,
        "samples": load.samples,
        "device": default_device(),
        "threads": threads,
        "rescale": source.startswith(UNTRAINED),
    }
    names = (CANDIDATES[0], *(name for name in chosen if name != CANDIDATES[0]))
    entries = [Entry(name, build, {"name": name, **common}) for name in names]
    if public is not None:
        entries.insert(1, Entry(PUBLIC, build, {"name": PUBLIC, "public": public, **common}))
    results = run_benchmark(entries, repeats=repeats, busy_cores=busy_cores)
    if json_path:
        write_json(json_path, results, describe(checkpoint, load, threads) | {"busy_cores": busy_cores})
    return table(results, items=load.maps * load.samples, item="image")


def default_candidates(cuda: bool) -> tuple[str, ...]:
    """Those that make sense on the device: half precision floats on a GPU only, int8 on a CPU that has it."""
    from pipeline.networks.inference.int8 import has_int8

    if cuda:
        ours = tuple(name for name in CANDIDATES if name.startswith(("eager", "inductor", "pattern", "engine")))
        return tuple(name for name in ours if not name.endswith("int8"))
    senseless = ("fp16",) if has_int8() else ("fp16", "int8")
    return tuple(name for name in CANDIDATES if not name.endswith(senseless))


def build(name: str, public: Path | None = None, **workload: Any) -> Any:
    """Make a candidate, in its own process."""
    from pipeline.bench import generators
    from pipeline.bench.public import Public

    kind, precision = name.split("-")
    work = generators.Workload(**workload)
    if public is not None:
        return Public(work, public)
    if kind == "eager":
        return generators.Eager(work, folded=False)
    if kind == "folded":
        return generators.Eager(work, folded=True)
    if kind == "onnxruntime":
        return generators.OnnxRuntime(work)
    made: dict[str, Any] = {
        "inductor": generators.Inductor,
        "openvino": generators.OpenVino,
        "pattern": generators.Ours,
        "engine": generators.Compiled,
    }
    return made[kind](work, precision)


def describe(checkpoint: str, load: Load, threads: int) -> dict[str, Any]:
    """The settings and the machine, for the JSON."""
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "checkpoint": str(checkpoint),
        "load": {key: str(value) if isinstance(value, Path) else value for key, value in asdict(load).items()},
        "threads": threads,
        "machine": {"processor": platform.processor() or platform.machine(), "gpu": gpu, "torch": torch.__version__},
    }
