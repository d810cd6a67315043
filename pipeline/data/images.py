"""Pictures and label maps as bytes and as arrays: strict decoding, deterministic encoding, resizing."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pipeline.errors import InputError

Palette = Mapping[tuple[int, int, int], int]
"""Colours of an RGB label map and the ids that they stand for."""

Resample = Literal["lanczos", "bicubic"]
"""How photographs are resized; bicubic is that of the public SPADE training."""

_PNM_HEADER = re.compile(rb"P(\d)" + 2 * rb"(?:\s+|#[^\n]*\n)+\d+" + rb"(?:\s+|#[^\n]*\n)+(\d+)")
"""The kind and the largest value."""

_PANOPTIC = np.array([1, 256, 65536], np.int32)
"""What the channels of an RGB instance map count."""

_ORIENTATION = 274
"""Of the tag, in EXIF and TIFF."""

_ENDS = {"PNG": b"IEND\xaeB`\x82", "JPEG2000": b"\xff\xd9"}
"""What whole files of some formats have at their end."""

_LOSSLESS = ("PNG", "TIFF", "BMP", "GIF", "PPM")
"""Formats that keep ids as they are. JPEG and its like do not."""

MAX_PIXELS = 1 << 29
"""Of a picture: an aerial photograph of 20,000 pixels a side passes, a decompression bomb does not."""

_FORMATS = (*_LOSSLESS, "JPEG", "MPO", "WEBP", "AVIF", "JPEG2000", "TGA", "DDS")
"""Formats that are read at all; others have decoders that start programs (EPS) or fetch files."""


def decode_image(data: bytes) -> np.ndarray:
    """A photograph in any format that Pillow reads to uint8 RGB `[H, W, 3]`.

    Grey and palette pictures become RGB and transparency is dropped; an EXIF orientation is not applied,
    because label maps are drawn over the stored pixels. Raises `InputError` for broken or 16-bit pictures.
    """
    picture = _open(data)
    if picture.mode.startswith(("I", "F")):
        raise InputError(f"is a photograph of mode '{picture.mode}'; save it with 8 bits a channel")
    return np.array(picture.convert("RGB"))


def decode_label(data: bytes, palette: Palette | None = None) -> np.ndarray:
    """A label (or instance) map to its ids `[H, W]`: uint8, uint16, or int32 for a 32-bit TIFF.

    Grey pictures of 1 to 16 bits hold the ids themselves, undone what Pillow scales. RGB pictures need a `palette` from
    colours to ids, and with one the colours of palette pictures are looked up too: optimisers store few colours so,
    with indices of each file's own. Without one, palette pictures hold ids as indices, but for those whose palette is
    all grey: that is an optimiser's form of a grey picture. Raises `InputError` for broken bytes, lossy formats, other
    modes, an RGB picture without a palette, a colour that the palette does not have, and where the ids are a guess.
    """
    picture = _open(data)
    if picture.format not in _LOSSLESS:
        raise InputError(f"is a {picture.format} label map, a format that may change ids; save it as PNG")
    if picture.format == "TIFF" and picture.tag_v2.get(262) == 0:  # type: ignore[attr-defined]
        raise InputError("is a TIFF label map that stores white as 0; save it as grey PNG")
    if picture.mode in ("RGB", "RGBA"):
        if picture.format == "PPM" and _largest_value(data, picture) != 255:
            raise InputError("is a PPM label map of colours whose maximum is not 255; save it as PNG")
        if palette is None:
            raise InputError(
                "is an RGB label map; give prepare folder a --palette (colours to ids), or save ids as 8-bit grey PNG"
            )
        return colours_to_ids(np.array(picture)[..., :3], palette)
    if picture.mode == "P":
        return _palette_ids(picture, palette)
    if palette is not None and picture.mode in ("1", "L") and _is_all_grey(palette, picture):
        return colours_to_ids(np.array(picture.convert("RGB")), palette)
    if picture.format == "BMP" and picture.mode == "1":
        return _bmp_indices(data)
    if picture.mode == "1":
        return np.array(picture).astype(np.uint8)
    if picture.mode == "L":
        return _unscaled(np.array(picture), _largest_value(data, picture), 255)
    if picture.mode.startswith("I"):
        ids = np.array(picture)
        if picture.format == "PPM":
            ids = _unscaled(ids, _largest_value(data, picture), 65535)
        if ids.min() < 0:
            raise InputError(f"is a label map with the negative id {ids.min()}; ids start at 0")
        return ids.astype(np.uint16 if ids.max() <= 65535 else np.int32)
    raise InputError(f"is a label map of mode '{picture.mode}'; save it as 8-bit or 16-bit grey or palette PNG")


def decode_instance(data: bytes) -> np.ndarray:
    """An instance map to its ids `[H, W]`: as label maps, or int32 from RGB as COCO's panoptic files have them.

    There the id is R + 256 G + 65536 B, which tells instances in arbitrary colours apart too. Raises as `decode_label`.
    """
    picture = _open(data)
    if picture.mode not in ("RGB", "RGBA") or picture.format not in _LOSSLESS:
        return decode_label(data)
    return np.array(picture)[..., :3].astype(np.int32) @ _PANOPTIC


def is_plain(data: bytes, ids: np.ndarray) -> bool:
    """Whether any reader finds these ids, `[H, W]`, in an encoded map without further knowledge.

    True for a PNG whose values they are.
    """
    picture = _open(data)
    return picture.format == "PNG" and picture.mode != "1" and np.array_equal(np.array(picture), ids)


def _palette_ids(picture: Image.Image, palette: Palette | None) -> np.ndarray:
    """The ids uint8 or uint16 `[H, W]` of a picture with a palette of its own."""
    indices = np.array(picture)
    colours = np.array(picture.getpalette("RGB"), np.uint8).reshape(-1, 3)
    if indices.size and indices.max() >= len(colours):
        raise InputError(f"has the index {indices.max()} beyond the {len(colours)} colours of its own palette")
    if palette is not None:
        return colours_to_ids(colours[indices], palette)
    greys = colours[:, 0]
    if (colours != greys[:, None]).any() or (greys == np.arange(len(greys))).all():
        return indices
    if set(greys.tolist()) <= {0, 255}:
        raise InputError(
            "has a palette of black and white, so its ids may be 0 and 1 or 0 and 255; save it as grey PNG of the ids"
        )
    return greys[indices]


def _is_all_grey(palette: Palette, picture: Image.Image) -> bool:
    """Whether a file in grey holds colours of the palette: an optimiser's form of an RGB label map without others.

    Ids are grey values as well, so a file that could be either is refused.
    """
    values = np.unique(np.array(picture.convert("L"))).tolist()
    named = [palette.get((value, value, value)) for value in values]
    ids = [value // 255 for value in values] if picture.mode == "1" else values
    if None in named or named == ids:
        return False
    if set(ids) <= set(palette.values()):
        raise InputError(
            "is grey, and its values are both ids and colours of the palette; save it as RGB PNG, or give ids without "
            "--palette"
        )
    return True


def _bmp_indices(data: bytes) -> np.ndarray:
    """The indices uint8 `[H, W]` of a BMP of two colours, which Pillow reads as bits, whatever their depth."""
    start, _, width, height, _, depth, compression = struct.unpack_from("<IIiiHHI", data, 10)
    if depth not in (1, 8) or compression:
        raise InputError(
            f"is a BMP of two colours with {depth} bits and compression {compression}; save it as grey PNG"
        )
    stride = (width * depth + 31) // 32 * 4
    with _broken_bytes(data):
        rows = np.frombuffer(data, np.uint8, stride * abs(height), start).reshape(abs(height), stride)
    indices = (np.unpackbits(rows, axis=1) if depth == 1 else rows)[:, :width]
    return np.ascontiguousarray(indices if height < 0 else indices[::-1])


def _largest_value(data: bytes, picture: Image.Image) -> int:
    """What the largest value that a grey file can hold is in the file itself: 255 unless Pillow scales it."""
    if picture.format == "PNG":
        return int(2 ** data[24] - 1)
    if picture.format == "TIFF":
        return int(2 ** picture.tag_v2.get(258, (8,))[0] - 1)  # type: ignore[attr-defined]
    if picture.format == "PPM":
        header = _PNM_HEADER.match(data)
        if header is None:
            raise InputError("is a PNM label map with an unusual header; save it as grey PNG")
        largest = int(header[2])
        if header[1] == b"5" and largest not in (255, 65535):
            # Pillow cuts what is larger.
            values = np.frombuffer(data, np.uint8 if largest < 256 else ">u2", offset=header.end() + 1)
            if values.size and values.max() > largest:
                raise InputError(
                    f"is a PGM label map whose values go beyond the {largest} of its header; save it as PNG"
                )
        return largest
    return 255


def _unscaled(values: np.ndarray, largest: int, scaled_to: int) -> np.ndarray:
    """Values as they stand in a file, from those that Pillow has scaled from 0..`largest` to 0..`scaled_to`.

    >>> _unscaled(np.array([0, 85, 170, 255], np.uint8), 3, 255).tolist()
    [0, 1, 2, 3]
    """
    if largest >= scaled_to:
        return values
    return np.rint(values.astype(np.float64) * (largest / scaled_to)).astype(values.dtype)


def check_upright(data: bytes) -> None:
    """Refuse a photograph with an EXIF orientation (`InputError`): readers that turn it see it another way than ours.

    Whether its label map was drawn over the stored or over the turned pixels, nobody can tell.
    """
    picture = _open(data)
    with _broken_bytes(data):
        orientation = picture.getexif().get(_ORIENTATION, 1)
    if orientation != 1:
        raise InputError(
            f"has the EXIF orientation {orientation}, so it may lie another way than its label map; turn its pixels so "
            "that both fit (mogrify -auto-orient), or remove the tag"
        )


def colours_to_ids(colours: np.ndarray, palette: Palette) -> np.ndarray:
    """An RGB label map, uint8 `[H, W, 3]`, to ids, uint16 `[H, W]`; `InputError` names a colour not in the palette.

    >>> colours_to_ids(np.array([[[0, 0, 0], [255, 0, 0]]], np.uint8), {(255, 0, 0): 7, (0, 0, 0): 0}).tolist()
    [[0, 7]]
    """
    known = {(red << 16) | (green << 8) | blue: number for (red, green, blue), number in palette.items()}
    keys = np.array(sorted(known), np.int32)
    ids = np.array([known[key] for key in sorted(known)], np.uint16)
    packed = (colours.astype(np.int32) << np.array([16, 8, 0], np.int32)).sum(axis=-1, dtype=np.int32)
    position = np.searchsorted(keys, packed).clip(max=len(keys) - 1)
    unknown = keys[position] != packed
    if unknown.any():
        row, column = np.argwhere(unknown)[0]
        red, green, blue = colours[row, column].tolist()
        raise InputError(
            f"has the colour {red} {green} {blue} (first at column {column}, row {row}; {unknown.sum()} pixels are "
            f"unknown in all), which the palette does not have; add it there"
        )
    return ids[position]


def encode_png(array: np.ndarray, *, compress_level: int = 6, xmp: bytes | None = None) -> bytes:
    """uint8 `[H, W, 3]`, uint8 `[H, W]` or integers `[H, W]` as PNG: 8-bit RGB, 8-bit or 16-bit grey.

    Integers beyond 65535, which are instance ids, become RGB as `decode_instance` reads it.
    `compress_level` 1 (fast) to 9 (small): 1 takes a quarter of the time of 6, for pictures a fifth larger. `xmp` is a
    packet that goes into a text chunk before the pixels.
    The same array gives the same bytes (with one version of Pillow and zlib). Raises `InputError` for ids that three
    bytes do not hold.
    """
    if array.ndim == 2 and array.dtype != np.uint8:
        low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
        if low < 0 or high >= 1 << 24:
            raise InputError(f"has ids from {low} to {high}; a PNG holds 0 to 16777215: number the instances anew")
        if high > 65535:
            array = ((array[..., None].astype(np.int64) // _PANOPTIC) % 256).astype(np.uint8)
        else:
            array = array.astype(np.uint16)
    assert array.dtype in (np.uint8, np.uint16), array.dtype
    buffer = io.BytesIO()
    text = PngInfo()
    if xmp is not None:
        text.add_itxt("XML:com.adobe.xmp", xmp.decode())
    Image.fromarray(np.ascontiguousarray(array)).save(buffer, "PNG", compress_level=compress_level, pnginfo=text)
    return buffer.getvalue()


def resize_ids(ids: np.ndarray, height: int, width: int) -> np.ndarray:
    """Nearest-neighbour resizing of ids `[H, W]` of any type, sampling at pixel centres (as Pillow does)."""
    rows = (2 * np.arange(height) + 1) * ids.shape[0] // (2 * height)
    columns = (2 * np.arange(width) + 1) * ids.shape[1] // (2 * width)
    return ids[rows[:, None], columns[None, :]]


def resize_image(image: np.ndarray, height: int, width: int, *, resample: Resample = "lanczos") -> np.ndarray:
    """Resizing of a photograph, uint8 `[H, W, 3]`, with antialiasing where it shrinks."""
    if image.shape[:2] == (height, width):
        return image
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling[resample.upper()]))


def open_picture(data: bytes) -> Image.Image:
    """A picture whose header is read and whose pixels are not: for its size and mode.

    Raises `InputError` for what is no picture, and for one of more than `MAX_PIXELS`.
    """
    if not data:
        raise InputError("is empty (0 bytes); write the file again")
    with _broken_bytes(data):
        Image.init()
        Image.MAX_IMAGE_PIXELS = None  # Ours follows, before any pixel is read.
        picture = Image.open(io.BytesIO(data), formats=[name for name in _FORMATS if name in Image.OPEN])
        pixels = picture.width * picture.height
        if pixels > MAX_PIXELS:
            raise InputError(f"has {pixels} pixels, more than {MAX_PIXELS}; cut it into tiles")
    return picture


def _open(data: bytes) -> Image.Image:
    """A picture with all its pixels read, or an `InputError` that says what is wrong with the bytes."""
    picture = open_picture(data)
    with _broken_bytes(data):
        turned = picture.format == "TIFF" and picture.tag_v2.get(_ORIENTATION, 1) != 1  # type: ignore[attr-defined]
        picture.load()
    if turned:  # Pillow turns TIFF pictures, and those alone, while it reads them.
        raise InputError(
            "is a TIFF picture with an orientation tag, so it may lie another way than the files beside it; "
            "save it upright, without the tag"
        )
    # Pillow takes these without their last bytes (a PNG once it has pixels enough); nothing then vouches for them.
    if _ENDS.get(picture.format or "", b"") not in data:
        raise InputError(
            f"cannot be decoded ({picture.format} file is truncated; {len(data)} bytes); write the file again"
        )
    return picture


@contextmanager
def _broken_bytes(data: bytes) -> Iterator[None]:
    """A `with` block whose errors, but for `InputError`, mean that the bytes are no whole picture: one `InputError`."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001 - damaged tags and headers make Pillow raise anything
        unknown = isinstance(error, Image.UnidentifiedImageError)
        reason = "not a picture" if unknown else " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"cannot be decoded ({reason}; {len(data)} bytes); write the file again") from None
