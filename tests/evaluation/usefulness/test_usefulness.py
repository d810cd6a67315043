"""Arms, overlap, what is read off trainings whose scores are known, and real cells that are killed and resumed."""

from __future__ import annotations

import csv
import json
import re
import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from cli import main
from evaluation.metrics.confusion import ConfusionMatrix
from evaluation.scoring.image_results import Confusions
from evaluation.segmenters.training import train as training
from evaluation.usefulness import cells as cells_module
from evaluation.usefulness.arms import SyntheticSet, list_arms, parse_fractions, parse_sets
from evaluation.usefulness.cells import RESULT, Cell
from evaluation.usefulness.page import summary, write_usefulness
from evaluation.usefulness.usefulness import list_sources, measure_usefulness
from pipeline.data.records import DatasetInfo, RecordWriter
from pipeline.errors import InputError
from pipeline.recipe_file import parse_recipe
from tests.evaluation.conftest import SPACE, draw, make_recipe, stopped_at_step, write_records
from tests.pages import check_page

HALVES = (Fraction(1, 2), Fraction(1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen real records, eight synthetic ones of the same label maps, and six to test on."""
    folder = tmp_path_factory.mktemp("sets")
    real = [draw(index) for index in range(16)]
    write_records(folder / "train.parquet", real)
    write_records(folder / "validation.parquet", [draw(index) for index in range(100, 106)])
    random = np.random.default_rng(0)
    darker = [replace(one, image=(one.image // 2 + random.integers(0, 9)).astype(np.uint8)) for one in real[:8]]
    write_records(folder / "images.parquet", darker)
    return folder


def measure(folder: Path, out: Path, **options: Any) -> Any:
    synthetic = options.pop("synthetic", {"synthetic": SyntheticSet(str(folder / "images.parquet"))})
    given = {"fractions": HALVES, "mixed_at": (Fraction(1),), "seeds": 2, **options}
    recipe = given.pop("recipe", make_recipe(folder, steps=2))
    real = given.pop("real", folder / "train.parquet")
    test = given.pop("test", folder / "validation.parquet")
    return measure_usefulness(recipe, out, real=real, synthetic=synthetic, test=test, **given)


def scored(share: float) -> Confusions:
    """Six test maps of three classes, of which this share of pixels is found."""
    right = round(1000 * share)
    counts = np.zeros((4, 4), np.int64)
    for one in range(3):
        counts[one, one], counts[one, (one + 1) % 3] = right, 1000 - right
    return Confusions.of([ConfusionMatrix(3, counts)] * 6, 3)


def test_arms_are_the_curve_each_set_alone_and_the_mixtures() -> None:
    arms = list_arms(80, ["a", "b"], fractions=parse_fractions("1/8,1"), mixed_at=parse_fractions("1/8"))
    assert [(arm.name, arm.real) for arm in arms] == [
        ("real 1/8", 10),
        ("real", 80),
        ("a", 0),
        ("b", 0),
        ("real 1/8 + a", 10),
        ("real 1/8 + b", 10),
    ]
    mixed = list_arms(80, ["a"], fractions=parse_fractions("1/8"), mixed_at=parse_fractions("1"), mixed_only=True)
    assert [arm.name for arm in mixed] == ["real 1/8", "real", "real + a"]
    mixture = list_sources(arms[-1], "r.parquet", {"b": SyntheticSet("b/", "label_trusted")}, 0.25)
    assert [(part.path, part.count, part.weight, part.label_column) for part in mixture] == [
        ("r.parquet", 10, 0.75, "label"),
        ("b", None, 0.25, "label_trusted"),
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"seeds": 1}, "--seeds 1: one training says nothing about chance; give 3 or more"),
        ({"fractions": (Fraction(1, 100),)}, "1/100 of 16 real photographs is 0; take larger fractions"),
        ({"synthetic_share": 1.0}, "synthetic share 1 is not between 0 and 1"),
        ({"real_last": 1.0}, "--real-last 1: give a share of 0 or more, and below 1"),
        ({"real_last": 0.2}, "--real-last 0.2 of 2 steps is 0; a mixed training needs both kinds"),
        ({"synthetic": {"real": SyntheticSet("x")}}, "cannot be called 'real'"),
    ],
)
def test_settings_that_cannot_work(folder: Path, tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        measure(folder, tmp_path, **options)


def test_a_folder_may_end_in_a_slash(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cell, "run", lambda cell: scored(0.7))
    shutil.copytree(folder, tmp_path / "images", ignore=shutil.ignore_patterns("train*", "validation*"))
    names = {
        path: [arm.name for arm in measure(folder, tmp_path / "out", synthetic={"a": SyntheticSet(path)}).arms]
        for path in (f"{tmp_path}/images/", f"{tmp_path}/images", f"{tmp_path}//images/./")
    }
    assert set(map(tuple, names.values())) == {("real 1/2", "real", "a", "real + a")}


def test_names_and_columns_of_sets() -> None:
    assert parse_sets(["a=x/", "b=y/"], ["b=label_trusted"])["b"] == SyntheticSet("y/", "label_trusted")
    with pytest.raises(InputError, match="write NAME=VALUE"):
        parse_sets(["a=x/", "y/"], [])
    with pytest.raises(InputError, match="--label-column of 'c', but the synthetic sets are a"):
        parse_sets(["a=x/"], ["c=label"])
    for text in ("half", "nan", "inf", "2", "1e999999999", "1e-999999999", "1/0", ""):  # 10**999999999 would take hours
        with pytest.raises(InputError, match=f"'{text}' is no list of fractions"):
            parse_fractions(text)


def test_a_test_set_that_shares_anything_with_training_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"16 ids of the real data .* are in the test set"):
        measure(folder, tmp_path / "out", test=folder / "train.parquet")
    renamed = [replace(draw(index), id=f"other-{index}") for index in range(100, 103)]
    photographs = write_records(tmp_path / "photographs.parquet", renamed)
    with pytest.raises(InputError, match=r"3 photographs of 'leak' .*'other-100'"):
        measure(folder, tmp_path / "out", synthetic={"leak": SyntheticSet(str(photographs))})
    darker = [replace(record, image=record.image // 2) for record in renamed]
    maps = write_records(tmp_path / "maps.parquet", darker)
    with pytest.raises(InputError, match="3 label maps of 'leak'"):
        measure(folder, tmp_path / "out", synthetic={"leak": SyntheticSet(str(maps))})


def test_what_is_read_off_known_scores(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A segmenter whose score is a known function of what it is trained on: the synthetic set is worth 8 photographs.

    The page must find that, which is the test of the tool itself: drawing 8 more photographs scores as much.
    """

    def run(cell: Cell) -> Confusions:
        sources = cell.recipe.data.train
        photographs = sum((source.count or 16) if source.name == "real" else 8 for source in sources)
        return scored(0.5 + 0.05 * np.log2(photographs) + 0.002 * (-1) ** cell.recipe.segmenter.seed)

    monkeypatch.setattr(Cell, "run", run)
    found = measure(folder, tmp_path, mixed_at=HALVES, seeds=4)
    by_name = {arm.name: arm for arm in found.arms}
    assert list(by_name) == ["real 1/2", "real", "synthetic", "real 1/2 + synthetic", "real + synthetic"]
    half = by_name["real 1/2 + synthetic"]
    assert half.mean_iou.value == pytest.approx(by_name["real"].mean_iou.value)
    assert half.exchange.further == pytest.approx(8, abs=0.1)
    assert half.exchange.low < 16 < half.exchange.high
    best = found.headline
    assert best.name == "real + synthetic"
    assert best.exchange.further == pytest.approx(8, abs=1)
    assert best.exchange.extrapolated
    assert best.gain.significant
    assert best.gain.value == pytest.approx(best.mean_iou.value - by_name["real"].mean_iou.value)
    assert best.class_gain["lamp"] == pytest.approx(best.gain.value)
    assert by_name["synthetic"].gain.value < 0  # against all real ones

    part = measure(folder, tmp_path, mixed_at=HALVES[:1], mixed_only=True, seeds=4)
    assert [arm.name for arm in part.arms] == ["real 1/2", "real", "real 1/2 + synthetic"]
    assert summary(part).startswith("real 1/2 + synthetic gains")
    assert "over the 8 real photographs alone" in summary(part)
    write_usefulness(tmp_path, part)
    assert "pictures alone" not in (tmp_path / "usefulness.html").read_text()
    with pytest.raises(InputError, match="no segmenter would see synthetic pictures"):
        measure(folder, tmp_path, mixed_at=(), mixed_only=True)


def test_photographs_at_the_end_are_for_mixed_trainings_only(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells: dict[float, dict[tuple[str, ...], Cell]] = {0.0: {}, 0.5: {}}
    for share, found in cells.items():

        def run(cell: Cell, found: dict[tuple[str, ...], Cell] = found) -> Confusions:
            found[tuple(source.name for source in cell.recipe.data.train)] = cell
            return scored(0.7)

        monkeypatch.setattr(Cell, "run", run)
        measure(folder, tmp_path, fractions=HALVES[1:], real_last=share)
    for sources, cell in cells[0.5].items():
        mixed = sources == ("real", "synthetic")
        assert cell.last_steps == (1 if mixed else 0)
        assert (cell.path == cells[0.0][sources].path) != mixed  # the others are not trained again
    assert len(cells[0.5]) == 3


def test_the_last_steps_of_a_mixed_training_see_photographs_alone_also_when_it_was_stopped(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss, drawn = training._loss, []

    def watched(segmenter: Any, photographs: Any, batch: np.ndarray, *given: Any, **options: Any) -> Any:
        drawn.append((len(photographs), batch.max() < 16))
        return loss(segmenter, photographs, batch, *given, **options)

    monkeypatch.setattr(training, "SAVE_EVERY", 1)
    monkeypatch.setattr(training, "_loss", watched)
    options = {"recipe": make_recipe(folder, steps=6), "fractions": HALVES[1:], "real_last": 0.5}
    whole = measure(folder, tmp_path / "whole", **options)
    mixed = [real for pictures, real in drawn if pictures == 16 + 8]
    assert len(mixed) == 2 * 6
    for seed in (mixed[:6], mixed[6:]):
        assert not all(seed[:3])
        assert all(seed[3:])
    with stopped_at_step(2 * 6 + 2 * 6 + 5):  # in the first mixed training, beyond the border
        measure(folder, tmp_path / "parts", **options)
    resumed = measure(folder, tmp_path / "parts", **options)
    assert [arm.seeds for arm in resumed.arms] == [arm.seeds for arm in whole.arms]


def test_cells_of_earlier_versions_are_found() -> None:
    fields = {
        "name": "pinned",
        "labels": {"classes": ["a", "b"]},
        "data": {"train": [{"path": "x", "name": "real", "count": 3}], "validation": "y", "height": 32, "width": 32},
        "training": {"steps": 1},
    }
    recipe = parse_recipe(fields, source="test")
    cell = Cell(recipe, ("1", "2"), "deeplab", pretrained=None, pretrained_sha256=None, folder=Path("cells"))
    assert cell.path.name == "c428e598dfd2496721bef815116a3ae4"


def test_the_command_writes_a_page_json_and_csv(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cell, "run", lambda cell: scored(0.7 + 0.01 * len(cell.recipe.data.train)))
    command = ["usefulness", "--real", folder / "train.parquet", "--synthetic", folder / "images.parquet"]
    command += ["--test", folder / "validation.parquet", "--fractions", "1/2,1", "--seeds", 2, "--out", tmp_path / "u"]
    result = CliRunner().invoke(main, list(map(str, command)))
    assert result.exit_code == 0, result.output
    assert "real + synthetic: mean IoU" in result.output
    content = json.loads((tmp_path / "u" / "usefulness.json").read_text())
    assert content["summary"] in result.output
    assert "2 seeds are too few for a claim" in content["warnings"][0]
    with (tmp_path / "u" / "usefulness.csv").open() as file:
        rows = {row["arm"]: row for row in csv.DictReader(file)}
    assert float(rows["real + synthetic"]["gain"]) == pytest.approx(content["arms"][-1]["gain"]["value"])
    page = (tmp_path / "u" / "usefulness.html").read_text()
    check_page(page)
    assert content["summary"].split(" (")[0] in page
    assert "<svg" in page
    assert "http" not in page.replace("http://www.w3.org", "")


def test_a_set_that_the_same_kind_of_segmenter_filtered_is_told(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Cell, "run", lambda cell: scored(0.7))
    path = tmp_path / "regions.parquet"
    with RecordWriter(path, DatasetInfo(SPACE, {"regions": {"segmenter": "deeplab"}})) as writer:
        for record in [draw(index) for index in range(8)]:
            writer.write({"id": record.id, "label": record.label, "image": record.image // 2})
    sets = {"regions": SyntheticSet(str(path))}
    (told,) = measure(folder, tmp_path / "a", synthetic=sets, seeds=3).warnings
    assert "'regions' was filtered by a segmenter of the kind that is trained here (deeplab)" in told
    assert not measure(folder, tmp_path / "b", synthetic=sets, seeds=3, segmenter="hf:x").warnings


@pytest.mark.slow
def test_a_killed_command_resumes_and_equal_trainings_are_done_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third of eight trainings is stopped in its middle; the same command then ends as one that was not."""
    whole = measure(folder, tmp_path / "whole")
    monkeypatch.setattr(training, "SAVE_EVERY", 1)
    with stopped_at_step(6):
        measure(folder, tmp_path / "parts")
    assert len(list((tmp_path / "parts" / "cells").glob(f"*/{RESULT}"))) == 2
    loss, calls = training._loss, []
    with monkeypatch.context() as patch:
        patch.setattr(training, "_loss", lambda *given, **options: (calls.append(1), loss(*given, **options))[1])
        resumed = measure(folder, tmp_path / "parts")
    assert len(calls) == 8 * 2 - 5
    assert [arm.seeds for arm in resumed.arms] == [arm.seeds for arm in whole.arms]
    monkeypatch.setattr(cells_module.Cell, "_train_and_test", lambda cell: pytest.fail("trained again"))
    again = measure(folder, tmp_path / "parts")
    assert again == resumed
