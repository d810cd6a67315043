"""The scores of rows by value, from cells whose scores are made up; what is written of them; and what a row costs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from evaluation.metrics.confusion import ConfusionMatrix
from evaluation.scoring.image_results import Confusions
from evaluation.study.cells import CellResult, Trained
from evaluation.study.cost import measure_cost
from evaluation.study.latex import render_latex
from evaluation.study.page import render_csv, summary
from evaluation.study.statistics import SCORES, score_rows
from evaluation.study.study import RowResult, StudyResult
from pipeline.checkpoints.file import build_generator
from pipeline.config import Recipe
from pipeline.networks.generator import layer_sizes
from pipeline.networks.spade import SPADE
from tests.evaluation.conftest import make_recipe

MAPS = 20


def cell(share: float, **scores: float | None) -> CellResult:
    """Two classes of 500 pixels each on every map, of which this share is found; other scores as given, or 2."""
    right = round(500 * share)
    counts = np.array([[right, 500 - right, 0], [500 - right, right, 0], [0, 0, 0]], np.int64)
    given = {name: scores.get(name, 2.0) for name in SCORES}
    return CellResult(
        trained=Trained(10, 4.0, 5.0),
        images=Path("images"),
        confusions=Confusions.of([ConfusionMatrix(2, counts)] * MAPS, 2),
        ids=tuple(f"map-{index:02d}" for index in range(MAPS)),
        scores=given | {"mean_iou": share / (2 - share), "accuracy": share},
        deviations={"frechet": 0.3},
        ceiling={"mean_iou": 0.9, "accuracy": 0.95},
        independence="independent",
        warnings=(),
    )


def made_up(**rows: list[CellResult]) -> StudyResult:
    scores = score_rows(rows, next(iter(rows)), "present")
    return StudyResult(
        name="study_1",
        reference=next(iter(rows)),
        seeds=tuple(range(len(next(iter(rows.values()))))),
        budget="10 steps",
        rows=tuple(
            RowResult(
                name=name,
                recipe="r.yaml",
                overrides=("a.b=1",),
                seeds=tuple(range(len(cells))),
                scores=scores[name],
                parameters=1_500_000,
                gmac=2.5,
                steps=(10,),
                seconds=(4.0,),
                images_per_second=(5.0,),
                images=(),
                independence="independent",
            )
            for name, cells in rows.items()
        ),
        label_maps=MAPS,
        ceiling={"mean_iou": 0.9, "accuracy": 0.95},
        settings={},
        warnings=(),
        photographs="",
        size=(32, 32),
    )


def test_means_spreads_and_significance_of_rows() -> None:
    """Maps are all alike, so that what is left is the chance of seeds: Welch's test."""
    plain, noise = (0.70, 0.72, 0.75), (0.80, 0.86, 0.83)
    found = made_up(
        plain=[cell(share, frechet=value) for share, value in zip(plain, (10.0, 11.0, 12.0), strict=True)],
        noise=[cell(share, frechet=value) for share, value in zip(noise, (4.0, 5.0, 9.0), strict=True)],
    )
    base, row = found.rows
    score = row.scores["accuracy"]
    assert score.seeds == noise
    assert score.estimate.value == pytest.approx(0.83)
    assert score.estimate.spread == pytest.approx(np.std(noise, ddof=1))
    welch = stats.ttest_ind(noise, plain, equal_var=False)
    assert score.gain.p == pytest.approx(welch.pvalue)
    assert (score.gain.low, score.gain.high) == pytest.approx(tuple(welch.confidence_interval()))
    assert base.scores["accuracy"].gain is None
    assert row.scores["mean_iou"].gain.value == pytest.approx(
        np.mean([share / (2 - share) for share in noise]) - np.mean([share / (2 - share) for share in plain])
    )

    # Distances: between seeds, and 0.3 by the maps for each row.
    distance = row.scores["frechet"].gain
    parts = [(2 * 0.3**2, MAPS - 1), (np.var((4, 5, 9), ddof=1) / 3, 2), (1 / 3, 2)]
    variance = sum(part for part, _ in parts)
    freedom = variance**2 / sum(part**2 / degrees for part, degrees in parts)
    assert distance.value == pytest.approx(-5)
    assert distance.p == pytest.approx(2 * stats.t.sf(5 / variance**0.5, freedom))

    assert summary(found).startswith("noise has the highest mean IoU, 71.0%, +14.3 points from plain")
    assert ": a significant difference. Of 3 seeds, 10 steps each." in summary(found)


def test_a_reference_that_is_best_is_said_to_be_and_what_is_lower() -> None:
    found = made_up(plain=[cell(0.9), cell(0.91)], worse=[cell(0.5), cell(0.51)], alike=[cell(0.88), cell(0.92)])
    assert summary(found) == (
        "plain has the highest mean IoU, 82.7%, the reference itself; significantly lower: worse. "
        "Of 2 seeds, 10 steps each."
    )


def test_a_score_that_a_seed_lacks_is_left_open() -> None:
    found = made_up(plain=[cell(0.7), cell(0.8)], noise=[cell(0.7, coverage=None), cell(0.8)])
    assert found.rows[1].scores["coverage"].estimate is None
    assert found.rows[1].scores["coverage"].seeds == (None, 2.0)
    assert "noise,r.yaml,a.b=1" in render_csv(found)


def test_intervals_stay_within_what_a_score_can_be_and_of_equal_rows_the_reference_is_best() -> None:
    several = [cell(0.8, coverage=0.2, frechet=1.0, power_factor=1.1), cell(0.8, coverage=0.8, power_factor=9.0)]
    found = made_up(plain=several, again=several)
    ends = {name: (score.estimate.low, score.estimate.high) for name, score in found.rows[1].scores.items()}
    assert ends["coverage"] == (0, 1)
    assert ends["frechet"][0] == 0
    assert ends["power_factor"][0] == 1
    assert found.rows[1].scores["coverage"].gain.low < -1  # of a difference nothing is cut off
    assert summary(found).startswith("plain has the highest mean IoU")


def test_the_table_for_latex() -> None:
    table = render_latex(made_up(**{"plain_1": [cell(0.7), cell(0.8)], "50%": [cell(0.9), cell(0.9)]}))
    lines = table.splitlines()
    assert r"plain\_1 & 60.3 {\scriptsize $\pm$ 9.1} & 75.0 {\scriptsize $\pm$ 7.1}" in table
    (row,) = [line for line in lines if line.startswith(r"50\% & 81.8")]
    assert row.count("&") == len(SCORES) + 3
    assert row.endswith(r"1.5 & 2.50 & 4 \\")
    assert r"\caption{study\_1: 2 seeds, 10 steps each, 20 label maps; $\pm$" in table
    assert "One seed, an anecdote" in render_latex(made_up(plain=[cell(0.7)]))


def test_costs_are_those_of_the_dense_layers(data: Path) -> None:
    """One hidden channel more in every SPADE layer: nine inputs of the one-hot map each, and nine of gamma and beta."""
    recipe = make_recipe(data)

    def sized(**settings: int) -> Recipe:
        return recipe.model_copy(update={"generator": recipe.generator.model_copy(update={"channels": 2, **settings})})

    one, other = sized(hidden=4), sized(hidden=5)
    layers = [layer for layer in build_generator(one).modules() if isinstance(layer, SPADE)]
    sizes = layer_sizes(one.generator, (32, 32))
    # The one-hot map has three classes and don't-care.
    inner = [9 * 4 + 9 * 2 * layer.gamma.out_channels for layer in layers]
    before, after = measure_cost(one), measure_cost(other)
    assert after.parameters - before.parameters == sum(inner) + len(layers)  # and a bias
    expected = sum(height * width * count for (height, width), count in zip(sizes, inner, strict=True)) / 1e9
    assert after.gmac - before.gmac == pytest.approx(expected)
    twice = one.model_copy(update={"data": one.data.model_copy(update={"height": 64, "width": 64})})
    assert measure_cost(twice).gmac == pytest.approx(4 * before.gmac)
