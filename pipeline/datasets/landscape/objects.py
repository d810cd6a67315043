"""Trees, rocks and shadows, each painted in its own small window."""

from __future__ import annotations

import numpy as np

from pipeline.datasets.landscape.canvas import Array, Canvas
from pipeline.datasets.landscape.lighting import Light
from pipeline.datasets.landscape.terrain import ROCK, TREE


def cast_shadow(canvas: Canvas, light: Light, x: float, y: float, width: float, length: float) -> None:
    """A soft shadow on the ground beside (x, y), away from the light, and a darker contact under the thing."""
    away = -light.side * length
    window = canvas.window(x - width - length, y - 0.5 * width, x + width + length, y + 0.5 * width)
    if window is None:
        return
    dx, dy = canvas.x[window[1]] - x, (canvas.y[window[0], None] - y) / 0.22
    along = np.clip(dx / away if abs(away) > 1e-6 else np.zeros_like(dx), 0, 1)
    distance = np.hypot(dx - along * away, dy) / width
    canvas.sun[window] *= 1 - 0.75 * np.exp(-(distance**2) * 2.5)
    canvas.ambient[window] *= 1 - 0.35 * np.exp(-((np.hypot(dx, dy) / width) ** 2) * 3)


def paint_tree(
    canvas: Canvas,
    light: Light,
    rng: np.random.Generator,
    leaves: Array,
    *,
    x: float,
    y: float,
    height: float,
    kind: str,
    tint: Array,
    km: float,
    instance: int,
) -> None:
    """A tree with its foot at (x, y): 'broad', 'conifer' or 'poplar'. `leaves` is noise as large as the picture."""
    spread = {"broad": 0.48, "conifer": 0.3, "poplar": 0.2}[kind]
    window = canvas.window(x - spread * height, y - 1.08 * height, x + spread * height, y + 0.02 * height)
    if window is None:
        return
    u = ((canvas.x[window[1]] - x) / height)[None, :]
    v = ((y - canvas.y[window[0]]) / height)[:, None]
    grain = leaves[window]
    crown, lit = {"broad": _broad, "conifer": _conifer, "poplar": _poplar}[kind](u, v, rng, light.side)
    crown = crown + 0.022 * grain * (np.clip(1.05 - v, 0, 0.35) / 0.35)
    trunk = np.minimum(0.022 + 0.02 * np.clip(0.12 - v, 0, 1) * 6 - np.abs(u), np.minimum(v, 0.55 - v))
    leafy = crown > trunk
    colour = np.where(leafy[..., None], tint * np.clip(1 + 0.3 * grain, 0.35, 1.9)[..., None], (0.09, 0.065, 0.045))
    sun = np.where(leafy, np.clip(lit + 0.2 * grain, 0.02, 1.15), 0.35 + 0.3 * np.sign(u * light.side))
    canvas.paint(
        np.maximum(crown, trunk) * height * canvas.height,
        TREE,
        albedo=colour.astype(np.float32),
        sun=sun,
        ambient=np.where(leafy, 0.5 + 0.35 * np.clip(v, 0, 1), 0.6),
        km=km,
        instance=instance,
        window=window,
    )


def _broad(u: Array, v: Array, rng: np.random.Generator, side: float) -> tuple[Array, Array]:
    """Signed distance to a crown made of balls, in tree heights, and how it is lit."""
    count = 9
    angle, reach = rng.uniform(0, 2 * np.pi, count), np.sqrt(rng.random(count))
    wide = float(rng.uniform(0.16, 0.24))
    centre_u = (wide * reach * np.cos(angle))[:, None, None]
    centre_v = (0.63 + 0.17 * reach * np.sin(angle))[:, None, None]
    radius = rng.uniform(0.13, 0.2, count)[:, None, None]
    du, dv = u - centre_u, v - centre_v
    depth = radius - np.hypot(du, dv)
    ball = depth.argmax(axis=0)[None]
    lit = 0.5 + 0.33 * (side * np.take_along_axis(du / radius + 0 * depth, ball, 0)[0])
    lit = lit + 0.33 * np.take_along_axis(dv / radius + 0 * depth, ball, 0)[0]
    return depth.max(axis=0), lit + 0.35 * side * u + 0.25 * (v - 0.6)


def _conifer(u: Array, v: Array, rng: np.random.Generator, side: float) -> tuple[Array, Array]:
    tiers, phase = float(rng.uniform(6, 9)), float(rng.random())
    saw = (v * tiers + phase) % 1
    half = float(rng.uniform(0.17, 0.25)) * (1 - v) * (0.72 + 0.42 * (1 - saw))
    inside = np.minimum(half - np.abs(u) * 1.0, np.minimum(v - 0.1, 1 - v))
    lit = 0.42 + 0.3 * side * np.clip(u / np.maximum(half, 0.02), -1, 1) - 0.28 * (saw - 0.5)
    return inside, lit


def _poplar(u: Array, v: Array, rng: np.random.Generator, side: float) -> tuple[Array, Array]:
    wide = float(rng.uniform(0.09, 0.14))
    distance = np.hypot(u / wide, (v - 0.54) / 0.46)
    return (1 - distance) * wide, 0.5 + 0.35 * side * np.clip(u / wide, -1, 1) + 0.15 * (v - 0.5)


def paint_rock(
    canvas: Canvas, light: Light, rng: np.random.Generator, grain: Array, *, x: float, y: float, size: float, km: float
) -> None:
    """A boulder of facets, `size` wide."""
    half, tall = size / 2, size * float(rng.uniform(0.45, 0.8))
    window = canvas.window(x - half * 1.4, y - tall * 1.4, x + half * 1.4, y + 0.1 * size)
    if window is None:
        return
    u = ((canvas.x[window[1]] - x) / half)[None, :]
    v = ((y - canvas.y[window[0]]) / tall)[:, None]
    angle = np.arctan2(v, u)
    phases = rng.uniform(0, 2 * np.pi, 4)
    outline = 1 + sum(0.09 * np.sin((k + 2) * angle + phases[k]) for k in range(4))
    inside = np.minimum(outline - np.hypot(u, v), v + 0.06 + 0.05 * np.sin(9 * u + phases[0]))
    seeds = rng.uniform((-1, 0), (1, 1), (7, 2))
    facet = np.stack([(u - a) ** 2 + (v - b) ** 2 for a, b in seeds]).argmin(axis=0)
    facing = np.clip(
        0.45 + 0.35 * light.side * seeds[:, 0] + 0.4 * (seeds[:, 1] - 0.4) + rng.normal(0, 0.1, 7), 0.05, 1.1
    )
    albedo = np.asarray([0.17, 0.155, 0.14], np.float32) * float(rng.uniform(0.7, 1.4))
    canvas.paint(
        inside * min(half, tall) * canvas.height,
        ROCK,
        albedo=albedo * np.clip(1 + 0.2 * grain[window], 0.4, 1.6)[..., None],
        sun=facing[facet] + 0.06 * grain[window],
        ambient=0.55 + 0.4 * np.clip(v, 0, 1) + 0 * u,
        km=km,
        window=window,
    )
