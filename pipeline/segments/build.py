"""[Ray] A memory bank from a data set: pictures are cut up in parallel, and segments kept with their source."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data.fingerprint import fingerprint_data
from pipeline.data.images import encode_png
from pipeline.data.parquet import ParquetDataset, ParquetFile
from pipeline.data.records import check_dataset, decode_record, resize_record
from pipeline.data.schema import DatasetInfo, Record
from pipeline.data.storage import is_uri, local_path
from pipeline.datasets.instances import Instance
from pipeline.errors import InputError
from pipeline.labels import LabelSpace, class_channels
from pipeline.runtime.progress import ProgressBar
from pipeline.runtime.ray_tasks import map_in_order
from pipeline.segments.bank_file import COLOURS, KIND, BankWriter, Row
from pipeline.segments.coarse import coarse_labels, pack_mask
from pipeline.segments.cut import LEAST_AREA, cut_segments, in_frame

READ_ROWS = 16
"""Records that are cut up at once."""
COLUMNS = ["id", "sample", "label", "instance", "image"]
WARNING = (
    "The bank holds verbatim pieces of these photographs, and so will every picture that is made with it: the licence "
    "and the privacy of the photographs apply to both. Its column picture_id says where each piece is from."
)

Span = tuple[ParquetFile, int, int]
"""Rows of a file: the first, and the first that is no more of them."""


@dataclass(frozen=True)
class Bank:
    """What was written."""

    path: Path
    space: LabelSpace
    pictures: int
    counts: dict[int, int]
    """Segments of each class that has any."""
    covered: float
    """Share of all pixels that belong to a segment."""

    def __str__(self) -> str:
        classes = ", ".join(f"{self.space.classes[label]} {count}" for label, count in sorted(self.counts.items()))
        return (
            f"{sum(self.counts.values())} segments of {self.pictures} pictures, {self.covered:.0%} of their pixels, in "
            f"{self.path}\n{classes}\n\n{WARNING}"
        )


def build_bank(
    source: str | Path,
    out: Path,
    *,
    least_area: float = LEAST_AREA,
    size: tuple[int, int] | None = None,
    workers: int = 0,
    quiet: bool = False,
) -> Bank:
    """Cut the photographs of a data set into the segments of their label maps, and write the memory bank `out`.

    Regions smaller than `least_area` of the frame are left out. `size` is height and width to which records are resized
    first (None: as they are); that of the generator saves it from enlarging or shrinking each piece. `workers` actors
    on Ray do the cutting (0: this process); the file is the same for any number. Raises `InputError` for a data set
    that cannot be read, one without photographs, and where no segment is large enough.
    """
    dataset = ParquetDataset.open(source)
    info = check_dataset(dataset, ("id", "label", "image"))
    if not is_uri(source) and out.resolve() == local_path(source).resolve():
        raise InputError(f"--out {out} is the input; give another file")
    if out.is_dir():
        raise InputError(f"--out {out} is a folder; give the name of a Parquet file, such as bank.parquet")
    prepare = partial(_cutter, info.space, least_area, size)
    pictures = pixels = covered = 0
    with (
        BankWriter(out) as writer,
        ProgressBar(desc="bank", total=dataset.rows, unit=" pictures", disable=quiet) as bar,
    ):
        for found in map_in_order(prepare, spans(dataset), workers=workers):
            for frame, rows in found:
                for row in rows:
                    writer.write(row)
                    covered += row["area"]
                pixels += frame
            pictures += len(found)
            bar.update(len(found))
        if not writer.counts:
            raise InputError(
                f"{source} has no region of {least_area:.2%} of its picture or more; lower --least-area, or give "
                "another data set"
            )
        made = {
            "source": KIND,
            "least_area": least_area,
            "size": None if size is None else [size[1], size[0]],
            "segments": sum(writer.counts.values()),
            "pictures": pictures,
            "files": fingerprint_data(dataset),
            "of": info.preprocessing,
        }
        writer.finish(DatasetInfo(info.space, made))
    return Bank(out, info.space, pictures, writer.counts, covered / pixels)


def spans(dataset: ParquetDataset) -> Iterator[Span]:
    """All rows of a data set, a few at a time."""
    for file in dataset.files:
        for first in range(0, file.rows, READ_ROWS):
            yield file, first, min(first + READ_ROWS, file.rows)


def _cutter(
    space: LabelSpace, least_area: float, size: tuple[int, int] | None
) -> Callable[[Span], list[tuple[int, list[Row]]]]:
    """What an actor does with some records: the pixels of each frame, and a row for each of its segments."""

    def cut(span: Span) -> list[tuple[int, list[Row]]]:
        file, first, stop = span
        found = []
        for _, stored in file.iter_rows(COLUMNS, start=first, stop=stop):
            record = decode_record(stored, need_image=True)
            if size is not None:
                record = resize_record(record, *size)
            found.append((record.label.size, list(segment_rows(record, space, least_area))))
        return found

    return cut


def segment_rows(record: Record, space: LabelSpace, least_area: float) -> Iterator[Row]:
    """The rows of a record's segments, all columns but `segment_id`.

    Raises `InputError`, which names the record, for ids beyond the classes.
    """
    try:
        channels = class_channels(record.label, space)
    except InputError as error:
        raise InputError(f"record '{record.id}': {error}") from None
    assert record.image is not None
    kind = np.dtype(np.uint8 if space.class_channels <= 256 else np.uint16)
    context = coarse_labels(channels, kind).tobytes()
    for segment in cut_segments(channels, record.instance, classes=len(space.classes), least_area=least_area):
        yield {**_describe(record, segment), "context": context}


def _describe(record: Record, segment: Instance) -> dict[str, Any]:
    assert record.image is not None
    frame_height, frame_width = record.label.shape
    height, width = segment.mask.shape
    box = np.s_[segment.top : segment.top + height, segment.left : segment.left + width]
    picture = record.image[box] * segment.mask[..., None]
    pixels = picture[segment.mask].astype(np.float64)
    colours = [*pixels.mean(axis=0).tolist(), *pixels.std(axis=0).tolist()]
    mask = in_frame(segment.mask, segment.top, segment.left, frame_height, frame_width)
    return {
        "picture_id": record.id,
        "class": segment.label,
        "frame_height": frame_height,
        "frame_width": frame_width,
        "top": segment.top,
        "left": segment.left,
        "height": height,
        "width": width,
        "area": int(segment.mask.sum()),
        **dict(zip(COLOURS, colours, strict=True)),
        "coarse": pack_mask(mask).tobytes(),
        "mask": {"bytes": encode_png(segment.mask.astype(np.uint8) * 255), "path": None},
        "picture": {"bytes": encode_png(picture), "path": None},
    }
