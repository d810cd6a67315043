"""A run's folder: its recipe, its lock, and snapshots from which training goes on as if it had never stopped.

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
            before = {path: dict(files) for path, files in json.loads(self.data_file.read_text()).items()}
        except (ValueError, AttributeError, TypeError):
            raise InputError(f"{self.data_file} is damaged; remove it to go on with the data as they are now") from None
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
        return sorted((self.path / "checkpoints").glob("step-*.safetensors"))

    def step(self) -> int:
        """Steps that the newest snapshot has seen; 0 without one."""
        found = self.snapshots()
        return int(found[-1].stem.removeprefix("step-")) if found else 0

    def save_snapshot(self, step: int, tensors: Mapping[str, Tensor], values: Mapping[str, Any], *, keep: int) -> Path:
        """Write a snapshot (atomically), then remove those before the last `keep`. `values` is JSON."""
        path = self.path / "checkpoints" / f"step-{step:08d}.safetensors"
        write_tensors(path, tensors, {"values": json.dumps({"step": step, **values})})
        for old in self.snapshots()[:-keep]:
            old.unlink(missing_ok=True)
        return path

    def load_snapshot(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The newest snapshot's tensors and values, or None where training has not begun."""
        found = self.snapshots()
        if not found:
            return None
        try:
            with safe_open(found[-1], framework="pt") as file:
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (it is no mapping)
                return tensors, json.loads(file.metadata()["values"])
        except (SafetensorError, OSError) as error:
            raise InputError(
                f"snapshot {found[-1]} cannot be read ({error}); remove it to go on from the one before"
            ) from None

    def begin_stats(self, step: int) -> None:
        """Forget the entries of steps that will be done again."""
        if self.stats.exists():
            kept = [json.dumps(entry) + "\n" for entry in self.read_stats() if entry["step"] <= step]
            write_atomic(self.stats, "".join(kept))

    def read_stats(self) -> list[dict[str, Any]]:
        """The entries of `stats.jsonl`; one that a kill cut short is left out."""
        if not self.stats.exists():
            return []
        return [json.loads(line) for line in self.stats.read_text().rpartition("\n")[0].splitlines()]

    def latest_stats(self) -> dict[str, Any] | None:
        """The last whole entry of `stats.jsonl`."""
        if not self.stats.exists():
            return None
        lines = self.stats.read_text().rpartition("\n")[0].rpartition("\n")
        return json.loads(lines[2]) if lines[2] else None

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
    """An optimiser's state as flat tensors."""
    state = optimiser.state_dict()["state"]
    return {f"{prefix}{index}.{key}": value for index, entry in state.items() for key, value in entry.items()}


def restore_optimiser(optimiser: torch.optim.Optimizer, prefix: str, tensors: Mapping[str, Tensor]) -> None:
    """The inverse of `snapshot_optimiser`."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith(prefix):
            index, key = name.removeprefix(prefix).split(".")
            state.setdefault(int(index), {})[key] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
