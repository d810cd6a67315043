"""Texture against known answers: noise, gratings, enlargements, rendered photographs."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.metrics.texture import (
    COLUMNS,
    PERIODS,
    ROUNDING,
    TextureStatistics,
    luminance,
    window_side,
    window_sums,
)
from pipeline.datasets.landscape.dataset import SPACE, draw_scene

SIDE = 256
ONE_CLASS = np.zeros((SIDE, SIDE), int)


def noise(deviation: float = 20, seed: int = 0, size: int = SIDE) -> np.ndarray:
    """Grey white noise around 128, float64 `[size, size]`."""
    return np.random.default_rng(seed).normal(128, deviation, (size, size))


def grating(period: int, amplitude: float, *, diagonal: bool = False) -> np.ndarray:
    """Waves along both axes, or their product, whose peaks lie at (f, f)."""
    wave = np.cos(2 * np.pi * np.arange(SIDE) / period)
    return amplitude * (np.outer(wave, wave) if diagonal else wave[:, None] + wave[None, :])


def score(amplitude: float, period: int) -> float:
    """The lattice score of `amplitude * exp(i f x)` on that noise.

    A cosine is two such waves of half its amplitude, or, at a period of 2 pixels, one of all of it.
    """
    side = window_side(period)
    hann = np.sin(np.pi * np.arange(side) / side) ** 2
    return 1 + amplitude**2 * (hann.sum() ** 2 / (hann**2).sum()) ** 2 / 20**2


def picture(light: np.ndarray) -> np.ndarray:
    return np.repeat(light.round().clip(0, 255).astype(np.uint8)[..., None], 3, 2)


def statistics(*images: np.ndarray) -> TextureStatistics:
    found = TextureStatistics(1)
    for image in images:
        found.update(image, ONE_CLASS)
    return found


def enlarge(image: np.ndarray, times: int) -> np.ndarray:
    return image.repeat(times, 0).repeat(times, 1)


def test_white_noise_is_flat_and_has_no_lattice() -> None:
    found = statistics(*(picture(noise(seed=seed)) for seed in range(6)))
    assert found.windows.tolist() == [[6 * 31**2, 6 * 31**2, 6 * 15**2, 6 * 7**2]]
    # Rounding to grey levels adds 1/12 for three channels alike.
    assert found.power()[0] == pytest.approx(400 + 1 / 12, rel=0.06)
    assert found.lattice()[0] == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("period", PERIODS)
def test_a_grating_on_noise_has_the_score_of_its_amplitude(period: int) -> None:
    found = [statistics(*(picture(noise(seed=seed) + added) for seed in range(6))) for added in (0, grating(period, 6))]
    place = PERIODS.index(period)
    assert found[1].lattice()[0, place, 0] == pytest.approx(score(6 if period == 2 else 3, period), rel=0.15)
    # Nothing else changes: neither other periods, nor the diagonal, nor what is around.
    others = [index for index in range(len(PERIODS)) if index != place]
    assert found[1].lattice()[0, others] == pytest.approx(found[0].lattice()[0, others], rel=0.15)
    assert found[1].lattice()[0, place, 1] == pytest.approx(found[0].lattice()[0, place, 1], rel=0.1)


@pytest.mark.parametrize("period", PERIODS)
def test_a_diagonal_grating_is_told_from_one_along_the_axes(period: int) -> None:
    found = statistics(*(picture(noise(seed=seed) + grating(period, 12, diagonal=True)) for seed in range(3)))
    place = PERIODS.index(period)
    assert found.lattice()[0, place, 0] == pytest.approx(1, abs=0.3)
    assert found.lattice()[0, place, 1] == pytest.approx(score(12 if period == 2 else 3, period), rel=0.15)


def test_power_is_that_of_the_octave() -> None:
    found = statistics(picture(128 + grating(11, 20)))
    assert found.power()[0].argmax() == PERIODS.index(8)  # of 8 to 16 pixels
    assert found.power()[0, 0] < 1


def test_what_has_no_structure_has_no_lattice_and_only_the_power_of_rounding() -> None:
    found = statistics(picture(np.full((SIDE, SIDE), 77.0)))
    assert found.power()[0] == pytest.approx(ROUNDING)
    assert found.lattice()[0] == pytest.approx(1)


def landscapes(count: int = 6) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rendered photographs with their classes, 128x128."""
    scenes = [draw_scene(0, index, 128, 128) for index in range(count)]
    return [(scene.record.image, scene.record.label) for scene in scenes if scene.record.image is not None]


def of_class(name: str, pictures: list[tuple[np.ndarray, np.ndarray]]) -> TextureStatistics:
    found = TextureStatistics(len(SPACE.classes))
    for image, classes in pictures:
        found.update(image, classes)
    index = SPACE.classes.index(name)
    return TextureStatistics(1, found.sums[index : index + 1])


@pytest.mark.slow
def test_photographs_and_what_is_done_to_them() -> None:
    photographs = landscapes()
    sky = of_class("sky", photographs)
    assert sky.windows[0, 0] > 100
    assert sky.lattice()[0, :2, 0] == pytest.approx(1, abs=0.2)

    def changed(change) -> TextureStatistics:  # type: ignore[no-untyped-def]
        return of_class("sky", [(change(image), classes) for image, classes in photographs])

    nearest = changed(lambda image: enlarge(image.reshape(64, 2, 64, 2, 3).mean((1, 3)).round().astype(np.uint8), 2))
    assert nearest.lattice()[0, 0, 0] > 10
    assert nearest.lattice()[0, 1, 0] == pytest.approx(1, abs=0.3)
    assert nearest.power()[0, 0] < sky.power()[0, 0] / 3  # the shrinking took the grain

    rows = np.arange(128) % 4 == 0
    faint = 5 * (rows[:, None] | rows[None, :])[..., None]
    woven = changed(lambda image: (image + faint).clip(0, 255).astype(np.uint8))
    assert woven.lattice()[0, 1, 0] > 2
    assert woven.lattice()[0, 0, 0] > 1.3  # a line every four pixels has the period 2 too
    assert woven.power()[0, 0] < 1.5 * sky.power()[0, 0]


def test_nearest_neighbours_of_noise_have_less_at_their_period_than_around() -> None:
    """Every pair of neighbours is equal, so nothing alternates from pixel to pixel."""
    found = statistics(*(picture(enlarge(noise(seed=seed, size=SIDE // 2), 2)) for seed in range(4)))
    assert found.lattice()[0, 0, 0] < 0.5


def test_windows_lie_inside_a_class() -> None:
    classes = np.full((64, 64), -1)
    classes[:, 20:] = 1  # 44 columns: of windows at 24, 32, 40, 48
    classes[50:, 40:] = 5  # beyond the classes; rows 0 to 49: of windows at 0, 8, .. 32
    image = picture(noise()[:64, :64])
    found = TextureStatistics(3)
    found.update(image, classes)
    # At columns 24 (up to 39) rows 0 .. 48, at 32, 40 and 48 rows 0 .. 32.
    assert found.windows[:, 0].tolist() == [0, 7 + 3 * 5, 0]
    assert found.windows[1].tolist() == [22, 22, 2, 0]  # of 32x32: columns 32 on, rows 0 and 16
    assert np.isnan(found.power()[0]).all()
    places, sums = window_sums(image, classes, 1, 8)
    assert places.tolist() == [[0, 32], [16, 32]]
    assert sums.sum(0) == pytest.approx(found.sums[1, PERIODS.index(8)])


def test_parts_add_up_in_any_order() -> None:
    images = [picture(noise(seed=seed)) for seed in range(3)]
    whole, parts = statistics(*images), [statistics(image) for image in images]
    merged = parts[2].merge(parts[0]).merge(parts[1])
    assert merged.sums.dtype == np.float64
    np.testing.assert_allclose(merged.sums, whole.sums, rtol=1e-13)
    assert merged.sums.shape == (1, len(PERIODS), len(COLUMNS))


def test_pictures_smaller_than_a_window_have_none() -> None:
    found = TextureStatistics(1)
    found.update(picture(noise()[:15, :40]), ONE_CLASS[:15, :40])
    assert not found.windows.any()
    found.update(picture(noise()[:16, :40]), ONE_CLASS[:16, :40])
    assert found.windows.tolist() == [[4, 4, 0, 0]]


def test_luminance_has_the_weights_of_bt_601() -> None:
    assert luminance(np.eye(3)[None] * 255).tolist() == [pytest.approx([76.245, 149.685, 29.07])]
