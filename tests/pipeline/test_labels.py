"""Label spaces, and label maps to codes, value by value."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from pipeline.errors import InputError
from pipeline.labels import LabelSpace, class_channels, colourise, distinct_colours, encode, instance_edges, one_hot

PLAIN = LabelSpace(classes=("sky", "sea"))
FULL = LabelSpace(classes=("sky", "sea"), palette=((1, 2, 3), (4, 5, 6)), dont_care=255, instance_edges=True)
X = True
O = False  # noqa: E741 (a picture of pixels)


def test_counts_of_channels_and_codes() -> None:
    assert (PLAIN.class_channels, PLAIN.channels, PLAIN.codes) == (2, 2, 5)
    assert (FULL.class_channels, FULL.channels, FULL.codes) == (3, 4, 7)
    edges = PLAIN.model_copy(update={"instance_edges": True})
    assert (edges.class_channels, edges.channels, edges.codes) == (2, 3, 5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"classes": []}, "at least 1 item"),
        ({"classes": [str(index) for index in range(4097)]}, "at most 4096 items"),
        ({"classes": ["a", "b"], "palette": [(1, 2, 3)]}, "palette has 1 colours for 2 classes; give one each"),
        ({"classes": ["b", "a", "b", "a", "c"]}, "class names repeat: a, b"),
        ({"classes": ["a", "b"], "dont_care": 1}, "dont_care is 1, which is class 'b'; it must be 2 or more"),
        ({"classes": ["a"], "dont_care": 65536}, "less than or equal to 65535"),
        ({"classes": ["a"], "palette": [(0, 0, 256)]}, "less than or equal to 255"),
        ({"classes": ["a"], "colours": []}, "Extra inputs are not permitted"),
    ],
)
def test_what_is_no_label_space(fields: dict, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        LabelSpace(**fields)
    assert message in str(caught.value)


def test_the_bounds_are_allowed() -> None:
    assert LabelSpace(classes=("a", "b"), dont_care=2).class_channels == 3
    assert LabelSpace(classes=("a",), dont_care=65535).dont_care == 65535
    assert LabelSpace(classes=tuple(str(index) for index in range(4096))).codes == 8193


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64])
def test_class_channels(dtype: type) -> None:
    label = np.array([[0, 1, 255], [255, 1, 0]], dtype)
    channels = class_channels(label, FULL)
    assert channels.dtype == np.int32
    assert channels.tolist() == [[0, 1, 2], [2, 1, 0]]
    known = class_channels(np.array([[1, 0]], dtype), FULL)
    assert (known.dtype, known.tolist()) == (np.int32, [[1, 0]])


@pytest.mark.parametrize(
    ("label", "space", "message"),
    [
        ([[0, 2]], PLAIN, "label map has id 2, but the classes are 0 to 1 and there is no don't-care id"),
        ([[0, 2, 255]], FULL, "label map has id 2, but the classes are 0 to 1 and don't-care is 255"),
        ([[-1, 0, 1]], FULL, "label map has id -1, but"),
        ([[5, 4, 3, 2]], PLAIN, "label map has id 2, 3, 4, 5, but"),
        ([[9, 8, 7, 6, 5]], PLAIN, "label map has id 5, 6, 7, 8, 9, but"),
        ([[9, 8, 7, 6, 5, 4]], PLAIN, "label map has id 4, 5, 6, 7, 8, ..., but"),
        ([[0, 255]], PLAIN, "for masks of 0 and 255, give prepare folder --map-ids with the lines '0 0' and '255 1'"),
        ([[0, 254]], PLAIN, "--map-ids, which says what each id becomes"),
    ],
)
def test_other_ids_are_named(label: list[list[int]], space: LabelSpace, message: str) -> None:
    with pytest.raises(InputError) as caught:
        class_channels(np.array(label, np.int16), space)
    assert message in str(caught.value)


def test_an_id_beyond_the_type_of_the_map_is_not_wrapped() -> None:
    """Id 300 is not id 44, nor is don't-care 65535 the byte 255."""
    with pytest.raises(InputError, match="has id 300"):
        class_channels(np.array([[300]], np.uint16), PLAIN)
    with pytest.raises(InputError, match="has id 255"):
        class_channels(np.array([[255]], np.uint8), LabelSpace(classes=("a",), dont_care=65535))


def test_one_other_pixel_makes_edges_of_itself_and_its_four_neighbours() -> None:
    instance = np.zeros((5, 5), np.int32)
    instance[2, 2] = 7
    assert instance_edges(instance).tolist() == [
        [O, O, O, O, O],
        [O, O, X, O, O],
        [O, X, X, X, O],
        [O, O, X, O, O],
        [O, O, O, O, O],
    ]


@pytest.mark.parametrize(
    ("corner", "expected"),
    [
        ((0, 0), [[X, X, O], [X, O, O]]),
        ((0, 2), [[O, X, X], [O, O, X]]),
        ((1, 0), [[X, O, O], [X, X, O]]),
        ((1, 2), [[O, O, X], [O, X, X]]),
    ],
)
def test_edges_in_the_corners(corner: tuple[int, int], expected: list[list[bool]]) -> None:
    """The border of the picture is no edge, and the other side of the picture is no neighbour."""
    instance = np.zeros((2, 3), np.uint16)
    instance[corner] = 1
    assert instance_edges(instance).tolist() == expected


@pytest.mark.parametrize(
    ("instance", "expected"),
    [
        ([[1, 1, 2, 2]], [[O, X, X, O]]),  # the neighbour to the right, then the one to the left
        ([[1], [1], [2], [2]], [[O], [X], [X], [O]]),  # below, above
        ([[1, 2], [2, 1]], [[X, X], [X, X]]),
        ([[3, 3], [3, 3]], [[O, O], [O, O]]),
        ([[5]], [[O]]),
    ],
)
def test_edges_by_hand(instance: list[list[int]], expected: list[list[bool]]) -> None:
    edges = instance_edges(np.array(instance))
    assert edges.dtype == bool
    assert edges.tolist() == expected


def test_encode() -> None:
    label = np.array([[0, 1, 255], [0, 1, 255]], np.uint8)
    instance = np.array([[0, 0, 0], [0, 0, 4]], np.int32)
    codes = encode(label, instance, FULL)
    assert codes.dtype == np.int32
    assert codes.tolist() == [[1, 3, 6], [1, 4, 6]]
    plain = FULL.model_copy(update={"instance_edges": False})
    assert encode(label, instance, plain).tolist() == [[1, 3, 5], [1, 3, 5]]
    assert encode(label, None, plain).tolist() == [[1, 3, 5], [1, 3, 5]]


def test_encode_refuses_what_it_needs_and_lacks() -> None:
    label = np.zeros((2, 3), np.uint8)
    with pytest.raises(InputError, match="uses instance edges, but the record has no instance map"):
        encode(label, None, FULL)
    with pytest.raises(InputError, match="instance map is 2x3 but its label map is 3x2"):
        encode(label, np.zeros((3, 2), np.uint8), FULL)


@pytest.mark.parametrize("dtype", [None, torch.float64, torch.bfloat16])
def test_one_hot(dtype: torch.dtype | None) -> None:
    codes = torch.tensor([[[1, 3], [5, 6]], [[2, 4], [1, 1]]], dtype=torch.int32)
    planes = one_hot(codes, FULL, dtype)
    assert planes.dtype == (dtype or torch.float32)
    assert planes.tolist() == [
        [[[1, 0], [0, 0]], [[0, 1], [0, 0]], [[0, 0], [1, 1]], [[0, 0], [0, 1]]],
        [[[1, 0], [1, 1]], [[0, 1], [0, 0]], [[0, 0], [0, 0]], [[1, 1], [0, 0]]],
    ]
    plain = FULL.model_copy(update={"instance_edges": False})
    assert torch.equal(one_hot(codes, plain, dtype), planes[:, :3])


def test_colours() -> None:
    assert FULL.colour_table().tolist() == [[1, 2, 3], [4, 5, 6], [0, 0, 0]]
    picture = colourise(np.array([[1, 255, 0]], np.uint8), FULL)
    assert picture.dtype == np.uint8
    assert picture.tolist() == [[[4, 5, 6], [0, 0, 0], [1, 2, 3]]]


def test_made_up_colours_are_distinct_and_always_the_same() -> None:
    assert distinct_colours(3) == [(156, 22, 22), (32, 88, 223), (177, 233, 99)]
    many = distinct_colours(200)
    assert len(set(many)) == 200
    assert many[:3] == distinct_colours(3)
    assert LabelSpace(classes=("a", "b")).palette == tuple(many[:2])
    assert LabelSpace(classes=("a", "b"), palette=()).palette == tuple(many[:2])
