"""Synthesized pictures picked by their scores, as training data of known quality."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from evaluation.scoring.image_scores import PICTURES
from pipeline.data.records import check_columns, count_rows, parquet_files
from pipeline.data.shards import fingerprint
from pipeline.errors import InputError

BATCH_ROWS = 64
SCORED = ("id", "sample", "accuracy", "mean_iou", "feature_distance")
"""The columns of scores that are read; those of earlier versions have them too."""


@dataclass(frozen=True)
class Kept:
    """What a filter kept."""

    pictures: int
    of: int


def filter_pictures(
    images: Path,
    scores: Path,
    out: Path,
    *,
    min_accuracy: float | None = None,
    min_mean_iou: float | None = None,
    max_feature_distance: float | None = None,
) -> Kept:
    """Copy the pictures in `images` whose row in `scores` passes every limit to the new folder `out`.

    Files keep their names, rows their bytes and metadata. A picture without a score, or with an undefined one under a
    limit, is left out. Raises `InputError` where a file is missing or of another kind, the scores are those of other
    pictures (or of these before an earlier filter), no limit is given, `out` exists, or nothing is kept.
    """
    if min_accuracy is None and min_mean_iou is None and max_feature_distance is None:
        raise InputError("give a limit: min_accuracy, min_mean_iou or max_feature_distance")
    check_columns(images, ("id", "image"))
    passing = _passing(scores, min_accuracy, min_mean_iou, max_feature_distance)
    _check_scored(images, scores)
    if out.exists():
        raise InputError(f"{out} exists already; choose another folder")
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    kept = 0
    try:
        temporary.mkdir(parents=True)
        with tqdm(total=count_rows(images), desc="filter", unit="image") as bar:
            for file in parquet_files(images):
                kept += _copy(file, temporary / file.name, passing, bar)
        if not kept:
            raise InputError(f"no picture in {images} passes these limits; loosen them (see the scores in {scores})")
        temporary.replace(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Kept(kept, count_rows(images))


def _check_scored(images: Path, scores: Path) -> None:
    """Refuse pictures of other files than those that were scored: ids alone are the same for every checkpoint."""
    scored = (pq.read_schema(scores).metadata or {}).get(PICTURES.encode())
    if scored is None:
        raise InputError(f"{scores} does not say which pictures it scored; evaluate them again")
    known = json.loads(scored)
    for file in parquet_files(images):
        if fingerprint(str(file), pq.read_metadata(file)) not in known:
            raise InputError(f"{scores} has the scores of other pictures than those in {file}; evaluate these first")


def _passing(
    scores: Path, min_accuracy: float | None, min_mean_iou: float | None, max_feature_distance: float | None
) -> set[tuple[str, int]]:
    """Id and sample of the pictures within every limit."""
    limits = [
        pc.field(name) >= limit if at_least else pc.field(name) <= limit
        for name, limit, at_least in (
            ("accuracy", min_accuracy, True),
            ("mean_iou", min_mean_iou, True),
            ("feature_distance", max_feature_distance, False),
        )
        if limit is not None
    ]
    check_columns(scores, SCORED)
    table = pq.read_table(scores)
    for limit in limits:
        table = table.filter(limit)
    return set(zip(table["id"].to_pylist(), table["sample"].to_pylist(), strict=True))


def _copy(source: Path, target: Path, passing: set[tuple[str, int]], bar: tqdm) -> int:
    """The passing rows of one file; no file where there are none."""
    kept = 0
    with pq.ParquetFile(source) as parquet:
        schema = parquet.schema_arrow
        with pq.ParquetWriter(target, schema, compression="none") as writer:
            for batch in parquet.iter_batches(batch_size=BATCH_ROWS):
                names = batch.column("id").to_pylist()
                samples = batch.column("sample").to_pylist() if "sample" in schema.names else [0] * len(names)
                chosen = pa.array([key in passing for key in zip(names, samples, strict=True)])
                rows = batch.filter(chosen)
                if rows.num_rows:
                    writer.write_batch(rows)
                kept += rows.num_rows
                bar.update(len(names))
    if not kept:
        target.unlink()
    return kept
