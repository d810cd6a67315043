"""What can be done with reports: filter pictures by their scores, and compare runs."""

from __future__ import annotations

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from cli import main
from evaluation.compare import compare
from evaluation.evaluate import evaluate
from evaluation.filter import filter_pictures
from evaluation.scoring.image_results import ImageResults
from pipeline.data.records import Record, count_rows, read_info, resize_record
from pipeline.errors import InputError
from pipeline.synthesis.verify import verify
from tests.evaluation.conftest import SPACE, draw, noise, photograph, write_pictures, write_records
from tests.pages import check_page

RECORDS = [draw(index) for index in range(100, 106)]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two samples of each map: the photograph, and noise."""
    return write_pictures(
        tmp_path_factory.mktemp("mixed"),
        RECORDS,
        lambda record, sample: noise(record, sample) if sample else photograph(record, sample),
        samples=2,
    )


@pytest.fixture(scope="module")
def reports(mixed: Path, data: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reports `good` (photographs), `same` (again) and `mixed`."""
    folder = tmp_path_factory.mktemp("reports")
    good = write_pictures(folder / "images", RECORDS, photograph)
    for name, images in (("good", good), ("same", good), ("mixed", mixed)):
        evaluate(
            images, data / "validation.parquet", folder / name, segmenter_weights=trained, device="cpu", examples=2
        )
    return folder


def test_scores_of_pictures(reports: Path) -> None:
    table = pq.read_table(reports / "mixed" / "scores.parquet").to_pylist()
    assert [(row["id"], row["sample"]) for row in table] == [
        (record.id, sample) for part in range(2) for record in RECORDS[part::2] for sample in range(2)
    ]
    good, bad = table[::2], table[1::2]
    assert all(row["feature_distance"] < 1e-5 for row in good)
    assert all(row["feature_distance"] > 0.1 for row in bad)
    assert np.mean([row["accuracy"] for row in good]) > np.mean([row["accuracy"] for row in bad]) + 0.2
    for row in table:
        assert row["worst_class"] in SPACE.classes
        assert row["worst_iou"] <= row["mean_iou"]
    whole = json.loads((reports / "mixed" / "report.json").read_text())["sets"][0]["labels"]["native"]["accuracy"]
    # Every picture has as many known pixels.
    assert np.mean([row["accuracy"] for row in table]) == pytest.approx(whole)


def test_filter_keeps_bytes_names_and_metadata(mixed: Path, reports: Path, tmp_path: Path) -> None:
    arguments = ["--scores", reports / "mixed" / "scores.parquet", "--out", tmp_path / "kept"]
    arguments += ["--max-feature-distance", "0.01"]
    result = CliRunner().invoke(main, ["filter", *map(str, [mixed, *arguments])])
    assert result.exit_code == 0, result.output
    assert "6 of 12 pictures pass" in result.stdout
    kept = [row for file in sorted((tmp_path / "kept").glob("*.parquet")) for row in pq.read_table(file).to_pylist()]
    all_rows = [row for file in sorted(mixed.iterdir()) for row in pq.read_table(file).to_pylist()]
    assert kept == [row for row in all_rows if row["sample"] == 0]
    assert read_info(tmp_path / "kept").space == SPACE
    # What was kept verifies, until it is changed.
    assert str(verify(str(tmp_path / "kept"), quiet=True)) == "6 images in 2 parts: complete and intact"
    first = min((tmp_path / "kept").glob("*.parquet"))
    first.write_bytes(first.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match="is not the file that was written; filter the pictures again"):
        verify(str(tmp_path / "kept"), quiet=True)
    (tmp_path / "kept" / "manifest.json").write_text('{"filtered": {}, "parts": [], "images": 0}')
    with pytest.raises(InputError, match="was changed after the set was made"):
        verify(str(tmp_path / "kept"), quiet=True)


def test_filter_finds_the_default_report_and_names_its_folder(
    mixed: Path, reports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(mixed, "images")
    shutil.copytree(reports / "mixed", "report")
    result = CliRunner().invoke(main, ["filter", "images/", "--min-accuracy", "0.5"])
    assert result.exit_code == 0, result.output
    accuracies = pq.read_table("report/scores.parquet")["accuracy"].to_pylist()
    assert count_rows(Path("images-filtered")) == sum(value >= 0.5 for value in accuracies)


def test_filter_refusals(mixed: Path, reports: Path, tmp_path: Path) -> None:
    scores = reports / "mixed" / "scores.parquet"
    with pytest.raises(InputError, match="give a limit"):
        filter_pictures(mixed, scores, tmp_path / "out")
    with pytest.raises(InputError, match=r"no picture in \S+ passes these limits"):
        filter_pictures(mixed, scores, tmp_path / "out", min_accuracy=1.0, min_mean_iou=1.0)
    with pytest.raises(InputError, match="lacks the columns"):
        filter_pictures(mixed, next(mixed.iterdir()), tmp_path / "out", min_accuracy=0.5)
    with pytest.raises(InputError, match="of other pictures than those in"):
        filter_pictures(mixed, reports / "good" / "scores.parquet", tmp_path / "out", min_accuracy=0.1)
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="exists already"):
        filter_pictures(mixed, scores, tmp_path, min_accuracy=0.1)


def test_compare_tells_chance_from_difference(reports: Path, tmp_path: Path) -> None:
    folders = [str(reports / name) for name in ("good", "same", "mixed")]
    result = CliRunner().invoke(main, ["compare", *folders, "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "out" / "compare.json").read_text())
    same, mixed = found["differences"]
    assert same["label_maps"] == 6
    good, _, other = found["rows"]
    assert set(mixed["changes"]) == {"mean_iou", "accuracy", "frequency_weighted_iou", "boundary_f"}
    for name, change in mixed["changes"].items():
        assert (same["changes"][name]["value"], same["changes"][name]["p"]) == (0, 1)
        assert change["value"] < 0
        assert change["interval"][0] < change["value"] < change["interval"][1] < 0
        assert change["p"] < 0.01
        assert change["value"] == pytest.approx(other[name] - good[name])
    for name in ("compare.md", "compare.html"):
        text = re.sub('base64,[^"]+', "", (tmp_path / "out" / name).read_text())
        assert "p = 1" in text
        assert f"{good['accuracy']:.1%}" in text
        assert "FID" not in text  # which none of the runs has
    page = (tmp_path / "out" / "compare.html").read_text()
    check_page(page)
    # Six label maps with the pictures of three runs and a photograph; the first samples, which all have, are equal.
    assert page.count('<img class="map"') == 6 and page.count("<img") == 5 * 6
    assert "Where runs differ most" not in page
    small, counts = found["warnings"]
    assert "small sample: all runs share 6 label maps" in small
    assert counts.startswith("runs have 6 to 12 pictures: the fewer, the larger a Fréchet distance")
    with (tmp_path / "out" / "tables" / "differences.csv").open() as file:
        line = list(csv.DictReader(file))[1]
    assert float(line["mean IoU"]) == pytest.approx(100 * mixed["changes"]["mean_iou"]["value"])
    assert float(line["mean IoU: p"]) == mixed["changes"]["mean_iou"]["p"]
    assert "mixed against good" in result.stdout
    assert "not significant" in result.stdout


def test_compare_refusals(reports: Path, mixed: Path, data: Path, trained: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="two reports or more"):
        compare([reports / "good"], tmp_path / "out")
    with pytest.raises(InputError, match="is no whole report"):
        compare([reports / "good", tmp_path], tmp_path / "out")
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for text in ("", "[1]", "7", "[" * 10**5, '{"schema": null}', "{}"):
        (damaged / "report.json").write_text(text)
        with pytest.raises(InputError, match=r"damaged is (no whole report|of another version)"):
            compare([reports / "good", damaged], tmp_path / "out")
    evaluate(
        mixed,
        data / "validation.parquet",
        tmp_path / "other",
        segmenter_weights=trained,
        device="cpu",
        examples=0,
        protocols=("oasis",),
    )
    with pytest.raises(InputError, match=r"another protocol than .* \(name: oasis there, native here\)"):
        compare([reports / "good", tmp_path / "other"], tmp_path / "out")
    report = json.loads((tmp_path / "other" / "report.json").read_text())
    (tmp_path / "other" / "report.json").write_text(json.dumps({**report, "schema": 1}))
    with pytest.raises(InputError, match="is of another version of spadework; run the same evaluate again"):
        compare([reports / "good", tmp_path / "other"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_compare_refuses_reports_of_other_label_maps(reports: Path, trained: Path, tmp_path: Path) -> None:
    options = {"segmenter_weights": trained, "device": "cpu", "examples": 0}
    others = [draw(index) for index in range(6)]
    others = [Record(mine.id, other.label, None, other.image) for mine, other in zip(RECORDS, others, strict=True)]
    reference = write_records(tmp_path / "other.parquet", others)
    evaluate(write_pictures(tmp_path / "images", others, photograph), reference, tmp_path / "other", **options)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"other is of other label maps than \S+good: 6 of the ids .* \('scene-100', "):
        compare([reports / "good", tmp_path / "other"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_compare_takes_other_sizes_and_older_reports(reports: Path, trained: Path, tmp_path: Path) -> None:
    large = [draw(index, 64) for index in range(100, 106)]
    small = [resize_record(record, 16, 16) for record in large]
    options = {"segmenter_weights": trained, "device": "cpu", "examples": 0}
    reference = write_records(tmp_path / "large.parquet", large)
    for name, records in (("large", large), ("small", small)):
        evaluate(
            write_pictures(tmp_path / f"{name}-images", records, photograph), reference, tmp_path / name, **options
        )  # type: ignore[arg-type]
    # Drawn at sizes of their own, beside the same photographs.
    (warning,) = compare([tmp_path / "large", tmp_path / "small"], tmp_path / "a").warnings
    assert warning.startswith("small sample: all runs share 6 label maps")
    assert "<img" not in (tmp_path / "a/compare.html").read_text()  # reports without examples have no pictures
    warning = compare([reports / "good", tmp_path / "small"], tmp_path / "b").warnings[-1]
    assert "6 label maps of small and good are of two sizes" in warning
    shutil.copytree(reports / "good", tmp_path / "old")
    report = json.loads((tmp_path / "old" / "report.json").read_text())
    for part in report["sets"]:
        del part["texture"]
    (tmp_path / "old" / "report.json").write_text(json.dumps(report))
    results = ImageResults.load(tmp_path / "old" / "judgements.npz")
    replace(results, label_marks=None, reference_marks=None, texture=None).save(tmp_path / "old" / "judgements.npz")
    found = compare([reports / "good", tmp_path / "old"], tmp_path / "c")
    assert "old was made before label maps were kept" in found.warnings[-1]
    assert found.rows[1]["power_factor"] is None
