"""Two workers on Ray: a run from beginning to end, and one that is killed twice and ends the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from cli import main
from evaluation.segmenters.deeplab import FILE_NAME, DeepLab, DeepLabSettings, save_deeplab
from pipeline.checkpoints.file import load_checkpoint
from pipeline.config import Recipe
from pipeline.recipe_file import dump_recipe
from training.run_folder import RunFolder

pytestmark = pytest.mark.ray

Make = Callable[..., Recipe]

ROOT = Path(__file__).parents[2]
STEPS, DEADLINE = 30, 600.0


@pytest.fixture(scope="module")
def command(tiny_recipe: Make, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What trains a recipe of 2.5 steps an epoch, with checkpoints every five steps and validations, in a folder."""
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    recipe = tiny_recipe(steps=STEPS, log_every=1, checkpoint_every=5, sample_every=STEPS, validate_every=6)
    path.write_text(dump_recipe(recipe))
    torch.manual_seed(0)
    segmenter = DeepLab(
        DeepLabSettings(backbone="mobilenet_v3_large", trunk="early", labels=recipe.labels, height=32, width=32)
    )
    save_deeplab(path.parent / FILE_NAME, segmenter)
    return ["train", str(path), "--workers", "2", "--segmenter-weights", str(path.parent), "--out"]


@pytest.fixture(scope="module")
def undisturbed(command: list[str], ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run to which nothing happened."""
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    result = CliRunner().invoke(main, [*command, str(out)])
    assert result.exit_code == 0, result.output
    return out


def losses(folder: Path) -> list[tuple[int, dict[str, float]]]:
    return [(entry["step"], entry["losses"]) for entry in RunFolder(folder).read_stats()]


def test_a_run_ends_and_leaves_nothing_of_ray_behind(undisturbed: Path) -> None:
    assert load_checkpoint(undisturbed).step == STEPS
    assert [step for step, _ in losses(undisturbed)] == list(range(1, STEPS + 1))
    entries = RunFolder(undisturbed).read_stats()
    scores = {entry["step"]: entry["validation"]["mean_iou"] for entry in entries if "validation" in entry}
    assert list(scores) == [15, 30]
    assert load_checkpoint(undisturbed / "best.safetensors").step == max(scores, key=scores.__getitem__)
    assert all(0 < entry["communication"] < 1 for entry in entries)
    assert "Waiting for other workers" in (undisturbed / "summary.html").read_text()
    assert not (undisturbed / ".ray").exists()
    assert not (undisturbed / ".stop").exists()


def test_a_killed_worker_and_a_killed_driver_change_nothing(
    undisturbed: Path, command: list[str], tmp_path: Path
) -> None:
    """The leading worker is killed within an epoch and restarted by itself; then the driver, and the command again.

    The end is trained on batches of Ray Data, which change nothing either.
    """
    import ray

    folder = RunFolder(tmp_path / "run")
    environment = {
        **os.environ,
        "RAY_ADDRESS": ray.get_runtime_context().gcs_address,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }
    driver = [sys.executable, "cli.py", *command, str(folder.path)]
    said = tmp_path / "driver.log"
    with said.open("w") as log, subprocess.Popen(driver, cwd=ROOT, env=environment, stderr=log) as process:
        try:
            wait_for(lambda: done(folder) >= 7, process)
            first = int((folder.path / ".lock").read_text())
            assert first != process.pid
            os.kill(first, signal.SIGKILL)
            wait_for(lambda: (folder.path / ".lock").read_text() not in ("", str(first)), process)
            wait_for(lambda: done(folder) >= 17, process)
        finally:
            process.kill()
    assert "a worker failed" in said.read_text()
    assert folder.step() < STEPS
    result = CliRunner().invoke(main, [*command, str(folder.path), "--decoders", "1"])
    assert result.exit_code == 0, result.output

    found, expected = losses(folder.path), losses(undisturbed)
    assert [step for step, _ in found] == [step for step, _ in expected]
    for (step, ours), (_, theirs) in zip(found, expected, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-4), f"step {step}"


def done(folder: RunFolder) -> int:
    latest: dict[str, Any] | None = folder.latest_stats()
    return latest["step"] if latest else 0


def wait_for(condition: Callable[[], bool], process: subprocess.Popen) -> None:
    """Until something is so, while the driver runs."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert process.poll() is None, "the driver ended by itself"
        assert time.monotonic() < deadline
        time.sleep(0.01)
