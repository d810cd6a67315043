"""A tiny data set of coloured shapes, which any network tells apart, and recipes and files made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.config import Recipe
from pipeline.data.records import PICTURE, DatasetInfo, Record, RecordWriter
from pipeline.labels import LabelSpace
from pipeline.recipe_file import parse_recipe

SPACE = LabelSpace(
    classes=("ground", "wall", "lamp"), palette=((40, 140, 60), (150, 60, 60), (250, 220, 60)), dont_care=255
)
SIZE = 32


def draw(index: int, size: int = SIZE) -> Record:
    """A wall above the ground, a lamp before them, noise over all of it, and a strip of void at the left."""
    random = np.random.default_rng(index)
    label = np.zeros((size, size), np.uint8)
    label[: random.integers(size // 4, 3 * size // 4)] = 1
    row, column = random.integers(0, size // 2, 2)
    label[row : row + size // 3, column : column + size // 3] = 2
    colours = np.array(SPACE.palette)[label] + random.normal(0, 12, (size, size, 3))
    label[:, :2] = 255
    return Record(f"scene-{index:03d}", label, None, colours.round().clip(0, 255).astype(np.uint8))


def write_records(path: Path, records: list[Record], space: LabelSpace = SPACE) -> Path:
    """A data set file, as `prepare` makes them."""
    with RecordWriter(path, DatasetInfo(space)) as writer:
        for record in records:
            writer.write({"id": record.id, "label": record.label, "image": record.image})
    return path


def make_recipe(folder: Path, **segmenter: Any) -> Recipe:
    """A recipe for the data in `folder`."""
    settings = {"backbone": "mobilenet_v3_large", "steps": 4, "batch_size": 4, **segmenter}
    return parse_recipe(
        {
            "name": "shapes",
            "labels": SPACE.model_dump(mode="json"),
            "data": {
                "train": str(folder / "train.parquet"),
                "validation": str(folder / "validation.parquet"),
                "height": SIZE,
                "width": SIZE,
            },
            "training": {"steps": 1},
            "segmenter": settings,
        },
        source="test",
    )


@contextmanager
def stopped_at_step(number: int) -> Iterator[None]:
    """A block whose segmenters' trainings are stopped in their so-many-th step, all steps counted together."""
    from evaluation.segmenters.training import train as training

    loss, calls = training._loss, []

    def stops(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == number:
            raise KeyboardInterrupt
        return loss(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "_loss", stops)
        with pytest.raises(KeyboardInterrupt):
            yield


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.parquet (12 records) and validation.parquet (6)."""
    folder = tmp_path_factory.mktemp("data")
    write_records(folder / "train.parquet", [draw(index) for index in range(12)])
    write_records(folder / "validation.parquet", [draw(index) for index in range(100, 106)])
    return folder


PICTURE_FIELDS = (
    pa.field("id", pa.string()),
    pa.field("sample", pa.int32()),
    pa.field("image", PICTURE),
    pa.field("label", PICTURE),
)


def write_pictures(
    folder: Path,
    records: list[Record],
    synthesize: Callable[[Record, int], np.ndarray],
    *,
    samples: int = 1,
    parts: int = 2,
    space: LabelSpace = SPACE,
) -> Path:
    """What `synthesize` writes: parts with `samples` pictures of each record, drawn by `synthesize(record, sample)`."""
    info = DatasetInfo(space, {"synthesis": {"checkpoint": "c0ffee", "seed": 3}})
    for part in range(parts):
        path = folder / f"part-{part:05d}.parquet"
        with RecordWriter(path, info, PICTURE_FIELDS, key=("id", "sample")) as writer:
            for record in records[part::parts]:
                for sample in range(samples):
                    image = synthesize(record, sample)
                    writer.write({"id": record.id, "sample": sample, "image": image, "label": record.label})
    return folder


def photograph(record: Record, sample: int) -> np.ndarray:
    """A perfect synthesis: the photograph itself."""
    assert record.image is not None
    return record.image


def noise(record: Record, sample: int) -> np.ndarray:
    """A hopeless one."""
    random = np.random.default_rng([sample, *record.id.encode()])
    return random.integers(0, 256, (*record.label.shape, 3), np.uint8)


@pytest.fixture(scope="session")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a segmenter that knows the shapes well enough to tell pictures from noise."""
    from evaluation.segmenters.training.train import train_segmenter

    out = tmp_path_factory.mktemp("trained")
    train_segmenter(make_recipe(data, steps=40, trunk="early", enlarge=2, learning_rate=3e-3), out)
    return out
