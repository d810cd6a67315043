"""Runs whose files were damaged: what is wrong is told in one line, and nothing is written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors import safe_open

from pipeline.config import Recipe
from pipeline.data.safetensors_file import write_tensors
from pipeline.errors import InputError
from training.train import train

Make = Callable[..., Recipe]


@pytest.fixture(scope="module")
def stopped(tiny_recipe: Make, tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, Path]:
    """A recipe and its run of two snapshots, stopped at step 2 of 6."""
    recipe = tiny_recipe(checkpoint_every=1, log_every=1)
    path = tmp_path_factory.mktemp("stopped") / "run"
    for _ in range(2):
        train(recipe, path, workers=0, max_minutes=0)
    return recipe, path


@pytest.fixture
def run(stopped: tuple[Recipe, Path], tmp_path: Path) -> Path:
    """A copy of the run to damage."""
    return shutil.copytree(stopped[1], tmp_path / "run")


def contents(folder: Path) -> dict[str, bytes]:
    left_out = (".lock", "summary.html")
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name not in left_out}


def refusal(recipe: Recipe, run: Path) -> str:
    """What the same call says, which has changed nothing."""
    before = contents(run)
    with pytest.raises(InputError) as caught:
        train(recipe, run, workers=0)
    assert contents(run) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "line",
    [b'{"step": 1, "los', b"", b"[1]", b'{"losses": {}}', b'{"step": 1}', b"\xff\xfe", b"[" * 10**5, b"9" * 5000],
    ids=["cut short", "empty", "no object", "no step", "no losses", "no text", "deep", "digits"],
)
def test_a_broken_line_of_the_metrics_is_named(stopped: tuple[Recipe, Path], run: Path, line: bytes) -> None:
    first, second, _ = (run / "stats.jsonl").read_bytes().split(b"\n")
    (run / "stats.jsonl").write_bytes(b"\n".join([first, line, second, b""]))
    said = refusal(stopped[0], run)
    assert said == f"line 2 of {run / 'stats.jsonl'} is damaged; take that line out to resume without what it says"
    (run / "stats.jsonl").write_bytes(b"\n".join([first, second, b""]))
    assert train(stopped[0], run, workers=0).finished


def damage(run: Path, *, without: str = "", values: dict[str, object] | None = None, metadata: bool = True) -> Path:
    """Write the newest snapshot anew without a tensor, or with other values."""
    path = run / "checkpoints" / "step-00000002.safetensors"
    with safe_open(path, framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys() if key != without}  # noqa: SIM118
        assert not without or len(tensors) == len(file.keys()) - 1
        found = json.loads(file.metadata()["values"])
    found = {key: value for key, value in {**found, **(values or {})}.items() if value is not None}
    write_tensors(path, tensors, {"values": json.dumps(found)} if metadata else {"format": "pt"})
    return path


NAMES = [
    "synthesis.generator.first.weight",
    "discriminator.scales.0.first.bias",
    "average.generator.to_rgb.weight",
    "optimiser.0.exp_avg",
    "optimiser.3.step",
    "discriminator_optimiser.1.exp_avg_sq",
]


@pytest.mark.parametrize("counted", [True, False], ids=["", "of an earlier version"])
@pytest.mark.parametrize("name", NAMES)
def test_a_snapshot_without_a_tensor_is_refused(
    stopped: tuple[Recipe, Path], run: Path, name: str, counted: bool
) -> None:
    path = damage(run, without=name, values={} if counted else {"tensors": None})
    said = refusal(stopped[0], run)
    assert said.startswith(f"snapshot {path} is damaged (")
    assert said.endswith("); remove it to resume from the one before")
    assert (" tensors, where " if counted else name.partition(".")[2].partition(".")[2]) in said


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"metadata": False}, "(it lacks 'values')"),
        ({"values": {"step": None}}, "(it lacks 'step')"),
        ({"values": {"scalers": None}}, "(it lacks 'scalers')"),
        ({"values": {"scalers": {}}}, "(it lacks 'optimiser.')"),
        ({"values": {"skipped": None}}, "(it lacks 'skipped')"),
        ({"values": {"step": "many"}}, "(invalid literal for int()"),
    ],
)
def test_a_snapshot_without_its_values_is_refused(
    stopped: tuple[Recipe, Path], run: Path, changes: dict, told: str
) -> None:
    path = damage(run, **changes)
    assert f"snapshot {path} is damaged {told}" in refusal(stopped[0], run)
    path.unlink()
    assert train(stopped[0], run, workers=0).finished


def test_files_beside_the_snapshots_are_left_alone(stopped: tuple[Recipe, Path], run: Path) -> None:
    copy = run / "checkpoints" / "step-00000002 (copy).safetensors"
    copy.write_bytes(b"mine")
    assert train(stopped[0], run, workers=0).finished
    assert copy.read_bytes() == b"mine"
