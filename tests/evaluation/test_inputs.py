"""What an evaluation refuses, with one line and before any work, what it warns of, and its command line."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from cli import main
from evaluation.evaluate import evaluate
from evaluation.scoring.label_maps import compare_label_maps
from evaluation.scoring.picture_sets import PictureSet
from evaluation.segmenters.deeplab import FILE_NAME
from pipeline.data.records import Record
from pipeline.errors import InputError
from pipeline.labels import LabelSpace
from tests.evaluation.conftest import SPACE, draw, noise, photograph, write_pictures, write_records

RECORDS = [draw(index) for index in range(100, 106)]
"""Those of validation.parquet."""


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("images"), RECORDS, photograph)


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
        ("no reference", r"data set \S+ does not exist"),
        ("empty folder", r"has no .parquet files"),
        ("no rows", r"has no rows"),
        ("no photographs", r"image is empty; evaluation needs one"),
        ("no image column", r"lacks the column image; it has id, label"),
        ("other classes", r"class 2 is 'moon' there, 'lamp' here"),
        ("more classes", r"3 classes there, 4 here; both must be of one data set"),
        ("other don't-care", r"don't-care is 255 there, 254 here"),
        ("segmenter of other classes", r"knows 3 classes \(ground, wall, lamp, ...\), the pictures have 3"),
        ("nothing pairs", r"no picture in \S+ has the id of a photograph"),
        ("damaged picture", r"picture 'scene-100': image cannot be decoded"),
        ("no weights", r"segmenter weights \S+ does not exist"),
        ("damaged weights", r"segmenter weights \S+ are damaged"),
        ("unknown segmenter", r"there is no segmenter 'psp'; choose from deeplab"),
        ("unknown protocol", r"there is no protocol 'paper'; choose from native"),
        ("baseline without a name", r"write NAME=PATH"),
        ("baseline that is missing", r"baseline 'x' \S+ does not exist"),
        ("baseline of other maps", r"baseline 'x' has no picture of"),
        ("the same picture twice", r"has two pictures of id 'scene-100' \(sample 0\); remove one"),
        ("no inception", r"Inception weights file \S+ does not exist; give a file, or a name: inception-pytorch-fid, "),
        ("unreadable inception", r"weights file \S+ cannot be read as safetensors or as torch weights"),
        ("unreadable LPIPS", r"weights file \S+ cannot be read as safetensors or as torch weights"),
        ("LPIPS of another network", r"LPIPS weights \S+ are of none of torchvision's AlexNet"),
        ("fetched LPIPS", r"weights 'lpips-alex' are not here yet .* spadework weights fetch lpips-alex"),
        ("no FID reference", r"protocol 'native' measures distances from training photographs; give them with --fid-"),
        ("unused FID reference", r"--fid-reference is used by no protocol; add --set fid_reference=training"),
    ],
)
def test_refusals(
    case: str,
    message: str,
    good: Path,
    data: Path,
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SPADEWORK_CACHE", str(tmp_path / "cache"))
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
        case "more classes":
            space = LabelSpace(classes=(*SPACE.classes, "moon"), dont_care=255)
            reference = write_records(tmp_path / "maps.parquet", RECORDS, space)
        case "other don't-care":
            reference = write_records(
                tmp_path / "maps.parquet", RECORDS[:1], SPACE.model_copy(update={"dont_care": 254})
            )
        case "segmenter of other classes":
            images = other_space(tmp_path / "images")
            reference = other_space(tmp_path / "reference")
        case "nothing pairs":
            images = write_pictures(tmp_path / "images", [draw(1), draw(2)], photograph)
        case "damaged picture":
            from pipeline.data.records import DatasetInfo, RecordWriter, encode_png
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
        case "baseline of other maps":
            more = ["--baseline", f"x={write_pictures(tmp_path / 'other', [draw(1)], photograph, parts=1)}"]
        case "the same picture twice":
            images = tmp_path / "images"
            for name in ("a", "b"):
                write_pictures(images / name, RECORDS[:1], photograph, parts=1)
                (images / name / "part-00000.parquet").rename(images / f"{name}.parquet")
        case "no inception":
            more = ["--inception-weights", str(tmp_path / "none.pth")]
        case "unreadable inception" | "unreadable LPIPS":
            (tmp_path / "weights.pth").write_bytes(b"PK\x03\x04 no archive")
            more = ["--lpips-weights" if "LPIPS" in case else "--inception-weights", str(tmp_path / "weights.pth")]
        case "LPIPS of another network":
            torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "weights.pth")
            more = ["--lpips-weights", str(tmp_path / "weights.pth")]
        case "fetched LPIPS":
            more = ["--lpips-weights", "lpips-alex"]
        case "no FID reference":
            more = ["--set", "fid_reference=training"]
        case "unused FID reference":
            more = ["--fid-reference", str(data / "train.parquet")]
    out = tmp_path / "out"
    result = run(images, reference, weights, out, *more)
    assert result.exit_code == 2, result.output
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error")]
    assert len(errors) == 1
    assert re.search(message, errors[0]), errors[0]
    assert not out.exists()


def test_too_few_pictures_are_warned_of(data: Path, trained: Path, tmp_path: Path) -> None:
    def scores(count: int):  # type: ignore[no-untyped-def]
        images = write_pictures(tmp_path / f"images-{count}", RECORDS[:count], noise, parts=1)
        return evaluate(
            images,
            data / "validation.parquet",
            tmp_path / f"out-{count}",
            segmenter_weights=trained,
            examples=0,
            device="cpu",
        )

    one = scores(1)
    assert "distances between sets take two pictures or more; there is 1" in one.warnings
    assert one.synthesized.segmenter is None
    assert one.synthesized.labels["native"].intervals == {}
    three = scores(3)
    assert three.synthesized.segmenter is not None
    assert three.synthesized.segmenter.precision is None
    low, high = three.synthesized.segmenter.intervals["frechet"]
    assert f"{low:.1f}"[:2] in (tmp_path / "out-3" / "report.md").read_text()
    assert low <= three.synthesized.segmenter.frechet <= high


def test_baselines_of_other_sizes_are_warned_of_and_scored(
    good: Path, data: Path, trained: Path, tmp_path: Path
) -> None:
    small = write_pictures(
        tmp_path / "small", RECORDS, lambda record, _: np.ascontiguousarray(photograph(record, 0)[::2, ::2])
    )
    scores = evaluate(
        good,
        data / "validation.parquet",
        tmp_path / "out",
        segmenter_weights=trained,
        baselines={"small": small},
        device="cpu",
    )
    assert "small has pictures of 16x16, the synthesized ones are of 32x32" in scores.warnings
    assert np.sum(scores.sets[1].labels["native"].confusion) == 6 * 16 * 16


def test_pictures_of_several_sizes_are_scored_each_at_its_own(data: Path, trained: Path, tmp_path: Path) -> None:
    def synthesize(record: Record, _: int) -> np.ndarray:
        whole = photograph(record, 0)
        return whole if record.id == "scene-102" else np.ascontiguousarray(whole[::2, ::2])

    images = write_pictures(tmp_path / "images", RECORDS, synthesize)
    scores = evaluate(images, data / "validation.parquet", tmp_path / "out", segmenter_weights=trained, device="cpu")
    for part in scores.sets:
        assert np.sum(part.labels["native"].confusion) == 5 * 16 * 16 + 32 * 32


def renamed(first: int) -> list[Record]:
    """Other scenes than `RECORDS`, under their ids."""
    others = [draw(index) for index in range(first, first + len(RECORDS))]
    return [Record(mine.id, other.label, None, other.image) for mine, other in zip(RECORDS, others, strict=True)]


def test_equal_ids_of_other_label_maps_are_refused(good: Path, data: Path, trained: Path, tmp_path: Path) -> None:
    reference = write_records(tmp_path / "other.parquet", renamed(0))
    result = run(good, reference, trained, tmp_path / "out")
    assert result.exit_code == 2
    assert re.search(
        r"^Error: 6 of 6 label maps of the synthesized pictures \(\S+\) are others than those of the same ids in \S+ "
        r"\('scene-100', 'scene-101', 'scene-102', \.\.\.\); give the data set whose label maps were synthesized$",
        result.stderr,
        re.MULTILINE,
    ), result.stderr
    baseline = write_pictures(tmp_path / "other", renamed(0), photograph)
    result = run(good, data / "validation.parquet", trained, tmp_path / "out", "--baseline", f"x={baseline}")
    assert result.exit_code == 2
    assert "6 of 6 label maps of baseline 'x'" in result.stderr
    assert not (tmp_path / "out").exists()


def test_the_case_of_two_splits_with_the_same_names(tmp_path: Path) -> None:
    from pipeline.datasets.folder import prepare

    case = Path(__file__).parents[1] / "cases" / "pairs-same-ids"
    sets = {}
    for name in ("a", "b"):
        prepare(
            case / name / "labels",
            tmp_path / name,
            images=case / name / "images",
            classes=case / "classes.txt",
            validation=1.0,
        )
        sets[name] = PictureSet.open(tmp_path / name / "validation.parquet", what=name)
    assert sets["a"].ids == sets["b"].ids
    with pytest.raises(InputError, match="4 of 4 label maps"):
        compare_label_maps(sets["a"], sets["b"], {}, sets["a"].ids)
    assert compare_label_maps(sets["a"], sets["a"], {}, sets["a"].ids).warnings == ()


def test_dont_care_elsewhere_is_warned_of(good: Path, data: Path, trained: Path, tmp_path: Path) -> None:
    filled = [Record(r.id, np.where(r.label == 255, 0, r.label).astype(np.uint8), None, r.image) for r in RECORDS]
    images = write_pictures(tmp_path / "filled", filled, photograph)
    options = {"segmenter_weights": trained, "examples": 0, "device": "cpu"}
    scores = evaluate(images, data / "validation.parquet", tmp_path / "out", **options)  # type: ignore[arg-type]
    assert any("6 label maps of the synthesized pictures are don't-care elsewhere" in line for line in scores.warnings)
