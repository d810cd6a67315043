"""Batches from Ray Data are those of the threads, up to the message about a record that is broken."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import zip_longest
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner

from cli import main
from pipeline.config import Recipe, dump_recipe
from pipeline.errors import InputError
from pipeline.records import DatasetInfo, RecordWriter, encode_png
from training import streaming
from training.data import Examples, TrainingData
from training.distributed import ray_for_training
from training.step import Batch

Make = Callable[..., Recipe]

RECORDS, STEPS, START = 24, 9, 2


@pytest.fixture(scope="module")
def recipe(tiny_recipe: Make, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """Six steps an epoch, in windows of a quarter of the records; one of them, which comes late, is broken."""
    path = tmp_path_factory.mktemp("noise") / "noise.parquet"
    random = np.random.default_rng(0)
    made = tiny_recipe(style_dim=3, data={"window_mib": 1, "preprocess": "none"})
    with RecordWriter(path, DatasetInfo(made.labels)) as writer:
        for index in range(RECORDS):
            image = random.integers(256, size=(240, 240, 3), dtype=np.uint8)
            label = random.integers(3, size=(240, 240), dtype=np.uint8)
            writer.write({"id": f"r{index}", "label": label, "instance": label, "image": image})
    made = made.model_copy(update={"data": made.data.model_copy(update={"train": path})})
    rows = pq.read_table(path).to_pylist()
    pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(path)), path, row_group_size=2)
    (_, broken) = TrainingData(Examples(path, made), rank=1, workers=2).records(START + STEPS - 3)[1]
    rows[broken]["image"] = b"no picture"
    pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(path)), path, row_group_size=2)
    return made
