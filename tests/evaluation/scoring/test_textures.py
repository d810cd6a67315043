"""Texture scores of sets of pictures, from statistics made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.metrics.confusion import ConfusionMatrix
from evaluation.metrics.texture import COLUMNS, PERIODS, ROUNDING, TextureStatistics
from evaluation.scoring.image_results import Confusions, ImageResults
from evaluation.scoring.textures import (
    FEWEST_WINDOWS,
    Textures,
    TextureScores,
    picture_distances,
    texture_rows,
    to_csv,
)


def picture(*, windows: int = 10, power: float = 10.0, axes: float = 1.0, diagonal: float = 1.0) -> TextureStatistics:
    """Three classes; the second with these means a window at every period, the third with a quarter of the windows and
    as photographs have it; the power around peaks is 4."""
    sums = np.zeros((3, len(PERIODS), len(COLUMNS)))
    around = 4 + ROUNDING
    row = [1, power - ROUNDING, axes * around - ROUNDING, 4, diagonal * around - ROUNDING, 4]
    sums[1] = np.array(row) * windows
    sums[2] = np.array([1, 10 - ROUNDING, 4, 4, 4, 4]) * (windows // 4)
    return TextureStatistics(3, sums)


def results(pictures: dict[str, TextureStatistics | list[TextureStatistics]]) -> ImageResults:
    several = {name: found if isinstance(found, list) else [found] for name, found in pictures.items()}
    found = [part for parts in several.values() for part in parts]
    count = len(found)
    return ImageResults(
        ids=np.array([name for name, parts in several.items() for _ in parts]),
        samples=np.array([sample for parts in several.values() for sample in range(len(parts))], np.int32),
        sizes=np.full((count, 2), 64, np.int32),
        confusions={"native": Confusions.of([ConfusionMatrix(2)] * count, 2)},
        boundaries={"native": np.zeros((count, 2, 4), np.int32)},
        features=np.zeros((count, 3), np.float32),
        texture=Textures.of(found, 3),
    )


PHOTOGRAPHS = results({name: picture() for name in "abcd"})
NAMES = ("sky", "grass", "sea")


def scores(generated: ImageResults, real: ImageResults = PHOTOGRAPHS) -> TextureScores:
    found = TextureScores.of(generated, real, NAMES, replicates=50)
    assert found is not None
    return found


def test_photographs_against_themselves_are_as_good_as_can_be() -> None:
    found = scores(PHOTOGRAPHS)
    assert (found.power_factor, found.lattice_factor) == (1, 1)
    assert set(found.classes) == {"grass", "sea"}
    grass = found.classes["grass"]
    assert set(grass.windows.values()) == {40}
    assert grass.power == pytest.approx(dict.fromkeys(("2", "4", "8", "16"), 10))
    assert set(grass.log_ratio.values()) == {0}
    assert grass.intervals["log_ratio 8"] == (0, 0)


def test_power_and_lattice_against_the_photographs() -> None:
    weak = scores(results({name: picture(power=2.5, axes=8, diagonal=0.1) for name in "abcd"}))
    grass = weak.classes["grass"]
    for period in ("2", "4", "8", "16"):
        assert grass.log_ratio[period] == pytest.approx(-2)
        assert (grass.axes[period], grass.diagonal[period]) == pytest.approx((8, 0.1))
    # Means over grass and sea, which is as in photographs: sqrt(4) and sqrt(8); less than theirs is no lattice.
    assert weak.power_factor == pytest.approx(2)
    assert weak.lattice_factor == pytest.approx(8**0.5)
    assert scores(results({name: picture(power=40) for name in "abcd"})).power_factor == pytest.approx(2)


def test_too_few_windows_say_nothing() -> None:
    few = FEWEST_WINDOWS - 1
    lone = results({"a": picture(windows=few, power=1000), "b": picture(windows=0)})
    found = scores(lone, results({name: picture() for name in "ab"}))
    assert found.classes == {}
    assert (found.power_factor, found.lattice_factor, found.intervals) == (None, None, {})


def test_intervals_draw_label_maps_with_all_their_samples_and_their_photograph() -> None:
    powers = {"a": 10.0, "b": 20.0, "c": 40.0, "d": 80.0}
    real = results({name: picture(power=power) for name, power in powers.items()})
    doubled = results({name: [picture(power=2 * power)] * 2 for name, power in powers.items()})
    grass = scores(doubled, real).classes["grass"]
    # Pairs differ by the same factor, whichever are drawn.
    assert grass.log_ratio["4"] == pytest.approx(1)
    assert grass.intervals["log_ratio 4"] == pytest.approx((1, 1))
    low, high = grass.intervals["power 4"]
    assert 20 < low < 75 < high < 160


def test_results_of_earlier_versions_have_no_texture() -> None:
    assert TextureScores.of(results({"a": picture()}), old_results(), NAMES) is None
    assert np.isnan(picture_distances(results({"a": picture()}), old_results())).all()


def old_results() -> ImageResults:
    from dataclasses import replace

    return replace(PHOTOGRAPHS, texture=None)


def test_distance_of_a_picture_from_its_photograph() -> None:
    generated = results({"b": [picture(), picture(power=40, axes=8)], "z": picture()})
    # Of 10 + 2 windows at each period ten are off: by 2 octaves of power and 3 of the lattice.
    assert picture_distances(generated, PHOTOGRAPHS) == pytest.approx([0, 5 * 10 / 12, np.nan], nan_ok=True)


def test_parts_are_joined_in_order_and_kept_in_files(tmp_path) -> None:  # type: ignore[no-untyped-def]
    parts = [results({"a": picture(power=3)}), results({"b": picture(windows=0), "c": picture(axes=2)})]
    joined = ImageResults.joined(parts)
    joined.save(tmp_path / "r.npz")
    loaded = ImageResults.load(tmp_path / "r.npz").texture
    assert loaded is not None
    assert (len(loaded), loaded.classes, loaded.offsets.tolist()) == (3, 3, [0, 2, 2, 4])
    assert np.array_equal(loaded.statistics(2).sums, picture(axes=2).sums)
    assert np.array_equal(loaded.total().sums, picture(power=3).merge(picture(axes=2)).sums)
    totals = loaded.totals(np.array([[1, 1, 1], [0, 5, 2]]))
    assert totals[0] == pytest.approx(loaded.total().sums)
    assert totals[1] == pytest.approx(2 * picture(axes=2).sums)


def test_rows_for_tables() -> None:
    text = to_csv(texture_rows([("synthesized", scores(PHOTOGRAPHS)), ("old", None)]))
    heading, *lines = text.splitlines()
    assert heading.startswith("set,class,period,windows,power,power_low,power_high,log_ratio,")
    assert len(lines) == 2 * 4
    assert lines[0].startswith("synthesized,grass,2,40,10.0,10.0,10.0,0.0,")
    assert to_csv(texture_rows([("old", None)])) == ""
