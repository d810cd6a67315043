"""Label maps to time and check generators with: the first of a Parquet file, or landscapes."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from pipeline.config import Recipe
from pipeline.data.records import check_columns, decode_record, iter_rows, resize_record
from pipeline.data.schema import Record
from pipeline.errors import InputError


def sample_codes(
    recipe: Recipe,
    source: Path | None = None,
    *,
    count: int,
    size: tuple[int, int] | None = None,
    noise: bool = False,
    share_classes: bool = False,
) -> np.ndarray:
    """Codes int32 `[count, H, W]` of label maps; `size` is (height, width), by default the recipe's.

    With `noise` they are random pixels, the worst case for patterns. Without a `source` they are landscapes; with
    `share_classes` also of a label space with fewer classes, which those of landscapes then share (id modulo classes):
    the boundaries, which decide how many windows are distinct, are those of scenes all the same.

    Raises `InputError` where there are too few classes for landscapes, or too few label maps in the file.
    """
    height, width = size or (recipe.data.height, recipe.data.width)
    space = recipe.labels
    if noise:
        random = np.random.default_rng(0)
        classes = random.integers(space.class_channels, size=(count, height, width))
        edges = random.integers(2, size=classes.shape) if space.instance_edges else 0
        return (1 + 2 * classes + edges).astype(np.int32)
    records = sample_records(recipe, source, count=count, size=(height, width), share_classes=share_classes)
    return np.stack([recipe.encode(record.label, record.instance) for record in records])


def sample_records(
    recipe: Recipe,
    source: Path | None = None,
    *,
    count: int,
    size: tuple[int, int] | None = None,
    share_classes: bool = False,
) -> list[Record]:
    """The records, without photographs, whose codes `sample_codes` gives; with `InputError` as there."""
    height, width = size or (recipe.data.height, recipe.data.width)
    space = recipe.labels
    if source is None:
        from pipeline.datasets.landscape.dataset import SPACE, draw_scene  # late: a renderer that few need

        few = space.class_channels < len(SPACE.classes)
        if few and not share_classes:
            raise InputError(
                f"landscapes have {len(SPACE.classes)} classes, recipe '{recipe.name}' has {space.class_channels}; "
                "give label maps with --input"
            )
        scenes = [draw_scene(0, index, height, width).record for index in range(count)]
        labels = [scene.label % len(space.classes) if few else scene.label for scene in scenes]
        return [replace(scene, label=label, image=None) for label, scene in zip(labels, scenes, strict=True)]
    check_columns(source, ["label"])
    rows = islice(iter_rows(source), count)
    records = [resize_record(decode_record({**row, "image": None}), height, width) for row in rows]
    if len(records) < count:
        raise InputError(f"{source} has {len(records)} label maps, {count} are needed (see --maps)")
    return records
