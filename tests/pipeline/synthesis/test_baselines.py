"""Generators of the other kinds through whole jobs: as SPADE's, and in one line what they cannot do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import cli
import spadework
from pipeline.checkpoints.file import build_generator, load_checkpoint, save_generator
from pipeline.data import shards as shard_plan
from pipeline.data.images import decode_image
from pipeline.errors import InputError
from pipeline.labels import encode
from pipeline.recipe_file import dump_recipe
from pipeline.synthesis.synthesize import synthesize
from tests.pipeline.synthesis import cases

HOURGLASS = {"channels": 2, "downsamplings": 2, "blocks": 1}
KINDS: dict[str, dict[str, Any]] = {
    "concat": {"kind": "concat", "channels": 2},
    "pix2pixhd_plus": {"kind": "pix2pixhd_plus", **HOURGLASS},
    "pix2pixhd_plus concat": {"kind": "pix2pixhd_plus", **HOURGLASS, "labels": "concat", "statistics": "instance"},
    "pix2pixhd_plus spade": {"kind": "pix2pixhd_plus", **HOURGLASS, "labels": "spade", "hidden": 4},
}
KINDS["pix2pixhd"] = {"kind": "pix2pixhd", **HOURGLASS}
FEATURED = {"kind": "pix2pixhd", **HOURGLASS, "features": 3, "encoder_downsamplings": 2, "centres": 8}
CRN = {"kind": "crn", "widths": [4, 4, 4, 4], "pictures": 3}
STYLED = {"kind": "concat", "channels": 2, "style_dim": 4, "style_input": "everywhere", "style_encoder": False}


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_are_the_generators_whatever_is_beside_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    maps = cases.write_maps(tmp_path / "maps.parquet", 5)
    checkpoint = cases.write_checkpoint(tmp_path / "run", **KINDS[kind])
    synthesize(maps, checkpoint, tmp_path / "few", workers=0, quiet=True)
    monkeypatch.setattr(shard_plan, "SMALLEST_SHARD", 2)
    synthesize(maps, checkpoint, tmp_path / "many", workers=0, quiet=True)
    assert len(list((tmp_path / "many").glob("part-*"))) > 1
    few, many = ([row["image"]["bytes"] for row in cases.output_rows(tmp_path / name)] for name in ("few", "many"))
    assert few == many and len(set(few)) == 5
    generator = load_checkpoint(checkpoint).generator
    for index, picture in enumerate(few):
        codes = torch.from_numpy(encode(cases.label_map(index), None, cases.SPACE))[None]
        with torch.inference_mode():
            expected = ((generator(codes)[0] + 1) * 127.5).round().clamp(0, 255).permute(1, 2, 0).numpy()
        assert expected.std() > 20
        assert np.abs(decode_image(picture) - expected).max() <= 1
    assert np.array_equal(spadework.load(checkpoint).synthesize(cases.label_map(0)), decode_image(few[0]))


@pytest.mark.parametrize("regions", ["none", "class", "instance"])
def test_concatenation_has_styles(tmp_path: Path, regions: str) -> None:
    maps = cases.write_maps(tmp_path / "maps.parquet", 2)
    checkpoint = cases.write_checkpoint(tmp_path / "run", **STYLED, region_styles=regions)
    pictures = {}
    for samples in (1, 2):
        out = tmp_path / str(samples)
        synthesize(maps, checkpoint, out, workers=0, quiet=True, samples=samples, instance_column="instance")
        pictures[samples] = {(row["id"], row["sample"]): row["image"]["bytes"] for row in cases.output_rows(out)}
    assert len(set(pictures[2].values())) == 4
    assert {key: value for key, value in pictures[2].items() if key[1] == 0} == pictures[1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_carries_its_kind(tmp_path: Path, kind: str) -> None:
    recipe = cases.recipe(**KINDS[kind])
    torch.manual_seed(3)
    generator = build_generator(recipe)
    save_generator(tmp_path / "g.safetensors", generator, recipe, step=7)
    loaded = load_checkpoint(tmp_path / "g.safetensors")
    assert (loaded.recipe, loaded.step, loaded.encoder) == (recipe, 7, None)
    assert type(loaded.generator) is type(generator)
    for (name, value), (_, expected) in zip(
        loaded.generator.state_dict().items(), generator.state_dict().items(), strict=True
    ):
        assert torch.equal(value, expected), name
    # Weights that are too few for the recipe are told before memory is taken for it.
    wide = recipe.model_copy(update={"generator": recipe.generator.model_copy(update={"channels": 1024})})
    save_generator(tmp_path / "wide.safetensors", generator, wide, step=7)
    with pytest.raises(
        InputError, match=rf"weights, where its generator of kind {wide.generator.kind} has \d+ or more"
    ):
        load_checkpoint(tmp_path / "wide.safetensors")


def test_sizes_are_kept_where_they_fit_and_rejected_where_not(tmp_path: Path) -> None:
    checkpoint = cases.write_checkpoint(tmp_path / "run", **KINDS["pix2pixhd_plus"])
    maps = cases.write_maps(tmp_path / "maps.parquet", 1, height=38, width=45)
    synthesize(maps, checkpoint, tmp_path / "out", workers=0, quiet=True, keep_size=True)
    assert decode_image(cases.output_rows(tmp_path / "out")[0]["image"]["bytes"]).shape == (38, 45, 3)
    small = cases.write_maps(tmp_path / "small.parquet", 1, height=4, width=45)
    result = cases.command(small, checkpoint, tmp_path / "none", "--keep-size")
    assert "reflects more pixels around its features" in result.output and result.exit_code != 0


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_spades_alone_is_refused_in_a_line(tmp_path: Path, kind: str) -> None:
    checkpoint = cases.write_checkpoint(tmp_path / "run", **KINDS[kind])
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(dump_recipe(cases.recipe(**KINDS[kind])))
    maps = cases.write_maps(tmp_path / "maps.parquet", 1)
    weights = checkpoint / "generator.safetensors"
    name = KINDS[kind]["kind"]
    for arguments, message in (
        (["bench", "synthesize", "--checkpoint", checkpoint], "benchmarks are for generators of kind"),
        (["bench", "train", recipe], "benchmarks are for generators of kind"),
        (
            ["import-weights", weights, "--recipe", recipe, "--out", tmp_path / "x"],
            "public weights are imported for generators of kind",
        ),
        (
            ["synthesize", "--input", maps, "--checkpoint", checkpoint, "--workers", 0, "--samples", 2],
            "so each label map has one picture; leave out --samples",
        ),
    ):
        result = CliRunner().invoke(cli.main, [*map(str, arguments)])
        line = cases.error_line(result)
        assert message in line
        assert arguments[0] == "synthesize" or f"spade only, and generator.kind is '{name}'" in line


@pytest.mark.parametrize("regions", ["instance", "class"])
def test_instances_of_pix2pixhd_draw_centres_of_their_class(tmp_path: Path, regions: str) -> None:
    """By seed, id, sample and region, each of the class's centres as likely as the others."""
    maps = cases.write_maps(tmp_path / "maps.parquet", 3)
    checkpoint = cases.write_checkpoint(tmp_path / "run", **FEATURED, feature_regions=regions)
    pictures = {}
    for name, options in (("one", {}), ("many", {"samples": 6}), ("other", {"seed": 1})):
        synthesize(maps, checkpoint, tmp_path / name, workers=0, quiet=True, instance_column="instance", **options)
        rows = cases.output_rows(tmp_path / name)
        pictures[name] = {(row["id"], row["sample"]): row["image"]["bytes"] for row in rows}
    many = pictures["many"]
    assert len(many) == 18 and {key: value for key, value in many.items() if key[1] == 0} == pictures["one"]
    for index in range(3):
        assert len({many[f"map/{index}", sample] for sample in range(6)}) > 2
    assert pictures["other"] != pictures["one"]

    generator = load_checkpoint(checkpoint).generator
    codes = torch.from_numpy(encode(cases.label_map(0), None, cases.SPACE))[None]
    instance = cases.label_map(0) + np.uint8(1)
    if regions == "instance":
        codes = torch.from_numpy(encode(cases.label_map(0), instance, cases.SPACE, regions=True))[None]
    label_input = generator.label_input(codes)
    draws = torch.randn(400, label_input.region_count, 1, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        planes = generator.styles(label_input, draws)  # [400, 3, 32, 32]
    own = (label_input.codes[0] - 1) // 2
    for number in own.unique().tolist():
        row, column = (own == number).nonzero()[-1].tolist()
        seen, counts = planes[:, :, row, column].unique(dim=0, return_counts=True)
        wanted = generator.styles.centres[number, : number + 1]  # as many as the case gives this class
        assert len(seen) == number + 1 and torch.cdist(seen, wanted).amin(1).max() == 0
        assert counts.min() > 400 / (number + 1) * 0.7
        # Constant inside the region.
        for plane in planes[:4, :, own == number].unbind():
            assert regions == "instance" or (plane == plane[:, :1]).all()


def test_what_pix2pixhd_with_features_needs_and_does_not_take(tmp_path: Path) -> None:
    checkpoint = cases.write_checkpoint(tmp_path / "run", **FEATURED)
    maps = cases.write_maps(tmp_path / "maps.parquet", 1)
    alone = cases.write_cells(tmp_path / "alone.parquet", [cases.good_label()], ["a"])
    for source, options, message in (
        (alone, (), "each instance has a style of its own, and the input has no column of instance maps"),
        (maps, ("--truncation", 0.5), "draws styles from a list, of which none is the mean; leave out --truncation"),
        (maps, ("--region-styles", "class"), "the checkpoint's generator has no styles of regions"),
        (maps, ("--style-column", "image"), "the checkpoint has no style encoder"),
    ):
        assert message in cases.error_line(cases.command(source, checkpoint, tmp_path / "out", *options))


@pytest.mark.ray
@pytest.mark.parametrize(
    ("kind", "samples"),
    [(KINDS["pix2pixhd_plus spade"], 1), (KINDS["concat"], 1), ({**CRN}, 2), (FEATURED, 2)],
    ids=["pix2pixhd_plus", "concat", "crn", "pix2pixhd"],
)
def test_workers_on_ray_make_the_same_bytes(
    ray_session: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: dict[str, Any], samples: int
) -> None:
    monkeypatch.setattr(shard_plan, "SMALLEST_SHARD", 2)
    maps = cases.write_maps(tmp_path / "maps.parquet", 6)
    checkpoint = cases.write_checkpoint(tmp_path / "run", **kind)
    options = {"samples": samples, "quiet": True, "instance_column": "instance"}
    synthesize(maps, checkpoint, tmp_path / "here", workers=0, **options)
    synthesize(maps, checkpoint, tmp_path / "pool", workers=2, **options)
    assert cases.output_bytes(tmp_path / "here") == cases.output_bytes(tmp_path / "pool")
    keys = [(row["id"], row["sample"]) for row in cases.output_rows(tmp_path / "pool")]
    assert sorted(keys) == [(f"map/{index}", sample) for index in range(6) for sample in range(samples)]


def test_samples_of_crn_are_its_pictures_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    maps = cases.write_maps(tmp_path / "maps.parquet", 3)
    checkpoint = cases.write_checkpoint(tmp_path / "run", **CRN)
    synthesize(maps, checkpoint, tmp_path / "four", workers=0, quiet=True, samples=4)
    monkeypatch.setattr(shard_plan, "SMALLEST_SHARD", 1)
    synthesize(maps, checkpoint, tmp_path / "one", workers=0, quiet=True, seed=5)
    four, one = (
        {(row["id"], row["sample"]): row["image"]["bytes"] for row in cases.output_rows(tmp_path / name)}
        for name in ("four", "one")
    )
    assert one.keys() == {key for key in four if key[1] == 0}
    assert all(np.array_equal(decode_image(image), decode_image(four[key])) for key, image in one.items())
    generator = load_checkpoint(checkpoint).generator
    for index in range(3):
        codes = torch.from_numpy(encode(cases.label_map(index), None, cases.SPACE))[None]
        with torch.inference_mode():
            every = generator.every(generator.label_input(codes))[0]
        expected = ((every + 1) * 127.5).round().clamp(0, 255).permute(0, 2, 3, 1).numpy()
        for sample in range(4):
            assert np.abs(decode_image(four[f"map/{index}", sample]) - expected[sample % 3]).max() <= 1
        assert four[f"map/{index}", 3] == four[f"map/{index}", 0] != four[f"map/{index}", 1]
    made = spadework.load(checkpoint).synthesize(cases.label_map(0), seed=9)
    assert np.array_equal(made, decode_image(four["map/0", 0]))
    line = cases.error_line(cases.command(maps, checkpoint, tmp_path / "none", "--keep-size"))
    assert "a generator of kind crn makes pictures of one size, 32x32; leave out --keep-size" in line
    alone = cases.write_checkpoint(tmp_path / "alone", **{**CRN, "pictures": 1})
    line = cases.error_line(cases.command(maps, alone, tmp_path / "none", "--samples", 2))
    assert "is of kind crn and takes nothing but the label map, so each label map has one picture" in line
