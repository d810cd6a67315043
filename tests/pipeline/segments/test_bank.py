"""Memory banks: what is cut, what is kept of it, and that the file is the same however it was made."""

from __future__ import annotations

import pickle
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

import cli
from pipeline.data.images import decode_image, decode_label
from pipeline.data.parquet import ParquetDataset
from pipeline.data.records import DatasetInfo, RecordWriter
from pipeline.errors import InputError
from pipeline.labels import LabelSpace
from pipeline.runtime.ray_tasks import _Actor
from pipeline.segments import bank as bank_module
from pipeline.segments import bank_file
from pipeline.segments.bank import MemoryBank
from pipeline.segments.build import _cutter, build_bank, spans
from pipeline.segments.cut import LEAST_AREA, cut_segments, in_frame
from tests.pipeline.segments.cases import SPACE, scene, write_scenes


def test_segments_are_regions_of_a_class_and_an_instance() -> None:
    channels = np.array([[0, 0, 1, 1, 0], [0, 0, 1, 1, 2], [1, 0, 1, 1, 3], [0, 1, 0, 0, 3]])
    found = cut_segments(channels, None, classes=3, least_area=0)
    assert [(each.label, each.top, each.left, each.mask.shape, each.mask.sum()) for each in found] == [
        (0, 0, 0, (4, 4), 8),
        (0, 0, 4, (1, 1), 1),
        (1, 0, 0, (4, 4), 8),  # corners touch
        (2, 1, 4, (1, 1), 1),
    ]
    assert np.array_equal(found[2].mask, channels[:, :4] == 1)
    instance = np.array([[7, 7, 1, 4, 7]] * 4)
    parted = cut_segments(channels, instance, classes=3, least_area=0)
    assert [(each.top, each.left, each.mask.shape) for each in parted if each.label == 1] == [
        (0, 2, (3, 1)),
        (0, 3, (3, 1)),
        (2, 0, (2, 2)),
    ]
    assert [each.label for each in cut_segments(channels, None, classes=3, least_area=0.4)] == [0, 1]
    assert not cut_segments(channels, None, classes=3, least_area=0.41)
    assert LEAST_AREA == 1 / 131


def test_a_row_says_where_its_pixels_are_from(tmp_path: Path) -> None:
    source = write_scenes(tmp_path / "train.parquet", range(3))
    made = build_bank(source, tmp_path / "bank.parquet", quiet=True)
    assert "verbatim" in str(made) and "licence" in str(made) and "privacy" in str(made)
    rows = pq.read_table(tmp_path / "bank.parquet").to_pylist()
    assert [row["segment_id"] for row in rows] == list(range(len(rows)))
    assert [row["class"] for row in rows] == sorted(row["class"] for row in rows)
    seen = {number: np.zeros((48, 40), bool) for number in range(3)}
    for row in rows:
        number = int(row["picture_id"].removeprefix("scene-"))
        label, instance, image = scene(number)
        box = np.s_[row["top"] : row["top"] + row["height"], row["left"] : row["left"] + row["width"]]
        mask = decode_label(row["mask"]["bytes"]) > 0
        assert mask.sum() == row["area"] >= 48 * 40 / 131 and mask.any(axis=0).all() and mask.any(axis=1).all()
        assert np.array_equal(decode_image(row["picture"]["bytes"]), image[box] * mask[..., None])
        assert (label[box][mask] == row["class"]).all() and len(np.unique(instance[box][mask])) == 1
        pixels = image[box][mask].astype(float)
        for axis, colour in enumerate(("red", "green", "blue")):
            assert row[f"mean_{colour}"] == pytest.approx(pixels[:, axis].mean(), rel=1e-5)
            assert row[f"spread_{colour}"] == pytest.approx(pixels[:, axis].std(), rel=1e-5)
        frame = in_frame(mask, row["top"], row["left"], 48, 40)
        rows_of, columns = (2 * np.arange(64) + 1) * 48 // 128, (2 * np.arange(64) + 1) * 40 // 128
        assert np.array_equal(
            np.unpackbits(np.frombuffer(row["coarse"], np.uint8)).reshape(64, 64), frame[rows_of][:, columns]
        )
        context = np.where(label == 9, 3, label)[rows_of][:, columns]
        assert np.array_equal(np.frombuffer(row["context"], np.uint8).reshape(64, 64), context)
        assert not (seen[number] & frame).any()
        seen[number] |= frame
    assert made.covered == pytest.approx(np.mean(list(seen.values())))
    assert made.counts == {label: sum(row["class"] == label for row in rows) for label in range(3)}


def test_what_is_searched_is_what_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_scenes(tmp_path / "train.parquet", range(5))
    monkeypatch.setattr(bank_file, "GROUP_ROWS", 4)  # of the classes' row groups some are not full
    monkeypatch.setattr(bank_module, "KEPT_BYTES", 300)  # masks are dropped again and again
    build_bank(source, tmp_path / "bank.parquet", quiet=True)
    groups = pq.ParquetFile(tmp_path / "bank.parquet").metadata
    assert groups.num_row_groups > 4
    bank = MemoryBank(tmp_path / "bank.parquet")
    rows = pq.read_table(tmp_path / "bank.parquet").to_pylist()
    assert len(bank) == len(rows) and bank.least_area == LEAST_AREA
    for number in [*range(len(rows)), 0, 3]:
        row = rows[number]
        place = [row[name] for name in ("top", "left", "height", "width")]
        assert bank.boxes[number].tolist() == place and bank.labels[number] == row["class"]
        assert bank.picture_ids[bank.pictures[number]] == row["picture_id"] and bank.areas[number] == row["area"]
        assert bank.coarse[number].tobytes() == row["coarse"]
        assert bank.contexts[bank.pictures[number]].tobytes() == row["context"]
        assert bank.colours[number].tolist() == [row[name] for name in bank_file.COLOURS]
        mask = bank.frame_mask(number, 48, 40)
        assert mask.sum() == row["area"]
        _, _, image = scene(int(row["picture_id"].removeprefix("scene-")))
        assert np.array_equal(bank.frame_picture(number, 48, 40), image * mask[..., None])
        assert bank.frame_mask(number, 96, 80).sum() == 4 * row["area"]
    assert [bank.of_class(label).tolist() for label in range(3)] == [
        [number for number, row in enumerate(rows) if row["class"] == label] for label in range(3)
    ]
    assert 0 < bank._kept < 2000


@pytest.mark.ray
def test_the_file_is_the_same_for_any_number_of_workers(tmp_path: Path, ray_session: None) -> None:
    source = write_scenes(tmp_path / "train.parquet", range(40))
    build_bank(source, tmp_path / "here.parquet", quiet=True)
    build_bank(source, tmp_path / "two.parquet", workers=2, quiet=True)
    assert (tmp_path / "here.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"train.parquet", "here.parquet", "two.parquet"}


def test_row_groups_depend_on_the_rows_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_scenes(tmp_path / "train.parquet", range(6))
    build_bank(source, tmp_path / "whole.parquet", quiet=True)
    monkeypatch.setattr(bank_file, "BUFFER_BYTES", 5000)  # rows are written before their row groups are full
    build_bank(source, tmp_path / "tight.parquet", quiet=True)
    assert (tmp_path / "whole.parquet").read_bytes() == (tmp_path / "tight.parquet").read_bytes()


def prepare(*arguments: object) -> Result:
    return CliRunner().invoke(cli.main, ["prepare", "bank", *map(str, arguments)])


def test_the_verb(tmp_path: Path) -> None:
    source = write_scenes(tmp_path / "train.parquet", range(2))
    result = prepare(source, "--out", tmp_path / "bank.parquet", "--size", "20x24", "--least-area", 0.02)
    assert result.exit_code == 0, result.output
    assert "segments of 2 pictures" in result.output and "tree" in result.output
    assert result.output.count("verbatim pieces") == 1
    bank = MemoryBank(tmp_path / "bank.parquet")
    assert bank.frames.tolist() == [[24, 20]] * len(bank) and bank.least_area == 0.02
    assert list(bank.sources) == ["train.parquet"]


def test_mistakes_end_in_one_line(tmp_path: Path) -> None:
    source = write_scenes(tmp_path / "train.parquet", range(2))
    mine = tmp_path / "bank.parquet"
    for arguments, message in (
        ([tmp_path / "none.parquet", "--out", mine], "none.parquet does not exist"),
        ([source, "--out", source], "is the input; give another file"),
        ([source, "--out", tmp_path], "is a folder; give the name of a Parquet file"),
        ([source, "--out", mine, "--least-area", 0.9], "no region of 90.00% of its picture"),
    ):
        result = prepare(*arguments)
        assert result.exit_code == 2 and message in result.output.strip().splitlines()[-1], result.output
    assert not mine.exists() and {path.name for path in tmp_path.iterdir()} == {"train.parquet"}
    with pytest.raises(InputError, match="is not a memory bank; `spadework prepare bank` makes one"):
        MemoryBank(source)
    build_bank(source, mine, quiet=True)
    bank = MemoryBank(mine)
    bank.check_space(SPACE)
    with pytest.raises(InputError, match="is of other classes"):
        bank.check_space(LabelSpace(classes=("sky", "land", "bush")))


def test_a_bad_record_is_named(tmp_path: Path) -> None:
    label, instance, image = scene(0)
    label[20, 20] = 5
    with RecordWriter(tmp_path / "bad.parquet", DatasetInfo(SPACE)) as writer:
        writer.write({"id": "odd", "label": label, "instance": instance, "image": image})
    with pytest.raises(InputError, match="record 'odd': label map has id 5"):
        build_bank(tmp_path / "bad.parquet", tmp_path / "bank.parquet", quiet=True)
    assert not (tmp_path / "bank.parquet").exists()


def test_what_an_actor_cuts_pickles_both_ways(tmp_path: Path) -> None:
    dataset = ParquetDataset.open(write_scenes(tmp_path / "train.parquet", range(2)))
    actor = _Actor(pickle.dumps(partial(_cutter, SPACE, LEAST_AREA, None)))
    (span,) = spans(dataset)
    here = _cutter(SPACE, LEAST_AREA, None)(span)
    assert pickle.loads(pickle.dumps(actor.run(pickle.dumps(span)))) == here and len(here) == 2
