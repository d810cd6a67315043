"""What a label file's numbers mean, for files that optimisers and other programs wrote."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.data.images import decode_image, decode_label
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
