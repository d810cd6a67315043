"""A worker that makes parts without a generator: real names, ids, records and reports around one picture."""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data.encoders import ENCODERS
from pipeline.data.images import encode_png
from pipeline.data.provenance import Provenance
from pipeline.data.records import PICTURE
from pipeline.data.schema import METADATA_KEY
from pipeline.data.shards import Shard
from pipeline.synthesis.job_folder import JobFolder
from pipeline.synthesis.job_lock import worker_lock
from pipeline.synthesis.worker import OUTPUT_FIELDS, REPORT_IMAGES, REPORTS, Report, WorkOrder

SIDE = 4
LABEL = encode_png(np.zeros((SIDE, SIDE), np.uint8))
KILL_AFTER = "SPADEWORK_SCALE_KILL_AFTER"
"""In the environment: after so many shards the process is killed."""


class StandInWorker:
    """In the place of `ShardWorker`: the rows of a shard become a part as they would, all with the same picture."""

    def __init__(self, order: WorkOrder, token: str = "") -> None:
        self._order, self._token, self._folder = order, token, JobFolder(order.output)
        packet = Provenance(order.checkpoint_sha256, order.seed).packet()
        self._image = ENCODERS["png"](np.full((SIDE, SIDE, 3), 128, np.uint8), xmp=packet)
        fields = [column for column in OUTPUT_FIELDS if column.name not in ("instance", "sources")]
        self._schema = pa.schema(fields, metadata={METADATA_KEY: order.info.to_json().encode()})
        self._left = int(os.environ.get(KILL_AFTER, "-1"))

    def run(self, shard: Shard) -> Iterator[Report]:
        """Reports as often as those of a real worker, with the times of its stages."""
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self._left -= 1
        step = max(REPORT_IMAGES, shard.images // REPORTS)
        for done in range(step, shard.images, step):
            yield Report(shard.index, done, done, (), _stages(done))
        with worker_lock(self._folder, self._token), self._folder.scratch(shard) as part:
            pq.write_table(self._table(shard), part)
            record = self._folder.publish(
                shard, part, shard.images, (), input_sha256="0" * 64, input_stamp=shard.file.stamp
            )
        yield Report(shard.index, shard.rows, shard.images, (), _stages(shard.images), record)

    def _table(self, shard: Shard) -> pa.Table:
        assert self._order.columns.id
        found = [batch for _, batch in shard.file.batches([self._order.columns.id], start=shard.start, stop=shard.stop)]
        count = shard.rows
        values = {
            "id": pa.Table.from_batches(found).column(0).combine_chunks(),
            "sample": pa.array(np.zeros(count, np.int32)),
            "image": _pictures(self._image, count),
            "label": _pictures(LABEL, count),
            "seed": pa.array(np.full(count, self._order.seed)),
            "checkpoint": pa.array([self._order.checkpoint_sha256] * count),
        }
        return pa.table(values, schema=self._schema)


class StandInActor:
    """The same in the place of an actor of Ray's pool."""

    def __init__(self, order: WorkOrder, token: str) -> None:
        self._worker = StandInWorker(order, token)

    def __call__(self, batch: Any) -> Iterator[dict[str, list[bytes]]]:
        for shard in batch["shard"].to_pylist():
            for report in self._worker.run(pickle.loads(shard)):
                yield {"message": [pickle.dumps(report)]}


def _pictures(data: bytes, count: int) -> pa.Array:
    return pa.array([{"bytes": data, "path": None}], PICTURE).take(pa.array(np.zeros(count, np.int64)))


def _stages(images: int) -> dict[str, float]:
    return dict.fromkeys(("decode", "encode", "read", "synthesize", "wait", "write"), images * 0.01)
