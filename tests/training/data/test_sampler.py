"""The order of data sets that are read in windows, and how much of them is held."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from pipeline.config import Recipe
from pipeline.data.parquet import ParquetFile
from pipeline.data.sources import OpenSource, as_sources, open_sources
from pipeline.errors import InputError
from training.data.batch import Batch
from training.data.dataset import BatchLoader, RecordDataset
from training.data.sampler import RecordGroup, Sampler, find_groups

Make = Callable[..., Recipe]

RECORDS, GROUP, GROUPS_HELD = 60, 4, 3


@pytest.fixture(scope="module")
def large(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty records in two files of row groups of four, but for the last."""
    folder = tmp_path_factory.mktemp("large")
    table = pq.read_table(tiny_data)
    for file in range(2):
        rows = [row for _ in range(3) for row in table.to_pylist()]
        for number, row in enumerate(rows):
            row["id"] = f"{file}-{number}"
        part = table.from_pylist(rows, schema=table.schema)
        pq.write_table(part, folder / f"{file}.parquet", row_group_size=GROUP, compression="none")
    return folder


def windowed(path: Path, recipe: Recipe, **worker: int) -> BatchLoader:
    """Data in windows of at most `GROUPS_HELD` row groups."""
    data = BatchLoader(RecordDataset(path, recipe), **worker)
    largest = max(group.size for group in data.examples.groups)
    data.sampler = Sampler(data.examples.groups, seed=0, window_bytes=GROUPS_HELD * largest)
    return data


def opened(path: Path, recipe: Recipe) -> OpenSource:
    return open_sources(as_sources(path), recipe.labels, seed=0)[0]


def test_row_groups_are_those_of_all_files(large: Path, tiny_recipe: Make) -> None:
    groups = find_groups(opened(large, tiny_recipe()))
    assert [group.first for group in groups] == [*range(0, 30, GROUP), *range(30, 60, GROUP)]
    assert [group.rows for group in groups] == ([GROUP] * 7 + [2]) * 2
    ids = [name for group in groups for name in group.read().column("id").to_pylist()]
    assert ids == [f"{file}-{number}" for file in range(2) for number in range(30)]


def test_an_epoch_in_windows_has_every_record_once(large: Path, tiny_recipe: Make) -> None:
    sampler = windowed(large, tiny_recipe()).sampler
    epochs = [[sampler.record(place) for place in range(start, start + RECORDS)] for start in (0, RECORDS)]
    for number, epoch in enumerate(epochs):
        assert {at for at, _ in epoch} == {number}
        assert sorted(record for _, record in epoch) == list(range(RECORDS))
        assert [record for _, record in epoch] != sorted(record for _, record in epoch)
    assert [record for _, record in epochs[0]] != [record for _, record in epochs[1]]
    place = 0
    while place < 2 * RECORDS:  # every window is made of a few row groups, and all of them
        window = sampler.window(place)
        assert (window.start, len(window.groups) <= GROUPS_HELD + 1) == (place, True)
        of_groups = [
            number
            for group in (sampler.groups[index] for index in window.groups)
            for number in range(group.first, group.first + group.rows)
        ]
        assert sorted(sampler.record(at)[1] for at in range(window.start, window.stop)) == sorted(of_groups)
        place = window.stop


def test_a_set_no_larger_than_a_window_is_shuffled_as_a_whole(large: Path, tiny_recipe: Make) -> None:
    source, file = opened(large, tiny_recipe()), ParquetFile("x", "x", 100, "")
    groups = [RecordGroup(source, file, index, 10 * index, 10, 5) for index in range(10)]
    sampler = Sampler(groups, seed=3, window_bytes=50)
    assert sampler.window(7).groups == tuple(range(10))
    expected = np.random.default_rng([3, 1]).permutation(100)
    assert [sampler.record(100 + place)[1] for place in range(100)] == expected.tolist()


def same(one: Batch, other: Batch) -> bool:
    return torch.equal(one.codes, other.codes) and torch.equal(one.pictures, other.pictures)


def test_windows_change_neither_for_workers_nor_for_a_late_start(large: Path, tiny_recipe: Make) -> None:
    recipe = tiny_recipe(data={"preprocess": "resize_and_crop", "load_size": 40})
    stream = windowed(large, recipe).batches()
    expected = [next(stream) for _ in range(40)]  # 160 records: beyond two epochs
    halves = [windowed(large, recipe, rank=rank, workers=2).batches(23) for rank in range(2)]
    for batch in expected[23:]:
        parts = [next(half) for half in halves]
        assert torch.equal(batch.codes, torch.cat([part.codes for part in parts]))
        assert torch.equal(batch.pictures, torch.cat([part.pictures for part in parts]))
    assert not same(expected[0], expected[15])  # the same place in the next epoch
    for batches in (stream, *halves):
        batches.close()


def test_only_a_few_row_groups_are_held_and_each_is_read_once_an_epoch(
    large: Path, tiny_recipe: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[int] = []
    original = RecordGroup.read
    monkeypatch.setattr(RecordGroup, "read", lambda self: (reads.append(self.first), original(self))[1])
    data = windowed(large, tiny_recipe())
    data._room = 0  # no decoded records kept
    most = 0

    def steps() -> Iterator[None]:
        for _ in data.batches():
            yield

    for _, _ in zip(range(4 * RECORDS // 4), steps(), strict=False):
        most = max(most, len(data.examples._tables))
    # The window in use, the next, and what the batches that are being decoded reach back into.
    assert most <= 14 < len(data.examples.groups)
    # Four epochs, and what is read ahead of the fifth; a group at the end of one and the start of the next stays.
    counts = [reads.count(group.first) for group in data.examples.groups]
    assert min(counts) >= 2
    assert max(counts) <= 5


def test_a_damaged_row_group_is_named(large: Path, tiny_recipe: Make, tmp_path: Path) -> None:
    broken = tmp_path / "broken.parquet"
    content = bytearray((large / "0.parquet").read_bytes())
    content[200:2000] = bytes(1800)
    broken.write_bytes(content)
    with pytest.raises(InputError, match=r"broken\.parquet is damaged"):
        [group.read() for group in find_groups(opened(broken, tiny_recipe()))]
