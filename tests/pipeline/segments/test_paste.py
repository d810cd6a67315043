"""Pasting: what is where, what was rewritten, in which order, and what is said of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.labels import LabelSpace, encode
from pipeline.segments import paste as paste_module
from pipeline.segments.bank import MemoryBank
from pipeline.segments.build import build_bank
from pipeline.segments.paste import SegmentPaster
from tests.pipeline.segments.cases import SPACE, scene, write_scenes


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> MemoryBank:
    folder = tmp_path_factory.mktemp("bank")
    build_bank(write_scenes(folder / "train.parquet", range(6)), folder / "bank.parquet", quiet=True)
    return MemoryBank(folder / "bank.parquet")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_every_pixel_is_that_of_the_source_that_is_named(bank: MemoryBank) -> None:
    paster = SegmentPaster(bank, SPACE)
    label, instance, _ = scene(60)
    pasted = paster.paste(label, instance, record="scene-60", rng=rng())
    sources = json.loads(paster.describe(pasted))
    assert len(sources) == len(pasted.matches) >= 3
    assert sum(source["pixels"] for source in sources) == sum(pasted.pixels)
    known = pasted.canvas[..., 3] == 255
    assert set(np.unique(pasted.canvas[..., 3])) == {0, 255} and not pasted.canvas[~known].any()
    # The trees are painted last: of each it shows the pixels of the record that is named, and nothing else.
    front = sources[-1]
    assert front["class"] == "tree" and front["pixels"] == bank.areas[front["segment"]]
    _, _, photograph = scene(int(front["record"].removeprefix("scene-")))
    mask = bank.frame_mask(front["segment"], 48, 40)
    inside = mask & known
    assert inside.sum() < mask.sum() and np.array_equal(pasted.canvas[inside, :3], photograph[inside])
    left, top, width, height = front["source_box"]
    assert mask[top : top + height, left : left + width].sum() == mask.sum()
    assert (pasted.label[mask] == 2).all()
    # What nothing was pasted on stays as it was, and don't-care too.
    assert pasted.instance is not None
    untouched = pasted.instance >= 0
    assert np.array_equal(pasted.label[untouched], label[untouched]) and (~untouched).sum() == sum(pasted.pixels)
    assert np.array_equal(pasted.instance[untouched], instance[untouched])
    assert len(np.unique(pasted.instance[~untouched])) == sum(pixels > 0 for pixels in pasted.pixels)


def test_inside_leaves_the_label_map_alone(bank: MemoryBank) -> None:
    label, instance, _ = scene(61)
    whole = SegmentPaster(bank, SPACE).paste(label, instance, record="x", rng=rng())
    inside = SegmentPaster(bank, SPACE, paste="inside").paste(label, instance, record="x", rng=rng())
    assert np.array_equal(inside.label, label) and not np.array_equal(whole.label, label)
    assert [match.segment for match in inside.matches] == [match.segment for match in whole.matches]
    assert sum(inside.pixels) < sum(whole.pixels)


def test_the_order_is_that_of_the_recipe_or_by_size(bank: MemoryBank) -> None:
    label, instance, _ = scene(62)

    def classes(*order: str) -> list[int]:
        pasted = SegmentPaster(bank, SPACE, order=order).paste(label, instance, record="x", rng=rng())
        places = [match.query.label for match in pasted.matches]
        assert places == [name for number, name in enumerate(places) if not number or name != -1]
        return list(dict.fromkeys(places))

    shares = {number: bank.areas[bank.of_class(number)].mean() for number in range(3)}
    assert classes() == sorted(shares, key=lambda number: -shares[number])
    assert classes("tree", "land", "sky") == [2, 1, 0]
    assert classes("land") == [number for number in classes() if number != 1] + [1]


def test_elision_goes_by_the_generator_and_retrieval_does_not(bank: MemoryBank) -> None:
    label, instance, _ = scene(63)
    paster = SegmentPaster(bank, SPACE)
    one, same, other = (paster.paste(label, instance, record="x", rng=rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(one.canvas, same.canvas) and paster.describe(one) == paster.describe(other)
    assert not np.array_equal(one.canvas, other.canvas)


def test_a_records_own_picture_is_refused_or_left_out(bank: MemoryBank) -> None:
    label, instance, _ = scene(3)
    with pytest.raises(InputError, match="a picture of that id is in the memory bank"):
        SegmentPaster(bank, SPACE).paste(label, instance, record="scene-3", rng=rng())
    paster = SegmentPaster(bank, SPACE, own_pictures="exclude")
    sources = json.loads(paster.describe(paster.paste(label, instance, record="scene-3", rng=rng())))
    assert sources and all(source["record"] != "scene-3" for source in sources)
    # Another record with the same label map, which is in the bank under another id, gets its twin.
    twin = json.loads(paster.describe(paster.paste(label, instance, record="scene-99", rng=rng())))
    assert {source["record"] for source in twin} == {"scene-3"}


def test_codes_alone_give_the_same_where_there_are_no_instances(
    bank: MemoryBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paste_module, "EDGE", 0.0)
    label, _, _ = scene(64)
    paster = SegmentPaster(bank, SPACE)
    pasted = paster.paste(label, None, record="x", rng=rng())
    codes, canvas = paster.paste_codes(encode(label, None, SPACE), record="x", rng=rng())
    assert np.array_equal(codes, encode(pasted.label, None, SPACE)) and np.array_equal(canvas, pasted.canvas)


def test_edges_stay_where_the_class_does(bank: MemoryBank) -> None:
    space = LabelSpace(**{**SPACE.model_dump(), "instance_edges": True})
    label, instance, _ = scene(65)
    given = encode(label, instance, space)
    codes, _ = SegmentPaster(bank, space).paste_codes(given, record="x", rng=rng())
    same = (codes - 1) // 2 == (given - 1) // 2
    assert np.array_equal(codes[same], given[same]) and not same.all()
    assert codes.min() >= 1 and codes.max() < space.codes


def test_a_map_without_any_segment_has_an_empty_canvas(bank: MemoryBank) -> None:
    label = np.full((20, 20), 9, np.uint8)
    pasted = SegmentPaster(bank, SPACE).paste(label, None, record="x", rng=rng())
    assert not pasted.canvas.any() and pasted.matches == () and np.array_equal(pasted.label, label)
    assert pasted.instance is None


def test_a_bank_of_other_classes_is_refused(bank: MemoryBank, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is of other classes"):
        SegmentPaster(bank, LabelSpace(classes=("a", "b", "c")))
