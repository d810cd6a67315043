"""Styles that a checkpoint of landscapes has by itself: one for each lighting of the data set."""

from __future__ import annotations

from functools import lru_cache

from pipeline.data.images import encode_png
from pipeline.labels import LabelSpace

SCENE = 3
"""Of the scenes of seed 0: a meadow with much sky, in which any light shows."""


def mood_photographs(space: LabelSpace, size: tuple[int, int]) -> dict[str, bytes]:
    """The same landscape in every lighting, as PNG, by the lighting's name; none for other label spaces."""
    from pipeline.label_sets import LABEL_SETS

    return dict(_photographs(*size)) if space.classes == LABEL_SETS["landscape"].classes else {}


@lru_cache(maxsize=4)
def _photographs(height: int, width: int) -> tuple[tuple[str, bytes], ...]:
    from pipeline.datasets.landscape.dataset import draw_scene
    from pipeline.datasets.landscape.lighting import LIGHTINGS

    drawn = []
    for lighting in LIGHTINGS:
        image = draw_scene(0, SCENE, max(height, 64), max(width, 64), lighting=lighting.name).record.image
        assert image is not None
        drawn.append((lighting.name, encode_png(image, compress_level=1)))
    return tuple(drawn)
