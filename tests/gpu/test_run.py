"""The script for machines with a GPU, in its small form on whatever there is, so that it is right the first time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.engines.aot_inductor import missing

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_everything_once(tmp_path: Path) -> None:
    import torch

    if reason := missing(torch.device("cpu")):
        pytest.skip(reason)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"}
    command = [sys.executable, str(ROOT / "tests" / "gpu" / "run.py"), "--small", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found["left_out"] == []
    assert not [name for name, part in found.items() if isinstance(part, dict) and "failed" in part]
    assert all(each["within"] for each in found["parity coco_stuff"].values())
    assert found["determinism landscape"]["fp32"]["same_again"]
    assert {row["name"] for row in found["race landscape batch 2"]} == {
        "eager fp32",
        "pattern fp32",
        "pattern bf16",
        "engine bf16",
        "inductor bf16",
    }
    assert all("ms_a_picture" in row for row in found["race landscape batch 2"])
    kernel = {row["name"]: row for row in found["kernel of 8 channels"]}
    assert kernel["triton"]["max_difference"] <= 1e-5  # in the interpreter, or on the GPU
    assert "ray" not in done.stderr
    assert "| pattern bf16 |" in done.stdout


def test_it_needs_neither_ray_nor_tensorrt() -> None:
    code = (
        "import sys; sys.path.insert(0, '.'); sys.modules.update(ray=None, tensorrt=None, torchmetrics=None);"
        "import tests.gpu.run"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
