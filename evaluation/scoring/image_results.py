"""What was found out about every single picture, in columns: everything in a report is computed from this."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from evaluation.metrics.confusion import ConfusionMatrix
from evaluation.scoring.textures import Textures
from pipeline.data.atomic import atomic_path
from pipeline.errors import InputError

Made = TypeVar("Made")

FILE_NAME = "judgements.npz"
"""What is known about every single picture, beside the report: `compare` reads it."""


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write a file of named arrays, atomically."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def parse_arrays(content: bytes, name: object, make: Callable[[Mapping[str, np.ndarray]], Made]) -> Made:
    """What `make` makes of the content of a file of `save_arrays`; `InputError`, which calls it `name`, where that is
    damaged or lacks an array."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            return make(dict(file))
    except Exception as error:  # noqa: BLE001 (whatever a damaged archive makes its readers raise)
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{name} is damaged ({reason})") from None


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
        # bincount adds floats, which hold these integers exactly, in a fraction of the time of add.at.
        counts = np.bincount(self.cells, pixels, side * side).astype(np.int64)
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
class ImageResults:
    """Of N pictures, in the order of their files."""

    ids: np.ndarray
    """str `[N]`."""
    samples: np.ndarray
    """int32 `[N]`: which of the pictures of one label map; 0 for photographs."""
    sizes: np.ndarray
    """int32 `[N, 2]`: height and width of the picture that was scored."""
    confusions: dict[str, Confusions]
    """By protocol name."""
    boundaries: dict[str, np.ndarray]
    """int32 `[N, classes, 4]` by protocol name: the counts of `evaluation/metrics/boundaries.py`."""
    features: np.ndarray
    """float32 `[N, d]`: the segmenter's."""
    inception: dict[str, np.ndarray] = field(default_factory=dict)
    """float32 `[N, 2048]` by `Protocol.fid_features`, where Inception weights were given."""
    lpips: np.ndarray | None = None
    """float32 `[N]`: each picture's mean LPIPS distance to the others of its label map (NaN without any), where weights
    were given."""
    texture: Textures | None = None
    """By the classes of the data set; None in the results of earlier versions."""
    label_marks: np.ndarray | None = None
    """str `[N]`: size and checksum of the label map that each picture was made of; in reports only, not in those of
    before they were kept."""
    reference_marks: np.ndarray | None = None
    """str `[N]`: the same of the label map of its photograph."""
    networks: dict[str, np.ndarray] = field(default_factory=dict)
    """float32 `[N, d]` by the name that `--features` gave to a network."""

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def joined(cls, parts: Sequence[ImageResults]) -> ImageResults:
        """Several sets as one."""
        first = parts[0]
        return cls(
            np.concatenate([part.ids for part in parts]),
            np.concatenate([part.samples for part in parts]),
            np.concatenate([part.sizes for part in parts]),
            {name: Confusions.joined([part.confusions[name] for part in parts]) for name in first.confusions},
            {name: np.concatenate([part.boundaries[name] for part in parts]) for name in first.boundaries},
            np.concatenate([part.features for part in parts]),
            {key: np.concatenate([part.inception[key] for part in parts]) for key in first.inception},
            None if first.lpips is None else np.concatenate([part.lpips for part in parts if part.lpips is not None]),
            None if first.texture is None else Textures.joined([part.texture for part in parts if part.texture]),
            networks={name: np.concatenate([part.networks[name] for part in parts]) for name in first.networks},
        )

    def save(self, path: Path) -> None:
        """Write a file, atomically."""
        arrays = {"ids": self.ids, "samples": self.samples, "sizes": self.sizes, "features": self.features}
        arrays |= {f"inception/{key}": features for key, features in self.inception.items()}
        arrays |= {f"network/{name}": features for name, features in self.networks.items()}
        if self.lpips is not None:
            arrays["lpips"] = self.lpips
        if self.texture is not None:
            arrays |= {f"texture/{key}": getattr(self.texture, key) for key in ("offsets", "names", "sums")}
            arrays["texture/classes"] = np.array(self.texture.classes)
        if self.label_marks is not None and self.reference_marks is not None:
            arrays |= {"label_marks": self.label_marks, "reference_marks": self.reference_marks}
        for name, part in self.confusions.items():
            arrays |= {f"{key}/{name}": getattr(part, key) for key in ("offsets", "cells", "pixels")}
            arrays[f"classes/{name}"] = np.array(part.classes)
            arrays[f"boundaries/{name}"] = self.boundaries[name]
        save_arrays(path, arrays)

    @classmethod
    def load(cls, path: Path) -> ImageResults:
        """What `save` wrote; `InputError` where the file is damaged (its arrays have checksums), OSError if missing."""
        return cls.parse(path.read_bytes(), path)

    @classmethod
    def parse(cls, content: bytes, name: object) -> ImageResults:
        """The content of such a file; `name` is what `InputError` calls it."""
        return parse_arrays(content, name, cls._of_arrays)

    @classmethod
    def _of_arrays(cls, arrays: Mapping[str, np.ndarray]) -> ImageResults:
        named: dict[str, dict[str, np.ndarray]] = {}
        for key, array in arrays.items():
            kind, _, name = key.partition("/")
            named.setdefault(kind, {})[name] = array
        confusions = {
            name: Confusions(int(classes), *(named[kind][name] for kind in ("offsets", "cells", "pixels")))
            for name, classes in named["classes"].items()
        }
        texture = named.get("texture")
        return cls(
            ids=arrays["ids"],
            samples=arrays["samples"],
            sizes=arrays["sizes"],
            confusions=confusions,
            boundaries=named["boundaries"],
            features=arrays["features"],
            inception=named.get("inception", {}),
            lpips=arrays.get("lpips"),
            texture=None if texture is None else Textures(int(texture.pop("classes")), **texture),
            label_marks=arrays.get("label_marks"),
            reference_marks=arrays.get("reference_marks"),
            networks=named.get("network", {}),
        )
