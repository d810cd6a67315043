"""The benchmark itself, and one of each kind on a tiny recipe."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.bench.runner import Entry, run_benchmark, table
from pipeline.bench.synthesis import Load, bench_synthesize
from pipeline.engines.aot_inductor import missing
from pipeline.errors import InputError
from pipeline.recipe_file import load_recipe
from training.bench import bench_train

RECIPE = """
name: tiny
labels: {classes: [a, b, c, d, e, f, g, h, i, j, k, l, m, n]}
data: {train: a, validation: b, height: 32, width: 32}
generator: {channels: 1, hidden: 4}
discriminator: {channels: 2, layers: 2}
training: {steps: 1}
"""


class Sleeper:
    def __init__(self, seconds: float, value: float) -> None:
        if seconds < 0:
            raise ImportError("no such library")
        self.seconds, self.value = seconds, value

    def repeat(self) -> np.ndarray:
        time.sleep(self.seconds)
        return np.full(3, self.value)


def test_figures_and_reasons() -> None:
    entries = [
        Entry("first", Sleeper, {"seconds": 0.2, "value": 1.0}),
        Entry("quick", Sleeper, {"seconds": 0.02, "value": 1.5}),
        Entry("missing", Sleeper, {"seconds": -1, "value": 0}),
    ]
    first, quick, missing = run_benchmark(entries, repeats=3)
    assert first.ratio == 1
    assert first.difference == 0
    assert quick.ratio > 2
    assert quick.difference == 0.5
    assert len(quick.repeats) == 3
    assert missing.seconds is None
    assert "no such library" in missing.reason
    lines = table([first, quick, missing], items=2, item="image").splitlines()
    assert len(lines) == 4
    assert "not run: ImportError: no such library" in lines[3]


def test_repeats_beside_busy_cores_are_told_apart() -> None:
    entries = [Entry("sleeper", Sleeper, {"seconds": 0.01, "value": 0.0})]
    (sleeper,) = run_benchmark(entries, repeats=2, busy_cores=1)
    assert sleeper.busy_seconds is not None and sleeper.busy_seconds >= 0.01
    assert len(sleeper.busy_repeats) == 2
    heading, row = table([sleeper], items=1, item="image").splitlines()
    assert heading.split()[heading.split().index("busy") - 1] == "faster"
    assert row.split()[4] == f"{sleeper.busy_seconds / sleeper.seconds:.2f}x"
    assert "busy" not in table([replace(sleeper, busy_seconds=None)], items=1, item="image")


def test_the_first_must_start() -> None:
    with pytest.raises(InputError, match="with which all are compared"):
        run_benchmark([Entry("missing", Sleeper, {"seconds": -1, "value": 0})], repeats=1)


def test_generators_are_compared(tmp_path: Path) -> None:
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(RECIPE)
    made = bench_synthesize(
        f"untrained:{recipe}",
        load=Load(maps=1),
        candidates=("pattern-fp32", "engine-fp32"),
        repeats=1,
        threads=1,
        json_path=tmp_path / "figures" / "figures.json",
    )
    assert "eager-fp32" in made
    eager, pattern, engine = json.loads((tmp_path / "figures" / "figures.json").read_text())["results"]
    assert [result["name"] for result in (eager, pattern, engine)] == ["eager-fp32", "pattern-fp32", "engine-fp32"]
    assert 0 < pattern["difference"] < 1e-4  # the same picture, up to rounding
    if missing(torch.device("cpu")):
        assert "needs a C++ compiler" in engine["reason"]
    else:
        assert 0 < engine["difference"] < 1e-4


def test_training_steps_are_compared(tmp_path: Path) -> None:
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(RECIPE)
    path = tmp_path / "figures.json"
    bench_train(
        load_recipe(recipe), load=Load(maps=2), candidates=("pattern-fp32",), repeats=1, threads=1, json_path=path
    )
    dense, pattern = json.loads(path.read_text())["results"]
    assert dense["name"] == "dense-fp32"
    assert pattern["difference"] < 1e-3


def test_mistakes(tmp_path: Path) -> None:
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(RECIPE)
    rest = {"repeats": 1, "threads": 1, "json_path": None}
    with pytest.raises(InputError, match="unknown candidate 'onnx'"):
        bench_synthesize(f"untrained:{recipe}", load=Load(), candidates=("onnx",), **rest)
    with pytest.raises(InputError, match="whole batches of 3"):
        bench_synthesize(f"untrained:{recipe}", load=Load(maps=4, batch=3), **rest)
    with pytest.raises(InputError, match="unknown candidate 'fast'"):
        bench_train(load_recipe(recipe), load=Load(), candidates=("fast",), **rest)
    recipe.write_text(RECIPE.replace(", n]", "]"))
    with pytest.raises(InputError, match="landscapes have 14 classes"):
        bench_synthesize(f"untrained:{recipe}", load=Load(), **rest)
