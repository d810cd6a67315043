"""A made-up street set in the layouts of releases: prepared without hand work, or refused with the option to give."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import cli
from pipeline.data.records import decode_record, iter_rows, read_info

NAMES = ("road", "building", "car")
COLOURS = np.array([[128, 64, 128], [70, 70, 70], [0, 0, 142]], np.uint8)
FRAMES = [f"{city}_{sequence:06d}_{frame:06d}" for city in ("bonn", "ulm") for sequence in (0, 1) for frame in (19, 20)]


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, quality=95) if path.suffix == ".jpg" else Image.fromarray(array).save(path)


def street(index: int) -> np.ndarray:
    """uint8 `[12, 16]`: a road below a building, and two cars on it."""
    label = np.ones((12, 16), np.uint8)
    label[6:] = 0
    label[7:9, 1 + index % 3 : 5] = 2
    label[7:10, 9:13] = 2
    return label


def photograph(index: int) -> np.ndarray:
    noise = np.random.default_rng(index).integers(-20, 20, (12, 16, 3))
    return (COLOURS[street(index)] + noise).clip(0, 255).astype(np.uint8)


def cityscapes(root: Path) -> str:
    for index, frame in enumerate(FRAMES):
        city = frame.split("_")[0]
        fine = root / "gtFine" / city / f"{frame}_gtFine"
        save(Path(f"{fine}_labelIds.png"), street(index))
        save(Path(f"{fine}_color.png"), COLOURS[street(index)])
        save(Path(f"{fine}_instanceIds.png"), np.where(street(index) == 2, 26001, street(index)).astype(np.uint16))
        Path(f"{fine}_polygons.json").write_text("{}")
        save(root / "leftImg8bit" / city / f"{frame}_leftImg8bit.png", photograph(index))
    return "gtFine --images leftImg8bit --instances gtFine --classes classes.txt"


def camvid(root: Path) -> str:
    for index, frame in enumerate(FRAMES):
        save(root / "LabeledApproved_full" / f"{frame}_L.png", COLOURS[street(index)])
        save(root / "701_StillsRaw_full" / f"{frame}.png", photograph(index))
    rows = "".join(f"{name},{r},{g},{b}\n" for name, (r, g, b) in zip(NAMES, COLOURS.tolist(), strict=True))
    (root / "class_dict.csv").write_text(f"name,r,g,b\n{rows}")
    return "LabeledApproved_full --images 701_StillsRaw_full --palette class_dict.csv"


def one_folder(root: Path) -> str:
    for index, frame in enumerate(FRAMES):
        save(root / "data" / f"{frame}.png", photograph(index))
        save(root / "data" / f"{frame}_mask.png", street(index))
    return "data --images data --classes classes.txt"


def by_extension(root: Path) -> str:
    for index, frame in enumerate(FRAMES):
        save(root / "data" / f"{frame}.jpg", photograph(index))
        save(root / "data" / f"{frame}.png", street(index))
    return "data --images data --classes classes.txt"


def raw_ids(root: Path) -> str:
    for index, frame in enumerate(FRAMES):
        save(root / "masks" / f"{frame}.png", np.array([7, 11, 26], np.uint8)[street(index)])
        save(root / "photos" / f"{frame}.jpg", photograph(index))
    (root / "ids.csv").write_text("7,0\n11,1\n26,2\n*,2\n")
    return "masks --images photos --classes classes.txt --map-ids ids.csv --connected-instances car"


def coco(root: Path) -> str:
    images, annotations = [], []
    for index, frame in enumerate(FRAMES):
        save(root / "photos" / f"{frame}.png", photograph(index))
        images.append({"id": index, "file_name": f"{frame}.png", "height": 12, "width": 16})
        boxes = {1: [0, 0, 16, 6], 0: [0, 6, 16, 6]}
        for label, (left, top, width, height) in boxes.items():
            corners = [left, top, left + width, top, left + width, top + height, left, top + height]
            annotations.append({"image_id": index, "category_id": label + 1, "segmentation": [corners]})
        for car in (slice(0, 8), slice(8, 16)):
            mask = np.zeros((12, 16), np.uint8)
            mask[:, car] = street(index)[:, car] == 2
            steps = np.flatnonzero(np.diff(np.concatenate([[0], mask.ravel("F"), [0]])))
            counts = np.diff(np.concatenate([[0], steps, [mask.size]])).tolist()  # uncompressed, from a run of 0 on
            packed = {"size": [12, 16], "counts": counts}
            annotations.append({"image_id": index, "category_id": 3, "segmentation": packed})
    numbered = [{"id": number, "iscrowd": 0, **entry} for number, entry in enumerate(annotations)]
    categories = [{"id": number + 1, "name": name} for number, name in enumerate(NAMES)]
    file = {"images": images, "annotations": numbered, "categories": categories}
    (root / "instances.json").write_text(json.dumps(file))
    return "instances.json --images photos"


def panoptic(root: Path) -> str:
    images, annotations = [], []
    for index, frame in enumerate(FRAMES):
        save(root / "photos" / f"{frame}.jpg", photograph(index))
        segments = street(index).astype(np.int32) + 1
        segments[:, 8:][segments[:, 8:] == 3] = 70000
        save(root / "panoptic" / f"{frame}.png", (segments[..., None] // [1, 256, 65536] % 256).astype(np.uint8))
        images.append({"id": index, "file_name": f"{frame}.jpg", "height": 12, "width": 16})
        parts = [{"id": number, "category_id": min(number, 3), "iscrowd": 0} for number in (1, 2, 3, 70000)]
        annotations.append({"image_id": index, "file_name": f"{frame}.png", "segments_info": parts})
    categories = [
        {"id": number + 1, "name": name, "isthing": int(name == "car"), "color": COLOURS[number].tolist()}
        for number, name in enumerate(NAMES)
    ]
    file = {"images": images, "annotations": annotations, "categories": categories}
    (root / "panoptic.json").write_text(json.dumps(file))
    return "panoptic.json --images photos"


LAYOUTS = (cityscapes, camvid, one_folder, by_extension, raw_ids, coco, panoptic)
WITH_INSTANCES = (cityscapes, raw_ids, coco, panoptic)


def prepare(root: Path, arguments: str, *options: str) -> Result:
    (root / "classes.txt").write_text("\n".join(NAMES))
    words = [*arguments.split(), "--out", "out", "--workers", "1", *options]
    return CliRunner().invoke(cli.main, ["prepare", "folder", *words])


@pytest.mark.parametrize(
    ("width", "height", "told"),
    [
        (1 << 20, 1 << 20, "says 1048576x1048576, more than 536870912 pixels; mend its width"),
        (16, -12, "says 16x-12, which no picture has; mend its width and height"),
    ],
)
def test_sizes_of_an_annotation_file_are_checked_before_maps_of_them_are_made(
    width: int, height: int, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    coco(tmp_path)
    file = json.loads((tmp_path / "instances.json").read_text())
    file["images"][0] |= {"width": width, "height": height}
    (tmp_path / "instances.json").write_text(json.dumps(file))
    result = prepare(tmp_path, "instances.json")
    assert (result.exit_code, told in result.stderr) == (2, True), result.stderr


@pytest.mark.parametrize("line", ["26,65536", "*,99999"])
def test_ids_that_no_label_map_holds_are_no_targets(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = raw_ids(tmp_path)
    (tmp_path / "ids.csv").write_text(f"7,0\n11,1\n{line}\n")
    result = prepare(tmp_path, arguments)
    told = f"id map ids.csv, line 3: {line.split(',')[1]} is more than 65535"
    assert (result.exit_code, told in result.stderr) == (2, True), result.stderr


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_are_prepared_without_hand_work(
    layout: Callable[[Path], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = prepare(tmp_path, layout(tmp_path), "--validation", "0")
    assert result.exit_code == 0, result.output
    assert "skipped: 0" in result.output
    rows = {row["id"].rpartition("/")[2]: row for row in iter_rows(tmp_path / "out" / "train.parquet")}
    assert sorted(rows) == sorted(FRAMES)
    space = read_info(tmp_path / "out").space
    assert space.classes == NAMES
    assert space.instance_edges == (layout in WITH_INSTANCES)
    for index, frame in enumerate(FRAMES):
        record = decode_record(rows[frame], need_image=True)
        np.testing.assert_array_equal(record.label, street(index))
        if rows[frame]["image"]["path"].endswith(".png"):
            np.testing.assert_array_equal(record.image, photograph(index))
        assert (record.instance is not None) == (layout in WITH_INSTANCES)
        if record.instance is not None and layout is not cityscapes:  # whose made-up cars share an id
            cars = record.instance[record.label == 2]
            assert len(np.unique(cars)) == 2 and cars.min() > 2
            assert len(np.unique(record.instance[:, :8][record.label[:, :8] == 2])) == 1
            if layout is not coco:  # whose every annotation is an object
                np.testing.assert_array_equal(record.instance[record.label != 2], record.label[record.label != 2])


def test_cityscapes_to_train_ids_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ids = np.array([[7, 11, 26, 33, 0, 34]], np.uint8)
    save(tmp_path / "gtFine" / "a_gtFine_labelIds.png", ids)
    result = prepare(tmp_path, "gtFine --map-ids cityscapes-train", "--validation", "0")
    assert result.exit_code == 0, result.output
    space = read_info(tmp_path / "out").space
    assert (len(space.classes), space.classes[0], space.classes[13], space.dont_care) == (19, "road", "car", 255)
    assert space.palette[13] == (0, 0, 142)
    record = decode_record(next(iter_rows(tmp_path / "out")))
    assert record.label.tolist() == [[0, 2, 13, 18, 255, 255]]


@pytest.mark.parametrize("none", ["class", "0"])
def test_with_mapped_ids_what_was_no_object_is_none(none: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        ids = np.array([7, 11, 26], np.uint8)[street(0)]
        cars = np.full((12, 16), 0 if none == "0" else 7, np.uint16)
        cars[:6] = 0 if none == "0" else 11
        cars[7:9, 1:5] = 26001
        cars[7:10, 9:13] = 13  # which is the class's own id afterwards
        save(tmp_path / "gtFine" / f"{name}_gtFine_labelIds.png", ids)
        save(tmp_path / "gtFine" / f"{name}_gtFine_instanceIds.png", cars)
        save(tmp_path / "leftImg8bit" / f"{name}_leftImg8bit.png", photograph(0))
    arguments = "gtFine --images leftImg8bit --instances gtFine --map-ids cityscapes-train"
    assert prepare(tmp_path, arguments, "--validation", "0").exit_code == 0
    done = CliRunner().invoke(cli.main, ["export", "out/train.parquet", "--as", "coco", "--out", "exported"])
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "exported" / "coco" / "annotations" / "instances_train.json").read_text())
    boxes = sorted((entry["image_id"], entry["category_id"], entry["bbox"]) for entry in found["annotations"])
    assert boxes == [(image, 14, box) for image in (1, 2) for box in ([1, 7, 4, 2], [9, 7, 4, 3])]


def two_kinds_of_labels(root: Path) -> tuple[str, str]:
    arguments = cityscapes(root)
    for path in (root / "gtFine").rglob("*_labelIds.png"):
        path.with_name(path.name.replace("labelIds", "labelTrainIds")).write_bytes(path.read_bytes())
    return arguments, "label maps may be *_gtFine_labelIds, *_gtFine_labelTrainIds; say which with --label-suffix"


def two_cameras(root: Path) -> tuple[str, str]:
    arguments = cityscapes(root)
    for path in (root / "leftImg8bit").rglob("*.png"):
        path.with_name(path.name.replace("left", "right")).write_bytes(path.read_bytes())
    return arguments, "photographs may be *_leftImg8bit, *_rightImg8bit; say which with --image-suffix"


def two_kinds_of_instances(root: Path) -> tuple[str, str]:
    arguments = cityscapes(root)
    for path in (root / "gtFine").rglob("*_instanceIds.png"):
        path.with_name(path.name.replace("instanceIds", "instanceTrainIds")).write_bytes(path.read_bytes())
    return (
        arguments,
        "instance maps may be *_gtFine_instanceIds, *_gtFine_instanceTrainIds; say which with --instance-s",
    )


@pytest.mark.parametrize("layout", [two_kinds_of_labels, two_cameras, two_kinds_of_instances])
def test_what_is_ambiguous_is_refused_with_the_option_that_settles_it(
    layout: Callable[[Path], tuple[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments, message = layout(tmp_path)
    result = prepare(tmp_path, arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    option = result.stderr.strip().partition("such as ")[2].split()
    settled = prepare(tmp_path, arguments, *option)
    assert settled.exit_code == 0, settled.output


def test_names_that_differ_by_a_word_are_label_maps_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for index, name in enumerate(("a_day", "a_night", "b_day", "b_night")):
        save(tmp_path / "masks" / f"{name}.png", street(index))
    assert prepare(tmp_path, "masks --classes classes.txt", "--validation", "0").exit_code == 0
    assert [row["id"] for row in iter_rows(tmp_path / "out")] == ["a_day", "a_night", "b_day", "b_night"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("instances.json --classes classes.txt", "a COCO annotation file says itself what --classes is for; leave it"),
        ("classes.txt", "classes.txt is a file; give the folder of label maps, or a COCO annotation file (.json)"),
        ("broken.json", "broken.json is no COCO annotation file: "),
        ("boxes.json", "annotation 5 has no segmentation; a box says nothing of the pixels in it, so add masks"),
        ("panoptic.json", "the folder panoptic of the panoptic PNGs does not exist; give it with --instances"),
    ],
)
def test_bad_annotation_files_are_refused(
    options: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    image = {"id": 1, "file_name": "a.png", "height": 2, "width": 2}
    box = {"id": 5, "image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1]}
    parts = {"image_id": 1, "file_name": "a.png", "segments_info": []}
    for name, entries in (("instances", []), ("boxes", [box]), ("panoptic", [parts])):
        file = {"images": [image], "annotations": entries, "categories": [{"id": 1, "name": "car"}]}
        (tmp_path / f"{name}.json").write_text(json.dumps(file))
    (tmp_path / "broken.json").write_text('{"images": 3}')
    result = prepare(tmp_path, options)
    assert result.exit_code == 2
    assert message in result.stderr, result.stderr
    assert not (tmp_path / "out").exists()
