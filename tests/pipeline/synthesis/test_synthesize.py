"""Whole jobs in this process: what comes out, and that no bit of it depends on how."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import spadework
from pipeline.checkpoints.file import load_checkpoint, save_generator
from pipeline.data import shards as shard_plan
from pipeline.data.images import decode_image, decode_label, encode_png
from pipeline.data.storage import Folder
from pipeline.errors import InputError
from pipeline.labels import encode
from pipeline.runtime.seeding import style_noise
from pipeline.synthesis.job_folder import JobFolder
from pipeline.synthesis.synthesize import synthesize as run
from pipeline.synthesis.verify import verify
from tests.pipeline.synthesis import cases


def synthesize(maps, checkpoint, output, **options):
    return run(maps, checkpoint, output, **{"workers": 0, "quiet": True} | options)


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


@pytest.mark.parametrize("region", ["class", "instance"])
def test_regions_have_styles_of_their_own(tmp_path, region):
    """As in training, or on demand of weights that had one style for a picture; from Python too."""
    maps = cases.write_maps(tmp_path / "maps.parquet", 2)
    plain = cases.write_checkpoint(tmp_path / "plain", style_dim=4, style_input="everywhere", style_encoder=False)
    checkpoint = load_checkpoint(plain)
    settings = checkpoint.recipe.generator.model_copy(update={"region_styles": region})
    recipe = checkpoint.recipe.model_copy(update={"generator": settings})
    trained = tmp_path / "trained.safetensors"
    save_generator(trained, checkpoint.generator, recipe, step=1)

    def images(weights, name, **options):
        synthesize(maps, weights, tmp_path / name, samples=2, **options)
        return [cases.pixels(row) for row in cases.output_rows(tmp_path / name)]

    asked = images(plain, "asked", region_styles=region)
    assert images(trained, "as trained") == asked
    assert asked[0] != asked[1]
    one = images(plain, "plain")
    assert images(trained, "one", region_styles="none") == one != asked
    described = [json.loads((tmp_path / name / "_job/job.json").read_text())["settings"] for name in ("asked", "plain")]
    assert described[0]["region_styles"] == region and "region_styles" not in described[1]
    made = spadework.load(trained)
    assert made.needs_instances == (region == "instance")
    label = cases.label_map(0)
    picture = made.synthesize(label, label + np.uint8(1), id="map/0")
    assert np.asarray(picture).tobytes() == asked[0]


def test_a_job_continues_where_it_stopped_and_ends_with_the_same_bytes(maps, checkpoint, tmp_path):
    synthesize(maps, checkpoint, tmp_path / "whole")
    out = tmp_path / "cut"
    shutil.copytree(tmp_path / "whole", out)
    # As a kill leaves it: no end, one shard finished, one part without its record, one part half-written.
    manifest = json.loads((out / "manifest.json").read_text())
    for name in ("_SUCCESS", "manifest.json", "contact_sheet.png", "summary.json", "part-00002.parquet"):
        (out / name).unlink()
    (out / "_job" / "shards").mkdir(exist_ok=True)
    (out / "_job" / "shards" / "part-00000.json").write_text(json.dumps(manifest["parts"][0]))
    (out / ".part-00001.parquet.1.tmp").write_bytes(b"PAR1")
    done = (out / "part-00000.parquet").stat().st_mtime_ns
    summary = synthesize(maps, checkpoint, out)
    assert summary.images == 20
    assert summary.images_this_run == 20 - manifest["parts"][0]["rows"]
    assert (out / "part-00000.parquet").stat().st_mtime_ns == done
    assert cases.output_bytes(out) == cases.output_bytes(tmp_path / "whole")


def test_a_finished_job_does_nothing_more(maps, checkpoint, tmp_path):
    synthesize(maps, checkpoint, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("[!_]*")}
    summary = synthesize(maps, checkpoint, tmp_path / "out")
    assert (summary.images, summary.images_this_run) == (20, 0)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("[!_]*")} == before


@pytest.mark.parametrize("damage", ["deleted", "garbled"])
@pytest.mark.parametrize("name", ["contact_sheet.png", "summary.json"])
def test_what_is_for_people_is_made_again(maps, checkpoint, tmp_path, name, damage):
    synthesize(maps, checkpoint, tmp_path / "out")
    before = cases.output_bytes(tmp_path / "out")
    sheet = (tmp_path / "out" / "contact_sheet.png").read_bytes()
    if damage == "deleted":
        (tmp_path / "out" / name).unlink()
    else:
        (tmp_path / "out" / name).write_bytes(b"\x89[")
    assert synthesize(maps, checkpoint, tmp_path / "out").images_this_run == 0
    assert cases.output_bytes(tmp_path / "out") == before
    assert (tmp_path / "out" / "contact_sheet.png").read_bytes() == sheet
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["images"] == 20


class TestRepair:
    """A finished job that something happened to, started again."""

    def delete(self, out):
        (out / "part-00001.parquet").unlink()

    def truncate(self, out):
        path = out / "part-00000.parquet"
        path.write_bytes(path.read_bytes()[:-7])

    def empty(self, out):
        (out / "part-00002.parquet").write_bytes(b"")

    def flip_a_byte(self, out):
        path = out / "part-00002.parquet"
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(bytes(data))

    def delete_the_manifest(self, out):
        (out / "manifest.json").unlink()

    def truncate_the_manifest(self, out):
        path = out / "manifest.json"
        path.write_bytes(path.read_bytes()[:100])

    def change_the_manifest(self, out):
        manifest = json.loads((out / "manifest.json").read_text())
        manifest["parts"][0]["rows"] -= 1
        (out / "manifest.json").write_text(json.dumps(manifest))

    def empty_the_end(self, out):
        (out / "_SUCCESS").write_bytes(b"")

    def lose_the_rejects(self, out):
        (out / "_job" / "rejects.parquet").unlink()

    def damage_the_rejects(self, out):
        (out / "_job" / "rejects.parquet").write_bytes(b"PAR1")

    DAMAGES = (
        ("delete", ["part-00001"]),
        ("truncate", ["part-00000"]),
        ("empty", ["part-00002"]),
        ("flip_a_byte", ["part-00002"]),
        ("delete_the_manifest", ["part-00000", "part-00001", "part-00002"]),
        ("truncate_the_manifest", ["part-00000", "part-00001", "part-00002"]),
        # The part with the reject too: only the manifest knew it.
        ("change_the_manifest", ["part-00000", "part-00001"]),
        ("empty_the_end", ["part-00001"]),
        ("lose_the_rejects", []),
        ("damage_the_rejects", []),
    )

    @pytest.fixture
    def maps(self, tmp_path):
        labels = [cases.good_label(index) for index in range(20)]
        return cases.write_cells(tmp_path / "maps.parquet", [*labels[:10], b"bad", *labels[10:]])

    @pytest.fixture
    def out(self, maps, checkpoint, tmp_path):
        synthesize(maps, checkpoint, tmp_path / "out", max_rejects=1)
        return tmp_path / "out"

    @pytest.mark.parametrize(("damage", "again"), DAMAGES)
    def test_what_is_damaged_is_made_again(self, maps, checkpoint, out, damage, again):
        before = cases.output_bytes(out)
        times = {path.stem: path.stat().st_mtime_ns for path in out.glob("part-*")}
        getattr(self, damage)(out)
        summary = synthesize(maps, checkpoint, out, max_rejects=1, export=["folder"])
        assert len(list((out / "folder" / "images").iterdir())) == 20
        shutil.rmtree(out / "folder")
        assert cases.output_bytes(out) == before
        assert verify(str(out), quiet=True).images == 20
        assert [
            path.stem for path in sorted(out.glob("part-*")) if path.stat().st_mtime_ns != times[path.stem]
        ] == again
        assert (summary.images, summary.rejects) == (20, 1)

    def test_a_kill_while_it_is_reopened_loses_nothing(self, maps, checkpoint, out, monkeypatch):
        before = cases.output_bytes(out)
        self.flip_a_byte(out)
        for step in range(3):  # Two records, and then the end of `_SUCCESS`.
            with monkeypatch.context() as patch:
                calls = iter(range(step))
                put, delete = Folder.put, Folder.delete

                def dying(function, calls=calls):
                    def run(folder, name, *rest):
                        marks = name.startswith("_job/shards/") or name == "_SUCCESS"
                        if marks and next(calls, None) is None:
                            raise KeyboardInterrupt
                        return function(folder, name, *rest)

                    return run

                patch.setattr(Folder, "put", dying(put))
                patch.setattr(Folder, "delete", dying(delete))
                patch.setattr("pipeline.synthesis.job.abandon", lambda job: None)
                with pytest.raises(KeyboardInterrupt):
                    synthesize(maps, checkpoint, out, max_rejects=1)
            assert (out / "_SUCCESS").exists()
        times = {path.name: path.stat().st_mtime_ns for path in out.glob("part-*")}
        synthesize(maps, checkpoint, out, max_rejects=1)
        assert cases.output_bytes(out) == before
        assert [name for name, time in times.items() if (out / name).stat().st_mtime_ns != time] == [
            "part-00002.parquet"
        ]

    def test_a_repair_that_fails_can_be_tried_again(self, maps, checkpoint, out, monkeypatch):
        before = cases.output_bytes(out)
        for path in out.glob("part-*"):
            path.write_bytes(b"")
        with monkeypatch.context() as patch:
            patch.setattr(JobFolder, "publish", lambda *_, **__: (_ for _ in ()).throw(OSError("no")))
            with pytest.raises(OSError, match="no"):
                synthesize(maps, checkpoint, out, max_rejects=1)
        synthesize(maps, checkpoint, out, max_rejects=1)
        assert cases.output_bytes(out) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, r"settings.seed is 0 there and 1 here"),
        ({"samples": 2}, r"settings.samples is 1 there and 2 here"),
        ({"picture_format": "webp"}, r"settings.format is png there and webp here"),
        ({"threads": 2}, r"settings.threads is 1 there and 2 here"),
        ({"precision": "bf16"}, r"settings.precision is fp32 there and bf16 here"),
        ({"rounding": "truncate"}, r"settings\.rounding"),
        ({"truncation": 0.5}, r"settings.style.truncation is 1.0 there and 0.5 here"),
        ({"id_column": "id", "instance_column": "label"}, r"input.columns.instance is instance there and label here"),
    ],
)
def test_another_job_into_the_same_folder_is_refused(maps, styled, tmp_path, change, message):
    synthesize(maps, styled, tmp_path / "out")
    before = cases.output_bytes(tmp_path / "out")
    with pytest.raises(InputError, match=message):
        synthesize(maps, styled, tmp_path / "out", **change)
    assert cases.output_bytes(tmp_path / "out") == before


def test_other_weights_or_another_input_are_refused(maps, checkpoint, tmp_path):
    synthesize(maps, checkpoint, tmp_path / "out")
    with pytest.raises(InputError, match=r"settings.checkpoint is .* there and .* here"):
        synthesize(maps, cases.write_checkpoint(tmp_path / "other", seed=9), tmp_path / "out")
    with pytest.raises(InputError, match=r"input.files"):
        synthesize(cases.write_maps(tmp_path / "maps.parquet", 21), checkpoint, tmp_path / "out")


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
    from pipeline.data.images import encode_png

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
    from pipeline.data.storage import Folder

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


def test_a_changed_checkpoint_is_noticed_by_the_workers(checkpoint, maps, tmp_path):
    from pipeline.data.records import DatasetInfo
    from pipeline.data.shards import Columns
    from pipeline.synthesis.worker import ShardWorker, WorkOrder

    order = WorkOrder(
        str(tmp_path),
        str(checkpoint),
        load_checkpoint(checkpoint).sha256,
        Columns(),
        DatasetInfo(cases.SPACE),
        threads=None,
    )
    ShardWorker(order)
    with pytest.raises(InputError, match="changed after the job began"):
        ShardWorker(replace(order, checkpoint_sha256="another"))


class TestStyles:
    """Photographs as styles."""

    @pytest.fixture
    def photographs(self, tmp_path):
        from pipeline.data.images import encode_png

        for name, level in (("dark", 30), ("light", 220)):
            noise = np.random.default_rng(level).integers(-20, 20, (40, 40, 3))
            (tmp_path / f"{name}.png").write_bytes(encode_png((level + noise).astype(np.uint8)))
        return tmp_path / "dark.png", tmp_path / "light.png"

    def images(self, folder):
        return [cases.pixels(row) for row in cases.output_rows(folder)]

    def test_a_photograph_gives_its_mean_style(self, maps, styled, photographs, tmp_path):
        synthesize(maps, styled, tmp_path / "dark", style=photographs[0])
        synthesize(maps, styled, tmp_path / "seed", style=photographs[0], seed=5)
        synthesize(maps, styled, tmp_path / "light", style=photographs[1])
        assert self.images(tmp_path / "dark") == self.images(tmp_path / "seed")
        assert all(map(bytes.__ne__, self.images(tmp_path / "dark"), self.images(tmp_path / "light")))

    def test_truncation_spreads_samples_around_it(self, maps, styled, photographs, tmp_path):
        synthesize(maps, styled, tmp_path / "out", style=photographs[0], samples=2, truncation=0.7)
        images = self.images(tmp_path / "out")
        assert images[0] != images[1]

    def test_steps_lead_from_one_style_to_the_other(self, maps, styled, photographs, tmp_path):
        synthesize(maps, styled, tmp_path / "way", style_interpolate=(*photographs, 3))
        for photograph, step in zip(photographs, (0, 2), strict=True):
            synthesize(maps, styled, tmp_path / photograph.stem, style=photograph)
            assert self.images(tmp_path / photograph.stem) == self.images(tmp_path / "way")[step::3]

    def test_rows_bring_their_own_or_anothers_style(self, maps, styled, tmp_path, monkeypatch):
        synthesize(maps, styled, tmp_path / "own", style_column="image")
        synthesize(maps, styled, tmp_path / "other", style_column="image", style_rows="other")
        assert all(map(bytes.__ne__, self.images(tmp_path / "own"), self.images(tmp_path / "other")))
        photograph = tmp_path / "p.png"
        photograph.write_bytes(pq.read_table(maps).to_pylist()[1]["image"]["bytes"])
        synthesize(maps, styled, tmp_path / "one", style=photograph)
        assert self.images(tmp_path / "one")[1] == self.images(tmp_path / "own")[1]
        assert self.images(tmp_path / "one")[0] == self.images(tmp_path / "other")[0]
        photograph.write_bytes(pq.read_table(maps).to_pylist()[0]["image"]["bytes"])
        synthesize(maps, styled, tmp_path / "first", style=photograph)
        assert self.images(tmp_path / "first")[19] == self.images(tmp_path / "other")[19]

    @pytest.mark.parametrize("resample", ["lanczos", "bicubic"])
    def test_photographs_of_another_size_are_shrunk_as_in_training(self, tmp_path, resample):
        from pipeline.synthesis.synthesizer import Synthesizer

        made = load_checkpoint(cases.write_checkpoint(tmp_path, style_dim=4, encoder=True))
        data = made.recipe.data.model_copy(update={"resample": resample})
        recipe = made.recipe.model_copy(update={"data": data})
        save_generator(tmp_path / "x.safetensors", made.generator, recipe, step=0, encoder=made.encoder)
        synthesizer = Synthesizer(tmp_path / "x.safetensors")
        height, width = synthesizer.size
        # Stripes of one pixel, which sampling takes for all white or all black.
        large = np.random.default_rng(0).integers(0, 80, (height * 5, width * 5, 3), np.uint8)
        large[:, ::2] += 150
        filter_ = Image.Resampling[resample.upper()]
        small = np.array(Image.fromarray(large).resize((width, height), filter_))
        found, expected = synthesizer.style_of(encode_png(large)), synthesizer.style_of(encode_png(small))
        assert all(map(torch.equal, found, expected))
        pixels = torch.from_numpy(small).permute(2, 0, 1).unsqueeze(0).float() / 127.5 - 1
        with torch.inference_mode():
            torch.testing.assert_close(found[0], made.encoder(pixels)[0][0])

    def test_truncation_scales_the_noise(self, styled):
        from pipeline.synthesis.styles import StyleChoice, StyleSource
        from pipeline.synthesis.synthesizer import Synthesizer

        synthesizer = Synthesizer(styled)
        z = StyleSource(StyleChoice(truncation=0.25), synthesizer, seed=1).samples("a", None, 1)[0].z
        torch.testing.assert_close(z, 0.25 * style_noise(1, "a", 0, 4))


def test_label_maps_that_were_swapped_under_the_same_footer_are_another_input(checkpoint, tmp_path):
    maps = cases.write_maps(tmp_path / "maps.parquet", 20)
    run(maps, checkpoint, tmp_path / "out", workers=0, quiet=True)
    assert verify(str(tmp_path / "out"), source=str(maps), quiet=True).images == 20
    before = maps.read_bytes()
    labels = [row["label"] for row in pq.read_table(maps).to_pylist()]
    labels = [label["bytes"] if isinstance(label, dict) else label for label in labels]
    one, other = next((a, b) for a in labels for b in labels if len(a) == len(b) and a != b)
    after = before.replace(one, b"?" * len(one)).replace(other, one).replace(b"?" * len(one), other)
    fingerprint = shard_plan.plan_shards(maps).files[0].fingerprint
    maps.write_bytes(after)
    assert after != before and shard_plan.plan_shards(maps).files[0].fingerprint == fingerprint
    for again in (
        lambda: run(maps, checkpoint, tmp_path / "out", workers=0, quiet=True),
        lambda: verify(str(tmp_path / "out"), source=str(maps), quiet=True),
    ):
        with pytest.raises(InputError, match=r"rows 0 to 7 of .*maps\.parquet are not those that .*part-00000"):
            again()
    maps.write_bytes(before)
    run(maps, checkpoint, tmp_path / "out", workers=0, quiet=True)
