"""Short runs of the other kinds of generators: each learns, resumes as if it had never stopped, and publishes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.checkpoints.file import load_checkpoint
from pipeline.config import Recipe
from training.job import TrainingJob
from training.loop import train_worker
from training.run_folder import RunFolder
from training.train import train
from training.worker import Worker

Make = Callable[..., Recipe]
HOURGLASS = {"channels": 2, "downsamplings": 2, "blocks": 1}
KINDS: dict[str, dict[str, Any]] = {
    "concat": {"generator": {"kind": "concat", "channels": 2}},
    "concat with style": {"generator": {"kind": "concat", "channels": 2, "style_dim": 3}},
    "pix2pixhd_plus": {"generator": {"kind": "pix2pixhd_plus", **HOURGLASS}},
    "pix2pixhd_plus concat": {"generator": {"kind": "pix2pixhd_plus", **HOURGLASS, "labels": "concat"}},
    "pix2pixhd_plus spade": {"generator": {"kind": "pix2pixhd_plus", **HOURGLASS, "labels": "spade", "hidden": 4}},
}


def run(recipe: Recipe, out: Path, stop_after: int | None = None) -> RunFolder:
    """Train in this process; `stop_after` steps as Ctrl-C would."""
    folder = RunFolder(out)
    folder.claim(recipe)
    done: list[int] = []
    train_worker(
        TrainingJob(recipe, folder.path, base=Path()),
        Worker(),
        should_stop=lambda: stop_after is not None and len(done) + 1 >= stop_after,
        progress=lambda step, rate: done.append(step),
    )
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_resumes_as_if_it_had_never_stopped(tiny_recipe: Make, tmp_path: Path, kind: str) -> None:
    recipe = tiny_recipe(decay_steps=4, steps=4, **KINDS[kind])
    whole, parts = run(recipe, tmp_path / "whole"), run(recipe, tmp_path / "parts", stop_after=2)
    assert parts.step() == load_checkpoint(parts.path).step == 2
    run(recipe, tmp_path / "parts")
    expected, found = (folder.load_snapshot()[1] for folder in (whole, parts))
    assert set(expected) == set(found)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}")
    losses = [json.loads(folder.stats.read_text().splitlines()[-1])["losses"] for folder in (whole, parts)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    assert all((folder.path / "samples/step-00000003.png").exists() for folder in (whole, parts))

    published = load_checkpoint(whole.path)
    assert published.recipe == recipe and published.generator.settings.kind == recipe.generator.kind
    for name, value in published.generator.state_dict().items():
        assert torch.equal(value, expected[f"average.generator.{name}"]), name
    # It learned: the average is neither what it began with nor the last weights.
    last = {name.removeprefix("synthesis.generator."): value for name, value in expected.items()}
    assert any(not torch.equal(value, last[name]) for name, value in published.generator.state_dict().items())


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_follows_single(tiny_recipe: Make, tmp_path: Path, kind: str) -> None:
    losses = {}
    for precision in ("fp32", "bf16"):
        recipe = tiny_recipe(size=64, steps=1, precision=precision, **KINDS[kind])
        result = train(recipe, tmp_path / precision, workers=0)
        losses[precision] = json.loads((result.folder / "stats.jsonl").read_text().splitlines()[-1])["losses"]
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.1, abs=0.02)
    assert losses["bf16"] != losses["fp32"]
