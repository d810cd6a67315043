"""Equal keys among many, in memory and through files."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest

from pipeline.data import equal_keys
from pipeline.data.equal_keys import EqualKeys, digests
from pipeline.errors import InputError


def slowly(texts: list[str]) -> list[tuple[int, int]]:
    """Each text that came before, and where it was first, by a dictionary."""
    first: dict[str, int] = {}
    return [(place, first[text]) for place, text in enumerate(texts) if first.setdefault(text, place) != place]


@pytest.mark.parametrize("in_memory", [1 << 24, 50])
@pytest.mark.parametrize("kinds", [1, 3, 300, 10**9])
def test_it_finds_what_a_dictionary_finds(
    kinds: int, in_memory: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(equal_keys, "KEYS_IN_MEMORY", in_memory)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    texts = [f"map {number}" for number in np.random.default_rng(kinds).integers(kinds, size=1000)]
    with EqualKeys() as keys:
        for start in range(0, len(texts), 37):
            keys.add(digests(texts[start : start + 37]))
        assert bool(list(tmp_path.iterdir())) == (in_memory == 50)
        later, first = keys.find()
    assert list(zip(later.tolist(), first.tolist(), strict=True)) == slowly(texts)
    assert not list(tmp_path.iterdir())


def test_keys_that_differ_in_one_half_are_not_equal() -> None:
    pairs = np.array([[5, 1], [5, 2], [6, 1], [5, 1], [5, 2], [7, 2]], np.uint64)
    with EqualKeys() as keys:
        keys.add(pairs)
        later, first = keys.find()
    assert (later.tolist(), first.tolist()) == ([3, 4], [0, 1])


def test_a_temporary_folder_without_room_is_told_with_the_fix(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(equal_keys, "KEYS_IN_MEMORY", 1)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with (
        EqualKeys() as keys,
        pytest.raises(InputError, match=r"none does not hold .* let TMPDIR name one"),
    ):
        keys.add(digests(["a", "b"]))


def test_no_keys_are_no_repeats() -> None:
    with EqualKeys() as keys:
        later, first = keys.find()
    assert len(later) == len(first) == 0
