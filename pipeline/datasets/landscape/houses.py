"""Houses: a gable, a long side, a roof, windows that are lit at night."""

from __future__ import annotations

import numpy as np

from pipeline.datasets.landscape.canvas import Array, Canvas, Window
from pipeline.datasets.landscape.lighting import Light
from pipeline.datasets.landscape.terrain import HOUSE

WALLS = ((0.62, 0.58, 0.5), (0.55, 0.42, 0.27), (0.5, 0.2, 0.14), (0.68, 0.66, 0.62), (0.35, 0.42, 0.48))
ROOFS = ((0.28, 0.075, 0.045), (0.13, 0.085, 0.06), (0.085, 0.09, 0.105), (0.24, 0.13, 0.07))
GLASS = np.array([0.03, 0.04, 0.055], np.float32)
LAMP = np.array([1.0, 0.62, 0.24], np.float32)

Corners = list[tuple[float, float]]


def paint_house(
    canvas: Canvas,
    light: Light,
    rng: np.random.Generator,
    grain: Array,
    *,
    x: float,
    y: float,
    size: float,
    km: float,
    instance: int,
) -> None:
    """A house about `size` high, with its near corner at (x, y). `grain` is noise as large as the picture.

    Corners are given as (right, up) from the near corner, the gable to the left and the long side to the
    right of it; half of the houses are mirrored.
    """
    mirror = float(rng.choice([-1.0, 1.0]))
    front, depth, wall = 0.62 * size, size * float(rng.uniform(0.7, 1.15)), size * float(rng.uniform(0.5, 0.62))
    top, rise, eave = wall + 0.4 * size, 0.05 * size, 0.05 * size
    window = canvas.window(x - front - depth, y - top - 0.3 * size, x + front + depth, y + 0.02 * size)
    if window is None:
        return

    def put(corners: Corners, colour: Array, sun: float, glow: float = 0.0, rough: float = 0.05) -> None:
        canvas.paint(
            _convex(canvas, window, [(x + mirror * right, y - up) for right, up in corners]),
            HOUSE,
            albedo=colour * np.clip(1 + rough * grain[window], 0.5, 1.5)[..., None].astype(np.float32),
            sun=sun,
            ambient=0.85,
            km=km,
            emission=glow * LAMP,
            instance=instance,
            window=window,
        )

    walls = np.array(WALLS[rng.integers(len(WALLS))], np.float32) * float(rng.uniform(0.85, 1.1))
    roof = np.array(ROOFS[rng.integers(len(ROOFS))], np.float32) * float(rng.uniform(0.8, 1.25))
    gable_sun, side_sun = (0.85, 0.3) if light.side * mirror < 0 else (0.3, 0.85)

    put(_rectangle(0.55 * depth, wall, 0.55 * depth + 0.1 * size, top + 0.16 * size), 0.8 * roof, side_sun)  # chimney
    put([(0, 0), (depth, rise), (depth, wall + 0.4 * rise), (0, wall)], walls, side_sun)
    put([(-front, 0.3 * rise), (0, 0), (0, wall), (-front / 2, top), (-front, wall)], walls, gable_sun)
    near = [(-front / 2 - 0.3 * eave, top + 0.4 * eave), (eave, wall - eave)]
    far = [(depth + eave, wall - eave + 0.5 * rise), (depth - front / 2 + eave, top + 0.3 * rise)]
    put(near + far, roof, min(1.0, side_sun + 0.15), rough=0.14)
    panes = [(depth * (0.16 + 0.3 * number), 0.42 * wall) for number in range(3 if depth > 0.9 * size else 2)]
    for left, low in panes:
        pane = _rectangle(left, low, left + 0.15 * size, low + 0.36 * wall)
        put(pane, GLASS, 0.25, glow=light.lighting.lamps * float(rng.random() < 0.75))
    put(_rectangle(-0.58 * front, 0, -0.36 * front, 0.6 * wall), 0.6 * roof, gable_sun)  # door
    attic = _rectangle(-0.6 * front, wall, -0.4 * front, wall + 0.13 * size)
    put(attic, GLASS, 0.25, glow=light.lighting.lamps * float(rng.random() < 0.75))


def _rectangle(left: float, low: float, right: float, high: float) -> Corners:
    return [(left, low), (right, low), (right, high), (left, high)]


def _convex(canvas: Canvas, window: Window, points: Corners) -> Array:
    """Signed distance in pixels to the edges of a convex polygon of either orientation, positive inside."""
    px, py = canvas.x[window[1]][None, :], canvas.y[window[0]][:, None]
    corners = np.asarray(points)
    following = np.roll(corners, -1, axis=0)
    area = float(np.sum(corners[:, 0] * following[:, 1] - following[:, 0] * corners[:, 1]))
    inside = np.full((py.shape[0], px.shape[1]), np.inf, np.float32)
    for (ax, ay), (bx, by) in zip(corners, following, strict=True):
        cross = ((bx - ax) * (py - ay) - (by - ay) * (px - ax)) * np.sign(area)
        inside = np.minimum(inside, cross / max(float(np.hypot(bx - ax, by - ay)), 1e-9))
    return inside * canvas.height
