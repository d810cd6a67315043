from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.datasets.convert import Split
from pipeline.datasets.splits import divide
from pipeline.errors import InputError


@dataclass(frozen=True)
class Item:
    id: str


FRAMES = [Item(f"{video}/v{video}_{frame:04d}") for video in range(20) for frame in range(10)]


def names(splits: list[Split]) -> dict[str, set[str]]:
    return {split.name: {item.id for item in split.items} for split in splits}


def test_frames_of_a_video_stay_together() -> None:
    found = names(divide(FRAMES, validation=0.3, group_by=r"v(\d+)_"))
    videos = {split: {name.split("/")[0] for name in ids} for split, ids in found.items()}
    assert not videos["train"] & videos["validation"]
    assert videos["train"] | videos["validation"] == {str(video) for video in range(20)}
    assert 2 <= len(videos["validation"]) <= 10
    # Without a group in the pattern what it finds as a whole counts, here the folder.
    assert names(divide(FRAMES, validation=0.3, group_by="^[^/]*")) == found
    # One by one, most videos are on both sides.
    alone = names(divide(FRAMES, validation=0.3))
    assert {name.split("/")[0] for name in alone["validation"]} & {name.split("/")[0] for name in alone["train"]}
    # A video that is added moves no other.
    more = names(divide([*FRAMES, Item("20/v20_0000")], validation=0.3, group_by=r"v(\d+)_"))
    assert found["validation"] <= more["validation"]


def write(tmp_path: Path, text: str) -> Path:
    (tmp_path / "split.txt").write_text(text)
    return tmp_path / "split.txt"


def test_a_file_says_who_is_where(tmp_path: Path) -> None:
    items = [Item(name) for name in ("aachen/a", "aachen/b", "bonn/c", "bonn/d")]
    file = write(tmp_path, "# name split\nleftImg8bit/aachen/a_leftImg8bit.png,train\nb val\nbonn/c test\n")
    splits = divide(items, validation=0.1, split=file, endings=["_leftImg8bit"])
    assert names(splits) == {"train": {"aachen/a"}, "validation": {"aachen/b"}}
    assert [(entry.id, entry.reason) for entry in splits[0].skipped] == [
        ("bonn/c", f"in no split of {file}"),
        ("bonn/d", f"in no split of {file}"),
    ]


def test_names_alone_are_those_of_validation(tmp_path: Path) -> None:
    items = [Item(name) for name in "abcd"]
    assert names(divide(items, validation=0.9, split=write(tmp_path, "b.png\nd.png\n"))) == {
        "train": {"a", "c"},
        "validation": {"b", "d"},
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a train\nb\n", "line 2: 'b' has no split"),
        ("a\nb val\n", "line 2: 'b val' has a split, and lines above have none"),
        ("a train\na val\n", "line 2: 'a' is in another split above"),
        ("", "is empty"),
        ("z train\n", "names no record: it has z, and there is a"),
        ("a test\n", "puts no record into train or validation"),
        ("1/b train\n2/b val\n", "has 'b' in two splits; write the folders before the name"),
        ("a train\nb val\n", "has 'v/a' in train and 'v/b' in validation, which --group-by puts together"),
    ],
)
def test_bad_split_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    items = [Item("a"), Item("b")] if "together" not in message else [Item("v/a"), Item("v/b")]
    with pytest.raises(InputError, match=message):
        divide(items, validation=0.1, split=write(tmp_path, text), group_by="^.")


@pytest.mark.parametrize(("pattern", "message"), [("(", "is no regular expression"), ("frame", "finds nothing in 'a'")])
def test_bad_patterns_are_refused(pattern: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        divide([Item("a")], validation=0.1, group_by=pattern)
