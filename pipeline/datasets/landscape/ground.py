"""What lies below the horizon: water, sand, grass and a road, in perspective."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.datasets.landscape.canvas import Array, Canvas
from pipeline.datasets.landscape.lighting import Light
from pipeline.datasets.landscape.noise import Noise
from pipeline.datasets.landscape.terrain import GRASS, ROAD, SAND, SEA


@dataclass(frozen=True)
class Ground:
    """The plan of the ground. Nearness is 0 at the horizon and 1 at the lower edge of the picture."""

    horizon: float
    water: str
    """'none', 'across' (from the horizon down to a shore), or 'left' and 'right' (a coast that runs away)."""
    shore: float
    """Across: the nearness of the shore. Left, right: how much of the lower edge is water."""
    beach: float
    """Width of the sand along the water, in picture heights at nearness 1."""
    cover: str
    """'grass' or 'sand'."""
    road: float | None
    """Where a road meets the lower edge, as a fraction of the width."""
    grass_tint: Array
    sand_tint: Array
    sea_tint: Array


def nearness(canvas: Canvas, horizon: float) -> Array:
    """`[H]`: 0 at the horizon and above, 1 at the lower edge."""
    return np.clip((canvas.y - horizon) / (1 - horizon), 0, 1)


def paint_ground(canvas: Canvas, light: Light, noise: Noise, ground: Ground) -> None:
    """Water first, then the land up to the shore."""
    near = nearness(canvas, ground.horizon)
    rows = slice(int(np.argmax(canvas.y > ground.horizon - 0.04)), canvas.height)
    centred = canvas.x - canvas.aspect / 2
    km = np.minimum(0.03 / (near + 0.006), 4.0)[rows, None]
    if ground.water != "none":
        flat = (canvas.y[rows, None] - ground.horizon) * canvas.height * np.ones_like(canvas.x)
        canvas.paint(flat, SEA, albedo=ground.sea_tint, sun=0.4, km=km, water=1.0, window=(rows, slice(None)))
    land = _land(canvas, noise, ground, near)[rows]  # signed distance to the water in picture heights
    below = canvas.y[rows, None]
    if ground.water == "none":
        land = below - (ground.horizon - 0.008 - 0.008 * noise.line("meadow", canvas.x, 2.0, 5, 0.5))
    clouds: Array | float = 0.0
    if light.lighting.name == "day":
        clouds = 0.4 * np.clip(noise.ground("cloud shadows", near[rows], centred, 0.9, 3.0, 2) - 0.3, 0, 1)
    if ground.cover == "sand" or ground.water != "none":
        _paint_sand(canvas, noise, ground, rows, land, clouds, km)
    if ground.cover == "grass":
        inland = land
        if ground.water != "none":
            wobble = 1 + 0.3 * noise.ground("dune line", near[rows], centred, 2.5, 1.5, 4)
            inland = land - ground.beach * wobble * (near[rows, None] + 0.01)
        _paint_grass(canvas, light, noise, ground, rows, inland, clouds, km)
    if ground.road is not None:
        _paint_road(canvas, light, noise, ground, rows, km)


def _land(canvas: Canvas, noise: Noise, ground: Ground, near: Array) -> Array:
    """`[H, W]`: how far a pixel is from the water, in picture heights (negative: in it)."""
    if ground.water == "across":
        shore = ground.horizon + ground.shore * (1 - ground.horizon)
        wave = noise.line("shore", canvas.x, 1.2, 6, 0.5) * (0.05 + 0.16 * ground.shore) * 0.5
        return canvas.y[:, None] - (shore + wave * (1 - ground.horizon))
    if ground.water in ("left", "right"):
        vanish = canvas.aspect * (0.35 if ground.water == "left" else 0.65)
        foot = canvas.aspect * (ground.shore if ground.water == "left" else 1 - ground.shore)
        depth = -np.log(near + 0.02)
        bay = noise.line("shore", depth - depth.min(), 0.9, 6, 0.5) * 0.22 * near
        line = vanish + (foot - vanish) * near + bay
        distance = (canvas.x - line[:, None]) * (1 if ground.water == "left" else -1)
        # Above the horizon there is neither; there the sea's own edge decides.
        return np.where(near[:, None] > 0, distance, -1.0).astype(np.float32)
    return np.ones((canvas.height, canvas.width), np.float32)


def _paint_sand(
    canvas: Canvas, noise: Noise, ground: Ground, rows: slice, land: Array, clouds: Array | float, km: Array
) -> None:
    near = nearness(canvas, ground.horizon)[rows]
    centred = canvas.x - canvas.aspect / 2
    ripples = noise.ground("ripples", near, centred, 6.0, 2.6, 6, 0.85)
    dunes = noise.ground("dunes", near, centred, 1.2, 2.2, 3)
    wet = np.exp(-np.clip(land, 0, None) / (0.035 * near[:, None] + 0.004)) if ground.water != "none" else 0.0
    albedo = ground.sand_tint * ((1 + 0.07 * ripples + 0.08 * dunes) * (1 - 0.45 * wet))[..., None]
    sun = np.clip(0.72 + 0.09 * ripples + 0.14 * dunes - clouds, 0.05, 1.1)
    if ground.water != "none":
        band = 0.03 * near[:, None] + 0.003
        lace = noise.ground("foam", near, centred, 8.0, 3.0, 4)
        surf = np.exp(-(((land + band * (0.9 + 0.35 * lace)) / (0.6 * band)) ** 2)) * np.clip(0.65 + 0.5 * lace, 0, 1)
        canvas.foam[rows] = np.where(land < 0.5 * band, surf, 0)
    canvas.paint(land * canvas.height, SAND, albedo=albedo, sun=sun, km=km, window=(rows, slice(None)))


def _paint_grass(
    canvas: Canvas,
    light: Light,
    noise: Noise,
    ground: Ground,
    rows: slice,
    land: Array,
    clouds: Array | float,
    km: Array,
) -> None:
    near = nearness(canvas, ground.horizon)[rows]
    centred = canvas.x - canvas.aspect / 2
    meadow = noise.ground("meadows", near, centred, 1.3, 2.4, 4)
    blades = noise.ground("blades", near, centred, 14.0, 0.5, 6, 1.0)
    tufts = noise.ground("tufts", near, centred, 5.0, 1.4, 6, 0.8)
    dry = np.clip(0.25 + 0.3 * meadow, 0, 1)[..., None]
    albedo = ground.grass_tint * (1 - dry) + np.asarray([0.20, 0.17, 0.06], np.float32) * dry
    albedo = albedo * np.clip(1 + 0.3 * blades + 0.1 * tufts, 0.25, 2.2)[..., None]
    if noise.stream("flowers").random() < 0.3:
        rng = noise.stream("flower colour")
        colour = np.asarray([[0.75, 0.72, 0.6], [0.8, 0.6, 0.05], [0.6, 0.08, 0.1], [0.4, 0.2, 0.6]][rng.integers(4)])
        dots = np.clip(noise.ground("flowers", near, centred, 24.0, 1.0, 4, 0.9) + 0.4 * meadow - 2.0, 0, 0.9)[
            ..., None
        ]
        albedo = albedo * (1 - dots) + colour.astype(np.float32) * dots
    sun = np.clip(0.62 + 0.12 * blades + 0.09 * tufts + 0.1 * meadow - clouds, 0.05, 1.1)
    canvas.paint(land * canvas.height, GRASS, albedo=albedo, sun=sun, ambient=0.9, km=km, window=(rows, slice(None)))


def road_centre(canvas: Canvas, noise: Noise, ground: Ground, near: Array) -> Array:
    """x of the middle of the road at each nearness."""
    assert ground.road is not None
    rng = noise.stream("road")
    vanish = canvas.aspect * float(rng.uniform(0.3, 0.7))
    bend, turns, phase = float(rng.uniform(0.1, 0.45)), float(rng.uniform(2.5, 6)), float(rng.uniform(0, 6.28))
    foot = canvas.aspect * ground.road
    return vanish + (foot - vanish) * near + bend * near**0.8 * (1 - near) * np.sin(turns * np.log(near + 0.12) + phase)


def _paint_road(canvas: Canvas, light: Light, noise: Noise, ground: Ground, rows: slice, km: Array) -> None:
    near = nearness(canvas, ground.horizon)[rows]
    rng = noise.stream("road surface")
    half = float(rng.uniform(0.10, 0.2)) * near
    across = np.abs(canvas.x - road_centre(canvas, noise, ground, near)[:, None])
    edge = 0.012 * noise.ground("road edge", near, canvas.x - canvas.aspect / 2, 6.0, 1.0, 3) * near[:, None]
    paved = rng.random() < 0.6
    inside = half[:, None] - across + edge * (0.35 if paved else 1.0)
    grit = noise.ground("grit", near, canvas.x - canvas.aspect / 2, 12.0, 1.5, 6, 0.9)
    base = np.asarray([0.075, 0.075, 0.08] if paved else [0.26, 0.19, 0.12], np.float32)
    albedo = base * (1 + 0.14 * grit)[..., None]
    if paved:
        dash = (np.log(near + 0.02) * 5.0) % 1 < 0.45
        line = np.clip(((0.05 * half)[:, None] - across) * canvas.height + 0.5, 0, 1) * dash[:, None]
        verge = np.clip((0.03 * half[:, None] - np.abs(across - 0.9 * half[:, None])) * canvas.height + 0.5, 0, 1)
        paint = np.clip(line + 0.8 * verge, 0, 1)[..., None]
        albedo = albedo * (1 - paint) + 0.6 * paint
    inside = np.where(near[:, None] > 0, inside, -1)
    canvas.paint(inside * canvas.height, ROAD, albedo=albedo, sun=0.65 + 0.05 * grit, km=km, window=(rows, slice(None)))
