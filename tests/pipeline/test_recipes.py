"""The recipes that ship: they load, and their labels are those that the data sets write."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config import GeneratorSettings
from pipeline.errors import InputError
from pipeline.labels import LabelSpace
from pipeline.networks.generators import count_weights
from pipeline.recipe_file import dump_recipe, load_recipe

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize(
    ("name", "classes", "dont_care", "some"),
    [
        ("landscape", 14, None, {0: "sky", 13: "house"}),
        ("camvid", 11, 11, {0: "sky", 10: "bicyclist"}),
        ("coco_stuff", 182, 255, {0: "person", 76: "cell phone", 88: "hair drier", 181: "wood"}),
        ("ade20k", 150, 255, {0: "wall", 91: "dirt track", 149: "flag"}),
        ("cityscapes", 35, None, {7: "road", 33: "bicycle", 34: "license plate"}),
    ],
)
def test_a_recipe_names_its_label_set(name: str, classes: int, dont_care: int | None, some: dict[int, str]) -> None:
    recipe = load_recipe(CONFIGS / f"{name}.yaml")
    space = recipe.labels
    assert (len(space.classes), space.dont_care) == (classes, dont_care)
    assert {number: space.classes[number] for number in some} == some
    assert all(" ".join(label.split()) == label for label in space.classes)
    assert recipe.data.train == f"data/{name}/train.parquet"
    assert recipe.data.validation == f"data/{name}/validation.parquet"


def test_names_with_runs_of_blanks_of_earlier_files_are_read() -> None:
    assert LabelSpace(classes=("cell     phone", "sea")) == LabelSpace(classes=("cell phone", "sea"))


def test_a_label_set_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(FIELDS.replace("{classes: [sky, sea]}", "coco"))
    with pytest.raises(InputError, match="labels: there is no label set 'coco'; there are landscape, camvid"):
        load_recipe(tmp_path / "x.yaml")


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_loads_and_states_its_hardware(path: Path) -> None:
    assert load_recipe(path).name == path.stem
    assert "# Hardware:" in path.read_text()


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("ade20k_crn", 105.1),
        ("ade20k_pix2pixhd", 182.9),
        ("ade20k_pix2pixhd_plus", 182.9),
        ("coco_stuff_crn", 106.9),
        ("coco_stuff_pix2pixhd", 183.0),
    ],
)
def test_generators_of_the_papers_comparison_have_its_sizes(name: str, millions: float) -> None:
    """183M of pix2pixHD's generator (SPADE, Table 3); CRN's as derived from its layers."""
    recipe = load_recipe(CONFIGS / f"{name}.yaml")
    weights = count_weights(recipe.generator, recipe.labels, height=recipe.data.height, width=recipe.data.width)
    assert round(weights / 1e6, 1) == millions


FIELDS = """
name: tiny
labels: {classes: [sky, sea]}
data: {train: a, validation: b, height: 64, width: 64}
training: {steps: 10}
"""


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.stps=3", "unknown field 'training.stps'; did you mean 'steps'?"),
        ("training.steps=many", "training.steps is 'many': input should be a valid integer"),
        ("training.steps=-1", "training.steps is -1: input should be greater than 0"),
        (
            "training.decay_steps=11",
            "decay_steps is 11, more than the 10 steps in all; set both, such as training.steps=10 and "
            "training.decay_steps=5",
        ),
        ("training.learning_rate=.inf", "training.learning_rate"),
        ("training.seed=99999999999999999999", "training.seed"),
        ("generator.statistics=layer", "'batch', 'sync_batch' or 'instance'"),
        ("data.height=100", "data.height is 100, but a generator with upsampling 'normal' makes multiples of 32"),
        ("data.height=1048576", "64x1048576 pictures have more than 16777216 pixels; take fewer"),
        ("generator.channels=200000", "generator.channels is 200000: input should be less than or equal to 1024"),
        ("generator.hidden=200000", "generator.hidden is 200000: input should be less than or equal to 1024"),
        ("generator.style_dim=1000000", "generator.style_dim is 1000000: input should be less than or equal to 65536"),
        (
            "training.batch_size=1000000000000",
            "training.batch_size is 1000000000000: input should be less than or equal",
        ),
        ("segmenter.batch_size=1000000000000", "segmenter.batch_size is 1000000000000: input should be less than or"),
        ("data.load_size=1000000000", "data.load_size is 1000000000: input should be less than or equal to 16384"),
        ("discriminator.channels=200000", "discriminator.channels is 200000: input should be less than"),
        ("discriminator.layers=1000000000", "discriminator.layers is 1000000000: input should be less than"),
        ("discriminator.scales=1000000000", "discriminator.scales is 1000000000: input should be less than"),
        ("labels.palette=[[1,2,3]]", "palette has 1 colours for 2 classes"),
        ("labels.palette=[[1,2,300],[1,2,3]]", "labels.palette.0.2 is 300"),
        ("labels.dont_care=1", "dont_care is 1, which is class 'sea'; it must be 2 or more"),
        ("labels.classes=[sky, sky]", "class names repeat: sky"),
        ("discriminator.scales=9", "leave a single patch of 64x64 pictures; take fewer"),
        ("discriminator.kind=segmentation", "has no patch features to match; set it to 0"),
        ("discriminator.augment=[rotation]", "'colour', 'translation' or 'cutout'"),
        ("losses.lecam=-1", "losses.lecam is -1: input should be greater than or equal to 0"),
        ("generator.kind=spad", "generator.kind is 'spad'; there are spade, concat, pix2pixhd_plus, crn, pix2pixhd"),
        ("generator.kind=[crn]", "generator.kind is ['crn']; there are spade"),
        ("generator=5", "generator is 5: input should be an object"),
        ("generator.hiden=5", "unknown field 'generator.hiden'; did you mean 'hidden'? the fields there are kind, cha"),
        (
            "generator={kind: crn, hidden: 5}",
            "generator.hidden is of kind spade, pix2pixhd_plus, and generator.kind is 'crn'; leave it out",
        ),
        (
            "generator={kind: concat, modulation: dense}",
            "generator.modulation is of kind spade, pix2pixhd_plus, and generator.kind is 'concat'",
        ),
        (
            "generator={kind: crn, width: [1]}",
            "did you mean 'widths'? the fields there of kind 'crn' are kind, widths,",
        ),
        ("generator={kind: crn, widths: [1, 2, 3]}", "field 'generator.widths.3' is missing"),
        ("generator={kind: crn, first_height: 3}", "pictures are 64x64, but this generator doubles 3 rows"),
        ("generator={kind: concat, channels: a}", "generator.channels is 'a': input should be a valid integer"),
        (
            "generator={kind: pix2pixhd, downsamplings: 7}",
            "data.height is 64, but this generator makes multiples of 128",
        ),
        ("generator={kind: pix2pixhd, downsamplings: 6}", "64x64, but this generator reflects more pixels around its"),
        (
            "generator={kind: pix2pixhd_plus, labels: spade, statistics: none}",
            "generator: labels is 'spade', which normalises, but statistics is 'none'",
        ),
        ("generator.region_styles=class", "a style that enters first is of no region; make style_input 'everywhere'"),
        ("generator.enlargement=bicubic", "'nearest', 'bilinear' or 'blur'"),
        ("discriminator.enlargement=blur", "a patch discriminator enlarges nothing; leave it out"),
        ("generator.style_input=everywhere", "style_input is 'everywhere', but style_dim is 0; make it 64"),
        ("steps", "write section.field=value"),
        ("data.train=7", "data.train is 7: input should be a valid string"),
        ("data.train=[]", "train is an empty list; name a source, or a single file"),
        (
            "data.train=[{path: a, nam: x}]",
            "'data.train.0.nam'; did you mean 'name'? the fields there are path, name, ",
        ),
        ("data.train=[{name: x}]", "field 'data.train.0.path' is missing"),
        ("data.train=[{path: a, name: 'x:y'}]", "data.train.0.name is 'x:y'"),
        ("data.train=[{path: a, count: 0}]", "data.train.0.count is 0: input should be greater than 0"),
        ("data.train=[{path: a, weight: -1}]", "data.train.0.weight is -1: input should be greater than 0"),
        ("data.train=[{path: a, name: x}, {path: b}]", "one of them without a name; give each a name of its own"),
        ("data.train=[{path: a, name: x}, {path: b, name: x}]", "two sources named 'x'"),
        ("data.train=[{path: a, name: x, weight: 1}, {path: b, name: y}]", "with a weight and without"),
    ],
)
def test_what_is_refused(tmp_path: Path, override: str, message: str) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(FIELDS)
    with pytest.raises(InputError) as caught:
        load_recipe(path, [override])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_new_terms_need_is_said(tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(FIELDS)
    segmentation = ["discriminator.kind=segmentation", "losses.feature_matching=0"]
    assert load_recipe(path, [*segmentation, "discriminator.layers=6"]).losses.label_mix == 10
    with pytest.raises(InputError, match=r"discriminator\.layers 7 halve 64x64 pictures to a fraction of a pixel"):
        load_recipe(path, [*segmentation, "discriminator.layers=7"])
    with pytest.raises(InputError, match=r"too small for fp16; take training\.precision bf16"):
        load_recipe(path, ["losses.r1=1", "training.precision=fp16"])


def test_single_pixels_have_no_statistics(tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(FIELDS.replace("64", "32"))
    load_recipe(path)
    for overrides in (
        ["generator.statistics=instance"], ["training.batch_size=1"], ["training.batch_size=2", "training.accumulate=2"]
    ):  # fmt: skip
        with pytest.raises(InputError, match="is one pixel, which has no statistics"):
            load_recipe(path, overrides)


def test_round_trip_and_numbers_as_people_write_them(tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(FIELDS)
    recipe = load_recipe(path, ["training.learning_rate=1e-4", "generator.style_dim=8"])
    assert recipe.training.learning_rate == 1e-4
    path.write_text(dump_recipe(recipe))
    assert load_recipe(path) == recipe


def test_locations_and_sources_are_kept_as_they_mean(tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(FIELDS)
    assert load_recipe(path, ["data.train=./maps//train.parquet"]).data.train == "maps/train.parquet"
    assert load_recipe(path, ["data.train=s3://b//x?a=b"]).data.train == "s3://b//x?a=b"
    one = "data.train=[{path: ./a, name: x, weight: 1}, {path: 's3://b/c', name: y, weight: 2.5, count: 3}]"
    recipe = load_recipe(path, [one])
    assert recipe.data.sources == recipe.data.train
    assert [(source.path, source.weight, source.count) for source in recipe.data.sources] == [
        ("a", 1, None),
        ("s3://b/c", 2.5, 3),
    ]
    path.write_text(dump_recipe(recipe))
    assert load_recipe(path) == recipe
    (alone,) = load_recipe(path, ["data.train=a"]).data.sources
    assert (alone.path, alone.name, alone.weight, alone.count, alone.label_column) == ("a", "", None, None, "label")


def test_generators_of_every_kind_round_trip_and_none_is_spade(tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(FIELDS)
    assert load_recipe(path).generator == load_recipe(path, ["generator.kind=spade"]).generator == GeneratorSettings()
    own = (
        "discriminator.spectral=false", "losses.gan=least_squares", "training.reuse_fake=true",
        "training.two_time_scale=false",
    )  # fmt: skip
    for kind in ("concat", "pix2pixhd_plus", "crn", "pix2pixhd"):
        recipe = load_recipe(path, [f"generator.kind={kind}", *(own if kind == "pix2pixhd" else ())])
        assert recipe.generator.kind == kind
        path_of_kind = tmp_path / f"{kind}.yaml"
        path_of_kind.write_text(dump_recipe(recipe))
        assert load_recipe(path_of_kind) == recipe


BOMB = "name: bomb\na: &a0 [x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 10)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "aliases (*a0) are not taken in line 3"),
        ("a:\n  b: 1\n  b: 2\n", "the key 'b' twice in one section in line 3; take one of them out"),
        ("a: &a [*a]\n", "aliases (*a) are not taken"),
        ("x: &x {<<: *x}\n", "aliases (*x) are not taken"),
        ("a: " + "[" * 100_000, "more than 16 sections and lists in each other"),
        ("a: " + "{b: " * 100_000, "more than 16 sections and lists in each other"),
        ("- " * 5000 + "a", "more than 16 sections and lists in each other"),
        (FIELDS + "x: " + "9" * 5000, "a number of 5000 characters"),
        (FIELDS + "x: 0x" + "f" * 5000, "a number of 5002 characters"),
        (FIELDS + "x: 1" + ":59" * 300_000, "a number of 900001 characters"),
        (FIELDS.replace("a,", '"a\\0b",'), "a NUL character"),
        (FIELDS.replace("a,", '"\\ud800",'), "half of a surrogate pair"),
        ("name: a\0b", "not valid YAML"),
        ("name: 2024-13-45", "a value that is no YAML"),
        ("name: !!bool maybe", "a value that is no YAML"),
        ("name: !!int ''", "a value that is no YAML"),
        ("name: 2024-12-24", "not JSON serializable"),
        (FIELDS + "x: 1\n" * 300_000, "more than 1 MiB"),
        (FIELDS + "".join(f"unknown{number}: 1\n" for number in range(1000)), "and 992 more"),
        (FIELDS.replace("steps: 10", "steps: " + "x" * 5000), "training.steps is 'xxx"),
        (FIELDS + '"a\\nb": 1', "unknown field 'a b'"),
    ],
    ids=range(21),
)
def test_hostile_yaml_is_one_short_line(tmp_path: Path, text: str, message: str) -> None:
    """None of them would end in reasonable time, memory or words if it were taken."""
    path = tmp_path / "hostile.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_recipe(path)
    told = str(caught.value)
    assert message in told and str(path) in told
    assert told.isprintable() and len(told) < 2000


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.steps=" + "9" * 5000, "a number of 5000 characters"),
        ("training.steps=" + "x" * 5000, "training.steps is 'xxx"),
        ("training.steps=[&a 1, *a]", "aliases (*a) are not taken"),
        ("training.steps=" + "[" * 100_000, "more than 16 sections and lists in each other"),
        ("name=a\0b", "not valid YAML"),
        ("name=[", "not valid YAML"),
        ("a." * 100_000 + "a=1", "write section.field=value"),
    ],
    ids=range(7),
)
def test_hostile_overrides_are_one_short_line(tmp_path: Path, override: str, message: str) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(FIELDS)
    with pytest.raises(InputError) as caught:
        load_recipe(path, [override])
    told = str(caught.value)
    assert message in told
    assert told.isprintable() and len(told) < 1000


def test_bytes_and_names_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes("name: für".encode("latin-1"))
    with pytest.raises(InputError, match=r"latin\.yaml is not UTF-8 text \(byte 7\)"):
        load_recipe(path)
    with pytest.raises(InputError, match=r"recipe 'a\\x00b' cannot be a file's name"):
        load_recipe(Path("a\0b"))


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "a: [", "labels: 3"])
def test_files_that_are_no_recipe(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"broken\.yaml"):
        load_recipe(path)
    with pytest.raises(InputError, match="does not exist"):
        load_recipe(tmp_path / "none.yaml")
