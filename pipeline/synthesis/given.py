"""What a program hands over in memory or by name: label maps, photographs, style vectors; checked, as arrays or bytes.

Nothing heavy is imported here: `import spadework` takes no time.
"""

from __future__ import annotations

import io
import operator
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsIndex, TypeAlias

import numpy as np
from PIL import Image, ImageFile

from pipeline.errors import InputError

if TYPE_CHECKING:
    from pipeline.labels import LabelSpace

PathLike: TypeAlias = "str | os.PathLike[str]"
"""The name of a file or a folder."""
Map: TypeAlias = "np.ndarray | Image.Image | PathLike"
"""A label or instance map: integers `[H, W]`, a Pillow image, or a file."""
Style: TypeAlias = "Image.Image | PathLike | np.ndarray | Sequence[float]"
"""A photograph (Pillow image, file, or uint8 `[H, W, 3]`), or a style vector `[style_dim]`."""

_LOSSY = ("JPEG", "MPO", "WEBP", "AVIF", "JPEG2000")
"""Formats in which ids may have changed."""


def read_ids(given: Map, what: str) -> np.ndarray:
    """Integers `[H, W]`, of whatever width; `InputError` names what is wrong with the map."""
    from pipeline.data.images import decode_instance, decode_label

    decode = decode_instance if what == "instance map" else decode_label
    if isinstance(given, Image.Image):
        lazy = isinstance(given, ImageFile.ImageFile) and given.tile and given.filename
        # Pillow stretches 2- and 4-bit grey; what it has not read yet, we read as it stands in the file.
        if lazy:
            return read_ids(Path(os.fsdecode(given.filename)), what)  # type: ignore[attr-defined]
        return _image_ids(given, what, decode)
    if isinstance(given, (str, os.PathLike)):
        try:
            return decode(_read_file(given, what))
        except InputError as error:
            raise InputError(f"{what} {os.fspath(given)} {error}") from None
    ids = np.asarray(given)
    if ids.ndim != 2 or not ids.size or ids.dtype.kind not in "iu":
        found = f"{ids.dtype} {list(ids.shape)}" if ids.dtype != object else type(given).__name__
        raise InputError(f"the {what} is {found}; give integers [height, width], a Pillow image or a file")
    return ids


def refuse_unknown(label: np.ndarray, space: LabelSpace) -> None:
    """Raise `InputError` for an id of a label map `[H, W]` that is neither a class nor don't-care."""
    count = len(space.classes)
    beyond = np.unique(label[(label < 0) | (label >= count)]).tolist()
    wrong = [value for value in beyond if value != space.dont_care]
    if wrong:
        listed = ", ".join(map(str, wrong[:5])) + (", ..." if len(wrong) > 5 else "")
        other = "there is no don't-care id" if space.dont_care is None else f"don't-care is {space.dont_care}"
        raise InputError(
            f"the label map has id {listed}, but the classes are 0 to {count - 1} and {other}; give each pixel the "
            "position of its class in `classes`"
        )


def _image_ids(image: Image.Image, what: str, decode: Any) -> np.ndarray:
    """The ids that a Pillow image holds."""
    if image.format in _LOSSY:
        raise InputError(f"the {what} is a {image.format} image, a format that may change ids; save it as PNG")
    if image.mode in ("L", "I") or image.mode.startswith("I;16"):
        return np.asarray(image)
    if image.mode in ("1", "P") or (image.mode == "RGB" and what == "instance map"):
        # What palettes mean is decided in one place, from the file.
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        try:
            return decode(buffer.getvalue())
        except InputError as error:
            raise InputError(f"the {what} {error}") from None
    raise InputError(
        f"the {what} is a Pillow image of mode {image.mode}; give one whose values are ids: mode 1, L, P, I or I;16"
    )


def read_photograph(given: Any) -> bytes:
    """A photograph as the bytes of a picture, which is what style encoders of checkpoints take.

    `given` is a Pillow image of 8 bits a channel, a file, or an array uint8 `[H, W, 3]`; `InputError` for other things.
    """
    from pipeline.data.images import decode_image, encode_png

    if isinstance(given, Image.Image):
        if given.mode.startswith(("I", "F")):
            raise InputError(f"the photograph is a Pillow image of mode {given.mode}; give 8 bits a channel")
        given = np.asarray(given.convert("RGB"))
    if isinstance(given, (str, os.PathLike)):
        data = _read_file(given, "photograph")
        try:
            decode_image(data)
        except InputError as error:
            raise InputError(f"photograph {os.fspath(given)} {error}") from None
        return data
    pixels = np.asarray(given)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise InputError(
            f"the photograph is {pixels.dtype} {list(pixels.shape)}; give uint8 [height, width, 3], a Pillow image or "
            "a file"
        )
    return encode_png(pixels, compress_level=1)


def read_vector(style: Style, length: int) -> np.ndarray | None:
    """A style that is a vector as float32 `[length]`; None for photographs.

    Raises `InputError` for a vector of another length, and for numbers that are NaN or infinite.
    """
    if isinstance(style, (Image.Image, str, os.PathLike)):
        return None
    try:
        vector = np.array(style, np.float32) if np.ndim(style) == 1 else None
    except (TypeError, ValueError):
        raise InputError("the style is neither a photograph nor a vector of numbers") from None
    if vector is None:
        return None
    if vector.shape != (length,) or not np.isfinite(vector).all():
        what = f"{vector.size} numbers" if vector.shape != (length,) else "a vector with NaN or infinite numbers"
        raise InputError(f"the style is {what}; the generator takes {length} finite numbers")
    return vector


def read_seed(seed: SupportsIndex) -> int:
    """A seed as an int from 0 to 2^63 - 1; `InputError` for anything else."""
    try:
        number = operator.index(seed)
    except TypeError:
        raise InputError(f"seed is {seed!r}; give a whole number") from None
    if not 0 <= number < 2**63:
        raise InputError(f"seed is {number}; take 0 to {2**63 - 1}")
    return number


def _read_file(path: PathLike, what: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(f"{what} {os.fspath(path)} does not exist") from None
    except OSError as error:
        raise InputError(f"{what} {os.fspath(path)} cannot be read: {error.strerror}") from None
