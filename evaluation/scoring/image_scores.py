"""Scores of single pictures: `scores.parquet`, by which synthetic training data can be filtered for quality."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from evaluation.scoring.image_results import ImageResults
from evaluation.scoring.protocols import Protocol
from evaluation.scoring.textures import picture_distances
from pipeline.data.atomic import atomic_path

FILE_NAME = "scores.parquet"
PICTURES = "spadework.pictures"
"""Key in the file's metadata: JSON, the fingerprints of the files of pictures that were scored."""

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("sample", pa.int32()),
        pa.field("accuracy", pa.float64()),
        pa.field("mean_iou", pa.float64()),
        pa.field("worst_class", pa.string()),
        pa.field("worst_iou", pa.float64()),
        pa.field("feature_distance", pa.float64()),
        pa.field("texture_distance", pa.float64()),
    ]
)
"""`accuracy` is that of known pixels; `mean_iou` is the mean over the classes in the picture's label map, which is no
part of the data set's mean IoU; `feature_distance` is Euclidean, on the segmenter's features, to the photograph of the
same label map, and `texture_distance` (`picture_distances`) is from that photograph's texture. Undefined figures are
null."""


def picture_scores(generated: ImageResults, real: ImageResults, protocol: Protocol, classes: Sequence[str]) -> pa.Table:
    """One row a picture, in the order of the image results."""
    photographs = {name: real.features[row] for row, name in enumerate(real.ids.tolist())}
    confusions = generated.confusions[protocol.name]
    textures = picture_distances(generated, real).tolist()
    rows = []
    for index, (name, sample) in enumerate(zip(generated.ids.tolist(), generated.samples.tolist(), strict=True)):
        matrix = confusions.matrix(index)
        iou = np.where(matrix.target_pixels > 0, matrix.class_iou(), np.nan)
        worst = None if np.isnan(iou).all() else int(np.nanargmin(iou))
        distance = float(np.linalg.norm(generated.features[index] - photographs[name])) if name in photographs else None
        rows.append(
            {
                "id": name,
                "sample": sample,
                "accuracy": _defined(matrix.accuracy()),
                "mean_iou": _defined(matrix.mean_iou("present")),
                "worst_class": None if worst is None else classes[worst],
                "worst_iou": None if worst is None else float(iou[worst]),
                "feature_distance": distance,
                "texture_distance": _defined(textures[index]),
            }
        )
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def write_table(path: Path, table: pa.Table) -> None:
    """Write a Parquet file, atomically."""
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else value
