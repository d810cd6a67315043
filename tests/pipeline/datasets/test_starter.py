from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import cli
from pipeline.datasets.starter import Data, Machine, starter_recipe
from pipeline.labels import LabelSpace
from pipeline.recipe_file import load_recipe

SPACE = LabelSpace(classes=("road", "car", "Straße: nass"), dont_care=255)
CPU = Machine("two cores")
GPU = Machine("a card", gpu_gib=24, bfloat16=True)


def recipe_of(tmp_path: Path, sizes: list[tuple[int, int]], machine: Machine, photographs: int = 3000) -> object:
    data = Data("t.parquet", "v.parquet", SPACE, photographs, sizes)
    path = tmp_path / "mine.yaml"
    path.write_text(starter_recipe("mine", data, machine))
    return load_recipe(path)


@pytest.mark.parametrize(
    ("sizes", "machine", "size"),
    [
        ([(1024, 2048)], CPU, (64, 160)),
        ([(1024, 2048)], GPU, (256, 512)),
        ([(720, 960)], CPU, (96, 128)),
        ([(480, 640), (480, 640)], Machine("small", gpu_gib=8), (224, 288)),
        ([(256, 256)], GPU, (256, 256)),  # not enlarged
        ([(12, 16)], CPU, (64, 64)),
    ],
)
def test_sizes_are_for_the_data_and_the_machine(
    tmp_path: Path, sizes: list[tuple[int, int]], machine: Machine, size: tuple[int, int]
) -> None:
    recipe = recipe_of(tmp_path, sizes, machine)
    assert (recipe.data.height, recipe.data.width) == size  # type: ignore[attr-defined]
    assert recipe.labels == SPACE  # type: ignore[attr-defined]
    assert recipe.data.preprocess == "fixed"  # type: ignore[attr-defined]


def test_widths_and_precision_are_for_the_machine(tmp_path: Path) -> None:
    small, large = (recipe_of(tmp_path, [(512, 512)], machine) for machine in (CPU, GPU))
    assert (small.generator.channels, large.generator.channels) == (16, 64)  # type: ignore[attr-defined]
    assert (small.training.precision, large.training.precision) == ("fp32", "bf16")  # type: ignore[attr-defined]
    assert (small.training.steps, large.training.steps) == (2500, 19_000)  # type: ignore[attr-defined]


def test_of_pictures_of_many_shapes_parts_are_cut(tmp_path: Path) -> None:
    data = recipe_of(tmp_path, [(480, 640), (640, 480), (500, 500)], GPU).data  # type: ignore[attr-defined]
    assert (data.preprocess, data.load_size, data.height, data.width) == ("scale_short_side", 352, 352, 352)


def make_folder(root: Path) -> None:
    for index in range(6):
        for kind, shape in (("masks", (48, 64)), ("photos", (48, 64, 3))):
            (root / kind).mkdir(exist_ok=True)
            picture = np.random.default_rng(index).integers(0, 3, shape, np.uint8)
            Image.fromarray(picture).save(root / kind / f"{index}.png")
    (root / "classes.txt").write_text("road\ncar\nsky\n")


def prepare(*options: str) -> object:
    words = ["prepare", "folder", "masks", "--classes", "classes.txt", "--out", "out", "--workers", "1", *options]
    return CliRunner().invoke(cli.main, words)


@pytest.mark.slow
def test_the_recipe_trains_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_folder(tmp_path)
    result = prepare("--images", "photos", "--recipe", "mine.yaml", "--validation", "0.4")
    assert result.exit_code == 0, result.output  # type: ignore[attr-defined]
    assert "mine.yaml: a recipe for these data" in result.output  # type: ignore[attr-defined]
    assert load_recipe(Path("mine.yaml")).data.train == "out/train.parquet"
    words = ["train", "mine.yaml", "--out", "run", "--workers", "0"]
    trained = CliRunner().invoke(cli.main, [*words, "--set", "training.steps=2", "--set", "training.decay_steps=1"])
    assert trained.exit_code == 0, trained.output
    assert "run/generator.safetensors: 2 steps" in trained.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--images", "photos", "--recipe", "there.yaml"], "there.yaml exists already; give another name"),
        (
            ["--images", "photos", "--recipe", "mine.txt"],
            "mine.txt is no name of a recipe; give one that ends in .yaml",
        ),
        (["--recipe", "mine.yaml"], "a recipe trains on photographs; give their folder with --images"),
        (["--images", "photos", "--recipe", "mine.yaml", "--validation", "1"], "make --validation smaller"),
    ],
)
def test_recipes_that_would_not_train_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    make_folder(tmp_path)
    (tmp_path / "there.yaml").touch()
    result = prepare(*options)
    assert result.exit_code == 2  # type: ignore[attr-defined]
    assert message in result.stderr  # type: ignore[attr-defined]
    assert not (tmp_path / "mine.yaml").exists()
