"""A sheet of a job's first pictures beside their label maps, for people."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from pipeline.data.images import decode_image, decode_label, encode_png, resize_image
from pipeline.labels import LabelSpace, colourise
from pipeline.synthesis.job_folder import JobFolder
from pipeline.synthesis.job_records import ShardRecord

PAIRS = 24
COLUMNS = 4
SIDE = 192
"""Pixels of the longer side of a picture on the sheet."""
GAP = 6


def contact_sheet(folder: JobFolder, records: Sequence[ShardRecord], space: LabelSpace) -> bytes | None:
    """The first pictures with their label maps as PNG; None for a job without any picture."""
    pairs: list[np.ndarray] = []
    for record in records:
        if record.rows and len(pairs) < PAIRS:
            pairs += _pairs(folder, record.name, space, PAIRS - len(pairs))
    if not pairs:
        return None
    height = max(pair.shape[0] for pair in pairs)
    width = max(pair.shape[1] for pair in pairs)
    columns = min(COLUMNS, len(pairs))
    rows = -(-len(pairs) // columns)
    sheet = np.full((GAP + rows * (height + GAP), GAP + columns * (width + GAP), 3), 255, np.uint8)
    for index, pair in enumerate(pairs):
        top = GAP + index // columns * (height + GAP)
        left = GAP + index % columns * (width + GAP)
        sheet[top : top + pair.shape[0], left : left + pair.shape[1]] = pair
    return encode_png(sheet)


def _pairs(folder: JobFolder, name: str, space: LabelSpace, count: int) -> list[np.ndarray]:
    with folder.folder.open(name) as file:
        batch = next(pq.ParquetFile(file).iter_batches(batch_size=count, columns=["image", "label"]))
    pairs = []
    for row in batch.to_pylist():
        image = decode_image(row["image"]["bytes"])
        label = colourise(decode_label(row["label"]["bytes"]), space)
        scale = SIDE / max(image.shape[:2])
        height, width = (max(1, round(side * scale)) for side in image.shape[:2])
        shrunk = Image.fromarray(label).resize((width, height), Image.Resampling.NEAREST)
        pairs.append(np.concatenate([np.array(shrunk), resize_image(image, height, width)], axis=1))
    return pairs
