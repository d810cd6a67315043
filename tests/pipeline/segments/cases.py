"""Small pictures with regions that are easy to follow, and the twin of the search that is easy to read."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.data.records import DatasetInfo, RecordWriter
from pipeline.labels import LabelSpace, class_channels
from pipeline.segments.bank import MemoryBank
from pipeline.segments.cut import cut_segments

SPACE = LabelSpace(classes=("sky", "land", "tree"), dont_care=9)


def scene(number: int, height: int = 48, width: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Label map, instance map and photograph: sky over land, two trees that touch, a corner that is unknown."""
    rng = np.random.default_rng(number)
    label = np.zeros((height, width), np.uint8)
    instance = np.zeros((height, width), np.uint8)
    label[int(rng.integers(height // 3, 2 * height // 3)) :] = 1
    for tree in (1, 2):
        top, left = int(rng.integers(4, height // 2)), int(rng.integers(2, width - 12))
        label[top : top + 16, left : left + 9] = 2
        instance[top : top + 16, left : left + 9] = tree
    label[:4, :4] = 9
    image = np.asarray([[90, 160, 230], [120, 90, 40], [30, 120, 30], [1, 2, 3]])[np.minimum(label, 3)]
    image = (image + rng.normal(0, 12, image.shape)).clip(0, 255).astype(np.uint8)
    return label, instance, image


def write_scenes(path: Path, numbers: range, *, instances: bool = True, space: LabelSpace = SPACE) -> Path:
    """A data set of scenes, `scene-NUMBER` each."""
    with RecordWriter(path, DatasetInfo(space)) as writer:
        for number in numbers:
            label, instance, image = scene(number)
            row = {"id": f"scene-{number}", "label": label, "image": image}
            writer.write({**row, "instance": instance} if instances else row)
    return path


def plain_best(
    bank: MemoryBank, label: np.ndarray, instance: np.ndarray | None, exclude: int | None = None
) -> list[tuple[int, float, float]]:
    """The oracle: every segment of the class compared in turn, as sets of pixels; number, IoU and context of each best.

    It has no short list, so it is that of the search only where a class has at most ten segments.
    """
    channels = class_channels(label, bank.space)
    height, width = channels.shape
    found = []
    for query in cut_segments(channels, instance, classes=3, least_area=bank.least_area):
        pixels = {(query.top + y, query.left + x) for y, x in zip(*np.nonzero(query.mask), strict=True)}
        best: tuple[float, int, float, float] | None = None
        for number in range(len(bank)):
            if bank.labels[number] != query.label or bank.pictures[number] == exclude:
                continue
            others = set(zip(*np.nonzero(bank.frame_mask(number, height, width)), strict=True))
            iou = len(pixels & others) / len(pixels | others)
            context = bank.contexts[bank.pictures[number]]
            same = total = 0
            for row in range(64):
                for column in range(64):
                    top, bottom = query.top * 64 / height, (query.top + query.mask.shape[0]) * 64 / height
                    left, right = query.left * 64 / width, (query.left + query.mask.shape[1]) * 64 / width
                    if row + 1 > top and row < bottom and column + 1 > left and column < right:
                        y, x = int((row + 0.5) * height / 64), int((column + 0.5) * width / 64)
                        total += 1
                        same += bool(context[row, column] == channels[y, x])
            overlap = same / (2 * total - same)
            if best is None or iou + overlap > best[0]:
                best = iou + overlap, number, iou, overlap
        if best is not None:
            found.append(best[1:])
    return found
