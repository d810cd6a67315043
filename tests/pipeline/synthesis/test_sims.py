"""SIMS through whole jobs: the same bytes however they are cut up, the sources of pictures, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import spadework
from pipeline.checkpoints.file import build_generator, load_checkpoint, save_generator
from pipeline.data import shards as shard_plan
from pipeline.data.images import decode_image, decode_label
from pipeline.errors import InputError
from pipeline.segments.bank import MemoryBank
from pipeline.segments.build import build_bank
from pipeline.segments.paste import SegmentPaster
from pipeline.segments.pasting import paste_record
from pipeline.synthesis.synthesize import synthesize
from pipeline.synthesis.verify import verify
from tests.pipeline.synthesis import cases


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of maps 100 to 107."""
    folder = tmp_path_factory.mktemp("bank")
    build_bank(cases.write_maps(folder / "train.parquet", 8, start=100), folder / "bank.parquet", quiet=True)
    return folder / "bank.parquet"


def write_checkpoint(folder: Path, bank: Path, **settings: object) -> Path:
    recipe = cases.recipe(kind="sims", bank=str(bank), widths=[2, 3, 4, 5], **settings)
    torch.manual_seed(0)
    generator = build_generator(recipe)
    with torch.no_grad():
        generator.to_picture.weight.normal_(std=0.4)
        if generator.transformation is not None:
            generator.transformation.theta.weight.normal_(std=0.5)
    save_generator(folder / "generator.safetensors", generator, recipe, step=1)
    return folder


def test_the_same_bytes_however_it_is_cut_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bank: Path) -> None:
    maps = cases.write_maps(tmp_path / "maps.parquet", 5)
    checkpoint = write_checkpoint(tmp_path / "run", bank)
    synthesize(maps, checkpoint, tmp_path / "few", workers=0, quiet=True)
    monkeypatch.setattr(shard_plan, "SMALLEST_SHARD", 2)
    synthesize(maps, checkpoint, tmp_path / "many", workers=0, quiet=True)
    assert len(list((tmp_path / "many").glob("part-*"))) > 1
    few, many = (cases.output_rows(tmp_path / name) for name in ("few", "many"))
    assert few == many and len({row["image"]["bytes"] for row in few}) == 5
    verify(str(tmp_path / "many"), source=str(maps), quiet=True)

    # By hand, from the bank and the network alone.
    loaded = load_checkpoint(checkpoint)
    opened = MemoryBank(bank)
    paster = SegmentPaster(opened, cases.SPACE)
    trained_on = pq.read_table(bank.parent / "train.parquet").to_pylist()
    photographs = {row["id"]: decode_image(row["image"]["bytes"]) for row in trained_on}
    for index, row in enumerate(few):
        label = cases.label_map(index)
        assert np.array_equal(decode_label(row["label"]["bytes"]), label)  # as it was given
        pasted = paste_record(paster, label, label + np.uint8(1), record=row["id"], seed=0)
        generator = loaded.generator
        codes = loaded.recipe.encode(pasted.label, None)
        canvas = torch.from_numpy(pasted.canvas).permute(2, 0, 1)[None].float() / 255
        with torch.inference_mode():
            label_input = generator.label_input(torch.from_numpy(codes)[None]).with_canvas(canvas)
            expected = ((generator(label_input)[0] + 1) * 127.5).round().clamp(0, 255).permute(1, 2, 0).numpy()
        assert expected.std() > 20
        assert np.abs(decode_image(row["image"]["bytes"]) - expected).max() <= 1
        sources = json.loads(row["sources"])
        assert sources == json.loads(paster.describe(pasted)) and sources
        for source in sources:
            mask = opened.frame_mask(source["segment"], 32, 32)
            known = (pasted.canvas[..., 3] == 255) & mask & (pasted.label == cases.CLASSES.index(source["class"]))
            if source is sources[-1]:
                assert np.array_equal(pasted.canvas[known, :3], photographs[source["record"]][known])
    made = spadework.load(checkpoint).synthesize(cases.label_map(0), cases.label_map(0) + np.uint8(1), id="map/0")
    assert np.array_equal(made, decode_image(few[0]["image"]["bytes"]))
    other = synthesize(maps, checkpoint, tmp_path / "seed", workers=0, quiet=True, seed=1)
    assert other.images == 5 and cases.output_rows(tmp_path / "seed")[0]["image"] != few[0]["image"]


def test_moved_and_ordered_pieces_are_the_same_however_it_is_cut_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bank: Path
) -> None:
    maps = cases.write_maps(tmp_path / "maps.parquet", 4)
    checkpoint = write_checkpoint(
        tmp_path / "run", bank, transform=True, order_network=True, order_hidden=4, segment_widths=[2, 3, 4, 5]
    )
    synthesize(maps, checkpoint, tmp_path / "few", workers=0, quiet=True)
    monkeypatch.setattr(shard_plan, "SMALLEST_SHARD", 1)
    synthesize(maps, checkpoint, tmp_path / "many", workers=0, quiet=True)
    assert len(list((tmp_path / "many").glob("part-*"))) > 1
    few, many = (cases.output_rows(tmp_path / name) for name in ("few", "many"))
    assert few == many
    moved = [tuple(source["moved"]) for row in few for source in json.loads(row["sources"])]
    assert len(moved) > 4 and len(set(moved)) == len(moved)  # each piece by a map of its own


@pytest.mark.ray
def test_two_workers_make_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bank: Path, ray_session: None
) -> None:
    maps = cases.write_maps(tmp_path / "maps.parquet", 9)
    checkpoint = write_checkpoint(tmp_path / "run", bank, transform=True, segment_widths=[2, 3, 4, 5])
    monkeypatch.setattr(shard_plan, "SMALLEST_SHARD", 2)
    synthesize(maps, checkpoint, tmp_path / "here", workers=0, quiet=True)
    synthesize(maps, checkpoint, tmp_path / "two", workers=2, quiet=True)
    assert cases.output_bytes(tmp_path / "here") == cases.output_bytes(tmp_path / "two")
    rows = cases.output_rows(tmp_path / "here")
    moved = {tuple(source["moved"]) for row in rows for source in json.loads(row["sources"])}
    assert len(moved) > 9  # each piece by a map of its own


def test_another_bank_makes_another_job(tmp_path: Path, bank: Path) -> None:
    maps = cases.write_maps(tmp_path / "maps.parquet", 3)
    checkpoint = write_checkpoint(tmp_path / "run", bank)
    synthesize(maps, checkpoint, tmp_path / "out", workers=0, quiet=True)
    build_bank(bank.parent / "train.parquet", tmp_path / "less.parquet", least_area=0.1, quiet=True)
    with pytest.raises(InputError, match=r"settings\.bank is .* there and .* here"):
        synthesize(maps, checkpoint, tmp_path / "out", workers=0, quiet=True, bank=tmp_path / "less.parquet")
    synthesize(maps, checkpoint, tmp_path / "less", workers=0, quiet=True, bank=tmp_path / "less.parquet")
    rows = zip(cases.output_rows(tmp_path / "out"), cases.output_rows(tmp_path / "less"), strict=True)
    assert any(one["sources"] != other["sources"] for one, other in rows)


def test_records_of_the_bank_are_refused_or_do_without_their_own(tmp_path: Path, bank: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "run", bank)
    own = bank.parent / "train.parquet"
    line = cases.error_line(cases.command(own, checkpoint, tmp_path / "out"))
    assert "(id 'map/100'): a picture of that id is in the memory bank" in line and "--own-pictures exclude" in line
    result = cases.command(own, checkpoint, tmp_path / "excluded", "--own-pictures", "exclude")
    assert result.exit_code == 0, result.output
    for row in cases.output_rows(tmp_path / "excluded"):
        sources = json.loads(row["sources"])
        assert sources and all(source["record"] != row["id"] for source in sources)


def test_what_is_missing_is_said_in_a_line(tmp_path: Path, bank: Path) -> None:
    maps = cases.write_maps(tmp_path / "maps.parquet", 2)
    gone = write_checkpoint(tmp_path / "gone", tmp_path / "gone.parquet")
    line = cases.error_line(cases.command(maps, gone, tmp_path / "out"))
    assert f"pastes pieces of a memory bank, and {tmp_path / 'gone.parquet'} is not there; give --bank" in line
    line = cases.error_line(cases.command(maps, gone, tmp_path / "out", "--bank", tmp_path / "none.parquet"))
    assert "none.parquet does not exist; `spadework prepare bank` makes one" in line
    line = cases.error_line(cases.command(maps, gone, tmp_path / "out", "--bank", maps))
    assert "is not a memory bank" in line
    spade = cases.write_checkpoint(tmp_path / "spade")
    line = cases.error_line(cases.command(maps, spade, tmp_path / "out", "--bank", bank))
    assert "of kind spade, which pastes nothing; leave out --bank" in line
    assert not (tmp_path / "out").exists()
    result = cases.command(maps, gone, tmp_path / "found", "--bank", bank)
    assert result.exit_code == 0, result.output
    line = cases.error_line(cases.command(maps, gone, tmp_path / "two", "--bank", bank, "--samples", 2))
    assert "is of kind sims and takes nothing but the label map, so each label map has one picture" in line


def test_pictures_of_any_size(tmp_path: Path, bank: Path) -> None:
    maps = cases.write_maps(tmp_path / "maps.parquet", 2, height=29, width=47)
    checkpoint = write_checkpoint(tmp_path / "run", bank, outer=True)  # whose sides are even
    synthesize(maps, checkpoint, tmp_path / "out", workers=0, quiet=True, keep_size=True)
    for row in cases.output_rows(tmp_path / "out"):
        assert decode_image(row["image"]["bytes"]).shape == (29, 47, 3) and json.loads(row["sources"])
