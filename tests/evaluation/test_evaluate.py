"""The whole evaluation on small sets of pictures, and everything that it refuses."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from evaluation.evaluate import PHOTOGRAPHS, evaluate
from evaluation.report.tables import ABOVE_CEILING, summary
from evaluation.scoring import distributed as distributed_scoring
from evaluation.scoring.protocols import Protocol
from evaluation.scoring.scores import Scores
from pipeline.data.marks import MARK_FIELDS
from pipeline.data.records import DatasetInfo, RecordWriter
from pipeline.runtime.shown import show_progress
from tests.evaluation.conftest import SPACE, draw, noise, photograph, write_pictures, write_records
from tests.pages import check_page

pytestmark = pytest.mark.slow

RECORDS = [draw(index) for index in range(100, 106)]
"""Those of validation.parquet."""


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("images"), RECORDS, photograph)


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("noise"), RECORDS, noise, samples=2)


@pytest.fixture(scope="module")
def evaluated(good: Path, bad: Path, data: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """Scores and report of perfect pictures with a baseline of noise."""
    out = tmp_path_factory.mktemp("report")
    scores = evaluate(
        good, data / "validation.parquet", out, segmenter_weights=trained, baselines={"noise": bad}, device="cpu"
    )
    return scores, out


def test_perfect_pictures_reach_the_ceiling_and_noise_does_not(evaluated: tuple[Scores, Path]) -> None:
    generated, baseline, real = evaluated[0].sets
    assert (generated.role, baseline.role, real.role) == ("synthesized", "baseline", "photographs")
    assert generated.labels == real.labels
    assert generated.segmenter_frechet == 0
    assert real.segmenter_frechet is None
    assert baseline.segmenter_frechet is not None
    assert baseline.segmenter_frechet > 0.01
    scores = [part.labels["native"] for part in (baseline, real)]
    assert scores[0].mean_iou is not None
    assert scores[1].mean_iou is not None
    assert scores[0].mean_iou < scores[1].mean_iou - 0.2
    assert (generated.pictures, baseline.pictures, baseline.label_maps) == (6, 12, 6)
    # Two of 32 columns of every label map are void.
    confusion = np.array(scores[1].confusion)
    assert (confusion[-1].sum(), confusion.sum()) == (6 * 2 * 32, 6 * 32 * 32)
    low, high = real.labels["native"].intervals["mean_iou"]
    assert low < scores[1].mean_iou < high
    assert generated.labels["native"].intervals["of_ceiling"] == (1, 1)
    low, high = baseline.labels["native"].intervals["of_ceiling"]
    assert low < scores[0].mean_iou / scores[1].mean_iou < high < 1


def test_report_is_whole_self_contained_and_consistent(evaluated: tuple[Scores, Path], trained: Path) -> None:
    scores, out = evaluated
    reports = ["report.html", "report.json", "report.md"]
    files = ["judgements.npz", "pictures.parquet", *reports, "scores.parquet", "tables", "texture.csv"]
    assert sorted(path.name for path in out.iterdir()) == files
    fields = json.loads((out / "report.json").read_text())
    mean_iou = scores.synthesized.labels["native"].mean_iou
    assert fields["sets"][0]["labels"]["native"]["mean_iou"] == mean_iou
    assert (
        fields["settings"]["segmenter"]["weights_sha256"]
        == distributed_scoring.load_segmenter("deeplab", trained).sha256
    )
    assert fields["sets"][0]["source"]["made"] == {"checkpoint": "c0ffee", "seed": 3}
    assert fields["protocols"][0]["averaging"] == "present"
    page = (out / "report.html").read_text()
    check_page(page)
    assert not re.search(r"https?://|@import|url\(", page)
    assert page.count("<img") == 4 * 6 + 4 * 3  # all six, and the best, median and worst
    told = re.search(r'id="gallery-data">(.*?)</script>', page)
    assert told
    gallery = json.loads(told[1])
    assert [picture["id"] for picture in gallery["pictures"]] == [record.id for record in RECORDS]
    table = pq.read_table(out / "scores.parquet").to_pylist()
    accuracies = {row["id"]: row["accuracy"] for row in table}
    for picture in gallery["pictures"]:
        assert picture["scores"]["accuracy"] == pytest.approx(accuracies[picture["id"]], abs=1e-5)
        assert set(picture["ious"]) <= {"0", "1", "2"}
    heads = ["Agreement with the label maps", "Distance to the photographs", "Texture"]
    assert re.findall(r"<span>([^<]+)</span>\s*<b>", page) == heads
    tables = sorted(path.name for path in (out / "tables").iterdir())
    names = ("classes", "confusion", "distances_on_segmenter", "protocol_fields", "scores")
    assert tables == sorted(f"{name}.{kind}" for name in names for kind in ("csv", "tex"))
    with (out / "tables/scores.csv").open() as file:
        assert float(next(csv.DictReader(file))["mean IoU"]) == mean_iou
    for text in (re.sub('base64,[^"]+', "", page), (out / "report.md").read_text()):
        assert f"{mean_iou:.1%}" in text
        for name in (*SPACE.classes, "noise", PHOTOGRAPHS, "c0ffee"):
            assert name in text
        assert "FID" not in re.sub("not FID|FID (resizer|photographs|reference)", "", text)


def test_marks_are_in_the_report(good: Path, data: Path, trained: Path, tmp_path: Path) -> None:
    fields = {"style": '{"seed": 3}', "seed": 3, "sample": 0, "checkpoint": "c0ffee"}
    with RecordWriter(tmp_path / "marks.parquet", DatasetInfo(SPACE), MARK_FIELDS) as writer:
        for number, (record, mark) in enumerate(zip(RECORDS[:3], ("bad", "good", "bad"), strict=True)):
            painted = {"id": f"m{number}", "label": record.label, "image": record.image, "mark": mark, "note": "<b>"}
            writer.write({**fields, **painted})
    options: dict[str, Any] = {"segmenter_weights": trained, "device": "cpu", "marks": [tmp_path / "marks.parquet"]}
    scores = evaluate(good, data / "validation.parquet", tmp_path / "report", examples=2, **options)
    assert scores.marks and scores.marks.same_weights == 3
    written = json.loads((tmp_path / "report" / "report.json").read_text())["marks"]
    assert [(row["mark"], row["pictures"]) for row in written["counts"]] == [("bad", 2), ("good", 1)]
    page = (tmp_path / "report" / "report.html").read_text()
    assert "<h2>Marks</h2>" in page and page.count('class="mark-bad"') == 1 and page.count('class="mark-good"') == 1
    assert "&lt;b&gt;" in page and "seed 3" in page
    assert "## Marks" in (tmp_path / "report" / "report.md").read_text()


def test_a_score_above_the_ceiling_is_a_warning(evaluated: tuple[Scores, Path]) -> None:
    scores = evaluated[0]
    real = scores.ceiling.labels["native"]
    assert ABOVE_CEILING not in summary(scores)
    above = replace(scores.synthesized, labels={"native": replace(real, mean_iou=1.01 * (real.mean_iou or 0))})
    assert ABOVE_CEILING in summary(replace(scores, sets=(above, *scores.sets[1:])))


def test_image_results_are_kept_and_used(
    good: Path,
    data: Path,
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    show_progress(True)
    options = {"segmenter_weights": trained, "cache": tmp_path / "cache", "examples": 0, "device": "cpu"}
    first = evaluate(good, data / "validation.parquet", tmp_path / "one", **options)  # type: ignore[arg-type]
    kept = sorted((tmp_path / "cache").rglob("*.npz"))
    assert kept

    def fails(*_: object) -> None:
        raise AssertionError("scored again")

    monkeypatch.setattr(distributed_scoring.ImageScorer, "score", fails)
    second = evaluate(good, data / "validation.parquet", tmp_path / "two", **options)  # type: ignore[arg-type]
    assert first.to_json() == second.to_json()
    lines = [line.split(" [")[0] for line in capsys.readouterr().err.splitlines()]
    assert lines[-2:] == ["scores: 0/2", "scores: 2/2"]  # Those of the second are shown, though nothing is drawn anew.
    assert sorted((tmp_path / "cache").rglob("*.npz")) == kept
    with pytest.raises(AssertionError, match="scored again"):
        evaluate(good, data / "validation.parquet", tmp_path / "three", **options, protocols=("oasis",))  # type: ignore[arg-type]


def test_damaged_image_results_are_made_anew(
    good: Path, data: Path, trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"segmenter_weights": trained, "cache": tmp_path / "cache", "examples": 0, "device": "cpu"}
    first = evaluate(good, data / "validation.parquet", tmp_path / "one", **options)  # type: ignore[arg-type]
    kept = sorted((tmp_path / "cache").rglob("*.npz"))
    whole = [path.read_bytes() for path in kept]
    for path, content in zip(kept, whole, strict=True):
        path.write_bytes(content[: len(content) // 2])
    kept[0].write_bytes(b"")
    second = evaluate(good, data / "validation.parquet", tmp_path / "two", **options)  # type: ignore[arg-type]
    assert first.to_json() == second.to_json()
    assert sum("scored again" in record.message for record in caplog.records) == len(kept)
    assert [path.stat().st_size for path in kept] == [len(content) for content in whole]


@pytest.mark.ray
def test_workers_change_nothing(
    ray_session: None, bad: Path, good: Path, data: Path, trained: Path, tmp_path: Path
) -> None:
    options = {"segmenter_weights": trained, "baselines": {"noise": bad}, "threads": 1, "device": "cpu"}
    one = evaluate(good, data / "validation.parquet", tmp_path / "one", **options)  # type: ignore[arg-type]
    two = evaluate(good, data / "validation.parquet", tmp_path / "two", workers=2, **options)  # type: ignore[arg-type]
    assert one.to_json() == two.to_json()


def test_photographs_are_scored_at_the_size_of_the_pictures(data: Path, trained: Path, tmp_path: Path) -> None:
    large = [draw(index, 64) for index in range(100, 106)]
    reference = write_records(tmp_path / "large.parquet", large)
    small = write_pictures(
        tmp_path / "small", large, lambda record, _: np.ascontiguousarray(photograph(record, 0)[::2, ::2])
    )
    scores = evaluate(
        small,
        reference,
        tmp_path / "out",
        segmenter_weights=trained,
        device="cpu",
        protocols=("native", Protocol(name="large", label_size="label")),
    )
    for part in scores.sets:
        assert np.sum(part.labels["native"].confusion) == 6 * 32 * 32
        assert np.sum(part.labels["large"].confusion) == 6 * 64 * 64


@pytest.fixture(scope="module")
def inception_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from evaluation.metrics.inception import FIDInception3

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("inception") / "inception.pth"
    torch.save(FIDInception3().state_dict(), path)
    return path


def test_fid_by_each_protocol_where_inception_weights_are_given(
    data: Path, trained: Path, inception_weights: Path, tmp_path: Path
) -> None:
    scores = evaluate(
        write_pictures(tmp_path / "images", RECORDS, noise),
        data / "validation.parquet",
        tmp_path / "out",
        segmenter_weights=trained,
        inception_weights=inception_weights,
        protocols=("native", Protocol(name="clean", fid_resizer="clean-fid"), Protocol(name="strict", averaging="all")),
        examples=0,
        device="cpu",
    )
    generated, real = scores.sets
    native, clean, strict = (generated.inception[protocol.name] for protocol in scores.protocols)
    assert real.inception == {}
    assert native.frechet > 0
    assert native == strict
    assert clean.frechet != native.frechet
    assert native.intervals["frechet"][0] < native.frechet < native.intervals["frechet"][1]
    assert any("FID of 6 pictures is biased upwards" in line for line in scores.warnings)
    assert scores.settings["inception_sha256"] is not None
    page, text = ((tmp_path / "out" / name).read_text() for name in ("report.html", "report.md"))
    assert f"{clean.frechet - native.frechet:+.1f}" in text
    assert "| FID resizer | pytorch-fid | clean-fid | pytorch-fid |" in text
    assert '<td class="best">clean-fid</td>' in page


def test_distances_on_the_features_of_other_networks(data: Path, trained: Path, tmp_path: Path) -> None:
    from evaluation.metrics.cmmd import cmmd
    from evaluation.metrics.feature_networks import FeatureNetwork
    from evaluation.metrics.frechet import FeatureStatistics, frechet_distance
    from tests.evaluation.metrics.test_feature_networks import clip_folder, dinov2_folder

    folders = {"dino": dinov2_folder(tmp_path / "dinov2"), "clip": clip_folder(tmp_path / "clip")}
    scores = evaluate(
        write_pictures(tmp_path / "images", RECORDS, noise),
        data / "validation.parquet",
        tmp_path / "out",
        segmenter_weights=trained,
        features=folders,
        cache=tmp_path / "cache",
        examples=0,
        device="cpu",
    )
    dino, clip = (scores.synthesized.networks[name] for name in folders)
    seen = [[noise(record, 0) for record in RECORDS], [photograph(record, 0) for record in RECORDS]]
    features = {name: [FeatureNetwork.load(path)(part) for part in seen] for name, path in folders.items()}
    expected = frechet_distance(*(FeatureStatistics(part) for part in features["dino"]))
    assert dino.frechet == pytest.approx(expected, rel=1e-4)
    assert clip.cmmd == pytest.approx(float(cmmd(*features["clip"])[0]), rel=1e-4)
    assert dino.cmmd is None
    assert dino.mind is not None
    assert dino.mind_corrected is not None
    assert dino.mind > max(0, dino.mind_corrected)
    assert scores.ceiling.networks == {}
    assert scores.settings["features"]["clip"]["title"] == "CLIP"
    page, text = ((tmp_path / "out" / name).read_text() for name in ("report.html", "report.md"))
    for title in ("FD-DINOv2", "KD-DINOv2", "FD-CLIP", "CMMD", "MIND, corrected"):
        assert title in page
        assert f"| {title} ↓" in text
    # Kept results have the features; without these networks others are kept.
    kept = len(list((tmp_path / "cache").rglob("*.npz")))
    again = evaluate(
        tmp_path / "images",
        data / "validation.parquet",
        tmp_path / "again",
        segmenter_weights=trained,
        features=folders,
        cache=tmp_path / "cache",
        examples=0,
        device="cpu",
    )
    assert again.synthesized.networks == scores.synthesized.networks
    assert len(list((tmp_path / "cache").rglob("*.npz"))) == kept


def test_every_protocol_at_once(good: Path, data: Path, trained: Path, tmp_path: Path) -> None:
    scores = evaluate(
        good,
        data / "validation.parquet",
        tmp_path / "out",
        segmenter_weights=trained,
        protocols=("all",),
        examples=0,
        device="cpu",
    )
    names = [protocol.name for protocol in scores.protocols]
    assert names[0] == "native"
    assert {"imaginaire", "oasis-ade20k-single"} < set(names)
    assert "clade" not in names  # without a training set
    page, text = ((tmp_path / "out" / name).read_text() for name in ("report.html", "report.md"))
    assert "What published protocols say of these pictures" in page
    assert "| imaginaire | COCO-Stuff | imaginaire |" in text


def test_distances_from_training_photographs(good: Path, data: Path, trained: Path, tmp_path: Path) -> None:
    protocol = Protocol(name="clade", fid_reference="training")
    options = {"segmenter_weights": trained, "protocols": (protocol,), "examples": 0, "device": "cpu"}
    training = data / "train.parquet"
    scores = evaluate(good, data / "validation.parquet", tmp_path / "a", fid_reference=training, **options)  # type: ignore[arg-type]
    # Against their own photographs these pictures have a distance of 0.
    assert scores.synthesized.segmenter_frechet is not None
    assert scores.synthesized.segmenter_frechet > 1e-3
    assert scores.ceiling.pictures == 6
    assert scores.settings["fid_reference"] == str(training)


def test_diversity_with_lpips_and_without(bad: Path, data: Path, trained: Path, tmp_path: Path) -> None:
    from evaluation.metrics.lpips import LPIPS
    from tests.evaluation.metrics.test_lpips import trunk_file

    weights = trunk_file(tmp_path, "squeeze")
    options = {"segmenter_weights": trained, "examples": 0, "device": "cpu"}
    scores = evaluate(bad, data / "validation.parquet", tmp_path / "a", lpips_weights=weights, **options)  # type: ignore[arg-type]
    lpips = LPIPS.load(weights)
    means = [lpips.spread([noise(record, 0), noise(record, 1)]).mean() for record in RECORDS]
    found = scores.synthesized.lpips
    assert found is not None
    assert found.mean == pytest.approx(np.mean(means), rel=1e-5)
    assert found.interval is not None
    assert found.interval[0] < found.mean < found.interval[1]
    assert found.label_maps == 6
    assert scores.ceiling.lpips is None
    assert scores.settings["lpips_sha256"] == lpips.sha256
    assert "Mean LPIPS (SqueezeNet 1.1) distance" in (tmp_path / "a" / "report.html").read_text()
    without = evaluate(bad, data / "validation.parquet", tmp_path / "b", **options)  # type: ignore[arg-type]
    assert without.synthesized.lpips is None
    assert "On the segmenter's features, for want of LPIPS weights" in (tmp_path / "b" / "report.md").read_text()


def test_a_stopped_evaluation_goes_on(
    good: Path, data: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"segmenter_weights": trained, "examples": 0, "device": "cpu"}
    scorer, scored = distributed_scoring.ImageScorer.score, []

    def stops(self: distributed_scoring.ImageScorer, pictures) -> object:  # type: ignore[no-untyped-def]
        if len(scored) == 1:
            raise KeyboardInterrupt
        scored.append(generated := scorer(self, pictures))
        return generated

    monkeypatch.setattr(distributed_scoring.ImageScorer, "score", stops)
    with pytest.raises(KeyboardInterrupt):
        evaluate(good, data / "validation.parquet", tmp_path / "out", **options)  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == [".out.unfinished"]

    def counts(self: distributed_scoring.ImageScorer, pictures) -> object:  # type: ignore[no-untyped-def]
        scored.append(generated := scorer(self, pictures))
        return generated

    monkeypatch.setattr(distributed_scoring.ImageScorer, "score", counts)
    scored.clear()
    resumed = evaluate(good, data / "validation.parquet", tmp_path / "out", **options)  # type: ignore[arg-type]
    assert sum(len(part) for part in scored if part is not None) == 12 - 3
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    whole = evaluate(good, data / "validation.parquet", tmp_path / "whole", **options)  # type: ignore[arg-type]
    assert resumed.to_json() == whole.to_json()


def test_photographs_are_scored_once_for_several_evaluations(
    good: Path, bad: Path, data: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"segmenter_weights": trained, "cache": tmp_path / "cache", "examples": 0, "device": "cpu"}
    first = evaluate(good, data / "validation.parquet", tmp_path / "one", **options)  # type: ignore[arg-type]
    scored = []
    scorer = distributed_scoring.ImageScorer.score

    def counts(self: distributed_scoring.ImageScorer, pictures) -> object:  # type: ignore[no-untyped-def]
        scored.append(generated := scorer(self, pictures))
        return generated

    monkeypatch.setattr(distributed_scoring.ImageScorer, "score", counts)
    # Under another path: what counts is the content.
    reference = tmp_path / "copy.parquet"
    reference.write_bytes((data / "validation.parquet").read_bytes())
    second = evaluate(bad, reference, tmp_path / "two", **options)  # type: ignore[arg-type]
    assert [len(part) for part in scored if part is not None] == [6, 6]
    assert second.ceiling.labels == first.ceiling.labels


def test_unpaired_pictures_are_listed_and_left_out(data: Path, trained: Path, tmp_path: Path) -> None:
    images = write_pictures(tmp_path / "images", [*RECORDS[:4], draw(7)], photograph)
    scores = evaluate(images, data / "validation.parquet", tmp_path / "out", segmenter_weights=trained, device="cpu")
    assert scores.unpaired == {"synthesized": ["scene-007"], PHOTOGRAPHS: ["scene-104", "scene-105"]}
    assert (scores.synthesized.pictures, scores.ceiling.pictures) == (4, 4)
    assert any("scene-007" in line for line in scores.warnings)
    assert "scene-105" in (tmp_path / "out" / "report.html").read_text()
