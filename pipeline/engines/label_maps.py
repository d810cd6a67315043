"""The label maps that an engine is tuned for and checked with."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.bench.synthesis import Load, workload_codes
from pipeline.config import Recipe
from pipeline.datasets.landscape.dataset import SPACE, draw_scene
from pipeline.labels import encode


def gate_codes(recipe: Recipe, source: Path | None, *, count: int, size: tuple[int, int]) -> np.ndarray:
    """Codes int32 `[count, H, W]` of the first label maps of a Parquet file, or of landscapes.

    Where the label space has fewer classes than landscapes do, those share them (id modulo classes): the boundaries,
    which decide how many windows are distinct, are those of real scenes all the same.
    """
    space = recipe.labels
    if source is not None or space.class_channels >= len(SPACE.classes):
        return workload_codes(recipe, Load(source=source, maps=count, size=size))
    scenes = [draw_scene(0, index, *size).record for index in range(count)]
    return np.stack([encode(scene.label % len(space.classes), scene.instance, space) for scene in scenes])
