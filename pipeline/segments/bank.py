"""A memory bank as it is searched: what is compared is in memory, pictures and masks are read when they are wanted."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from pipeline.data.fingerprint import fingerprint_data
from pipeline.data.images import decode_image, decode_label, resize_ids
from pipeline.data.parquet import ParquetDataset, ParquetFile
from pipeline.errors import InputError
from pipeline.labels import LabelSpace
from pipeline.segments.bank_file import COLOURS, KIND, SCHEMA
from pipeline.segments.coarse import MASK_BYTES, SIDE
from pipeline.segments.cut import in_frame

LIGHT = [name for name in SCHEMA.names if name not in ("segment_id", "mask", "picture")]
READ_ROWS = 4096
KEPT_BYTES = 64 << 20
"""Of encoded masks that stay in memory once read."""


class MemoryBank:
    """The segments of a bank by number, from 0 on, as the file has them; safe to use from several threads.

    In memory: 600 bytes a segment and 4 KiB a picture (8 beyond 256 classes).
    """

    def __init__(self, location: str | Path) -> None:
        """Reads all but the pictures; `InputError` where there is no memory bank."""
        self.location = str(location)
        dataset = ParquetDataset.open(location)
        info = dataset.require_info() if len(dataset.files) == 1 else None
        missing = [name for name in SCHEMA.names if name not in dataset.files[0].schema.names]
        if info is None or missing or info.preprocessing.get("source") != KIND:
            raise InputError(f"{location} is not a memory bank; `spadework prepare bank` makes one of a data set")
        self.space: LabelSpace = info.space
        self.least_area = float(info.preprocessing["least_area"])
        """Share of the frame, below which neither it nor a query has segments."""
        self.sources: dict[str, str] = dict(info.preprocessing["files"])
        """The files of the data set that it was cut from, with their hashes."""
        self.digest = next(iter(fingerprint_data(dataset).values()))
        """Of the file."""
        self._file: ParquetFile = dataset.files[0]
        self._firsts = [group.first for group in self._file.row_groups]
        self._masks: OrderedDict[int, list[bytes]] = OrderedDict()
        self._kept = 0
        self._lock = Lock()
        self._load()

    def __len__(self) -> int:
        return self._file.rows

    def _load(self) -> None:
        count = len(self)
        self.labels = np.zeros(count, np.int32)
        """The class channel of each; ascending."""
        self.boxes = np.zeros((count, 4), np.int32)
        """Top, left, height, width."""
        self.frames = np.zeros((count, 2), np.int32)
        """Height and width of the picture that each was cut from."""
        self.areas = np.zeros(count, np.int64)
        """Pixels."""
        self.colours = np.zeros((count, 6), np.float32)
        """Means of red, green and blue over each, then their standard deviations; 0 to 255."""
        self.coarse = np.zeros((count, SIDE), np.uint64)
        """The frame's mask, packed (`pipeline.segments.coarse`)."""
        self.pictures = np.zeros(count, np.int64)
        """The number of the picture that each was cut from."""
        kind = np.uint8 if self.space.class_channels <= 256 else np.uint16
        numbers: dict[str, int] = {}
        contexts: list[np.ndarray] = []
        for first, batch in self._file.batches(LIGHT, batch_rows=READ_ROWS):
            rows = np.s_[first : first + len(batch)]
            column = {name: batch.column(name) for name in LIGHT}
            self.labels[rows] = column["class"].to_numpy(zero_copy_only=False)
            for axis, name in enumerate(("top", "left", "height", "width")):
                self.boxes[rows, axis] = column[name].to_numpy(zero_copy_only=False)
            for axis, name in enumerate(("frame_height", "frame_width")):
                self.frames[rows, axis] = column[name].to_numpy(zero_copy_only=False)
            self.areas[rows] = column["area"].to_numpy(zero_copy_only=False)
            for axis, name in enumerate(COLOURS):
                self.colours[rows, axis] = column[name].to_numpy(zero_copy_only=False)
            packed = b"".join(column["coarse"].to_pylist())
            if len(packed) != MASK_BYTES * len(batch):
                raise InputError(f"{self.location} has coarse masks of a wrong size; make the bank again")
            self.coarse[rows] = np.frombuffer(packed, np.uint64).reshape(-1, SIDE)
            for index, name in enumerate(column["picture_id"].to_pylist()):
                if name not in numbers:
                    numbers[name] = len(numbers)
                    coarse = np.frombuffer(column["context"][index].as_py(), kind)
                    contexts.append(coarse.reshape(SIDE, SIDE))
                self.pictures[first + index] = numbers[name]
        self.picture_ids = list(numbers)
        """The record of each picture, by its number."""
        self.contexts = np.stack(contexts)
        """The class channels of each picture, `[pictures, 64, 64]`."""
        self._numbers = numbers
        self._bounds = np.searchsorted(self.labels, np.arange(self.space.class_channels + 1))

    def of_class(self, label: int) -> np.ndarray:
        """The numbers of a class's segments, int64 `[n]`, ascending."""
        return np.arange(self._bounds[label], self._bounds[label + 1])

    def picture_number(self, record: str) -> int | None:
        """The number of the picture of a record, by which `pictures` knows its segments; None where it has none."""
        return self._numbers.get(record)

    def check_space(self, space: LabelSpace) -> None:
        """Refuse (`InputError`) label maps of other classes."""
        if self.space.classes != space.classes:
            raise InputError(
                f"memory bank {self.location} is of other classes ({', '.join(self.space.classes[:3])}, ...) than the "
                f"generator ({', '.join(space.classes[:3])}, ...); make one of a data set with the generator's classes"
            )

    def frame_mask(self, number: int, height: int, width: int) -> np.ndarray:
        """Where a segment is in its frame, bool `[height, width]`, whatever the size that the frame had."""
        return self._placed(number, decode_label(self._encoded_mask(number)) > 0, height, width)

    def frame_picture(self, number: int, height: int, width: int) -> np.ndarray:
        """A segment in its frame, uint8 `[height, width, 3]`, black around it; by nearest neighbour where the frame had
        another size."""
        with self._lock:
            _, row = next(self._file.iter_rows(["picture"], start=number, stop=number + 1))
        return self._placed(number, decode_image(row["picture"]["bytes"]), height, width)

    def _placed(self, number: int, part: np.ndarray, height: int, width: int) -> np.ndarray:
        top, left = self.boxes[number, :2].tolist()
        frame_height, frame_width = self.frames[number].tolist()
        frame = in_frame(part, top, left, frame_height, frame_width)
        return frame if (frame_height, frame_width) == (height, width) else resize_ids(frame, height, width)

    def _encoded_mask(self, number: int) -> bytes:
        group = bisect_right(self._firsts, number) - 1
        with self._lock:
            if group not in self._masks:
                self._masks[group] = read = self._read_masks(group)
                self._kept += sum(map(len, read))
                while self._kept > KEPT_BYTES and len(self._masks) > 1:
                    self._kept -= sum(map(len, self._masks.popitem(last=False)[1]))
            self._masks.move_to_end(group)
            return self._masks[group][number - self._firsts[group]]

    def _read_masks(self, group: int) -> list[bytes]:
        found: list[Any] = []
        there = self._file.row_groups[group]
        for _, row in self._file.iter_rows(["mask"], start=there.first, stop=there.first + there.rows):
            found.append(row["mask"]["bytes"])
        return found
