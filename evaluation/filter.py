"""Synthesized pictures picked by their scores, and regions of them, as training data of known quality."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from evaluation.scoring.image_scores import PICTURES
from pipeline.data.atomic import sync, write_atomic
from pipeline.data.parquet import ParquetDataset, ParquetFile
from pipeline.data.storage import Folder
from pipeline.errors import InputError
from pipeline.runtime.json_text import read_json
from pipeline.runtime.progress import ProgressBar
from pipeline.synthesis.card import gather, write_card
from pipeline.synthesis.filtered import seal

if TYPE_CHECKING:
    from evaluation.regions import RegionFilter, RegionSettings, RegionSummary

SCORED = ("id", "sample", "accuracy", "mean_iou", "feature_distance")
"""The columns of scores that are read; those of earlier versions have them too."""


@dataclass(frozen=True)
class Kept:
    """What a filter kept."""

    pictures: int
    of: int
    regions: RegionSummary | None = None
    """What became don't-care in the pictures that were kept."""


def filter_pictures(
    images: str | Path,
    scores: str | Path | None,
    out: str | Path,
    *,
    min_accuracy: float | None = None,
    min_mean_iou: float | None = None,
    max_feature_distance: float | None = None,
    regions: RegionSettings | None = None,
) -> Kept:
    """Copy the pictures in `images` whose row in `scores` passes every limit to the new folder `out`.

    Each is a local path or a URI. Files keep their names, rows their bytes and metadata. A picture without a score, or
    with an undefined one under a limit, is left out; without limits, all are kept and `scores` is not read. With
    `regions`, a column `label_trusted` is added in which doubtful pixels are don't-care (`evaluation/regions.py`), the
    label space in the metadata has a don't-care id, and `regions.json` beside the files says what became of each class.
    A manifest with checksums, and `_SUCCESS`, let `verify` check the set.

    Raises `InputError` where a file is missing or of another kind, the scores are those of other pictures (or of these
    before an earlier filter), there is nothing to filter by, `out` exists, or nothing is kept.
    """
    wanted = {
        "min_accuracy": min_accuracy,
        "min_mean_iou": min_mean_iou,
        "max_feature_distance": max_feature_distance,
    }
    limits = _limits(min_accuracy, min_mean_iou, max_feature_distance)
    if not limits and regions is None:
        raise InputError("give a limit (min_accuracy, min_mean_iou or max_feature_distance) or regions")
    pictures = ParquetDataset.open(images)
    pictures.check_columns(("id", "image"))
    passing = None
    if limits:
        if scores is None:
            raise InputError("limits are on the scores of `evaluate`; give its scores.parquet")
        table = ParquetDataset.open(scores)
        passing = _passing(table, limits)
        _check_scored(pictures, table)
    target = Folder(out)
    if target.exists():
        raise InputError(f"{out} exists already; choose another folder")
    found = None
    if regions is not None:
        from evaluation.regions import REPORT, RegionFilter

        found = RegionFilter(images, regions)
    kept = 0
    with target.filled_at_once() as temporary, ProgressBar(total=pictures.rows, desc="filter", unit="image") as bar:
        for file in pictures.files:
            kept += _copy(file, temporary / file.name, passing, found, bar)
        if not kept:
            raise InputError(f"no picture in {images} passes these limits; loosen them (see the scores in {scores})")
        if found is not None:
            write_atomic(temporary / REPORT, found.report())
        seal(temporary, {"limits": wanted, "regions": regions is not None, "of": pictures.rows})
        pictured = Folder(temporary)
        facts = gather(pictured)
        write_card(pictured, replace(facts, name=f"{facts.name}, filtered"))
    return Kept(kept, pictures.rows, None if found is None else found.summary())


def _check_scored(pictures: ParquetDataset, scores: ParquetDataset) -> None:
    """Refuse pictures of other files than those that were scored: ids alone are the same for every checkpoint."""
    scored = (scores.files[0].schema.metadata or {}).get(PICTURES.encode())
    if scored is None:
        raise InputError(f"{scores.location} does not say which pictures it scored; evaluate them again")
    try:
        known = dict.fromkeys(read_json(scored))
    except (ValueError, TypeError):
        raise InputError(f"{scores.location} has damaged metadata; evaluate the pictures again") from None
    for file in pictures.files:
        if file.fingerprint not in known:
            raise InputError(
                f"{scores.location} has the scores of other pictures than those in {file}; evaluate these first"
            )


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


def _passing(scores: ParquetDataset, limits: list[pc.Expression]) -> set[tuple[str, int]]:
    """Id and sample of the pictures within every limit."""
    scores.check_columns(SCORED)
    table = pa.concat_tables(file.read(SCORED) for file in scores.files)
    for limit in limits:
        table = table.filter(limit)
    return set(zip(table["id"].to_pylist(), table["sample"].to_pylist(), strict=True))


def _copy(
    source: ParquetFile,
    target: Path,
    passing: set[tuple[str, int]] | None,
    regions: RegionFilter | None,
    bar: ProgressBar,
) -> int:
    """The passing rows of one file (None: all), with trusted labels where asked for; no file where there are none."""
    kept = 0
    target.parent.mkdir(parents=True, exist_ok=True)
    schema = source.schema if regions is None else regions.schema(source.schema)
    with pq.ParquetWriter(target, schema, compression="none") as writer:
        for _, batch in source.batches():
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
