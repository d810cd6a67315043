"""Exports hold what the sets hold, as other tools read them: pycocotools, and Datumaro where it is installed."""

from __future__ import annotations

import csv
import json
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result
from PIL import Image

import cli
from pipeline.data.records import DatasetInfo, RecordWriter
from pipeline.exports.contours import join, trace
from pipeline.labels import LabelSpace
from pipeline.synthesis.worker import OUTPUT_FIELDS

SPACE = LabelSpace(classes=("sky", "sea, calm", "boat"), palette=((1, 2, 3), (4, 5, 6), (7, 8, 9)), dont_care=255)
IDS = ("Bay/IMG_7", "bay/b", "c: d")


def label_map(index: int) -> np.ndarray:
    """uint8 `[20, 24]`: sky, sea, a boat with a hole, one in two parts, and don't-care above."""
    label = np.zeros((20, 24), np.uint8)
    label[10:] = 1
    label[8:14, 2:9] = 2
    label[10:12, 4 + index : 6 + index] = 1
    label[11:13, 12:15] = label[11:13, 17:20] = 2
    label[0, :4] = 255
    return label


def instance_map(index: int) -> np.ndarray:
    label = label_map(index).astype(np.int32)
    instance = label.copy()
    instance[:, :11][label[:, :11] == 2] = 300
    instance[:, 11:][label[:, 11:] == 2] = 70000
    return instance


def zero_map(index: int) -> np.ndarray:
    """As landscapes number instances: 0 is none, and one boat has its class's id."""
    instance = instance_map(index)
    return np.select([instance == 300, instance == 70000], [2, 9], 0)


def write_set(
    folder: Path,
    *,
    instances: bool = True,
    ids: tuple[str, ...] = IDS,
    instance_of: Callable[[int], np.ndarray] = instance_map,
) -> Path:
    fields = [field for field in OUTPUT_FIELDS if instances or field.name != "instance"]
    with RecordWriter(folder / "part-00000.parquet", DatasetInfo(SPACE), fields, key=("id", "sample")) as writer:
        for index, record in enumerate(ids):
            pixels = np.random.default_rng(index).integers(0, 256, (20, 24, 3), np.uint8)
            row = {"id": record, "sample": 0, "image": pixels, "label": label_map(index), "seed": 5, "checkpoint": "c0"}
            writer.write({**row, "instance": instance_of(index)} if instances else row)
    return folder


def export(*words: object) -> Result:
    return CliRunner().invoke(cli.main, ["export", *map(str, words)])


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    kinds = [word for kind in ("folder", "webdataset", "coco", "panoptic", "yolo", "voc") for word in ("--as", kind)]
    result = export(write_set(tmp_path / "images"), *kinds, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert result.output.startswith("3 pictures in ")
    return tmp_path / "out"


NAMES = ("Bay/IMG_7", "bay/b", "c_d-3ed930f3")


def test_names_are_those_that_records_had(exported: Path) -> None:
    found = sorted(str(path.relative_to(exported / "folder")) for path in (exported / "folder").rglob("*.png"))
    assert found == sorted(f"{kind}/{name}.png" for kind in ("images", "labels") for name in NAMES)
    label = np.array(Image.open(exported / "folder" / "labels" / "bay" / "b.png"))
    np.testing.assert_array_equal(label, label_map(1))
    with (exported / "folder" / "classes.csv").open() as file:
        table = list(csv.DictReader(file))
    assert table[1] == {"id": "1", "name": "sea, calm", "red": "4", "green": "5", "blue": "6", "category_id": "2"}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # pycocotools' own conversion of arrays
def test_pycocotools_finds_every_object(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from pycocotools.coco import COCO

    coco = COCO(exported / "coco" / "annotations" / "instances_train.json")
    assert [entry["name"] for entry in coco.loadCats(coco.getCatIds())] == list(SPACE.classes)
    for index, image in enumerate(coco.loadImgs(coco.getImgIds())):
        assert (exported / "coco" / "images" / "train" / image["file_name"]).is_file()
        assert image["spadework"] == {"id": IDS[index], "sample": 0, "seed": 5, "checkpoint": "c0"}
        objects = coco.loadAnns(coco.getAnnIds(image["id"]))
        assert [entry["category_id"] for entry in objects] == [3, 3]  # sea and sky have their class's id: no objects
        for entry, number in zip(objects, (300, 70000), strict=True):
            mask = instance_map(index) == number
            np.testing.assert_array_equal(coco.annToMask(entry), mask)
            rows, columns = np.nonzero(mask)
            assert entry["area"] == mask.sum()
            assert entry["bbox"] == [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
        assert isinstance(objects[0]["segmentation"], dict)  # it has a hole
        assert [len(part) for part in objects[1]["segmentation"]] == [8, 8]


def test_panoptic_segments_are_objects_and_what_is_left_of_classes(exported: Path) -> None:
    file = json.loads((exported / "panoptic" / "annotations" / "panoptic_train.json").read_text())
    assert [(entry["name"], entry["isthing"]) for entry in file["categories"]] == [
        ("sky", 0),
        ("sea, calm", 0),
        ("boat", 1),
    ]
    for index, annotation in enumerate(file["annotations"]):
        png = np.array(Image.open(exported / "panoptic" / "annotations" / "panoptic_train" / annotation["file_name"]))
        segments = png.astype(int) @ [1, 256, 65536]
        label = np.full(segments.shape, 255)
        for info in annotation["segments_info"]:
            label[segments == info["id"]] = info["category_id"] - 1
            assert info["area"] == (segments == info["id"]).sum()
        np.testing.assert_array_equal(label, label_map(index))
        assert [info["category_id"] for info in annotation["segments_info"]] == [3, 3, 1, 2]
        for number in (300, 70000):
            assert len(np.unique(segments[instance_map(index) == number])) == 1


def test_where_0_is_no_instance_only_boats_are_objects(tmp_path: Path) -> None:
    """Neither sky nor sea, whose instance id is 0, becomes an object, and the boat whose id is its class's is one."""
    images = write_set(tmp_path / "images", instance_of=zero_map)
    assert export(images, "--as", "coco", "--as", "panoptic", "--out", tmp_path / "out").exit_code == 0
    file = json.loads((tmp_path / "out" / "coco" / "annotations" / "instances_train.json").read_text())
    found = [(entry["category_id"], entry["area"]) for entry in file["annotations"] if entry["image_id"] == 1]
    assert found == [(3, int((zero_map(0) == number).sum())) for number in (2, 9)]
    panoptic = json.loads((tmp_path / "out" / "panoptic" / "annotations" / "panoptic_train.json").read_text())
    assert [entry["isthing"] for entry in panoptic["categories"]] == [0, 0, 1]
    segments = panoptic["annotations"][0]["segments_info"]
    assert [info["category_id"] for info in segments] == [3, 3, 1, 2]


def inside(corners: np.ndarray, height: int, width: int) -> np.ndarray:
    """The pixels whose middles are in a polygon `[N, 2]`, by the even-odd rule: bool `[height, width]`."""
    x, y = np.arange(width)[None, :] + 0.5, np.arange(height)[:, None] + 0.5
    found = np.zeros((height, width), bool)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y0 != y1:
            found ^= ((y0 > y) != (y1 > y)) & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return found


def test_yolo_lines_are_outlines(exported: Path) -> None:
    fields = yaml.safe_load((exported / "yolo" / "data.yaml").read_text())
    assert (fields["names"], fields["train"]) == ({0: "sky", 1: "sea, calm", 2: "boat"}, "images/train")
    for index, name in enumerate(NAMES):
        assert (exported / "yolo" / "images" / "train" / f"{name}.png").is_file()
        lines = (exported / "yolo" / "labels" / "train" / f"{name}.txt").read_text().splitlines()
        for line, number in zip(lines, (300, 70000), strict=True):
            kind, *shares = map(float, line.split())
            corners = (np.array(shares).reshape(-1, 2) * (24, 20)).round(3)
            np.testing.assert_array_equal(inside(corners, 20, 24), instance_map(index) == number)
            assert kind == 2


def test_yolo_readers_find_the_labels_of_a_joined_set_called_images(tmp_path: Path) -> None:
    """Their rule: the last folder `images` becomes `labels`; without `path` they start at the YAML."""
    images = write_set(tmp_path / "images")
    other = write_set(tmp_path / "other", ids=("images/images/x",))
    assert export(images, other, "--as", "yolo", "--out", tmp_path / "out").exit_code == 0
    root = tmp_path / "out" / "yolo"
    fields = yaml.safe_load((root / "data.yaml").read_text())
    assert "path" not in fields
    pictures = sorted((root / fields["train"]).rglob("*.png"))
    assert len(pictures) == 4
    found = [Path("/labels/".join(str(path).rsplit("/images/", 1))).with_suffix(".txt") for path in pictures]
    assert sorted(found) == sorted((root / "labels").rglob("*.txt"))


def test_voc_masks_and_boxes(exported: Path) -> None:
    for index, name in enumerate(NAMES):
        mask = np.array(Image.open(exported / "voc" / "SegmentationClass" / f"{name}.png"))
        np.testing.assert_array_equal(mask, np.where(label_map(index) == 255, 255, label_map(index) + 1))
        coloured = np.array(Image.open(exported / "voc" / "SegmentationClass" / f"{name}.png").convert("RGB"))
        assert coloured[5, 20].tolist() == [1, 2, 3]
        owners = np.array(Image.open(exported / "voc" / "SegmentationObject" / f"{name}.png"))
        assert {int(value) for value in np.unique(owners)} == {0, 1, 2}
        root = ET.parse(exported / "voc" / "Annotations" / f"{name}.xml").getroot()
        boxes = [[int(side.text or 0) for side in entry] for entry in root.iter("bndbox")]
        assert boxes == [[3, 9, 9, 14], [13, 12, 20, 13]]
    assert (exported / "voc" / "ImageSets" / "Segmentation" / "train.txt").read_text().split("\n")[:-1] == list(NAMES)


@pytest.mark.parametrize(("count", "warns"), [(254, False), (255, True)])
def test_voc_says_where_a_mask_cannot_hold_all_objects(
    count: int, warns: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def crowd(index: int) -> np.ndarray:
        pixels = np.arange(-4, 20 * 24 - 4).reshape(20, 24)  # the first four are don't-care, and so no objects
        return np.where(pixels < count, 1000 + pixels, label_map(index))

    images = write_set(tmp_path / "images", ids=("many",), instance_of=crowd)
    assert export(images, "--as", "voc", "--out", tmp_path / "out").exit_code == 0
    objects = len(ET.parse(tmp_path / "out" / "voc" / "Annotations" / "many.xml").getroot().findall("object"))
    mask = np.array(Image.open(tmp_path / "out" / "voc" / "SegmentationObject" / "many.png"))
    assert (objects, len(np.unique(mask[mask > 0]))) == (count, 254)
    assert ("pictures have more, such as many with 255" in caplog.text) == warns


def test_without_instance_maps_objects_are_connected_regions(tmp_path: Path) -> None:
    images = write_set(tmp_path / "images", instances=False)
    assert export(images, "--as", "coco", "--as", "panoptic").exit_code == 0
    file = json.loads((tmp_path / "images-export" / "coco" / "annotations" / "instances_train.json").read_text())
    first = [entry["category_id"] for entry in file["annotations"] if entry["image_id"] == 1]
    assert first == [1, 2, 2, 3, 3, 3]
    panoptic = json.loads((tmp_path / "images-export" / "panoptic" / "annotations" / "panoptic_train.json").read_text())
    assert [len(entry["segments_info"]) for entry in panoptic["annotations"]] == [3, 3, 3]


def test_several_sets_are_joined_by_their_names(tmp_path: Path) -> None:
    one, other = (write_set(tmp_path / name, ids=("x", "y")) for name in ("one", "other"))
    assert export(one, other, "--as", "folder", "--out", tmp_path / "out").exit_code == 0
    images = tmp_path / "out" / "folder" / "images"
    found = sorted(str(path.relative_to(images)) for path in images.rglob("*.png"))
    assert found == ["one/x.png", "one/y.png", "other/x.png", "other/y.png"]
    again = export(one, "--as", "folder", "--out", tmp_path / "out")
    assert (again.exit_code, "exists already; give another --out" in again.stderr) == (2, True)
    (other / "_job").mkdir()
    (other / "_job" / "job.json").touch()
    assert "other is not finished; run the same synthesize command again" in export(other, "--as", "folder").stderr


@pytest.mark.parametrize("inside", ["a.png/x", "a.txt/x", "A.PNG/b/x"])
def test_a_file_with_the_name_of_a_folder_is_refused(inside: str, tmp_path: Path) -> None:
    images = write_set(tmp_path / "images", ids=("a", inside))
    result = export(images, "--as", "yolo", "--out", tmp_path / "out")
    told = f"the file of 'a' may have the name of a folder of '{inside}'; rename one of these ids"
    assert (result.exit_code, told in result.stderr) == (2, True), result.stderr
    assert not (tmp_path / "out" / "yolo").exists()
    assert export(images, "--as", "webdataset", "--out", tmp_path / "out").exit_code == 0


def test_outlines_say_a_mask_exactly() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        mask = rng.random(rng.integers(1, 12, 2)) < rng.uniform(0.1, 0.9)
        if not mask.any():
            continue
        outlines, holes = trace(mask)
        np.testing.assert_array_equal(inside(np.array(join(outlines + holes)), *mask.shape), mask)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["coco", "voc", "panoptic"])  # of YOLO it reads boxes only
def test_datumaro_loads_it(exported: Path, kind: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        datumaro = pytest.importorskip("datumaro")
        formats = {"coco": "coco_instances", "panoptic": "coco_panoptic", "voc": "voc"}
        dataset = datumaro.Dataset.import_from(str(exported / kind), formats[kind])
        assert len(dataset) == 3
