"""A canvas that collects what is where, and turns it into light at the end (deferred shading)."""

from __future__ import annotations

import numpy as np

from pipeline.datasets.landscape.lighting import Light
from pipeline.datasets.landscape.noise import Noise

Array = np.ndarray
Window = tuple[slice, slice]


class Canvas:
    """Layers painted from far to near. Positions are in picture heights, x to the right and y down from the corner."""

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width = height, width
        self.aspect = width / height
        self.y = ((np.arange(height) + 0.5) / height).astype(np.float32)
        self.x = ((np.arange(width) + 0.5) / height).astype(np.float32)
        self.label = np.zeros((height, width), np.uint8)
        self.instance = np.zeros((height, width), np.uint16)
        self.albedo = np.zeros((height, width, 3), np.float32)
        self.emission = np.zeros((height, width, 3), np.float32)
        self.sun = np.zeros((height, width), np.float32)
        """How much direct light a pixel gets."""
        self.ambient = np.ones((height, width), np.float32)
        """How much light of the sky."""
        self.km = np.zeros((height, width), np.float32)
        self.water = np.zeros((height, width), np.float32)
        self.foam = np.zeros((height, width), np.float32)
        """How white the water is."""
        self.stars = np.zeros((height, width), np.float32)
        """Points of light that water is too rough to mirror."""

    def window(self, left: float, top: float, right: float, bottom: float) -> Window | None:
        """The pixels that a box touches; None where it lies outside the picture."""
        rows = slice(max(0, int(top * self.height) - 1), min(self.height, int(bottom * self.height) + 2))
        columns = slice(max(0, int(left * self.height) - 1), min(self.width, int(right * self.height) + 2))
        return (rows, columns) if rows.start < rows.stop and columns.start < columns.stop else None

    def paint(
        self,
        inside: Array,
        label: int,
        *,
        albedo: Array | tuple[float, float, float] = (0, 0, 0),
        sun: Array | float = 0.0,
        ambient: Array | float = 1.0,
        km: Array | float = 0.0,
        emission: Array | tuple[float, float, float] = (0, 0, 0),
        water: float = 0.0,
        instance: int = 0,
        window: Window = (slice(None), slice(None)),
    ) -> None:
        """Cover `window` where `inside` (signed distance to the edge in pixels) is positive, the edge smoothed.

        The label map gets the pixels whose centre is inside, without smoothing.
        """
        cover = np.clip(inside + 0.5, 0, 1)
        hard = inside >= 0
        self.label[window][hard] = label
        self.instance[window][hard] = instance
        levels = ((self.sun, sun), (self.ambient, ambient), (self.km, km), (self.water, water), (self.stars, 0.0))
        for buffer, value in levels:
            part = buffer[window]
            part += cover * (value - part)
        for colours, colour in ((self.albedo, albedo), (self.emission, emission)):
            area = colours[window]
            area += cover[..., None] * (np.asarray(colour, np.float32) - area)

    def develop(self, light: Light, noise: Noise, horizon: float) -> Array:
        """The photograph, uint8 `[H, W, 3]`: surfaces lit, haze, reflections, exposure, vignette and sensor noise."""
        lighting = light.lighting
        picture = self.albedo * (
            np.asarray(lighting.ambient, np.float32) * self.ambient[..., None]
            + np.asarray(lighting.sun, np.float32) * self.sun[..., None]
        )
        clear = np.exp(-light.haze * self.km)[..., None]
        picture *= clear
        picture += (1 - clear) * self._haze(light)
        picture += self.emission
        if self.water.any():
            self._reflect(picture, light, noise, horizon)
        picture += self.stars[..., None]
        picture = 1 - np.exp(-light.exposure * np.clip(picture, 0, None))
        fall = ((self.x - self.aspect / 2) ** 2)[None, :] + ((self.y - 0.5) ** 2)[:, None]
        picture *= (1 - 0.22 * fall / fall.max())[..., None]
        picture = 255 * picture ** np.float32(1 / 2.2)
        stream = noise.stream("sensor")
        grain = stream.standard_normal((self.height, self.width, 1), np.float32)
        colour = stream.standard_normal((self.height, self.width, 3), np.float32)
        picture += lighting.grain * (0.8 * grain + 0.4 * colour)
        return np.clip(np.rint(picture), 0, 255).astype(np.uint8)

    def _haze(self, light: Light) -> Array:
        """The colour of the distance, `[1 or H, W, 3]`: warmer towards the sun."""
        base, glow = np.asarray(light.lighting.haze, np.float32), np.asarray(light.lighting.glow, np.float32)
        near = np.exp(-((self.x - light.sun_x) ** 2) / 0.25) if light.sun_seen else np.zeros_like(self.x)
        return (base + 0.28 * near[:, None] * glow)[None]

    def _reflect(self, picture: Array, light: Light, noise: Noise, horizon: float) -> None:
        """Put water into `picture`: the mirrored scene, broken by waves, over the colour of the depth, and glitter."""
        rows = np.flatnonzero(self.water.any(axis=1))
        top, bottom = int(rows[0]), int(rows[-1]) + 1
        below = np.clip((self.y[top:bottom] - horizon) / (1 - horizon), 0.004, 1)
        centred = self.x - self.aspect / 2
        waves = noise.ground("waves", below, centred, 7.0, stretch=5.0, octaves=4)
        swell = noise.ground("swell", below, centred, 1.6, stretch=7.0, octaves=2)
        slope = 0.75 * waves + 0.5 * swell
        mirrored = 2 * horizon - self.y[top:bottom, None] - np.abs(slope) * (0.01 + 0.07 * below[:, None])
        from_row = np.clip((mirrored * self.height).astype(np.intp), 0, max(0, int(horizon * self.height) - 1))
        shift = (slope * (0.004 + 0.02 * below[:, None]) * self.height).astype(np.intp)
        from_column = np.clip(np.arange(self.width) + shift, 0, self.width - 1)
        mirror = picture[from_row, from_column]
        # Schlick's approximation would need the true slopes; grazing far away, clearer and darker up close is enough.
        fresnel = np.clip(0.78 - 0.5 * below[:, None] ** 0.6 + 0.14 * slope, 0.08, 0.95)[..., None]
        lighting = light.lighting
        lit = np.asarray(lighting.ambient, np.float32) + 0.45 * np.asarray(lighting.sun, np.float32)
        body = self.albedo[top:bottom] * lit * (1 + 0.16 * slope[..., None])
        surface = fresnel * mirror + (1 - fresnel) * body
        if light.sun_seen:
            spread = 0.02 + 0.12 * below[:, None]
            path = np.exp(-(((self.x - light.sun_x) / spread) ** 2))
            sparkle = np.clip(slope - 0.35, 0, None) ** 1.5 * (0.35 + 0.65 * below[:, None] ** 0.3)
            surface = surface + (path * sparkle)[..., None] * np.asarray(lighting.disc, np.float32) * 0.22
        foam = self.foam[top:bottom, :, None]
        white = 0.75 * (np.asarray(lighting.ambient, np.float32) + 0.8 * np.asarray(lighting.sun, np.float32))
        surface = surface * (1 - foam) + foam * white
        part = picture[top:bottom]
        part += self.water[top:bottom, :, None] * (surface - part)
