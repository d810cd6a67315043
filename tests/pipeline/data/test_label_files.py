"""What a label file's numbers mean, for files that optimisers and other programs wrote."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.data.images import check_upright, decode_image, decode_label
from pipeline.errors import InputError

PALETTE = {(70, 130, 180): 0, (107, 142, 35): 1, (128, 64, 128): 2}
IDS = np.array([[2, 0, 1], [1, 2, 2]], np.uint8)


def _saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def _indexed(indices: np.ndarray, colours: list[int]) -> Image.Image:
    picture = Image.fromarray(indices.astype(np.uint8), "L").convert("P")
    picture.putdata(indices.ravel().tolist())
    picture.putpalette(colours)
    return picture


def test_colours_stored_with_a_palette_are_colours_where_a_palette_is_given() -> None:
    order = [2, 0, 1]  # by first use, as an optimiser has it
    colours = [list(PALETTE)[number] for number in order]
    stored = np.array([[order.index(number) for number in row] for row in IDS])
    data = _saved(_indexed(stored, [value for colour in colours for value in colour]), "PNG")
    assert decode_label(data, PALETTE).tolist() == IDS.tolist()
    assert decode_label(data).tolist() == stored.tolist()


def test_grey_stored_with_a_palette_is_grey() -> None:
    values = [0, 7, 11, 33]
    data = _saved(_indexed(np.array([[0, 1], [2, 3]]), [value for grey in values for value in [grey] * 3]), "PNG")
    assert decode_label(data).tolist() == [[0, 7], [11, 33]]


def test_black_and_white_palettes_leave_two_meanings_and_are_refused() -> None:
    with pytest.raises(InputError, match="0 and 1 or 0 and 255"):
        decode_label(_saved(_indexed(np.array([[0, 1]]), [0, 0, 0, 255, 255, 255]), "PNG"))


def test_bmp_of_two_colours_has_indices() -> None:
    data = _saved(_indexed(np.array([[0, 1, 1], [1, 0, 0]]), [0, 0, 0, 255, 255, 255]), "BMP")
    assert decode_label(data).tolist() == [[0, 1, 1], [1, 0, 0]]


@pytest.mark.parametrize("plain", [False, True])
def test_pgm_values_are_not_scaled(plain: bool) -> None:
    head = b"P2" if plain else b"P5"
    body = b"0 1 2\n5 5 0\n" if plain else bytes([0, 1, 2, 5, 5, 0])
    assert decode_label(head + b"\n# ids\n3 2\n5\n" + body).tolist() == [[0, 1, 2], [5, 5, 0]]


def test_pgm_of_sixteen_bits_is_not_scaled() -> None:
    data = b"P5 3 1 1000\n" + np.array([0, 999, 1000], ">u2").tobytes()
    assert decode_label(data).tolist() == [[0, 999, 1000]]


@pytest.mark.parametrize("decode", [decode_image, decode_label])
def test_turned_tiff_pictures_are_refused(decode: Any) -> None:
    data = _saved(Image.fromarray(IDS), "TIFF", tiffinfo={274: 3})
    with pytest.raises(InputError, match="orientation tag"):
        decode(data)


def test_postscript_starts_no_program() -> None:
    with pytest.raises(InputError, match="not a picture"):
        decode_image(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 2 2\n%%EndComments\n")


def test_four_bit_tiff_is_not_scaled() -> None:
    head = struct.pack("<2sHI", b"II", 42, 10) + bytes([0x01, 0xF3])  # Two pixels a byte: 0 1 15 3.
    tags = [(256, 4), (257, 1), (258, 4), (259, 1), (262, 1), (273, 8), (277, 1), (278, 1), (279, 2)]
    data = (
        head + struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHIHH", t, 3, 1, v, 0) for t, v in tags) + bytes(4)
    )
    assert decode_label(data).tolist() == [[0, 1, 15, 3]]
    inverted = data.replace(struct.pack("<HHIHH", 262, 3, 1, 1, 0), struct.pack("<HHIHH", 262, 3, 1, 0, 0))
    with pytest.raises(InputError, match="stores white as 0"):
        decode_label(inverted)


def test_an_rgb_label_map_of_greys_is_read_by_the_palette() -> None:
    palette = {(0, 0, 0): 3, (255, 255, 255): 1}
    for picture in (Image.fromarray(np.array([[0, 255]], np.uint8)), Image.fromarray(np.array([[False, True]]))):
        assert decode_label(_saved(picture, "PNG"), palette).tolist() == [[3, 1]]
    with pytest.raises(InputError, match="both ids and colours"):
        decode_label(_saved(Image.fromarray(np.array([[0, 1]], np.uint8)), "PNG"), {(0, 0, 0): 1, (1, 1, 1): 0})


def test_values_beyond_the_maximum_of_a_pgm_are_refused() -> None:
    with pytest.raises(InputError, match="beyond the 5 of its header"):
        decode_label(b"P5 2 1 5\n" + bytes([5, 7]))
    with pytest.raises(InputError, match="maximum is not 255"):
        decode_label(b"P6 1 1 5\n" + bytes([5, 0, 1]), PALETTE)


def test_large_label_maps_are_no_bombs() -> None:
    large = Image.new("1", (14000, 14000))
    large.putpixel((13999, 13999), 1)
    ids = decode_label(_saved(large, "PNG"))
    assert ids.shape == (14000, 14000) and ids.sum() == 1 == ids[-1, -1]


def test_photographs_with_an_orientation_are_refused_where_data_sets_are_made() -> None:
    exif = Image.Exif()
    exif[274] = 3
    picture = Image.new("RGB", (4, 3))
    check_upright(_saved(picture, "JPEG"))
    with pytest.raises(InputError, match="EXIF orientation 3"):
        check_upright(_saved(picture, "JPEG", exif=exif))
