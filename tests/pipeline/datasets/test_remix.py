"""New label maps of old ones, on maps made by hand: a sky, a road, and boxes on it."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import cli
from pipeline.data.records import DatasetInfo, Record, RecordWriter, check_dataset, decode_record, iter_rows
from pipeline.datasets.instances import Instance
from pipeline.datasets.remix import Scene, prepare, remix
from pipeline.datasets.things import Shape, Thing, learn
from pipeline.errors import InputError
from pipeline.labels import LabelSpace

SKY, ROAD, GRASS, CAR, POST = range(5)
SPACE = LabelSpace(classes=("sky", "road", "grass", "car", "post"), dont_care=255)
HEIGHT, WIDTH = 50, 60
HORIZON = 15


def height_at(row: int) -> int:
    """Of a car whose lowest row this is: one pixel for two rows below the horizon, so by hand 0.5 * row - 7.5."""
    return (row - HORIZON) // 2


def empty(support: int = ROAD) -> np.ndarray:
    label = np.full((HEIGHT, WIDTH), support, np.uint8)
    label[:HORIZON] = SKY
    return label


def car(label: np.ndarray, row: int, left: int, *, width: int = 8, height: int = 0, number: int = CAR) -> None:
    height = height or height_at(row)
    label[row - height + 1 : row + 1, left : left + width] = number


def record(name: str, *cars: tuple[int, int], support: int = ROAD) -> Record:
    """A map with cars, each by its lowest row and its left column; their instance ids are 10, 11 ..."""
    label, instance = empty(support), np.zeros((HEIGHT, WIDTH), np.uint8)
    for number, (row, left) in enumerate(cars):
        car(label, row, left)
        car(instance, row, left, number=10 + number)
    return Record(name, label, instance)


MAPS = [record("a", (27, 5), (45, 40)), record("b", (35, 20)), record("c", (31, 30)), record("d", support=GRASS)]


def write(folder: Path, maps: list[Record] = MAPS, *, instances: bool = True) -> Path:
    with RecordWriter(folder / "maps.parquet", DatasetInfo(SPACE, {"made": "by hand"})) as writer:
        for entry in maps:
            photograph = np.zeros((*entry.label.shape, 3), np.uint8)
            row = {"id": entry.id, "label": entry.label, "image": photograph}
            writer.write({**row, "instance": entry.instance} if instances else row)
    return folder / "maps.parquet"


def test_what_is_learned_is_what_the_maps_were_drawn_by() -> None:
    (thing,) = learn(MAPS, SPACE, None, seed=0)
    assert (thing.label, thing.supports) == (CAR, {ROAD: 1.0})
    rows = [27, 45, 35, 31]
    assert thing.standing == [((row + 0.5) / HEIGHT, ROAD) for row in rows]
    # height = 0.5 * row - 7.5 pixels, in shares of 50 rows, where the row counts from its middle.
    assert thing.slope == pytest.approx(0.5)
    assert thing.intercept == pytest.approx((-7.5 - 0.25) / HEIGHT)
    assert Counter((shape.source, shape.instance.row) for shape in thing.shapes) == Counter(
        [("a", 27), ("a", 45), ("b", 35), ("c", 31)]
    )


def test_without_instance_maps_the_regions_of_named_classes_are_learned_from() -> None:
    plain = [Record(entry.id, entry.label) for entry in MAPS]
    (thing,) = learn(plain, SPACE, {CAR}, seed=0)
    (other,) = learn(MAPS, SPACE, None, seed=0)
    assert (thing.supports, thing.slope, thing.intercept) == (other.supports, other.slope, other.intercept)
    with pytest.raises(InputError, match="record 'a' has no instance map; name classes of things with --classes"):
        learn(plain, SPACE, None, seed=0)


def test_instances_that_are_cut_hidden_or_on_others_do_not_count() -> None:
    label = empty()
    car(label, 35, 0)  # touches the left border
    car(label, 49, 40)  # and the lower one
    car(label, 25, 20)
    car(label, 29, 20, height=4, number=POST)  # directly below the car before
    car(label, 31, 44)
    car(label, 36, 44, width=3, height=20, number=POST)  # in front of it, on its left
    car(label, 34, 30)
    maps = [*MAPS, Record("e", label)]
    plain = [Record(entry.id, entry.label) for entry in maps]
    (thing, post) = learn(plain, SPACE, {CAR, POST}, seed=0)
    assert [round(row * HEIGHT - 0.5) for row, _ in thing.standing] == [27, 45, 35, 31, 34]
    assert len(thing.shapes) == 5
    assert post.supports == {ROAD: 1.0} and len(post.shapes) == 1  # the one of 3 columns is too small
    # Where posts are no things, they are what a car may stand on: but one in six is too few beside the road.
    (thing,) = learn(plain, SPACE, {CAR}, seed=0)
    assert thing.supports == {ROAD: pytest.approx(6 / 7)}
    assert [round(row * HEIGHT - 0.5) for row, _ in thing.standing] == [27, 45, 35, 31, 31, 34]


def test_supports_have_their_frequency_and_dont_care_is_none() -> None:
    unknown = record("u", (33, 9))
    unknown.label[34] = 255
    maps = [*MAPS, record("e", (33, 9), support=GRASS), unknown]
    (thing,) = learn(maps, SPACE, None, seed=0)
    assert thing.supports == {ROAD: 0.8, GRASS: 0.2}


def test_a_choice_of_shapes_depends_on_the_seed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.datasets.things.SHAPES", 2)

    def chosen(maps: list[Record], seed: int) -> list[tuple[str, int]]:
        (thing,) = learn(maps, SPACE, None, seed=seed)
        assert len(thing.standing) == 4
        return sorted((shape.source, shape.instance.row) for shape in thing.shapes)

    assert all(chosen(MAPS, seed) == chosen(MAPS[::-1], seed) for seed in range(5))
    assert len({tuple(chosen(MAPS, seed)) for seed in range(60)}) == 6  # every pair of the four


def box(row: int, left: int, width: int = 6, height: int = 6) -> Instance:
    return Instance(CAR, left, row - height + 1, np.ones((height, width), bool))


def test_the_nearer_one_is_in_front() -> None:
    """The scene has a car from row 26 to 35 and from column 20 to 27; class 3 is that of cars."""
    scene = Scene(MAPS[1], {CAR}, mirrored=False)
    assert scene.put(box(30, 16), ROAD) == 1
    assert scene.instance is not None
    assert scene.instance[28].tolist() == [0] * 16 + [1] * 4 + [10] * 8 + [0] * 32  # behind it
    assert scene.put(box(37, 24), ROAD) == 2
    assert scene.instance[35].tolist() == [0] * 20 + [10] * 4 + [2] * 6 + [0] * 30  # in front of it
    assert np.array_equal(scene.label == CAR, scene.instance > 0)
    assert scene.put(box(37, 29), ROAD) is not None  # of two on one row the new one is in front
    assert scene.instance[37, 28:32].tolist() == [2, 4, 4, 4]
    # The map itself is as it was.
    assert MAPS[1].label[35, 24] == CAR and MAPS[1].instance is not None and MAPS[1].instance[37].max() == 0


@pytest.mark.parametrize(
    ("part", "support"),
    [
        (box(30, 40), GRASS),  # it would stand on the road
        (box(25, 21, width=14), ROAD),  # the car is below most of it
        (box(30, 19), ROAD),  # it would be seen by a third
        (box(34, 57), ROAD),  # it would reach out by half
        (box(36, 18, width=12, height=12), ROAD),  # it would hide most of the car
        (box(49, 40), ROAD),  # nothing is below it
    ],
)
def test_an_instance_is_not_put_where_it_cannot_be(part: Instance, support: int) -> None:
    scene = Scene(MAPS[1], {CAR}, mirrored=False)
    assert scene.put(part, support) is None
    assert np.array_equal(scene.label, MAPS[1].label)


def test_new_ids_are_neither_taken_nor_the_classs_own() -> None:
    label, instance = empty(), np.zeros((HEIGHT, WIDTH), np.uint8)
    instance[0, :3] = 1, 2, 4
    scene = Scene(Record("x", label, instance), {CAR}, mirrored=False)
    assert [scene.put(box(30, left), ROAD) for left in (5, 15, 25)] == [5, 6, 7]  # cars are class 3


def read(out: Path) -> list[tuple[Record, dict]]:
    rows = list(iter_rows(out / "remix.parquet"))
    return [(decode_record(row), json.loads(row["provenance"])) for row in rows]


def test_the_new_maps_are_what_their_provenance_says(tmp_path: Path) -> None:
    summary = prepare(write(tmp_path), tmp_path / "out", count=40, seed=5)
    (thing,) = learn(MAPS, SPACE, None, seed=5)
    sources = {entry.id: entry for entry in MAPS}
    found = read(tmp_path / "out")
    assert Counter(about["base"] for _, about in found) == dict.fromkeys("abcd", 10)
    assert [entry.id for entry, _ in found[:2]] == ["a-remix-5-0", "a-remix-5-1"]
    assert len({entry.id for entry, _ in found}) == 40
    assert {about["mirrored"] for _, about in found if about["instances"]} == {False, True}
    moved = [part for _, about in found for part in about["instances"]]
    assert len(moved) > 30 and summary.moved == {"car": len(moved)}
    for entry, about in found:
        step = -1 if about["mirrored"] else 1
        base = sources[about["base"]]
        assert base.instance is not None and entry.instance is not None
        new = np.isin(entry.instance, [part["instance"] for part in about["instances"]])
        assert np.array_equal(entry.label[~new], base.label[:, ::step][~new])
        assert np.array_equal(entry.instance[~new], base.instance[:, ::step][~new])
        assert (entry.label[new] == CAR).all()
        assert about["instances"] or about["mirrored"]
        for part in about["instances"]:
            assert part["source"] in set("abc") - {about["base"]}
            assert (part["class"], part["support"]) == ("car", "road")
            left, top, width, height = part["box"]
            own_left, own_top, own_width, own_height = part["source_box"]
            taken = sources[part["source"]].label[own_top : own_top + own_height, own_left : own_left + own_width]
            assert taken.shape == (own_height, own_width) and (taken == CAR).all()
            # The scale is that of the rows; a car stays as high as its row wants.
            rows = [(value + 0.5) / HEIGHT for value in (top + height - 1, own_top + own_height - 1)]
            assert part["scale"] == pytest.approx(thing.height(rows[0]) / thing.height(rows[1]), abs=1e-4)
            assert abs(height - height_at(top + height - 1)) <= 1
            assert (width, height) == (round(own_width * part["scale"]), round(own_height * part["scale"]))
            here = entry.instance == part["instance"]
            inside = np.zeros_like(here)
            inside[top : top + height, max(left, 0) : max(left + width, 0)] = True
            assert here.any() and not (here & ~inside).any()
    assert all(not about["instances"] for _, about in found if about["base"] == "d")  # cars do not stand on grass
    assert summary.mirrored_only == sum(not about["instances"] for _, about in found) >= 10


def test_maps_of_the_same_seed_are_the_same_and_need_no_photograph(tmp_path: Path) -> None:
    source = write(tmp_path)
    for name, seed in (("one", 1), ("two", 1), ("three", 2)):
        prepare(source, tmp_path / name, count=10, seed=seed)
    one, two, three = ((tmp_path / name / "remix.parquet").read_bytes() for name in ("one", "two", "three"))
    assert one == two != three
    info = check_dataset(tmp_path / "one", ("id", "label", "instance", "provenance"))
    assert info.space == SPACE
    assert info.preprocessing == {
        "source": "remix",
        "seed": 1,
        "instances": 4,
        "classes": [],
        "of": {"made": "by hand"},
    }
    assert set(next(iter_rows(tmp_path / "one"))) == {"id", "label", "instance", "provenance"}
    bases = Counter(about["base"] for _, about in read(tmp_path / "one"))
    assert sorted(bases.values()) == [2, 2, 3, 3]
    # Fewer maps, or others beside them, change none.
    prepare(source, tmp_path / "few", count=4, seed=1)
    texts = {row["id"]: row for row in iter_rows(tmp_path / "one")}
    assert all(texts[row["id"]] == row for row in iter_rows(tmp_path / "few"))


def test_mirrored_only(tmp_path: Path) -> None:
    source = write(tmp_path, instances=False)
    prepare(source, tmp_path / "out", instances=0)
    assert [entry.id for entry, _ in read(tmp_path / "out")] == [f"{name}-remix-0-0" for name in "abcd"]
    for (entry, about), base in zip(read(tmp_path / "out"), MAPS, strict=True):
        assert np.array_equal(entry.label, base.label[:, ::-1])
        assert entry.instance is None
        assert about == {"base": base.id, "mirrored": True, "instances": []}
    assert "instance" not in next(iter_rows(tmp_path / "out"))
    with pytest.raises(InputError, match="--instances 0 gives 4 mirrored maps, one for each; --count 5 would repeat"):
        prepare(source, tmp_path / "more", instances=0, count=5)


def test_the_command_line_says_what_it_learned(tmp_path: Path) -> None:
    source = write(tmp_path, instances=False)
    arguments = ["prepare", "remix", source, "--out", tmp_path / "out", "--classes", "car, post", "--count", 9]
    done = CliRunner().invoke(cli.main, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    assert "remix.parquet: 9 records" in done.output
    assert "car: 4 instances on road 100%; height -0.15 +0.50 * row; " in done.output
    assert "post: 0 instances on nothing; 0 moved" in done.output
    assert all(part["instance"] is None for _, about in read(tmp_path / "out") for part in about["instances"])


def test_the_new_maps_are_synthesized(tmp_path: Path) -> None:
    from pipeline.synthesis.synthesize import synthesize
    from tests.pipeline.synthesis import cases

    maps = cases.write_maps(tmp_path / "maps.parquet", 5)
    prepare(maps, tmp_path / "new", classes=["tree"])
    checkpoint = cases.write_checkpoint(tmp_path / "run")
    assert synthesize(tmp_path / "new", checkpoint, tmp_path / "images", workers=0, quiet=True).images == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": ["bus"]}, "has no class 'bus'; there are sky, road, grass, car, post"),
        ({"classes": ["post"]}, r"has no instances to move; name classes .* or take --instances 0"),
        ({"classes": ["grass"]}, "has no instances to move"),
        ({}, "record 'a' has no instance map; name classes of things with --classes"),
        ({"out": "."}, "is the input; give another folder"),
    ],
)
def test_mistakes_are_named_and_nothing_is_written(tmp_path: Path, options: dict, message: str) -> None:
    write(tmp_path, instances=False)
    options = {"out": "out"} | options
    with pytest.raises(InputError, match=message):
        prepare(tmp_path, tmp_path / options.pop("out"), **options)
    assert [path.name for path in tmp_path.iterdir()] == ["maps.parquet"]


def test_a_record_without_the_instance_map_that_others_have_is_named(tmp_path: Path) -> None:
    with RecordWriter(tmp_path / "maps.parquet", DatasetInfo(SPACE)) as writer:
        writer.write({"id": "a", "label": MAPS[0].label, "instance": MAPS[0].instance})
        writer.write({"id": "b", "label": MAPS[1].label})
    with pytest.raises(InputError, match="record 'b' differs from the first one in having an instance map"):
        prepare(tmp_path / "maps.parquet", tmp_path / "out", classes=["car"])


def test_an_id_beyond_the_classes_is_named(tmp_path: Path) -> None:
    bad = record("bad", (35, 20))
    bad.label[0, 0] = 9
    with pytest.raises(InputError, match=r"record 'bad.*': label map has id 9, but the classes are 0 to 4"):
        prepare(write(tmp_path, [*MAPS, bad]), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("slope", "row", "scale"),
    [
        # The shape is 10 pixels high on row 35, where a line through row 15 is at 20 * slope.
        (0.5, 25, 0.5),
        (0.5, 24, None),  # 0.45 is less than 1/2
        (0.5, 47, 1.6),
        (0.5, 15, None),  # no height at all
        (0.5, 12, None),  # above the horizon
        (-0.5, 25, None),  # a line below zero on both rows
    ],
)
def test_an_instance_is_scaled_by_the_line_and_within_limits(slope: float, row: int, scale: float | None) -> None:
    shape = Shape("other", HEIGHT, box(35, 0, width=10, height=10))
    places = [((row + 0.5) / HEIGHT, ROAD)]
    thing = Thing(CAR, {ROAD: 1.0}, places, -slope * (15 + 0.5) / HEIGHT, slope, [shape])
    base = Record("base", np.full((HEIGHT, WIDTH), ROAD, np.uint8))
    scene, about = remix(base, [thing], SPACE, np.random.default_rng(0), instances=1)
    assert [part["scale"] for part in about["instances"]] == ([] if scale is None else [scale])
    if scale is not None:
        (part,) = about["instances"]
        side = int(10 * scale)
        assert part["box"][1:] == [row - side + 1, side, side]
        assert np.count_nonzero(scene.label == CAR) > side * side / 2
    # An instance does not come back to its own map, and none is put that is too small to be seen.
    for source, size in (("base", 10), ("other", 2)):
        again = replace(thing, shapes=[Shape(source, HEIGHT, box(35, 0, width=size, height=10))])
        assert remix(base, [again], SPACE, np.random.default_rng(0), instances=1)[1]["instances"] == []


def test_a_car_whose_id_is_that_of_its_class_is_learned_from_where_0_is_none(tmp_path: Path) -> None:
    """Maps without a source in their metadata: that 0 is no instance, their pixels say."""
    label, instance = empty(), np.zeros((HEIGHT, WIDTH), np.uint8)
    for left, number in ((5, CAR), (40, 10)):
        car(label, 31, left)
        car(instance, 31, left, number=number)
    source = write(tmp_path, [Record("x", label, instance)])
    (thing,) = prepare(source, tmp_path / "out", count=1).things
    assert (thing.label, len(thing.standing)) == (CAR, 2)
