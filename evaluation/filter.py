"""Synthesized pictures picked by their scores, as training data of known quality."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from evaluation.scoring.image_scores import PICTURES, SCHEMA
from pipeline.data.parquet import ParquetDataset, ParquetFile
from pipeline.data.storage import Folder
from pipeline.errors import InputError


@dataclass(frozen=True)
class Kept:
    """What a filter kept."""

    pictures: int
    of: int


def filter_pictures(
    images: str | Path,
    scores: str | Path,
    out: str | Path,
    *,
    min_accuracy: float | None = None,
    min_mean_iou: float | None = None,
    max_feature_distance: float | None = None,
) -> Kept:
    """Copy the pictures in `images` whose row in `scores` passes every limit to the new folder `out`.

    Each is a local path or a URI. Files keep their names, rows their bytes and metadata. A picture without a score, or
    with an undefined one under a limit, is left out. Raises `InputError` where a file is missing or of another kind,
    the scores are those of other pictures (or of these before an earlier filter), no limit is given, `out` exists, or
    nothing is kept.
    """
    if min_accuracy is None and min_mean_iou is None and max_feature_distance is None:
        raise InputError("give a limit: min_accuracy, min_mean_iou or max_feature_distance")
    pictures = ParquetDataset.open(images)
    pictures.check_columns(("id", "image"))
    table = ParquetDataset.open(scores)
    passing = _passing(table, min_accuracy, min_mean_iou, max_feature_distance)
    _check_scored(pictures, table)
    target = Folder(out)
    if target.exists():
        raise InputError(f"{out} exists already; choose another folder")
    kept = 0
    with target.filled_at_once() as temporary, tqdm(total=pictures.rows, desc="filter", unit="image") as bar:
        for file in pictures.files:
            kept += _copy(file, temporary / file.name, passing, bar)
        if not kept:
            raise InputError(f"no picture in {images} passes these limits; loosen them (see the scores in {scores})")
    return Kept(kept, pictures.rows)


def _check_scored(pictures: ParquetDataset, scores: ParquetDataset) -> None:
    """Refuse pictures of other files than those that were scored: ids alone are the same for every checkpoint."""
    scored = (scores.files[0].schema.metadata or {}).get(PICTURES.encode())
    if scored is None:
        raise InputError(f"{scores.location} does not say which pictures it scored; evaluate them again")
    known = json.loads(scored)
    for file in pictures.files:
        if file.fingerprint not in known:
            raise InputError(
                f"{scores.location} has the scores of other pictures than those in {file}; evaluate these first"
            )


def _passing(
    scores: ParquetDataset, min_accuracy: float | None, min_mean_iou: float | None, max_feature_distance: float | None
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
    scores.check_columns(SCHEMA.names)
    table = pa.concat_tables(file.read(SCHEMA.names) for file in scores.files)
    for limit in limits:
        table = table.filter(limit)
    return set(zip(table["id"].to_pylist(), table["sample"].to_pylist(), strict=True))


def _copy(source: ParquetFile, target: Path, passing: set[tuple[str, int]], bar: tqdm) -> int:
    """The passing rows of one file; no file where there are none."""
    kept = 0
    target.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(target, source.schema, compression="none") as writer:
        for _, batch in source.batches():
            names = batch.column("id").to_pylist()
            samples = batch.column("sample").to_pylist() if "sample" in batch.schema.names else [0] * len(names)
            chosen = pa.array([key in passing for key in zip(names, samples, strict=True)])
            rows = batch.filter(chosen)
            if rows.num_rows:
                writer.write_batch(rows)
            kept += rows.num_rows
            bar.update(len(names))
    if not kept:
        target.unlink()
    return kept
