"""Whole jobs in this process: what comes out, and that no bit of it depends on how."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

import spadework
from pipeline.checkpoints.file import load_checkpoint
from pipeline.data import shards as shard_plan
from pipeline.data.images import decode_image, decode_label, encode_png
from pipeline.data.storage import Folder
from pipeline.errors import InputError
from pipeline.labels import encode
from pipeline.synthesis.verify import verify
from tests.pipeline.synthesis import cases
from tests.pipeline.synthesis.cases import synthesize


def test_every_map_becomes_one_picture_beside_its_label_map(maps, checkpoint, tmp_path):
    summary = synthesize(maps, checkpoint, tmp_path / "out", seed=3)
    rows = cases.output_rows(tmp_path / "out")
    assert [row["id"] for row in rows] == [f"map/{index}" for index in range(20)]
    assert {(row["sample"], row["seed"], row["checkpoint"]) for row in rows} == {(0, 3, summary.checkpoint)}
    for index, row in enumerate(rows):
        np.testing.assert_array_equal(decode_label(row["label"]["bytes"]), cases.label_map(index))
        assert decode_image(row["image"]["bytes"]).shape == (32, 32, 3)
        assert row["instance"] is not None
    assert summary.images == summary.images_this_run == 20
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["images"] == 20
    assert decode_image((tmp_path / "out" / "contact_sheet.png").read_bytes()).shape[1] > 1000


def test_a_picture_is_what_the_generator_makes_of_its_map_alone(maps, checkpoint, tmp_path):
    synthesize(maps, checkpoint, tmp_path / "out")
    weights = load_checkpoint(checkpoint)
    for index, row in enumerate(cases.output_rows(tmp_path / "out")):
        codes = torch.from_numpy(encode(cases.label_map(index), None, cases.SPACE))
        with torch.inference_mode():
            picture = weights.generator(codes[None])[0]
        expected = ((picture + 1) * 127.5).round().clamp(0, 255).permute(1, 2, 0).numpy()
        assert expected.std() > 20
        assert np.abs(decode_image(row["image"]["bytes"]) - expected).max() <= 1


def test_truncation_gives_the_pixels_of_the_public_program(maps, checkpoint, tmp_path):
    synthesize(maps, checkpoint, tmp_path / "nearest")
    synthesize(maps, checkpoint, tmp_path / "truncate", rounding="truncate")
    weights = load_checkpoint(checkpoint)
    nearest, truncated = (cases.output_rows(tmp_path / name) for name in ("nearest", "truncate"))
    lower = []
    for index, rows in enumerate(zip(nearest, truncated, strict=True)):
        one, other = (decode_image(row["image"]["bytes"]).astype(int) for row in rows)
        assert set(np.unique(one - other)) <= {0, 1}
        lower.append((one - other).mean())
        codes = torch.from_numpy(encode(cases.label_map(index), None, cases.SPACE))
        with torch.inference_mode():
            picture = weights.generator(codes[None])[0].permute(1, 2, 0).numpy()
        public = np.clip((picture + 1) / 2.0 * 255.0, 0, 255).astype(np.uint8)  # as tensor2im of the public util.py
        assert (public != other).mean() < 0.001  # where the folded generator's rounding passes a whole number
    assert 0.3 < np.mean(lower) < 0.6
    job = json.loads((tmp_path / "truncate" / "_job" / "job.json").read_text())
    assert job["settings"]["rounding"] == "truncate"
    assert "rounding" not in json.loads((tmp_path / "nearest" / "_job" / "job.json").read_text())["settings"]


def test_shards_neighbours_and_samples_show_in_no_bit(maps, styled, tmp_path, monkeypatch):
    synthesize(maps, styled, tmp_path / "few", samples=2)
    monkeypatch.setattr(shard_plan, "SMALLEST_SHARD", 3)
    synthesize(maps, styled, tmp_path / "many", samples=2)
    assert len(list((tmp_path / "many").glob("part-*"))) > len(list((tmp_path / "few").glob("part-*")))
    few, many = (
        {(row["id"], row["sample"]): row for row in cases.output_rows(tmp_path / name)} for name in ("few", "many")
    )
    assert few == many
    alone = synthesize(cases.write_maps(tmp_path / "one.parquet", 1), styled, tmp_path / "alone", samples=1)
    assert alone.images == 1
    assert cases.pixels(cases.output_rows(tmp_path / "alone")[0]) == cases.pixels(few["map/0", 0])


def test_samples_differ_and_a_seed_repeats_them(maps, styled, tmp_path):
    synthesize(maps, styled, tmp_path / "a", samples=2, seed=1)
    synthesize(maps, styled, tmp_path / "b", samples=2, seed=1)
    synthesize(maps, styled, tmp_path / "c", samples=2, seed=2)
    assert cases.output_bytes(tmp_path / "a") == cases.output_bytes(tmp_path / "b")
    rows = cases.output_rows(tmp_path / "a")
    assert [(row["id"], row["sample"]) for row in rows[:3]] == [("map/0", 0), ("map/0", 1), ("map/1", 0)]
    assert cases.pixels(rows[0]) != cases.pixels(rows[1])
    assert cases.pixels(rows[0]) != cases.pixels(cases.output_rows(tmp_path / "c")[0])


def test_noise_makes_samples_that_show_in_no_bit_what_is_beside_them(tmp_path, monkeypatch):
    """Without any style; and from Python, with the id of the row, the same pixels."""
    maps = cases.write_maps(tmp_path / "maps.parquet", 5)
    noisy = cases.write_checkpoint(tmp_path / "run", noise=True, enlargement="bilinear")
    synthesize(maps, noisy, tmp_path / "few", samples=3, seed=5)
    monkeypatch.setattr(shard_plan, "SMALLEST_SHARD", 3)
    synthesize(maps, noisy, tmp_path / "many", samples=2, seed=5)
    few, many = (
        {(row["id"], row["sample"]): cases.pixels(row) for row in cases.output_rows(tmp_path / name)}
        for name in ("few", "many")
    )
    assert {key: image for key, image in few.items() if key[1] < 2} == many
    pictures = [np.frombuffer(few["map/0", sample], np.uint8).astype(int) for sample in range(3)]
    assert all(np.abs(pictures[a] - pictures[b]).mean() > 2 for a, b in ((0, 1), (0, 2), (1, 2)))
    made = np.asarray(spadework.load(noisy).synthesize(cases.label_map(0), seed=5, id="map/0"))
    assert np.array_equal(made.ravel(), pictures[0])
    synthesize(maps, noisy, tmp_path / "other", seed=6)
    assert cases.pixels(cases.output_rows(tmp_path / "other")[0]) != few["map/0", 0]


def test_an_untrained_generator_is_its_recipe_and_seed(maps, checkpoint, tmp_path):
    from pipeline.recipe_file import dump_recipe

    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(dump_recipe(cases.recipe()))
    first = synthesize(maps, f"untrained:{recipe}", tmp_path / "a")
    synthesize(maps, f"untrained:{checkpoint}", tmp_path / "b")
    assert first.checkpoint.startswith("untrained-")
    assert cases.output_rows(tmp_path / "a") == cases.output_rows(tmp_path / "b")
    other = recipe.with_name("other.yaml")
    other.write_text(dump_recipe(cases.recipe()).replace("seed: 0", "seed: 1"))
    assert synthesize(maps, f"untrained:{other}", tmp_path / "c").checkpoint != first.checkpoint
    assert cases.pixels(cases.output_rows(tmp_path / "c")[0]) != cases.pixels(cases.output_rows(tmp_path / "a")[0])


def test_label_maps_of_other_sizes_are_resized(checkpoint, tmp_path):
    maps = cases.write_maps(tmp_path / "maps.parquet", 3, height=50, width=90)
    synthesize(maps, checkpoint, tmp_path / "out")
    for row in cases.output_rows(tmp_path / "out"):
        label = decode_label(row["label"]["bytes"])
        assert label.shape == decode_label(row["instance"]["bytes"]).shape == (32, 32)
        assert set(np.unique(label)) <= {0, 1, 2, 3, 255}


def test_label_maps_may_keep_their_sizes(checkpoint, tmp_path):
    (tmp_path / "maps").mkdir()
    sizes = [(50, 90), (32, 32), (96, 33)]
    for index, (height, width) in enumerate(sizes):
        cases.write_maps(tmp_path / "maps" / f"{index}.parquet", 1, start=index, height=height, width=width)
    synthesize(tmp_path / "maps", checkpoint, tmp_path / "out", keep_size=True)
    rows = cases.output_rows(tmp_path / "out")
    assert [decode_image(row["image"]["bytes"]).shape[:2] for row in rows] == sizes
    assert [decode_label(row["label"]["bytes"]).shape for row in rows] == sizes
    # What fits needs no padding, so it is the picture of the usual way.
    synthesize(tmp_path / "maps" / "1.parquet", checkpoint, tmp_path / "usual")
    assert cases.output_rows(tmp_path / "usual")[0]["image"] == rows[1]["image"]


def test_colours_stand_for_the_checkpoints_classes(checkpoint, tmp_path):

    colours = np.zeros((32, 32, 3), np.uint8)
    colours[:16], colours[16:], colours[0, 0] = (0, 120, 0), (0, 0, 200), (9, 9, 9)
    maps = cases.write_cells(tmp_path / "maps.parquet", [encode_png(colours)])
    palette = tmp_path / "palette.txt"
    palette.write_text("0 120 0 tree\n0 0 200 sea\n9 9 9 dont-care\n")
    synthesize(maps, checkpoint, tmp_path / "out", palette=palette)
    label = decode_label(cases.output_rows(tmp_path / "out")[0]["label"]["bytes"])
    assert (label[0, 0], label[0, 1], label[31, 31]) == (255, 3, 1)
    palette.write_text("0 120 0 tree\n0 0 200 lake\n")
    with pytest.raises(InputError, match=r"has the class 'lake'; the checkpoint's are sky, sea, sand, tree"):
        synthesize(maps, checkpoint, tmp_path / "other", palette=palette)


@pytest.mark.parametrize("picture_format", ["png", "webp"])
def test_lossless_formats_hold_the_same_pixels(maps, checkpoint, tmp_path, picture_format):
    synthesize(maps, checkpoint, tmp_path / "png")
    synthesize(maps, checkpoint, tmp_path / picture_format, picture_format=picture_format)
    for one, other in zip(
        cases.output_rows(tmp_path / "png"), cases.output_rows(tmp_path / picture_format), strict=True
    ):
        np.testing.assert_array_equal(decode_image(one["image"]["bytes"]), decode_image(other["image"]["bytes"]))


def test_jpeg_comes_with_a_warning(maps, checkpoint, tmp_path, caplog):
    synthesize(maps, checkpoint, tmp_path / "out", picture_format="jpeg")
    assert "moves FID" in caplog.text
    assert cases.output_rows(tmp_path / "out")[0]["image"]["bytes"].startswith(b"\xff\xd8")


def test_exports_hold_every_picture_once(maps, styled, tmp_path):
    import tarfile

    synthesize(maps, styled, tmp_path / "out", samples=2, export=["folder", "webdataset"])
    images = sorted(path.stem for path in (tmp_path / "out" / "folder" / "images" / "map").iterdir())
    labels = sorted(path.stem for path in (tmp_path / "out" / "folder" / "labels" / "map").iterdir())
    assert images == labels
    assert len(images) == 40
    members = []
    for tar in sorted((tmp_path / "out" / "webdataset").iterdir()):
        with tarfile.open(tar) as file:
            members += file.getnames()
    assert len(members) == len(set(members)) == 120
    assert images == sorted(f"{index}-s{sample}" for index in range(20) for sample in range(2))
    # Keys of a WebDataset have no folders.
    keys = [name.removesuffix(".label.png") for name in members if name.endswith(".label.png")]
    assert all(re.fullmatch(r"map_\d+-[0-9a-f]{8}-s[01]", key) for key in keys)
    assert verify(str(tmp_path / "out"), quiet=True).images == 40


def test_hugging_face_datasets_shows_the_pictures(maps, checkpoint, tmp_path):
    synthesize(maps, checkpoint, tmp_path / "out")
    # In a process of its own: the library warns about itself at import, and keeps caches under the home directory.
    code = (
        "import sys, datasets; d = datasets.load_dataset('parquet', data_files=sys.argv[1] + '/part-*.parquet', "
        "split='train', cache_dir=sys.argv[2]); r = d[3]; print(len(d), r['id'], r['image'].size, r['label'].mode)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "out"), str(tmp_path / "cache")]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    assert shown.stdout.strip() == "20 map/3 (32, 32) L"


def test_a_store_at_a_uri_holds_the_same_parts(maps, checkpoint, tmp_path):
    import uuid

    synthesize(maps, checkpoint, tmp_path / "here")
    out = f"fsspec+memory://bucket-{uuid.uuid4().hex}/out"
    synthesize(maps, checkpoint, out)

    for name in (*Folder(out).names(), "_job/job.json"):
        if name != "summary.json":
            assert Folder(out).read(name) == (tmp_path / "here" / name).read_bytes(), name
    assert verify(out, quiet=True).images == 20
    assert synthesize(maps, checkpoint, out).images_this_run == 0
    Folder(out).put("part-00001.parquet", (Folder(out).read("part-00001.parquet") or b"")[::-1])
    assert synthesize(maps, checkpoint, out).images_this_run == 8
    assert verify(out, quiet=True).images == 20
    bad = cases.write_cells(tmp_path / "bad.parquet", [b"bad"])
    with pytest.raises(InputError):
        synthesize(bad, checkpoint, f"{out}-bad")
    assert Folder(f"{out}-bad").read("_job/job.json") is None
