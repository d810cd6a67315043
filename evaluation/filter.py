"""Synthesized pictures picked by their scores, and regions of them, as training data of known quality."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from evaluation.scoring.image_scores import PICTURES, SCHEMA
from pipeline.data.atomic import publish, sync, temporary_name, write_atomic
from pipeline.data.records import check_columns, count_rows, parquet_files
from pipeline.data.shards import fingerprint
from pipeline.errors import InputError

if TYPE_CHECKING:
    from evaluation.regions import RegionFilter, RegionSettings, RegionSummary

BATCH_ROWS = 64


@dataclass(frozen=True)
class Kept:
    """What a filter kept."""

    pictures: int
    of: int
    regions: RegionSummary | None = None
    """What became don't-care in the pictures that were kept."""


def filter_pictures(
    images: Path,
    scores: Path | None,
    out: Path,
    *,
    min_accuracy: float | None = None,
    min_mean_iou: float | None = None,
    max_feature_distance: float | None = None,
    regions: RegionSettings | None = None,
) -> Kept:
    """Copy the pictures in `images` whose row in `scores` passes every limit to the new folder `out`.

    Files keep their names, rows their bytes and metadata. A picture without a score, or with an undefined one under a
    limit, is left out; without limits, all are kept and `scores` is not read. With `regions`, a column `label_trusted`
    is added in which doubtful pixels are don't-care (`evaluation/regions.py`), the label space in the metadata has a
    don't-care id, and `regions.json` beside the files says what became of each class.

    Raises `InputError` where a file is missing or of another kind, the scores are those of other pictures (or of these
    before an earlier filter), there is nothing to filter by, `out` exists, or nothing is kept.
    """
    limits = _limits(min_accuracy, min_mean_iou, max_feature_distance)
    if not limits and regions is None:
        raise InputError("give a limit (min_accuracy, min_mean_iou or max_feature_distance) or regions")
    check_columns(images, ("id", "image"))
    passing = None
    if limits:
        if scores is None:
            raise InputError("limits are on the scores of `evaluate`; give its scores.parquet")
        passing = _passing(scores, limits)
        _check_scored(images, scores)
    if out.exists():
        raise InputError(f"{out} exists already; choose another folder")
    found = None
    if regions is not None:
        from evaluation.regions import REPORT, RegionFilter

        found = RegionFilter(images, regions)
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(out)
    shutil.rmtree(temporary, ignore_errors=True)  # of a killed process that had our number
    kept = 0
    try:
        temporary.mkdir()
        with tqdm(total=count_rows(images), desc="filter", unit="image") as bar:
            for file in parquet_files(images):
                kept += _copy(file, temporary / file.name, passing, found, bar)
        if not kept:
            raise InputError(f"no picture in {images} passes these limits; loosen them (see the scores in {scores})")
        if found is not None:
            write_atomic(temporary / REPORT, found.report())
        publish(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Kept(kept, count_rows(images), None if found is None else found.summary())


def _check_scored(images: Path, scores: Path) -> None:
    """Refuse pictures of other files than those that were scored: ids alone are the same for every checkpoint."""
    scored = (pq.read_schema(scores).metadata or {}).get(PICTURES.encode())
    if scored is None:
        raise InputError(f"{scores} does not say which pictures it scored; evaluate them again")
    known = json.loads(scored)
    for file in parquet_files(images):
        if fingerprint(str(file), pq.read_metadata(file)) not in known:
            raise InputError(f"{scores} has the scores of other pictures than those in {file}; evaluate these first")


def _limits(
    min_accuracy: float | None, min_mean_iou: float | None, max_feature_distance: float | None
) -> list[pc.Expression]:
    """The conditions on the columns of scores."""
    return [
        pc.field(name) >= limit if at_least else pc.field(name) <= limit
        for name, limit, at_least in (
            ("accuracy", min_accuracy, True),
            ("mean_iou", min_mean_iou, True),
            ("feature_distance", max_feature_distance, False),
        )
        if limit is not None
    ]


def _passing(scores: Path, limits: list[pc.Expression]) -> set[tuple[str, int]]:
    """Id and sample of the pictures within every limit."""
    check_columns(scores, SCHEMA.names)
    table = pq.read_table(scores)
    for limit in limits:
        table = table.filter(limit)
    return set(zip(table["id"].to_pylist(), table["sample"].to_pylist(), strict=True))


def _copy(
    source: Path, target: Path, passing: set[tuple[str, int]] | None, regions: RegionFilter | None, bar: tqdm
) -> int:
    """The passing rows of one file (None: all), with trusted labels where asked for; no file where there are none."""
    kept = 0
    with pq.ParquetFile(source) as parquet:
        schema = parquet.schema_arrow if regions is None else regions.schema(parquet.schema_arrow)
        with pq.ParquetWriter(target, schema, compression="none") as writer:
            for batch in parquet.iter_batches(batch_size=BATCH_ROWS):
                rows = batch if passing is None else batch.filter(_chosen(batch, passing))
                if rows.num_rows:
                    writer.write_batch(rows if regions is None else regions.rows(rows, schema))
                kept += rows.num_rows
                bar.update(batch.num_rows)
    if kept:
        sync(target)
    else:
        target.unlink()
    return kept


def _chosen(batch: pa.RecordBatch, passing: set[tuple[str, int]]) -> pa.Array:
    names = batch.column("id").to_pylist()
    samples = batch.column("sample").to_pylist() if "sample" in batch.schema.names else [0] * len(names)
    return pa.array([key in passing for key in zip(names, samples, strict=True)])
