"""Whatever Pillow can write of a label map is read as the array that went in, or refused.

`LABEL_FUZZ_EXAMPLES=10000 pytest tests/pipeline/data/test_label_fuzz.py` is the long form.
"""

from __future__ import annotations

import io
import os
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from pipeline.data.images import check_upright, decode_image, decode_instance, decode_label, encode_png
from pipeline.errors import InputError

EXAMPLES = int(os.environ.get("LABEL_FUZZ_EXAMPLES", "200"))
fuzz = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9))
COLOURS = st.tuples(*[st.integers(0, 255)] * 3)
FORMATS = ("PNG", "TIFF", "BMP", "GIF", "PPM")


def saved(picture: Image.Image, kind: str, options: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    try:
        picture.save(buffer, kind, **options)
    except (OSError, ValueError, KeyError, RuntimeError):
        assume(False)  # a mode or an option that the format does not have
    return buffer.getvalue()


@st.composite
def options(draw: st.DrawFn, kind: str) -> dict[str, Any]:
    """What a writer of a format can be told."""
    found: dict[str, Any] = {}
    if kind == "PNG":
        found["optimize"] = draw(st.booleans())
        found["compress_level"] = draw(st.integers(0, 9))
        if draw(st.booleans()):
            found["transparency"] = draw(st.integers(0, 3))
        if draw(st.booleans()):
            found["bits"] = draw(st.sampled_from([1, 2, 4, 8]))
    if kind == "TIFF":
        found["compression"] = draw(st.sampled_from([None, "tiff_lzw", "tiff_deflate", "packbits"]))
        if draw(st.booleans()):
            found["tiffinfo"] = {274: draw(st.integers(1, 8))}
    if kind == "GIF":
        found["optimize"] = draw(st.booleans())
        found["interlace"] = draw(st.booleans())
    return found


def equal_or_refused(data: bytes, ids: np.ndarray, palette: Any = None) -> None:
    try:
        found = decode_label(data, palette)
    except InputError:
        return
    assert found.shape == ids.shape and found.tolist() == ids.tolist()


@fuzz
@given(data=st.data())
def test_grey_label_maps(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(FORMATS))
    dtype, most = data.draw(st.sampled_from([(np.uint8, 1), (np.uint8, 15), (np.uint8, 255), (np.uint16, 65535)]))
    assume(kind != "GIF" or most < 256)  # Pillow's writer cuts to eight bits.
    ids = data.draw(arrays(dtype, SHAPES, elements=st.integers(0, most)))
    picture = Image.fromarray(ids)
    if most == 1 and kind != "GIF" and data.draw(st.booleans()):  # Pillow writes True into a GIF as 255.
        picture = Image.fromarray(ids.astype(bool))
    elif data.draw(st.booleans()):
        picture = Image.fromarray(ids.astype(np.int32))
    told = data.draw(options(kind))
    assume("bits" not in told)  # only of indices
    file = saved(picture, kind, told)
    equal_or_refused(file, ids)


@fuzz
@given(data=st.data())
def test_indices_with_colours(data: st.DataObject) -> None:
    """Without a palette of the user's the indices are the ids; GIF's writer numbers colours anew and is left out."""
    kind = data.draw(st.sampled_from(["PNG", "TIFF", "BMP"]))
    colours = data.draw(st.lists(COLOURS, min_size=2, max_size=16, unique=True))
    assume(any(len(set(colour)) > 1 for colour in colours))
    ids = data.draw(arrays(np.uint8, SHAPES, elements=st.integers(0, len(colours) - 1)))
    picture = Image.fromarray(ids).convert("P")
    picture.putdata(ids.ravel().tolist())
    picture.putpalette([value for colour in colours for value in colour])
    told = data.draw(options(kind))
    assume(told.get("bits", 8) >= max(1, (len(colours) - 1).bit_length()))
    equal_or_refused(saved(picture, kind, told), ids)


@fuzz
@given(data=st.data())
def test_colours_with_a_palette(data: st.DataObject) -> None:
    """However the colours are stored, as RGB, with a palette in any order, or in grey."""
    kind = data.draw(st.sampled_from(FORMATS))
    colours = data.draw(st.lists(COLOURS, min_size=1, max_size=12, unique=True))
    numbers = data.draw(st.permutations(range(len(colours))))
    palette = dict(zip(colours, numbers, strict=True))
    places = data.draw(arrays(np.uint8, SHAPES, elements=st.integers(0, len(colours) - 1)))
    ids = np.array(numbers)[places]
    picture: Image.Image = Image.fromarray(np.array(colours, np.uint8)[places])
    match data.draw(st.sampled_from(["rgb", "rgba", "palette", "grey"])):
        case "rgba":
            picture = picture.convert("RGBA")
        case "palette":
            order = data.draw(st.permutations(range(len(colours))))
            picture = Image.fromarray(np.array([order.index(n) for n in range(len(colours))], np.uint8)[places])
            picture = picture.convert("P")
            picture.putdata(np.array([order.index(n) for n in range(len(colours))])[places].ravel().tolist())
            picture.putpalette([value for place in order for value in colours[place]])
        case "grey":
            assume(all(len(set(colour)) == 1 for colour in colours))
            picture = picture.convert("L")
    told = data.draw(options(kind))
    told.pop("bits", None)
    equal_or_refused(saved(picture, kind, told), ids, palette)


@fuzz
@given(ids=arrays(np.int32, SHAPES, elements=st.integers(0, 2**24 - 1)))
def test_instance_maps_survive_their_encoding(ids: np.ndarray) -> None:
    assert decode_instance(encode_png(ids)).tolist() == ids.tolist()


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of what it finds odd before it gives up
@fuzz
@given(
    content=st.binary(max_size=300),
    head=st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"P5 2 2 5\n", b"BM", b"II*\0", b"GIF89a"]),
)
def test_bytes_that_are_no_picture_are_refused(content: bytes, head: bytes) -> None:
    for decode in (decode_label, decode_instance, check_upright):
        try:
            decode(head + content)
        except InputError:
            continue


WRITTEN = ("PNG", "TIFF", "BMP", "GIF", "PPM", "JPEG", "WEBP", "AVIF", "JPEG2000", "TGA", "DDS")


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", WRITTEN)
def test_a_file_cut_short_anywhere_is_refused_or_loses_nothing(kind: str) -> None:
    """What follows the pixels (padding of a BMP's row, the trailer of a GIF, the footer of a TGA) may be missing."""
    picture = Image.fromarray((np.arange(90) * 37 % 251).astype(np.uint8).reshape(6, 5, 3))
    data = saved(picture, kind, {})
    whole = decode_image(data)
    read = []
    for length in range(1, len(data)):
        for decode in (decode_image, decode_label, decode_instance, check_upright):
            try:
                found = decode(data[:length])
            except InputError:
                continue
            read.append(length)
            if decode is decode_image:
                assert np.array_equal(found, whole), length
    assert set(read) <= set(range(len(data) - {"BMP": 1, "GIF": 2, "TGA": 26}.get(kind, 0), len(data)))


def test_a_mask_as_bmp_cut_short_is_refused() -> None:
    data = saved(Image.new("1", (5, 6)), "BMP", {})
    for length in range(1, len(data)):
        with pytest.raises(InputError, match="cannot be decoded"):
            decode_label(data[:length])


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_tags_of_another_type_than_they_should_be_are_refused() -> None:
    """Pillow raises a TypeError, which nobody foresaw."""
    data = bytearray(saved(Image.new("RGB", (24, 20)), "TIFF", {}))
    at = data.index(struct.pack("<HH", 273, 4))  # where the pixels are, as a long
    data[at + 2] = 5  # as a fraction
    with pytest.raises(InputError, match=r"cannot be decoded \(.*IFDRational.*; write the file again"):
        decode_image(bytes(data))
