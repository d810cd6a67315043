"""Which of very many keys are equal, in linear time and bounded memory."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

KEYS_IN_MEMORY = 1 << 22
"""16 bytes each; further ones go to files in the temporary directory, at 24 bytes each."""
BUCKETS = 256
"""Of a billion keys, one has four million: about 300 MB while it is sorted."""
BLOCKS_AT_ONCE = 16
"""Of those that were added, on their way to the files: they open all of them."""

_ROW = np.dtype([("high", "<u8"), ("low", "<u8"), ("position", "<i8")])


def digests(texts: Iterable[str]) -> np.ndarray:
    """A digest of 128 bits of every text, uint64 `[len(texts), 2]`: equal ones are of equal texts.

    >>> same, other = digests(["a", "b"]), digests(["b"])
    >>> same.shape, bool((same[1] == other[0]).all()), bool((same[0] == other[0]).all())
    ((2, 2), True, False)
    """
    found = b"".join(hashlib.blake2b(text.encode(), digest_size=16).digest() for text in texts)
    return np.frombuffer(found, np.uint64).reshape(-1, 2)


class EqualKeys:
    """Takes the digests of keys in order, and finds those that came before. A context manager, for its files."""

    def __init__(self) -> None:
        self._blocks: list[np.ndarray] = []
        self._held = self._spilled = 0
        self._folder: Path | None = None

    def __enter__(self) -> EqualKeys:
        return self

    def __exit__(self, *_: object) -> None:
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    def add(self, keys: np.ndarray) -> None:
        """The digests of the next keys, uint64 `[n, 2]`."""
        self._blocks.append(keys)
        self._held += len(keys)
        if self._held > KEYS_IN_MEMORY:
            self._spill()

    def find(self) -> tuple[np.ndarray, np.ndarray]:
        """The positions of all keys that came before, int64 in rising order, and where each was first."""
        if self._folder:
            self._spill()
        found = [_repeats(*bucket) for bucket in (self._from_files() if self._folder else self._from_memory())]
        later = np.concatenate([pair[0] for pair in found])
        first = np.concatenate([pair[1] for pair in found])
        order = np.argsort(later)
        return later[order], first[order]

    def _from_memory(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        keys = np.concatenate([np.empty((0, 2), np.uint64), *self._blocks])
        self._blocks = [keys]
        numbers = _bucket(keys)
        for number in range(BUCKETS):
            positions = np.flatnonzero(numbers == number)
            yield keys[positions], positions

    def _from_files(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        assert self._folder
        for number in range(BUCKETS):
            path = self._folder / str(number)
            rows = np.fromfile(path, _ROW) if path.exists() else np.empty(0, _ROW)
            yield np.stack([rows["high"], rows["low"]], axis=1), rows["position"].astype(np.int64)

    def _spill(self) -> None:
        """Move what is held to the files of its buckets, behind what is there."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="spadework-keys-"))
        for start in range(0, len(self._blocks), BLOCKS_AT_ONCE):
            block = np.concatenate(self._blocks[start : start + BLOCKS_AT_ONCE])
            rows = np.empty(len(block), _ROW)
            rows["high"], rows["low"] = block[:, 0], block[:, 1]
            rows["position"] = np.arange(self._spilled, self._spilled + len(block))
            numbers = _bucket(block)
            order = np.argsort(numbers, kind="stable")
            ends = np.cumsum(np.bincount(numbers, minlength=BUCKETS))
            rows = rows[order]
            for number, part in enumerate(np.split(rows, ends[:-1])):
                if len(part):
                    with (self._folder / str(number)).open("ab") as file:
                        part.tofile(file)
            self._spilled += len(block)
        self._blocks, self._held = [], 0


def _bucket(keys: np.ndarray) -> np.ndarray:
    """uint8 `[n]`: equal keys are in one bucket."""
    return (keys[:, 0] >> np.uint64(56)).astype(np.uint8)


def _repeats(keys: np.ndarray, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the keys of a bucket, at rising positions: the places of those that came before, and of the first of each."""
    order = np.argsort(keys[:, 0], kind="stable")
    high = keys[order, 0]
    if not (high[1:] == high[:-1]).any():
        return np.empty(0, np.int64), np.empty(0, np.int64)
    order = np.lexsort((keys[:, 1], keys[:, 0]))  # stable: of equal keys the first one stays first
    same = np.concatenate([[False], (keys[order[1:]] == keys[order[:-1]]).all(axis=1)])
    # The place in `order` at which the run of equal keys begins that each one is in.
    begins = np.maximum.accumulate(np.where(same, 0, np.arange(len(order))))
    return positions[order[same]], positions[order[begins[same]]]
