"""TensorRT as far as it goes without a GPU: the real lowering, partitioning and conversion, and what is said where not.

The engine itself is never built here, so the builder's acceptance and its speed are not shown.
"""

from __future__ import annotations

import builtins
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pipeline.engines import tensorrt
from tests.pipeline.engines.cases import KINDS

ROOT = Path(__file__).parents[3]
STANDINS = [parent / "shared" / "tools" / "tensorrt_standin" for parent in ROOT.parents]
STANDIN = next((folder for folder in STANDINS if folder.is_dir()), None)
FACTOR = 2
"""The converted network's error by PyTorch's own in the same precision, both against the float32 generator, at most.

As root mean squares over a picture: these hardly depend on how a processor rounds, the largest errors do.
"""
LIMITS = {"fp32": 2e-6, "fp16": 4e-3, "bf16": 3e-2, "int8": 3e-2}
"""Of PyTorch's own error in pictures in (-1, 1), so that nothing is compared with a pass that is wrong itself."""
PAIRS = [
    "pattern-fp16",
    "dense-fp16",
    "pattern-fp32-levers",  # with noise, bilinear enlargement, a style for each class
    "dense-bf16-levers",
    "pattern-int8",
    "dense-fp32-regions",  # and the other kinds
    "dense-bf16-plus",
    "dense-fp32-plus_spade",
    "dense-fp16-pix2pixhd",
    "dense-fp32-enhanced",
    "dense-fp16-crn_three",
]
"""Both forms, all precisions and all kinds, each of `cases.KINDS` whose operators no other one has."""


def why_not() -> str | None:
    """What is missing for the stand-in."""
    if STANDIN is None:
        return "the reference folder beside the checkout is absent"
    if not importlib.util.find_spec("torch_tensorrt") or not importlib.util.find_spec("tensorrt_bindings"):
        return "torch-tensorrt or TensorRT's bindings are not installed"
    return None if shutil.which(os.environ.get("CC", "cc")) else "there is no C compiler"


@pytest.fixture(scope="module")
def conversions() -> dict[str, dict]:
    """What the script found, by pair: one process for all, for the sake of the import."""
    if reason := why_not():
        pytest.skip(reason)
    command = [sys.executable, "-m", "tests.pipeline.engines.tensorrt_standin_run", str(STANDIN), *PAIRS]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-4000:]
    lines = (json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))
    return {line.pop("pair"): line for line in lines}


@pytest.mark.parametrize("pair", PAIRS)
def test_every_operator_in_one_engine_that_computes_the_same(conversions, pair) -> None:
    found = conversions[pair]
    assert found["supported"] == found["operators"] > (20 if pair.split("-")[-1] in KINDS else 150)
    assert found["engines"] == 1
    assert found["mixed"] == {}  # a strongly typed network
    assert len(found["converted"]) == len(found["eager"]) == 2  # label maps with tables of other lengths
    precision = pair.split("-")[1]
    for converted, eager in zip(found["converted"], found["eager"], strict=True):
        assert eager <= LIMITS[precision]
        assert converted <= FACTOR * max(eager, 1e-7)
        if precision != "fp32":
            assert converted > 1e-5  # half precision it is


def test_int8_is_in_pairs_that_tensorrt_fuses_and_computes_what_pytorch_does(conversions) -> None:
    found = conversions["pattern-int8"]
    assert found["int8"] == 14  # both 3x3 convolutions of seven blocks
    assert sum(other["int8"] for other in conversions.values()) == 14
    for apart, eager in zip(found["apart"], found["eager"], strict=True):
        assert apart <= eager / 10  # the oracle's pictures, while rounding to 8 bits moves them
        assert eager > 2e-3


def test_without_a_gpu_it_says_so() -> None:
    reason = tensorrt.missing(torch.device("cpu"))
    assert reason == "TensorRT needs an NVIDIA GPU, and PyTorch sees none here"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            ModuleNotFoundError("No module named 'torch_tensorrt'"),
            "TensorRT needs the package torch-tensorrt (No module named 'torch_tensorrt'); "
            "install it with: pip install 'spadework[tensorrt]'",
        ),
        (
            Exception("Could not find libnvinfer.so.11\n  Search paths: []"),
            "torch-tensorrt does not find TensorRT's libraries (Could not find libnvinfer.so.11); "
            "install it with: pip install 'spadework[tensorrt]'",
        ),
    ],
)
def test_what_is_missing_and_how_to_get_it(monkeypatch: pytest.MonkeyPatch, error, message) -> None:
    real = builtins.__import__

    def fail(name, *rest):
        if name == "torch_tensorrt":
            raise error
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", fail)
    assert tensorrt.missing(torch.device("cuda")) == message
