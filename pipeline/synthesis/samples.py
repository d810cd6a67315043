"""How many samples each label map should get: more where classes are rare, or where a segmenter does badly."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data.atomic import atomic_path
from pipeline.data.images import decode_label
from pipeline.data.parquet import check_names, holds_pictures
from pipeline.data.records import check_columns, picture_bytes
from pipeline.data.sample_counts import MAX_SAMPLES
from pipeline.data.schema import describe_column
from pipeline.data.shards import Plan, iter_shard, plan_shards
from pipeline.data.storage import filesystem, is_uri, local_path
from pipeline.errors import InputError
from pipeline.labels import LabelSpace, class_channels
from pipeline.runtime.json_text import read_json
from pipeline.runtime.progress import ProgressBar

COLUMN = "samples"
"""The column that a plan adds, for `synthesize --samples-by samples`."""

BATCH_ROWS = 64


@dataclass(frozen=True)
class PlannedSamples:
    """What a plan comes to."""

    path: Path
    space: LabelSpace
    counts: np.ndarray
    """int64 `[rows]`: the samples of each label map, in the order of the input."""
    pixels: np.ndarray
    """int64 `[rows, class_channels]`: pixels of each class in each label map, as stored."""
    targets: dict[int, int]
    """Pixels wanted, by class."""

    def __str__(self) -> str:
        before, planned = self.pixels.sum(axis=0), self.counts @ self.pixels
        names = [*self.space.classes, *(["don't care"] if self.space.dont_care is not None else [])]
        width = max(map(len, names))
        lines = [f"{'class':{width}}  {'pixels before':>15} {'planned':>15} {'share':>9}"]
        for number, name in enumerate(names):
            share = 100 * planned[number] / planned.sum()
            target = self.targets.get(number, 0)
            missed = f"  below the target of {target:,}" if planned[number] < target else ""
            lines.append(f"{name:{width}}  {before[number]:>15,} {planned[number]:>15,} {share:>7.2f} %{missed}")
        rows, samples = len(self.counts), self.counts.sum()
        lines += ["", f"{self.path}: {samples:,} samples of {rows:,} label maps, {self.counts.max()} of one at most"]
        return "\n".join(lines)


def plan_samples(
    source: str | Path,
    out: Path,
    *,
    target_pixels: Sequence[str] = (),
    scores: Path | None = None,
    mean_samples: float = 2.0,
    max_samples: int = 8,
    label_column: str = "label",
    quiet: bool = False,
) -> PlannedSamples:
    """Copy `source` (a Parquet file, folder, pattern or URI of `prepare`) to the file `out`, with a column `samples`.

    Every label map gets one sample, and further ones, up to `max_samples` each, are handed out by D'Hondt's method of
    apportionment: the next one goes to the row with the largest weight for every sample that it would then have, of
    equal rows to the first. So rows get samples in proportion to their weights. There are two ways to weigh:

    - `target_pixels`: a number of pixels for each class, or `class=number` for one of them. From the rarest class to
      the most frequent, samples are handed out by the pixels of the class until all samples together have as many.
      Don't-care has no target.
    - `scores`: by how much a row's loss exceeds the lowest of all, until there are `mean_samples` a row on average.
      The loss is one minus the mean IoU of each map from `scores.parquet` of `evaluate` (of several pictures their
      mean), that of any other Parquet file with columns `id` and `loss`, or from `report.json` of `evaluate` one minus
      the IoU of a class, as the mean over the classes of the map. A row without a defined loss keeps one sample.

    Raises `InputError` for files that cannot be read or are of another data set, label maps that are bad, and options
    that say nothing or exclude each other.
    """
    if bool(target_pixels) == (scores is not None):
        raise InputError("give either --target-pixels or --scores, which say what the rows get their samples for")
    if not 1 <= max_samples <= MAX_SAMPLES:
        raise InputError(f"--max-samples is {max_samples}; give 1 to {MAX_SAMPLES}")
    if not 1 <= mean_samples <= max_samples:
        raise InputError(f"--mean-samples is {mean_samples:g}; give 1 to {max_samples}, which is --max-samples")
    _refuse_out_in_source(source, out)
    plan = plan_shards(source, label_column=label_column)
    if plan.info is None:
        raise InputError(f"{source} has no 'spadework' metadata (class names); make it with the verb prepare")
    space = plan.info.space
    targets = _read_targets(target_pixels, space)
    ids, pixels = _count_pixels(plan, space, quiet=quiet)
    counts = np.ones(len(pixels), np.int64)
    if scores is None:
        for number in sorted(targets, key=lambda number: (pixels[:, number].sum(), number)):
            column = pixels[:, number]
            hand_out(counts, column, gains=column, need=targets[number], most=max_samples)
    else:
        loss = _class_loss(scores, space, pixels) if scores.suffix == ".json" else _map_loss(scores, ids)
        if not np.isfinite(loss).any():
            raise InputError(f"{scores} has no defined score of any label map of {source}")
        excess = np.nan_to_num(loss - np.nanmin(loss))
        if not excess.any():  # All are equally hard.
            excess[:] = 1
        need = round(mean_samples * len(counts))
        hand_out(counts, excess, gains=np.ones_like(counts), need=need, most=max_samples)
    _write(plan, out, counts)
    return PlannedSamples(out, space, counts, pixels, targets)


def hand_out(counts: np.ndarray, weights: np.ndarray, *, gains: np.ndarray, need: int, most: int) -> None:
    """Raise `counts` (int64 `[rows]`, in place) until the gains of all samples are `need`, or no row may get more.

    The next sample goes to the row with the largest weight / (count + 1) below `most` samples, the first of equal ones;
    rows of weight 0 get none.

    >>> counts = np.array([1, 1, 1])
    >>> hand_out(counts, np.array([10, 30, 0]), gains=np.array([10, 30, 0]), need=110, most=8)
    >>> counts.tolist()
    [1, 4, 1]
    """
    have = int(counts @ gains)
    queue = [(-weights[row] / (counts[row] + 1), int(row)) for row in np.flatnonzero(weights > 0) if counts[row] < most]
    heapq.heapify(queue)
    while queue and have < need:
        row = queue[0][1]
        counts[row] += 1
        have += int(gains[row])
        if counts[row] < most:
            heapq.heapreplace(queue, (-weights[row] / (counts[row] + 1), row))
        else:
            heapq.heappop(queue)


def _refuse_out_in_source(source: str | Path, out: Path) -> None:
    """The plan would be read as label maps the next time."""
    if is_uri(source):
        return
    path = local_path(source).resolve()
    if out.resolve() == path or (path.is_dir() and out.resolve().is_relative_to(path)):
        raise InputError(f"--out {out} lies in the input {source}; give a file outside it")
    if out.is_dir():
        raise InputError(f"--out {out} is a folder; give the name of a Parquet file, such as planned.parquet")


def _read_targets(texts: Sequence[str], space: LabelSpace) -> dict[int, int]:
    """Pixels wanted by class, of `number` (all classes) and `class=number`."""
    targets: dict[int, int] = {}
    for text in sorted(texts, key=lambda text: "=" in text):  # Those of a class count more than that of all.
        name, _, number = text.rpartition("=")
        if not re.fullmatch(r"\d{1,18}", number.strip()):
            raise InputError(f"--target-pixels is '{text}'; give a number of pixels such as 200000, or car=200000")
        if name and name not in space.classes:
            raise InputError(f"--target-pixels {text}: no class '{name}'; there are {', '.join(space.classes)}")
        chosen = [space.classes.index(name)] if name else range(len(space.classes))
        targets.update(dict.fromkeys(chosen, int(number)))
    return targets


def _count_pixels(plan: Plan, space: LabelSpace, *, quiet: bool) -> tuple[list[Any], np.ndarray]:
    """The ids (None where there are none) and the pixels, int64 `[rows, class_channels]`, of all label maps."""
    ids: list[Any] = []
    pixels = np.zeros((plan.rows, space.class_channels), np.int64)
    names = [name for name in (plan.columns.id, plan.columns.label) if name]
    rows = ((shard, *row) for shard in plan.shards for row in iter_shard(shard, names))
    for index, (shard, position, cells) in enumerate(ProgressBar(rows, total=plan.rows, unit=" maps", disable=quiet)):
        ids.append(None if plan.columns.id is None else cells[plan.columns.id])
        try:
            data = picture_bytes(cells[plan.columns.label])
            if data is None:
                raise InputError("has no label map")
            channels = class_channels(decode_label(data), space)
        except InputError as error:
            where = f"row {position} of {shard.file.path}" + (f" (id '{ids[-1]}')" if ids[-1] is not None else "")
            raise InputError(f"{where}: {error}") from None
        pixels[index] = np.bincount(channels.ravel(), minlength=space.class_channels)
    return ids, pixels


def _map_loss(scores: Path, ids: Iterable[Any]) -> np.ndarray:
    """float64 `[rows]`: the loss of each label map by its id; NaN where its score is not defined."""
    columns = pq.read_schema(scores).names if scores.is_file() else []
    column = "loss" if "loss" in columns else "mean_iou"
    check_columns(scores, ("id", column))
    found: dict[str, list[float]] = {}
    table = pq.read_table(scores, columns=["id", column])
    for name, value in zip(*(table[part].to_pylist() for part in ("id", column)), strict=True):
        found.setdefault(name, [])
        if value is not None and np.isfinite(value):
            found[name].append(value if column == "loss" else 1.0 - value)
            if found[name][-1] < 0:
                raise InputError(f"{scores}: {column} of '{name}' is {value}; a loss is at least 0, an IoU at most 1")
    losses = []
    for name in ids:
        if name is None or str(name) not in found:
            raise InputError(f"{scores} has no score of the label map '{name}'; evaluate pictures of all label maps")
        losses.append(float(np.mean(found[str(name)])) if found[str(name)] else np.nan)
    return np.array(losses)


def _class_loss(report: Path, space: LabelSpace, pixels: np.ndarray) -> np.ndarray:
    """float64 `[rows]`: the mean over a label map's classes of one minus the IoU that a report of `evaluate` gives."""
    try:
        labels = read_json(report.read_text())["sets"][0]["labels"]
        given = next(iter(labels.values()))["class_iou"]
        iou = np.array([np.nan if given[name] is None else float(given[name]) for name in space.classes])
    except OSError as error:
        raise InputError(f"report {report} cannot be read ({error.strerror}); evaluate writes one") from None
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, StopIteration):
        raise InputError(
            f"{report} is no report of evaluate with these classes; give its report.json or scores.parquet"
        ) from None
    present = (pixels[:, : len(iou)] > 0) & np.isfinite(iou)
    scored = present.sum(axis=1)
    return np.where(scored, present @ (1.0 - np.nan_to_num(iou)) / np.maximum(scored, 1), np.nan)


def _write(plan: Plan, out: Path, counts: np.ndarray) -> None:
    """All columns of the input as they are, and the counts; a column of that name is replaced."""
    position = 0
    with atomic_path(out) as temporary:
        writer: pq.ParquetWriter | None = None
        try:
            for batch, where in _batches(plan):
                part = pa.array(counts[position : position + len(batch)], pa.int32())
                position += len(batch)
                table = pa.Table.from_batches([batch])
                if COLUMN in table.column_names:
                    table = table.drop_columns(COLUMN)
                table = table.append_column(COLUMN, part)
                if writer is None:
                    schema = _with_feature(table.schema)
                    # As `RecordWriter`: pictures are compressed already, and their statistics would fill the footer.
                    plain = [field.name for field in schema if not holds_pictures(field.type)]
                    writer = pq.ParquetWriter(
                        temporary, schema, compression="none", use_dictionary=plain, write_statistics=plain
                    )
                if not table.schema.equals(schema):
                    raise InputError(f"{where} has other columns than {plan.files[0].path}; plan them one by one")
                writer.write_table(table.cast(schema))
        finally:
            if writer is not None:
                writer.close()


def _batches(plan: Plan) -> Iterator[tuple[pa.RecordBatch, str]]:
    for file in plan.files:
        system, inner = filesystem(file.path)
        with pq.ParquetFile(system.open_input_file(inner), buffer_size=1 << 20, pre_buffer=False) as parquet:
            check_names(file.path, parquet.schema_arrow)
            for batch in parquet.iter_batches(batch_size=BATCH_ROWS):
                yield batch, file.path


def _with_feature(schema: pa.Schema) -> pa.Schema:
    """The schema, whose description for Hugging Face `datasets` names the new column too."""
    return schema.with_metadata(describe_column(schema.metadata, COLUMN, {"dtype": "int32", "_type": "Value"}))
