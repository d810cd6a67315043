"""Several sources: what is opened and refused, which records a count takes, and the order in which they take turns."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config import Source
from pipeline.data.mixture import Mixture
from pipeline.data.records import RECORD_FIELDS, DatasetInfo, RecordWriter, decode_record
from pipeline.data.schema import PICTURE
from pipeline.data.sources import OpenSource, _choose, open_sources
from pipeline.errors import InputError
from pipeline.labels import LabelSpace

SPACE = LabelSpace(classes=("sky", "sea"), dont_care=255)
FIELDS = (*RECORD_FIELDS, pa.field("sample", pa.int32()), pa.field("label_trusted", PICTURE))


def write(path: Path, ids: list[str], *, samples: int = 1, space: LabelSpace = SPACE, rows: int = 4) -> Path:
    """Records of one pixel: class 0 in `label`, don't-care in `label_trusted`."""
    picture, label = np.zeros((1, 1, 3), np.uint8), np.zeros((1, 1), np.uint8)
    with RecordWriter(path, DatasetInfo(space), FIELDS, key=("id", "sample"), row_group_rows=rows) as writer:
        for name in ids:
            for sample in range(samples):
                row: dict[str, Any] = {"id": name, "sample": sample, "label": label, "image": picture}
                writer.write({**row, "label_trusted": label + 255})
    return path


def opened(*sources: Source, seed: int = 0) -> tuple[OpenSource, ...]:
    return open_sources(sources, SPACE, seed=seed)


def keys(source: OpenSource) -> list[str]:
    return [decode_record(row, need_image=True).id for row in source.iter_rows()]


def test_equal_ids_of_two_sources_are_two_records(tmp_path: Path) -> None:
    real, fake = write(tmp_path / "real.parquet", ["a", "b"]), write(tmp_path / "fake.parquet", ["a", "b"], samples=2)
    found = opened(Source(path=str(real), name="real"), Source(path=str(fake), name="synthetic"))
    assert [keys(source) for source in found] == [
        ["real:a", "real:b"],
        ["synthetic:a", "synthetic:a, sample 1", "synthetic:b", "synthetic:b, sample 1"],
    ]
    assert keys(opened(Source(path=str(real)))[0]) == ["a", "b"]  # alone, as ever
    pq.write_table(pq.read_table(real), tmp_path / "twice-1.parquet")
    pq.write_table(pq.read_table(real), tmp_path / "twice-2.parquet")
    with pytest.raises(InputError, match=r"twice-\*\.parquet has the id 'a' twice"):
        opened(Source(path=f"{tmp_path}/twice-*.parquet", name="twice"))


def test_a_label_column_is_read_as_the_label_map(tmp_path: Path) -> None:
    path = str(write(tmp_path / "a.parquet", ["a"]))
    labels = {}
    for column in ("label", "label_trusted"):
        (source,) = opened(Source(path=path, label_column=column))
        labels[column] = [decode_record(row).label.item() for row in source.iter_rows()]
    assert labels == {"label": [0], "label_trusted": [255]}
    with pytest.raises(InputError, match=r"a\.parquet lacks the column trusted; it has id, label"):
        opened(Source(path=path, label_column="trusted"))
    with pytest.raises(InputError, match=r"column sample of .* is int32; it must be binary"):
        opened(Source(path=path, label_column="sample"))


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (
            {"classes": ("sky", "road")},
            r"source 'b' \(\S+b\.parquet\) has other classes than source 'a' \(\S+a\.parquet\): class 1 is 'road', not",
        ),
        ({"classes": ("sky",)}, r"source 'b' .* than source 'a' .*: 1 classes, not 2; train on sources of one"),
        ({"classes": SPACE.classes, "dont_care": 9}, r"source 'b' .* than source 'a' .*: don't-care is 9, not 255"),
    ],
)
def test_sources_of_other_classes_are_refused_by_name(tmp_path: Path, space: dict[str, Any], message: str) -> None:
    paths = [write(tmp_path / "a.parquet", ["a"]), write(tmp_path / "b.parquet", ["a"], space=LabelSpace(**space))]
    with pytest.raises(InputError, match=message):
        opened(*(Source(path=str(path), name=path.stem) for path in paths))
    with pytest.raises(InputError, match=r"b\.parquet has the classes sky.*, but the recipe's are sky, sea"):
        opened(Source(path=str(paths[1])))


def test_a_set_without_a_dont_care_id_goes_with_one_that_has_it(tmp_path: Path) -> None:
    """`filter --regions` gives such an id to a set of label maps that are known everywhere."""
    plain = write(tmp_path / "a.parquet", ["a"], space=LabelSpace(classes=SPACE.classes))
    trusted = write(tmp_path / "b.parquet", ["a"])
    assert len(opened(Source(path=str(plain), name="a"), Source(path=str(trusted), name="b"))) == 2


def test_a_count_takes_the_same_records_wherever_they_are_stored(tmp_path: Path) -> None:
    ids = [f"r{index}" for index in range(60)]
    one = write(tmp_path / "one.parquet", ids, rows=7)
    for part in range(3):
        write(tmp_path / "parts" / f"{part}.parquet", ids[::-1][part::3], rows=5)

    def taken(path: Path, count: int | None, *, seed: int = 0, name: str = "real") -> list[str]:
        (source,) = opened(Source(path=str(path), name=name, count=count), seed=seed)
        found = keys(source)
        assert len(found) == source.rows == (count or 60)
        return [key.partition(":")[2] for key in found]

    ten = taken(one, 10)
    assert ten == sorted(ten, key=lambda name: int(name[1:]))  # in the order of the file
    assert set(taken(tmp_path / "parts", 10)) == set(ten) < set(taken(one, 20)) < set(taken(one, None)) == set(ids)
    assert set(taken(one, 10, seed=1)) != set(ten) != set(taken(one, 10, name="other"))
    # Uniform: 200 choices of 15 take each record 50 times, with a deviation of 6.
    chosen = [_choose(Source(path="x", count=15), ids, seed) for seed in range(200)]
    times = Counter(number for numbers in chosen if numbers is not None for number in numbers.tolist())
    assert set(times) == set(range(60))
    assert 20 < min(times.values()) <= max(times.values()) < 80
    with pytest.raises(InputError, match=r"source 'real' \(\S+\) has 60 records, fewer than its count 61; lower it"):
        taken(one, 61)


def test_a_round_has_every_record_once_without_weights() -> None:
    mixture = Mixture([3, 5], seed=4)
    for number in range(3):
        draws = [mixture.find(place) for place in range(8 * number, 8 * number + 8)]
        for source, rows in enumerate((3, 5)):
            assert [own for which, own in draws if which == source] == list(range(rows * number, rows * number + rows))
    orders = [[mixture.find(place)[0] for place in range(start, start + 8)] for start in (0, 8, 16)]
    assert len({tuple(order) for order in orders}) > 1
    assert orders[0] != [Mixture([3, 5], seed=5).find(place)[0] for place in range(8)]


@pytest.mark.parametrize(
    ("rows", "weights", "draws"),
    [
        ([300, 100], [1, 1], (500, 500)),
        ([3000, 1000], [3, 2], (2400, 1600)),
        ([20, 20], [1, 2], (333, 667)),
        ([4, 4, 4], [1, 1, 1], (334, 333, 333)),
        ([10, 10], [1, 1e-9], (999, 1)),
        ([7], [2], (1000,)),
    ],
)
def test_weights_are_shares_of_the_draws(rows: list[int], weights: list[float], draws: tuple[int, ...]) -> None:
    mixture = Mixture(rows, weights, seed=1)
    assert mixture.draws == draws
    found = Counter(mixture.find(place)[0] for place in range(mixture.round, 2 * mixture.round))
    assert [found[source] for source in range(len(rows))] == list(draws)


def test_any_place_is_found_without_those_before_it() -> None:
    mixture = Mixture([30, 10, 2], [1, 2, 3], seed=7)
    counts = [0, 0, 0]
    for place in range(2100):
        assert mixture.before(place) == counts
        source, own = mixture.find(place)
        assert own == counts[source]
        counts[source] += 1
    late = Mixture([30, 10, 2], [1, 2, 3], seed=7)
    assert late.find(2000) == mixture.find(2000)
    assert [Mixture([9]).find(place) for place in (0, 5, 99)] == [(0, 0), (0, 5), (0, 99)]
