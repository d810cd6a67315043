"""Training on several sources: shares, keys, workers, late starts, windows, and runs that are resumed."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pipeline.config import Recipe
from pipeline.data.records import RECORD_FIELDS, DatasetInfo, RecordWriter
from pipeline.errors import InputError
from pipeline.runtime.seeding import record_seed
from training.data.batch import Batch
from training.data.dataset import BatchLoader, RecordDataset
from training.data.sampler import MixedSampler
from training.run_folder import RunFolder
from training.train import train

Make = Callable[..., Recipe]


@pytest.fixture(scope="module")
def synthetic(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three samples of each of the ten label maps, as `synthesize` leaves them, with the same ids; all black."""
    folder = tmp_path_factory.mktemp("synthetic")
    rows = pq.read_table(tiny_data).to_pylist()
    fields = (*RECORD_FIELDS, pa.field("sample", pa.int32()))
    for part in range(2):
        info = DatasetInfo.from_json(pq.read_schema(tiny_data).metadata[b"spadework"])
        path = folder / f"part-0000{part}.parquet"
        with RecordWriter(path, info, fields, key=("id", "sample"), row_group_rows=4) as writer:
            for row in rows[part::2]:
                for sample in range(3):
                    writer.write({**row, "sample": sample, "image": np.zeros((40, 36, 3), np.uint8)})
    (folder / "_job").mkdir()
    shutil.copy(tiny_data, folder / "_job" / "rejects.parquet")  # no part of it
    return folder


@pytest.fixture
def sources(tiny_data: Path, synthetic: Path) -> list[dict[str, Any]]:
    return [{"path": str(tiny_data), "name": "real"}, {"path": str(synthetic), "name": "synthetic"}]


def load(recipe: Recipe, **worker: int) -> BatchLoader:
    return BatchLoader(RecordDataset(recipe.data.train, recipe), **worker)


def same(one: Batch, other: Batch) -> bool:
    return all(
        torch.equal(getattr(one, name), getattr(other, name)) for name in ("codes", "pictures", "noise", "seeds")
    )


def test_an_epoch_has_every_record_of_every_source_once(tiny_recipe: Make, sources: list[dict[str, Any]]) -> None:
    data = load(tiny_recipe(data={"train": sources}))
    assert len(data.examples) == 40
    names = [data.examples.record(number).id for number in range(40)]
    assert names[:10] == [f"real:r{index}" for index in range(10)]
    assert names[10:14] == ["synthetic:r0", "synthetic:r0, sample 1", "synthetic:r0, sample 2", "synthetic:r2"]
    for epoch in range(2):
        records = [record for step in range(10 * epoch, 10 * epoch + 10) for record in data.records(step)]
        assert sorted(records) == [(epoch, number) for number in range(40)]
        first = [number < 10 for _, number in records[:20]]
        assert any(first) and not all(first)
    assert [data.ends_epoch(step, 1) for step in (9, 10, 11)] == [False, True, False]


def test_weights_set_the_shares_and_each_source_has_its_own_epochs(
    tiny_recipe: Make, sources: list[dict[str, Any]]
) -> None:
    sources[0]["weight"], sources[1]["weight"] = 3, 1
    data = load(tiny_recipe(data={"train": sources}))
    records = [record for step in range(250) for record in data.records(step)]
    drawn = Counter(number < 10 for _, number in records)
    assert (drawn[True], drawn[False]) == (750, 250)
    # 75 times each of ten photographs, and each of 30 pictures 8 times, ten of them once more.
    times = Counter(number for _, number in records)
    assert {times[number] for number in range(10)} == {75}
    assert Counter(times[number] for number in range(10, 40)) == {8: 20, 9: 10}
    assert {epoch for epoch, number in records if number < 10} == set(range(75))
    assert len(set(records)) == 1000


def test_pictures_and_randomness_belong_to_the_source(tiny_recipe: Make, sources: list[dict[str, Any]]) -> None:
    recipe = tiny_recipe(style_dim=2, data={"train": sources})
    data = load(recipe)
    (real, _, seed), (fake, _, other) = data.example(1, 0), data.example(1, 10)
    assert (real.id, fake.id) == ("real:r0", "synthetic:r0")
    assert real.picture.any() and not fake.picture.any()
    assert (seed, other) == (record_seed(0, "real:r0", 1), record_seed(0, "synthetic:r0", 1))


def test_a_list_of_one_source_without_a_name_is_the_path_alone(tiny_recipe: Make, tiny_data: Path) -> None:
    one, other = (load(tiny_recipe(data={"train": train})) for train in (str(tiny_data), [{"path": str(tiny_data)}]))
    for first, second, _ in zip(one.batches(), other.batches(), range(4), strict=False):
        assert same(first, second)
    expected = np.random.default_rng([0, 2]).permutation(10)
    assert [record for step in range(5, 10) for record in one.records(step)][:10] == [
        (2, number) for number in expected.tolist()
    ]


def test_batches_change_neither_for_workers_nor_for_a_late_start_nor_for_windows(
    tiny_recipe: Make, sources: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    sources[0]["weight"], sources[1]["weight"] = 1, 2
    recipe = tiny_recipe(style_dim=2, data={"train": sources})
    original = MixedSampler.of

    def small(*arguments: Any, window_bytes: int, **options: Any) -> MixedSampler:
        return original(*arguments, window_bytes=6000, **options)

    monkeypatch.setattr(MixedSampler, "of", small)
    whole = load(recipe)
    assert len(whole.sampler.samplers[1]._epoch(0)[1]) > 2, "the synthetic source is read in windows"
    stream = whole.batches()
    expected = [next(stream) for _ in range(30)]
    halves = [load(recipe, rank=rank, workers=2).batches(17) for rank in range(2)]
    for batch in expected[17:]:
        parts = [next(half) for half in halves]
        for name, dim in (("codes", 0), ("pictures", 0), ("seeds", 0), ("noise", 1)):
            assert torch.equal(getattr(batch, name), torch.cat([getattr(part, name) for part in parts], dim=dim))
    for batches in (stream, *halves):
        batches.close()
    # What these steps draw is held, and the steps' own windows are read; not everything is.
    firsts = [group.first for group in whole.examples.groups]
    some = []
    for step in range(5, 30):
        held, coming = whole.sampler.read_ahead(4 * (step - 4), 4 * step)
        drawn = {number for at in range(step - 4, step + 1) for _, number in whole.records(at)}
        assert {int(np.searchsorted(firsts, number, side="right")) - 1 for number in drawn} <= held
        assert set(coming) <= held
        some.append(len(held) < len(firsts))
    assert any(some)


def test_a_count_and_another_label_column(tiny_recipe: Make, sources: list[dict[str, Any]], tmp_path: Path) -> None:
    table = pq.read_table(sources[0]["path"])
    void = [{"bytes": row["bytes"], "path": None} for row in table["label"].to_pylist()[::-1]]
    turned = table.append_column("label_trusted", pa.array(void, table.schema.field("label").type))
    pq.write_table(turned.replace_schema_metadata(table.schema.metadata), tmp_path / "turned.parquet")
    recipe = tiny_recipe(
        data={
            "train": [
                {"path": str(tmp_path / "turned.parquet"), "name": "turned", "label_column": "label_trusted"},
                {**sources[1], "count": 7},
            ]
        }
    )
    data = load(recipe)
    plain = RecordDataset(sources[0]["path"], recipe)
    assert len(data.examples) == 17
    np.testing.assert_array_equal(data.examples.record(0).label, plain.record(9).label)
    np.testing.assert_array_equal(data.examples.record(0).image, plain.record(0).image)
    taken = [data.examples.record(number).id for number in range(10, 17)]
    assert len(set(taken)) == 7
    assert taken == [data.examples.record(number).id for number in range(10, 17)]
    drawn = Counter(number for step in range(17) for _, number in data.records(step))
    assert drawn == dict.fromkeys(range(17), 4)


@pytest.mark.slow
def test_a_run_on_sources_is_resumed_and_refuses_other_data(
    tiny_recipe: Make, sources: list[dict[str, Any]], tmp_path: Path
) -> None:
    copy = shutil.copytree(sources[1]["path"], tmp_path / "synthetic")
    sources[1]["path"] = str(copy)
    recipe = tiny_recipe(data={"train": sources})
    train(recipe, tmp_path / "whole", workers=0)
    assert train(recipe, tmp_path / "parts", workers=0, max_minutes=0).step == 1
    assert train(recipe, tmp_path / "parts", workers=0).finished
    tensors = [RunFolder(tmp_path / name).load_snapshot()[1] for name in ("whole", "parts")]  # type: ignore[index]
    for name, value in tensors[0].items():
        torch.testing.assert_close(tensors[1][name], value, rtol=0, atol=1e-6)
    known = json.loads((tmp_path / "parts" / "data.json").read_text())
    assert {path: list(files) for path, files in known.items()} == {
        sources[0]["path"]: ["tiny.parquet"],
        str(copy): ["part-00000.parquet", "part-00001.parquet"],
    }
    shutil.copy(copy / "part-00000.parquet", copy / "part-00002.parquet")
    with pytest.raises(InputError, match=r"has the id 'r0' twice"):
        train(recipe, tmp_path / "parts", workers=0)
    (copy / "part-00002.parquet").unlink()
    (copy / "part-00001.parquet").unlink()
    with pytest.raises(InputError, match=r"part-00001\.parquet of the data set .*synthetic is gone since the run"):
        train(recipe, tmp_path / "parts", workers=0)
    sources[0]["weight"] = sources[1]["weight"] = 1
    with pytest.raises(InputError, match=r"another recipe, which differs in data\.train"):
        train(tiny_recipe(data={"train": sources}), tmp_path / "parts", workers=0)
