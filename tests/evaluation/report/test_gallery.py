"""The gallery of a report: which pictures it has, how large they are, and what its script is told."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from evaluation.report import gallery
from evaluation.report.gallery import GalleryPicture, encode_gallery, gallery_fields, gallery_keys, gallery_table
from evaluation.report.side_by_side import side_by_side
from pipeline.data.images import decode_image
from tests.evaluation.conftest import SPACE

COLOURS = np.array([*SPACE.palette, (228, 228, 224)], np.uint8)


def picture(number: int, side: int = 200) -> GalleryPicture:
    """Noise: what takes the most bytes."""
    random = np.random.default_rng(number)
    images = random.integers(0, 256, (2, side, side, 3), np.uint8)
    maps = random.integers(-1, 3, (2, side, side)).astype(np.int16)
    scores = {"rank": 0.5, "accuracy": 0.25, "mean_iou": None, "feature_distance": 1.5, "texture_distance": None}
    return GalleryPicture(f"p{number}", 0, *images, *maps, scores, {0: 0.5, 2: 0.1234567}, ((0, 2, 0.25),))


def results(count: int) -> Any:
    names = [f"{number:04d}" for number in range(count)]
    return SimpleNamespace(ids=np.array(names), samples=np.zeros(count, np.int32))


def test_a_gallery_has_all_pictures_or_the_best_the_worst_and_a_spread_that_runs_share() -> None:
    assert gallery_keys(results(500), np.full(500, np.nan)) == [(f"{number:04d}", 0) for number in range(500)]
    chosen = []
    for seed in range(2):
        ranks = np.random.default_rng(seed).random(3000)
        ranks[:7] = np.nan
        keys = gallery_keys(results(3000), ranks)
        order = [int(index) for index in np.argsort(ranks) if not np.isnan(ranks[index])]
        assert {(f"{number:04d}", 0) for number in (*order[:50], *order[-50:])} <= set(keys)
        assert 400 <= len(keys) <= 500 and ("0000", 0) in keys and ("2999", 0) in keys
        chosen.append(set(keys))
    assert len(chosen[0] & chosen[1]) >= 400


def test_its_files_are_bounded_and_show_what_they_are_of(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = [picture(number) for number in range(4)]
    found = encode_gallery(pictures, COLOURS)
    assert (found.side, len(found.files)) == (160, 4)
    assert found.size == sum(len(content) for files in found.files for content in files.values())
    shown = decode_image(found.files[0]["label"])
    centres = (2 * np.arange(160) + 1) * 200 // 320
    assert (shown == COLOURS[pictures[0].label[centres[:, None], centres]]).all()  # -1 is the last colour
    assert decode_image(found.files[0]["image"]).shape == (160, 160, 3)
    monkeypatch.setattr(gallery, "LARGEST_BYTES", found.size // 2)
    smaller = encode_gallery(pictures, COLOURS)
    assert smaller.size <= found.size // 2 and smaller.side < 160 and len(smaller.files) == 4
    monkeypatch.setattr(gallery, "LARGEST_BYTES", 10_000)
    fewer = encode_gallery(pictures, COLOURS)
    assert fewer.size <= 10_000 and fewer.side == 48 and 0 < len(fewer.files) == len(fewer.pictures) < 4


def test_what_the_page_and_compare_are_told() -> None:
    found = encode_gallery([picture(0, 16)], COLOURS)
    fields = json.loads(json.dumps(gallery_fields(found, SPACE.classes), allow_nan=False))
    (told,) = fields["pictures"]
    assert (told["id"], told["ious"], told["errors"]) == ("p0", {"0": 0.5, "2": 0.123}, [[0, 2, 0.25]])
    assert told["scores"]["accuracy"] == 0.25 and told["scores"]["mean_iou"] is None
    assert {score["key"] for score in fields["scores"]} == set(told["scores"])
    assert told["image"].startswith("data:image/webp;base64,") and told["label"].startswith("data:image/png;base64,")
    (row,) = gallery_table(found).to_pylist()
    assert row["accuracy"] == 0.25 and row["photograph"]["bytes"] == found.files[0]["photograph"]


def test_runs_are_shown_side_by_side_where_they_differ_most() -> None:
    def run(accuracies: dict[str, float | None]) -> Any:
        pictures = [
            replace(picture(0, 8), id=name, scores={**picture(0, 8).scores, "accuracy": accuracy})
            for name, accuracy in accuracies.items()
        ]
        return SimpleNamespace(pictures=gallery_table(encode_gallery(pictures, COLOURS)))

    one = run({"a": 0.5, "b": 0.9, "c": None, "d": 0.4, "e": 0.1})
    other = run({"a": 0.5, "b": 0.2, "c": 0.3, "d": 0.5})
    (_, _, spread), (title, _, differing) = side_by_side([one, other])
    assert [row["name"] for row in spread] == ["a", "b", "c", "d"]  # "e" is not in both
    assert title == "Where runs differ most" and [row["name"] for row in differing] == ["b", "d"]
    assert [accuracy for _, accuracy in differing[0]["pictures"]] == [0.9, 0.2]
    assert side_by_side([one, SimpleNamespace(pictures=None)]) == []  # type: ignore[list-item]
