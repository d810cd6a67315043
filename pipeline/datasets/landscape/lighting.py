"""The light of a scene: time of day and weather, which change the colour of everything."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Lighting:
    """Colours are linear RGB; pairs are ranges to draw from; heights are fractions of the sky above the horizon."""

    name: str
    zenith: Colour
    """Sky overhead."""
    horizon: Colour
    """Sky low down."""
    glow: Colour
    """Light around the sun in the sky."""
    sun: Colour
    """Direct light on surfaces that face it."""
    disc: Colour
    """The sun (or moon) itself."""
    ambient: Colour
    """Light from the whole sky."""
    haze: Colour
    """What distance fades into."""
    cloud_light: Colour
    cloud_dark: Colour
    sun_height: tuple[float, float]
    sun_seen: float
    """How likely the sun is inside the picture."""
    cover: tuple[float, float]
    """Share of the sky that is clouds."""
    haze_per_km: tuple[float, float]
    exposure: tuple[float, float]
    grain: float
    """Standard deviation of the sensor noise, of 255."""
    stars: bool = False
    lamps: float = 0.0
    """Brightness of lit windows."""


LIGHTINGS = (
    Lighting(
        name="day",
        zenith=(0.09, 0.25, 0.66),
        horizon=(0.46, 0.66, 0.92),
        glow=(0.9, 0.85, 0.7),
        sun=(1.55, 1.42, 1.18),
        disc=(9.0, 8.6, 7.2),
        ambient=(0.34, 0.42, 0.56),
        haze=(0.5, 0.66, 0.88),
        cloud_light=(1.5, 1.5, 1.48),
        cloud_dark=(0.5, 0.56, 0.68),
        sun_height=(0.45, 0.85),
        sun_seen=0.4,
        cover=(0.05, 0.45),
        haze_per_km=(0.025, 0.07),
        exposure=(1.15, 1.45),
        grain=1.6,
    ),
    Lighting(
        name="sunset",
        zenith=(0.10, 0.13, 0.36),
        horizon=(1.05, 0.47, 0.17),
        glow=(1.9, 0.75, 0.18),
        sun=(1.5, 0.66, 0.24),
        disc=(14.0, 7.5, 2.4),
        ambient=(0.25, 0.20, 0.27),
        haze=(0.72, 0.36, 0.24),
        cloud_light=(1.5, 0.62, 0.30),
        cloud_dark=(0.24, 0.17, 0.26),
        sun_height=(0.06, 0.3),
        sun_seen=0.85,
        cover=(0.1, 0.5),
        haze_per_km=(0.04, 0.1),
        exposure=(1.1, 1.5),
        grain=2.2,
    ),
    Lighting(
        name="overcast",
        zenith=(0.62, 0.70, 0.80),
        horizon=(0.95, 0.97, 0.98),
        glow=(0.1, 0.1, 0.1),
        sun=(0.22, 0.22, 0.21),
        disc=(1.0, 1.0, 1.0),
        ambient=(0.78, 0.83, 0.88),
        haze=(0.72, 0.76, 0.80),
        cloud_light=(0.62, 0.65, 0.70),
        cloud_dark=(0.14, 0.155, 0.19),
        sun_height=(0.5, 0.9),
        sun_seen=0.0,
        cover=(0.45, 0.85),
        haze_per_km=(0.06, 0.16),
        exposure=(0.95, 1.25),
        grain=2.0,
    ),
    Lighting(
        name="night",
        zenith=(0.006, 0.012, 0.045),
        horizon=(0.035, 0.06, 0.14),
        glow=(0.14, 0.18, 0.26),
        sun=(0.16, 0.20, 0.30),
        disc=(3.2, 3.3, 3.0),
        ambient=(0.030, 0.045, 0.095),
        haze=(0.03, 0.05, 0.12),
        cloud_light=(0.15, 0.18, 0.27),
        cloud_dark=(0.022, 0.03, 0.06),
        sun_height=(0.4, 0.85),
        sun_seen=0.65,
        cover=(0.0, 0.35),
        haze_per_km=(0.03, 0.08),
        exposure=(1.6, 2.1),
        grain=4.0,
        stars=True,
        lamps=1.6,
    ),
)
"""Every lighting is equally likely."""


@dataclass(frozen=True)
class Light:
    """A lighting at one moment: what is drawn from its ranges. Positions are in picture heights."""

    lighting: Lighting
    sun_x: float
    sun_y: float
    sun_seen: bool
    side: float
    """From which side light falls: -1 left to 1 right."""
    cover: float
    haze: float
    exposure: float

    @classmethod
    def draw(cls, lighting: Lighting, rng: np.random.Generator, *, horizon: float, aspect: float) -> Light:
        """One moment of a lighting over a horizon at `horizon`, in a picture `aspect` times as wide as high."""
        seen = bool(rng.random() < lighting.sun_seen)
        sun_x = float(rng.uniform(0.12, 0.88)) * aspect
        side = float(np.clip((sun_x / aspect - 0.5) * 2.5, -1, 1)) if seen else float(rng.choice([-0.9, 0.9]))
        return cls(
            lighting=lighting,
            sun_x=sun_x,
            sun_y=horizon * (1 - float(rng.uniform(*lighting.sun_height))),
            sun_seen=seen,
            side=side,
            cover=float(rng.uniform(*lighting.cover)),
            haze=float(rng.uniform(*lighting.haze_per_km)),
            exposure=float(rng.uniform(*lighting.exposure)),
        )
