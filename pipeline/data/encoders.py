"""How synthesized pictures are stored: PNG, lossless WebP, or JPEG."""

from __future__ import annotations

import io
from typing import Literal, Protocol

import numpy as np
from PIL import Image

from pipeline.data.images import encode_png

PictureFormat = Literal["png", "webp", "jpeg"]


class Encoder(Protocol):
    """Turns pixels into a file."""

    def __call__(self, pixels: np.ndarray, *, xmp: bytes | None = None) -> bytes:
        """uint8 RGB `[H, W, 3]` encoded, with an XMP packet beside the pixels where one is given."""


def encode_fast_png(pixels: np.ndarray, *, xmp: bytes | None = None) -> bytes:
    """uint8 RGB `[H, W, 3]` as PNG at zlib's level 1: encoding shares the processors with the generator."""
    return encode_png(pixels, compress_level=1, xmp=xmp)


def encode_webp(pixels: np.ndarray, *, xmp: bytes | None = None) -> bytes:
    """uint8 RGB `[H, W, 3]` as lossless WebP: about a quarter smaller than PNG, and slower to make."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(
        buffer, "WEBP", lossless=True, quality=60, method=4, exact=True, **({"xmp": xmp} if xmp else {})
    )
    return buffer.getvalue()


def encode_jpeg(pixels: np.ndarray, *, xmp: bytes | None = None) -> bytes:
    """uint8 RGB `[H, W, 3]` as JPEG of quality 95 without chroma subsampling. It loses detail, which moves FID."""
    buffer = io.BytesIO()
    # The segment is written out, as only later versions of Pillow have an option for it.
    segment = b"http://ns.adobe.com/xap/1.0/\x00" + (xmp or b"")
    marker = b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment if xmp else b""
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95, subsampling=0, extra=marker)
    return buffer.getvalue()


ENCODERS: dict[PictureFormat, Encoder] = {"png": encode_fast_png, "webp": encode_webp, "jpeg": encode_jpeg}
EXTENSIONS: dict[PictureFormat, str] = {"png": ".png", "webp": ".webp", "jpeg": ".jpg"}
