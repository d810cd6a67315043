"""Procedural landscapes: photograph-like scenes with exact label maps, drawn from a seed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.data.records import RECORD_FIELDS, DatasetInfo, Record, encode_png
from pipeline.data.schema import DISPARITY_FIELD
from pipeline.datasets.convert import Converted, Split, Summary, count_pixels, write_dataset
from pipeline.datasets.landscape.canvas import Canvas
from pipeline.datasets.landscape.ground import Ground, paint_ground, road_centre
from pipeline.datasets.landscape.houses import paint_house
from pipeline.datasets.landscape.lighting import LIGHTINGS, Light
from pipeline.datasets.landscape.noise import Noise
from pipeline.datasets.landscape.objects import cast_shadow, paint_rock, paint_tree
from pipeline.datasets.landscape.terrain import (
    CLOUD,
    GRASS,
    SAND,
    SKY,
    SUN,
    paint_forest,
    paint_hills,
    paint_mountains,
    paint_sky,
)
from pipeline.errors import InputError
from pipeline.label_sets import LABEL_SETS

SPACE = LABEL_SETS["landscape"]
"""The classes of the landscapes; trees and houses have instance ids, everything else has 0."""


@dataclass(frozen=True)
class Scene:
    """A record and the lighting that it was lit with."""

    record: Record
    lighting: str


def draw_scene(seed: int, index: int, height: int, width: int, *, lighting: str | None = None) -> Scene:
    """Scene `index` of the landscapes of `seed`, a function of its arguments alone.

    `lighting` shows the same place in another light (the sun and the clouds move); without it the scene has its own.
    """
    noise = Noise(seed, index)
    rng = noise.stream("plan")
    canvas = Canvas(height, width)
    own = LIGHTINGS[int(noise.stream("mood").integers(len(LIGHTINGS)))]  # Another name, and all scenes were others.
    shown = next(candidate for candidate in LIGHTINGS if candidate.name == (lighting or own.name))
    horizon = float(rng.uniform(0.36, 0.6))
    light = Light.draw(shown, noise.stream("light"), horizon=horizon, aspect=canvas.aspect)
    ground = _plan_ground(rng, horizon)
    paint_sky(canvas, light, noise, horizon)
    _paint_distance(canvas, light, noise, rng, ground)
    paint_ground(canvas, light, noise, ground)
    _paint_objects(canvas, light, noise, ground)
    image = canvas.develop(light, noise, horizon)
    name = f"landscape-{seed}-{index:06d}"
    return Scene(Record(name, canvas.label, canvas.instance, image, _disparity(canvas)), shown.name)


def _disparity(canvas: Canvas) -> np.ndarray:
    """What a pair of cameras would see, uint16 `[H, W]`: 40 by the distance in kilometres, rounded; of the sky 1."""
    near = (40 / np.maximum(canvas.km, 0.01)).round().clip(2, 65535).astype(np.uint16)
    return np.where(np.isin(canvas.label, (SKY, CLOUD, SUN)), np.uint16(1), near)


def _plan_ground(rng: np.random.Generator, horizon: float) -> Ground:
    kind = str(rng.choice(["meadow", "lake", "coast", "bay", "desert"], p=[0.34, 0.2, 0.22, 0.14, 0.1]))
    water = {"meadow": "none", "desert": "none", "lake": "across", "bay": "across"}.get(kind) or str(
        rng.choice(["left", "right"])
    )
    shore = {"lake": rng.uniform(0.12, 0.35), "bay": rng.uniform(0.4, 0.85)}.get(kind, rng.uniform(-0.1, 0.55))
    green = np.asarray([0.075, 0.135, 0.03], np.float32)
    season = np.asarray(
        [[0.0, 0.0, 0.0], [0.03, 0.045, 0.005], [0.09, 0.03, 0.0]][int(rng.choice(3, p=[0.5, 0.3, 0.2]))]
    )
    return Ground(
        horizon=horizon,
        water=water,
        shore=float(shore),
        beach=float(rng.uniform(0.1, 0.35)) if kind != "lake" else float(rng.uniform(0.02, 0.12)),
        cover="sand" if kind == "desert" or (kind == "bay" and rng.random() < 0.5) else "grass",
        road=float(rng.uniform(0.15, 0.85)) if kind in ("meadow", "desert") and rng.random() < 0.55 else None,
        grass_tint=(green + season).astype(np.float32),
        sand_tint=(np.asarray([0.46, 0.36, 0.22]) * rng.uniform(0.85, 1.2)).astype(np.float32),
        sea_tint=np.asarray(
            [[0.015, 0.07, 0.11], [0.02, 0.11, 0.12], [0.03, 0.08, 0.075]][rng.integers(3)], np.float32
        ),
    )


def _paint_distance(canvas: Canvas, light: Light, noise: Noise, rng: np.random.Generator, ground: Ground) -> None:
    """Mountains, hills and a wood beyond the ground."""
    horizon = ground.horizon
    ranges = int(rng.choice([0, 1, 2], p=[0.22, 0.45, 0.33]))
    for number in range(ranges):
        tall = horizon * float(rng.uniform(0.35, 0.8)) * (1 - 0.35 * number)
        snow = tall * float(rng.uniform(0.45, 0.8)) if rng.random() < 0.75 else None
        km = float(rng.uniform(9, 16)) / (1 + number)
        paint_mountains(
            canvas, light, noise, name=f"range {number}", base=horizon + 0.01, height=tall, km=km, snow=snow
        )
    dry = ground.cover == "sand"
    tint = np.asarray([0.22, 0.15, 0.085] if dry else ground.grass_tint * 0.85 + 0.012, np.float32)
    for number in range(int(rng.choice([0, 1, 2], p=[0.3, 0.4, 0.3]))):
        tall = horizon * float(rng.uniform(0.12, 0.35)) / (1 + 0.6 * number)
        paint_hills(
            canvas,
            light,
            noise,
            name=f"hills {number}",
            base=horizon + 0.01,
            height=tall,
            km=5.0 / (1 + number),
            tint=tint,
        )
    if not dry and rng.random() < 0.55:
        tall = float(rng.uniform(0.03, 0.11))
        wood = np.asarray([0.035, 0.07, 0.025], np.float32) * float(rng.uniform(0.8, 1.4))
        paint_forest(canvas, light, noise, base=horizon + 0.006, height=tall, km=1.8, tint=wood)


def _paint_objects(canvas: Canvas, light: Light, noise: Noise, ground: Ground) -> None:
    """Trees, houses and rocks on dry land, from far to near."""
    rng = noise.stream("objects")
    leaves = noise.plane("leaves", canvas.y, canvas.x, (28, 28), octaves=4, gain=0.85)
    kinds = ["broad", "conifer", "poplar"]
    mix = rng.dirichlet([0.5, 0.5, 0.2])
    tint = np.asarray([0.05, 0.095, 0.025]) + (np.asarray([0.16, 0.02, 0.0]) if rng.random() < 0.15 else 0)
    wanted = ["tree"] * int(rng.integers(0, 22) * canvas.aspect) + ["house"] * int(
        rng.choice([0, 1, 2, 4], p=[0.35, 0.25, 0.2, 0.2])
    )
    wanted += ["rock"] * int(rng.integers(0, 7))
    places = []
    for what in wanted:
        near = float(np.exp(rng.uniform(np.log(0.07), np.log(0.75 if what != "house" else 0.45))))
        x, y = float(rng.uniform(0, canvas.aspect)), ground.horizon + near * (1 - ground.horizon)
        if _free(canvas, noise, ground, what, x, y, near):
            places.append((y, x, near, what))
    for instance, (y, x, near, what) in enumerate(sorted(places), start=1):
        below, km = y - ground.horizon, min(0.03 / near, 3.0)
        if what == "tree":
            kind = str(rng.choice(kinds, p=mix))
            tall = below * float(rng.uniform(0.9, 1.5)) + 0.02
            cast_shadow(canvas, light, x, y, 0.3 * tall, 0.5 * tall)
            shade = (tint * rng.uniform(0.75, 1.3)).astype(np.float32)
            paint_tree(
                canvas, light, rng, leaves, x=x, y=y, height=tall, kind=kind, tint=shade, km=km, instance=instance
            )
        elif what == "house":
            size = below * float(rng.uniform(0.6, 0.85)) + 0.015
            cast_shadow(canvas, light, x, y, 0.9 * size, 0.7 * size)
            paint_house(canvas, light, rng, leaves, x=x, y=y, size=size, km=km, instance=instance)
        else:
            size = below * float(rng.uniform(0.15, 0.5)) + 0.01
            cast_shadow(canvas, light, x, y, 0.5 * size, 0.4 * size)
            paint_rock(canvas, light, rng, leaves, x=x, y=y, size=size, km=km)


def _free(canvas: Canvas, noise: Noise, ground: Ground, what: str, x: float, y: float, near: float) -> bool:
    """Whether a thing may stand at (x, y): on grass, rocks on sand too, and off the road."""
    row = min(int(y * canvas.height), canvas.height - 1)
    reach = 0.8 * (y - ground.horizon) if what == "house" else 0.0
    for at in (x - reach, x, x + reach):
        under = canvas.label[row, min(max(int(at * canvas.height), 0), canvas.width - 1)]
        if under != GRASS and not (what == "rock" and under == SAND):
            return False
    if ground.road is None:
        return True
    centre = float(road_centre(canvas, noise, ground, np.asarray([near]))[0])
    return abs(x - centre) > (0.75 if what == "house" else 0.35) * near


FIELDS = (*RECORD_FIELDS, pa.field("mood", pa.string()))
"""The columns of the landscapes: those of every data set, and the name of the lighting (`mood` in all versions)."""

VALIDATION_START = 1_000_000
"""Where the indices of validation scenes begin, so that the two sets never share a scene, however many there are."""


def prepare(
    out: Path,
    *,
    train: int,
    validation: int,
    height: int,
    width: int,
    seed: int = 0,
    workers: int | None = None,
    disparity: bool = False,
) -> Summary:
    """Draw `train` and `validation` scenes into `out`/train.parquet and `out`/validation.parquet.

    With `disparity` also how near each pixel is, of which the photographs do not change. Returns what was written.
    Raises `InputError` for too many scenes, and for a side of less than 16 pixels.
    """
    if train >= VALIDATION_START:
        raise InputError(f"--train is {train:,}; at most {VALIDATION_START - 1:,} scenes can be told from validation")
    if min(height, width) < 16:
        raise InputError(f"--size {width}x{height} is too small for a landscape; take 16x16 or more")
    splits = [
        Split("train", range(train)),
        Split("validation", range(VALIDATION_START, VALIDATION_START + validation)),
    ]
    info = DatasetInfo(SPACE, {"source": "landscape", "seed": seed, "size": [width, height]})
    draw = partial(_draw_row, seed=seed, height=height, width=width, disparity=disparity)
    fields = (*FIELDS, DISPARITY_FIELD) if disparity else FIELDS
    return write_dataset(out, info, draw, [split for split in splits if split.items], fields=fields, workers=workers)


def _draw_row(index: int, *, seed: int, height: int, width: int, disparity: bool) -> Converted:
    scene = draw_scene(seed, index, height, width)
    record = scene.record
    assert record.instance is not None
    assert record.image is not None
    row = {
        "id": record.id,
        "label": encode_png(record.label),
        "instance": encode_png(record.instance),
        "image": encode_png(record.image),
        "mood": scene.lighting,
    }
    if disparity:
        assert record.disparity is not None
        row["disparity"] = encode_png(record.disparity)
    return Converted(row, count_pixels(record.label, SPACE))
