"""A run's folder: its recipe, its lock, and snapshots from which training resumes as if it had never stopped.

recipe.yaml            the resolved recipe; another one is refused
data.json              fingerprints of the files of its data sets; others are refused
generator.safetensors  the averaged weights (and the style encoder's), replaced at every checkpoint
best.safetensors       those with the best validation score so far, where a run is validated
checkpoints/           the last few snapshots: all that changes during training, in safetensors
samples/ tensorboard/ stats.jsonl
summary.html           one page about the run, written when a call of `train` ends
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pipeline.config import Recipe
from pipeline.data.atomic import write_atomic
from pipeline.data.safetensors_file import write_tensors
from pipeline.errors import InputError
from pipeline.recipe_file import dump_recipe, load_recipe
from pipeline.runtime.json_text import read_json

ENTRY_FIELDS = {"step", "losses", "seconds", "images_per_second", "data_wait", "failures"}
"""What every entry of `stats.jsonl` has."""
LOCK_SECONDS = 30.0
"""How long to wait for another process to let go of the folder: workers of a killed driver live on for seconds."""


class RunFolder:
    """The folder of one training run."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path).absolute()
        self.recipe_file = self.path / "recipe.yaml"
        self.data_file = self.path / "data.json"
        self.weights = self.path / "generator.safetensors"
        self.best = self.path / "best.safetensors"
        self.stats = self.path / "stats.jsonl"
        self.summary = self.path / "summary.html"
        self.stop_file = self.path / ".stop"

    def claim(self, recipe: Recipe) -> bool:
        """Make the folder that of a recipe; whether it is new. `InputError` where it holds something else."""
        if self.recipe_file.exists():
            differences = differing_fields(load_recipe(self.recipe_file), recipe)
            if differences:
                raise InputError(
                    f"{self.path} holds a run of another recipe, which differs in {'; '.join(differences)}; "
                    "give another --out, or the recipe that began it"
                )
        elif self.path.exists() and (not self.path.is_dir() or set(self.path.iterdir()) - set(self._leftovers())):
            raise InputError(f"{self.path} exists and is not a training run; give a new folder as --out")
        else:
            write_atomic(self.recipe_file, dump_recipe(recipe))
            for leftover in self._leftovers():
                leftover.unlink(missing_ok=True)
            return True
        return False

    def check_data(self, data: Mapping[str, Mapping[str, str]]) -> None:
        """Compare the `fingerprint_data` of data sets with those that began the run; `InputError` names what differs.

        A run without any, of an earlier version, takes these.
        """
        if not self.data_file.exists():
            write_atomic(self.data_file, json.dumps(data, indent=1) + "\n")
            return
        try:
            before = {path: dict(files) for path, files in read_json(self.data_file.read_text()).items()}
        except (ValueError, AttributeError, TypeError):
            raise InputError(
                f"{self.data_file} is damaged; remove it to resume with the data as they are now"
            ) from None
        for path, files in data.items():
            old = before.get(path, files)
            for file in sorted(old.keys() | files.keys()):
                if old.get(file) != files.get(file):
                    change = "is new" if file not in old else "is gone" if file not in files else "has changed"
                    raise InputError(
                        f"{file} of the data set {path} {change} since the run in {self.path} began; "
                        "give another --out, or put the old data back"
                    )

    def _leftovers(self) -> list[Path]:
        """Recipes that a killed start had not finished writing."""
        return list(self.path.glob(".recipe.*.tmp"))

    def give_up(self) -> None:
        """Remove a new folder in which no step was done, so that a corrected recipe may have it."""
        if not self.snapshots() and not self.stats.exists():
            shutil.rmtree(self.path)

    @contextmanager
    def locked(self, patience: float = LOCK_SECONDS) -> Iterator[None]:
        """Hold the folder against other writers; `InputError` if one does not let go of it for so many seconds.

        The file of the lock holds the id of the process that has it.
        """
        with (self.path / ".lock").open("a+") as file:
            deadline = time.monotonic() + patience
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError:
                    if time.monotonic() > deadline:
                        file.seek(0)
                        raise InputError(
                            f"another process ({file.read() or 'of unknown id'}) is training in {self.path}; wait for "
                            "it or stop it"
                        ) from None
                    time.sleep(0.2)
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield

    def snapshots(self) -> list[Path]:
        """The snapshots that there are, oldest first."""
        found = (self.path / "checkpoints").glob("step-*.safetensors")
        return sorted(path for path in found if path.stem.removeprefix("step-").isdecimal())  # And no copies by hand.

    def step(self) -> int:
        """Steps that the newest snapshot has seen; 0 without one."""
        found = self.snapshots()
        return int(found[-1].stem.removeprefix("step-")) if found else 0

    def save_snapshot(self, step: int, tensors: Mapping[str, Tensor], values: Mapping[str, Any], *, keep: int) -> Path:
        """Write a snapshot (atomically), then remove those before the last `keep`. `values` is JSON."""
        path = self.path / "checkpoints" / f"step-{step:08d}.safetensors"
        write_tensors(path, tensors, {"values": json.dumps({"step": step, "tensors": len(tensors), **values})})
        for old in self.snapshots()[:-keep]:
            old.unlink(missing_ok=True)
        return path

    def load_snapshot(self) -> tuple[Path, dict[str, Tensor], dict[str, Any]] | None:
        """The newest snapshot: its file, tensors and values; None where training has not begun.

        Raises `InputError` where the file cannot be read or lacks any of them.
        """
        found = self.snapshots()
        if not found:
            return None
        try:
            with safe_open(found[-1], framework="pt") as file:
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (it is no mapping)
                values = read_json((file.metadata() or {})["values"])
            if len(tensors) != values.get("tensors", len(tensors)):  # Which snapshots of earlier versions do not say.
                raise ValueError(f"{len(tensors)} tensors, where {values['tensors']} were written")
            return found[-1], tensors, values
        except (SafetensorError, OSError, ValueError, KeyError, AttributeError) as error:
            raise damaged_snapshot(found[-1], error) from None

    def begin_stats(self, step: int) -> None:
        """Forget the entries of steps that will be done again."""
        if self.stats.exists():
            kept = [json.dumps(entry) + "\n" for entry in self.read_stats() if entry["step"] <= step]
            write_atomic(self.stats, "".join(kept))

    def read_stats(self) -> list[dict[str, Any]]:
        """The entries of `stats.jsonl`; one that a kill cut short is left out. `InputError` names a damaged line."""
        if not self.stats.exists():
            return []
        lines = self.stats.read_bytes().rpartition(b"\n")[0].splitlines()
        return [self._parse_stats(line, number) for number, line in enumerate(lines, start=1)]

    def latest_stats(self) -> dict[str, Any] | None:
        """The last whole entry of `stats.jsonl`; `InputError` where it is damaged."""
        if not self.stats.exists():
            return None
        lines = self.stats.read_bytes().rpartition(b"\n")[0].splitlines()
        return self._parse_stats(lines[-1], len(lines)) if lines else None

    def _parse_stats(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            entry = read_json(line)
        except ValueError:
            entry = None
        if not isinstance(entry, dict) or not entry.keys() >= ENTRY_FIELDS:
            raise InputError(
                f"line {number} of {self.stats} is damaged; take that line out to resume without what it says"
            )
        return entry

    def add_stats(self, entry: Mapping[str, Any]) -> None:
        """Append an entry to `stats.jsonl`."""
        with self.stats.open("a") as file:
            file.write(json.dumps(entry) + "\n")


def differing_fields(old: Recipe, new: Recipe) -> list[str]:
    """`section.field (old, now new)` for every field in which two recipes differ."""
    before, after = _flatten(old.model_dump(mode="json")), _flatten(new.model_dump(mode="json"))
    return [
        f"{key} ({before.get(key)}, now {after.get(key)})"
        for key in before | after
        if before.get(key) != after.get(key)
    ]


def _flatten(fields: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in fields.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def snapshot_optimiser(optimiser: torch.optim.Optimizer, prefix: str) -> dict[str, Tensor]:
    """An optimiser's state as flat tensors, by `prefix`, the parameter's number and the name of what it is."""
    state = optimiser.state_dict()["state"]
    return {f"{prefix}{index}.{key}": value for index, entry in state.items() for key, value in entry.items()}


def restore_optimiser(optimiser: torch.optim.Optimizer, prefix: str, tensors: Mapping[str, Tensor]) -> None:
    """The inverse of `snapshot_optimiser`; `ValueError` names a tensor that is missing, or of another shape."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith(prefix):
            index, _, key = name.removeprefix(prefix).partition(".")
            state.setdefault(int(index), {})[key] = value
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    # torch takes any state, and would begin anew, or stop, at a step where some of it is missing.
    for number, parameter in enumerate(parameters if state else ()):
        for key in ("step", "exp_avg", "exp_avg_sq"):
            found = state.get(number, {}).get(key)
            if found is None or found.shape != (() if key == "step" else parameter.shape):
                raise ValueError(f"{prefix}{number}.{key} is {'missing' if found is None else 'of another shape'}")
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def damaged_snapshot(path: Path, reason: Exception) -> InputError:
    """What is told of a snapshot from which training cannot resume."""
    told = f"it lacks {reason}" if isinstance(reason, KeyError) else " ".join(str(reason).split())[:300]
    return InputError(f"snapshot {path} is damaged ({told}); remove it to resume from the one before")
