"""Checkpoint files that are broken: refused when they are loaded, in one line that says what is wrong."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from pipeline.checkpoints.file import LANDSCAPE, build_generator, load_checkpoint
from pipeline.data.safetensors_file import write_tensors
from pipeline.errors import InputError
from pipeline.networks.generator import least_weights
from pipeline.recipe_file import parse_recipe


def contents() -> tuple[dict[str, torch.Tensor], str]:
    """The tensors and the metadata of the generator that comes with spadework."""
    with safe_open(LANDSCAPE, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, file.metadata()["spadework"]  # noqa: SIM118


def test_loading_draws_no_weights_that_the_file_replaces(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    xavier = torch.nn.init.xavier_normal_
    monkeypatch.setattr("pipeline.networks.initialise.settle_spectral_norm", lambda network: drawn.append(0))
    monkeypatch.setattr("torch.nn.init.xavier_normal_", lambda weight, **rest: (drawn.append(1), xavier(weight))[1])
    loaded = load_checkpoint(LANDSCAPE)
    assert not drawn
    tensors, _ = contents()
    for name, value in loaded.generator.state_dict().items():
        assert torch.equal(value, tensors[f"generator.{name}"].to(value.dtype)), name
    build_generator(loaded.recipe)  # which has weights again
    assert drawn.count(0) == 1 and drawn.count(1) > 10


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_no_finite_numbers_are_refused_and_named(tmp_path: Path, value: float) -> None:
    tensors, metadata = contents()
    name = sorted(tensors)[0]
    tensors[name].view(-1)[0] = value
    write_tensors(tmp_path / "bad.safetensors", tensors, {"spadework": metadata})
    with pytest.raises(InputError, match=rf"bad\.safetensors holds NaN or infinite weights in {name}"):
        load_checkpoint(tmp_path / "bad.safetensors")


@pytest.mark.parametrize("text", ["[" * 10**5, "9" * 5000, "[1]", "null"], ids=["deep", "digits", "list", "null"])
def test_metadata_that_are_no_checkpoints_are_refused(tmp_path: Path, text: str) -> None:
    tensors, _ = contents()
    write_tensors(tmp_path / "bad.safetensors", tensors, {"spadework": text})
    with pytest.raises(InputError, match="has damaged metadata") as caught:
        load_checkpoint(tmp_path / "bad.safetensors")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("lacking", ["recipe", "step", None])
def test_broken_metadata_are_refused(tmp_path: Path, lacking: str | None) -> None:
    tensors, metadata = contents()
    fields = json.loads(metadata)
    text = json.dumps({key: fields[key] for key in fields if key != lacking}) if lacking else metadata[:-9]
    write_tensors(tmp_path / "bad.safetensors", tensors, {"spadework": text})
    with pytest.raises(InputError, match="has damaged metadata") as caught:
        load_checkpoint(tmp_path / "bad.safetensors")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"channels": 200_000}, "generator.channels is 200000: input should be less than or equal to 1024"),
        ({"channels": 1024}, r"has \d+ weights, where its generator of kind spade has \d{10}"),
        ({"hidden": 1024}, "does not fit the recipe that it carries"),
        ({"style_dim": 65536}, "does not fit the recipe that it carries"),
        ({"height": 2**20}, "128x1048576 pictures have more than 16777216 pixels"),
    ],
)
def test_what_the_weights_are_not_enough_for_is_refused_before_memory_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, int], told: str
) -> None:
    tensors, metadata = contents()
    fields = json.loads(metadata)
    for name, value in changes.items():
        fields["recipe"]["data" if name == "height" else "generator"][name] = value
    write_tensors(tmp_path / "bad.safetensors", tensors, {"spadework": json.dumps(fields)})
    monkeypatch.setattr("pipeline.checkpoints.file.build_generator", lambda recipe: pytest.fail("took memory"))
    with pytest.raises(InputError, match=told):
        load_checkpoint(tmp_path / "bad.safetensors")


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"upsampling": "most", "kernel_size": 5, "hidden": 40},
        {"style_dim": 8},
        {"style_dim": 8, "style_input": "everywhere", "style_encoder": False},
    ],
    ids=str,
)
def test_the_bound_on_weights_is_one(settings: dict[str, Any]) -> None:
    _, metadata = contents()
    recipe = json.loads(metadata)["recipe"]
    recipe["generator"] = {"channels": 2, "hidden": 16, **settings}
    built = parse_recipe(recipe, source="test")
    count = sum(value.numel() for value in build_generator(built).parameters())
    bound = least_weights(built.generator, built.labels, height=built.data.height, width=built.data.width)
    assert 0.3 * count < bound <= count
