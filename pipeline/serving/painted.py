"""Pictures of the service as Parquet records: for a client to keep, and the marks that clients gave."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.data.encoders import ENCODERS
from pipeline.data.images import encode_png
from pipeline.data.marks import MARK_FIELDS, PAINTED_FIELDS
from pipeline.data.parquet import ParquetDataset
from pipeline.data.provenance import Provenance
from pipeline.data.records import RecordWriter
from pipeline.data.schema import DatasetInfo
from pipeline.labels import LabelSpace
from pipeline.serving.refusal import Refusal


@dataclass(frozen=True)
class Painted:
    """A picture and all that it was made of."""

    id: str
    label: np.ndarray
    """Integers `[H, W]`."""
    instance: np.ndarray | None
    """Integers `[H, W]`, or None."""
    pixels: np.ndarray
    """uint8 `[H, W, 3]`."""
    style: dict[str, Any]
    """`{"seed": int}` or `{"z": [...]}`."""
    seed: int
    sample: int
    checkpoint: str
    """The sha256 of the weights."""

    def row(self) -> dict[str, Any]:
        """Its cells, by `PAINTED_FIELDS`."""
        return {
            "id": self.id,
            "label": encode_png(self.label),
            "image": ENCODERS["png"](self.pixels, xmp=Provenance(self.checkpoint, self.seed).packet()),
            "style": json.dumps(self.style),
            "seed": self.seed,
            "sample": self.sample,
            "checkpoint": self.checkpoint,
            "painted_id": self.id,
            **({} if self.instance is None else {"instance": encode_png(self.instance)}),
        }

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that tell it from other pictures."""
        said = json.dumps([self.id, self.style, self.seed, self.sample, self.checkpoint]).encode()
        return hashlib.sha256(said + self.label.tobytes() + self.pixels.tobytes()).hexdigest()[:16]


def record_file(painted: Painted, space: LabelSpace, name: str) -> bytes:
    """A Parquet file of one record of the id `name`, which `synthesize` and `train` read."""
    with tempfile.TemporaryDirectory(prefix="spadework-") as folder:
        path = Path(folder, "record.parquet")
        _write(path, {**painted.row(), "id": name}, space, PAINTED_FIELDS)
        return path.read_bytes()


class Marks:
    """Pictures that clients marked, each a file: `FOLDER/marks/CHECKPOINT/DIGEST.parquet`, where `CHECKPOINT` is a
    `Model.key`; such a folder is a data set."""

    def __init__(self, folder: Path, *, most: int) -> None:
        self._folder, self._most = folder / "marks", most

    def count(self, checkpoint: str) -> int:
        """How many there are."""
        return len(self._files(checkpoint))

    def add(self, checkpoint: str, painted: Painted, space: LabelSpace, *, mark: str, note: str) -> int:
        """Keep a mark, in the place of an earlier one of the same picture; how many there are then.

        Raises `Refusal` (409) where there are too many.
        """
        path = self._folder / checkpoint / f"{painted.digest}.parquet"
        count = self.count(checkpoint)
        if count >= self._most and not path.exists():
            raise Refusal(409, f"{count} pictures are marked already; export them, and empty the service's folder")
        row = {
            **painted.row(),
            "id": f"{painted.id}-{painted.digest}",
            "mark": mark,
            "note": note,
            "time": int(time.time() * 1e6),
        }
        _write(path, row, space, MARK_FIELDS)
        return self.count(checkpoint)

    def export(self, checkpoint: str, space: LabelSpace, target: Path) -> None:
        """Write all marks of a checkpoint into one Parquet file, one row at a time."""
        info = _info(space)
        with RecordWriter(target, info, MARK_FIELDS) as writer:
            for path in self._files(checkpoint):
                for row in ParquetDataset.open(path).iter_rows([field.name for field in MARK_FIELDS]):
                    writer.write(row)

    def _files(self, checkpoint: str) -> list[Path]:
        folder = self._folder / checkpoint
        return sorted(folder.glob("[!.]*.parquet")) if folder.is_dir() else []


def _write(path: Path, row: dict[str, Any], space: LabelSpace, fields: tuple[pa.Field, ...]) -> None:
    kept = [field for field in fields if field.name != "instance" or "instance" in row]
    with RecordWriter(path, _info(space), kept) as writer:
        writer.write(row)


def _info(space: LabelSpace) -> DatasetInfo:
    return DatasetInfo(space, {"source": "spadework serve"})
