"""The whole evaluation on small sets of pictures, and everything that it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from cli import main
from evaluation import judge_shards
from evaluation.evaluate import PHOTOGRAPHS, evaluate
from evaluation.protocols import Protocol
from evaluation.scores import Scores
from evaluation.segmenters.deeplab import FILE_NAME
from pipeline.labels import LabelSpace
from pipeline.records import Record
from tests.evaluation.conftest import SPACE, draw, noise, photograph, write_pictures, write_records

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
    made, baseline, real = evaluated[0].sets
    assert (made.role, baseline.role, real.role) == ("synthesized", "baseline", "photographs")
    assert made.labels == real.labels
    assert made.segmenter_frechet == 0
    assert real.segmenter_frechet is None
    assert baseline.segmenter_frechet is not None
    assert baseline.segmenter_frechet > 0.01
    scores = [part.labels["native"] for part in (baseline, real)]
    assert scores[0].mean_iou is not None
    assert scores[1].mean_iou is not None
    assert scores[0].mean_iou < scores[1].mean_iou - 0.2
    assert (made.pictures, baseline.pictures, baseline.label_maps) == (6, 12, 6)
    # Two of 32 columns of every label map are void.
    confusion = np.array(scores[1].confusion)
    assert (confusion[-1].sum(), confusion.sum()) == (6 * 2 * 32, 6 * 32 * 32)
    low, high = real.intervals["mean_iou"]
    assert low < scores[1].mean_iou < high


def test_report_is_whole_self_contained_and_consistent(evaluated: tuple[Scores, Path], trained: Path) -> None:
    scores, out = evaluated
    files = ["judgements.npz", "report.html", "report.json", "report.md", "scores.parquet"]
    assert sorted(path.name for path in out.iterdir()) == files
    fields = json.loads((out / "report.json").read_text())
    mean_iou = scores.synthesized.labels["native"].mean_iou
    assert fields["sets"][0]["labels"]["native"]["mean_iou"] == mean_iou
    assert fields["settings"]["segmenter"]["weights_sha256"] == judge_shards.load_segmenter("deeplab", trained).sha256
    assert fields["sets"][0]["source"]["made"] == {"checkpoint": "c0ffee", "seed": 3}
    assert fields["protocols"][0]["averaging"] == "present"
    page = (out / "report.html").read_text()
    assert not re.search(r"https?://|<script|<link|@import|url\(", page)
    assert set(re.findall(r'src="([^",]+)', page)) == {"data:image/png;base64"}
    assert page.count("<img") == 4 * 6 + 4 * 3  # all six, and the best, median and worst
    for text in (page, (out / "report.md").read_text()):
        assert f"{mean_iou:.1%}" in text
        for name in (*SPACE.classes, "noise", PHOTOGRAPHS, "c0ffee"):
            assert name in text
        assert "FID" not in text.replace("not FID", "")


def test_judgements_are_kept_and_used(
    good: Path, data: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"segmenter_weights": trained, "cache": tmp_path / "cache", "examples": 0, "device": "cpu"}
    first = evaluate(good, data / "validation.parquet", tmp_path / "one", **options)  # type: ignore[arg-type]
    kept = sorted((tmp_path / "cache").rglob("*.npz"))
    assert kept

    def fails(*_: object) -> None:
        raise AssertionError("judged again")

    monkeypatch.setattr(judge_shards.Judge, "judge", fails)
    second = evaluate(good, data / "validation.parquet", tmp_path / "two", **options)  # type: ignore[arg-type]
    assert first.to_json() == second.to_json()
    assert sorted((tmp_path / "cache").rglob("*.npz")) == kept
    with pytest.raises(AssertionError, match="judged again"):
        evaluate(good, data / "validation.parquet", tmp_path / "three", **options, protocols=("oasis",))  # type: ignore[arg-type]


@pytest.mark.ray
def test_workers_change_nothing(
    ray_session: None, bad: Path, good: Path, data: Path, trained: Path, tmp_path: Path
) -> None:
    options = {"segmenter_weights": trained, "baselines": {"noise": bad}, "threads": 1, "device": "cpu"}
    one = evaluate(good, data / "validation.parquet", tmp_path / "one", **options)  # type: ignore[arg-type]
    two = evaluate(good, data / "validation.parquet", tmp_path / "two", workers=2, **options)  # type: ignore[arg-type]
    assert one.to_json() == two.to_json()


def test_photographs_are_judged_at_the_size_of_the_pictures(data: Path, trained: Path, tmp_path: Path) -> None:
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


def test_fid_where_inception_weights_are_given(
    good: Path, bad: Path, data: Path, trained: Path, tmp_path: Path
) -> None:
    from evaluation.features import FIDInception3

    torch.manual_seed(0)
    torch.save(FIDInception3().state_dict(), tmp_path / "inception.pth")
    scores = evaluate(
        good,
        data / "validation.parquet",
        tmp_path / "out",
        segmenter_weights=trained,
        baselines={"noise": bad},
        inception_weights=tmp_path / "inception.pth",
        examples=0,
        device="cpu",
    )
    made, baseline, real = scores.sets
    assert made.fid == 0
    assert baseline.fid is not None
    assert baseline.fid > 0
    assert real.fid is None
    assert any("FID of 6 pictures is biased upwards" in line for line in scores.warnings)
    assert scores.settings["inception_sha256"] is not None
    assert "<b>0</b>" in (tmp_path / "out" / "report.html").read_text()


def test_unpaired_pictures_are_listed_and_left_out(data: Path, trained: Path, tmp_path: Path) -> None:
    images = write_pictures(tmp_path / "images", [*RECORDS[:4], draw(7)], photograph)
    scores = evaluate(images, data / "validation.parquet", tmp_path / "out", segmenter_weights=trained, device="cpu")
    assert scores.unpaired == {"synthesized": ["scene-007"], PHOTOGRAPHS: ["scene-104", "scene-105"]}
    assert (scores.synthesized.pictures, scores.ceiling.pictures) == (4, 4)
    assert any("scene-007" in line for line in scores.warnings)
    assert "scene-105" in (tmp_path / "out" / "report.html").read_text()


def run(images: Path, reference: Path, weights: Path, out: Path, *more: str) -> Result:
    arguments = ["--images", images, "--reference", reference, "--segmenter-weights", weights, "--out", out, *more]
    return CliRunner().invoke(main, ["evaluate", *map(str, arguments)])


def test_command_line(good: Path, data: Path, trained: Path, tmp_path: Path) -> None:
    result = run(good, data / "validation.parquet", trained, tmp_path / "out", "--baseline", f"again={good}")
    assert result.exit_code == 0, result.output
    assert "100% of it" in result.stdout
    assert (tmp_path / "out" / "report.html").is_file()


def test_public_weights_are_the_fetched_ones(
    good: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPADEWORK_CACHE", str(tmp_path))
    arguments = ["--images", good, "--reference", data / "validation.parquet", "--out", tmp_path / "out"]
    for more, message in (
        (["--segmenter", "drn-d-105"], "fetch them: spadework weights fetch drn-d-105"),
        ([], "segmenter 'deeplab' needs --segmenter-weights"),
    ):
        result = CliRunner().invoke(main, ["evaluate", *map(str, [*arguments, *more])])
        assert result.exit_code == 2
        assert message in result.stderr


def other_space(folder: Path) -> Path:
    space = LabelSpace(classes=("ground", "wall", "moon"), dont_care=255)
    return write_pictures(folder, RECORDS, photograph, space=space)


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("no images", r"synthesized pictures \S+ does not exist"),
        ("no reference", r"reference data set \S+ does not exist"),
        ("empty folder", r"has no .parquet files"),
        ("no rows", r"has no rows"),
        ("no photographs", r"image is empty; evaluation needs one"),
        ("no image column", r"lacks the column image; it has id, label"),
        ("other classes", r"class 2 is 'moon' there, 'lamp' here"),
        ("segmenter of other classes", r"knows 3 classes \(ground, wall, lamp, ...\), the pictures have 3"),
        ("nothing pairs", r"no picture in \S+ has the id of a photograph"),
        ("damaged picture", r"picture 'scene-100': image cannot be decoded"),
        ("no weights", r"segmenter weights \S+ do not exist"),
        ("damaged weights", r"segmenter weights \S+ are damaged"),
        ("unknown segmenter", r"there is no segmenter 'psp'; choose from deeplab"),
        ("unknown protocol", r"there is no protocol 'paper'; choose from native"),
        ("baseline without a name", r"write NAME=PATH"),
        ("baseline that is missing", r"baseline 'x' \S+ does not exist"),
        ("no inception", r"Inception weights \S+ do not exist"),
    ],
)
def test_refusals(case: str, message: str, good: Path, data: Path, trained: Path, tmp_path: Path) -> None:
    images, reference, weights, more = good, data / "validation.parquet", trained, []
    match case:
        case "no images":
            images = tmp_path / "none"
        case "no reference":
            reference = tmp_path / "none.parquet"
        case "empty folder":
            images = tmp_path / "empty"
            images.mkdir()
        case "no rows":
            images = write_pictures(tmp_path / "images", [], photograph, parts=1)
        case "no photographs":
            reference = write_records(tmp_path / "maps.parquet", [Record(r.id, r.label) for r in RECORDS])
        case "no image column":
            import pyarrow.parquet as pq

            table = pq.read_table(reference, columns=["id", "label"])
            reference = tmp_path / "maps.parquet"
            pq.write_table(table, reference)
        case "other classes":
            images = other_space(tmp_path / "images")
        case "segmenter of other classes":
            images = other_space(tmp_path / "images")
            reference = other_space(tmp_path / "reference")
        case "nothing pairs":
            images = write_pictures(tmp_path / "images", [draw(1), draw(2)], photograph)
        case "damaged picture":
            from pipeline.records import DatasetInfo, RecordWriter, encode_png
            from tests.evaluation.conftest import PICTURE_FIELDS

            images = tmp_path / "images.parquet"
            with RecordWriter(images, DatasetInfo(SPACE), PICTURE_FIELDS, key=("id", "sample")) as writer:
                for record in RECORDS:
                    image = encode_png(photograph(record, 0))[:100]
                    writer.write({"id": record.id, "sample": 0, "image": image, "label": record.label})
        case "no weights":
            weights = tmp_path / "none"
        case "damaged weights":
            weights = tmp_path / FILE_NAME
            weights.write_bytes((trained / FILE_NAME).read_bytes()[:5000])
        case "unknown segmenter":
            more = ["--segmenter", "psp"]
        case "unknown protocol":
            more = ["--protocol", "paper"]
        case "baseline without a name":
            more = ["--baseline", "images/"]
        case "baseline that is missing":
            more = ["--baseline", f"x={tmp_path / 'none'}"]
        case "no inception":
            more = ["--inception-weights", str(tmp_path / "none.pth")]
    out = tmp_path / "out"
    result = run(images, reference, weights, out, *more)
    assert result.exit_code == 2, result.output
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error")]
    assert len(errors) == 1
    assert re.search(message, errors[0]), errors[0]
    assert not out.exists()
