"""ImageResults in files: whole, or found to be damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from evaluation.metrics.confusion import ConfusionMatrix
from evaluation.scoring.image_results import Confusions, ImageResults
from pipeline.errors import InputError


def results() -> ImageResults:
    random = np.random.default_rng(0)
    matrices = []
    for _ in range(3):
        matrix = ConfusionMatrix(2)
        matrix.update(random.integers(0, 2, (4, 4)).astype(np.int16), random.integers(0, 2, (4, 4)).astype(np.int16))
        matrices.append(matrix)
    return ImageResults(
        ids=np.array(["a", "b", "c"]),
        samples=np.zeros(3, np.int32),
        sizes=np.full((3, 2), 4, np.int32),
        confusions={"native": Confusions.of(matrices, 2)},
        boundaries={"native": random.integers(0, 9, (3, 2, 4)).astype(np.int32)},
        features=random.normal(size=(3, 5)).astype(np.float32),
        lpips=random.random(3, np.float32),
    )


def same(one: ImageResults, other: ImageResults) -> bool:
    return (
        all(
            np.array_equal(getattr(one, name), getattr(other, name)) for name in ("ids", "samples", "sizes", "features")
        )
        and np.array_equal(one.boundaries["native"], other.boundaries["native"])
        and np.array_equal(one.confusions["native"].pixels, other.confusions["native"].pixels)
        and one.lpips is not None
        and other.lpips is not None
        and np.array_equal(one.lpips, other.lpips)
    )


def test_what_is_damaged_is_refused_and_never_read_as_something_else(tmp_path: Path) -> None:
    generated, path = results(), tmp_path / "j.npz"
    generated.save(path)
    assert same(ImageResults.load(path), generated)
    whole = path.read_bytes()
    for length in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"j\.npz is damaged \("):
            ImageResults.load(path)
    refused = 0
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            assert same(ImageResults.load(path), generated), place  # dates and such do not count
        except InputError:
            refused += 1
    assert refused > len(whole) // 7 // 2
    with pytest.raises(FileNotFoundError):
        ImageResults.load(tmp_path / "none.npz")
