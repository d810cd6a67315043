"""Each rule of the protocols on arrays that can be checked by eye."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from evaluation.judge import Judge, Picture
from evaluation.protocols import CITYSCAPES_TRAIN_IDS, PRESETS, VOID, Protocol, find_protocol
from evaluation.segmenters.base import Prediction, Scales, Segmenter
from pipeline.errors import InputError
from pipeline.labels import LabelSpace

SPACE = LabelSpace(classes=("a", "b", "c"), dont_care=255)


class Brightness(Segmenter):
    """Sees class 0 where a picture is dark, 1 where it is grey 2 where it is bright; remembers its input."""

    kind = "brightness"
    classes = SPACE.classes
    feature_dimensions = 3
    feature_name = "mean colour"

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[tuple[int, ...], str]] = []

    def forward(self, images: torch.Tensor, *, scales: Scales = "own") -> Prediction:
        self.seen.append((tuple(images.shape), scales))
        levels = torch.tensor([0.0, 128.0, 255.0]).view(1, 3, 1, 1)
        return Prediction(-(images.mean(1, keepdim=True) - levels).abs(), images.mean((2, 3)))

    def describe(self) -> dict:
        return {}


def picture(label: np.ndarray, size: int) -> Picture:
    """A picture of the classes of a label map, at another size."""
    classes = np.where(label == 255, 1, label)
    factor = size // len(label)
    grey = np.array([0, 128, 255], np.uint8)[np.repeat(np.repeat(classes, factor, 0), factor, 1)]
    return Picture("x", 0, np.repeat(grey[..., None], 3, 2), label)


LABEL = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 255, 255], [2, 2, 255, 255]], np.uint8)


def test_label_maps_are_compared_at_the_size_that_the_protocol_says() -> None:
    at_picture, at_label = Protocol(name="a"), Protocol(name="b", label_size="label")
    segmenter = Brightness()
    judged = Judge(segmenter, SPACE, [at_picture, at_label]).judge([picture(LABEL, 8)])
    assert judged is not None
    assert judged.confusions["a"].total().pixels == 64
    assert judged.confusions["b"].total().pixels == 16
    for name in "ab":
        assert judged.confusions[name].total().accuracy() == 1
        assert judged.confusions[name].total().accuracy_void_as_error() == 0.75
    # Both protocols were served by one pass.
    assert segmenter.seen == [((1, 3, 8, 8), "own")]


@pytest.mark.parametrize(
    ("protocol", "shape"),
    [
        (Protocol(name="x"), (8, 8)),
        (Protocol(name="x", input_size="label"), (4, 4)),
        (Protocol(name="x", input_size=16, input_filter="bilinear"), (16, 16)),
        (PRESETS["gan-compression"], (4, 4)),
        (PRESETS["gan-compression-cityscapes"], (8, 8)),
        (PRESETS["imaginaire"], (512, 512)),
    ],
)
def test_input_sizes(protocol: Protocol, shape: tuple[int, int]) -> None:
    segmenter = Brightness()
    judged = Judge(segmenter, SPACE, [protocol]).judge([picture(LABEL, 8)])
    assert judged is not None
    assert segmenter.seen == [((1, 3, *shape), protocol.scales)]
    assert judged.confusions[protocol.name].total().accuracy() > 0.9  # resampled borders are between two classes


def test_single_scale_reaches_the_segmenter() -> None:
    segmenter = Brightness()
    Judge(segmenter, SPACE, [PRESETS["native"], PRESETS["oasis"]]).judge([picture(LABEL, 8)])
    assert [scales for _, scales in segmenter.seen] == ["own", "single"]


def test_wide_pictures_keep_their_shape_at_a_long_side() -> None:
    images = torch.zeros(1, 3, 100, 200)
    assert Protocol(name="x", input_size=512).input(images, (1, 1)).shape == (1, 3, 256, 512)


def test_cubic_enlargement_stays_in_range() -> None:
    checks = torch.tensor([[0.0, 255.0], [255.0, 0.0]]).view(1, 1, 2, 2).repeat(1, 3, 4, 4)
    enlarged = Protocol(name="x", input_size="label").input(checks, (20, 20))
    assert (enlarged.min() >= 0).all()
    assert (enlarged.max() <= 255).all()


def test_label_mappings() -> None:
    raw = LabelSpace(classes=tuple(f"id {index}" for index in range(35)))
    cityscapes = Protocol(name="x", label_mapping="cityscapes_train_ids")
    label = np.arange(35, dtype=np.uint8)[None]
    mapped = cityscapes.target(label, raw, (1, 35))[0]
    assert [int(mapped[index]) for index in CITYSCAPES_TRAIN_IDS] == list(range(19))
    assert (mapped == VOID).sum() == 35 - 19
    ade = LabelSpace(classes=("other", *(f"class {index}" for index in range(150))))
    shifted = Protocol(name="x", label_mapping="ade20k_shift").target(np.array([[0, 1, 150]], np.uint8), ade, (1, 3))
    assert shifted.tolist() == [[VOID, 0, 149]]
    coco = LabelSpace(classes=tuple(f"thing {index}" for index in range(182)), dont_care=255)
    kept = Protocol(name="x", label_mapping="coco_stuff").target(np.array([[0, 181, 255]], np.uint8), coco, (1, 3))
    assert kept.tolist() == [[0, 181, VOID]]


def test_same_classes_keep_their_ids_and_dont_care_is_void() -> None:
    target = PRESETS["native"].target(np.array([[0, 2, 255]], np.uint8), SPACE, (1, 3))
    assert target.tolist() == [[0, 2, VOID]]
    with pytest.raises(InputError, match="label map has id 7"):
        PRESETS["native"].target(np.array([[7]], np.uint8), SPACE, (1, 1))


def test_presets_can_be_overridden_and_explain_what_they_refuse() -> None:
    changed = find_protocol("oasis", {"averaging": "all"})
    assert (changed.averaging, changed.scales) == ("all", "single")
    with pytest.raises(InputError, match="averaging: Input should be 'present', 'union' or 'all'"):
        find_protocol("oasis", {"averaging": "median"})
    with pytest.raises(InputError, match="choose from native, spade, oasis, gan-compression"):
        find_protocol("paper")
