"""Regions that do not show their label: which pixels become don't-care, by hand, and what the filter writes of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner

from cli import main
from evaluation import regions
from evaluation.filter import filter_pictures
from evaluation.inputs import refuse_other_classes
from evaluation.metrics.class_losses import ClassLosses
from evaluation.regions import RegionSettings, pixel_losses, with_dont_care
from evaluation.scoring.image_scores import PICTURES, SCHEMA
from evaluation.scoring.picture_sets import PictureSet
from evaluation.segmenters.base import Prediction, Scales, Segmenter
from evaluation.segmenters.training.photographs import VOID, load_photographs
from pipeline.data.images import decode_label
from pipeline.data.parquet import ParquetFile
from pipeline.data.records import Record, iter_rows, read_info
from pipeline.errors import InputError
from pipeline.labels import LabelSpace
from tests.evaluation.conftest import SPACE, make_recipe, photograph, write_pictures, write_records


class Red(Segmenter):
    """Logits of the three classes: a tenth of the red channel, 0 and 0."""

    kind = "red"
    classes = SPACE.classes
    feature_dimensions = 1
    feature_name = "none"
    sha256 = "c0ffee"

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []

    def forward(self, images: torch.Tensor, *, scales: Scales = "own") -> Prediction:
        self.seen.append(tuple(images.shape))
        red = images[:, :1] / 10
        return Prediction(torch.cat([red, 0 * red, 0 * red], 1), torch.zeros(len(images), 1))

    def describe(self) -> dict:
        return {}


@pytest.fixture
def segmenter(monkeypatch: pytest.MonkeyPatch) -> Red:
    red = Red()
    monkeypatch.setattr(regions, "load_segmenter", lambda *_, **__: red)
    return red


def record(name: str, label: list, red: list) -> Record:
    ids = np.array(label, np.uint8)
    image = np.zeros((*ids.shape, 3), np.uint8)
    image[..., 0] = red
    return Record(name, ids, None, image)


# Losses of class 0: ln 3 = 1.099 and ln(1 + 2 e^-2) = 0.240, mean 0.669; of class 1: ln 3. Class 2 does not occur.
PHOTOGRAPHS = [record("p", [[0, 0, 1, 255]] * 2, [[0, 20, 0, 0]] * 2)]
# 1.25 times the mean is the loss of class 0 at a red of 4.2 (it falls), and that of class 1 at 6.7 (it rises).
PICTURES_OF = [
    record("a", [[0, 0, 0, 1], [1, 1, 2, 255]], [[0, 4, 5, 6], [7, 255, 255, 255]]),
    record("b", [[0, 0, 0, 0], [1, 1, 1, 1]], [[9, 9, 9, 9], [0, 0, 0, 9]]),
]
TRUSTED = {"a": [[255, 255, 0, 1], [255, 255, 2, 255]], "b": [[0, 0, 0, 0], [1, 1, 1, 255]]}


@pytest.fixture
def settings(tmp_path: Path, segmenter: Red) -> RegionSettings:
    reference = write_records(tmp_path / "photographs.parquet", PHOTOGRAPHS)
    return RegionSettings(reference, segmenter_weights=tmp_path, device="cpu")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "images", PICTURES_OF, photograph)


def test_pixels_beyond_the_limit_of_their_class_become_dont_care(
    images: Path, settings: RegionSettings, tmp_path: Path
) -> None:
    kept = filter_pictures(images, None, tmp_path / "out", regions=settings)
    assert (kept.pictures, kept.of) == (2, 2)
    before, after = list(iter_rows(images)), list(iter_rows(tmp_path / "out"))
    assert [{**row, "label_trusted": None} for row in after] == [{**row, "label_trusted": None} for row in before]
    assert {row["id"]: decode_label(row["label_trusted"]["bytes"]).tolist() for row in after} == TRUSTED
    found = kept.regions
    assert found is not None
    assert (found.pixels.tolist(), found.blanked.tolist()) == ([7, 7, 1], [2, 3, 0])
    assert found.share == 5 / 15
    ln3 = np.log(3)
    np.testing.assert_allclose(found.mean_loss, [(ln3 + np.log(1 + 2 * np.exp(-2))) / 2, ln3, np.nan], rtol=1e-6)
    # Half of the photograph's ground is beyond the limit as well.
    np.testing.assert_allclose(found.photographs, [0.5, 0, np.nan])
    text = str(found)
    assert "ground     46.67%    28.6%         50.0%      0.669" in text
    assert "33.3% of the pixels became don't-care in label_trusted" in text
    assert text.endswith("kept whole, since the photographs have none: lamp")


def test_the_files_say_how_they_were_made(images: Path, settings: RegionSettings, tmp_path: Path) -> None:
    filter_pictures(images, None, tmp_path / "out", regions=replace(settings, loss_factor=2))
    info = read_info(tmp_path / "out")
    assert info.space == SPACE
    made = info.preprocessing["regions"]
    assert (made["loss_factor"], made["segmenter_sha256"], made["photographs"]) == (2, "c0ffee", 1)
    assert info.preprocessing["synthesis"] == read_info(images).preprocessing["synthesis"]
    schema = pq.read_schema(tmp_path / "out" / "part-00000.parquet")
    assert schema.names == ["id", "sample", "image", "label", "label_trusted"]
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert features["label_trusted"] == features["label"] == {"_type": "Image"}
    report = json.loads((tmp_path / "out" / "regions.json").read_text())
    assert {name: report[name] for name in made} == made
    # Twice the mean: 1.338 is the loss of class 0 nowhere (at most ln 3), 2.197 that of class 1 from a red of 19.5 on.
    assert report["classes"]["ground"]["blanked"] == 0
    assert report["classes"]["wall"] == {
        "mean_loss": pytest.approx(np.log(3)),
        "pixels": 7,
        "blanked": 1,
        "share": 1 / 7,
        "share_of_photographs": 0,
    }
    assert report["classes"]["lamp"]["mean_loss"] is None


def test_the_result_does_not_depend_on_the_other_pictures_and_is_the_same_each_time(
    images: Path, settings: RegionSettings, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        filter_pictures(images, None, tmp_path / name, regions=settings)
    # `a` alone, and what has the column already
    filter_pictures(images / "part-00000.parquet", None, tmp_path / "alone", regions=settings)
    filter_pictures(tmp_path / "one", None, tmp_path / "again", regions=settings)
    for file in (tmp_path / "one").iterdir():
        assert (
            file.read_bytes()
            == (tmp_path / "two" / file.name).read_bytes()
            == (tmp_path / "again" / file.name).read_bytes()
        )
    name = "part-00000.parquet"
    assert (tmp_path / "alone" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()


def test_limits_and_regions_in_one_call(images: Path, settings: RegionSettings, tmp_path: Path) -> None:
    rows = [
        {"id": name, "sample": 0, "accuracy": accuracy, "mean_iou": 0.5, "worst_class": None, "worst_iou": None}
        for name, accuracy in (("a", 0.2), ("b", 0.9))
    ]
    known = json.dumps([ParquetFile.open(str(file)).fingerprint for file in images.iterdir()])
    table = pa.Table.from_pylist([{**row, "feature_distance": 1.0} for row in rows], schema=SCHEMA)
    pq.write_table(table.replace_schema_metadata({PICTURES: known}), tmp_path / "scores.parquet")
    kept = filter_pictures(images, tmp_path / "scores.parquet", tmp_path / "out", min_accuracy=0.5, regions=settings)
    assert (kept.pictures, kept.of) == (1, 2)
    (row,) = iter_rows(tmp_path / "out")
    assert (row["id"], decode_label(row["label_trusted"]["bytes"]).tolist()) == ("b", TRUSTED["b"])
    assert kept.regions is not None
    assert (kept.regions.pixels.tolist(), kept.regions.blanked.tolist()) == ([4, 4, 0], [0, 1, 0])


def test_a_label_space_without_a_dont_care_id_is_given_one(
    segmenter: Red, settings: RegionSettings, tmp_path: Path
) -> None:
    space = LabelSpace(classes=SPACE.classes, palette=SPACE.palette)
    records = [replace(item, label=np.where(item.label == 255, 2, item.label)) for item in PICTURES_OF]
    images = write_pictures(tmp_path / "images", records, photograph, space=space)
    reference = write_records(tmp_path / "p.parquet", [record("p", [[0, 0, 1, 1]] * 2, [[0, 20, 0, 0]] * 2)], space)
    settings = replace(settings, reference=reference)
    filter_pictures(images, None, tmp_path / "out", regions=settings)
    assert read_info(tmp_path / "out").space == LabelSpace(**{**space.model_dump(), "dont_care": 255})
    rows = {row["id"]: decode_label(row["label_trusted"]["bytes"]).tolist() for row in iter_rows(tmp_path / "out")}
    assert rows == {"a": [[255, 255, 0, 1], [255, 255, 2, 2]], "b": TRUSTED["b"]}
    # Beside photographs without such an id it is scored, and with them it can be trained on.
    made = PictureSet.open(tmp_path / "out", what="pictures")
    photographs = PictureSet.open(reference, what="photographs")
    refuse_other_classes(made, photographs)
    with pytest.raises(InputError, match="don't-care is None there, 255 here"):
        refuse_other_classes(photographs, made)


def test_the_id_of_dont_care_is_no_class() -> None:
    assert with_dont_care(LabelSpace(classes=tuple(map(str, range(255))))).dont_care == 255
    assert with_dont_care(LabelSpace(classes=tuple(map(str, range(256))))).dont_care == 65535
    assert with_dont_care(SPACE) is SPACE


def test_a_segmenter_trains_on_dont_care_that_its_recipe_does_not_have(tmp_path: Path) -> None:
    records = [record("a", [[0, 255], [1, 2]], 0)]
    recipe = make_recipe(tmp_path)
    recipe = recipe.model_copy(
        update={
            "labels": LabelSpace(classes=SPACE.classes, palette=SPACE.palette),
            "data": recipe.data.model_copy(update={"height": 2, "width": 2}),
        }
    )
    path = write_records(tmp_path / "train.parquet", records)
    found = load_photographs(path, recipe, scratch=tmp_path, what="photographs")
    assert found.labels.tolist() == [[[0, VOID], [1, 2]]]


@pytest.mark.parametrize("sizes", ["one", "several"])
def test_photographs_are_seen_at_the_size_of_the_pictures(
    segmenter: Red, settings: RegionSettings, tmp_path: Path, sizes: str
) -> None:
    large = record("p", np.zeros((4, 8), int).tolist(), 20)
    reference = write_records(tmp_path / "large.parquet", [large])
    more = [record("c", [[0]], [[0]])] if sizes == "several" else []
    images = write_pictures(tmp_path / "images", [*PICTURES_OF, *more], photograph)
    kept = filter_pictures(images, None, tmp_path / "out", regions=replace(settings, reference=reference))
    assert segmenter.seen[0] == ((1, 3, 2, 4) if sizes == "one" else (1, 3, 4, 8))
    assert kept.regions is not None
    assert kept.regions.mean_loss[0] == pytest.approx(np.log(1 + 2 * np.exp(-2)))


def test_losses_of_logits_and_of_probabilities() -> None:
    random = np.random.default_rng(0)
    logits = torch.from_numpy(random.normal(size=(1, 3, 2, 2))).float()
    target = np.array([[0, 1], [2, -1]], np.int16)
    found = pixel_losses(logits, target, "logits")
    plain = logits[0].double().numpy()
    expected = [np.log(np.exp(plain[:, y, x]).sum()) - plain[c, y, x] for c, y, x in ((0, 0, 0), (1, 0, 1), (2, 1, 0))]
    np.testing.assert_allclose(found.ravel(), [*expected, 0], rtol=1e-5)
    # Masks of classes that do not add up to 1 are brought to that.
    for scores, name in ((3 * logits.softmax(1), "probabilities"), (logits.log_softmax(1), "log-probabilities")):
        np.testing.assert_allclose(pixel_losses(scores, target, name), found, rtol=1e-5)
    enlarged = pixel_losses(torch.ones(1, 3, 1, 1), np.zeros((4, 6), np.int16), "logits")
    np.testing.assert_allclose(enlarged, np.full((4, 6), np.log(3)), rtol=1e-6)


def test_the_share_beyond_a_limit_is_that_of_the_losses_to_a_hundredth() -> None:
    random = np.random.default_rng(0)
    target = random.integers(-1, 2, 20_000)
    loss = random.exponential(1, 20_000).astype(np.float32) ** 3
    whole, parts = ClassLosses(2), ClassLosses(2)
    whole.update(loss, target)
    for start in range(0, 20_000, 7_000):
        parts.update(loss[start : start + 7_000], target[start : start + 7_000])
    np.testing.assert_allclose(parts.means(), [loss[target == index].mean(dtype=float) for index in (0, 1)])
    limits = 1.25 * whole.means()
    expected = [(loss[target == index] > limits[index]).mean() for index in (0, 1)]
    np.testing.assert_allclose(whole.shares_above(limits), expected, atol=2e-3)
    np.testing.assert_array_equal(whole.shares_above(limits), parts.shares_above(limits))
    whole.update(np.array([0, np.inf], np.float32), np.array([0, 0]))  # the ends of the axis hold whatever is beyond


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda s: replace(s, loss_factor=0), "the loss factor is 0; give a number above 0"),
        (lambda s: replace(s, reference=s.reference.with_name("none.parquet")), "none.parquet does not exist"),
        (lambda s: replace(s, segmenter="nope", segmenter_weights=None), "there is no segmenter 'nope'; choose from"),
    ],
)
def test_refusals(
    images: Path,
    settings: RegionSettings,
    tmp_path: Path,
    change: Callable[[RegionSettings], RegionSettings],
    told: str,
) -> None:
    with pytest.raises(InputError, match=told):
        filter_pictures(images, None, tmp_path / "out", regions=change(settings))
    assert not (tmp_path / "out").exists()


def test_a_broken_picture_is_named_and_nothing_is_left(
    images: Path, settings: RegionSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(tmp_path.iterdir())
    bad = [replace(PHOTOGRAPHS[0], label=np.full((2, 4), 9, np.uint8))]
    write_records(settings.reference, bad)
    with pytest.raises(InputError, match="picture 'p': label map has id 9"):
        filter_pictures(images, None, tmp_path / "out", regions=settings)
    write_records(settings.reference, PHOTOGRAPHS)
    write_pictures(images, [PICTURES_OF[0], replace(PICTURES_OF[1], label=bad[0].label)], photograph)
    with pytest.raises(InputError, match="picture 'b': label map has id 9"):
        filter_pictures(images, None, tmp_path / "out", regions=settings)
    with pytest.raises(InputError, match="limits are on the scores of `evaluate`"):
        filter_pictures(images, None, tmp_path / "out", min_accuracy=0.5)
    assert sorted(tmp_path.iterdir()) == before


def test_the_command(images: Path, settings: RegionSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where there is no report with scores
    arguments = ["filter", "images", "--regions", "--reference", "photographs.parquet", "--segmenter-weights", "."]
    result = CliRunner().invoke(main, [*arguments, "--loss-factor", "2"])
    assert result.exit_code == 0, result.output
    assert "6.7% of the pixels became don't-care" in result.stdout
    assert "2 of 2 pictures pass" in result.stdout
    assert (tmp_path / "images-filtered" / "regions.json").is_file()
