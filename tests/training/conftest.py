"""A tiny data set and recipe for the tests of training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import Recipe
from pipeline.data.records import DatasetInfo, RecordWriter
from pipeline.labels import LabelSpace
from pipeline.recipe_file import parse_recipe

SPACE = LabelSpace(classes=("sky", "sea", "sand"), dont_care=255, instance_edges=True)


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten records of 40x36 with a don't-care border; the picture's colours follow the label."""
    path = tmp_path_factory.mktemp("data") / "tiny.parquet"
    rng = np.random.default_rng(0)
    with RecordWriter(path, DatasetInfo(SPACE)) as writer:
        for index in range(10):
            label = np.repeat(np.repeat(rng.integers(3, size=(5, 4)), 8, 0), 9, 1).astype(np.uint8)
            image = np.asarray([[90, 160, 230], [20, 70, 160], [220, 200, 130]])[label]
            image = (image + rng.normal(0, 8, image.shape)).clip(0, 255).astype(np.uint8)
            label[4:6] = 255
            writer.write({"id": f"r{index}", "label": label, "instance": label // 2, "image": image})
    return path


@pytest.fixture(scope="session")
def tiny_recipe(tiny_data: Path) -> Callable[..., Recipe]:
    """A recipe of six steps on it; keyword arguments go to its section `training`, but for those that are named."""

    often = {"checkpoint_every": 3, "log_every": 2, "sample_every": 3}

    def make(
        *,
        style_dim: int = 0,
        size: int = 32,
        statistics: str = "sync_batch",
        data: object = None,
        generator: dict[str, object] | None = None,
        discriminator: dict[str, object] | None = None,
        losses: dict[str, object] | None = None,
        **training: object,
    ) -> Recipe:
        spade = {"channels": 2, "hidden": 4, "style_dim": style_dim, "statistics": statistics}
        size_and_data = {"height": size, "width": size, **(data if isinstance(data, dict) else {})}
        fields = {
            "name": "tiny",
            "labels": SPACE.model_dump(mode="json"),
            "data": {"train": str(tiny_data), "validation": str(tiny_data), **size_and_data},
            "generator": generator if "kind" in (generator or {}) else spade | (generator or {}),
            "discriminator": {"channels": 4, "layers": 3, **(discriminator or {})},
            "losses": losses or {},
            "training": {"steps": 6, "batch_size": 4, **often, **training},
        }
        return parse_recipe(fields, source="test")

    return make
