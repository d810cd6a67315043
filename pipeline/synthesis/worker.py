"""One shard of a batch job, from rows to a finished part: read, decode, synthesize and encode at the same time.

    reader thread -> decoder threads -> synthesis (the caller's thread) -> encoder threads -> writer

Every arrow holds a few rows at most, so memory does not grow with the shard. Pillow's codecs, pyarrow and torch
release the interpreter's lock, so threads suffice, and a picture never crosses a process boundary. Rows come out
in the order in which they went in.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.config import LARGEST_PIXELS, RegionStyles
from pipeline.data.encoders import ENCODERS, PictureFormat
from pipeline.data.images import Palette, encode_png, is_plain
from pipeline.data.input_digest import InputDigest
from pipeline.data.parquet import ParquetFile
from pipeline.data.provenance import Provenance
from pipeline.data.records import PICTURE, DatasetInfo, RecordWriter, decode_record, picture_bytes, resize_record
from pipeline.data.sample_counts import sample_count
from pipeline.data.shards import Columns, Shard, generated_id, iter_shard
from pipeline.errors import InputError
from pipeline.networks.label_input import LabelInput
from pipeline.precision import Precision
from pipeline.runtime.memory import keep_freed_memory
from pipeline.runtime.stages import StageClock, in_order
from pipeline.segments.paste import OwnPictures
from pipeline.segments.pasting import paste_record
from pipeline.synthesis.job_folder import JobFolder
from pipeline.synthesis.job_lock import worker_lock
from pipeline.synthesis.job_records import Reject, ShardRecord
from pipeline.synthesis.styles import Sample, StyleChoice, StyleSource
from pipeline.synthesis.synthesizer import Rounding, Synthesizer

OUTPUT_FIELDS = (
    pa.field("id", pa.string()),
    pa.field("sample", pa.int32()),
    pa.field("image", PICTURE),
    pa.field("label", PICTURE),
    pa.field("instance", PICTURE),
    pa.field("seed", pa.int64()),
    pa.field("checkpoint", pa.string()),
    pa.field("sources", pa.string()),
)
"""Columns of a part; `instance` only where the input has one, `sources` where pieces of photographs are pasted."""

READ_ROWS = 16
AHEAD = 8
"""Decoded rows waiting for synthesis, and pictures waiting to be written."""
REPORT_IMAGES = 8
REPORTS = 32
"""Images between two reports, and reports of a shard that has more of them: often enough for a display, seldom enough
for a driver with a thousand workers, and the same at every repetition."""

StoredRow = tuple[int, dict[str, Any], Any]
"""A row's position in its file, its cells, and the cell of another row's photograph where styles come from there."""


@dataclass(frozen=True)
class WorkOrder:
    """All that a worker needs to know; it pickles."""

    output: str
    checkpoint: str
    """As `--checkpoint` names it, with an absolute path."""
    checkpoint_sha256: str
    """Written into every row, and compared, to notice when the checkpoint changes under the job."""
    columns: Columns
    info: DatasetInfo
    """Written into every part."""
    seed: int = 0
    samples: int = 1
    """Of each label map, unless `columns.samples` says how many."""
    max_rejects: int = 0
    """In one shard: with more of them the job is lost, and the shard is not finished."""
    palette: Palette | None = None
    """Colours of RGB label maps and the ids they stand for."""
    keep_size: bool = False
    picture_format: PictureFormat = "png"
    provenance: bool = True
    """Whether each picture carries where it comes from; jobs that earlier versions began have none."""
    style: StyleChoice = field(default_factory=StyleChoice)
    region_styles: RegionStyles | None = None
    """What has a style of its own; None: what had one in training."""
    bank: str | None = None
    """The memory bank of a generator that pastes from one."""
    bank_digest: str | None = None
    """What it was when the job began."""
    own_pictures: OwnPictures = "refuse"
    precision: Precision = "fp32"
    rounding: Rounding = "nearest"
    engine: str | None = None
    """Folder of a compiled generator; None: the eager one."""
    engine_name: str | None = None
    """What it was when the job began."""
    device: str = "cpu"
    threads: int | None = 1
    """Of torch in this process; None: as they are."""
    codec_threads: int = 2
    """Decoders, and encoders."""


@dataclass(frozen=True)
class Report:
    """What a worker says while it works; counts are of this shard so far."""

    shard: int
    rows: int
    images: int
    rejects: tuple[Reject, ...] = ()
    """Since the last report."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Per stage so far, summed over its threads; `wait` is the generator without anything to do."""
    record: ShardRecord | None = None
    """In the last report."""


@dataclass(frozen=True)
class DecodedRow:
    """A row that is ready for the generator."""

    id: str
    label_input: LabelInput
    samples: list[Sample]
    height: int
    width: int
    label: bytes
    instance: bytes | None
    sources: str | None = None
    """Where pasted pieces come from, as JSON."""


@dataclass(frozen=True)
class Synthesized:
    """One picture, not encoded yet."""

    row: DecodedRow
    sample: int
    pixels: np.ndarray
    """uint8 `[height, width, 3]`."""


class TooManyRejects(Exception):
    """More bad rows than the job allows; the report before this names them."""


class ShardWorker:
    """Holds a generator and turns shards into parts; several shards one after another, one at a time."""

    def __init__(self, order: WorkOrder, token: str = "") -> None:
        """`token` is that of the driver's lock (`driver_lock`), under which parts are written.

        Raises `InputError` where the checkpoint or the engine is another one than the job began with.
        """
        keep_freed_memory()
        self._order, self._token = order, token
        self._folder = JobFolder(order.output)
        self._file: ParquetFile | None = None
        self._synthesizer = Synthesizer(
            order.checkpoint,
            device=order.device,
            threads=order.threads,
            precision=order.precision,
            rounding=order.rounding,
            engine=order.engine,
            region_styles=order.region_styles,
            one_by_one=order.columns.samples is not None,
            bank=order.bank,
            own_pictures=order.own_pictures,
        )
        if self._synthesizer.checkpoint_sha256 != order.checkpoint_sha256:
            raise InputError(f"checkpoint {order.checkpoint} changed after the job began; start it again")
        if self._synthesizer.engine != order.engine_name:
            raise InputError(f"engine {order.engine} changed after the job began; start it again")
        self._paster = self._synthesizer.paster
        if self._paster is not None and self._paster.bank.digest != order.bank_digest:
            raise InputError(f"memory bank {order.bank} changed after the job began; start it again")
        self._styles = StyleSource(order.style, self._synthesizer, seed=order.seed)
        absent = {"instance": not order.columns.instance, "sources": self._paster is None}
        self._fields = [column for column in OUTPUT_FIELDS if not absent.get(column.name)]
        self._encode_picture = ENCODERS[order.picture_format]
        self._xmp = Provenance(order.checkpoint_sha256, order.seed).packet() if order.provenance else None

    def run(self, shard: Shard) -> Iterator[Report]:
        """Make and publish a shard's part, reporting on the way; the last report carries the shard's record.

        Raises `TooManyRejects` (after reporting them) and `InputError` (for a damaged file).
        """
        if self._file is not None and self._file == shard.file:
            shard = replace(shard, file=self._file)  # whose footer is read already
        self._file = shard.file
        step = max(REPORT_IMAGES, shard.images // REPORTS)
        clock = StageClock()
        digest = InputDigest(self._order.columns)
        rows = images = 0
        rejects: list[Reject] = []
        reported = told = 0
        with worker_lock(self._folder, self._token), self._folder.scratch(shard) as part:
            with (
                ExitStack() as threads,
                RecordWriter(part, self._order.info, self._fields, key=("id", "sample")) as writer,
            ):
                for result in self._pipeline(shard, digest, clock, threads):
                    if result is None:
                        rows += 1
                    elif isinstance(result, Reject):
                        rejects.append(result)
                        rows += 1
                    else:
                        with clock("write"):
                            writer.write(result)
                        images += 1
                    # The first picture at once: whoever looks on knows that it works.
                    if images - reported >= (step if reported else 1) or len(rejects) > told:
                        yield Report(shard.index, rows, images, tuple(rejects[told:]), dict(clock.seconds))
                        reported, told = images, len(rejects)
                    if len(rejects) > self._order.max_rejects:
                        raise TooManyRejects
            assert rows == shard.rows, f"{rows} of {shard.rows} rows came out of {shard.name}"
            with clock("write"):
                record = self._folder.publish(
                    shard,
                    part,
                    images,
                    tuple(rejects),
                    input_sha256=digest.hexdigest(),
                    input_stamp=shard.file.stamp,
                )
        yield Report(shard.index, rows, images, tuple(rejects[told:]), dict(clock.seconds), record)

    def _pipeline(
        self, shard: Shard, digest: InputDigest, clock: StageClock, threads: ExitStack
    ) -> Iterator[dict[str, Any] | Reject | None]:
        """Rows of the part, None after the last one of each label map, and rejects, in the order of the input.

        Each stage pulls on the one before it.
        """
        count = self._order.codec_threads
        reader, decoders, encoders = (threads.enter_context(ThreadPoolExecutor(size)) for size in (1, count, count))

        batches = self._batches(shard, digest)
        read = in_order(reader, clock.timed("read", lambda _: next(batches, [])), itertools.repeat(None), ahead=2)
        rows: Iterator[StoredRow] = itertools.chain.from_iterable(itertools.takewhile(bool, read))
        decode = clock.timed("decode", partial(self._decode, shard))
        decoded = in_order(decoders, decode, rows, ahead=AHEAD)
        synthesized = self._synthesize(clock.waiting("wait", decoded), clock)
        return in_order(encoders, clock.timed("encode", self._encode), synthesized, ahead=AHEAD)

    def _batches(self, shard: Shard, digest: InputDigest) -> Iterator[list[StoredRow]]:
        """The rows of a shard, a few at a time."""
        rows = digest.watch(iter_shard(shard, self._order.columns.names(), batch_rows=READ_ROWS))
        others = self._other_photographs(shard) if self._order.style.kind == "other row" else itertools.repeat(None)
        joined = ((row, cells, other) for (row, cells), other in zip(rows, others, strict=False))
        while batch := list(itertools.islice(joined, READ_ROWS)):
            yield batch

    def _other_photographs(self, shard: Shard) -> Iterator[Any]:
        """For each row the photograph of the next row of its file; for the last one, that of the first."""
        column, end = self._order.columns.style, shard.file.rows
        assert column
        parts = [replace(shard, start=shard.start + 1, stop=min(shard.stop + 1, end))]
        if shard.stop == end:
            parts.append(replace(shard, start=0, stop=1))
        for part in parts:
            for _, cells in iter_shard(part, [column], batch_rows=READ_ROWS):
                yield cells[column]

    def _decode(self, shard: Shard, stored: StoredRow) -> DecodedRow | Reject | None:
        """One row to codes, styles and the cells that are passed through; None for one that gets no samples.

        Runs in a decoder thread.
        """
        row, cells, other = stored
        columns = self._order.columns
        samples = self._order.samples if columns.samples is None else 0
        name = generated_id(shard.file, row) if columns.id is None else cells[columns.id]
        name = None if name is None else str(name)
        try:
            if columns.samples is not None:
                samples = sample_count(cells[columns.samples])
            if not name:
                raise InputError("has no id")
            if row in shard.duplicates:
                raise InputError(f"has the id of {shard.duplicates[row]}; ids must be unique")
            if not samples:
                return None
            instance = None if columns.instance is None else cells[columns.instance]
            cells = {**cells, "id": name, "label": cells[columns.label], "instance": instance}
            record = decode_record(cells, palette=self._order.palette)
            given = record.label.shape
            if not self._order.keep_size:
                record = resize_record(record, *self._synthesizer.size)
            elif record.label.size > LARGEST_PIXELS:
                raise InputError(f"label map is {given[1]}x{given[0]}, too large for one picture; cut it up")
            seen, pasted = record, None
            if self._paster is not None:
                pasted = paste_record(self._paster, record.label, record.instance, record=name, seed=self._order.seed)
                seen = replace(record, label=pasted.label, instance=pasted.instance)
            codes = self._synthesizer.recipe.encode(seen.label, seen.instance)
            own = None if columns.style is None else cells[columns.style]
            photograph = picture_bytes(other if self._order.style.kind == "other row" else own)
            label_input = self._synthesizer.prepare(codes, None if pasted is None else pasted.canvas)
            height, width = record.label.shape
            changed = (height, width) != given
            return DecodedRow(
                id=name,
                label_input=label_input,
                samples=self._styles.samples(name, photograph, samples, label_input.region_count),
                height=height,
                width=width,
                label=_cell(record.label, cells["label"], changed or self._order.palette is not None),
                instance=None if record.instance is None else _cell(record.instance, cells["instance"], changed),
                sources=None if self._paster is None or pasted is None else self._paster.describe(pasted),
            )
        except InputError as error:
            reason = str(error).removeprefix(f"record '{name}': ")
            return Reject(name, shard.file.name, row, reason, None if columns.samples is None else samples)

    def _synthesize(
        self, decoded: Iterable[DecodedRow | Reject | None], clock: StageClock
    ) -> Iterator[Synthesized | Reject | None]:
        for row in decoded:
            if isinstance(row, DecodedRow):
                pictures = self._synthesizer.synthesize(row.label_input, row.samples, (row.height, row.width))
                for sample, pixels in enumerate(clock.waiting("synthesize", pictures)):
                    yield Synthesized(row, sample, pixels)
            yield row if isinstance(row, Reject) else None

    def _encode(self, synthesized: Synthesized | Reject | None) -> dict[str, Any] | Reject | None:
        """A picture to a row of the part; runs in an encoder thread."""
        if not isinstance(synthesized, Synthesized):
            return synthesized
        row = {
            "id": synthesized.row.id,
            "sample": synthesized.sample,
            "image": self._encode_picture(synthesized.pixels, xmp=self._xmp),
            "label": synthesized.row.label,
            "seed": self._order.seed,
            "checkpoint": self._order.checkpoint_sha256,
        }
        if self._paster is not None:
            row["sources"] = synthesized.row.sources
        return {**row, "instance": synthesized.row.instance} if self._order.columns.instance else row


def _cell(array: np.ndarray, stored: Any, changed: bool) -> bytes:
    """A label or instance map for the output: its own bytes if any reader finds the same ids there, else new ones."""
    data = picture_bytes(stored)
    assert data is not None
    return encode_png(array) if changed or not is_plain(data, array) else data
