"""The land and the sky: layers as wide as the picture, painted from far to near."""

from __future__ import annotations

import numpy as np

from pipeline.datasets.landscape.canvas import Array, Canvas
from pipeline.datasets.landscape.lighting import Light
from pipeline.datasets.landscape.noise import Noise

SKY, CLOUD, SUN, MOUNTAIN, SNOW, HILL, FOREST, TREE, GRASS, SAND, SEA, ROCK, ROAD, HOUSE = range(14)


def paint_sky(canvas: Canvas, light: Light, noise: Noise, horizon: float) -> None:
    """Gradient, glow, stars, sun or moon, and clouds."""
    lighting = light.lighting
    up = np.clip((horizon - canvas.y) / horizon, 0, 1)[:, None, None]
    colour = np.asarray(lighting.zenith, np.float32) * up**0.7 + np.asarray(lighting.horizon, np.float32) * (
        1 - up**0.7
    )
    colour = np.broadcast_to(colour, (canvas.height, canvas.width, 3)).copy()
    distance = np.hypot(canvas.x - light.sun_x, (canvas.y - light.sun_y)[:, None])
    if light.sun_seen:
        halo = 0.55 * np.exp(-distance / 0.22) + 0.6 * np.exp(-distance / 0.05)
        colour += halo[..., None] * np.asarray(lighting.glow, np.float32)
    canvas.paint(np.ones((canvas.height, canvas.width), np.float32), SKY, emission=colour)
    if lighting.stars:
        canvas.stars[:] = _stars(canvas, noise)
    if light.sun_seen:
        radius = float(noise.stream("sun").uniform(0.028, 0.05))
        dark = 0.25 * np.clip(noise.plane("maria", canvas.y, canvas.x, (30, 30), 3), 0, 1.5) if lighting.stars else 0.0
        disc = np.asarray(lighting.disc, np.float32) * (1 - dark * np.ones_like(distance))[..., None]
        canvas.paint((radius - distance) * canvas.height, SUN, emission=disc)
    _paint_clouds(canvas, light, noise, horizon, distance, colour)


def _stars(canvas: Canvas, noise: Noise) -> Array:
    rng = noise.stream("stars")
    stars = np.zeros((canvas.height, canvas.width), np.float32)
    for x, y, size in zip(rng.random(260) * 2, rng.random(260), rng.pareto(2.0, 260), strict=True):
        if x < canvas.aspect:
            stars[int(y * canvas.height), int(x * canvas.height)] = min(0.05 + 0.06 * size, 0.9)
    return stars


def _paint_clouds(canvas: Canvas, light: Light, noise: Noise, horizon: float, distance: Array, sky: Array) -> None:
    """Clouds as thresholded noise; their thickness towards the light gives them bright rims and dark bases."""
    if light.cover < 0.03:
        return
    lighting, rng = light.lighting, noise.stream("clouds")
    stretch = float(rng.choice([1.0, 1.8, 3.2], p=[0.5, 0.35, 0.15]))
    scale = float(rng.uniform(1.6, 3.0))
    # Rows shrink towards the horizon, as the layer of clouds recedes.
    above = np.clip(horizon - canvas.y, 0, None) / horizon
    rows = -np.log(above + 0.25) * 0.55
    field = noise.plane("cloud shape", rows, canvas.x, (scale * stretch, scale), octaves=6, gain=0.5)
    field = field + 0.12 * noise.plane("cloud puffs", rows, canvas.x, (9 * stretch, 9), octaves=3, gain=0.6)
    sky_rows = canvas.y < horizon
    level = float(np.quantile(field[sky_rows], 1 - light.cover)) if sky_rows.any() else 0.0
    thick = field - level
    # The slope at the edge turns values into pixels, so that the edge is smooth over about two of them.
    steep = max(float(np.abs(np.diff(thick, axis=1)).mean() + np.abs(np.diff(thick, axis=0)).mean()), 1e-4)
    reach = max(1, round(0.03 * canvas.height))
    body = np.clip(thick, 0, None)
    toward = 2 * body - _shifted(body, reach, 0) - _shifted(body, 0, round(reach * -light.side))
    low = lighting.sun_height[1] < 0.35  # the sun lights clouds from below
    bright = np.clip(0.62 - 0.32 * np.clip(thick, 0, 2) + (-0.5 if low else 0.42) * toward, 0, 1)[..., None]
    colour = (
        np.asarray(lighting.cloud_dark, np.float32) * (1 - bright)
        + np.asarray(lighting.cloud_light, np.float32) * bright
    )
    if light.sun_seen:
        colour = colour + (0.7 * np.exp(-distance / 0.12) * (1 - np.clip(thick, 0, 0.8)))[..., None] * np.asarray(
            lighting.glow, np.float32
        )
    fade = (0.35 * np.exp(-above / 0.12))[:, None, None]
    colour = colour * (1 - fade) + np.asarray(lighting.horizon, np.float32) * fade
    # Thin edges let the sky through; the label changes where the cloud begins.
    solid = np.clip(thick / 0.35, 0, 1)[..., None] ** 0.7
    colour = colour * (0.35 + 0.65 * solid) + sky * (0.65 - 0.65 * solid)
    canvas.paint(thick / steep, CLOUD, emission=colour)


def _soft(value: Array) -> Array:
    """Values about 0.5 brought smoothly into 0 .. 1.2, without the plateaus that clipping leaves."""
    return 0.6 + 0.6 * np.tanh((value - 0.6) / 0.6)


def _shifted(field: Array, down: int, right: int) -> Array:
    """The field moved by whole pixels, its border repeated."""
    rows = np.clip(np.arange(field.shape[0]) - down, 0, field.shape[0] - 1)
    columns = np.clip(np.arange(field.shape[1]) - right, 0, field.shape[1] - 1)
    return field[rows[:, None], columns]


def paint_mountains(
    canvas: Canvas, light: Light, noise: Noise, *, name: str, base: float, height: float, km: float, snow: float | None
) -> None:
    """A range of mountains: its foot at `base`, peaks up to `height` above it, snow above the height `snow`."""
    bumps = noise.line(f"{name} ridge", canvas.x, 1.7, octaves=8, gain=0.47)
    peaks = noise.line(f"{name} peaks", canvas.x, 1.1, octaves=3, gain=0.5)
    ridge = base - height * _soft(0.5 + 0.3 * peaks + 0.22 * (1 - 2 * np.abs(bumps) ** 0.8))
    window = canvas.window(0, float(ridge.min()) - 0.01, canvas.aspect, 1)
    if window is None:
        return
    y, below = canvas.y[window[0]], canvas.y[window[0], None] - ridge
    # Relief: noise whose rows hang from the ridge line, lit from the side.
    rows = y - float(ridge.min())
    relief = noise.plane(f"{name} relief", rows, canvas.x, (4.5, 6.0), octaves=7, gain=0.62)
    relief = -np.abs(relief) + 0.35 * noise.plane(f"{name} crags", rows, canvas.x, (14, 16), octaves=5, gain=0.65)
    slope = np.gradient(relief, axis=1) * canvas.height * 0.05
    fall = np.gradient(relief, axis=0) * canvas.height * 0.05
    facing = np.clip(0.5 + 0.75 * light.side * slope - 0.3 * fall, 0.03, 1.25)
    rng = noise.stream(f"{name} rock")
    tint = np.asarray([0.17, 0.15, 0.135], np.float32) * float(rng.uniform(0.8, 1.25))
    green = np.asarray([0.09, 0.12, 0.06], np.float32)
    low = np.clip((below / height - 0.35) * 2 + 0.3 * relief, 0, 1)[..., None]
    albedo = (tint * (1 - 0.75 * low) + green * 0.75 * low) * (1 + 0.16 * relief[..., None])
    inside = below * canvas.height / np.sqrt(1 + (np.gradient(ridge) * canvas.height) ** 2)
    canvas.paint(inside, MOUNTAIN, albedo=albedo, sun=facing, ambient=0.85, km=km, window=window)
    if snow is not None:
        line = base - snow + height * (0.10 * noise.line(f"{name} snow", canvas.x, 5, 5) + 0.09 * relief)
        depth = np.minimum((line - y[:, None]) * canvas.height * 0.8, inside)
        canvas.paint(depth, SNOW, albedo=(0.86, 0.88, 0.92), sun=facing, ambient=1.0, km=km, window=window)


def paint_hills(
    canvas: Canvas, light: Light, noise: Noise, *, name: str, base: float, height: float, km: float, tint: Array
) -> None:
    """Soft rolling hills."""
    ridge = base - height * _soft(0.5 + 0.33 * noise.line(f"{name} ridge", canvas.x, 1.3, 5, 0.38))
    window = canvas.window(0, float(ridge.min()) - 0.01, canvas.aspect, 1)
    if window is None:
        return
    below = canvas.y[window[0], None] - ridge
    rows = canvas.y[window[0]] - float(ridge.min())
    relief = noise.plane(f"{name} relief", rows, canvas.x, (8, 3), octaves=5, gain=0.5)
    patches = noise.plane(f"{name} patches", rows, canvas.x, (26, 12), octaves=4, gain=0.7)
    slope = np.gradient(ridge) * canvas.height
    sun = np.clip(0.62 + 0.55 * light.side * slope + 0.16 * relief, 0.05, 1.1)
    albedo = tint * np.clip(1 + 0.2 * patches + 0.1 * relief, 0.4, 1.7)[..., None]
    canvas.paint(below * canvas.height, HILL, albedo=albedo, sun=sun, ambient=0.9, km=km, window=window)


def paint_forest(
    canvas: Canvas, light: Light, noise: Noise, *, base: float, height: float, km: float, tint: Array
) -> None:
    """A wood seen from afar: a jagged row of crowns from `base` upwards."""
    body = base - height * _soft(0.6 + 0.3 * noise.line("wood body", canvas.x, 1.5, 3, 0.5))
    pitch = 0.36 * height
    first, shade = _crowns(canvas.x, noise.stream("wood front"), pitch)
    second, _ = _crowns(canvas.x + 0.37 * pitch, noise.stream("wood behind"), 0.83 * pitch)
    crowns = np.maximum(first, second - 0.1)
    ridge = body - 0.55 * height * (crowns - 0.4) + 0.05 * height * noise.line("wood tips", canvas.x, 30, 3)
    window = canvas.window(0, float(ridge.min()) - 0.01, canvas.aspect, 1)
    if window is None:
        return
    below = canvas.y[window[0], None] - ridge
    rows = canvas.y[window[0]] - float(ridge.min())
    leaves = noise.plane("wood leaves", rows, canvas.x, (0.7 / pitch, 1.0 / pitch), octaves=4, gain=0.8)
    deep = np.exp(-np.clip(below, 0, None) / (0.45 * height))
    sun = np.clip((0.28 + 0.5 * deep) * (1 + 0.45 * leaves) + 0.2 * light.side * shade, 0.02, 1.1)
    albedo = tint * np.clip(1 + 0.3 * leaves, 0.35, 1.8)[..., None]
    canvas.paint(below * canvas.height, FOREST, albedo=albedo, sun=sun, ambient=0.45 + 0.4 * deep, km=km, window=window)


def _crowns(x: Array, rng: np.random.Generator, pitch: float) -> tuple[Array, Array]:
    """Heights (0 to about 1) of a row of pointed crowns at `x`, and which side of its crown each position is on."""
    place = x / pitch
    tree = np.floor(place).astype(np.intp)
    count = int(tree.max()) + 2
    middle, tall, wide = rng.uniform(0.3, 0.7, count), rng.uniform(0.35, 1.0, count), rng.uniform(0.45, 0.8, count)
    offset = (place - tree - middle[tree]) / wide[tree]
    return np.clip(tall[tree] * (1 - np.abs(offset) ** 1.2), 0, None), np.clip(offset, -1, 1)
