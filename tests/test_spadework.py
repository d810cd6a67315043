"""spadework from Python, as a notebook or a program calls it."""

from __future__ import annotations

import inspect
import io
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image

import spadework
from cli import main
from pipeline.data.images import decode_label, encode_png
from spadework import InputError
from tests.pipeline.synthesis import cases

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def maps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three label maps, larger than the generators', with photographs and instance maps."""
    return cases.write_maps(tmp_path_factory.mktemp("maps") / "maps.parquet", 3, height=40, width=48)


@pytest.fixture(scope="module")
def styled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory of a generator with style and its encoder."""
    return cases.write_checkpoint(tmp_path_factory.mktemp("styled"), style_dim=4, encoder=True)


@pytest.fixture(scope="module")
def synthesizer(styled: Path) -> spadework.Synthesizer:
    """Of the checkpoint `styled`."""
    return spadework.load(styled)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> spadework.Synthesizer:
    """A synthesizer without style, which needs instance maps."""
    return spadework.load(cases.write_checkpoint(tmp_path_factory.mktemp("plain"), instance_edges=True))


def same(one: Image.Image, other: Image.Image) -> bool:
    return np.array_equal(np.asarray(one), np.asarray(other))


def verb(*arguments: object) -> None:
    done = CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output


def synthesized(folder: Path) -> dict[str, Image.Image]:
    """What the verb `synthesize` synthesized, by id."""
    rows = pq.read_table(sorted(folder.glob("*.parquet")), columns=["id", "image"]).to_pylist()
    return {row["id"]: Image.open(io.BytesIO(row["image"]["bytes"])) for row in rows}


def test_importing_it_imports_nothing_heavy() -> None:
    code = "import sys, spadework; print(sorted({'torch', 'ray', 'pyarrow', 'pydantic'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_shipped_landscapes_paint_a_label_map() -> None:
    landscapes = spadework.load()
    assert (landscapes.classes[0], landscapes.palette[0]) == ("sky", (96, 160, 224))
    assert (landscapes.size, landscapes.style_dim, landscapes.dont_care) == ((128, 128), 16, None)
    assert landscapes.needs_instances
    label_map = np.zeros((256, 256), np.int64)
    label_map[128:] = landscapes.classes.index("grass")
    picture = landscapes.synthesize(label_map, np.zeros_like(label_map), seed=2)
    assert (picture.mode, picture.size) == ("RGB", (128, 128))
    red, green, blue = np.asarray(picture)[80:].reshape(-1, 3).mean(0)
    assert green > max(red, blue)  # it is a meadow
    assert "14 classes, 128x128" in repr(landscapes)


def test_the_examples_of_the_documentation_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for file in ("README.md", "docs/python.md"):
        code = re.search(r"```python\n(.*?)```", (ROOT / file).read_text(), re.DOTALL)
        assert code
        exec(code[1], {})
    with Image.open("bay.png") as picture:
        assert picture.size == (128, 128)


@pytest.mark.parametrize("style", [None, "photograph"])
def test_pixels_are_those_of_the_verb(
    style: str | None, styled: Path, synthesizer: spadework.Synthesizer, maps: Path, tmp_path: Path
) -> None:
    photograph = tmp_path / "photograph.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)).save(photograph)
    given = ["--style", photograph] if style else []
    verb(*["synthesize", "--input", maps, "--checkpoint", styled, "--out", tmp_path / "images", "--workers", 0], *given)
    found = synthesized(tmp_path / "images")
    for row in pq.read_table(maps).to_pylist():
        label_map = decode_label(row["label"]["bytes"])
        picture = synthesizer.synthesize(label_map, style=photograph if style else None, id=row["id"])
        assert same(picture, found[row["id"]]), row["id"]


def test_arrays_images_and_files_are_the_same_label_map(synthesizer: spadework.Synthesizer, tmp_path: Path) -> None:
    label_map = cases.label_map(3)
    file = tmp_path / "scene.png"
    file.write_bytes(encode_png(label_map))
    palette = Image.fromarray(label_map)
    palette.putpalette([value for colour in synthesizer.palette for value in colour] + [0] * 3 * 252)
    forms = [label_map, label_map.astype(np.int64), label_map.astype(np.uint16), label_map.tolist(), file, str(file)]
    forms += [Image.fromarray(label_map), palette, Image.fromarray(label_map.astype(np.int32))]
    first = synthesizer.synthesize(label_map, id="a")
    with Image.open(file) as opened:
        assert all(same(synthesizer.synthesize(form, id="a"), first) for form in [*forms, opened])


def test_four_bit_grey_keeps_its_ids(plain: spadework.Synthesizer) -> None:
    """Pillow reads id 1 of such a file as 17."""
    file = ROOT / "tests" / "cases" / "tiff-4-bit" / "labels" / "0.tif"
    ids = decode_label(file.read_bytes())
    instances = np.zeros_like(ids)
    first = plain.synthesize(ids, instances)
    with Image.open(file) as opened:
        assert all(same(plain.synthesize(form, instances), first) for form in (file, opened))


def test_seed_id_and_style_decide(synthesizer: spadework.Synthesizer, tmp_path: Path) -> None:
    label_map = cases.label_map(1)
    first = synthesizer.synthesize(label_map)
    assert same(synthesizer.synthesize(label_map, seed=0, id="0"), first)
    assert not same(synthesizer.synthesize(label_map, seed=1), first)
    assert not same(synthesizer.synthesize(label_map, id="other"), first)
    file = tmp_path / "scene-7.png"
    file.write_bytes(encode_png(label_map))
    assert same(synthesizer.synthesize(file), synthesizer.synthesize(label_map, id="scene-7"))


def test_photographs_and_their_vectors_are_one_style(synthesizer: spadework.Synthesizer, tmp_path: Path) -> None:
    label_map = cases.label_map(1)
    pixels = np.random.default_rng(5).integers(0, 256, (32, 32, 3), np.uint8)
    file = tmp_path / "photograph.png"
    Image.fromarray(pixels).save(file)
    vector = synthesizer.style_of(file)
    assert (vector.dtype, vector.shape) == (np.float32, (4,))
    first = synthesizer.synthesize(label_map, style=file)
    for style in (pixels, Image.fromarray(pixels), str(file), vector, vector.tolist()):
        assert same(synthesizer.synthesize(label_map, style=style, seed=9), first)
    assert not same(synthesizer.synthesize(label_map, style=vector + 1), first)


def test_instance_borders_show_and_dont_care_is_known(plain: spadework.Synthesizer) -> None:
    label_map = cases.label_map(1)
    assert plain.dont_care == 255
    assert 255 in label_map
    instances = np.zeros_like(label_map)
    whole = plain.synthesize(label_map, instances)
    instances[:, 16:] = 1
    assert not same(plain.synthesize(label_map, instances), whole)
    assert same(plain.synthesize(label_map, instances.astype(np.int64) * 70000), plain.synthesize(label_map, instances))
    assert same(plain.synthesize(label_map, Image.fromarray(instances)), plain.synthesize(label_map, instances))


LABELS = np.zeros((32, 32), np.uint8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((LABELS + 4,), "label map has id 4, but the classes are 0 to 3 and don't-care is 255"),
        ((LABELS.astype(np.int16) - 1,), "label map has id -1"),
        ((LABELS.astype(float),), "float64 [32, 32]; give integers [height, width]"),
        ((np.zeros((32, 32, 3), np.uint8),), "uint8 [32, 32, 3]; give integers"),
        ((np.zeros((0, 32), np.uint8),), "[0, 32]"),
        ((None,), "the label map is NoneType; give integers"),
        ((Image.fromarray(np.zeros((32, 32, 3), np.uint8)),), "Pillow image of mode RGB"),
        (("nowhere.png",), "label map nowhere.png does not exist"),
        ((ROOT / "README.md",), "README.md cannot be decoded"),
        ((LABELS, LABELS[1:]), "the instance map is 32x31 but its label map 32x32"),
        ((LABELS, None, [1, 2, 3]), "the style is 3 numbers; the generator takes 4 finite numbers"),
        ((LABELS, None, [1, 2, 3, np.nan]), "NaN"),
        ((LABELS, None, ["a"]), "neither a photograph nor a vector"),
        ((LABELS, None, LABELS), "photograph is uint8 [32, 32]"),
        ((LABELS, None, "nowhere.jpg"), "photograph nowhere.jpg does not exist"),
        ((LABELS, None, None, -1), "seed is -1; take 0 to"),
        ((LABELS, None, None, 0.5), "seed is 0.5; give a whole number"),
    ],
)
def test_mistakes_are_one_line(synthesizer: spadework.Synthesizer, arguments: tuple, message: str) -> None:
    with pytest.raises(InputError) as caught:
        synthesizer.synthesize(*arguments)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_id_that_resizing_would_lose_is_refused_too(synthesizer: spadework.Synthesizer) -> None:
    label_map = np.zeros((320, 320), np.uint8)
    label_map[0, 0] = 77
    with pytest.raises(InputError, match="has id 77"):
        synthesizer.synthesize(label_map)


def test_lossy_label_maps_are_refused(synthesizer: spadework.Synthesizer, tmp_path: Path) -> None:
    Image.fromarray(LABELS).save(tmp_path / "label.jpg")
    image = Image.open(tmp_path / "label.jpg")
    image.load()
    for form in (tmp_path / "label.jpg", image):
        with pytest.raises(InputError, match="may change ids"):
            synthesizer.synthesize(form)


def test_what_a_generator_without_style_or_with_instances_wants(plain: spadework.Synthesizer) -> None:
    with pytest.raises(InputError, match="give instance_map"):
        plain.synthesize(LABELS)
    with pytest.raises(InputError, match="takes no style"):
        plain.synthesize(LABELS, LABELS, style=[0.0])
    with pytest.raises(InputError, match="no style encoder"):
        plain.style_of(np.zeros((32, 32, 3), np.uint8))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"checkpoint": "nowhere"}, "checkpoint nowhere does not exist"),
        ({"device": "gpu"}, "device is 'gpu'; take 'cpu' or 'cuda'"),
        ({"device": "cuda:99"}, "torch finds"),
        ({"precision": "fp16"}, "fp16 needs a GPU"),
        ({"precision": "int4"}, "precision is 'int4'; take fp32, bf16, fp16, int8"),
        ({"precision": "int8"}, "precision int8 needs what calibration found: give --engine"),
        ({"engine": "nowhere"}, "nowhere"),
        ({"threads": 0}, "threads is 0; give 1 to 1024"),
        ({"threads": 10**9}, "threads is 1000000000; give 1 to 1024"),
    ],
)
def test_what_cannot_be_loaded_is_one_line(options: dict, message: str) -> None:
    with pytest.raises(InputError) as caught:
        spadework.load(**options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_engines_and_precisions(styled: Path, tmp_path: Path) -> None:
    verb("compile", "--checkpoint", styled, "--backend", "eager", "--precision", "bf16", "--out", tmp_path, "--maps", 1)
    engine = spadework.load(styled, engine=tmp_path)
    label_map = cases.label_map(2)
    assert same(engine.synthesize(label_map), spadework.load(styled, precision="bf16").synthesize(label_map))
    with pytest.raises(InputError, match="has precision bf16; leave out precision 'fp16'"):
        spadework.load(styled, engine=tmp_path, precision="fp16")
    with pytest.raises(InputError, match="was made from other weights"):
        spadework.load(engine=tmp_path)


RENAMED = {
    "source": "input",
    "picture_format": "format",
    "max_minutes": "max_time",
}
"""What the command line calls otherwise inside than its users see it."""


@pytest.mark.parametrize(
    ("name", "function", "arguments"),
    [
        ("train", spadework.train, []),
        ("synthesize", spadework.synthesize_dataset, ["--input", "x"]),
        ("evaluate", spadework.evaluate, []),
        ("compare", spadework.compare, ["x", "y", "--out", "z"]),
        ("study", spadework.study, ["x"]),
    ],
)
def test_names_and_defaults_are_those_of_the_command_line(
    name: str, function: Any, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.command_line.check_there", lambda *_: None)
    given = main.commands[name].make_context(name, arguments).params
    theirs = {RENAMED.get(key, key): str(value or None) for key, value in given.items() if key != "dry_run"}
    parameters = {key: item.default for key, item in inspect.signature(function).parameters.items() if key != "quiet"}
    assert set(parameters) == set(theirs)
    for key, default in parameters.items():
        if key == "recipe":
            assert (Path(theirs[key]).name, default) == ("landscape.yaml", None)
        elif default is not inspect.Parameter.empty and key != "max_rejects":  # "0" there, and 0 here
            assert str(default or None) == theirs[key], key


def test_the_whole_line(tmp_path: Path) -> None:
    made = spadework.prepare("landscape", out=tmp_path / "data", train=4, validation=3, size="64x64", workers=1)
    table = made.to_table()
    assert table.num_rows == 2 * 14
    assert sum(table["pixels"].to_pylist()) == 7 * 64 * 64
    assert "train.parquet: 4 records" in str(made)

    data = [f"data.{name}={tmp_path / 'data' / name}.parquet" for name in ("train", "validation")]
    few = ["training.steps=2", "training.decay_steps=0", "training.log_every=1", "generator.channels=4"]
    few += ["discriminator.channels=4", "losses.perceptual=0"]
    trained = spadework.train(ROOT / "configs/demo.yaml", out=tmp_path / "run", workers=0, overrides=[*data, *few])
    assert (trained.step, trained.finished) == (2, True)
    assert trained.to_table()["step"].to_pylist() == [1, 2]

    reports = []
    for name, checkpoint in (("untrained", f"untrained:{ROOT / 'configs/landscape.yaml'}"), ("shipped", None)):
        synthesis = spadework.synthesize_dataset(
            tmp_path / "data" / "validation.parquet",
            checkpoint=checkpoint,
            out=tmp_path / name,
            workers=0,
            quiet=True,
        )
        assert (synthesis.summary.images, synthesis.summary.rejects) == (3, 0)
        pictures = synthesis.to_table(["id", "image"])
        assert pictures.column_names == ["id", "image"]
        assert len(set(pictures["id"].to_pylist())) == 3
        found = spadework.evaluate(
            tmp_path / name, tmp_path / "data" / "validation.parquet", out=tmp_path / f"report-{name}", examples=0
        )
        assert (found.folder / "report.html").exists()
        reports.append(found)

    sets = reports[1].to_table().to_pylist()
    assert [row["role"] for row in sets] == ["synthesized", "photographs"]
    assert sets[1]["mean_iou_low"] <= sets[1]["mean_iou"] <= sets[1]["mean_iou_high"]
    assert sets[0]["of_ceiling"] > 0
    assert reports[1].to_table("classes").num_rows == 2 * 14
    assert reports[1].to_table("pictures").num_rows == 3
    texture = reports[1].to_table("texture").to_pylist()
    assert {row["set"] for row in texture} == {"synthesized", "real photographs"}
    assert {row["period"] for row in texture} == {2, 4, 8, 16}
    assert sets[0]["power_factor"] > sets[1]["power_factor"] == 1
    assert "mean IoU" in str(reports[1])

    compared = spadework.compare([report.folder for report in reports], out=tmp_path / "comparison")
    first, second = compared.to_table().to_pylist()
    assert first["mean_iou_change"] is None
    assert second["mean_iou_change"] == pytest.approx(second["mean_iou"] - first["mean_iou"])
    assert str(compared).startswith("report-shipped against report-untrained")


def test_prepare_converts_folders(tmp_path: Path) -> None:
    case = ROOT / "tests" / "cases" / "binary-0-255"
    made = spadework.prepare(
        "folder",
        str(case / "labels"),
        out=tmp_path,
        images=str(case / "images"),
        palette=case / "palette.txt",
        validation=0,
        size=(8, 16),
        workers=1,
    )
    assert made.summary.splits[0].records == 6
    assert sum(made.to_table()["pixels"].to_pylist()) == 6 * 8 * 16


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda out: spadework.prepare("voc", "x", out=out), "no data set 'voc' to prepare; take landscape, folder"),  # type: ignore[call-overload]
        (lambda out: spadework.prepare("camvid", out=out), "name the folder of its files"),  # type: ignore[call-overload]
        (lambda out: spadework.prepare("camvid", "nowhere", out=out), "nowhere"),
        (
            lambda out: spadework.prepare("landscape", out=out, size="64"),
            "size: '64' is not WIDTHxHEIGHT, such as 256x256",
        ),
        (lambda out: spadework.prepare("landscape", out=out, train=0), "train: 0 is not in the range x>=1"),
        (lambda out: spadework.train("nowhere.yaml", out=out), "recipe nowhere.yaml does not exist"),
        (lambda out: spadework.train(out=out, workers=-1), "workers: -1 is not in the range 0<=x<=1024"),
        (lambda out: spadework.train(out=out, overrides="training.stepz=1"), "did you mean 'steps'"),
        (lambda out: spadework.synthesize_dataset("nowhere", out=out), "nowhere"),
        (
            lambda out: spadework.synthesize_dataset(ROOT, out=out, format="gif"),
            "format: 'gif' is not one of 'png', 'webp', 'jpeg'",
        ),
        (lambda out: spadework.synthesize_dataset(ROOT, out=out, seed=-1), "seed: -1 is not in the range 0<=x<="),
        (lambda out: spadework.synthesize_dataset(ROOT, out=out, samples=1.5), "samples is 1.5; give a whole"),  # type: ignore[arg-type]
        (lambda out: spadework.synthesize_dataset(ROOT, out=out, export="zip"), "export: 'zip' is not one of"),  # type: ignore[arg-type]
        (lambda out: spadework.evaluate("nowhere", out=out), "nowhere"),
        (lambda out: spadework.evaluate(ROOT, ROOT, out=out, protocols="best"), "there is no protocol 'best'"),
        (lambda out: spadework.compare([out], out=out), "give two reports or more"),
    ],
)
def test_mistakes_of_verbs_are_one_line(call: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        call(tmp_path / "out")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_the_example_trains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = runpy.run_path(str(ROOT / "examples" / "train_minimal.py"))["train"]
    assert spadework.load(train(tmp_path, steps=2)).size == (64, 64)
    assert capsys.readouterr().out.startswith("step 0: generator/gan ")
    with Image.open(tmp_path / "samples.png") as samples:
        assert samples.size == (6 * 64, 5 * 64)


def test_the_number_of_threads_stays_the_programs_own(synthesizer: spadework.Synthesizer) -> None:
    import torch

    torch.set_num_threads(2)
    synthesizer.synthesize(LABELS)
    assert torch.get_num_threads() == 2


def test_options_that_a_verb_does_not_have_are_refused() -> None:
    with pytest.raises(TypeError, match="there is no option 'siez'; the --help of camvid lists them"):
        spadework.prepare("camvid", "x", out="y", siez="64x64")  # type: ignore[call-overload]
