from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from pipeline.data.images import decode_image, decode_instance, decode_label, encode_png, resize_ids, resize_image
from pipeline.errors import InputError


def encoded(picture: Image.Image, kind: str = "PNG", **options: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_keeps_ids(dtype: type) -> None:
    ids = np.arange(12, dtype=dtype).reshape(3, 4) * (np.iinfo(dtype).max // 11)
    decoded = decode_label(encode_png(ids))
    assert decoded.dtype == dtype
    np.testing.assert_array_equal(decoded, ids)


def test_wide_integers_are_stored_if_they_fit() -> None:
    assert decode_label(encode_png(np.array([[0, 65535]], np.int32))).tolist() == [[0, 65535]]
    wide = [[0, 65536, 78000, 2**24 - 1]]
    assert decode_instance(encode_png(np.array(wide, np.int32))).tolist() == wide
    with pytest.raises(InputError, match="ids from 0 to 16777216; a PNG holds 0 to 16777215"):
        encode_png(np.array([[0, 2**24]], np.int32))


def test_the_index_of_a_palette_png_is_the_id() -> None:
    picture = Image.frombytes("P", (3, 1), bytes([2, 0, 1]))
    picture.putpalette([200, 10, 10, 10, 200, 10, 10, 10, 200])
    assert decode_label(encoded(picture)).tolist() == [[2, 0, 1]]


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_ids_of_fewer_than_eight_bits_are_not_stretched(bits: int) -> None:
    """Such files are written by hand: Pillow reads but does not write grey PNGs of 2 and 4 bits."""
    import struct
    import zlib

    width = 8 // bits
    packed = sum(index % 2**bits << (8 - bits * (index + 1)) for index in range(width))
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, 1, bits, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes([0, packed]))),
        (b"IEND", b""),
    ]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )
    assert decode_label(data).tolist() == [[index % 2**bits for index in range(width)]]


def test_a_32_bit_tiff_holds_large_instance_ids() -> None:
    ids = np.array([[70000, 1]], np.int32)
    decoded = decode_label(encoded(Image.fromarray(ids), "TIFF"))
    assert decoded.dtype == np.int32
    assert decoded.tolist() == [[70000, 1]]
    with pytest.raises(InputError, match="negative id -1"):
        decode_label(encoded(Image.fromarray(np.array([[-1, 1]], np.int32)), "TIFF"))


def test_lossy_and_odd_label_maps_are_refused() -> None:
    grey = Image.fromarray(np.zeros((8, 8), np.uint8))
    with pytest.raises(InputError, match="JPEG label map, a format that may change ids; save it as PNG"):
        decode_label(encoded(grey, "JPEG"))
    with pytest.raises(InputError, match="label map of mode 'LA'; save it as 8-bit or 16-bit grey or palette PNG"):
        decode_label(encoded(grey.convert("LA")))


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK"])
def test_photographs_of_other_modes_become_rgb(mode: str) -> None:
    picture = Image.new("RGB", (5, 4), (200, 200, 200)).convert(mode)
    decoded = decode_image(encoded(picture, "JPEG" if mode == "CMYK" else "PNG"))
    assert decoded.shape == (4, 5, 3)
    assert abs(decoded.astype(int) - 200).max() <= 4


def test_every_truncation_of_a_picture_is_refused() -> None:
    rng = np.random.default_rng(0)
    data = encode_png(rng.integers(0, 255, (16, 16, 3), np.uint8))
    for length in [*range(0, len(data), 37), len(data) - 1]:
        with pytest.raises(InputError, match=r"cannot be decoded|is empty"):
            decode_image(data[:length])


def test_a_flipped_byte_is_refused_or_changes_nothing_but_pixels() -> None:
    """Whatever the damage, the answer is an array of some size or an `InputError`, never another exception."""
    data = encode_png(np.arange(256, dtype=np.uint8).reshape(16, 16))
    refused = 0
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 0xFF
        try:
            assert decode_label(bytes(damaged)).ndim == 2
        except InputError:
            refused += 1
    assert refused > len(data) // 2


@pytest.mark.parametrize(("height", "width"), [(5, 9), (16, 16), (37, 40)])
def test_nearest_resizing_agrees_with_pillow(height: int, width: int) -> None:
    ids = np.random.default_rng(0).integers(0, 255, (16, 20), np.uint8)
    expected = np.asarray(Image.fromarray(ids).resize((width, height), Image.Resampling.NEAREST))
    np.testing.assert_array_equal(resize_ids(ids, height, width), expected)


def test_resizing_to_the_same_size_changes_nothing() -> None:
    image = np.random.default_rng(0).integers(0, 255, (6, 7, 3), np.uint8)
    np.testing.assert_array_equal(resize_image(image, 6, 7), image)
