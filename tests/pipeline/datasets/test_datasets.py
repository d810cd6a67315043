from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import cli
from pipeline.data.records import check_dataset, decode_record, iter_rows, read_info
from pipeline.datasets import ade20k, camvid, cityscapes, coco_stuff, folder, palette_file
from pipeline.datasets.convert import Skipped, Summary
from pipeline.datasets.files import list_pictures
from pipeline.datasets.landscape import dataset as landscape
from pipeline.errors import InputError

SHARED = Path(__file__).parents[4] / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the reference folder beside the checkout is absent")


def save(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def photograph(seed: int, height: int = 6, width: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def label_map(seed: int, count: int = 3, height: int = 6, width: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, count, (height, width), np.uint8)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Twelve pairs in labels/ and images/, and the class names."""
    for index in range(12):
        save(tmp_path / "labels" / f"p{index:02d}.png", label_map(index))
        save(tmp_path / "images" / f"p{index:02d}.png", photograph(index))
    (tmp_path / "classes.txt").write_text("# three\nsky\nsea\n\nsand\n")
    return tmp_path


def prepare(raw: Path, **options: object) -> Summary:
    given = {"images": raw / "images", "classes": raw / "classes.txt", "validation": 0.3, "workers": 1, **options}
    return folder.prepare(raw / "labels", raw / "out", **given)  # type: ignore[arg-type]


def records(path: Path, name: str = "train") -> dict[str, dict]:
    return {row["id"]: row for row in iter_rows(path / f"{name}.parquet")}


def test_folder_keeps_files_as_they_are_and_divides_by_name(raw: Path) -> None:
    summary = prepare(raw)
    train, validation = records(raw / "out"), records(raw / "out", "validation")
    assert sorted([*train, *validation]) == [f"p{index:02d}" for index in range(12)]
    assert 0 < len(validation) < len(train)
    for name, row in {**train, **validation}.items():
        assert row["label"] == {"bytes": (raw / "labels" / f"{name}.png").read_bytes(), "path": f"{name}.png"}
        assert row["image"]["bytes"] == (raw / "images" / f"{name}.png").read_bytes()
        assert row["instance"] is None
    info = check_dataset(raw / "out")
    assert info.space.classes == ("sky", "sea", "sand")
    assert info.preprocessing == {"source": "folder"}
    pixels = sum(split.pixels for split in summary.splits)
    np.testing.assert_array_equal(pixels, np.bincount(np.concatenate([label_map(i).ravel() for i in range(12)])))
    # Adding a file moves no other between the two.
    save(raw / "labels" / "q.png", label_map(1))
    save(raw / "images" / "q.png", photograph(1))
    prepare(raw)
    assert set(validation) <= set(records(raw / "out", "validation"))


def test_worker_processes_change_nothing(raw: Path) -> None:
    for index in range(12, 40):
        save(raw / "labels" / f"p{index:02d}.png", label_map(index))
        save(raw / "images" / f"p{index:02d}.png", photograph(index))
    prepare(raw)
    alone = [(raw / "out" / name).read_bytes() for name in ("train.parquet", "validation.parquet")]
    prepare(raw, workers=2)
    assert [(raw / "out" / name).read_bytes() for name in ("train.parquet", "validation.parquet")] == alone


def test_folder_reports_the_unpaired(raw: Path) -> None:
    save(raw / "labels" / "alone.png", label_map(0))
    save(raw / "images" / "lonely.jpg", photograph(0))
    summary = prepare(raw)
    assert summary.splits[0].skipped == [
        Skipped("alone", "no photograph of that name"),
        Skipped("lonely", "no label map of that name"),
    ]
    assert "skipped: 2\n  alone: no photograph of that name" in str(summary)


def test_folder_resizes_and_says_so(raw: Path) -> None:
    save(raw / "labels" / "p00.png", np.kron(np.array([[0, 1], [2, 0]], np.uint8), np.ones((4, 4), np.uint8)))
    save(raw / "images" / "p00.png", photograph(0, 8, 8))
    prepare(raw, size=(2, 4), validation=0.0)
    record = decode_record(records(raw / "out")["p00"], need_image=True)
    assert record.label.tolist() == [[0, 0, 1, 1], [2, 2, 0, 0]]
    assert record.image is not None
    assert record.image.shape == (2, 4, 3)
    assert read_info(raw / "out").preprocessing == {
        "source": "folder",
        "size": [4, 2],
        "label_filter": "nearest",
        "image_filter": "lanczos",
    }


def test_folder_resizes_photographs_by_the_filter_that_is_asked_for(raw: Path) -> None:
    arguments = [raw / "labels", "--images", raw / "images", "--classes", raw / "classes.txt", "--out", raw / "out"]
    options = ["--size", "4x2", "--validation", "0", "--resample", "bicubic"]
    result = CliRunner().invoke(cli.main, ["prepare", "folder", *map(str, arguments), *options])
    assert result.exit_code == 0, result.output
    image = decode_record(records(raw / "out")["p00"], need_image=True).image
    stored = Image.open(raw / "images" / "p00.png").convert("RGB")
    np.testing.assert_array_equal(image, np.array(stored.resize((4, 2), Image.Resampling.BICUBIC)))
    assert not np.array_equal(image, np.array(stored.resize((4, 2), Image.Resampling.LANCZOS)))
    assert read_info(raw / "out").preprocessing["image_filter"] == "bicubic"


def test_folder_with_instances_uses_their_edges(raw: Path) -> None:
    for index in range(12):
        save(raw / "instances" / f"p{index:02d}.png", label_map(index, 90).astype(np.uint16) * 700)
    prepare(raw, instances=raw / "instances", validation=1.0)
    assert read_info(raw / "out").space.instance_edges
    record = decode_record(records(raw / "out", "validation")["p03"])
    np.testing.assert_array_equal(record.instance, label_map(3, 90).astype(np.uint16) * 700)
    assert not (raw / "out" / "train.parquet").exists()


@pytest.mark.parametrize("kind", ["txt", "json"])
def test_folder_reads_rgb_label_maps_with_a_palette(raw: Path, kind: str) -> None:
    colours = {"sky": [0, 0, 255], "road": [128, 64, 128], "dont-care": [0, 0, 0]}
    palette = raw / f"palette.{kind}"
    lines = "".join(f"{r} {g} {b}  {name}\n# comment\n" for name, (r, g, b) in colours.items())
    palette.write_text(json.dumps(colours) if kind == "json" else f"# red green blue name\n{lines}")
    for path in (raw / "labels").iterdir():
        save(path, np.array([[[0, 0, 255], [128, 64, 128], [0, 0, 0]]], np.uint8))
        save(raw / "images" / path.name, photograph(0, 1, 3))
    prepare(raw, palette=palette, classes=None, validation=0.0)
    info = read_info(raw / "out")
    assert (info.space.classes, info.space.dont_care) == (("sky", "road"), 255)
    assert info.space.palette == ((0, 0, 255), (128, 64, 128))
    assert decode_record(records(raw / "out")["p00"]).label.tolist() == [[0, 1, 255]]


def test_several_colours_may_mean_one_class(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("1 1 1 car\n2 2 2 truck\n3 3 3 car\n")
    palette = palette_file.read_palette(tmp_path / "p.txt")
    assert palette.classes == ("car", "truck")
    assert palette.ids == {(1, 1, 1): 0, (2, 2, 2): 1, (3, 3, 3): 0}
    assert palette.dont_care is None


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("p.txt", "1 2 car", "line 1: '1 2 car' is not 'red green blue name'"),
        ("p.txt", "1 2 256 car", r"the colour of 'car' is \[1, 2, 256\]; give three numbers from 0 to 255"),
        ("p.txt", "1 2 3 car\n1 2 3 bus", "has the colour 1 2 3 for two classes"),
        ("p.txt", "# nothing", "has no classes"),
        ("p.json", "[1, 2]", "is not a JSON object"),
        ("p.json", "{", "is not a JSON object"),
        ("p.json", '{"car": 7}', "the colour of 'car' is 7"),
    ],
)
def test_bad_palettes_are_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        palette_file.read_palette(tmp_path / name)


def break_truncated(raw: Path) -> str:
    path = raw / "labels" / "p04.png"
    path.write_bytes(path.read_bytes()[:-20])
    return "labels/p04.png cannot be decoded"


def break_photograph(raw: Path) -> str:
    (raw / "images" / "p04.png").write_bytes(b"no picture")
    return "images/p04.png cannot be decoded (not a picture; 10 bytes)"


def break_class(raw: Path) -> str:
    save(raw / "labels" / "p04.png", label_map(0) + 7)
    return "labels/p04.png: label map has id 7, 8, 9, but the classes are 0 to 2 and there is no don't-care id"


def break_colour(raw: Path) -> str:
    save(raw / "labels" / "p04.png", photograph(0))
    return "labels/p04.png is an RGB label map; give prepare folder a --palette"


def break_size(raw: Path) -> str:
    save(raw / "images" / "p04.png", photograph(0, 6, 9))
    return "record 'p04': the photograph is 9x6 but its label map 8x6"


def break_twice(raw: Path) -> str:
    save(raw / "images" / "p04.jpg", photograph(0))
    return "have the same name 'p04'; keep one of them"


def break_classes(raw: Path) -> str:
    (raw / "classes.txt").write_text("sky\nsky\nsea")
    return "classes.txt: class names repeat: sky"


def break_pairs(raw: Path) -> str:
    for path in list((raw / "images").iterdir()):
        path.rename(path.with_name("x" + path.name))
    return "has a partner of the same name: there is p00, and xp00; name what they end in with --label-suffix"


def break_images(raw: Path) -> str:
    for path in list((raw / "images").iterdir()):
        path.unlink()
    return "has no pictures"


DAMAGES = (
    *(break_truncated, break_photograph, break_class, break_colour, break_size),
    *(break_twice, break_classes, break_pairs, break_images),
)


@pytest.mark.parametrize("damage", DAMAGES)
def test_bad_files_end_the_work_in_one_line_and_leave_nothing(raw: Path, damage: Callable[[Path], str]) -> None:
    message = damage(raw)
    with pytest.raises(InputError) as caught:
        prepare(raw)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (raw / "out").exists()


def test_bad_files_can_be_left_out(raw: Path) -> None:
    messages = [break_truncated(raw)]
    save(raw / "labels" / "p05.png", label_map(0) + 7)
    summary = prepare(raw, skip_bad=True)
    skipped = {entry.id: entry.reason for split in summary.splits for entry in split.skipped}
    assert sorted(skipped) == ["p04", "p05"]
    assert messages[0] in skipped["p04"]
    assert sum(split.records for split in summary.splits) == 10


def test_an_error_in_the_second_file_takes_the_first_back(raw: Path) -> None:
    prepare(raw)
    before = {path.name: path.read_bytes() for path in (raw / "out").iterdir()}
    held = next(iter(records(raw / "out", "validation")))
    (raw / "labels" / f"{held}.png").write_bytes(b"")
    save(raw / "images" / f"{min(records(raw / 'out'))}.png", photograph(99))
    with pytest.raises(InputError, match=f"{held}.png is empty"):
        prepare(raw)
    assert {path.name: path.read_bytes() for path in (raw / "out").iterdir()} == before


def test_an_interruption_leaves_nothing(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.datasets.files.convert_source", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(raw)
    assert not (raw / "out").exists()


def test_only_bad_files_make_no_data_set(raw: Path) -> None:
    for path in (raw / "labels").iterdir():
        path.write_bytes(b"")
    with pytest.raises(InputError, match=r"were bad; the first: p.*is empty"):
        prepare(raw, skip_bad=True)


def test_landscapes_are_written_and_read(tmp_path: Path) -> None:
    summary = landscape.prepare(tmp_path, train=3, validation=2, height=32, width=48, seed=5, workers=1)
    assert [split.records for split in summary.splits] == [3, 2]
    info = check_dataset(tmp_path / "train.parquet", ["id", "label", "instance", "image"])
    assert info.space == landscape.SPACE
    assert info.preprocessing == {"source": "landscape", "seed": 5, "size": [48, 32]}
    row = list(iter_rows(tmp_path / "train.parquet"))[1]
    scene = landscape.draw_scene(5, 1, 32, 48)
    np.testing.assert_array_equal(decode_record(row, need_image=True).image, scene.record.image)
    assert row["mood"] == scene.lighting
    assert not set(records(tmp_path)) & set(records(tmp_path, "validation"))
    # With disparity the photographs are the same; the ground comes nearer from above, and the sky is behind all.
    landscape.prepare(tmp_path / "near", train=2, validation=0, height=32, width=48, seed=5, workers=1, disparity=True)
    same = list(iter_rows(tmp_path / "near" / "train.parquet"))[1]
    assert same["image"] == row["image"] and "disparity" not in row
    near = decode_record(same, need_disparity=True)
    assert near.disparity is not None and near.disparity.dtype == np.uint16
    sky = np.isin(near.label, [landscape.SPACE.classes.index(name) for name in ("sky", "cloud", "sun")])
    assert (near.disparity[sky] == 1).all() and (near.disparity[~sky] > 1).all()
    assert np.median(near.disparity[-1]) > 1.5 * np.median(near.disparity[24])


@needs_shared
def test_camvid(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for kind, suffix in (("images", "jpg"), ("labels", "png")):
            source = sorted((SHARED / "camvid" / split / kind).glob(f"*.{suffix}"))[:2]
            (tmp_path / "raw" / split / kind).mkdir(parents=True)
            for path in source:
                (tmp_path / "raw" / split / kind / path.name).symlink_to(path)
    summary = camvid.prepare(tmp_path / "raw", tmp_path / "out", size=(96, 128), workers=1)
    assert [split.records for split in summary.splits] == [2, 2]
    assert check_dataset(tmp_path / "out" / "validation.parquet").space == camvid.SPACE
    record = decode_record(next(iter_rows(tmp_path / "out" / "train.parquet")), need_image=True)
    assert record.label.shape == (96, 128)
    assert record.label.max() <= 11


@needs_shared
def test_coco_stuff(tmp_path: Path) -> None:
    summary = coco_stuff.prepare(SHARED / "coco_stuff_sample", tmp_path, workers=1)
    assert [(split.path.name, split.records) for split in summary.splits] == [("train.parquet", 13)]
    row = next(iter_rows(tmp_path / "train.parquet"))
    name = row["image"]["path"]
    assert row["image"]["bytes"] == (SHARED / "coco_stuff_sample" / "train_img" / name).read_bytes()
    assert decode_record(row, need_image=True).instance is not None
    names = coco_stuff.SPACE.classes
    assert (len(names), names[0], names[105], names[181]) == (182, "person", "clouds", "wood")
    # The ids that never occur, by the evaluation protocols, are the 11 things that COCO dropped.
    never = {11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90}
    assert not summary.splits[0].pixels[sorted(never)].any()
    assert {names[number] for number in never} >= {"street sign", "hat", "blender", "hair brush"}


def test_ade20k_counts_from_zero_and_makes_other_dont_care(tmp_path: Path) -> None:
    for split in ("training", "validation"):
        save(tmp_path / "raw" / "annotations" / split / "a.png", np.array([[0, 1, 150]], np.uint8))
        save(tmp_path / "raw" / "images" / split / "a.jpg", photograph(0, 1, 3))
    ade20k.prepare(tmp_path / "raw", tmp_path / "out", workers=1)
    assert decode_record(records(tmp_path / "out")["a"]).label.tolist() == [[255, 0, 149]]
    assert (len(ade20k.SPACE.classes), ade20k.SPACE.classes[149]) == (150, "flag")
    save(tmp_path / "raw" / "annotations" / "training" / "a.png", np.array([[0, 1, 151]], np.uint8))
    with pytest.raises(InputError, match=r"a.png: label map has id 151, which this data set does not have"):
        ade20k.prepare(tmp_path / "raw", tmp_path / "out", workers=1)


def test_cityscapes_pairs_by_city_and_frame(tmp_path: Path) -> None:
    for split in ("train", "val"):
        frame = f"{split}/bonn/bonn_000001_000019"
        save(tmp_path / "raw" / "gtFine" / f"{frame}_gtFine_labelIds.png", np.array([[7, 26]], np.uint8))
        save(tmp_path / "raw" / "gtFine" / f"{frame}_gtFine_color.png", photograph(0, 1, 2))
        save(tmp_path / "raw" / "gtFine" / f"{frame}_gtFine_instanceIds.png", np.array([[7, 26001]], np.uint16))
        save(tmp_path / "raw" / "leftImg8bit" / f"{frame}_leftImg8bit.png", photograph(0, 1, 2))
        save(tmp_path / "raw" / "disparity" / f"{frame}_disparity.png", np.array([[0, 2561]], np.uint16))
    cityscapes.prepare(tmp_path / "raw", tmp_path / "out", workers=1)
    record = decode_record(records(tmp_path / "out")["bonn/bonn_000001_000019"], need_image=True)
    assert record.label.tolist() == [[7, 26]]
    assert record.instance is not None
    assert record.instance.tolist() == [[7, 26001]]
    assert (len(cityscapes.SPACE.classes), cityscapes.SPACE.classes[26]) == (35, "car")
    assert "disparity" not in records(tmp_path / "out")[record.id]
    cityscapes.prepare(tmp_path / "raw", tmp_path / "near", workers=1, disparity=True)
    near = decode_record(records(tmp_path / "near")[record.id], need_disparity=True)
    assert near.disparity is not None and near.disparity.tolist() == [[0, 2561]]


def test_cityscapes_without_instance_maps_says_so(tmp_path: Path) -> None:
    frame = "train/bonn/bonn_000001_000019"
    save(tmp_path / "gtFine" / f"{frame}_gtFine_labelIds.png", np.array([[7, 26]], np.uint8))
    save(tmp_path / "leftImg8bit" / f"{frame}_leftImg8bit.png", photograph(0, 1, 2))
    with pytest.raises(
        InputError, match=r"gtFine/train has no instance maps \(\*_gtFine_instanceIds.png\), from which"
    ):
        cityscapes.prepare(tmp_path, tmp_path / "out", workers=1)


def test_16_bit_ids_survive(raw: Path) -> None:
    (raw / "classes.txt").write_text("\n".join(f"class {number}" for number in range(400)))
    save(raw / "labels" / "p00.png", np.full((6, 8), 399, np.uint16))
    prepare(raw, validation=0.0)
    assert decode_record(records(raw / "out")["p00"]).label.tolist() == [[399] * 8] * 6


def test_a_hash_inside_a_palette_name_belongs_to_the_name(tmp_path):
    path = tmp_path / "palette.txt"
    path.write_text("  # comment\n1 2 3 lane #1\n4 5 6 lane #2\n")
    assert palette_file.read_palette(path).classes == ("lane #1", "lane #2")


def test_a_csv_palette_with_a_heading_has_the_name_first(tmp_path):
    path = tmp_path / "class_dict.csv"
    path.write_text("name,r,g,b\nAnimal,64,128,64\nArchway,192,0,128\n")
    palette = palette_file.read_palette(path)
    path.write_text("Class;Hex;Blue;Red;Green\nAnimal;#408040;64;64;128\nArchway;;128;192;0\n")
    assert palette_file.read_palette(path) == palette
    assert palette.ids == {(64, 128, 64): 0, (192, 0, 128): 1} and palette.classes == ("Animal", "Archway")


def test_linked_folders_are_followed_and_loops_are_not(tmp_path):
    for name in ("labels/a/0.png", "store/1.png", "labels/2.jfif"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "labels" / "b").symlink_to(tmp_path / "store")
    (tmp_path / "store" / "loop").symlink_to(tmp_path / "labels")
    assert sorted(list_pictures(tmp_path / "labels")) == ["2", "a/0", "b/1"]


@pytest.mark.parametrize("clutter", [".ipynb_checkpoints", "__MACOSX", ".thumbnails", "@eaDir"])
def test_what_systems_leave_beside_pictures_is_no_record(tmp_path, clutter):
    (tmp_path / "a" / clutter).mkdir(parents=True)
    for name in ("0.png", "._0.png", f"a/{clutter}/1.png"):
        (tmp_path / name).touch()
    assert list(list_pictures(tmp_path)) == ["0"]


def test_a_file_name_that_is_not_utf8_is_refused_by_name(tmp_path):
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/stra\xdfe\xe4.png")).touch()
    with pytest.raises(InputError, match=r"stra.*xe4.png.*not UTF-8; rename"):
        list_pictures(tmp_path)


def test_a_split_of_an_earlier_preparation_is_refused(tmp_path):
    (tmp_path / "classes.txt").write_text("sky\nsea\n")
    (tmp_path / "labels").mkdir()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "labels" / "0.png")
    given = {"classes": tmp_path / "classes.txt", "workers": 1}
    folder.prepare(tmp_path / "labels", tmp_path / "out", validation=1.0, **given)
    with pytest.raises(InputError, match=r"validation\.parquet is left from an earlier preparation; remove it"):
        folder.prepare(tmp_path / "labels", tmp_path / "out", validation=0.0, **given)
    assert not (tmp_path / "out" / "train.parquet").exists()
    (tmp_path / "out" / "validation.parquet").unlink()
    folder.prepare(tmp_path / "labels", tmp_path / "out", validation=0.0, **given)
