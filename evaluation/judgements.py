"""What was found out about every single picture, in columns: everything in a report is computed from this."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluation.confusion import ConfusionMatrix


@dataclass(frozen=True)
class Confusions:
    """The confusion matrices of pictures, which are mostly zeros, as their non-zero cells."""

    classes: int
    offsets: np.ndarray
    """int64 `[N + 1]`: picture i has the cells `offsets[i] .. offsets[i + 1] - 1`."""
    cells: np.ndarray
    """int32: row times (classes + 1) plus column; the last row and column are void and "no class of ours"."""
    pixels: np.ndarray
    """int64: the pixels in each cell."""

    @classmethod
    def of(cls, matrices: Sequence[ConfusionMatrix], classes: int) -> Confusions:
        """From dense matrices, a picture each."""
        found = [np.flatnonzero(matrix.counts) for matrix in matrices]
        counts = [matrix.counts.ravel()[cells] for matrix, cells in zip(matrices, found, strict=True)]
        offsets = np.cumsum([0, *(len(cells) for cells in found)]).astype(np.int64)
        return cls(
            classes,
            offsets,
            np.concatenate([np.zeros(0, np.int64), *found]).astype(np.int32),
            np.concatenate([np.zeros(0, np.int64), *counts]),
        )

    @classmethod
    def joined(cls, parts: Sequence[Confusions]) -> Confusions:
        """Those of several sets of pictures, one set after the other."""
        lengths = np.concatenate([np.diff(part.offsets) for part in parts])
        return cls(
            parts[0].classes,
            np.cumsum([0, *lengths]).astype(np.int64),
            np.concatenate([part.cells for part in parts]),
            np.concatenate([part.pixels for part in parts]),
        )

    def total(self, weights: np.ndarray | None = None) -> ConfusionMatrix:
        """The matrix of all pictures, each counted `weights[i]` times (integers `[N]`; None: once)."""
        side = self.classes + 1
        pixels = self.pixels if weights is None else self.pixels * np.repeat(weights, np.diff(self.offsets))
        counts = np.zeros(side * side, np.int64)
        np.add.at(counts, self.cells, pixels)
        return ConfusionMatrix(self.classes, counts.reshape(side, side))

    def matrix(self, index: int) -> ConfusionMatrix:
        """That of one picture."""
        part = slice(self.offsets[index], self.offsets[index + 1])
        counts = np.zeros((self.classes + 1) ** 2, np.int64)
        counts[self.cells[part]] = self.pixels[part]
        return ConfusionMatrix(self.classes, counts.reshape(self.classes + 1, -1))

    def __len__(self) -> int:
        return len(self.offsets) - 1


@dataclass(frozen=True)
class Judgements:
    """Of N pictures, in the order of their files."""

    ids: np.ndarray
    """str `[N]`."""
    samples: np.ndarray
    """int32 `[N]`: which of the pictures of one label map; 0 for photographs."""
    sizes: np.ndarray
    """int32 `[N, 2]`: height and width of the picture that was judged."""
    confusions: dict[str, Confusions]
    """By protocol name."""
    boundaries: dict[str, np.ndarray]
    """int32 `[N, classes, 4]` by protocol name: the counts of `evaluation/boundaries.py`."""
    features: np.ndarray
    """float32 `[N, d]`: the segmenter's."""
    inception: np.ndarray | None = None
    """float32 `[N, 2048]`, where Inception weights were given."""

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def joined(cls, parts: Sequence[Judgements]) -> Judgements:
        """Several sets as one."""
        first = parts[0]
        return cls(
            np.concatenate([part.ids for part in parts]),
            np.concatenate([part.samples for part in parts]),
            np.concatenate([part.sizes for part in parts]),
            {name: Confusions.joined([part.confusions[name] for part in parts]) for name in first.confusions},
            {name: np.concatenate([part.boundaries[name] for part in parts]) for name in first.boundaries},
            np.concatenate([part.features for part in parts]),
            None
            if first.inception is None
            else np.concatenate([part.inception for part in parts if part.inception is not None]),
        )

    def save(self, path: Path) -> None:
        """Write a file, atomically."""
        arrays = {"ids": self.ids, "samples": self.samples, "sizes": self.sizes, "features": self.features}
        if self.inception is not None:
            arrays["inception"] = self.inception
        for name, part in self.confusions.items():
            arrays |= {f"{name}/{field}": getattr(part, field) for field in ("offsets", "cells", "pixels")}
            arrays[f"{name}/classes"] = np.array(part.classes)
            arrays[f"{name}/boundaries"] = self.boundaries[name]
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            temporary.write_bytes(buffer.getbuffer())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path) -> Judgements:
        """What `save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        names = dict.fromkeys(key.split("/")[0] for key in arrays if "/" in key)
        confusions = {
            name: Confusions(
                int(arrays[f"{name}/classes"]), *(arrays[f"{name}/{field}"] for field in ("offsets", "cells", "pixels"))
            )
            for name in names
        }
        return cls(
            ids=arrays["ids"],
            samples=arrays["samples"],
            sizes=arrays["sizes"],
            confusions=confusions,
            boundaries={name: arrays[f"{name}/boundaries"] for name in names},
            features=arrays["features"],
            inception=arrays.get("inception"),
        )
