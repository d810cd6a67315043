"""Checkpoint files that are broken: refused when they are loaded, in one line that says what is wrong."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from pipeline.checkpoints.file import LANDSCAPE, load_checkpoint
from pipeline.data.safetensors_file import write_tensors
from pipeline.errors import InputError


def contents() -> tuple[dict[str, torch.Tensor], str]:
    """The tensors and the metadata of the generator that comes with spadework."""
    with safe_open(LANDSCAPE, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, file.metadata()["spadework"]  # noqa: SIM118


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_no_finite_numbers_are_refused_and_named(tmp_path: Path, value: float) -> None:
    tensors, metadata = contents()
    name = sorted(tensors)[0]
    tensors[name].view(-1)[0] = value
    write_tensors(tmp_path / "bad.safetensors", tensors, {"spadework": metadata})
    with pytest.raises(InputError, match=rf"bad\.safetensors holds NaN or infinite weights in {name}"):
        load_checkpoint(tmp_path / "bad.safetensors")


@pytest.mark.parametrize("lacking", ["recipe", "step", None])
def test_broken_metadata_are_refused(tmp_path: Path, lacking: str | None) -> None:
    tensors, metadata = contents()
    fields = json.loads(metadata)
    text = json.dumps({key: fields[key] for key in fields if key != lacking}) if lacking else metadata[:-9]
    write_tensors(tmp_path / "bad.safetensors", tensors, {"spadework": text})
    with pytest.raises(InputError, match="has damaged metadata") as caught:
        load_checkpoint(tmp_path / "bad.safetensors")
    assert "\n" not in str(caught.value)
