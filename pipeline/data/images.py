"""Pictures and label maps as bytes and as arrays: strict decoding, deterministic encoding, resizing."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping
from typing import Literal

import numpy as np
from PIL import Image

from pipeline.errors import InputError

Palette = Mapping[tuple[int, int, int], int]
"""Colours of an RGB label map and the ids that they stand for."""

Resample = Literal["lanczos", "bicubic"]
"""How photographs are resized; bicubic is that of the public SPADE training."""

_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
"""What Pillow raises for bytes that are not a whole picture."""

_PNG_END = b"IEND\xaeB`\x82"

_LOSSLESS = ("PNG", "TIFF", "BMP", "GIF", "PPM")
"""Formats that keep ids as they are. JPEG and its like do not."""


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

    Grey pictures of 1 to 16 bits hold the ids themselves, palette pictures hold them as indices, RGB pictures
    need a `palette` from colours to ids. Raises `InputError` for broken bytes, lossy formats, other modes, an
    RGB picture without a palette, and a colour that the palette does not have.
    """
    picture = _open(data)
    if picture.format not in _LOSSLESS:
        raise InputError(f"is a {picture.format} label map, a format that may change ids; save it as PNG")
    if picture.mode in ("RGB", "RGBA"):
        if palette is None:
            raise InputError(
                "is an RGB label map; give prepare folder a --palette (colours to ids), or save ids as 8-bit grey PNG"
            )
        return colours_to_ids(np.array(picture)[..., :3], palette)
    if picture.mode == "1":
        return np.array(picture).astype(np.uint8)
    if picture.mode in ("L", "P"):
        # Pillow stretches grey PNGs of 2 and 4 bits to 0..255; ids are the values before that.
        depth = data[24] if picture.format == "PNG" and picture.mode == "L" else 8
        return np.array(picture) // np.uint8(255 // (2**depth - 1) if depth < 8 else 1)
    if picture.mode.startswith("I"):
        ids = np.array(picture)
        if ids.min() < 0:
            raise InputError(f"is a label map with the negative id {ids.min()}; ids start at 0")
        return ids.astype(np.uint16 if ids.max() <= 65535 else np.int32)
    raise InputError(f"is a label map of mode '{picture.mode}'; save it as 8-bit or 16-bit grey or palette PNG")


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


def encode_png(array: np.ndarray, *, compress_level: int = 6) -> bytes:
    """uint8 `[H, W, 3]`, uint8 `[H, W]` or integers up to 65535 `[H, W]` as PNG: 8-bit RGB, 8-bit or 16-bit grey.

    `compress_level` 1 (fast) to 9 (small): 1 takes a quarter of the time of 6, for pictures a fifth larger.
    The same array gives the same bytes (with one version of Pillow and zlib).
    """
    if array.ndim == 2 and array.dtype != np.uint8:
        low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
        if low < 0 or high > 65535:
            raise InputError(f"has ids from {low} to {high}; a PNG holds 0 to 65535")
        array = array.astype(np.uint16)
    assert array.dtype in (np.uint8, np.uint16), array.dtype
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array)).save(buffer, "PNG", compress_level=compress_level)
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


def _open(data: bytes) -> Image.Image:
    """A picture with all its pixels read, or an `InputError` that says what is wrong with the bytes."""
    if not data:
        raise InputError("is empty (0 bytes); write the file again")
    try:
        picture = Image.open(io.BytesIO(data))
        picture.load()
    except _BROKEN as error:
        reason = "not a picture" if isinstance(error, Image.UnidentifiedImageError) else " ".join(str(error).split())
        raise InputError(f"cannot be decoded ({reason}; {len(data)} bytes); write the file again") from None
    # Pillow takes a PNG without its last bytes, once it has pixels enough; nothing then vouches for them.
    if picture.format == "PNG" and _PNG_END not in data:
        raise InputError(f"cannot be decoded (PNG file is truncated; {len(data)} bytes); write the file again")
    return picture
