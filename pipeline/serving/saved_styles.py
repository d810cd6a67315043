"""Styles that clients saved, as files of the service's folder; and those that a checkpoint is known to have."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from pipeline.data.atomic import write_atomic
from pipeline.errors import InputError
from pipeline.runtime.json_text import read_json
from pipeline.serving.refusal import Refusal


class SavedStyles:
    """Style vectors by checkpoint (a `Model.key`) and name: `FOLDER/styles/CHECKPOINT/NAME.json`."""

    def __init__(self, folder: Path, *, most: int) -> None:
        self._folder, self._most = folder / "styles", most

    def names(self, checkpoint: str) -> list[str]:
        """In the order of their letters."""
        folder = self._folder / checkpoint
        if not folder.is_dir():
            return []
        return sorted(path.stem for path in folder.glob("*.json") if not path.name.startswith("."))

    def all(self, checkpoint: str) -> dict[str, list[float]]:
        """All vectors by name, in the order of their letters, without those whose files are damaged; reads them all."""
        found = {name: self._read(checkpoint, name) for name in self.names(checkpoint)}
        return {name: z for name, z in found.items() if z is not None}

    def find(self, checkpoint: str, name: str) -> list[float] | None:
        """The vector of that name; None where there is none, or its file is damaged."""
        if name.startswith(".") or Path(name).name != name:  # a path
            return None
        return self._read(checkpoint, name)

    def _read(self, checkpoint: str, name: str) -> list[float] | None:
        try:
            z = read_json((self._folder / checkpoint / f"{name}.json").read_bytes())["z"]
            return [float(number) for number in z]
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def save(self, checkpoint: str, name: str, z: np.ndarray) -> None:
        """Keep a vector, float32 `[style_dim]`, in the place of one of that name.

        Raises `Refusal` (409) where there are too many, and `InputError` for a name that is no file's.
        """
        if name != name.strip() or name.endswith("."):
            raise InputError(f"name: '{name}' has a blank or a dot at its end; leave it out")
        names = self.names(checkpoint)
        if len(names) >= self._most and name not in names:
            raise Refusal(409, f"{len(names)} styles are saved already; remove some from the service's folder")
        path = self._folder / checkpoint / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps({"z": z.tolist()}))
