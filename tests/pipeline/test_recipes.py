"""The recipes that ship: they load, and their labels are those that the data sets write."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from pipeline.config import dump_recipe, load_recipe
from pipeline.errors import InputError

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize("name", ["landscape.dataset", "camvid", "coco_stuff", "ade20k", "cityscapes"])
def test_a_recipe_has_the_labels_that_its_data_set_writes(name: str) -> None:
    space = importlib.import_module(f"pipeline.datasets.{name}").SPACE
    name = name.partition(".")[0]
    recipe = load_recipe(CONFIGS / f"{name}.yaml")
    assert recipe.labels == space
    assert recipe.data.train == Path("data", name, "train.parquet")
    assert recipe.data.validation == Path("data", name, "validation.parquet")


DATA_SETS = ["landscape.dataset", "camvid", "ade20k", "cityscapes", "coco_stuff"]
BROKEN_NAMES = pytest.mark.xfail(reason="line breaks of a list in the code became runs of blanks in two names")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=BROKEN_NAMES if name in ("coco_stuff", "ade20k") else ()) for name in DATA_SETS]
)
def test_class_names_are_words(name: str) -> None:
    """Recipe and code hold the same list: comparing them finds no mistake that both have."""
    space = importlib.import_module(f"pipeline.datasets.{name}").SPACE
    assert not [one for one in space.classes if not one or one != " ".join(one.split())]


@pytest.mark.parametrize(
    ("name", "count", "known"),
    [  # from the data sets' own documents
        ("camvid", 11, {0: "sky", 1: "building", 2: "pole", 9: "pedestrian", 10: "bicyclist"}),
        ("coco_stuff", 182, {0: "person", 2: "car", 78: "oven", 90: "hair brush", 91: "banner", 181: "wood"}),
        ("ade20k", 150, {0: "wall", 1: "building", 2: "sky", 4: "tree", 12: "person", 149: "flag"}),
        ("cityscapes", 35, {0: "unlabeled", 7: "road", 21: "vegetation", 24: "person", 26: "car", 33: "bicycle"}),
    ],
)
def test_ids_mean_what_the_data_set_says(name: str, count: int, known: dict[int, str]) -> None:
    classes = load_recipe(CONFIGS / f"{name}.yaml").labels.classes
    assert len(classes) == count
    assert {index: classes[index] for index in known} == known


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_loads_and_states_its_hardware(path: Path) -> None:
    assert load_recipe(path).name == path.stem
    assert "# Hardware:" in path.read_text()


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
        ("training.decay_steps=11", "decay_steps is 11, more than the 10 steps in all"),
        ("training.learning_rate=.inf", "training.learning_rate"),
        ("training.seed=99999999999999999999", "training.seed"),
        ("generator.statistics=layer", "'batch', 'sync_batch' or 'instance'"),
        ("data.height=100", "data.height is 100, but a generator with upsampling 'normal' makes multiples of 32"),
        ("labels.palette=[[1,2,3]]", "palette has 1 colours for 2 classes"),
        ("labels.palette=[[1,2,300],[1,2,3]]", "labels.palette.0.2 is 300"),
        ("labels.dont_care=1", "dont_care is 1, which is class 'sea'; it must be 2 or more"),
        ("labels.classes=[sky, sky]", "class names repeat: sky"),
        ("discriminator.scales=9", "leave a single patch of 64x64 pictures; take fewer"),
        ("discriminator.kind=segmentation", "has no patch features to match; set it to 0"),
        ("discriminator.augment=[rotation]", "'colour', 'translation' or 'cutout'"),
        ("losses.lecam=-1", "losses.lecam is -1: input should be greater than or equal to 0"),
        ("generator.style_input=everywhere", "style_input is 'everywhere', but style_dim is 0; make it 64"),
        ("steps", "write section.field=value"),
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


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "a: [", "labels: 3"])
def test_files_that_are_no_recipe(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"broken\.yaml"):
        load_recipe(path)
    with pytest.raises(InputError, match="does not exist"):
        load_recipe(tmp_path / "none.yaml")
